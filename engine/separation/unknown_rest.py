"""Whatever plays in a mix besides the stems that are named, where nothing is known of it.

A set of stems usually shares out the whole mix. With an unknown rest it does not: what no head
claims is the rest's, and it gets spectra of its own like every stem (`song_masks`). In a search
the rest is a few spectra of each window: those of the first estimate or, for flows without
heads, spectra that are fitted to what the flows leave of the mix while these are moved:
semi-supervised separation (Smaragdis, Raj & Shashanka, ICA 2007) with flows in the place of
dictionaries. It needs no head, no flow and no recording.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from .masks import Estimator

Float = NDArray[np.float32]

ATOMS = 24  # spectra of a window (docs/lab.md)
UNKNOWN_SHARE = np.float32(0.5)  # of the mix, to begin with, where no estimate says more
FIRST_UPDATES = 40  # before the search
_LEAST = np.float32(1e-7)


class EstimateWithRest:
    """A first estimate of the stems, and behind them of what none of them is."""

    def __init__(self, known: Estimator) -> None:
        self._known = known

    def magnitudes(self, mix: Float, weight: Float | None = None, /) -> Float:
        """(batch, frames, bands) -> (priors + 1, batch, frames, bands)."""
        found = self._known.magnitudes(mix, weight)
        return np.concatenate([found, left_over(found, mix)[None]])


def left_over(found: Float, mix: Float) -> Float:
    """What is left of a mix when each stem in turn has taken its share of what was there; with
    one stem, the mix without it. Shape: found (stems, ...), mix (...)."""
    shares = np.minimum(found / np.maximum(mix, np.finfo(np.float32).tiny), 1)
    return np.asarray(mix * np.prod(1 - shares, axis=0), np.float32)


class RestSpectra:
    """A few spectra of every window, (batch, frames, bands), that explain what others leave.

    `start` is a first estimate of the rest, which its spectra then stay with: fitted further,
    they take from the stems what is theirs (docs/lab.md).
    """

    def __init__(self, mix: Float, start: Float | None, seed: int) -> None:
        self._mix = mix + _LEAST
        batch, frames, bands = mix.shape
        rng = np.random.default_rng([seed, 29])
        self._is_estimated = start is not None
        first = UNKNOWN_SHARE * mix if start is None else start
        mean = first.mean(axis=(1, 2), keepdims=True) + _LEAST
        self._spectra = mean * (rng.random((batch, ATOMS, bands), np.float32) + np.float32(0.1))
        self._gains = rng.random((batch, frames, ATOMS), np.float32) + np.float32(0.1)
        nothing = np.zeros_like(mix)
        for _ in range(FIRST_UPDATES):
            self._update(first + _LEAST, nothing)

    @property
    def magnitudes(self) -> Float:
        """What the rest plays, (batch, frames, bands)."""
        return np.asarray(self._gains @ self._spectra, np.float32)

    def fit(self, named: Float) -> None:
        """One multiplicative update for the divergence between the mix and the rest plus the
        named stems,
        unless an estimate has said what the rest is."""
        if not self._is_estimated:
            self._update(self._mix, named)

    def _update(self, target: Float, named: Float) -> None:
        # products this small are slower on many threads, and their bytes would tell how many
        with threadpool_limits(1, "blas"):
            gains, spectra = self._gains, self._spectra
            missing = target / (gains @ spectra + named + _LEAST)
            gains *= missing @ spectra.swapaxes(1, 2) / (spectra.sum(axis=2)[:, None] + _LEAST)
            missing = target / (gains @ spectra + named + _LEAST)
            spectra *= gains.swapaxes(1, 2) @ missing / (gains.sum(axis=1)[:, :, None] + _LEAST)
