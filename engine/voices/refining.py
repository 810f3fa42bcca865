"""From a pitch that is nearly right to the one that is sung.

A score knows notes, a tracker a grid of 20 cents; singers drift, glide and shake, and 5 Hz too far
off already harm the masks. Around each given pitch the harmonics of the mix are summed up on a
fine grid, those of the other voices held back, and the strongest smooth way through is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .salience import (
    HIGHEST_HZ,
    LOWEST_HZ,
    PADDED,
    RATE,
    PitchFrames,
    harmonic_salience,
    pitch_grid,
)

Float = NDArray[np.float32]

FINE_CENTS = 10
SECOND_CENTS = 30.0  # around what the first round has found
_REACH = 6  # fine steps from one frame to the next: 60 cents in 16 ms is the fastest glide
_GLIDE = 0.01  # cost of each fine step, in units of the frame's own salience spread
_HELD_BACK = 0.75  # how much of another voice's harmonics is taken away
_OTHERS_HARMONICS = 20
_BEND = 2  # fine steps left and right that the parabola sees


@dataclass(frozen=True)
class Refined:
    """Pitches in Hz and how far their harmonics stand out, 0 to 1; both (voices, frames)."""

    hertz: Float
    confidence: Float


def refine(frames: PitchFrames, near: Float, slack_cents: float, slack_frames: int = 0) -> Refined:
    """Find what is sung within `slack_cents` of `near`.

    near -- (voices, frames) Hz, 0 where a voice rests; it rests in the result, too
    slack_frames -- how many frames earlier and later a note of `near` may begin and end; in
        these frames the pitches of both neighbours are allowed
    """
    first = stand_out(frames, near, slack_cents, slack_frames)
    # now the voices that are held back are held back where they sing
    return stand_out(frames, first.hertz, min(slack_cents, SECOND_CENTS))


def stand_out(
    frames: PitchFrames, near: Float, slack_cents: float, slack_frames: int = 0
) -> Refined:
    """One round of `refine`: the other voices are held back at `near`."""
    fine = pitch_grid(FINE_CENTS)
    hertz, confidence = np.zeros_like(near), np.zeros_like(near)
    for voice, row in enumerate(near):
        other_voices = np.delete(near, voice, axis=0)
        for begin, end in runs_of(row > 0):
            salience = np.concatenate([
                harmonic_salience(held_back(frames.whitened(part), other_voices[:, part]), fine)
                for part in frames.blocks(begin, end)
            ])  # fmt: skip
            wider = slice(max(begin - slack_frames, 0), end + slack_frames)
            allowed = _allowed(row[wider], len(fine), slack_cents, slack_frames)
            allowed = allowed[begin - wider.start :][: end - begin]
            way = _smoothest(salience, allowed)
            hertz[voice, begin:end] = _between(salience, way, fine)
            confidence[voice, begin:end] = _standing_out(salience, way)
    return Refined(hertz, confidence)


def held_back(spectrum: Float, other_pitches: Float) -> Float:
    """The spectrum without most of what stands at other voices' harmonics."""
    kept = np.ones_like(spectrum)
    places = np.arange(len(spectrum))
    for row in other_pitches:
        sung = row > 0
        for harmonic in range(1, _OTHERS_HARMONICS + 1):
            centre = np.round(row * harmonic * PADDED / RATE).astype(int)
            for bins in (centre - 1, centre, centre + 1):
                inside = sung & (bins < spectrum.shape[1]) & (bins >= 0)
                kept[places[inside], bins[inside]] = 1 - _HELD_BACK
    return spectrum * kept


def _allowed(row: Float, candidates: int, slack_cents: float, slack: int) -> NDArray[np.bool_]:
    """Which fine candidates each frame may have, (frames, candidates)."""
    width = round(slack_cents / FINE_CENTS)
    place = np.round(1200 * np.log2(np.maximum(row, 1) / LOWEST_HZ) / FINE_CENTS).astype(int)
    allowed = np.zeros((len(row), candidates), bool)
    for shift in {-slack, 0, slack}:
        moved = np.clip(np.arange(len(row)) + shift, 0, len(row) - 1)
        for offset in range(-width, width + 1):
            bins = place[moved] + offset
            fits = (row[moved] > 0) & (row > 0) & (bins >= 0) & (bins < candidates)
            allowed[np.flatnonzero(fits), bins[fits]] = True
    return allowed


def runs_of(sung: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where a voice sings, (frames,): begins and ends of runs of frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], sung, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _smoothest(salience: Float, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The strongest way through the allowed candidates that does not leap (Viterbi)."""
    low = int(np.flatnonzero(allowed.any(axis=0))[0])
    high = int(np.flatnonzero(allowed.any(axis=0))[-1]) + 1
    worth = np.where(allowed, salience, -1e3)[:, low:high].astype(np.float64)
    spread = max(float(salience[allowed].std()), 1e-9)
    moves = np.arange(-_REACH, _REACH + 1)
    price = _GLIDE * spread * np.abs(moves)
    total = worth[0]
    back = np.zeros(worth.shape, np.int64)
    index = np.arange(high - low)
    for frame in range(1, len(worth)):
        padded = np.pad(total, _REACH, constant_values=-1e12)
        ways = np.lib.stride_tricks.sliding_window_view(padded, 2 * _REACH + 1) - price
        best = ways.argmax(axis=1)
        leap = int(total.argmax())  # from note to note, where the allowed bands do not touch
        direct = ways[index, best]
        leaps = total[leap] - 2 * spread
        back[frame] = np.where(direct >= leaps, index + moves[best], leap)
        total = np.maximum(direct, leaps) + worth[frame]
    way = np.empty(len(worth), np.int64)
    way[-1] = total.argmax()
    for frame in range(len(worth) - 1, 0, -1):
        way[frame - 1] = back[frame, way[frame]]
    return way + low


def _between(salience: Float, way: NDArray[np.int64], fine: NDArray[np.float64]) -> Float:
    """The top of a parabola around each candidate, in Hz."""
    frames = np.arange(len(way))
    left, middle, right = (
        salience[frames, np.clip(way + d, 0, len(fine) - 1)] for d in (-_BEND, 0, _BEND)
    )
    bend = left - 2 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.minimum(bend, -1e-9), 0)
    cents = _BEND * np.clip(shift, -0.75, 0.75) * FINE_CENTS
    return np.clip(fine[way] * 2 ** (cents / 1200), LOWEST_HZ, HIGHEST_HZ).astype(np.float32)


def _standing_out(salience: Float, way: NDArray[np.int64]) -> Float:
    """How far the way stands above the frame's middle, against the frame's best: 0 to 1."""
    chosen = salience[np.arange(len(way)), way]
    floor, best = np.median(salience, axis=1), salience.max(axis=1)
    above: Float = np.clip((chosen - floor) / np.maximum(best - floor, 1e-9), 0, 1)
    return above
