"""How a set is written: on which numbers, with what gain and dither, after the overflow policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from presets import Overflow, StemwrightError

from ..audio.loudness import decibels
from ..audio.quantise import full_scale, quantise
from ..audio.reading import MixBlock, SourceInfo
from ..audio.wave_header import FileFormat
from ..audio.writing import refuse_impossible
from .float_grid import FloatGrid
from .output_format import OutputFormat, as_float, resolve_format

FLOAT32_INTEGER = 1 << 24  # up to here float32 holds every integer

Samples = npt.NDArray[np.int64] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class SetPlan:
    """How a set is written: on the integers of `grid_bits`, on a `grid` of 32-bit floats, or with
    neither as 64-bit floats.
    """

    format: FileFormat
    grid_bits: int | None
    dither_seed: int | None = None
    gain: float = 1.0
    grid: FloatGrid | None = None

    def keeps(self, mix: SourceInfo) -> bool:
        """Whether the stems add up to the mix's own integers, neither scaled nor rounded."""
        return mix.encoding == "pcm" and self.gain == 1.0 and self.dither_seed is None

    @classmethod
    def first(cls, info: SourceInfo, output: OutputFormat, seed: int) -> SetPlan:
        """The plan before anything is known of the stems."""
        fmt = resolve_format(info, output)
        refuse_impossible(fmt)
        if fmt.encoding == "float":
            return cls(fmt, None)
        source_bits = 32 if info.encoding == "float" else info.bits
        return cls(fmt, fmt.bits, seed if fmt.bits < source_bits else None)

    def overflowing(self, peaks: Mapping[str, tuple[int, int]]) -> dict[str, float]:
        """How far stems of these lowest and highest integers go over full scale, in dB."""
        if self.grid_bits is None:
            return {}
        low, high = full_scale(self.grid_bits)
        return {
            stem: decibels(max(-least, most) / high)
            for stem, (least, most) in peaks.items()
            if least < low or most > high
        }

    def without_overflow(
        self, peaks: Mapping[str, tuple[int, int]], over: Mapping[str, float], policy: Overflow
    ) -> SetPlan:
        """The plan after the overflow policy; raises StemwrightError when it is to fail."""
        assert self.grid_bits is not None
        peak = max(max(-least, most) for least, most in peaks.values())
        if policy == "fail":
            excesses = ", ".join(f"{stem} by {level_db:.2f} dB" for stem, level_db in over.items())
            raise StemwrightError(
                "stem-overflow",
                f"{excesses} over full scale at {self.format.depth} bits. Choose the overflow "
                "policy float32 or common-gain, or a float depth.",
            )
        if policy == "common-gain":
            # after rounding (and dither of ±1) every stem may add 1.5 LSB to the remainder
            margin = 2 * len(peaks) + 2
            gain = (full_scale(self.grid_bits)[1] - margin) / peak
            return replace(self, gain=gain)
        bits = 32 if peak <= FLOAT32_INTEGER else 64  # the smaller one that holds all integers
        return replace(self, format=as_float(self.format, bits))

    def noise(self, number: int) -> np.random.Generator | None:
        """The dither of one stem: the same in every pass, another for every stem."""
        if self.dither_seed is None:
            return None
        return np.random.default_rng([self.dither_seed, number])

    def target(self, block: MixBlock, noise: np.random.Generator | None) -> Samples:
        """What the stems of a block of the mix must add up to."""
        if self.grid_bits is None and self.format.bits == 32:
            return np.asarray(block.double.astype(np.float32), np.float64)
        if self.grid_bits is None:
            return block.double
        if block.is_integer and self.gain == 1.0 and noise is None:
            return block.exact.astype(np.int64) << (self.grid_bits - block.bits)
        return quantise(block.double * self.gain, self.grid_bits, noise)

    def on_grid(
        self, audio: npt.NDArray[np.floating], noise: np.random.Generator | None
    ) -> Samples:
        """A stem's block as it is to be stored, before the remainder is known."""
        if self.grid:
            return self.grid.rounded(audio)
        if self.grid_bits is None:
            return audio.astype(np.float64)
        return quantise(audio * np.float64(self.gain), self.grid_bits, noise)

    def stored(self, samples: Samples) -> Samples:
        """The numbers that the file holds."""
        return self.full_scale_one(samples) if self.format.encoding == "float" else samples

    def full_scale_one(self, samples: Samples) -> npt.NDArray[np.float64]:
        """The same with full scale 1.0."""
        if self.grid_bits is None:
            return samples.astype(np.float64, copy=False)
        return np.asarray(samples * 2.0 ** (1 - self.grid_bits))  # exact: a power of two
