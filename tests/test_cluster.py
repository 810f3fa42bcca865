"""A catalogue on a real Dask cluster of several processes, some of which are killed."""

import hashlib
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import hotfolder_fixtures
import separator_toys as toys
from engine.separators.loading import load_card
from engine.voices.pitch_network import SHIPPED_PITCHES
from hotfolder.catalogue.batch import Batch
from hotfolder.catalogue.listing import read_catalogue
from hotfolder.clock import Instant
from hotfolder.failures import Failure
from hotfolder.partials import attempt_of
from hotfolder.settings import WorkerSettings
from hotfolder.worker_protocol import WorkCommand
from hotfolder_fixtures import make_mix, names_in, publish_by_hand, sets_in, settings_of
from presets import StemwrightError, sha256_of

pytest.importorskip("distributed", reason="needs the cluster extra")
from hotfolder.catalogue.cluster import (
    Cluster,
    Request,
    _differences,
    do_request,
    fingerprint,
)

TOY = "hotfolder_fixtures"
# dask's own teardown of processes and sockets is not ours to judge
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster("local:2")
    yield cluster
    cluster.close()


def batch_of(tmp_path):
    catalogue = read_catalogue(tmp_path / "mixes")
    settings = settings_of(incomplete_after_s=0)
    batch = Batch(catalogue, tmp_path / "out", tmp_path / "state", settings, backend=TOY)
    batch.enter()
    return batch


class Handle:
    """A cluster or a client that fails where it is told to, and knows whether it was closed."""

    def __init__(self, fails=""):
        self.closed, self._fails = False, fails

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def __getattr__(self, name):
        if name == self._fails:
            raise OSError(name)
        return lambda *_, **__: {}


@pytest.mark.parametrize("fails", ["run_on_scheduler", "get_versions", ""])
def test_a_cluster_is_closed_whatever_goes_wrong(monkeypatch, fails):
    local, client = Handle(), Handle(fails)
    distributed = SimpleNamespace(LocalCluster=lambda **_: local, Client=lambda *_, **__: client)
    monkeypatch.setattr("hotfolder.catalogue.cluster.import_module", lambda _: distributed)
    with pytest.raises((OSError, StemwrightError)), Cluster("local:1") as opened:
        opened.check(set(), TOY, WorkerSettings())  # no worker has answered
    assert (local.closed, client.closed) == (True, True)


def test_every_row_is_done_once_and_sessions_are_kept(tmp_path, cluster):
    for number in range(10):
        make_mix(tmp_path / "mixes" / f"{number}.wav", number)
    (tmp_path / "mixes" / "text.wav").write_text("no music")
    batch = batch_of(tmp_path)
    cluster.check({"default"}, TOY, WorkerSettings())
    assert cluster.run(batch)
    counts = batch.journal.statistics.counts()
    again = batch.plan()
    batch.close()

    assert (counts["done"], counts["quarantined"]) == (10, 1)
    assert sets_in(tmp_path / "out") == [str(number) for number in range(10)]
    assert (again.done, again.failed, again.to_do) == (10, 1, 0)
    opened = (tmp_path / "out" / "renderers.log").read_text().splitlines()
    assert len({line.split()[0] for line in opened}) <= 2


def test_worker_killed_in_mid_job_and_poison_lose_nothing(tmp_path):
    for number in range(6):
        make_mix(tmp_path / "mixes" / f"slow {number}.wav", number)
    make_mix(tmp_path / "mixes" / "crash.wav", 50)
    cluster, batch = Cluster("local:3"), batch_of(tmp_path)
    log = tmp_path / "out" / "segments.log"

    def kill_one():
        while not log.exists():
            time.sleep(0.05)
        workers = cluster.client.run(os.getpid)
        os.kill(next(iter(workers.values())), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert cluster.run(batch)
    killer.join()
    counts = batch.journal.statistics.counts()
    [poison] = batch.journal.in_state("quarantined")
    batch.close()
    cluster.close()

    assert counts["done"] == 6
    assert (poison.source.name, poison.code) == ("crash.wav", "poison")
    assert sets_in(tmp_path / "out") == [f"slow {number}" for number in range(6)]


def test_worker_that_dies_after_publishing_leaves_one_set(tmp_path, cluster):
    make_mix(tmp_path / "mixes" / "song.wav", 1)
    batch, now = batch_of(tmp_path), Instant.now()
    [job] = batch.jobs.claim_some(1, now)
    batch.jobs.fail(job, Failure("worker-crash", "gone"), now, killed=True)
    publish_by_hand(batch, job)  # given up for lost too early: it publishes only now
    assert cluster.run(batch)
    [done] = batch.journal.in_state("done")
    batch.close()
    assert (done.destination, done.kills) == (job.destination, 1)
    assert sets_in(tmp_path / "out") == ["song"]


def test_job_whose_dead_workers_published_its_set_is_done_and_no_poison(tmp_path, cluster):
    mix = make_mix(tmp_path / "mixes" / "song.wav", 1)
    batch, now = batch_of(tmp_path), Instant.now()
    [job] = batch.jobs.claim_some(1, now)
    publish_by_hand(batch, job)
    dead = SimpleNamespace(status="error", exception=lambda: OSError("gone"))
    cluster._end(batch, job, dead, now)
    [done] = batch.journal.in_state("done")
    batch.close()
    assert (done.sha256, done.kills) == (hashlib.sha256(mix.read_bytes()).hexdigest(), 0)
    assert sets_in(tmp_path / "out") == ["song"]


def test_driver_that_dies_before_it_hears_of_a_set_finds_it(tmp_path, cluster):
    make_mix(tmp_path / "mixes" / "song.wav", 1)
    batch, now = batch_of(tmp_path), Instant.now()
    [job] = batch.jobs.claim_some(1, now)
    publish_by_hand(batch, job)
    batch.jobs.release(job, now)
    batch.close()
    again = batch_of(tmp_path)
    assert cluster.run(again)
    counts = again.journal.statistics.counts()
    again.close()
    assert counts["done"] == 1
    assert sets_in(tmp_path / "out") == ["song"]


def test_place_taken_by_another_set_is_given_way_to(tmp_path, cluster):
    make_mix(tmp_path / "mixes" / "song.wav", 1)
    batch = batch_of(tmp_path)
    [job] = batch.jobs.claim_some(1, Instant.now())
    batch.jobs.release(job, Instant.now())
    job.destination.mkdir(parents=True)
    (job.destination / "manifest.json").write_text('{"input": {"sha256": "another"}}')
    assert cluster.run(batch)
    batch.close()
    assert sets_in(tmp_path / "out") == ["song", "song-2"]


def test_set_that_another_worker_published_meanwhile_is_taken_as_done(tmp_path, cluster):
    make_mix(tmp_path / "mixes" / "song.wav", 1)
    batch = batch_of(tmp_path)
    cluster.run(batch)
    [job] = batch.journal.in_state("done")
    result = cluster.client.submit(
        _again, str(tmp_path / "mixes" / "song.wav"), str(job.destination), pure=False
    ).result()
    batch.close()
    assert result.work.sha256 == job.sha256
    assert sets_in(tmp_path / "out") == ["song"]


def _again(mix, destination):
    work = Path(destination).parent / ".work" / "another"
    command = WorkCommand(TOY, Path(mix), "default", work, None, WorkerSettings())
    return do_request(Request(command, Path(destination)))


def test_workers_with_other_priors_are_refused(tmp_path, cluster):
    cluster.client.run(_change_version)
    with pytest.raises(StemwrightError, match="another program, other presets or priors"):
        cluster.check({"default"}, TOY, WorkerSettings())


def _change_version():
    import hotfolder_fixtures

    hotfolder_fixtures.ENGINE_VERSION = "toy-2"


def test_a_worker_with_another_card_is_refused_by_name_with_both_hashes(
    tmp_path, cluster, monkeypatch
):
    folders = {}
    for place, gain in (("here", 0.5), ("there", 0.25)):
        (tmp_path / place).mkdir()
        folders[place] = tmp_path / place
        toys.echo(tmp_path / place, name="half", gain=gain)
    preset = tmp_path / "halves.yaml"
    preset.write_text("stems: {all: {separator: half}}\n")
    asked = ({str(preset)}, "engine", WorkerSettings())
    here, there = (str(folders[place]) for place in ("here", "there"))
    one, other = sorted(cluster.client.run(os.getpid))
    try:
        monkeypatch.setenv("STEMWRIGHT_SEPARATORS", here)
        cluster.client.run(_look_for_cards_in, here)
        cluster.check(*asked)
        cluster.client.run(_look_for_cards_in, there, workers=[other])
        with pytest.raises(StemwrightError, match="separator half is") as error:
            cluster.check(*asked)
    finally:
        cluster.client.run(_look_for_cards_in, "")
    hashes = [load_card(folders[place] / "half.yaml").digest[:12] for place in ("there", "here")]
    assert (
        f"{other} (separator half is {hashes[0]} there, {hashes[1]} here)" in error.value.sentence
    )
    assert one not in error.value.sentence


def test_a_worker_that_has_no_card_is_refused_by_name(tmp_path, cluster, monkeypatch):
    toys.echo(tmp_path, name="half", gain=0.5)
    preset = tmp_path / "halves.yaml"
    preset.write_text("stems: {all: {separator: half}}\n")
    one, other = sorted(cluster.client.run(os.getpid))
    monkeypatch.setenv("STEMWRIGHT_SEPARATORS", str(tmp_path))
    try:
        cluster.client.run(_look_for_cards_in, str(tmp_path), workers=[one])
        with pytest.raises(StemwrightError, match="half") as error:
            cluster.check({str(preset)}, "engine", WorkerSettings())
    finally:
        cluster.client.run(_look_for_cards_in, "")
    assert f"{other} (" in error.value.sentence
    assert one not in error.value.sentence


def test_what_hears_the_pitches_of_voices_is_compared(tmp_path, monkeypatch):
    for name, pitches in (("heard", "tracker"), ("read", "score")):
        text = f"name: {name}\nvoices: {{parts: [alto, bass], pitches: {pitches}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    heard, read = (str(tmp_path / f"{name}.yaml") for name in ("heard", "read"))
    mine = fingerprint({heard, read}, "engine", WorkerSettings())
    monkeypatch.setattr("engine.voices.sources.read_card", lambda *_: (None, None, "ff" * 32))
    theirs = fingerprint({heard, read}, "engine", WorkerSettings())
    assert list(_differences(mine, theirs)) == [
        f"pitches of heard is {'ff' * 6} there, {sha256_of(SHIPPED_PITCHES)[:12]} here"
    ]


@pytest.fixture
def worker_here(monkeypatch):
    """This process as a worker of the cluster, so that its decoding can be counted."""
    monkeypatch.setattr("hotfolder.catalogue.cluster._this_worker", lambda: HERE)


HERE = SimpleNamespace(address="tcp://here:1")


def request_of(tmp_path, preset="default"):
    mix = make_mix(tmp_path / "mixes" / "song.wav", 1)
    work = tmp_path / "out" / ".work" / "job"
    command = WorkCommand(TOY, mix, preset, work, None, WorkerSettings())
    return Request(command, tmp_path / "out" / "song")


def test_a_worker_decodes_a_mix_once(tmp_path, worker_here, monkeypatch):
    decoded = []
    once = hotfolder_fixtures.verify_mix
    monkeypatch.setattr(
        hotfolder_fixtures, "verify_mix", lambda mix: (decoded.append(mix), once(mix))[1]
    )
    done = do_request(request_of(tmp_path))
    assert done.facts.has_set
    assert decoded == [tmp_path / "mixes" / "song.wav"]
    assert names_in(tmp_path / "out" / ".work") == []


def test_each_thread_of_a_worker_keeps_a_renderer_of_its_own(tmp_path, worker_here):
    def two_in_turn(name):
        for number in (1, 2):
            mix = make_mix(tmp_path / "mixes" / f"{name}-{number}.wav", number)
            work = tmp_path / "out" / ".work" / f"{name}-{number}"
            command = WorkCommand(TOY, mix, "default", work, None, WorkerSettings())
            assert do_request(Request(command, tmp_path / "out" / mix.stem)).facts.has_set

    threads = [threading.Thread(target=two_in_turn, args=[name]) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "out" / "renderers.log").read_text().split("\n")[:-1]
    of_mix = {mix: renderer for renderer, mix in map(str.split, lines)}
    assert of_mix["one-1.wav"] == of_mix["one-2.wav"] != of_mix["other-1.wav"]
    assert of_mix["other-1.wav"] == of_mix["other-2.wav"]


def test_a_worker_that_refuses_a_job_names_itself(tmp_path, worker_here):
    failure = do_request(request_of(tmp_path, preset="only-elsewhere"))
    assert failure.reason.startswith("worker tcp://here:1: ")
    assert "only-elsewhere" in failure.reason


def test_what_is_wrong_with_a_mix_is_no_workers_fault(tmp_path, worker_here):
    request = request_of(tmp_path)
    request.command.mix.write_text("no music")
    failure = do_request(request)
    assert failure.code == "mix-not-audio"
    assert failure.reason.startswith("no audio file")


def _look_for_cards_in(folder):
    os.environ["STEMWRIGHT_SEPARATORS"] = folder


def test_what_a_killed_worker_left_is_swept_by_the_next_run(tmp_path):
    """The partial set of a job that is known, its workplace, and nothing of anybody else."""
    make_mix(tmp_path / "mixes" / "song.wav")
    first = batch_of(tmp_path)
    [job] = first.journal.all_jobs()
    first.close()
    out = tmp_path / "out"
    left = [
        out / f".song.partial-{attempt_of(job.id)}" / "dry",
        out / ".work" / attempt_of(job.id),
    ]
    kept = [out / ".work" / job.id, out / ".other.partial-abcdef123456", out / ".hidden"]
    for folder in left + kept:
        folder.mkdir(parents=True)
    batch_of(tmp_path).close()
    assert [folder.exists() for folder in left] == [False, False]
    assert all(folder.exists() for folder in kept)
