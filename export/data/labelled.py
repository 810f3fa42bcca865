"""What a conditional flow is trained on: isolated recordings of several stems with labels.

MusicGlow (Zhu et al., IEEE SPL 2022) is one flow for all instruments, but like the flows of one
instrument it never sees two of them at once: every excerpt of a batch is one stem's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import Source

from .corpus import Corpus
from .sampling import CPU, Interference, Sampler

Rng = np.random.Generator


def labels_of_rows(batch: int, labels: int) -> NDArray[np.int64]:
    """The label of every row of a batch: they take turns, so each has its equal share."""
    return np.arange(batch) % labels


class Music:
    """The corpora of all stems, in the order of their labels, as one.

    Row i of what it draws belongs to label `labels_of_rows(batch, labels)[i]`.
    """

    def __init__(self, corpora: Sequence[Corpus], device: torch.device = CPU) -> None:
        self.corpora, self.device = tuple(corpora), device
        self.labels = tuple(corpus.stem for corpus in corpora)

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.corpora, self.device)

    @cached_property
    def _interference(self) -> list[Interference]:
        return [
            Interference(
                own.stem, [other for other in self.corpora if other is not own], self.device
            )
            for own in self.corpora
        ]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every body of recordings, stem by stem."""
        return tuple(source for corpus in self.corpora for source in corpus.sources)

    def split(self) -> tuple[Music, Music]:
        """Training and validation songs of every stem; no song is on both sides."""
        halves = [corpus.split() for corpus in self.corpora]
        return (
            Music([train for train, _ in halves], self.device),
            Music([valid for _, valid in halves], self.device),
        )

    def sample(self, rng: Rng, batch: int, frames: int) -> Tensor:
        """Draw augmented excerpts (batch, frames, bands), each of one stem alone."""
        return self._sampler.rows(rng, labels_of_rows(batch, len(self.corpora)), frames)

    def leak(self, rng: Rng, batch: int, frames: int) -> Tensor:
        """Draw for every row a leak of the *other* labels' stems, for the contrastive term."""
        count = len(self._interference)
        each = [draw(rng, -(-batch // count), frames) for draw in self._interference]
        return torch.stack(each, dim=1).flatten(0, 1)[:batch]
