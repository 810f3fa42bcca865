"""The two passes by which anything takes a mix apart: priors, a recipe, a network of voices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..audio.layout import ChannelGroups
from ..audio.scratch import Sink
from ..audio.signal import Signal
from .hooks import SearchHooks

Float = NDArray[np.float32]
Report_co = TypeVar("Report_co", covariant=True)


class Separation(Protocol[Report_co]):
    """Whoever takes mixes apart. `stems` are those that `write` gives, samples of `dtype`."""

    stems: list[str]
    dtype: type[np.float32 | np.float64]

    @property
    def got(self) -> set[str]:
        """The devices that sessions run on, or have run on."""

    def search(
        self, mix: Signal, groups: ChannelGroups, workspace: Path, hooks: SearchHooks, /
    ) -> Report_co:
        """First pass: all that takes long, with checkpoints in the workspace."""

    def write(
        self,
        mix: Signal,
        groups: ChannelGroups,
        workspace: Path,
        sink: Sink,
        meter: Callable[[Float, Float], None] | None,
        /,
    ) -> None:
        """Second pass: all stems to `sink`, block by block; `meter` sees masks and magnitudes of
        what was searched."""
