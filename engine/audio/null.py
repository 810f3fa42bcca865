"""Measures how far a set of stems is from its mix: the null test, for any program's files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from presets import StemwrightError

from .blocks import BLOCK_FRAMES
from .loudness import decibels
from .reading import MixReader, SourceInfo

Double = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]

# One part in 2^52 of what was added up: what a float64 sum cannot resolve, so no difference.
FLOAT64_RESOLUTION = 2.0**-52


@dataclass(frozen=True)
class NullReport:
    """The difference mix - sum(stems): its peak and RMS in dBFS (-inf: none), and where it peaks.

    `exact` says that no sample differs. `exact_at_bits` is the depth at which the mix, rounded,
    equals the sum in every sample: for stems of a lossy or float mix, whose own samples lie
    between the integers.
    """

    null_dbfs: float
    rms_dbfs: float
    peak_frame: int
    frames: int
    exact: bool
    exact_at_bits: int | None


class NullMeter:
    """A meter for a mix and its stems, block by block, everything float64 `(channels, n)`."""

    def __init__(self) -> None:
        self._peak, self._energy, self._samples = 0.0, 0.0, 0
        self._frames, self.peak_frame = 0, 0

    def add(self, mix: Double, stems: Sequence[Double]) -> None:
        """Compare the next frames; the stems are added in the given order."""
        total, size = np.zeros_like(mix), np.abs(mix)
        for stem in stems:
            total += stem
            size += np.abs(stem)
        difference = np.abs(mix - total)
        difference[difference <= size * FLOAT64_RESOLUTION] = 0.0
        self._take(difference)

    def add_integers(self, mix: Integers, stems: Sequence[Integers], bits: int) -> None:
        """The same of integers of a depth, whose sums are exact."""
        difference = mix.astype(np.int64)
        for stem in stems:
            difference -= stem
        self._take(np.abs(difference) * 2.0 ** (1 - bits) if difference.any() else difference)

    def _take(self, difference: Double | Integers) -> None:
        peak = float(difference.max(initial=0.0))
        if peak > self._peak:
            self._peak = peak
            self.peak_frame = self._frames + int(difference.max(axis=0).argmax())
        if peak > 0:
            self._energy += float(np.square(difference).sum())
        self._samples += difference.size
        self._frames += difference.shape[1]

    @property
    def null_dbfs(self) -> float:
        """Peak of the difference."""
        return decibels(self._peak)

    @property
    def rms_dbfs(self) -> float:
        """RMS of the difference over all channels."""
        return decibels(math.sqrt(self._energy / self._samples)) if self._samples else -math.inf


def measure_null(mix: Path, stems: Sequence[Path], gain_db: float = 0.0) -> NullReport:
    """Null a mix against the sum of any files of its rate, channels and length.

    `gain_db` is applied to the sum first (the undo gain of a set with a common gain).
    """
    if not stems:
        raise StemwrightError("null-no-stems", "expected at least one stem to add up, got none.")
    raw, rounded, gain = NullMeter(), NullMeter(), 10 ** (gain_db / 20)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(MixReader(mix))
        parts = [stack.enter_context(MixReader(stem)) for stem in stems]
        for part in parts:
            _refuse_other_shape(reader.info, part.info)
        bits = max(part.info.bits for part in parts)
        all_pcm = all(part.info.encoding == "pcm" for part in parts)
        frames = 0
        while (block := reader.read(BLOCK_FRAMES)).frames:
            sums = [part.read(block.frames).double * gain for part in parts]
            raw.add(block.double, sums)
            if all_pcm:
                rounded.add(np.rint(np.ldexp(block.double, bits - 1)) * 2.0 ** (1 - bits), sums)
            frames += block.frames
    exact_at = bits if all_pcm and rounded.null_dbfs == -math.inf else None
    return NullReport(
        raw.null_dbfs, raw.rms_dbfs, raw.peak_frame, frames, raw.null_dbfs == -math.inf, exact_at
    )


def _refuse_other_shape(mix: SourceInfo, stem: SourceInfo) -> None:
    for what, expected, got in (
        ("sample rate", f"{mix.sample_rate} Hz", f"{stem.sample_rate} Hz"),
        ("channels", mix.channels, stem.channels),
        ("length", f"{mix.frames} frames", f"{stem.frames} frames"),
    ):
        if expected != got:
            raise StemwrightError(
                f"null-{what.replace(' ', '-')}",
                f"{stem.path.name}: {what} {got}, but the mix {mix.path.name} has {expected}. "
                "A null needs stems of the mix's own rate, channels and length.",
            )
