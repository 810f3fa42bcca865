"""Finds the true peak (BS.1770 annex 2): the highest point of a signal between its samples.

A windowed sinc h interpolates. A block of samples with its neighbours gives all points between
them by one matrix product, and most blocks need none: no point is higher than the highest sample
in reach times the largest sum of |h|, so a block that cannot reach the peak so far is passed over.

This is the fast meter, for what is reported of every file (`loudness`). Where a ceiling is to hold
whatever meter looks at it, `true_peak` measures more strictly, at many times the cost.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

BLOCK = 24  # samples between which one product finds the points
HALF_LENGTH = 24  # taps on either side: flat to 0.1 dB up to 0.9 of Nyquist
KAISER_BETA = 5.65  # images 60 dB down
# OpenBLAS shares larger products out over threads, of which the pools have their own.
BLOCKS_AT_ONCE = 48
DENSE_HZ = 176_400  # the standard asks for four times 48 kHz


class PeakBetweenSamples:
    """A meter for blocks `(channels, n)` of any length; `sample_peak` and `true_peak` are
    amplitudes, of all frames once it is finished."""

    def __init__(self, channels: int, sample_rate: int) -> None:
        self._matrix, self._most = _interpolator(4 if 2 * sample_rate < DENSE_HZ else 2)
        self._past = np.zeros((channels, 2 * HALF_LENGTH), np.float32)
        self.sample_peak = self.true_peak = 0.0

    def add(self, block: npt.NDArray[np.floating]) -> None:
        """Measure the next frames; those in reach of frames to come wait for them."""
        joined = np.concatenate([self._past, block], axis=1, dtype=np.float32, casting="same_kind")
        blocks = joined.shape[1] // BLOCK - _REACH
        if blocks > 0:
            self._believe(joined[:, : (blocks + _REACH) * BLOCK])
            self._past = joined[:, blocks * BLOCK :]
        else:
            self._past = joined

    def finish(self) -> None:
        """Measure what has waited; the signal is continued with silence."""
        self.add(np.zeros((len(self._past), 2 * HALF_LENGTH + BLOCK), np.float32))

    def _believe(self, audio: Float) -> None:
        """Whole blocks (channels, n), the last _REACH of which are only looked at."""
        starts = np.arange(0, audio.shape[1], BLOCK)
        highest = np.maximum.reduceat(np.abs(audio), starts, axis=1)
        self.sample_peak = max(self.sample_peak, float(highest.max()))
        self.true_peak = max(self.true_peak, self.sample_peak)
        blocks = len(starts) - _REACH
        in_reach = functools.reduce(
            np.maximum, [highest[:, at : at + blocks] for at in range(_REACH + 1)]
        )
        windows = np.lib.stride_tricks.sliding_window_view(audio, len(self._matrix), axis=1)
        able = windows[:, : blocks * BLOCK : BLOCK][in_reach * self._most > self.true_peak]
        whole = len(able) // BLOCKS_AT_ONCE * BLOCKS_AT_ONCE
        stacked: Float = able[:whole].reshape(-1, BLOCKS_AT_ONCE, able.shape[1])
        for some in (stacked, able[whole:]):
            between = some @ self._matrix
            if between.size:
                highest_between = float(max(between.max(), -between.min()))
                self.true_peak = max(self.true_peak, highest_between)


_REACH = 2 * HALF_LENGTH // BLOCK  # blocks behind one that its points depend on


@functools.cache
def _interpolator(factor: int) -> tuple[Float, float]:
    """The matrix, (BLOCK + 2 HALF_LENGTH, BLOCK * (factor - 1)), and its largest sum of |h|.

    h_k(n) = sinc(n - k/factor) w(n - k/factor), w the Kaiser window of width 2 HALF_LENGTH.
    """
    tap = np.arange(-HALF_LENGTH, HALF_LENGTH + 1)
    points = np.zeros((BLOCK + 2 * HALF_LENGTH, BLOCK, factor - 1), np.float32)
    for step in range(1, factor):
        at = tap - step / factor
        window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0, 1 - (at / HALF_LENGTH) ** 2)))
        impulse = np.sinc(at) * window / np.i0(KAISER_BETA)
        for sample in range(BLOCK):
            # the last tap is zero and would lie behind the window for the last sample
            points[sample : sample + 2 * HALF_LENGTH, sample, step - 1] = impulse[:-1]
    matrix = points.reshape(len(points), -1)
    return matrix, float(np.abs(matrix).sum(axis=0).max())
