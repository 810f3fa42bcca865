"""A recipe of three levels, killed in the middle, in hot folder and batch: the same bytes."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import yaml

import separator_toys as toys
from engine import load_manifest, measure_null
from engine.separators.loading import load_card
from engine.separators.lock import Lock, write_lock
from hotfolder_fixtures import logs, originals, start_process

RECIPE = {
    "name": "studio",
    "recipe": {"split": {"card": "tones", "out": {
        "low": {"split": {"card": "echo", "out": {"all": {"split": {
            "card": "half", "out": {"all": {"as": "dry"}}}}}}},
        "high": "keep"}}},
}  # fmt: skip


@pytest.fixture
def studio(tmp_path):
    cards = tmp_path / "cards"
    cards.mkdir()
    model = toys.wave_toy(cards / "tones.onnx", toys.BOTH, 8192)
    wave = {"segment": 8192, "inputs": [toys.tensor("mix", "wave", "b c n")],
            "outputs": [toys.tensor("stems", "wave", "b s c n")]}  # fmt: skip
    paths = [
        toys.write_card(cards, [model], name="tones", overlap=0.5, **wave),
        toys.echo(cards, name="echo"),
        toys.echo(cards, name="half", gain=0.5),
    ]
    for path in paths:
        loaded = load_card(path)
        lock = Lock(
            digest=loaded.digest, music="", program={}, device="cpu", threads=1, band_hz=1,
            seconds_per_minute=1, peak_mib=1, stems={}, findings=(),
        )  # fmt: skip
        write_lock(loaded, lock)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "studio.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def write_mix(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = sum(toys.tones(seconds, 48000).values()).T
    soundfile.write(path, audio, 48000, subtype="PCM_24")
    return path


def environment(studio):
    return {
        "STEMWRIGHT_PRESETS": str(studio / "presets"),
        "STEMWRIGHT_SEPARATORS": str(studio / "cards"),
        "OMP_NUM_THREADS": "1",
    }


def digests(folder):
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (folder / "dry").iterdir()}


def nulls(mix, folder):
    manifest = load_manifest(folder)
    assert set(manifest.separators) == {"tones", "echo", "half"}
    assert manifest.null_dbfs is None
    return measure_null(mix, [folder / file.path for file in manifest.files]).exact


def begin(studio, place):
    settings = {"preset": "studio", "scan_s": 0.1, "settle_s": 0.1, "worker": {"threads": 1}}
    folder = studio / place
    return start_process(
        folder, settings=settings, env=environment(studio), backend="engine", once=True
    )


def test_a_batch_tells_the_cost_of_a_preset_once_before_it_starts(studio):
    for name, seconds in (("a", 1.5), ("b", 2.5)):
        write_mix(studio / "songs" / f"{name}.wav", seconds)
    words = ["batch", studio / "songs", "-o", studio / "out", "--preset", "studio", "--jobs", 1]
    argv = [sys.executable, "-m", "stemwright", *map(str, words)]
    env = os.environ | environment(studio)
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    forecast = (
        "studio: tones, echo, half take about 3 s for each minute of audio, 0 s for 2 title(s)"
    )
    assert done.stderr.splitlines()[0] == forecast
    assert done.stderr.count(" take about ") == 1
    again = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    assert " take about " not in again.stderr, "nothing is left to be done"


@pytest.mark.slow
def test_the_hot_folder_goes_on_in_the_middle_of_a_recipe(studio):
    for place in ("whole", "killed"):
        write_mix(studio / place / "root" / "inbox" / "song.wav", 150.0)
    assert begin(studio, "whole").wait(300) == 0, logs(studio / "whole")
    rng, kills = np.random.default_rng(1), 0
    while not originals(studio / "killed" / "root", "done"):
        process = begin(studio, "killed")
        try:
            process.wait(3.0 + 3.0 * rng.random() if kills < 3 else 300)
        except subprocess.TimeoutExpired:
            kills += 1
            process.kill()
            process.wait()
    assert kills, "it was never killed: the song is too short"
    sets = [studio / place / "root" / "outbox" / "song" for place in ("whole", "killed")]
    assert digests(sets[0]) == digests(sets[1])
    [original] = (studio / "killed" / "root" / "done").rglob("song.wav")
    assert nulls(original, sets[1])
    assert " in mix" in logs(studio / "whole")


@pytest.mark.slow
def test_a_batch_goes_on_in_the_middle_of_a_recipe(studio):
    mix = write_mix(studio / "songs" / "song.wav", 30.0)
    env = os.environ | environment(studio)

    def batch(place):
        words = ["batch", mix.parent, "-o", studio / place, "--preset", "studio", "--jobs", 1,
                 "--threads", 1, "--state", studio / f"{place}-state"]  # fmt: skip
        argv = [sys.executable, "-m", "stemwright", *map(str, words)]
        return subprocess.Popen(argv, env=env, start_new_session=True)

    assert batch("whole").wait(300) == 0
    kills = 0
    while True:
        process = batch("killed")
        end = time.monotonic() + (4.0 + kills)
        while process.poll() is None and (kills >= 2 or time.monotonic() < end):
            time.sleep(0.05)
        if process.poll() is None:
            kills += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            continue
        assert process.returncode == 0
        break
    assert kills
    sets = [studio / place / "song" for place in ("whole", "killed")]
    assert digests(sets[0]) == digests(sets[1])
    assert nulls(mix, sets[1])
