"""Training of a GAN prior: one second of one instrument alone, as Narayanaswamy et al. have it.

Wasserstein loss with a gradient penalty, several steps of the critic for one of the generator.
An excerpt is scaled so that its peak lies between a quarter and one: in the search the mix has a
peak of one, and no instrument is louder than the mix for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.songs import Prefetched, Songs
from ..models.wavegan import Critic, GanConfig, Generator
from .checkpoint import Checkpoint, CheckpointMetadata, Config, load_checkpoint
from .run import TrainingRun

Float = NDArray[np.float32]

CHECKPOINT = "gan.npz"
CPU = torch.device("cpu")
BETAS = (0.5, 0.9)  # of Adam, as published
PENALTY = 10.0
SOFTEST = 0.25  # peak of the softest excerpt
_SILENT = 1e-3  # a peak 60 dB below full scale: nothing is played
_TRIES = 8


@dataclass(frozen=True)
class GanSettings:
    """One run. `steps` counts those of critic and generator; of `turn` steps the last one is the
    generator's."""

    steps: int = 30_000
    batch: int = 32
    turn: int = 6  # five of the critic, one of the generator
    learning_rate: float = 1e-4
    warm_up: int = 1
    clip_norm: float = 1e9
    seed: int = 0


class GanTask:
    """A generator and its critic; a `Task` of `TrainingRun`. `songs` lend one stem."""

    def __init__(
        self,
        stem: str,
        config: GanConfig,
        settings: GanSettings,
        train: Songs,
        valid: Songs,
        device: torch.device = CPU,
    ) -> None:
        self.stem, self.config, self.settings, self.device = stem, config, settings, device
        self.train_songs, self.valid_songs = train, valid
        self.identity: Mapping[str, str] = {"stem": stem, "songs": train.digest}
        torch.manual_seed(settings.seed)
        self.generator, self.critic = Generator(config), Critic(config)
        self.model: nn.Module = nn.ModuleDict({"generator": self.generator, "critic": self.critic})
        self._drawn = Prefetched(self._real)

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """The critic's loss with its penalty, or the generator's; the critic's estimate of the
        distance is what is reported."""
        chance = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
        z = self._latents(self.settings.batch, chance)
        critics = (step + 1) % self.settings.turn != 0
        self.critic.requires_grad_(critics)  # whose turn it is not gets no gradient, so that
        self.generator.requires_grad_(not critics)  # Adam leaves it alone
        made = self.generator(z)
        judged = self.critic(made, chance)
        if not critics:
            return -judged.mean(), judged.mean()
        real = torch.from_numpy(self._drawn(step)).to(self.device)
        distance = self.critic(real, chance).mean() - judged.mean()
        return PENALTY * self._penalty(real, made, chance) - distance, distance

    def _penalty(self, real: Tensor, made: Tensor, chance: torch.Generator) -> Tensor:
        """Mean square of how far the gradient's norm is from one between real and made."""
        share = torch.rand((len(real), 1), generator=chance).to(self.device)
        between = (real + share * (made - real)).detach().requires_grad_()
        judged = self.critic(between, chance).sum()
        (slope,) = torch.autograd.grad(judged, between, create_graph=True)
        far: Tensor = ((slope.norm(dim=1) - 1) ** 2).mean()
        return far

    def _latents(self, batch: int, chance: torch.Generator) -> Tensor:
        """Uniform in (-1, 1), as published: the search is confined to it."""
        return (2 * torch.rand((batch, self.config.latent), generator=chance) - 1).to(self.device)

    def _real(self, step: int) -> Float:
        rng = np.random.default_rng([self.settings.seed, 41, step])
        return playing(rng, self.train_songs, self.stem, self.settings.batch, self.config.samples)

    @torch.no_grad()
    def validate(self) -> float:
        """The critic's distance between held-out excerpts and generated ones."""
        rng = np.random.default_rng([self.settings.seed, 42])
        chance = torch.Generator().manual_seed(self.settings.seed)
        batch = 64
        real = playing(rng, self.valid_songs, self.stem, batch, self.config.samples)
        heard = self.critic(torch.from_numpy(real).to(self.device), chance).mean()
        made = self.critic(self.generator(self._latents(batch, chance)), chance).mean()
        return float(heard - made)

    def described(self) -> CheckpointMetadata:
        """Size and material."""
        return {
            "config": self.config.to_dict(),
            "minutes of songs": round(self.train_songs.minutes, 1),
        }

    def arrays(self) -> dict[str, Float]:
        """Nothing besides weights."""
        return {}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Nothing besides weights."""


def playing(rng: np.random.Generator, songs: Songs, stem: str, batch: int, samples: int) -> Float:
    """Excerpts (batch, samples) in which a stem plays, with peaks between SOFTEST and one."""
    out = np.zeros((batch, samples), np.float32)
    wanted = np.arange(batch)
    for _ in range(_TRIES):
        drawn = songs.sample_stem(rng, stem, wanted.size, samples)
        peaks = np.abs(drawn).max(axis=1)
        there = peaks > _SILENT
        gains = rng.uniform(SOFTEST, 1.0, wanted.size).astype(np.float32)
        out[wanted[there]] = drawn[there] * (gains[there] / peaks[there])[:, None]
        wanted = wanted[~there]
        if not wanted.size:
            break
    return out


def run_of(
    folder: Path, task: GanTask, device: torch.device = CPU, deadline: float | None = None
) -> TrainingRun[float]:
    """The run of a GAN, with the published betas of Adam."""
    run = TrainingRun(folder, CHECKPOINT, task, device, deadline)
    for group in run.optimiser.param_groups:
        group["betas"] = BETAS
    return run


def load_generator(folder: Path) -> tuple[Generator, Config]:
    """The generator of a run's last checkpoint, and what its card says of the training."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    generator = Generator(GanConfig(**checkpoint.metadata["config"]))
    prefix = "generator."
    weights = {
        name.removeprefix(prefix): value
        for name, value in checkpoint.model.items()
        if name.startswith(prefix)
    }
    generator.load_state_dict(weights)
    return generator.eval(), checkpoint.training
