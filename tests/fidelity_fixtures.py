"""Signals and files, made without the writer that is under test."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio.scratch import StemScratch

BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}


def integers(bits, channels=2, frames=4801, seed=0):
    """Noise that uses every bit of its depth, int32 (channels, frames), both extremes included."""
    rng = np.random.default_rng(seed)
    half = 1 << (bits - 1)
    samples = rng.integers(-half, half, (channels, frames))
    samples[:, :1] = -half
    samples[:, -1:] = half - 1
    return samples.astype(np.int32)


def quiet_integers(bits, channels=2, frames=4801, seed=0, level=0.2):
    """The same at a level where stems have headroom."""
    rng = np.random.default_rng(seed)
    half = 1 << (bits - 1)
    samples = np.clip(rng.normal(0, level / 4, (channels, frames)), -level, level)
    return np.rint(samples * half).astype(np.int32)


def write_pcm(path, samples, bits, rate=48000, container="WAV", subtype=None):
    """Write integers with libsndfile, which leaves integers alone."""
    subtype = subtype or f"PCM_{bits}"
    frames = np.ascontiguousarray((samples.astype(np.int64) << (32 - bits)).T.astype(np.int32))
    soundfile.write(path, frames, rate, subtype=subtype, format=container)
    return path


def riff_chunk(name, payload):
    return struct.pack("<4sI", name, len(payload)) + payload + b"\0" * (len(payload) % 2)


def riff_wav(samples, bits=24, rate=48000, before=b"", after=b"", tag=1):
    """The bytes of a plain WAV file built by hand from int32 (channels, frames)."""
    channels, width = samples.shape[0], bits // 8
    raw = np.ascontiguousarray(samples.T).astype("<i4").view(np.uint8).reshape(-1, 4)
    data = raw[:, :width].tobytes()
    form = struct.pack(
        "<HHIIHH", tag, channels, rate, rate * channels * width, channels * width, bits
    )
    body = riff_chunk(b"fmt ", form) + before + riff_chunk(b"data", data) + after
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WAVE") + body


def separate(folder, mix, stems=("vocals", "drums"), seed=0, stretch=1.0):
    """A scratch with pretended stems: random shares of the mix, the first one stretched."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet([1.0] * (len(stems) + 1), mix.shape[1]).T
    audio = {
        stem: (mix * share).astype(np.float32) for stem, share in zip(stems, shares, strict=False)
    }
    audio[stems[0]] *= np.float32(stretch)
    scratch = StemScratch(Path(folder), stems, mix.shape[0])
    scratch.append(audio)
    return scratch


def tool(name):
    """The path of an independent reader; the test is skipped where Debian's package is absent."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def ffmpeg(*arguments):
    """Run ffmpeg and give its standard output."""
    command = [tool("ffmpeg"), "-nostdin", "-y", "-loglevel", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def sine(level_dbfs, seconds, frequency_hz=1000.0, rate=48000, phase=0.0):
    time = np.arange(round(seconds * rate)) / rate
    return 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * frequency_hz * time + phase)
