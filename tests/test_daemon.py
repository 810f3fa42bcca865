"""The hot folder's daemon: a mix dropped in comes out as a set, exactly once, whatever happens."""

import hashlib
import json
import os
import socket
import unicodedata
from pathlib import Path

import pytest

from hotfolder.inventory import take_inventory
from hotfolder.job import State
from hotfolder.partials import sweep_partials
from hotfolder_fixtures import (
    SEGMENTS,
    Studio,
    make_mix,
    mix_bytes,
    names_in,
    originals,
    published,
    settings_of,
)

# watchdog warns when it learns of one new folder in two ways
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@pytest.fixture
def studio(tmp_path):
    studio = Studio(tmp_path, settings_of(jobs=3)).start()
    yield studio
    studio.close()


def reason_of(studio, name):
    [path] = (studio.root / "failed").rglob(f"{name}.reason.json")
    return json.loads(path.read_text())


# -- the way of a mix ----------------------------------------------------------------------------


def test_dropped_mix_becomes_a_set_and_the_original_moves_to_done(studio):
    content = studio.drop("song.wav").read_bytes()
    studio.work_off()

    assert list(published(studio.root)) == ["song"]
    assert originals(studio.root, "done") == [hashlib.sha256(content).hexdigest()]
    assert originals(studio.root, "inbox") == originals(studio.root, "work") == []
    assert names_in(studio.root / "work") == [".stemwright-folder"]


def test_every_state_is_written_down_in_order(studio):
    studio.drop("song.wav")
    studio.work_off()
    states = [entry["state"] for entry in studio.daemon.journal.history(studio.jobs()[0].id)]

    assert list(dict.fromkeys(states)) == [
        "seen", "settled", "claimed", "decoded", "searching", "processing", "publishing", "done",
    ]  # fmt: skip


def test_folder_below_the_inbox_names_the_preset(studio):
    studio.drop("dry/song.wav", seed=1)
    studio.drop("album/dry/song.wav", seed=2)
    studio.work_off()

    presets = {place: found["preset"]["name"] for place, found in published(studio.root).items()}
    assert presets == {"dry/song": "dry", "album/dry/song": "default"}


@pytest.mark.slow
def test_folder_dropped_with_thirty_nested_files_is_done_completely(tmp_path):
    studio = Studio(tmp_path, settings_of(jobs=8)).start()
    for number in range(30):
        make_mix(tmp_path / "album" / f"disc {number % 3}" / f"{number}.wav", seed=number)
    (tmp_path / "album").rename(studio.root / "inbox" / "album")
    studio.work_off(limit_s=90)
    sets = published(studio.root)
    studio.close()

    assert sorted(sets) == sorted(f"album/disc {n % 3}/{n}" for n in range(30))


def test_file_replaced_after_the_claim_is_a_new_job(studio):
    studio.drop("slow song.wav", seed=1)
    studio.settle()
    studio.until(lambda: studio.jobs()[0].state == "searching")
    studio.drop("slow song.wav", seed=2)
    studio.work_off()

    assert list(published(studio.root)) == ["slow song", "slow song-2"]
    assert len(originals(studio.root, "done")) == 2


def test_mix_that_changes_while_it_is_worked_on_is_never_published_half(studio):
    studio.drop("slow song.wav", seed=1)
    studio.settle()
    studio.until(lambda: studio.jobs()[0].state == "searching")
    [claimed] = (studio.root / "work").rglob("*.wav")
    whole = mix_bytes(seed=2, frames=900)
    with claimed.open("r+b") as late_writer:  # the writer that had paused still has it open
        late_writer.write(whole)
    studio.work_off()

    [found] = published(studio.root).values()
    assert found["input"]["sha256"] == hashlib.sha256(whole).hexdigest()
    assert any(entry["state"] == "retry-at" for entry in
               studio.daemon.journal.history(studio.jobs()[0].id))  # fmt: skip


def test_polling_only_gives_the_same_result(tmp_path):
    results = []
    for mode in ("events", "polling"):
        studio = Studio(tmp_path / mode, settings_of(watch=mode, jobs=3)).start()
        studio.drop("a.wav", seed=1)
        studio.drop("dry/b.wav", seed=2)
        studio.drop("broken.wav").write_bytes(b"text")
        studio.work_off()
        studio.close()
        results.append((sorted(published(studio.root)), studio_failures(studio)))

    assert results[0] == results[1] == (["a", "dry/b"], ["broken.wav"])


def studio_failures(studio):
    return sorted(path.name for path in (studio.root / "failed").rglob("*.wav"))


# -- failures ------------------------------------------------------------------------------------

DAMAGED = {
    "text.wav": (b"these are the takes of tuesday", "mix-not-audio"),
    "empty.wav": (b"", "mix-empty"),
    "short.wav": (mix_bytes()[:-200], "mix-truncated"),
    "header.wav": (mix_bytes()[:44], "mix-truncated"),
}


def test_damaged_files_go_to_failed_with_a_reason_and_the_rest_goes_on(tmp_path):
    studio = Studio(tmp_path, settings_of(jobs=3, incomplete_after_s=0)).start()
    for name, (content, _) in DAMAGED.items():
        (studio.root / "inbox" / name).write_bytes(content)
    studio.drop("good.wav")
    studio.work_off()
    reasons = {name: reason_of(studio, name) for name in DAMAGED}
    studio.close()

    assert list(published(studio.root)) == ["good"]
    assert {name: reason["code"] for name, reason in reasons.items()} == {
        name: code for name, (_, code) in DAMAGED.items()
    }
    for name, reason in reasons.items():
        assert reason["file"] == name
        assert not reason["reason"].startswith(name), "it stands beside the file's path"
        assert reason["attempts"] == 1
        assert "stemwright retry" in reason["retry"]
        assert [entry["state"] for entry in reason["history"]][-1] == "quarantined"


def test_file_that_ends_its_worker_twice_is_poison(studio):
    studio.drop("crash.wav", seed=1)
    studio.drop("good.wav", seed=2)
    studio.work_off()

    reason = reason_of(studio, "crash.wav")
    assert (reason["code"], reason["worker_kills"], reason["attempts"]) == ("poison", 2, 2)
    assert "signal 11" in reason["reason"]
    assert list(published(studio.root)) == ["good"]


def test_worker_beyond_its_time_is_ended(tmp_path):
    settings = settings_of(worker={"wall_limit_s": 1.5})
    studio = Studio(tmp_path, settings).start()
    studio.drop("hang.wav")
    studio.work_off()
    reason = reason_of(studio, "hang.wav")
    studio.close()

    assert reason["code"] == "poison"
    assert "longer than 1.5 s" in reason["reason"]


def test_worker_beyond_its_memory_is_ended(tmp_path):
    studio = Studio(tmp_path, settings_of(worker={"memory_mb": 500})).start()
    studio.drop("hungry.wav")
    studio.work_off()
    reason = reason_of(studio, "hungry.wav")
    studio.close()

    assert reason["code"] == "poison"
    assert "500 are allowed" in reason["reason"]


def test_busy_file_is_tried_again_after_a_while(studio):
    studio.drop("busy-once.wav")
    studio.work_off()

    assert list(published(studio.root)) == ["busy-once"]
    assert studio.jobs()[0].attempts == 2


def test_lost_share_is_never_the_files_fault(studio):
    studio.drop("share-gone.wav")
    studio.settle()
    studio.until(lambda: studio.jobs()[0].attempts == 4)
    job = studio.jobs()[0]

    assert job.state in ("retry-at", "claimed", "decoded")
    assert job.faults == 0


def test_daemon_rests_while_its_root_is_lost(studio):
    (studio.root / "outbox" / ".stemwright-folder").write_text("another")
    waits = [studio.daemon.loop(studio.now.later(seconds)) for seconds in (10, 20, 30)]

    assert studio.daemon.lost
    assert min(waits) >= 1


def test_bug_is_tried_twice_and_then_kept_with_its_traceback(studio):
    studio.drop("bug.wav")
    studio.work_off()

    assert reason_of(studio, "bug.wav")["code"] == "internal-error"
    assert studio.jobs()[0].attempts == 2


def test_broken_preset_makes_files_wait_and_none_fail(tmp_path):
    studio = Studio(tmp_path, settings_of(preset="not-there")).start()
    studio.drop("song.wav")
    studio.settle()
    studio.until(lambda: studio.jobs()[0].attempts == 2)
    waiting = studio.jobs()[0]
    studio.close()

    assert waiting.state in ("retry-at", "claimed")
    assert waiting.faults == 0


def test_worker_that_dies_after_the_publishing_has_not_failed(studio):
    studio.drop("late-crash.wav")
    studio.work_off()

    assert list(published(studio.root)) == ["late-crash"]
    assert studio.states() == {"late-crash.wav": "done"}


# -- nothing twice, nothing over another ----------------------------------------------------------


def test_same_content_dropped_again_is_not_done_again(studio):
    studio.drop("song.wav", seed=1)
    studio.work_off()
    studio.drop("copy of song.wav", seed=1)
    studio.work_off()

    assert list(published(studio.root)) == ["song"]
    assert studio.job("copy of song.wav").destination == studio.root / "outbox" / "song"
    assert len(originals(studio.root, "done")) == 2


def test_same_content_dropped_twice_at_once_is_done_once(studio):
    studio.drop("slow a.wav", seed=1)
    studio.drop("slow b.wav", seed=1)
    studio.work_off()

    assert len(published(studio.root)) == 1
    assert len(originals(studio.root, "done")) == 2


def test_same_content_is_done_again_when_its_set_was_taken_away(studio):
    studio.drop("song.wav", seed=1)
    studio.work_off()
    (studio.root / "outbox" / "song").rename(studio.folder / "delivered")
    studio.drop("song.wav", seed=1)
    studio.work_off()

    assert list(published(studio.root)) == ["song"]


@pytest.mark.parametrize(
    ("existing", "sets"), [("version", ["song", "song-2"]), ("fail", ["song"])]
)
def test_existing_set_is_numbered_or_refused_never_replaced(tmp_path, existing, sets):
    studio = Studio(tmp_path, settings_of(existing=existing)).start()
    studio.drop("song.wav", seed=1)
    studio.work_off()
    before = (studio.root / "outbox" / "song" / "dry" / "one.wav").read_bytes()
    studio.drop("song.wav", seed=1)
    studio.work_off()
    studio.close()

    assert list(published(studio.root)) == sets
    assert (studio.root / "outbox" / "song" / "dry" / "one.wav").read_bytes() == before
    if existing == "fail":
        assert reason_of(studio, "song.wav")["code"] == "destination-exists"


def test_same_name_from_two_endings_and_two_folders_gives_sets_side_by_side(studio):
    for seed, name in enumerate(("song.wav", "song.WAVE", "album/song.wav", "other/song.wav")):
        studio.drop(name, seed=seed)
    studio.work_off()

    assert sorted(published(studio.root)) == ["album/song", "other/song", "song", "song-2"]


def test_twins_that_some_file_systems_take_for_one_get_different_sets(studio):
    names = ["Café.wav", unicodedata.normalize("NFD", "Café.wav"), "CAFÉ.wav"]
    for seed, name in enumerate(names):
        studio.drop(name, seed=seed)
    studio.work_off()

    sets = [unicodedata.normalize("NFC", name).casefold() for name in published(studio.root)]
    assert sorted(sets) == ["café", "café-2", "café-3"]
    assert sorted(path.name for path in (studio.root / "done").rglob("*.wav")) == sorted(names)


# -- names are data ------------------------------------------------------------------------------

STRANGE = [
    "-rf song.wav", "new\nline.wav", "quote'\".wav", "🎸 solo.wav", "\u202egnos.wav", "%s {0}.wav",
    "con.wav", "trailing. .wav", "$(touch owned).wav", "bad\udcff.wav", "x" * 251 + ".wav",
]  # fmt: skip


def test_strange_names_come_through_and_stay_inside(studio):
    for seed, name in enumerate(STRANGE):
        studio.drop(name, seed=seed)
    studio.daemon.settings = studio.daemon.pool.jobs.settings = settings_of(jobs=6)
    studio.work_off(limit_s=60)

    assert {job.reason for job in studio.jobs() if job.state != "done"} == set()
    assert len(published(studio.root)) == len(STRANGE)
    kept = {os.fsencode(path.name) for path in (studio.root / "done").rglob("*.wav")}
    assert {os.fsencode(name) for name in STRANGE if len(name) < 200} <= kept
    assert not (studio.folder / "owned").exists()
    assert all(len(os.fsencode(name)) <= 255 for name in names_in(studio.root / "outbox"))
    assert not any(name.lower().startswith("con") for name in names_in(studio.root / "outbox"))


def test_links_pipes_sockets_and_folders_are_never_opened(studio, tmp_path):
    outside = make_mix(tmp_path / "secret.wav")
    inbox = studio.root / "inbox"
    (inbox / "link.wav").symlink_to(outside)
    (inbox / "linked folder").symlink_to(tmp_path)
    os.mkfifo(inbox / "pipe.wav")
    (inbox / "folder.wav").mkdir()
    here = Path.cwd()
    os.chdir(inbox)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.wav")
        os.chdir(here)
        studio.settle()
        found = take_inventory(inbox, studio.settings.name_rules, 8)

    assert studio.states() == {}
    assert {str(path): why for path, why in found.ignored.items() if "wav" in path.name} == {
        "link.wav": "a symbolic link",
        "pipe.wav": "not a regular file",
        "socket.wav": "not a regular file",
    }


def test_settled_file_swapped_for_a_link_is_not_claimed(studio, tmp_path):
    secret = make_mix(tmp_path / "secret.wav")
    studio.daemon.journal.set_setting("paused", "test")
    path = studio.drop("song.wav")
    studio.settle()
    path.unlink()
    path.symlink_to(secret)
    studio.daemon.journal.set_setting("paused", None)
    studio.daemon.pool.start_more(studio.now)

    assert studio.daemon.pool.in_work == {}
    assert originals(studio.root, "work") == []


def test_deep_folders_and_system_folders_are_left_alone(studio):
    for place in ("a/" * 9 + "deep.wav", "@eaDir/x.wav", ".Trashes/x.wav", "__MACOSX/x.wav"):
        studio.drop(place)
    studio.settle()
    assert studio.states() == {}


def test_preset_may_name_plugins_of_allowed_folders_only(tmp_path, monkeypatch):
    for place in ("allowed", "elsewhere"):
        (tmp_path / place / f"{place}.vst3").mkdir(parents=True)
        (tmp_path / f"{place}.yaml").write_text(
            f"extends: dry\nstems:\n  vocals:\n    chain:\n      - plugin: {place}\n"
        )
    folders = f"{tmp_path / 'allowed'}:{tmp_path / 'elsewhere'}"
    monkeypatch.setenv("STEMWRIGHT_PLUGINS", folders)
    monkeypatch.setenv("STEMWRIGHT_PRESETS", str(tmp_path))
    settings = settings_of(jobs=2, plugin_folders=(str(tmp_path / "allowed"),))
    studio = Studio(tmp_path, settings).start()
    studio.drop("allowed/song.wav", seed=1)
    studio.drop("elsewhere/song.wav", seed=2)
    studio.settle()
    studio.until(lambda: sorted(studio.states().values()) == ["done", "retry-at"])
    [refused] = [job for job in studio.jobs() if job.state == "retry-at"]
    studio.close()

    assert refused.preset == "elsewhere"
    assert (refused.code, refused.faults) == ("plugin-not-allowed", 0)
    assert "in none of the hot folder's plugin_folders" in refused.reason


# -- stopping and starting -----------------------------------------------------------------------


def test_drained_job_goes_on_at_its_segment_with_the_same_bytes(tmp_path):
    whole = Studio(tmp_path / "whole").start()
    whole.drop("slow slow song.wav")
    whole.work_off()
    whole.close()

    studio = Studio(tmp_path / "stopped").start()
    studio.drop("slow slow song.wav")
    studio.settle()
    studio.until(lambda: studio.jobs()[0].segment >= 2)
    studio.daemon.stop()
    studio.until(lambda: not studio.daemon.pool.in_work)
    job = studio.jobs()[0]
    studio.close()
    assert (job.state, job.owner) == ("searching", None)
    assert 2 <= job.segment < SEGMENTS

    studio.start()
    studio.work_off()
    studio.close()
    done = (studio.root / "segments.log").read_text().splitlines()
    assert len(done) == len(set(done)) == SEGMENTS
    for name in ("one.wav", "two.wav"):
        place = f"outbox/slow slow song/dry/{name}"
        assert (studio.root / place).read_bytes() == (whole.root / place).read_bytes()


def test_two_stops_between_two_rounds_end_it_too(studio):
    studio.drop("hang.wav")
    studio.settle()
    studio.until(lambda: studio.daemon.pool.in_work)
    studio.daemon.stop()
    studio.daemon.stop()
    studio.round(1)
    assert not studio.daemon.pool.in_work
    for _ in range(3):
        studio.round(1)
    assert not studio.daemon.pool.in_work, "nothing is begun again"
    [job] = studio.jobs()
    assert job.attempts == 1


def test_second_stop_ends_the_workers_at_once(studio):
    studio.drop("hang.wav")
    studio.settle()
    studio.until(lambda: studio.daemon.pool.in_work)
    studio.daemon.stop()
    studio.round()
    assert studio.daemon.pool.in_work
    studio.daemon.stop()
    studio.round()

    assert not studio.daemon.pool.in_work
    assert studio.jobs()[0].owner is None


def test_nothing_is_begun_while_draining(studio):
    studio.daemon.stop()
    studio.drop("song.wav")
    studio.settle()
    studio.round(5)
    assert studio.states() == {"song.wav": "settled"}


def test_every_step_may_happen_twice(studio):
    studio.drop("good.wav", seed=1)
    studio.drop("broken.wav").write_bytes(b"text")
    studio.work_off()
    before = sorted(studio.root.rglob("*"))
    for job in studio.jobs():
        studio.daemon.files.file_away(job, [])
        studio.daemon.files.file_away(job, [])
        again = studio.daemon.journal.advance(job, job, studio.now)
        assert again.state == job.state
    studio.daemon.close()
    studio.start()
    studio.settle()

    assert sorted(studio.root.rglob("*")) == before
    assert set(studio.states().values()) == {"done", "quarantined"}


def test_stale_partial_sets_are_swept_at_the_start_but_not_those_in_work(studio):
    outbox = studio.root / "outbox"
    studio.drop("song.wav")
    studio.work_off()
    own = studio.jobs()[0].id
    (outbox / f".song.partial-{own}").mkdir()
    (outbox / ".other.partial-abcdef123456" / "dry").mkdir(parents=True)
    (outbox / ".old.partial-123456abcdef").mkdir()
    os.utime(outbox / ".old.partial-123456abcdef", (1, 1))
    (outbox / ".hidden").mkdir()
    studio.close()
    studio.start()
    studio.round()

    assert [name for name in names_in(outbox) if name.startswith(".")] == [
        ".hidden", ".other.partial-abcdef123456", ".stemwright-folder",
    ]  # fmt: skip
    assert sweep_partials(outbox, {"abcdef123456"}, {"abcdef123456"}) == []


def test_pause_and_resume(studio):
    studio.daemon.journal.set_setting("paused", "lunch")
    studio.drop("song.wav")
    studio.settle()
    studio.round(5)
    assert studio.states() == {"song.wav": "settled"}
    assert "lunch" in studio.daemon.health()["degraded"]
    studio.daemon.journal.set_setting("paused", None)
    studio.work_off()
    assert studio.states() == {"song.wav": State.DONE}
