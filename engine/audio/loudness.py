"""Measures loudness as a stream: BS.1770-4 integrated, EBU 3342 range, true peak."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .layout import loudness_weights

FloatSamples = npt.NDArray[np.floating]

ABSOLUTE_GATE_LUFS = -70.0
OFFSET_LUFS = -0.691  # BS.1770-4 eq. 2: makes a 997 Hz sine at 0 dBFS read -3.01
IMPULSE_S = 0.5  # the 38 Hz high-pass has decayed by more than 200 dB then
CHUNK_S = 2.0
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
    """Takes blocks `(channels, n)` of any length; memory does not grow with the sound."""

    def __init__(self, channels: int, sample_rate: int, channel_mask: int | None = None) -> None:
        self._rate = sample_rate
        weights = np.array(loudness_weights(channels, channel_mask), np.float32)
        self._filter = _StreamFilter(k_weighting_impulse(sample_rate), channels, sample_rate)
        self._steps = _StepEnergies(weights[:, None], sample_rate)
        self._peak = _TruePeak(channels, sample_rate)

    def add(self, block: FloatSamples) -> None:
        """Measure the next frames."""
        block = np.asarray(block, np.float32)
        self._peak.add(block)
        for filtered in self._filter.push(block):
            self._steps.add(filtered)

    def result(self) -> Loudness:
        """Everything measured; ends the measurement."""
        for filtered in self._filter.finish():
            self._steps.add(filtered)
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


def k_weighting_impulse(sample_rate: int) -> npt.NDArray[np.float64]:
    """Impulse response of the two K-weighting filters, `(IMPULSE_S * sample_rate,)`.

    The analogue prototypes behind the standard's 48 kHz coefficients, found by inverting the
    bilinear transform, so that every rate gets the same curve.
    """
    shelf = _high_shelf(1681.974450955533, 3.999843853973347, 0.7071752369554196, sample_rate)
    low_cut = _high_pass(38.13547087602444, 0.5003270373238773, sample_rate)
    length = round(IMPULSE_S * sample_rate)
    size = 1 << (2 * length - 1).bit_length()
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.ones_like(z)
    for b, a in (shelf, low_cut):
        response *= np.polyval(b[::-1], z) / np.polyval(a[::-1], z)
    return np.fft.irfft(response, size)[:length]


def _high_shelf(
    frequency_hz: float, gain_db: float, q: float, sample_rate: int
) -> tuple[list[float], list[float]]:
    k = math.tan(math.pi * frequency_hz / sample_rate)
    high = 10 ** (gain_db / 20)
    middle = high**0.4996667741545416
    norm = 1 + k / q + k * k
    b = [high + middle * k / q + k * k, 2 * (k * k - high), high - middle * k / q + k * k]
    return [value / norm for value in b], [1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]


def _high_pass(frequency_hz: float, q: float, sample_rate: int) -> tuple[list[float], list[float]]:
    k = math.tan(math.pi * frequency_hz / sample_rate)
    norm = 1 + k / q + k * k
    return [1, -2, 1], [1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]


class _StreamFilter:
    """Overlap-save convolution of a stream in chunks of CHUNK_S."""

    def __init__(self, impulse: npt.NDArray[np.float64], channels: int, sample_rate: int) -> None:
        self._memory = len(impulse) - 1
        self._chunk = round(CHUNK_S * sample_rate)
        self._size = _quick_length(self._chunk + self._memory)
        self._response = np.fft.rfft(impulse.astype(np.float32), self._size)
        self._past = np.zeros((channels, self._memory), np.float32)
        self._waiting: list[FloatSamples] = []
        self._count = 0

    def push(self, block: FloatSamples) -> list[FloatSamples]:
        self._waiting.append(block)
        self._count += block.shape[1]
        if self._count < self._chunk:
            return []
        waiting = np.concatenate(self._waiting, axis=1)
        whole = waiting.shape[1] // self._chunk * self._chunk
        self._waiting, self._count = [waiting[:, whole:]], waiting.shape[1] - whole
        return [self._convolve(part) for part in _split(waiting[:, :whole], self._chunk)]

    def finish(self) -> list[FloatSamples]:
        return [self._convolve(np.concatenate(self._waiting, axis=1))] if self._count else []

    def _convolve(self, chunk: FloatSamples) -> FloatSamples:
        joined = np.concatenate([self._past, chunk], axis=1)
        self._past = joined[:, joined.shape[1] - self._memory :]
        spectrum = np.fft.rfft(joined, self._size) * self._response
        wet = np.fft.irfft(spectrum, self._size)
        return np.asarray(wet[:, self._memory : joined.shape[1]])


def _quick_length(least: int) -> int:
    """The smallest 2^a * 3^b * 5^c from `least` on, which transforms fast."""
    best = 1 << (least - 1).bit_length()
    for three_five in (3, 5, 9, 15, 25, 27, 45, 75, 81, 125):
        best = min(best, three_five << max(0, (-(-least // three_five) - 1).bit_length()))
    return best


def _split(audio: FloatSamples, size: int) -> list[FloatSamples]:
    return [audio[:, start : start + size] for start in range(0, audio.shape[1], size)]


class _StepEnergies:
    """Weighted mean square of every 0.1 s; a step left unfinished at the end does not count."""

    def __init__(self, weights: npt.NDArray[np.float32], sample_rate: int) -> None:
        self._weights, self._rate = weights, sample_rate
        self._position, self._open = 0, 0.0
        self.energies = array("d")  # 80 bytes a second: hours stay small

    def add(self, filtered: FloatSamples) -> None:
        power = (np.square(filtered, dtype=np.float64) * self._weights).sum(axis=0)
        end = self._position + len(power)
        borders = [0]
        step = len(self.energies) + 1
        while (border := round(step * STEP_S * self._rate)) <= end:
            borders.append(border - self._position)
            step += 1
        for first, last in pairwise(borders):
            length = round((len(self.energies) + 1) * STEP_S * self._rate) - round(
                len(self.energies) * STEP_S * self._rate
            )
            self.energies.append((self._open + float(power[first:last].sum())) / length)
            self._open = 0.0
        self._open += float(power[borders[-1] :].sum())
        self._position = end


class _TruePeak:
    """Sample peak, and the peak after oversampling to at least 176.4 kHz (BS.1770-4 annex 2)."""

    def __init__(self, channels: int, sample_rate: int) -> None:
        import soxr

        factor = 4 if sample_rate < 88_200 else 2
        self._stream = soxr.ResampleStream(
            sample_rate, factor * sample_rate, channels, dtype="float32", quality="HQ"
        )
        self._channels = channels
        self.sample_peak = self.true_peak = 0.0

    def add(self, block: FloatSamples) -> None:
        self.sample_peak = max(self.sample_peak, _peak(block))
        self._oversample(block, last=False)

    def finish(self) -> None:
        self._oversample(np.zeros((self._channels, 0), np.float32), last=True)

    def _oversample(self, block: FloatSamples, last: bool) -> None:
        dense = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last)
        # the filter's ripple may lie a hair under a sample that is the peak
        self.true_peak = max(self.true_peak, _peak(dense), self.sample_peak)


def _peak(audio: FloatSamples) -> float:
    return float(np.abs(audio).max()) if audio.size else 0.0


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
