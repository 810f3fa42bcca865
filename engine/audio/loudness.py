"""Measures loudness as a stream: BS.1770-4 integrated, EBU 3342 range, true peak."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .between_samples import PeakBetweenSamples
from .k_weighting import KWeighting
from .layout import loudness_weights

FloatSamples = npt.NDArray[np.floating]

ABSOLUTE_GATE_LUFS = -70.0
OFFSET_LUFS = -0.691  # BS.1770-4 eq. 2: makes a 997 Hz sine at 0 dBFS read -3.01
STEP_S = 0.1  # blocks of 0.4 s overlap by three quarters
MOMENTARY_STEPS, SHORT_TERM_STEPS = 4, 30


@dataclass(frozen=True)
class Loudness:
    """Loudness of one file; levels are -inf for silence or for what is too short to measure."""

    integrated_lufs: float
    range_lu: float
    true_peak_dbtp: float
    sample_peak_dbfs: float
    max_momentary_lufs: float
    max_short_term_lufs: float

    def shifted(self, gain_db: float) -> Loudness:
        """The same sound after a gain."""
        return Loudness(
            self.integrated_lufs + gain_db,
            self.range_lu,
            self.true_peak_dbtp + gain_db,
            self.sample_peak_dbfs + gain_db,
            self.max_momentary_lufs + gain_db,
            self.max_short_term_lufs + gain_db,
        )


class LoudnessMeter:
    """A meter for blocks `(channels, n)` of any length; memory does not grow with the sound."""

    def __init__(self, channels: int, sample_rate: int, channel_mask: int | None = None) -> None:
        self._rate = sample_rate
        self._filter = KWeighting(channels, sample_rate)
        weights = np.array(loudness_weights(channels, channel_mask), np.float64)
        self._steps = _StepEnergies(weights, sample_rate)
        self._peak = PeakBetweenSamples(channels, sample_rate)

    def add(self, block: FloatSamples) -> None:
        """Measure the next frames."""
        self._peak.add(block)
        self._steps.add(self._filter.push(block))

    def result(self) -> Loudness:
        """Everything measured; ends the measurement."""
        self._steps.add(self._filter.finish())
        self._peak.finish()
        energies = np.array(self._steps.energies)
        momentary = _sliding_mean(energies, MOMENTARY_STEPS)
        short_term = _sliding_mean(energies, SHORT_TERM_STEPS)
        return Loudness(
            integrated_lufs=_integrated(momentary),
            range_lu=_range(short_term),
            true_peak_dbtp=decibels(self._peak.true_peak),
            sample_peak_dbfs=decibels(self._peak.sample_peak),
            max_momentary_lufs=_lufs(max(momentary, default=0.0)),
            max_short_term_lufs=_lufs(max(short_term, default=0.0)),
        )


def decibels(amplitude: float) -> float:
    """20 log10, -inf for nothing."""
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


class _StepEnergies:
    """Weighted mean square of every 0.1 s; a step left unfinished at the end does not count."""

    def __init__(self, weights: npt.NDArray[np.float64], sample_rate: int) -> None:
        self._weights, self._rate = weights, sample_rate
        self._position, self._open = 0, 0.0
        self.energies = array("d")  # 80 bytes a second: hours stay small

    def add(self, filtered: npt.NDArray[np.floating]) -> None:
        """Count the next frames (channels, n); leaves their squares there."""
        np.square(filtered, out=filtered)
        power = self._weights.astype(filtered.dtype) @ filtered
        end = self._position + len(power)
        first = len(self.energies)
        borders = [self._border(first)]
        while (border := self._border(first + len(borders))) <= end:
            borders.append(border)
        if len(power):
            starts = [max(border - self._position, 0) for border in borders]
            # an end behind the last sample has no sum of its own
            sums = np.add.reduceat(power, [at for at in starts if at < len(power)])
            sums = sums.astype(np.float64)
            sums = np.append(sums, np.zeros(len(starts) - len(sums)))
            sums[0] += self._open
            self.energies.extend(sums[:-1] / np.diff(borders))
            self._open = float(sums[-1])
        self._position = end

    def _border(self, step: int) -> int:
        return round(step * STEP_S * self._rate)


def _sliding_mean(energies: npt.NDArray[np.float64], steps: int) -> npt.NDArray[np.float64]:
    if len(energies) < steps:
        return np.zeros(0)
    sums = np.cumsum(np.concatenate([[0.0], energies]))
    return np.asarray(np.maximum(sums[steps:] - sums[:-steps], 0.0) / steps)


def _lufs(energy: float) -> float:
    return OFFSET_LUFS + 10 * math.log10(energy) if energy > 0 else -math.inf


def _energy(level_lufs: float) -> float:
    return float(10 ** ((level_lufs - OFFSET_LUFS) / 10))


def _integrated(blocks: npt.NDArray[np.float64]) -> float:
    loud = blocks[blocks > _energy(ABSOLUTE_GATE_LUFS)]
    if not loud.size:
        return -math.inf
    return _lufs(float(loud[loud > loud.mean() * 10**-1.0].mean()))  # gate 10 LU below


def _range(blocks: npt.NDArray[np.float64]) -> float:
    loud = blocks[blocks > _energy(ABSOLUTE_GATE_LUFS)]
    if not loud.size:
        return 0.0
    levels = 10 * np.log10(loud[loud > loud.mean() * 10**-2.0])  # gate 20 LU below
    low, high = np.percentile(levels, [10, 95])
    return float(high - low)
