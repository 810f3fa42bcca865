"""Memory: it does not grow with the length of a mix, nor with the number of mixes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 44100
# A forked child inherits its parent's peak until it runs another program: a small parent between.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""
LONGER = 1.10  # what a longer mix may take, in relation to a short one
# the last 50 of 200 mixes against the second 50: an allocator's steps up and down are some 3 %;
# had each mix left its samples behind (0.7 MB), it would be half as much again
LATER = 1.05
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

MANY = """
import sys
from pathlib import Path
from engine import Renderer, RenderOptions
from presets import load_preset
preset, mix, priors = map(Path, sys.argv[1:])
renderer = Renderer(load_preset(preset), RenderOptions(prior_folders=(priors,), device="cpu"))
for number in range(200):
    renderer.render(mix, Path("out") / str(number))
    print(Path("/proc/self/statm").read_text("ascii").split()[1], flush=True)
"""


def write_long_mix(path, seconds):
    """A minute of chords and noise in stereo, over and over."""
    rng = np.random.default_rng(0)
    time = np.arange(60 * RATE) / RATE
    chords = sum(np.sin(2 * np.pi * f * time) for f in (55, 220, 277.2, 329.6, 4000))
    minute = 0.1 * chords[:, None] * np.array([1.0, 0.7]) * (1 + np.sin(time * 9))[:, None] / 2
    minute += 0.02 * rng.standard_normal(minute.shape)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for start in range(0, seconds, 60):
            file.write(minute[: RATE * min(60, seconds - start)])


def peak_kib(mix, output, tier):
    """The largest resident memory of `stemwright separate` while it works on a mix."""
    command = [sys.executable, "-m", "stemwright", "separate", mix, "-o", output]
    words = [sys.executable, "-c", PEAK, *command, "--preset", "dry", "--tier", tier, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stderr.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("tier", "lengths"), [("standard", (120, 600)), ("search", (60, 180))])
def test_memory_does_not_grow_with_length(tmp_path, tier, lengths):
    peaks = []
    for seconds in lengths:
        mix = tmp_path / f"{seconds}.wav"
        write_long_mix(mix, seconds)
        peaks.append(peak_kib(mix, tmp_path / str(seconds), tier))
    assert peaks[1] < LONGER * peaks[0], peaks


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_two_hundred_mixes_in_one_process_leave_no_slope(tmp_path, tiny_prior_folder):
    path = tmp_path / "tiny.yaml"
    path.write_text("name: tiny\nstems: {low: {}, high: {}}\nsearch: {steps: 2}\n", "utf-8")
    mix = tmp_path / "mix.wav"
    audio = np.random.default_rng(1).normal(0, 0.1, (2 * RATE, 2))
    soundfile.write(mix, audio, RATE)
    # a process of its own: what other tests left in this one's arenas is not the engine's
    words = [sys.executable, "-c", MANY, str(path), str(mix), str(tiny_prior_folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    resident = [int(line) * PAGE_KIB for line in done.stdout.split()]
    warm = np.median(resident[50:100])  # arenas and caches have filled by then
    assert len(resident) == 200
    assert np.median(resident[150:]) < LATER * warm, resident[::20]
