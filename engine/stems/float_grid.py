"""Shares a float mix out over 32-bit float files whose sum in float64 is the mix, exactly.

A 32-bit float has 24 bits wherever it stands. Where the mix passes through zero and the stems do
not, the last bits of the stems are far coarser than those of the mix, and no residual of 32 bits
could hold the difference. So the stems are rounded to a grid that is as fine as a float of full
scale (2^-24, coarser for peaks above it), and the mix is split into its nearest point of the grid
and what lies below:

    mix = top + below,   top = g rint(mix / g),   |below| <= g / 2

Everything on the grid sums exactly, so one file can take `top` minus the others. `below` has at
most 24 bits: it is a multiple of the mix's own last bit and not larger than g / 2 or the mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Double = npt.NDArray[np.float64]
Samples = npt.NDArray[np.int64] | npt.NDArray[np.float64]

FINEST = 2.0**-24
LONGEST = 1 << 24  # integers up to here are exact in 32 bits
# What masks that sum to one leave over is rounding: -102 dB of full scale at most, in steps.
MOST_ROUNDING = 1 << 7
ROUNDING = "rounding"  # the file of what lies below the grid, where the residual is a signal


@dataclass
class Survey:
    """What one look at a mix and its stems has found; `add` takes them block by block."""

    peaks: dict[str, float]
    remainder_peak: float = 0.0  # of mix - sum, where any stem sounds
    off_grid: bool = False  # the mix has bits below the finest grid
    bits: int = 0  # all grid numbers of the mix, joined by "or"

    def add(self, mix: Double, stems: Mapping[str, npt.NDArray[np.floating]]) -> None:
        """Blocks `(channels, n)`; the stem that takes the remainder is not among them."""
        total, sounds = np.zeros_like(mix), np.zeros(mix.shape, bool)
        for stem, audio in stems.items():
            self.peaks[stem] = max(self.peaks.get(stem, 0.0), float(np.abs(audio).max()))
            total += audio
            sounds |= audio != 0
        remainder = np.abs(mix - total)[sounds]
        if remainder.size:
            self.remainder_peak = max(self.remainder_peak, float(remainder.max()))
        number = mix / FINEST
        whole = np.rint(number)
        self.off_grid = self.off_grid or bool((whole != number).any())
        if not self.off_grid and np.abs(whole).max() < 2.0**62:
            self.bits |= int(np.bitwise_or.reduce(whole.astype(np.int64), axis=None))

    def is_on(self, step: float) -> bool:
        """Whether the mix has nothing below a grid."""
        return not self.off_grid and self.bits % max(1, round(step / FINEST)) == 0


@dataclass(frozen=True)
class FloatGrid:
    """How a set of 32-bit floats is made: the grid's step, and who takes what.

    `carrier` is the stem that takes what rounding leaves over, None where the remainder is a
    signal with a file of its own. `below` is the file of what lies below the grid, None where the
    remainder's file takes that as well or nothing is there.
    """

    step: float
    carrier: str | None
    below: str | None

    @classmethod
    def of(cls, found: Survey, remainder: str, residual: str) -> FloatGrid:
        """The grid for a mix; `remainder` names the file that is mix - sum(others)."""
        into_a_stem = remainder != residual
        peak = max(found.peaks.values(), default=0.0)
        step = _step(peak)
        rounding = found.remainder_peak <= (MOST_ROUNDING - len(found.peaks)) * step
        if rounding and found.peaks and not into_a_stem:
            carrier = max(found.peaks, key=found.peaks.__getitem__)
            return cls(step, carrier, None)
        step = _step(max(peak, found.remainder_peak))
        extra = residual if into_a_stem else ROUNDING
        return cls(step, None, None if found.is_on(step) or not found.peaks else extra)

    def rounded(self, audio: npt.NDArray[np.floating]) -> Double:
        """The nearest points of the grid."""
        nearest: Double = np.rint(np.asarray(audio, np.float64) / self.step) * self.step
        return nearest

    def share(
        self, mix: Samples, stems: Mapping[str, Samples], remainder: str
    ) -> dict[str, Double]:
        """All files' samples from those of the mix (32-bit floats) and of stems on the grid."""
        mix = np.asarray(mix, np.float64)
        total, silent = np.zeros(mix.shape), np.ones(mix.shape, bool)
        for samples in stems.values():
            total += samples
            silent &= samples == 0
        top = self.rounded(mix)
        left, below = top - total, mix - top
        shared = {stem: np.asarray(samples, np.float64) for stem, samples in stems.items()}
        if self.carrier:
            shared[self.carrier] = shared[self.carrier] + np.where(silent, 0.0, left)
            left = np.where(silent, left, 0.0)
        own = silent if self.below else np.ones(mix.shape, bool)
        shared[remainder] = left + np.where(own, below, 0.0)
        if self.below:
            shared[self.below] = np.where(own, 0.0, below)
        return shared


def _step(peak: float) -> float:
    """The finest grid on which that peak, and the rounding on top of it, is exact in 32 bits."""
    step = FINEST
    while peak > (LONGEST - 2 * MOST_ROUNDING) * step:
        step *= 2
    return step
