"""A head for one more stem: the installed encoder stays as it is, the new head alone learns.

The encoder is the ONNX file that the installed bundles share, so nobody else's bytes change and
the new head works in a set with the old ones. Mixes, loss and schedule are those that encoder
and heads were first trained with (`estimator_train`).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import Device, Prior, encoder_path, make_session
from presets import StemwrightError

from ..models.estimator import EstimatorConfig, Head, TrainedHead, trained_head
from .checkpoint import load_checkpoint, save_checkpoint
from .estimator_training import (
    EstimatorSettings,
    RandomMixes,
    channels_first,
    mask_loss,
)
from .loop import learning_rate, training_loop

Float = NDArray[np.float32]

CHECKPOINT = "head.npz"
_LEAST_SHARE = 1e-3  # who is 30 dB below the mix does not play


class FrozenEncoder:
    """An encoder's ONNX file: mix of mean square 1 -> features."""

    def __init__(self, path: Path) -> None:
        blob = path.read_bytes()
        self.sha256 = hashlib.sha256(blob).hexdigest()
        self._session, _ = make_session(blob, Device("cpu"))
        self.bands = int(self._session.get_inputs()[0].shape[2])
        self.hidden = int(self._session.get_outputs()[0].shape[2])

    def features(self, mix: Float) -> Tensor:
        """(batch, frames, bands) -> (batch, hidden, frames)."""
        (features,) = self._session.run(["features"], {"mix": mix})
        return channels_first(features)


def installed_encoder(priors: Mapping[str, Prior]) -> FrozenEncoder | None:
    """The encoder that most of these priors' heads read, or None where there is none."""
    named = Counter(p.card.encoder_sha256 for p in priors.values() if p.card.encoder_sha256)
    for sha256, _ in named.most_common():
        path = encoder_path(sha256, ())
        if path is not None:
            return FrozenEncoder(path)
    return None


@dataclass(frozen=True)
class HeadProgress:
    """Loss on training mixes and on held-out ones."""

    step: int
    steps: int
    train_loss: float
    valid_loss: float
    seconds: float


class HeadTrainer:
    """A run that trains one head on a frozen encoder's features, resumable from its folder.

    `given` says by name what the mixes are made of. Raises StemwrightError when the folder's head
    belongs to another encoder or to other mixes.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        encoder: FrozenEncoder,
        settings: EstimatorSettings,
        train: RandomMixes,
        valid: RandomMixes,
        given: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder, self.stem, self.encoder, self.settings = folder, stem, encoder, settings
        self.given = given
        self.train_mixes, self.valid_mixes = train, valid
        self.config = EstimatorConfig(bands=encoder.bands, hidden=encoder.hidden)
        torch.manual_seed(settings.seed)
        self.head = Head(self.config)
        self.optimiser = torch.optim.Adam(self.head.parameters(), lr=settings.learning_rate)
        self.step = 0
        if (folder / CHECKPOINT).exists():
            self._resume()
        self.started_at = self.step

    def run(self, every: int = 100) -> Iterator[HeadProgress]:
        """Train to the end, reporting and saving every `every` steps."""
        for loss, seconds in training_loop(self, every):
            yield HeadProgress(self.step, self.settings.steps, loss, self.validate(), seconds)

    def train_step(self) -> float:
        """Take one step; return its loss."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 8, self.step])
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(s, self.step)
        loss = self._loss(*self.train_mixes.sample(rng, s.batch, s.frames))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), s.clip_norm)
        self.optimiser.step()
        return float(loss.detach())

    def _loss(self, mix: Float, targets: dict[str, Float]) -> Tensor:
        mask = self.head(self.encoder.features(mix))
        return mask_loss(
            mask,
            channels_first(mix),
            channels_first(targets[self.stem]),
            self.config.compression,
            self.settings.compressed_weight,
        )

    @torch.no_grad()
    def validate(self, batches: int = 4) -> float:
        """Mean loss on held-out mixes."""
        return float(np.mean([float(self._loss(*drawn)) for drawn in self._held_out(batches)]))

    @torch.no_grad()
    def measure(self, batches: int = 4) -> tuple[float, float]:
        """Median SDR in dB of the stem in held-out mixes: in the head's estimate, in the mix.

        Of magnitudes, as phases are not there, and where the stem and others play.
        """
        found, before = [], []
        for mix, targets in self._held_out(batches):
            mask = self.head(self.encoder.features(mix)).numpy().transpose(0, 2, 1)
            target = targets[self.stem]
            mixed = _plays(target, mix) & _plays(mix - target, mix)
            found += _sdr_db(target[mixed], (mask * mix)[mixed])
            before += _sdr_db(target[mixed], mix[mixed])
        if not found:
            return -math.inf, -math.inf
        return float(np.median(found)), float(np.median(before))

    def _held_out(self, batches: int) -> Iterator[tuple[Float, dict[str, Float]]]:
        rng = np.random.default_rng([self.settings.seed, 9])
        for _ in range(batches):
            yield self.valid_mixes.sample(rng, self.settings.batch, self.settings.frames)

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.folder / CHECKPOINT, self.head, self.optimiser, self._identity())

    def _identity(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "config": self.config.to_dict(),
            "settings": asdict(self.settings),
            "given": dict(self.given),
            "encoder_sha256": self.encoder.sha256,
        }

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.folder / CHECKPOINT)
        theirs = checkpoint.about["encoder_sha256"]
        if theirs != self.encoder.sha256:
            raise StemwrightError(
                "encoder-changed",
                f"{self.folder / CHECKPOINT} is a head for the encoder {theirs[:12]}, and the "
                f"installed priors read {self.encoder.sha256[:12]}. Remove the file to train a "
                "head for that one.",
            )
        checkpoint.refuse_other(self.folder, self._identity())
        checkpoint.restore(self.head, self.optimiser)
        self.step = int(checkpoint.about["step"])


def load_head(folder: Path, seed: int) -> TrainedHead | None:
    """The head of a training folder, for its bundle; None where none was trained."""
    if not (folder / CHECKPOINT).exists():
        return None
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = checkpoint.about["config"]
    head = Head(EstimatorConfig(**config | {"dilations": tuple(config["dilations"])}))
    head.load_state_dict(checkpoint.model)
    trained = trained_head(head.eval(), checkpoint.about["encoder_sha256"], seed)
    return replace(trained, training=checkpoint.training)


def _plays(magnitudes: Float, mix: Float) -> NDArray[np.bool_]:
    """Which excerpts (batch, frames, bands) are more than a pause in their mix."""
    share = (magnitudes**2).mean(axis=(1, 2)) / (mix**2).mean(axis=(1, 2))
    return np.asarray(share > _LEAST_SHARE)


def _sdr_db(target: Float, estimate: Float) -> list[float]:
    """Signal to distortion of each excerpt (batch, frames, bands)."""
    wrong = np.maximum(((estimate - target) ** 2).sum(axis=(1, 2)), 1e-12)
    return [float(v) for v in 10 * np.log10((target**2).sum(axis=(1, 2)) / wrong)]
