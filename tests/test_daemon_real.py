"""The hot folder with the real engine: real priors, real search, real daemons that are killed."""

import json
import os
import random
import signal
import time

import numpy as np
import pytest
import soundfile

from engine import load_manifest
from hotfolder.journal import Journal
from hotfolder.published import read_published
from hotfolder_fixtures import logs, originals, start_process, wait_for

RATE_HZ = 44_100


@pytest.fixture
def studio(tmp_path, tiny_prior_folder, monkeypatch):
    """A folder with an inbox, and a preset of two tiny priors."""
    monkeypatch.setenv("STEMWRIGHT_PRIORS", str(tiny_prior_folder))
    (tmp_path / "presets").mkdir()
    stems = "".join(f"  {path.stem}: {{}}\n" for path in sorted(tiny_prior_folder.glob("*.prior")))
    text = f"title: Quick\ndescription: for tests\nstems:\n{stems}search:\n  tier: draft\n"
    (tmp_path / "presets" / "quick.yaml").write_text(text)
    (tmp_path / "root" / "inbox").mkdir(parents=True)
    return tmp_path


def write_mix(path, seconds, seed=0):
    """Two channels of a chord with noise, 24 bits."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    rng = np.random.default_rng(seed)
    tones = sum(np.sin(2 * np.pi * rng.uniform(60, 2000) * time_s) for _ in range(5))
    audio = np.stack([0.1 * tones, 0.08 * tones + 0.02 * rng.normal(size=time_s.size)], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, RATE_HZ, subtype="PCM_24")
    return path


def begin(folder, **options):
    settings = {
        "preset": "quick",
        "scan_s": 0.2,
        "settle_s": 0.3,
        "incomplete_after_s": 5,
        "retry": {"first_s": 0.5, "longest_s": 2},
        "worker": {"threads": 1},
    }
    env = {"STEMWRIGHT_PRESETS": str(folder / "presets"), "OMP_NUM_THREADS": "1"}
    return start_process(folder, settings=settings, env=env, backend="engine", **options)


def searches(folder):
    """How many segments' searches have been told by all daemons so far."""
    return logs(folder).count('"searching"')


def copy_slowly(source, target, pieces=20, pause_s=0.1):
    content = source.read_bytes()
    step = len(content) // pieces + 1
    with target.open("wb") as file:
        for start in range(0, len(content), step):
            file.write(content[start : start + step])
            file.flush()
            time.sleep(pause_s)


def test_real_file_copied_slowly_becomes_stems_that_null(studio):
    process = begin(studio)
    source = write_mix(studio / "outside.wav", 2)
    copy_slowly(source, studio / "root" / "inbox" / "song.wav")
    (studio / "root" / "inbox" / "text.wav").write_text("not music")
    wait_for(lambda: originals(studio / "root", "done"), 120)
    wait_for(lambda: list((studio / "root" / "failed").rglob("*.json")), 60)
    process.terminate()
    assert process.wait(20) == 0, logs(studio)

    manifest = load_manifest(studio / "root" / "outbox" / "song")
    mix, _ = soundfile.read(source, dtype="int32")
    folder = studio / "root" / "outbox" / "song"
    stems = [soundfile.read(folder / file.path, dtype="int32")[0] for file in manifest.files]
    np.testing.assert_array_equal(sum(stem.astype(np.int64) for stem in stems), mix)
    journal = Journal(studio / "state" / "journal.db")
    [job] = journal.done_with(read_published(folder).key)  # the set tells whose work it is
    journal.close()
    assert job.destination == folder
    [reason] = (studio / "root" / "failed").rglob("*.reason.json")
    assert json.loads(reason.read_text())["attempts"] == 1


@pytest.mark.slow
def test_killed_search_goes_on_at_its_segment_with_the_same_bytes(studio):
    for place in ("whole", "killed"):
        (studio / place / "presets").mkdir(parents=True)
        preset = (studio / "presets" / "quick.yaml").read_text()
        preset = preset.replace("tier: draft", "tier: search")
        (studio / place / "presets" / "quick.yaml").write_text(preset)
        write_mix(studio / place / "root" / "inbox" / "long.wav", 40)
    assert begin(studio / "whole", once=True).wait(400) == 0, logs(studio / "whole")
    rng, kills = random.Random(3), 0
    for _ in range(4):
        before = searches(studio / "killed")
        process = begin(studio / "killed", once=True)
        end = time.monotonic() + 60
        while process.poll() is None and searches(studio / "killed") == before:
            assert time.monotonic() < end, logs(studio / "killed")
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 1))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert begin(studio / "killed", once=True).wait(400) == 0, logs(studio / "killed")

    assert kills > 0
    sets = [studio / place / "root" / "outbox" / "long" / "dry" for place in ("whole", "killed")]
    names = sorted(path.name for path in sets[0].iterdir())
    assert names == sorted(path.name for path in sets[1].iterdir())
    for name in names:
        assert (sets[0] / name).read_bytes() == (sets[1] / name).read_bytes(), name
