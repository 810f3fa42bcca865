"""A head for one more stem: the installed encoder stays as it is, the new head alone learns.

The encoder is the ONNX file that the installed bundles share, so nobody else's bytes change and
the new head works in a set with the old ones. It begins as the installed head that finds the new
instrument best already (docs/lab.md), and ends as the best of its steps on held-out mixes, or of
mixtures with the head that it began as. Where there are songs to judge it on, as they were mixed,
these decide that instead of random sums. Mixes, loss and schedule are those that encoder
and heads were first trained with (`estimator_training`).
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import Prior, encoder_path, list_priors, read_bundle
from presets import StemwrightError

from ..data.mixes import RandomMixes
from ..data.true_mixes import TrueMix
from ..models.estimator import EstimatorConfig, Head, TrainedHead, trained_head
from ..models.graph_reader import read_encoder, read_head
from .best_weights import BestWeights, best_of
from .checkpoint import Checkpoint, CheckpointMetadata, load_checkpoint
from .estimate_masks import masks_alone
from .estimator_training import EstimatorSettings, mask_loss
from .expectation import Gains

Float = NDArray[np.float32]

CHECKPOINT = "head.npz"
_LEAST_SHARE = 1e-3  # who is 30 dB below the mix does not play


class FrozenEncoder:
    """An encoder's ONNX file, read back into torch: mix of mean square 1 -> features."""

    def __init__(self, path: Path) -> None:
        blob = path.read_bytes()
        self.sha256 = hashlib.sha256(blob).hexdigest()
        self.model = read_encoder(blob).requires_grad_(False)
        self.bands, self.hidden = self.model.config.bands, self.model.config.hidden

    @torch.no_grad()
    def features(self, mix: Tensor) -> Tensor:
        """(batch, frames, bands) -> (batch, hidden, frames)."""
        found: Tensor = self.model(mix.transpose(1, 2) ** self.model.config.compression)
        return found


def installed_encoder(priors: Mapping[str, Prior]) -> FrozenEncoder | None:
    """The encoder that most of these priors' heads read, or None where there is none."""
    named = Counter(p.card.encoder_sha256 for p in priors.values() if p.card.encoder_sha256)
    for sha256, _ in named.most_common():
        path = encoder_path(sha256, ())
        if path is not None:
            return FrozenEncoder(path)
    return None


def installed_heads(encoder: FrozenEncoder) -> dict[str, Head]:
    """Every installed head that reads this encoder, by its prior's name."""
    heads = {}
    for name, path in list_priors().items():
        card, files, _ = read_bundle(path)
        if card.encoder_sha256 == encoder.sha256:
            heads[name] = read_head(files["head.onnx"])
    return heads


class HeadTask:
    """One head on a frozen encoder's features.

    `identity` says by name what the mixes are made of. Of the heads `begun` the one with the least
    loss on held-out mixes is where the training begins (`begins_as`); without any it begins anew.
    With `songs`, in which the stem plays and which nothing of the training is of, what the head
    finds in them decides which weights are the best; where to begin it does not, for which one
    song is a poor judge (docs/lab.md).
    """

    def __init__(
        self,
        stem: str,
        encoder: FrozenEncoder,
        settings: EstimatorSettings,
        train: RandomMixes,
        valid: RandomMixes,
        identity: Mapping[str, str] = MappingProxyType({}),
        device: torch.device | None = None,
        begun: Mapping[str, Head] = MappingProxyType({}),
        songs: Sequence[TrueMix] = (),
    ) -> None:
        self.songs = tuple(songs)
        self.stem, self.encoder, self.settings, self.identity = stem, encoder, settings, identity
        self.train_mixes, self.valid_mixes = train, valid
        self.device = device or torch.device("cpu")
        encoder.model.to(self.device)
        torch.manual_seed(settings.seed)
        self.model, self.begins_as = self._nearest(begun)
        self.model.to(self.device)
        self.kept = BestWeights(self.model, self.validate, lambda loss: -loss)
        self.config = EstimatorConfig(
            bands=encoder.bands, hidden=encoder.hidden, head=self.model.first.out_channels
        )

    def _nearest(self, begun: Mapping[str, Head]) -> tuple[Head, str]:
        """The head that knows the instrument best, and its name; a new one has none."""
        losses = {}
        for name, head in begun.items():
            self.model = head.to(self.device)
            losses[name] = self._on_sums(batches=2)
        if not losses:
            return Head(EstimatorConfig(bands=self.encoder.bands, hidden=self.encoder.hidden)), ""
        name = min(losses, key=losses.__getitem__)
        return copy.deepcopy(begun[name]).requires_grad_(True), name

    def described(self) -> CheckpointMetadata:
        """The size, and the encoder that the head reads."""
        # where it began is no reason to refuse a run: the head itself may be installed by now
        return {
            "config": self.config.to_dict(),
            "encoder_sha256": self.encoder.sha256,
            "begins as": self.begins_as,
            "best step": self.kept.best.step,
            "best share": self.kept.best.share,
        }

    def arrays(self) -> dict[str, Float]:
        """The best weights."""
        return self.kept.arrays()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take the best weights back; refuse a head that belongs to another encoder."""
        theirs = checkpoint.metadata["encoder_sha256"]
        if theirs != self.encoder.sha256:
            raise StemwrightError(
                "encoder-changed",
                f"{CHECKPOINT} of this run is a head for the encoder {theirs[:12]}, and the "
                f"installed priors read {self.encoder.sha256[:12]}. Remove the file to train a "
                "head for that one.",
            )
        self.kept.resume(checkpoint)

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """The head's loss on new mixes."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 8, step])
        loss = self._loss(*self.train_mixes.sample(rng, s.batch, s.frames))
        return loss, loss

    def _loss(self, mix: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        return mask_loss(
            self.model(self.encoder.features(mix)),
            mix.transpose(1, 2),
            targets[self.stem].transpose(1, 2),
            self.encoder.model.config.compression,
            self.settings.compressed_weight,
        )

    @torch.no_grad()
    def validate(self, batches: int = 4) -> float:
        """Mean loss on held-out mixes; of songs, how far the stem is below 0 dB SDR on average."""
        if self.songs:
            return -float(np.mean([self.song_db(song) for song in self.songs]))
        return self._on_sums(batches)

    @torch.no_grad()
    def _on_sums(self, batches: int) -> float:
        return float(np.mean([float(self._loss(*drawn)) for drawn in self._held_out(batches)]))

    @torch.no_grad()
    def measure(self, batches: int = 4) -> tuple[float, float]:
        """Median SDR in dB of the stem in held-out mixes: in the head's estimate, in the mix.

        Of magnitudes, as phases are not there, and where the stem and others play.
        """
        found, before = [], []
        for mix, targets in self._held_out(batches):
            mask = self.model(self.encoder.features(mix)).transpose(1, 2)
            target = targets[self.stem]
            mixed = _plays(target, mix) & _plays(mix - target, mix)
            found += _sdr_db(target[mixed], (mask * mix)[mixed])
            before += _sdr_db(target[mixed], mix[mixed])
        if not found:
            return -math.inf, -math.inf
        return float(np.median(found)), float(np.median(before))

    def song_db(self, song: TrueMix) -> float:
        """Signal to distortion of the stem in a song of which nothing else is known."""
        return song.sdr_db(self._masks(song))[self.stem]

    def song_gains(self) -> Gains:
        """What each song gains over half of the mix."""
        half = [song.sdr_db(np.full_like(song.own, 0.5))[self.stem] for song in self.songs]
        found = [self.song_db(song) for song in self.songs]
        levels = [song.level_db(self.stem) for song in self.songs]
        gains = np.subtract(found, half)
        return Gains(np.array(levels, np.float32), gains.astype(np.float32))

    def _masks(self, song: TrueMix) -> Float:
        """The head's mask at the stem's place, and nothing at the others'."""
        masks = np.zeros_like(song.own)
        (masks[song.stems.index(self.stem)],) = masks_alone(
            song.halves, [self.stem], self.encoder.model, {self.stem: self.model}
        )
        return masks

    @torch.no_grad()
    def gains(self, mixes: RandomMixes, batches: int = 6) -> Gains:
        """What each excerpt gains over half of the mix, which knows nothing.

        Of magnitudes, where the stem and others play.
        """
        found: list[float] = []
        levels: list[float] = []
        rng = np.random.default_rng([self.settings.seed, 10])
        for _ in range(batches):
            mix, targets = mixes.sample(rng, self.settings.batch, self.settings.frames)
            mask = self.model(self.encoder.features(mix)).transpose(1, 2)
            target = targets[self.stem]
            at = _plays(target, mix) & _plays(mix - target, mix)
            ours, nothing = (_sdr_db(target[at], (m * mix)[at]) for m in (mask, 0.5))
            found += [own - half for own, half in zip(ours, nothing, strict=True)]
            levels += _level_db(target[at], mix[at])
        return Gains(np.array(levels, np.float32), np.array(found, np.float32))

    def _held_out(self, batches: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        rng = np.random.default_rng([self.settings.seed, 9])
        for _ in range(batches):
            yield self.valid_mixes.sample(rng, self.settings.batch, self.settings.frames)


def load_head(folder: Path, seed: int) -> TrainedHead | None:
    """The head of a training folder, for its bundle; None where none was trained."""
    if not (folder / CHECKPOINT).exists():
        return None
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = checkpoint.metadata["config"]
    head = Head(EstimatorConfig.of(config))
    head.load_state_dict(best_of(checkpoint) or checkpoint.model)
    trained = trained_head(head.eval(), checkpoint.metadata["encoder_sha256"], seed)
    best = {
        key: checkpoint.metadata[key]
        for key in ("best step", "best share")
        if key in checkpoint.metadata
    }
    return replace(trained, training=checkpoint.training | best)


def _plays(magnitudes: Tensor, mix: Tensor) -> Tensor:
    """Which excerpts (batch, frames, bands) are more than a pause in their mix."""
    share = (magnitudes**2).mean(dim=(1, 2)) / (mix**2).mean(dim=(1, 2))
    return share > _LEAST_SHARE


def _level_db(target: Tensor, mix: Tensor) -> list[float]:
    """How loud excerpts (batch, frames, bands) are against the rest of their mix."""
    own = (target**2).sum(dim=(1, 2))
    rest = (mix**2).sum(dim=(1, 2)) - own
    return [float(v) for v in 10 * torch.log10(own / torch.maximum(rest, _LEAST_SHARE * own))]


def _sdr_db(target: Tensor, estimate: Tensor) -> list[float]:
    """Signal to distortion of each excerpt (batch, frames, bands)."""
    wrong = ((estimate - target) ** 2).sum(dim=(1, 2)).clamp_min(1e-12)
    return [float(v) for v in 10 * torch.log10((target**2).sum(dim=(1, 2)) / wrong)]
