"""Given pitches that lie beside what is sung, moved there.

A table from a score, from another tuning or from a coarse tracker is a few Hz off, one way in one
note and the other way in the next; its glides and its vibrato are right. So each note is moved as
a whole, slowly, to where the harmonics of the mix are strongest, those of the other voices held
back. A voice whose notes gain little by it was right, and stays as it was given to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .pitches import HIGHEST_HZ, LOWEST_HZ
from .refining import held_back, runs_of
from .salience import PitchFrames, salience_along

Float = NDArray[np.float32]

MOST_HZ = 7.0  # a note is moved; farther off, other notes begin
TELLING = (
    0.2  # gain of salience in its own deviations: exact pitches have 0.02, 5 Hz off 0.4 to 1.3
)
ROUNDS = 2  # in the second one the other voices stand where they sing
_STEP_HZ = 0.5
_HEARD = 31  # frames, half a second: over which a note's place is found
_EVEN = 15  # frames, a quarter of a second: over which it is evened out
_NEXT_NOTE = 1 / 24  # octaves between frames
_OFFSETS = np.arange(-MOST_HZ, MOST_HZ + _STEP_HZ / 2, _STEP_HZ, dtype=np.float32)


@dataclass(frozen=True)
class Retuned:
    """Pitches (voices, frames) in Hz, and how far each voice was moved: the median of its notes'
    distances in Hz, (voices,); 0 for one that was right."""

    hertz: Float
    moved_hz: NDArray[np.float64]


def retune(frames: PitchFrames, table: Float) -> Retuned:
    """Move the voices of `table`, (voices, frames) Hz with 0 for rests, that lie beside what is
    sung; within MOST_HZ."""
    shifts, gains = np.zeros_like(table), np.zeros_like(table)
    for _ in range(ROUNDS):
        now = table + shifts
        shifts = np.zeros_like(table)
        for voice, row in enumerate(table):
            other_voices = np.delete(now, voice, axis=0)
            for begin, end in _notes(row):
                note = slice(begin, end)
                shifts[voice, note], gains[voice, note] = _best(
                    frames, row, other_voices, begin, end
                )
    found, moved = table.copy(), np.zeros(len(table))
    for voice, row in enumerate(table):
        notes = _notes(row)
        gained = np.array([gains[voice, begin:end].mean() for begin, end in notes])
        long = np.array([end - begin for begin, end in notes])
        if not notes or np.median(gained.repeat(long)) < TELLING:
            continue
        for (begin, end), gain in zip(notes, gained, strict=True):
            if gain > TELLING:
                found[voice, begin:end] += _mean(shifts[voice, begin:end], _EVEN)
        moved[voice] = np.median(np.abs(found[voice] - row)[row > 0])
        sung = found[voice] > 0
        found[voice, sung] = np.clip(found[voice, sung], LOWEST_HZ, HIGHEST_HZ)
    return Retuned(found, moved)


def _best(
    frames: PitchFrames, row: Float, other_voices: Float, begin: int, end: int
) -> tuple[Float, Float]:
    """How many Hz each frame of a note is to be moved, and what it gains, both (frames,)."""
    salience = np.concatenate([
        salience_along(
            held_back(frames.whitened(part), other_voices[:, part]),
            np.maximum(row[part, None] + _OFFSETS, 1),
        )
        for part in frames.blocks(begin, end)
    ])  # fmt: skip
    spread = max(float(salience.std()), 1e-9)
    heard = _mean(salience, _HEARD)
    index = np.arange(end - begin)
    best = heard.argmax(axis=1)
    inner = np.clip(best, 1, len(_OFFSETS) - 2)
    left, middle, right = (heard[index, inner + d] for d in (-1, 0, 1))
    bend = left - 2 * middle + right
    between = np.where(bend < 0, 0.5 * (left - right) / np.minimum(bend, -1e-9), 0)
    moved = _OFFSETS[inner] + _STEP_HZ * np.clip(between, -1, 1)
    gained = (heard[index, best] - heard[:, len(_OFFSETS) // 2]) / spread
    return np.asarray(moved, np.float32), np.asarray(gained, np.float32)


def _notes(row: Float) -> list[tuple[int, int]]:
    """Where notes begin and end: between rests and leaps."""
    found = []
    for begin, end in runs_of(row > 0):
        leaps = np.abs(np.diff(np.log2(row[begin:end]))) > _NEXT_NOTE
        edges = [begin, *(np.flatnonzero(leaps) + begin + 1), end]
        found += [(int(a), int(b)) for a, b in pairwise(edges)]
    return found


def _mean(values: Float, width: int) -> Float:
    """Means over `width` frames around each one, (frames, ...); over fewer at the edges."""
    summed = np.cumsum(np.pad(values, ((1, 0), *((0, 0),) * (values.ndim - 1))), axis=0)
    index = np.arange(len(values))
    low, high = np.maximum(index - width // 2, 0), np.minimum(index + width // 2 + 1, len(values))
    count = (high - low).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray((summed[high] - summed[low]) / count, np.float32)
