"""A score laid onto a recording: first by one offset and one stretch, then bar by bar.

Both are compared semitone by semitone, ten times a second: what the activations say sounds, and
what the score says is sung. The best offset for every stretch is found by correlation; from
there dynamic time warping in a narrow band follows the singers' rubato (Ewert, Mueller and Grosche
2009 with activations for chroma: unlike chroma they know the octave). The same search with the
score transposed says how much of the agreement is chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .salience import FRAME_S, LOWEST_HZ, STEP_CENTS, PitchFrames, activations
from .score import VoiceScore

Float = NDArray[np.float32]
Double = NDArray[np.float64]

STRIDE = 6
STEP_S = STRIDE * FRAME_S  # 96 ms
SEMITONES = 48
LOWEST_NUMBER = round(69 + 12 * np.log2(LOWEST_HZ / 440))
_STRETCHES = 2 ** np.linspace(-1, 1, 61)
_FINER = np.linspace(-0.024, 0.024, 7)
TRANSPOSITIONS = range(-11, 12)
BAND_S = 3.0  # how far singers may be from an even tempo
_RUBATO = 0.15  # price of a step that is not the even tempo's, in frames of full agreement
_ELSEWHERE = 0.03  # how much an even tempo is preferred, for each octave of stretch


@dataclass(frozen=True)
class Alignment:
    """Where in the score a recording is, and how sure that is.

    score_s -- seconds of the score at every step of STEP_S of the recording
    offset_s, stretch -- score = (recording - offset_s) / stretch, before the rubato
    agreement -- mean agreement of what sounds and what is written, 0 to 1
    chance -- the best agreement of the same score in any other transposition
    transposition -- semitones that the singers are above the score
    """

    score_s: Double
    offset_s: float
    stretch: float
    agreement: float
    chance: float
    transposition: int

    @property
    def margin(self) -> float:
        """How far the agreement stands above chance; 0 or less for another song."""
        return (self.agreement - self.chance) / max(self.chance, 1e-9)

    def score_times(self, frames: int) -> Double:
        """Seconds of the score at every frame of FRAME_S."""
        times = np.arange(frames) * FRAME_S
        known = np.arange(len(self.score_s)) * STEP_S
        found: Double = np.interp(times, known, self.score_s)
        return found


def align(frames: PitchFrames, score: VoiceScore) -> Alignment:
    """Find where the recording is in the score."""
    heard = heard_semitones(frames)
    fits = _Fits(heard, score)
    coarse = {
        shift: max((fits.best(s, shift) for s in _STRETCHES), key=lambda fit: fit.worth)
        for shift in TRANSPOSITIONS
    }
    shift = max(coarse, key=lambda shift: (coarse[shift].worth, shift == 0))
    chance = max(fit.worth for other, fit in coarse.items() if other != shift)
    near = (fits.best(coarse[shift].stretch * 2**d, shift) for d in _FINER)
    best = max(near, key=lambda fit: fit.worth)
    steps = np.arange(len(heard))
    line = (steps * STEP_S - best.offset_s) / best.stretch
    agreements = [
        np.einsum("ts,ts->t", written_semitones(score, line + late / best.stretch, shift), heard)
        for late in _band()
    ]
    warped = _warped(np.stack(agreements))
    return Alignment(
        line + _band()[warped] / best.stretch,
        best.offset_s,
        best.stretch,
        best.worth,
        chance,
        shift,
    )


def heard_semitones(frames: PitchFrames) -> Float:
    """What sounds, (steps, SEMITONES); every step that is not silent has length 1."""
    found = activations(frames, STRIDE)
    per = 100 // STEP_CENTS
    padded = np.zeros((len(found), SEMITONES * per + per), np.float32)
    width = min(found.shape[1], padded.shape[1] - per // 2)
    padded[:, per // 2 : per // 2 + width] = found[:, :width]  # a semitone is around its note
    summed = padded[:, : SEMITONES * per].reshape(len(found), SEMITONES, per).sum(axis=2)
    level = frames.level[::STRIDE][: len(summed)]
    summed[level < 0.02 * max(float(level.max()), 1e-9)] = 0
    return _unit(summed)


def written_semitones(score: VoiceScore, times: Double, shift: int = 0) -> Float:
    """What is sung by the score, `shift` semitones higher; (times, SEMITONES), of length 1, or 0
    in rests."""
    found = np.zeros((len(times), SEMITONES), np.float32)
    for row in score.numbers_at(times):
        sung = ~np.isnan(row)
        bins = row[sung].astype(int) + shift - LOWEST_NUMBER
        inside = (bins >= 0) & (bins < SEMITONES)
        found[np.flatnonzero(sung)[inside], bins[inside]] = 1
    return _unit(found)


@dataclass(frozen=True)
class _Fit:
    worth: float
    offset_s: float
    stretch: float


class _Fits:
    """Correlations of a recording with a score at any stretch and transposition."""

    def __init__(self, heard: Float, score: VoiceScore) -> None:
        self._score, self._steps = score, len(heard)
        self._sounding = max(int((np.square(heard).sum(axis=1) > 0).sum()), 1)
        longest = int(np.ceil(2.05 * score.seconds / STEP_S)) + 2
        self._length = 1 << (len(heard) + longest).bit_length()
        self._heard = np.fft.rfft(heard.T, self._length).astype(np.complex64)
        self._kept: dict[float, tuple[NDArray[np.complex64], int]] = {}

    def best(self, stretch: float, shift: int) -> _Fit:
        """The best offset."""
        spectrum, count = self._written(stretch)
        low, high = max(shift, 0), SEMITONES + min(shift, 0)
        product = (self._heard[low:high] * spectrum[low - shift : high - shift].conj()).sum(0)
        agreement = np.fft.irfft(product, self._length)
        place = int(agreement.argmax())
        step = place if place < self._steps else place - self._length
        worth = agreement[place] / min(self._sounding, count)
        worth -= _ELSEWHERE * abs(np.log2(stretch))
        return _Fit(float(worth), step * STEP_S, float(stretch))

    def _written(self, stretch: float) -> tuple[NDArray[np.complex64], int]:
        key = round(float(stretch), 9)
        if key not in self._kept:
            steps = max(1, int(np.ceil(self._score.seconds * stretch / STEP_S)))
            times: Double = np.arange(steps, dtype=np.float64) * (STEP_S / stretch)
            rows = written_semitones(self._score, times)
            count = max(int((rows.sum(axis=1) > 0).sum()), 1)
            self._kept[key] = np.fft.rfft(rows.T, self._length).astype(np.complex64), count
        return self._kept[key]


def _band() -> Double:
    """Deviations from the even tempo in seconds of the recording."""
    half = round(BAND_S / STEP_S)
    places: Double = np.arange(-half, half + 1, dtype=np.float64) * STEP_S
    return places


def _warped(agreement: Float) -> NDArray[np.int64]:
    """The best way through (band, steps) that moves by at most one place a step."""
    worth = agreement.astype(np.float64)
    total, back = worth[:, 0].copy(), np.zeros(worth.shape, np.int64)
    places = np.arange(len(worth))
    for step in range(1, worth.shape[1]):
        padded = np.pad(total, 1, constant_values=-1e9)
        ways = np.stack([padded[:-2] - _RUBATO, padded[1:-1], padded[2:] - _RUBATO])
        choice = ways.argmax(axis=0)
        back[:, step] = places + choice - 1
        total = ways[choice, places] + worth[:, step]
    way = np.empty(worth.shape[1], np.int64)
    way[-1] = total.argmax()
    for step in range(worth.shape[1] - 1, 0, -1):
        way[step - 1] = back[way[step], step]
    return way


def _unit(rows: Float) -> Float:
    length = np.sqrt(np.square(rows).sum(axis=-1, keepdims=True))
    unit: Float = rows / np.maximum(length, 1e-9)
    return unit
