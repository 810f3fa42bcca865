"""Music for the check of a card, and the card at work on it: all in memory, a passage long."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from ..audio.layout import ChannelGroups
from ..audio.reading import probe
from ..audio.resampling import resampled, resampled_frames
from ..audio.signal import ArraySignal, MixFile, blocks_of
from ..model.hooks import SearchHooks
from ..model.sessions import Device
from .estimating import CardSeparation
from .loading import LoadedCard

Float = NDArray[np.float32]
Double = NDArray[np.float64]

EXCERPT_S = 24.0


def excerpt(music: Path, sample_rate: int, seconds: float) -> Float:
    """The loudest passage of a recording, stereo at the model's rate, (2, n)."""
    info = probe(music)
    signal = MixFile(music, info)
    rows = [float(np.square(block.double).mean()) for block in blocks_of(signal, info.sample_rate)]
    width = min(len(rows), max(1, round(seconds)))
    sums = np.convolve(rows, np.ones(width), "valid")
    if not sums.max() > 0:
        raise StemwrightError("check-silent", f"{music.name} is silent. Give other music.")
    start, frames = int(sums.argmax()) * info.sample_rate, width * info.sample_rate
    with signal.open() as reader:
        reader.seek(start)
        taken = reader.read(min(frames, info.frames - start)).audio
    stereo = taken[:2] if info.channels > 1 else np.repeat(taken, 2, axis=0)
    count = stereo.shape[1]
    pieces = resampled(iter([stereo]), 2, count, info.sample_rate, sample_rate)
    found = np.concatenate(list(pieces), axis=1)
    assert found.shape[1] == resampled_frames(count, info.sample_rate, sample_rate)
    return np.asarray(found, np.float32)


def computed_music(sample_rate: int, seconds: float = EXCERPT_S) -> Float:
    """A bass line, chords, a singing tone with vibrato and noise for drums, stereo (2, n)."""
    rng = np.random.default_rng(20261127)
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    beat = (time_s * 2).astype(int)

    def saw(hz: Double, partials: int) -> Double:
        phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, time_s.shape)) / sample_rate
        return np.asarray(sum(np.sin(k * phase) / k for k in range(1, partials + 1)))

    roots = np.array([55.0, 65.4, 73.4, 49.0])[(beat // 4) % 4]
    bass = 0.25 * saw(roots, 4)
    chords = 0.06 * sum(saw(4 * roots * ratio, 6) for ratio in (1, 1.25, 1.5))
    voice = 0.12 * saw(8 * roots * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * time_s)), 10)
    voice *= (beat % 8) < 5
    decay = np.exp(-25 * (time_s * 2 % 1))
    drums = 0.3 * decay * rng.standard_normal((2, len(time_s)))
    left = bass + 1.3 * chords + voice
    right = bass + 0.7 * chords + voice
    return np.asarray(0.5 * (np.stack([left, right]) + drums), np.float32)


def separated_excerpt(
    loaded: LoadedCard, mix: Float, device: Device, threads: int
) -> tuple[Float, str]:
    """All used stems (stems, 2, n) and the device they were made on."""
    signal = ArraySignal(mix, loaded.card.sample_rate)
    groups = ChannelGroups(((0, 1),), ())
    separation = CardSeparation(loaded, device, threads)
    with tempfile.TemporaryDirectory() as folder:
        separation.search(signal, groups, Path(folder), SearchHooks())
        stems = np.concatenate(list(separation.stems_of(signal, groups, Path(folder))), axis=2)
    return stems, separation.got
