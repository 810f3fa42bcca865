"""Measures true peak at eight times the sample rate, for ceilings that are to hold.

What is only reported is measured as the standard asks, and much faster, by `between_samples`.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from .blocks import AudioBlock
from .loudness import decibels

OVERSAMPLING = 8  # a sine's highest sample is then at most 0.17 dB below its peak
# What is to be at most -1 dBTP is brought to -1.1: meters differ by their filters.
CEILING_MARGIN_DB = 0.1
HALF_LENGTH = 64  # taps on either side: flat to 0.1 dB up to 0.97 of Nyquist
KAISER_BETA = 9.0
TRANSFORM = 1 << 15


class TruePeakMeter:
    """A meter for blocks `(channels, n)` of any length.

    Two interpolators are asked and the higher one believed, because on noise up to Nyquist
    meters differ by 0.4 dB, either way: soxr, whose filter ends 5 % below Nyquist as those of
    most meters do, and a long windowed sinc that keeps nearly everything.
    """

    def __init__(self, channels: int, sample_rate: int) -> None:
        import soxr

        self._highest = 0.0
        self._past = np.zeros((channels, 2 * HALF_LENGTH), np.float32)
        self._stream = soxr.ResampleStream(
            sample_rate, OVERSAMPLING * sample_rate, channels, dtype="float32", quality="HQ"
        )

    def add(self, block: AudioBlock) -> None:
        """Measure the next frames."""
        self._believe(block)
        self._believe(self._stream.resample_chunk(np.ascontiguousarray(block.T)))
        self._interpolate(block)

    def result_dbtp(self) -> float:
        """The true peak in dBTP, -inf for silence; ends the measurement."""
        silence = np.zeros((self._past.shape[0], HALF_LENGTH), np.float32)
        self._believe(self._stream.resample_chunk(silence[:, :0].T.copy(), last=True))
        self._interpolate(silence)
        return decibels(self._highest)

    def _interpolate(self, block: AudioBlock) -> None:
        """Overlap-save with one short filter for each of the points between two samples."""
        joined = np.concatenate([self._past, block], axis=1)
        overlap = 2 * HALF_LENGTH
        for start in range(0, block.shape[1], TRANSFORM - overlap):
            part = joined[:, start : start + TRANSFORM]
            spectrum = np.fft.rfft(part, TRANSFORM)
            for response in _responses():
                between = np.fft.irfft(spectrum * response, TRANSFORM)
                self._believe(between[:, overlap : part.shape[1]])
        self._past = joined[:, joined.shape[1] - overlap :]

    def _believe(self, dense: npt.NDArray[np.floating]) -> None:
        if dense.size:
            self._highest = max(self._highest, float(np.abs(dense).max()))


@functools.cache
def _responses() -> list[npt.NDArray[np.complex64]]:
    """Frequency responses `(TRANSFORM / 2 + 1,)` that shift by 1/8, 2/8, ... of a sample.

    h_k(n) = sinc(n - k/8) w(n - k/8), w the Kaiser window of width 2 HALF_LENGTH.
    """
    found = []
    for step in range(1, OVERSAMPLING):
        at = np.arange(-HALF_LENGTH, HALF_LENGTH + 1) - step / OVERSAMPLING
        window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0, 1 - (at / HALF_LENGTH) ** 2)))
        impulse = np.sinc(at) * window / np.i0(KAISER_BETA)
        found.append(np.fft.rfft(impulse, TRANSFORM).astype(np.complex64))
    return found
