"""Frequency bands: the compressed view of a spectrogram in which the priors live.

A band plan is a list of edges in hertz that keeps every bin at low frequencies and grows
to a constant fraction of an octave above. Because edges are in hertz, the same plan serves
mixes of every sample rate: only the assignment of bins to bands changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


@dataclass(frozen=True)
class BandPlan:
    """Bands between `edges_hz`; band b covers [edges_hz[b], edges_hz[b + 1])."""

    edges_hz: tuple[float, ...]

    @property
    def bands(self) -> int:
        """How many bands there are."""
        return len(self.edges_hz) - 1

    def assign(self, sample_rate: int, n_fft: int) -> NDArray[np.intp]:
        """Return for every STFT bin the band it belongs to, shape (n_fft // 2 + 1,).

        Bins above the last edge belong to the last band: the policy for what lies beyond
        the priors' range is that it follows the highest band they know.
        """
        centre_hz = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
        band = np.searchsorted(self.edges_hz, centre_hz, side="right") - 1
        return np.clip(band, 0, self.bands - 1).astype(np.intp)


def summed_by_band(
    values: NDArray[np.inexact], band: NDArray[np.intp], bands: int
) -> NDArray[np.inexact]:
    """Sums over the bins of each band, (..., bins) -> (..., bands); `band` (bins,) rises. A band
    in which no bin lies, as there are some at low rates, has zero."""
    starts = np.flatnonzero(np.diff(band, prepend=-1))
    sums = np.zeros((*values.shape[:-1], bands), values.dtype)
    sums[..., band[starts]] = np.add.reduceat(values, starts, axis=-1)
    return sums


def spread_by_band(values: NDArray[np.inexact], band: NDArray[np.intp]) -> NDArray[Any]:
    """Give every bin the value of its band, (..., bands) -> (..., bins); `band` (bins,) rises.

    The values of a band lie side by side, so they are repeated: indexing looks each one up.
    """
    return np.repeat(values, np.bincount(band, minlength=values.shape[-1]), axis=-1)


def log_band_plan(
    bands: int, *, bin_hz: float, low_hz: float, high_hz: float, first_hz: float
) -> BandPlan:
    """Make a plan: one band a bin from `first_hz` to `low_hz`, then equal ratios to `high_hz`.

    `bands` counts both parts. The widths never fall below one bin.
    """
    linear = np.arange(first_hz, low_hz, bin_hz)
    ratio = np.geomspace(linear[-1] + bin_hz, high_hz, bands - len(linear) + 1)
    return BandPlan(tuple(float(edge) for edge in np.concatenate([linear, ratio])))
