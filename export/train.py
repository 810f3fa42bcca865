"""Training of one flow prior from isolated recordings, with checkpoints that resume exactly.

The likelihood term sees one stem at a time, never a sum. In the second half a contrastive term
joins: the same excerpt with a leak of *other* isolated recordings must be less likely than the
excerpt alone. Plain likelihoods of spectra do not tell instruments apart (Frank & Ilse,
arXiv:2011.01761); this term makes them do so, and a bounded margin keeps the landscape smooth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from presets import StemwrightError

from .checkpoint import load_checkpoint, save_checkpoint
from .flow import Flow, FlowConfig, noise

Float = NDArray[np.float32]
Rng = np.random.Generator

CHECKPOINT = "checkpoint.npz"


class Corpus(Protocol):
    """Where batches come from: band magnitudes of one instrument alone."""

    def sample(self, rng: Rng, batch: int, frames: int) -> Float:
        """Return augmented magnitudes, shape (batch, frames, bands)."""


Leak = Callable[[Rng, int, int], Float]


@dataclass(frozen=True)
class TrainSettings:
    """One training run. `steps` is the budget; everything else has a measured default."""

    steps: int = 3000
    batch: int = 16
    frames: int = 128
    learning_rate: float = 1e-3
    warm_up: int = 100
    clip_norm: float = 4.0
    sigma: float = 0.1
    compression: float = 1 / 3
    contrast_from: float = 0.5
    contrast_weight: float = 1.0
    margin: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Features:
    """The standardised features of a prior: x = (m ** compression - mean) / std per band."""

    compression: float
    mean: Float
    std: Float

    def apply(self, magnitudes: Float) -> Tensor:
        """(batch, frames, bands) -> (batch, bands, frames)."""
        x = (magnitudes**self.compression - self.mean) / self.std
        return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1), np.float32))


def measure_features(corpus: Corpus, settings: TrainSettings, batches: int = 40) -> Features:
    """Mean and standard deviation of every band; the floor keeps empty bands from exploding."""
    rng = np.random.default_rng([settings.seed, 1])
    compressed = np.concatenate(
        [corpus.sample(rng, settings.batch, settings.frames) for _ in range(batches)]
    )
    compressed **= settings.compression
    std = compressed.std(axis=(0, 1))
    return Features(
        settings.compression,
        compressed.mean(axis=(0, 1)).astype(np.float32),
        np.maximum(std, max(0.3 * float(np.median(std)), 0.02)).astype(np.float32),
    )


@dataclass(frozen=True)
class Progress:
    """One report: nats per dimension on training and validation audio, and the gap to leaks."""

    step: int
    steps: int
    train_nll: float
    valid_nll: float | None
    told_apart: float | None
    seconds: float


class Trainer:
    """A run: the flow, its optimiser and the folder it can be resumed from."""

    def __init__(
        self,
        folder: Path,
        config: FlowConfig,
        settings: TrainSettings,
        train: Corpus,
        valid: Corpus,
        leak: Leak | None,
    ) -> None:
        self.folder, self.config, self.settings = folder, config, settings
        self.train_corpus, self.valid_corpus, self.leak = train, valid, leak
        torch.manual_seed(settings.seed)
        self.flow = Flow(config)
        self.optimiser = torch.optim.Adam(self.flow.parameters(), lr=settings.learning_rate)
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).exists():
            self._resume()
        else:
            self.features = measure_features(train, settings)
        self.started_at = self.step

    def run(self, every: int = 100) -> Iterator[Progress]:
        """Train to the end, reporting and saving every `every` steps."""
        started = time.monotonic()
        losses: list[float] = []
        while self.step < self.settings.steps:
            losses.append(self._train_step())
            self.step += 1
            if self.step % every == 0 or self.step == self.settings.steps:
                self.save()
                valid, told_apart = self.validate()
                yield Progress(
                    self.step,
                    self.settings.steps,
                    float(np.mean(losses)),
                    valid,
                    told_apart,
                    time.monotonic() - started,
                )
                losses.clear()

    def _train_step(self) -> float:
        s = self.settings
        # every step draws from its own generator: a resumed run sees the same batches
        rng = np.random.default_rng([s.seed, 2, self.step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for group in self.optimiser.param_groups:
            group["lr"] = s.learning_rate * self._schedule()
        magnitudes = self.train_corpus.sample(rng, s.batch, s.frames)
        log_prob = self.flow.log_prob(noise(self.features.apply(magnitudes), s.sigma, generator))
        loss = -log_prob.mean()
        nll = float(loss.detach())
        if self.leak is not None and self.step >= s.contrast_from * s.steps:
            loss = loss + s.contrast_weight * self._contrast(rng, generator, magnitudes, log_prob)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.flow.parameters(), s.clip_norm)
        self.optimiser.step()
        return nll

    def _schedule(self) -> float:
        """Linear warm-up, then a cosine to 1 %."""
        warm = min((self.step + 1) / self.settings.warm_up, 1.0)
        return warm * (0.505 + 0.495 * math.cos(math.pi * self.step / self.settings.steps))

    def _contrast(
        self, rng: Rng, generator: torch.Generator, magnitudes: Float, clean: Tensor
    ) -> Tensor:
        """Hinge on the gap between the excerpt and the same excerpt with a leak.

        The margin shrinks with the leak's level, so that a faint leak is not asked to look
        impossible: the density must fall gradually on the way from clean to mixed.
        """
        assert self.leak is not None
        batch, frames = magnitudes.shape[:2]
        level_db = rng.uniform(-25, 5, (batch, 1, 1)).astype(np.float32)
        leaked = self.leak(rng, batch, frames) * 10 ** (level_db / 20)
        mixed = np.sqrt(magnitudes**2 + leaked**2)
        dirty = self.flow.log_prob(
            noise(self.features.apply(mixed), self.settings.sigma, generator)
        )
        share = torch.from_numpy(np.clip((level_db[:, 0, 0] + 25) / 20, 0, 1))
        return torch.relu(self.settings.margin * share - (clean - dirty)).mean()

    @torch.no_grad()
    def validate(self, batches: int = 4) -> tuple[float, float | None]:
        """Nats per dimension on held-out songs, and how often a clean excerpt beats its leak."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 3])
        generator = torch.Generator().manual_seed(s.seed)
        clean, dirty = [], []
        for _ in range(batches):
            magnitudes = self.valid_corpus.sample(rng, s.batch, s.frames)
            clean.append(self._log_prob(magnitudes, generator))
            if self.leak is not None:
                leaked = np.sqrt(magnitudes**2 + self.leak(rng, s.batch, s.frames) ** 2)
                dirty.append(self._log_prob(leaked, generator))
        told = float((torch.cat(clean) > torch.cat(dirty)).float().mean()) if dirty else None
        return -float(torch.cat(clean).mean()), told

    def _log_prob(self, magnitudes: Float, generator: torch.Generator) -> Tensor:
        x = noise(self.features.apply(magnitudes), self.settings.sigma, generator)
        return self.flow.log_prob(x)

    def save(self) -> None:
        """Write the checkpoint."""
        about = {
            "step": self.step,
            "config": self.config.to_dict(),
            "settings": asdict(self.settings),
        }
        save_checkpoint(
            self.folder / CHECKPOINT,
            self.flow,
            self.optimiser,
            about,
            mean=self.features.mean,
            std=self.features.std,
        )

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.folder / CHECKPOINT)
        if FlowConfig(**checkpoint.about["config"]) != self.config:
            raise StemwrightError(
                "run-differs",
                f"{self.folder} holds a flow of another size. Choose another folder for this run.",
            )
        checkpoint.restore(self.flow, self.optimiser)
        self.step = int(checkpoint.about["step"])
        self.features = Features(
            self.settings.compression, checkpoint.arrays["mean"], checkpoint.arrays["std"]
        )


@dataclass(frozen=True)
class Run:
    """What a training folder holds."""

    flow: Flow
    features: Features
    config: FlowConfig
    settings: TrainSettings
    step: int


def load_run(folder: Path) -> Run:
    """Read the last checkpoint of a training folder."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = FlowConfig(**checkpoint.about["config"])
    settings = TrainSettings(**checkpoint.about["settings"])
    flow = Flow(config)
    flow.load_state_dict(checkpoint.model)
    features = Features(settings.compression, checkpoint.arrays["mean"], checkpoint.arrays["std"])
    return Run(flow.eval(), features, config, settings, int(checkpoint.about["step"]))
