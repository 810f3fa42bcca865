"""Turns float samples into integers: to the nearest, with TPDF dither only where asked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def quantise(
    audio: npt.NDArray[np.floating], bits: int, dither: np.random.Generator | None = None
) -> npt.NDArray[np.int64]:
    """Integers of `bits` depth, NOT clipped: whoever writes decides about overflow.

    q = rint(x * 2^(bits-1) + d), d = u1 - u2 triangular over ±1 LSB: its first two moments make
    the error independent of the signal (Lipshitz, Wannamaker, Vanderkooy 1992).
    `audio` is `(channels, samples)`; ties go to even, so there is no DC offset.
    """
    if dither is None and audio.dtype == np.float32:
        exact = audio * np.float32(2.0 ** (bits - 1))  # a power of two: no bit is lost
        np.rint(exact, out=exact)
        return exact.astype(np.int64)
    scaled = np.asarray(audio, np.float64) * 2.0 ** (bits - 1)
    if dither is not None:
        scaled = scaled + (dither.random(audio.shape) - dither.random(audio.shape))
    return np.rint(scaled).astype(np.int64)


def full_scale(bits: int) -> tuple[int, int]:
    """The lowest and highest integer of that depth."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
