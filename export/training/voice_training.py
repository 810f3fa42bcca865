"""Training of voice models on mixtures alone: the voices' sum is to sound like the mix.

The loss is the multi-resolution spectral loss of the paper, between the magnitudes of the mix and
those expected of the sum: voices are not in phase with each other, so their powers are added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import VOICE_HOP, VOICE_RATE

from ..data.mixtures import Excerpts, MixtureExcerpts
from ..models.source_filter import SourceFilterConfig, SourceFilterNetwork, filter_power
from .checkpoint import Checkpoint, CheckpointMetadata

Float = NDArray[np.float32]

CHECKPOINT = "voices.npz"
_FLOOR = 1e-3  # of the mix's level: 60 dB down the logarithm stops to count


@dataclass(frozen=True)
class VoiceSettings:
    """One run; `seconds` is the length of an excerpt."""

    steps: int = 3000
    batch: int = 2
    seconds: float = 2.5
    learning_rate: float = 2e-3
    warm_up: int = 50
    clip_norm: float = 1.0
    log_weight: float = 1.0
    seed: int = 0

    @classmethod
    def fit(cls, steps: int, seed: int = 0) -> VoiceSettings:
        """To go on from a network that knows voices already: half the rate, sooner whole."""
        return cls(steps=steps, learning_rate=1e-3, warm_up=20, seed=seed)


class VoiceTask:
    """A network that learns from mixtures. `start` are weights to go on from."""

    def __init__(
        self,
        config: SourceFilterConfig,
        settings: VoiceSettings,
        train: MixtureExcerpts,
        valid: MixtureExcerpts,
        identity: Mapping[str, str] = MappingProxyType({}),
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config, self.settings = config, settings
        self.train_mixtures, self.valid_mixtures, self.identity = train, valid, identity
        torch.manual_seed(settings.seed)
        self.model = SourceFilterNetwork(config)
        if start is not None:
            self.model.load_state_dict(dict(start))
        self.synthesis = SourceFilterSynthesis(train, config)

    def described(self) -> CheckpointMetadata:
        """The size."""
        return {"config": self.config.to_dict()}

    def arrays(self) -> dict[str, Float]:
        """Nothing besides weights."""
        return {}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Nothing besides weights."""

    @property
    def frames(self) -> int:
        """Of an excerpt."""
        return round(self.settings.seconds * VOICE_RATE / VOICE_HOP)

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """The loss of new excerpts."""
        rng = np.random.default_rng([self.settings.seed, 8, step])
        loss = self._loss(self.train_mixtures.sample(rng, self.settings.batch, self.frames))
        return loss, loss

    def _loss(self, excerpts: Excerpts) -> Tensor:
        sums = self.synthesis.sums(self.model, excerpts)
        terms = [
            spectral_loss(mix, sum_, self.settings.log_weight)
            for mix, sum_ in zip(excerpts.mix, sums, strict=True)
        ]
        return torch.stack(terms).mean()

    @torch.no_grad()
    def validate(self, batches: int = 4) -> float:
        """Mean loss on held-out mixtures, always the same excerpts."""
        rng = np.random.default_rng([self.settings.seed, 9])
        sampled = (
            self.valid_mixtures.sample(rng, self.settings.batch, self.frames)
            for _ in range(batches)
        )
        return float(np.mean([float(self._loss(one)) for one in sampled]))


class SourceFilterSynthesis:
    """The magnitudes of voices in torch, for every window of the loss."""

    def __init__(self, mixtures: MixtureExcerpts, config: SourceFilterConfig) -> None:
        self.bins = mixtures.bins
        self._omega = [torch.linspace(0, torch.pi, one.n_fft // 2 + 1) for one in self.bins]
        self._roll_off = [torch.from_numpy(one.roll_off) for one in self.bins]
        self._bands = [torch.from_numpy(one.noise_bands(config.noise_bands)) for one in self.bins]

    def powers(self, network: SourceFilterNetwork, excerpts: Excerpts) -> list[Tensor]:
        """Power of every voice for every window: (batch, voices, frames, bins)."""
        amplitude, noise, lsf, shape = network(excerpts.mel, excerpts.pitch, excerpts.harmonics)
        finest = filter_power(lsf, self._omega[0])
        found = []
        for index, bins in enumerate(self.bins):
            every = self.bins[0].n_fft // bins.n_fft
            harmonic = amplitude[..., None] * excerpts.excitation[index] * self._roll_off[index]
            hiss = (noise * bins.noise_level)[..., None] * (shape @ self._bands[index])
            found.append(finest[..., ::every] * (harmonic**2 + hiss**2))
        return found

    def sums(self, network: SourceFilterNetwork, excerpts: Excerpts) -> list[Tensor]:
        """Magnitudes expected of the voices' sum, for every window (batch, frames, bins)."""
        return [torch.sqrt(power.sum(dim=1) + 1e-10) for power in self.powers(network, excerpts)]


def spectral_loss(mix: Tensor, sum_: Tensor, log_weight: float) -> Tensor:
    """Mean relative distance of magnitudes plus that of their logarithms."""
    distance = (mix - sum_).abs().sum() / mix.sum()
    floor = _FLOOR
    logarithms = (torch.log(mix + floor) - torch.log(sum_ + floor)).abs().mean()
    return distance + log_weight * logarithms
