"""One mix to a published set of stems: the road that every way into the program takes.

Verify the mix, search over the priors, apply the masks, write dry stems whose sum is the mix,
run the preset's chains for the wet ones, measure, write the manifest, and make the whole set
visible by one rename.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .audio.decoded import DecodedMix
from .audio.metadata import naming_fields
from .audio.reading import probe
from .audio.tags import FileTags, read_tags
from .freed_memory import keep_freed_memory
from .mix_render import MixRender
from .model.hooks import Interrupted
from .opened_preset import OpenedPreset, cards_in_use, prior_hashes
from .options import DEFAULT_OPTIONS, Progress, RenderOptions
from .stems.manifest import Manifest
from .stems.naming import render_name

if TYPE_CHECKING:
    from presets import Preset

__all__ = [
    "Interrupted",
    "Progress",
    "RenderOptions",
    "Renderer",
    "cards_in_use",
    "prior_hashes",
    "render",
]


def render(
    mix: Path | DecodedMix,
    destination: Path,
    preset: Preset | str | Path = "default",
    options: RenderOptions = DEFAULT_OPTIONS,
) -> Manifest:
    """Separate one mix; `destination` is the folder that appears when all is done.

    `preset` is one that was loaded, the name of one, or a file. `options` say how far it is
    told and when it is to stop. Raises StemwrightError for what the user can mend, Interrupted
    when `should_stop` said so.
    """
    return Renderer(preset, options).render(mix, destination)


class Renderer:
    """An opened preset held, so that many mixes pay for the sessions once.

    The process keeps memory that it frees from here on (`freed_memory`).
    """

    def __init__(self, preset: Preset | str | Path, options: RenderOptions) -> None:
        if isinstance(preset, str | Path):
            from presets import load_preset

            preset = load_preset(preset)
        keep_freed_memory()
        self.opened, self.options = OpenedPreset(preset, options), options

    def render_into(
        self, mix: Path, output: Path, progress: Callable[[Progress], None] | None = None
    ) -> tuple[Path, Manifest]:
        """Separate one mix into `output/<title>`, or `<title>-2` where that exists already."""
        probe(mix)
        tags = read_tags(mix)
        title = render_name("{title}", naming_fields(mix, tags))
        destination, number = output / title, 1
        while destination.exists():
            number += 1
            destination = output / f"{title}-{number}"
        return destination, self.render(mix, destination, progress, tags)

    def render(
        self,
        mix: Path | DecodedMix,
        destination: Path,
        progress: Callable[[Progress], None] | None = None,
        tags: FileTags | None = None,
    ) -> Manifest:
        """Separate one mix (see `render`); `progress` goes before that of the options, and `tags`
        are the mix's, where they have been read already."""
        options = replace(self.options, progress=progress) if progress else self.options
        return MixRender(self.opened, options).run(mix, destination, tags)
