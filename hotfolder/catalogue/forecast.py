"""How long will a catalogue take on this machine? A short piece is rendered, and extrapolated."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterable
from pathlib import Path

from ..settings import HotFolderSettings

PROBE_S = 12.0
RATE_HZ = 44_100

# One child reads all headers: a damaged file may take a decoder down with it, but not us.
_LENGTHS = """
import os, sys
import soundfile
for line in sys.stdin.buffer.read().split(b"\\0"):
    try:  # a name need not be text, but on Windows it is
        facts = soundfile.info(os.fsdecode(line) if os.name == "nt" else line)
        print(facts.frames / facts.samplerate, flush=True)
    except Exception:
        print(0.0, flush=True)
"""


def audio_seconds(paths: Iterable[Path]) -> float:
    """The length of all mixes together, by their headers; unreadable ones count nothing."""
    waiting, total = [os.fsencode(path) for path in paths], 0.0
    while waiting:
        asked = b"\0".join(waiting)
        answer = subprocess.run(
            [sys.executable, "-c", _LENGTHS], input=asked, stdout=subprocess.PIPE, check=False
        )
        lengths = [float(line) for line in answer.stdout.split()]
        total += sum(lengths)
        waiting = waiting[len(lengths) + 1 :]  # one that ended the child is left out
    return total


def measured_rtf(preset_name: str, settings: HotFolderSettings) -> float:
    """Seconds of work for each second of audio with one worker, measured by doing some."""
    from engine import RenderOptions, render
    from presets import load_preset

    worker = settings.worker
    options = RenderOptions(
        device=worker.device,
        tier=worker.tier,
        threads=worker.threads,
        prior_folders=tuple(Path(folder) for folder in worker.prior_folders),
    )
    with tempfile.TemporaryDirectory() as name:
        mix = Path(name) / "probe.wav"
        _write_noise(mix)
        began_s = time.monotonic()
        render(mix, Path(name) / "set", load_preset(preset_name), options)
        return (time.monotonic() - began_s) / PROBE_S


def _write_noise(path: Path) -> None:
    """Two channels of quiet noise: no silence that a search could skip."""
    import numpy as np

    noise = np.random.default_rng(0).normal(0, 3000, (int(PROBE_S * RATE_HZ), 2))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(noise.clip(-32768, 32767).astype("<i2").tobytes())
