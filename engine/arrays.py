"""A mix that lies in memory, into stems that lie in memory: `separate`, for notebooks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from .audio.blocks import BLOCK_FRAMES
from .audio.reading import MOST_CHANNELS
from .audio.signal import ArraySignal
from .mix_render import MixRender
from .options import DEFAULT_OPTIONS, RenderOptions
from .rendering import Renderer

if TYPE_CHECKING:
    from presets import Preset

Float64 = NDArray[np.float64]


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
    remainder = render.preset.sources.remainder
    found.pop(remainder, None)
    return {**found, remainder: mix.audio - sum(found.values(), np.zeros_like(mix.audio))}


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
