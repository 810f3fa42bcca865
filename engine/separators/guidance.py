"""The stems of a foreign separator as the first estimate of a search of own priors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from presets import Preset, StemwrightError

from ..audio.layout import ChannelGroups
from ..audio.signal import Signal
from ..model.hooks import SearchHooks
from ..model.sessions import Device
from .estimating import CardSeparation
from .loading import LoadedCard

Float = NDArray[np.float32]


class ForeignGuide:
    """What one card says of some of the searched stems."""

    def __init__(
        self, loaded: LoadedCard, outputs: Mapping[str, str], device: Device, threads: int
    ) -> None:
        self.stems, self._outputs = list(outputs), dict(outputs)
        self._separation = CardSeparation(loaded, device, threads)
        self.name = loaded.name

    def prepare(
        self, mix: Signal, groups: ChannelGroups, workspace: Path, hooks: SearchHooks
    ) -> None:
        """Run the separator over the mix; what is done is not done again."""
        hooks.entering(f"{self.name} as a guide")
        self._separation.search(mix, groups, self._folder(workspace), hooks)

    def pieces(self, mix: Signal, groups: ChannelGroups, workspace: Path) -> Iterator[Float]:
        """The stems' audio, (stems * channels, n) at the mix's rate."""
        known = self._separation.stems
        rows = [known.index(self._outputs[stem]) for stem in self.stems]
        for block in self._separation.stems_of(mix, groups, self._folder(workspace)):
            yield block[rows].reshape(-1, block.shape[2])

    def _folder(self, workspace: Path) -> Path:
        return workspace / f"guide-{self.name}"


def foreign_guide(
    preset: Preset, cards: Mapping[str, LoadedCard], device: Device, threads: int
) -> ForeignGuide | None:
    """The guide that a preset's search names; None where it names none."""
    name = preset.search.guide
    if name is None:
        return None
    used = cards[name].card.used
    wanted = {stem: preset.stems[stem].output or stem for stem in preset.sources.searched}
    outputs = {stem: output for stem, output in wanted.items() if output in used}
    if not outputs:
        raise StemwrightError(
            "separator-output",
            f"search.guide: {name} gives {', '.join(used)}, and none of the searched stems "
            f"({', '.join(wanted)}) is among them. Say which is which with the stems' `output:`.",
        )
    return ForeignGuide(cards[name], outputs, device, threads)
