"""Our own multi-pitch tracker: candidates in every frame, assigned to voices by order and
continuity.

The candidates are the peaks of what a small network says (see `pitch_network`). A beam search then
goes through the song with all voices at once: each frame's candidates are given to the voices from
the highest down, two voices may share one (a unison), neighbours may cross at a price, any may
rest. What a state is worth are its candidates' strengths; what it costs are leaps, entries and
exits, and pitches far from a voice's own register. The way of Cuesta, McFee and Gomez (2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, combinations_with_replacement, pairwise

import numpy as np
from numpy.typing import NDArray

from .pitch_network import PitchNetwork
from .salience import (
    PITCH_STRIDE,
    STEP_CENTS,
    PitchFrames,
    pitch_grid,
)

Float = NDArray[np.float32]
Double = NDArray[np.float64]

# Middles of the registers in semitones above LOWEST_HZ (the low B), for names that say one.
REGISTERS = {
    "soprano": 34.0, "mezzo": 32.0, "treble": 34.0, "alto": 28.0, "contralto": 27.0,
    "countertenor": 28.0, "tenor": 22.0, "lead": 22.0, "baritone": 18.0, "bass": 14.0,
    "violin": 36.0, "viola": 29.0, "cello": 18.0,
}  # fmt: skip
# Of five voices and more there are ten thousands of states: the likeliest after the best beam.
MOST_STATES = 3000
_HIGH, _LOW = 35.0, 14.0  # of names that say none: evenly spread in between


@dataclass(frozen=True)
class TrackerSettings:
    """What the search weighs; tuned on sums of choral solos (docs/lab.md)."""

    peaks: int = 8
    beam: int = 48
    floor: float = 0.15  # of a loud frame's strongest candidate: no voice below it
    reward: float = 1.8  # of a candidate, for each e-fold above the floor
    shared: float = 0.1  # what the second voice on the same candidate still gets of it
    leap: float = 0.08  # for each 20 cents from frame to frame
    most_leap: float = 2.4
    return_leap: float = 0.012  # for each 20 cents after a rest
    enter: float = 2.0
    leave: float = 1.2
    crossing: float = 0.6  # for each frame in which two neighbours are in the wrong order
    register: float = 0.015  # for each semitone squared beyond the comfortable ones
    comfortable: float = 4.5  # semitones on both sides of a register's middle


DEFAULTS = TrackerSettings()


@dataclass(frozen=True)
class Coarse:
    """Tracks on the grid of 20 cents: hertz and confidence, both (voices, frames)."""

    hertz: Float
    confidence: Float

    def every_frame(self, frames: int) -> Coarse:
        """Hold each of PITCH_STRIDE frames' tracks until the next."""
        hertz = self.hertz.repeat(PITCH_STRIDE, axis=1)[:, :frames]
        return Coarse(hertz, self.confidence.repeat(PITCH_STRIDE, axis=1)[:, :frames])


def registers_of(names: Sequence[str]) -> Double:
    """Where each voice is at home, in semitones above the grid's lowest pitch."""
    spread = np.linspace(_HIGH, _LOW, len(names)) if len(names) > 1 else np.array([24.0])
    return np.array(
        [
            next((middle for word, middle in REGISTERS.items() if word in name), spread[index])
            for index, name in enumerate(names)
        ]
    )


def track(
    frames: PitchFrames,
    names: Sequence[str],
    network: PitchNetwork,
    tick: Callable[[], None] = lambda: None,
) -> Coarse:
    """Find a pitch for every voice in every frame; voices are named from the highest down."""
    strengths = network.strengths(frames, tick)
    coarse = assign(strengths, frames.level[::PITCH_STRIDE], names, DEFAULTS, tick)
    return coarse.every_frame(len(frames))


def assign(
    strengths: Float,
    level: Float,
    names: Sequence[str],
    settings: TrackerSettings = DEFAULTS,
    tick: Callable[[], None] = lambda: None,
) -> Coarse:
    """Give the peaks of `strengths`, (frames, candidates of `pitch_grid()`), to the voices."""
    loud = np.percentile(strengths.max(axis=1), 90) if len(strengths) else 0.0
    shape = (len(names), len(strengths))
    if loud <= 0:
        return Coarse(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    search = _Search(registers_of(names), settings)
    smooth = _smooth(strengths) / loud
    for index, frame in enumerate(smooth):
        audible = level[index] > 1e-3 * level.max()
        search.step(*_peaks(frame, settings, audible=bool(audible)))
        if index % 256 == 0:
            tick()
    return search.result(shape)


class _Search:
    """A beam search over assignments; frame by frame."""

    def __init__(self, registers: Double, settings: TrackerSettings) -> None:
        self._registers, self._settings = registers, settings
        voices = len(registers)
        self._scores = np.zeros(1)
        self._last = registers[None].copy()  # semitones, kept through rests
        self._sings = np.zeros((1, voices), bool)
        self._back: list[NDArray[np.int16]] = []  # small: there is one of them for every frame
        self._chosen: list[tuple[Float, Float]] = []  # semitones and strengths of each state

    def step(self, semitones: Double, strengths: Double) -> None:
        """Take in a frame's candidates, highest first."""
        s, voices = self._settings, len(self._registers)
        states, crossings = _states(voices, len(semitones))
        pitch = np.append(semitones, 0.0)
        worth = np.append(s.reward * np.log(np.maximum(strengths, 1e-9) / s.floor), 0.0)
        far = np.abs(pitch[None] - self._registers[:, None]) - s.comfortable
        own = worth[None] - s.register * np.square(np.maximum(far, 0))
        own[:, -1] = 0.0  # rests
        emitted = own[np.arange(voices), states].sum(axis=1) - s.crossing * crossings
        emitted -= _shared(states, worth) * (1 - s.shared)
        pays = self._pays(pitch)
        if len(states) > MOST_STATES:
            leader = pays[self._scores.argmax()]
            alone = emitted - leader[np.arange(voices), states].sum(axis=1)
            likely = np.argpartition(-alone, MOST_STATES)[:MOST_STATES]
            states, emitted = states[likely], emitted[likely]
        cost = np.zeros((len(self._scores), len(states)))
        for voice in range(voices):
            cost += pays[:, voice, states[:, voice]]
        total = self._scores[:, None] - cost
        best = total.argmax(axis=0)
        scores = total[best, np.arange(len(states))] + emitted
        keep = (
            np.argpartition(-scores, s.beam)[: s.beam]
            if len(scores) > s.beam
            else np.arange(len(scores))
        )
        chosen = states[keep]
        sings = chosen < len(semitones)
        before = best[keep]
        self._last = np.where(sings, pitch[chosen], self._last[before])
        self._sings, self._scores = sings, scores[keep] - scores[keep].max()
        heard = np.append(strengths, 0.0)
        semitones_or_rest = np.where(sings, pitch[chosen], np.nan)
        self._back.append(before.astype(np.int16))
        self._chosen.append(
            (semitones_or_rest.astype(np.float32), heard[chosen].astype(np.float32))
        )

    def _pays(self, pitch: Double) -> Double:
        """What each voice pays from each beam to each candidate, the last of which is a rest:
        (beams, voices, candidates)."""
        s = self._settings
        steps = np.abs(pitch - self._last[:, :, None]) * (100 / STEP_CENTS)
        held = np.minimum(s.leap * steps, s.most_leap)
        entering = s.enter + np.minimum(s.return_leap * steps, s.most_leap)
        pays: Double = np.where(self._sings[:, :, None], held, entering)
        pays[:, :, -1] = np.where(self._sings, s.leave, 0.0)
        return pays

    def result(self, shape: tuple[int, int]) -> Coarse:
        """Walk back along the best way."""
        hertz, confidence = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        beam = int(self._scores.argmax())
        for index in reversed(range(shape[1])):
            semitones, strengths = self._chosen[index]
            sung = ~np.isnan(semitones[beam])
            found = pitch_grid()[0] * 2 ** (np.nan_to_num(semitones[beam]) / 12)
            hertz[:, index] = np.where(sung, found, 0)
            sure = np.clip(strengths[beam] / (3 * self._settings.floor), 0, 1)
            confidence[:, index] = np.where(sung, sure, 0.5)
            beam = int(self._back[index][beam])
        return Coarse(hertz, confidence)


def _peaks(frame: Float, settings: TrackerSettings, *, audible: bool) -> tuple[Double, Double]:
    """The strongest local maxima above the floor, highest pitch first: semitones, strengths."""
    inner = frame[1:-1]
    tops = np.flatnonzero((inner > frame[:-2]) & (inner >= frame[2:])) + 1
    tops = tops[frame[tops] > 0.5 * settings.floor] if audible else tops[:0]
    # energy of a vibrating voice is spread over neighbouring candidates
    strength = frame[tops - 1] + frame[tops] + frame[tops + 1] if len(tops) else frame[tops]
    order = np.argsort(-strength, kind="stable")[: settings.peaks]
    kept = np.sort(order)[::-1]
    tops = tops[kept]
    if not len(tops):
        return np.zeros(0), np.zeros(0)
    left, middle, right = (frame[tops + d].astype(np.float64) for d in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.minimum(bend, -1e-12), 0)
    semitones = (tops + np.clip(shift, -0.5, 0.5)) * (STEP_CENTS / 100)
    return semitones, strength[kept].astype(np.float64)


@lru_cache(64)
def _states(voices: int, peaks: int) -> tuple[NDArray[np.int64], Double]:
    """All ways to give candidates (highest first) to voices, (states, voices) with `peaks` for a
    rest, and how many neighbours cross in each."""
    found: dict[tuple[int, ...], int] = {}
    for singing in range(voices + 1):
        for who in combinations(range(voices), singing):
            for what in combinations_with_replacement(range(peaks), singing):
                if any(what.count(peak) > 2 for peak in what):
                    continue  # three in unison: two, and one that rests
                state = [peaks] * voices
                for voice, peak in zip(who, what, strict=True):
                    state[voice] = peak
                found.setdefault(tuple(state), 0)
                for left, right in pairwise(who):
                    crossed = state.copy()
                    crossed[left], crossed[right] = state[right], state[left]
                    found.setdefault(tuple(crossed), 1 if crossed != state else 0)
    return np.array(list(found), np.int64).reshape(-1, voices), np.array(
        list(found.values()), float
    )


def _shared(states: NDArray[np.int64], worth: Double) -> Double:
    """What candidates are worth that two voices share, for each state."""
    total = np.zeros(len(states))
    rest = len(worth) - 1
    for left, right in combinations(range(states.shape[1]), 2):
        both = (states[:, left] == states[:, right]) & (states[:, left] != rest)
        total += np.where(both, worth[states[:, left]], 0)
    return total


def _smooth(strengths: Float) -> Float:
    """Three frames' mean: 96 ms, shorter than any sung note."""
    padded = np.pad(strengths, ((1, 1), (0, 0)), mode="edge")
    mean: Float = (padded[:-2] + padded[1:-1] + padded[2:]) / np.float32(3)
    return mean
