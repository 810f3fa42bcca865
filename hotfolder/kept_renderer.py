"""The sessions that a worker keeps open from one job to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine import Renderer, RenderOptions
    from presets import Preset

    from .engine_protocol import Engine


class KeptRenderer:
    """A renderer, as long as preset, priors, cards and settings stay what they were when it was
    opened.

    All of them, also what no digest holds because it changes no sample: a page that is asked for,
    a title, what a card allows. One at a time: memory is dearer than opening.
    """

    def __init__(self) -> None:
        self._opened: tuple[object, ...] = ()
        self._renderer: Renderer | None = None

    def of(
        self, engine: Engine, preset: Preset, hashes: Mapping[str, str], options: RenderOptions
    ) -> Renderer:
        """A renderer of the preset with the priors of these `hashes`, and with these options.

        Raises StemwrightError where a card of the preset may not be used, or not any more.
        """
        cards = engine.cards_in_use(preset, options)
        asked = (preset, preset.digest(), dict(hashes), cards, _of_every_job(options))
        if self._renderer is None or self._opened != asked:
            self._renderer = None  # let go of its memory before another one takes as much
            self._renderer, self._opened = engine.Renderer(preset, options), asked
        self._renderer.options = options
        return self._renderer


def _of_every_job(options: RenderOptions) -> RenderOptions:
    """What a renderer is opened with, without what is one job's own."""
    return replace(options, workspace=None, progress=None, should_stop=None, guard=_unguarded)


def _unguarded() -> None:
    """In place of a job's own guard, to compare options."""
