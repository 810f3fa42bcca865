"""Training of the first estimate on random sums of isolated recordings.

The heads minimise the power of what they get wrong relative to the sum's power (what SDR measures)
plus the same in the compressed domain (what the ear hears in the quiet).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from presets import StemwrightError

from ..data.mixes import RandomMixes
from ..models.estimator import Encoder, EstimatorConfig, Head, TrainedEstimator
from .checkpoint import Checkpoint, CheckpointMetadata, load_checkpoint
from .run import mixed_precision

Float = NDArray[np.float32]

_LEAST = 1e-5

CHECKPOINT = "estimator.npz"


@dataclass(frozen=True)
class EstimatorSettings:
    """One run; `compressed_weight` is the share of the compressed-domain error."""

    steps: int = 5000
    batch: int = 16
    frames: int = 128
    learning_rate: float = 1e-3
    warm_up: int = 100
    clip_norm: float = 4.0
    compressed_weight: float = 0.5
    seed: int = 0


class EstimatorTask:
    """Encoder and heads, trained together.

    `tuned` are an encoder and heads by name to go on from; a head that it lacks begins anew.
    """

    def __init__(
        self,
        config: EstimatorConfig,
        settings: EstimatorSettings,
        train: RandomMixes,
        valid: RandomMixes,
        identity: Mapping[str, str] = MappingProxyType({}),
        device: torch.device | None = None,
        tuned: tuple[Encoder, Mapping[str, Head]] | None = None,
    ) -> None:
        self.config, self.settings = config, settings
        self.train_mixes, self.valid_mixes = train, valid
        self.device = device or torch.device("cpu")
        named = ", ".join(f"{name}={'+'.join(parts)}" for name, parts in train.heads.items())
        self.identity = {**identity, "heads": named}
        torch.manual_seed(settings.seed)
        self.encoder = Encoder(config)
        self.heads = nn.ModuleDict({name: Head(config) for name in train.heads})
        self.model = nn.ModuleDict({"encoder": self.encoder, "heads": self.heads})
        if tuned is not None:
            self._begin_from(*tuned)

    def _begin_from(self, encoder: Encoder, heads: Mapping[str, Head]) -> None:
        if encoder.config != self.config:
            raise StemwrightError(
                "encoder-size-differs",
                f"the encoder to begin from is {encoder.config}, this training {self.config}. "
                "Train this size without --begin-from.",
            )
        self.encoder.load_state_dict(encoder.state_dict())
        for name, head in heads.items():
            if name in self.heads:
                self.heads[name].load_state_dict(head.state_dict())

    def described(self) -> CheckpointMetadata:
        """The size, and what the heads stand for."""
        heads = self.train_mixes.heads
        return {"config": self.config.to_dict(), "heads": list(heads), "parts": heads}

    def arrays(self) -> dict[str, Float]:
        """Nothing besides weights."""
        return {}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Nothing besides weights."""

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """The heads' losses on new mixes, summed."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 4, step])
        losses = self._losses(*self.train_mixes.sample(rng, s.batch, s.frames))
        total = torch.stack(list(losses.values())).sum()
        return total, total

    def _losses(self, mix: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        x = mix.transpose(1, 2).contiguous()
        power, c = self.config.compression, self.settings.compressed_weight
        with mixed_precision(self.device):
            features = self.encoder(x**power)
            masks = {name: self.heads[name](features) for name in targets}
        return {
            name: mask_loss(masks[name].float(), x, target.transpose(1, 2), power, c)
            for name, target in targets.items()
        }

    @torch.no_grad()
    def validate(self, batches: int = 4) -> dict[str, float]:
        """Mean loss of each head on held-out songs, always the same sums."""
        rng = np.random.default_rng([self.settings.seed, 6])
        runs = [
            self._losses(*self.valid_mixes.sample(rng, self.settings.batch, self.settings.frames))
            for _ in range(batches)
        ]
        return {name: float(np.mean([float(run[name]) for run in runs])) for name in runs[0]}


def load_estimator(folder: Path) -> TrainedEstimator:
    """Read the last checkpoint of an estimator run."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    metadata = checkpoint.metadata
    config = EstimatorConfig.of(metadata["config"])
    encoder = Encoder(config)
    heads = {name: Head(config) for name in metadata["heads"]}
    modules = nn.ModuleDict({"encoder": encoder, "heads": nn.ModuleDict(heads)})
    modules.load_state_dict(checkpoint.model)
    parts = {name: tuple(made_of) for name, made_of in metadata.get("parts", {}).items()}
    return TrainedEstimator(config, encoder.eval(), heads, parts, checkpoint.training)


def mask_loss(
    mask: Tensor, mix: Tensor, target: Tensor, compression: float, compressed_weight: float
) -> Tensor:
    """Power of what a masked mix gets wrong relative to the mix's, plus the same compressed.

    Shape: all (batch, bands, frames).
    """
    estimate = mask * mix
    wrong = ((estimate - target) ** 2).sum(dim=(1, 2)) / (mix**2).sum(dim=(1, 2))
    compressed = ((estimate + _LEAST) ** compression - (target + _LEAST) ** compression) ** 2
    return wrong.mean() + compressed_weight * compressed.mean()
