"""What a conditional flow is trained on: isolated recordings of several stems with labels.

MusicGlow (Zhu et al., IEEE SPL 2022) is one flow for all instruments, but like the flows of one
instrument it never sees two of them at once: every excerpt of a batch is one stem's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine import Source

from .corpus import Corpus, Interference

Float = NDArray[np.float32]
Rng = np.random.Generator
Draw = Callable[[Rng, int, int], Float]


def labels_of_rows(batch: int, labels: int) -> NDArray[np.int64]:
    """The label of every row of a batch: they take turns, so each has its equal share."""
    return np.arange(batch) % labels


class Music:
    """The corpora of all stems, in the order of their labels, as one.

    Row i of what it draws belongs to label `labels_of_rows(batch, labels)[i]`.
    """

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self.corpora = tuple(corpora)
        self.labels = tuple(corpus.stem for corpus in corpora)
        self._others = [
            Interference(own.stem, [other for other in corpora if other is not own])
            for own in corpora
        ]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every body of recordings, stem by stem."""
        return tuple(source for corpus in self.corpora for source in corpus.sources)

    def split(self) -> tuple[Music, Music]:
        """Training and validation songs of every stem; no song is on both sides."""
        halves = [corpus.split() for corpus in self.corpora]
        return Music([train for train, _ in halves]), Music([valid for _, valid in halves])

    def sample(self, rng: Rng, batch: int, frames: int) -> Float:
        """Draw augmented excerpts (batch, frames, bands), each of one stem alone."""
        return _in_turn([corpus.sample for corpus in self.corpora], rng, batch, frames)

    def leak(self, rng: Rng, batch: int, frames: int) -> Float:
        """Draw for every row a leak of the *other* labels' stems, for the contrastive term."""
        return _in_turn(self._others, rng, batch, frames)


def _in_turn(draws: Sequence[Draw], rng: Rng, batch: int, frames: int) -> Float:
    """(batch, frames, bands) with rows from the first to the last and again from the first."""
    each = np.stack([draw(rng, -(-batch // len(draws)), frames) for draw in draws], axis=1)
    return np.ascontiguousarray(each.reshape(-1, *each.shape[2:])[:batch])
