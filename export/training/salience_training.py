"""Training of the network that says which pitches are sung in a mix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.sung_sums import SungSums
from ..models.salience import SalienceConfig, SalienceNetwork
from .checkpoint import Checkpoint, CheckpointMetadata
from .run import mixed_precision

Float = NDArray[np.float32]

SALIENCE_CHECKPOINT = "salience.npz"


@dataclass(frozen=True)
class SalienceSettings:
    """One run; `seconds` is the length of an excerpt."""

    steps: int = 1500
    batch: int = 4
    seconds: float = 3.0
    learning_rate: float = 3e-3
    warm_up: int = 50
    clip_norm: float = 1.0
    seed: int = 0


class SalienceTask:
    """A network that learns from sums of singers."""

    def __init__(
        self, config: SalienceConfig, settings: SalienceSettings, sums: SungSums, heard: str
    ) -> None:
        self.settings, self.sums = settings, sums
        self.identity = {"singers": heard}
        torch.manual_seed(settings.seed)
        self.model = SalienceNetwork(config)

    def described(self) -> CheckpointMetadata:
        """The size."""
        return {"config": self.model.config.to_dict()}

    def arrays(self) -> dict[str, Float]:
        """Nothing besides weights."""
        return {}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Nothing besides weights."""

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """The loss of new sums."""
        loss = self._loss(np.random.default_rng([self.settings.seed, 6, step]))
        return loss, loss

    def _loss(self, rng: np.random.Generator) -> Tensor:
        heard, sung = self.sums.sample(rng, self.settings.batch)
        with mixed_precision(torch.device("cpu")):
            found = self.model(heard.to(memory_format=torch.channels_last))
        terms = nn.functional.binary_cross_entropy_with_logits(found.float(), sung)
        return 100 * terms  # most candidates are silent: a number that can be read

    @torch.no_grad()
    def validate(self) -> float:
        """The loss of sums that are always the same."""
        return float(self._loss(np.random.default_rng([self.settings.seed, 7])))
