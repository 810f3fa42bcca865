"""Encoder and heads tuned together to one artist, judged on real songs of the artist's that are
held out.

The training hears excerpts of the artist's songs as they were mixed, sums of their stems at
random and in step, as all estimates are trained, and sums of other material that keep what was
known. What decides is the signal to distortion ratio on held-out songs as they were mixed: the
best weights are kept, and mixtures of them with those at the beginning are tried as well, so that
the result is what the tuning began with wherever it is not better.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine import ModelCard

from ..data.true_mixes import TrueMix
from ..models.estimator import Encoder, Head
from .best_weights import BestWeights
from .checkpoint import Checkpoint
from .estimate_masks import masks_of
from .estimator_training import EstimatorSettings, mask_loss
from .run import mixed_precision

Float = NDArray[np.float32]

CHECKPOINT = "artist.npz"


@dataclass(frozen=True)
class Scores:
    """Signal to distortion in dB by song and stem, on held-out songs."""

    of_songs: Mapping[str, Mapping[str, float]]

    @property
    def mean(self) -> float:
        """Over the songs, of the mean over a song's stems."""
        return float(np.mean([np.mean(list(stems.values())) for stems in self.of_songs.values()]))

    @property
    def by_stem(self) -> dict[str, float]:
        """Mean over the songs that have the stem."""
        found: dict[str, list[float]] = {}
        for stems in self.of_songs.values():
            for stem, decibels in stems.items():
                found.setdefault(stem, []).append(decibels)
        return {stem: float(np.mean(values)) for stem, values in found.items()}


class HeldOutSongs:
    """Songs that no training hears, separated by an estimate as `draft` does, without the song's
    own spectra and the stereo image, which add to every estimate alike."""

    def __init__(self, songs: Sequence[TrueMix], cards: Mapping[str, ModelCard]) -> None:
        if not songs:
            raise ValueError("no held-out song")
        self.songs, self.cards = tuple(songs), dict(cards)

    @torch.no_grad()
    def scores(self, encoder: Encoder, heads: Mapping[str, nn.Module]) -> Scores:
        """What the masks of an encoder and its heads are worth."""
        return Scores(
            {
                song.song: song.sdr_db(
                    masks_of(song.halves, song.stems, encoder, heads, self.cards)
                )
                for song in self.songs
            }
        )


class Sums(Protocol):
    """A kind of sums to learn from."""

    def sample(
        self, rng: np.random.Generator, batch: int, frames: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sums, and every head's target; see `RandomMixes.sample`."""


class ArtistTask:
    """An encoder and its heads that go on on sums of an artist's stems and of others'.

    `mixes` are kinds of sums with the number of excerpts of each in a batch; all have the same
    heads.
    """

    def __init__(
        self,
        begun: tuple[Encoder, Mapping[str, Head]],
        settings: EstimatorSettings,
        mixes: Sequence[tuple[Sums, int]],
        held_out: HeldOutSongs,
        identity: Mapping[str, str],
        device: torch.device,
    ) -> None:
        encoder, heads = begun
        self.settings, self.identity, self.device = settings, dict(identity), device
        self.mixes, self.held_out = tuple((m, count) for m, count in mixes if count), held_out
        torch.manual_seed(settings.seed)
        self.encoder, self.heads = (
            copy.deepcopy(encoder),
            nn.ModuleDict(copy.deepcopy(dict(heads))),
        )
        self.model = nn.ModuleDict({"encoder": self.encoder, "heads": self.heads}).to(device)
        self.model.requires_grad_(True)
        self.kept = BestWeights(self.model, self.validate, lambda scores: scores.mean)

    def described(self) -> Mapping[str, object]:
        """The size, the heads, and where the best weights were found."""
        return {
            "config": self.encoder.config.to_dict(),
            "heads": list(self.heads),
            "best step": self.kept.best.step,
            "best share": self.kept.best.share,
        }

    def arrays(self) -> dict[str, Float]:
        """The best weights."""
        return self.kept.arrays()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take the best weights back."""
        self.kept.resume(checkpoint)

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """The heads' losses on new sums, added up."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 21, step])
        drawn = [mixes.sample(rng, count, s.frames) for mixes, count in self.mixes]
        mix = torch.cat([mix for mix, _ in drawn]).transpose(1, 2).contiguous()
        power = self.encoder.config.compression
        with mixed_precision(self.device):
            features = self.encoder(mix**power)
            masks = {name: head(features) for name, head in self.heads.items()}
        losses = [
            mask_loss(
                mask.float(),
                mix,
                torch.cat([targets[name] for _, targets in drawn]).transpose(1, 2),
                power,
                s.compressed_weight,
            )
            for name, mask in masks.items()
        ]
        total = torch.stack(losses).sum()
        return total, total

    def validate(self) -> Scores:
        """What held-out songs say of the weights as they are."""
        return self.held_out.scores(self.encoder, dict(self.heads.items()))

    def chosen(self) -> tuple[Encoder, dict[str, Head]]:
        """Encoder and heads with the best weights, on the processor."""
        self.kept.take()
        self.model.to("cpu").eval().requires_grad_(False)
        return self.encoder, {name: head for name, head in self._named_heads()}

    def _named_heads(self) -> Iterator[tuple[str, Head]]:
        for name, head in self.heads.items():
            assert isinstance(head, Head)
            yield name, head
