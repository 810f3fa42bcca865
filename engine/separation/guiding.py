"""A first estimate from outside: what a separator of the user's own says of the stems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio.layout import ChannelGroups
from ..audio.signal import Signal
from ..model.hooks import SearchHooks
from .masks import MaskPlan, combine

Float = NDArray[np.float32]


class Guide(Protocol):
    """A foreign estimate of some of the stems."""

    @property
    def stems(self) -> Sequence[str]:
        """Those that it knows, by the names that the search has for them."""

    def prepare(
        self, mix: Signal, groups: ChannelGroups, workspace: Path, hooks: SearchHooks, /
    ) -> None:
        """Find out what it says of a mix."""

    def pieces(self, mix: Signal, groups: ChannelGroups, workspace: Path, /) -> Iterator[Float]:
        """Their audio, (stems * channels, n) at the mix's rate."""


def next_guides(windows: Iterator[Float] | None, count: int) -> Float | None:
    """The next windows of a guide, (stems, groups, count, WINDOW, bands)."""
    if windows is None:
        return None
    return np.stack([next(windows) for _ in range(count)], axis=2)


def with_foreign(
    own: Float | None, foreign: Float, places: Sequence[int], mix: Float, stems: int
) -> Float:
    """A first estimate of all stems from one of some: what it leaves of the mix is shared out
    among the others as the own estimate says, evenly where there is none.

    Shape: own (stems, batch, frames, bands), foreign the same for the stems at `places`.
    """
    unguided = [index for index in range(stems) if index not in places]
    found = np.zeros((stems, *mix.shape), np.float32)
    found[list(places)] = foreign
    if unguided:
        left = np.maximum(mix - foreign.sum(axis=0), 0.05 * mix)
        shares = np.ones((len(unguided), *mix.shape), np.float32) if own is None else own[unguided]
        found[unguided] = left * combine(shares, None, mix, MaskPlan())
    return found
