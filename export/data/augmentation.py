"""What happens to an instrument between the microphone and the mix, done to band magnitudes.

Takes and renders are dry, finished stems are not: they are equalised, compressed, put into rooms
and doubled. A prior that has only heard dry ones takes the room of one instrument for another.
All functions work on power or magnitude alone, as phases are not there: powers of a reverberant
tail add to the direct sound's.

Shape: excerpts are (frames, bands) magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Rng = np.random.Generator

EQ_DB = 6.0
GAIN_DB = (-12.0, 3.0)
ROOM_DECAY_S = (0.15, 2.5)  # time to fall by 60 dB
ROOM_DB = (-18.0, 0.0)  # power of the tail against the direct sound's
COMPRESSION = (0.4, 1.1)  # output dB per input dB; above 1 expands
MOST_GAIN_DB = 12.0  # of the compressor
LAYER_DB = (-9.0, 0.0)
_ENVELOPE_FRAMES = 4
_LEAST = np.float32(1e-6)


@dataclass(frozen=True)
class Production:
    """How often an excerpt is treated in each way."""

    room: float = 0.35
    dynamics: float = 0.35
    cut: float = 0.15
    layer: float = 0.2

    def treat(self, rng: Rng, excerpt: Float, frame_s: float) -> None:
        """Treat one excerpt in place: dynamics, colour, room, gain."""
        if rng.random() < self.dynamics:
            excerpt *= random_dynamics(rng, excerpt)
        excerpt *= random_eq(rng, excerpt.shape[1])
        if rng.random() < self.cut:
            excerpt *= random_cut(rng, excerpt.shape[1])
        if rng.random() < self.room:
            add_room(rng, excerpt, frame_s)
        excerpt *= np.float32(10 ** (rng.uniform(*GAIN_DB) / 20))


PRODUCED = Production()
DRY = Production(room=0, dynamics=0, cut=0, layer=0)  # equaliser and gain alone


def random_eq(rng: Rng, bands: int) -> Float:
    """A smooth gain curve (bands,): a tilt and one bell or dip, each up to EQ_DB."""
    position = np.linspace(-1, 1, bands)
    curve_db = rng.uniform(-EQ_DB, EQ_DB) * position
    centre, width = rng.uniform(-1, 1), rng.uniform(0.1, 0.5)
    curve_db += rng.uniform(-EQ_DB, EQ_DB) * np.exp(-(((position - centre) / width) ** 2))
    return (10 ** (curve_db / 20)).astype(np.float32)


def random_cut(rng: Rng, bands: int) -> Float:
    """A high-pass or low-pass gain curve (bands,) that takes away up to a third of the bands."""
    edge, slope_db = rng.uniform(0.0, 0.33) * bands, rng.uniform(0.5, 3.0)
    below = np.maximum(edge - np.arange(bands), 0)
    curve_db = -np.minimum(slope_db * below, 60.0)
    if rng.random() < 0.5:
        curve_db = curve_db[::-1]
    return np.asarray(10 ** (curve_db / 20), np.float32)


def random_dynamics(rng: Rng, excerpt: Float) -> Float:
    """A compressor's or expander's gain (frames, 1): the level's swings times a random ratio."""
    return dynamics(excerpt, rng.uniform(*COMPRESSION), _ENVELOPE_FRAMES)


def dynamics(excerpt: Float, ratio: float, envelope_frames: int) -> Float:
    """The gain (frames, 1) that leaves `ratio` dB of a level's swing for every dB.

    The level is that of the last few frames, so that with one onsets are held down as well.
    """
    power = (excerpt**2).mean(axis=1)
    smooth = np.convolve(power, np.ones(envelope_frames) / envelope_frames)[: power.size]
    level_db = 10 * np.log10(smooth + _LEAST)
    swing_db = level_db - np.percentile(level_db, 75)
    limited = np.clip((ratio - 1) * swing_db, -MOST_GAIN_DB, MOST_GAIN_DB)
    return np.asarray(10 ** (limited / 20), np.float32)[:, None]


def add_room(rng: Rng, excerpt: Float, frame_s: float) -> None:
    """Add a decaying tail in place; high bands decay up to three times faster."""
    decay_s = np.exp(rng.uniform(*np.log(ROOM_DECAY_S)))
    faster = np.linspace(1, rng.uniform(1, 3), excerpt.shape[1])
    kept = (10 ** (-6 * frame_s * faster / decay_s)).astype(np.float32)
    share = np.float32(10 ** (rng.uniform(*ROOM_DB) / 10))
    tail = np.zeros(excerpt.shape[1], np.float32)
    for frame in excerpt:
        power = frame**2
        frame[:] = np.sqrt(power + share * tail)
        tail = kept * tail + (1 - kept) * power
