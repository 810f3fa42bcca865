"""A mix that lies in memory, into stems that lie in memory: `separate`, for notebooks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from .audio.blocks import BLOCK_FRAMES
from .audio.closing import Closing
from .audio.reading import MOST_CHANNELS, MixBlock, SourceInfo
from .mix_render import MixRender
from .options import DEFAULT_OPTIONS, RenderOptions
from .rendering import Renderer

if TYPE_CHECKING:
    from presets import Preset

Float64 = NDArray[np.float64]
FLOAT_BITS = 64


def separate(
    audio: NDArray[np.floating],
    sample_rate: int,
    preset: Preset | str | Path = "default",
    options: RenderOptions = DEFAULT_OPTIONS,
) -> dict[str, Float64]:
    """Separate a mix into its stems; they sum to it.

    Shape: audio (channels, samples), float, full scale 1.0 (it may go beyond); every stem is
    float64 of the same shape, and the last one is what no prior claims (`residual`, or the stem
    that the preset names in `residual: into`). It is the mix minus the others, so the sum is the
    mix to the last bit of float64. The preset's chains are not applied: they make files.

    `options.progress` is told how far it is, `options.should_stop` asked whether to go on: then
    Interrupted is raised. Raises StemwrightError for what the caller can mend.
    """
    mix = ArraySignal(_checked(audio), int(sample_rate))
    render = MixRender(Renderer(preset, options).opened, options)
    with tempfile.TemporaryDirectory(prefix="stemwright-") as folder:
        separated = render.separate(mix, Path(folder))
        stems = render.delivered(separated)
        with render.scratch(Path(folder), stems, mix.info.channels) as scratch:
            blocks = list(scratch.blocks(BLOCK_FRAMES))
    found = {
        stem: np.concatenate([block[stem] for block in blocks], axis=1).astype(np.float64)
        for stem in stems
    }
    remainder = render.preset.remainder
    found.pop(remainder, None)
    return {**found, remainder: mix.audio - sum(found.values(), np.zeros_like(mix.audio))}


@dataclass(frozen=True)
class ArraySignal:
    """Audio in memory as a signal: (channels, samples), float64."""

    audio: Float64
    sample_rate: int

    @property
    def info(self) -> SourceInfo:
        """What it is, as a file of it would be described."""
        channels, frames = self.audio.shape
        return SourceInfo(
            Path("array"), "array", "float", FLOAT_BITS, channels, self.sample_rate, frames
        )

    def open(self) -> ArrayReader:
        """A reader at the beginning."""
        return ArrayReader(self.audio)


class ArrayReader(Closing):
    """A reader of an array, from its beginning to its end."""

    def __init__(self, audio: Float64) -> None:
        self._audio, self._position = audio, 0

    def read(self, frames: int, /) -> MixBlock:
        """The next frames, fewer only at the end, 0 behind it."""
        part = self._audio[:, self._position : self._position + frames]
        self._position += part.shape[1]
        return MixBlock(part, FLOAT_BITS)

    def close(self) -> None:
        """Nothing is held."""


def _checked(audio: NDArray[np.floating]) -> Float64:
    found = np.asarray(audio)
    for problem in _problems(found):
        raise StemwrightError("array-unusable", f"the array of the mix: {problem}")
    return found.astype(np.float64)


def _problems(audio: NDArray[np.floating]) -> Iterator[str]:
    if audio.ndim != 2:
        yield (f"expected (channels, samples), got {audio.shape}. A mono mix is audio[None].")
    elif audio.shape[0] > MOST_CHANNELS:
        yield (
            f"expected at most {MOST_CHANNELS} channels, got {audio.shape[0]}. If samples come "
            "first, as soundfile reads them, give audio.T."
        )
    elif not audio.size:
        yield f"expected samples, got the shape {audio.shape}."
    elif not np.issubdtype(audio.dtype, np.floating):
        yield (
            f"expected floats with full scale 1.0, got {audio.dtype}. Divide 16-bit integers by "
            "32768."
        )
    elif not np.isfinite(audio).all():
        yield "it holds NaN or infinity. Find what made it."
