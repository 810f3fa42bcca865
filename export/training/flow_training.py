"""Training of one flow prior from isolated recordings, with checkpoints that resume exactly.

The likelihood term sees one stem at a time, never a sum. In the second half a contrastive term
joins: the same excerpt with a leak of *other* isolated recordings must be less likely than the
excerpt alone. Plain likelihoods of spectra do not tell instruments apart (Frank & Ilse,
arXiv:2011.01761); this term makes them do so, and a bounded margin keeps the landscape smooth.
A flow with labels is trained in the same way, and its contrast has a second part: the same
excerpt under another label must be less likely, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import PLAYED
from presets import StemwrightError

from ..data.augmentation import on
from ..data.labelled import labels_of_rows
from ..models.features import Features
from ..models.flow import Flow, FlowConfig, noise
from .checkpoint import Checkpoint, CheckpointMetadata, load_checkpoint
from .run import TrainingRun

Float = NDArray[np.float32]
Rng = np.random.Generator

CHECKPOINT = "checkpoint.npz"


class ExcerptSource(Protocol):
    """Where batches come from: band magnitudes of one instrument alone in every row. For a flow
    with labels the rows follow `labels_of_rows`."""

    def sample(self, rng: Rng, batch: int, frames: int) -> Tensor:
        """Return augmented magnitudes, shape (batch, frames, bands)."""


Leak = Callable[[Rng, int, int], Tensor]


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


def measure_features(
    excerpts: ExcerptSource, settings: TrainSettings, batches: int = 40
) -> Features:
    """Mean and standard deviation of every band; the floor keeps empty bands from exploding."""
    rng = np.random.default_rng([settings.seed, 1])
    compressed = torch.cat(
        [excerpts.sample(rng, settings.batch, settings.frames) for _ in range(batches)]
    )
    compressed = compressed.double() ** settings.compression
    std = compressed.std(dim=(0, 1), correction=0).float().cpu().numpy()
    return Features(
        settings.compression,
        compressed.mean(dim=(0, 1)).float().cpu().numpy(),
        np.maximum(std, max(0.3 * float(np.median(std)), 0.02)).astype(np.float32),
    )


class Validation(NamedTuple):
    """Held-out songs: nats per dimension, of each label too where there are labels, how often a
    clean excerpt beats its leak, and how often its own label is the likeliest."""

    nll: float
    separability: float | None
    nll_of_labels: tuple[float, ...] = ()
    recognised: float | None = None

    def summary(self, labels: Sequence[str]) -> str:
        """For the terminal."""
        each = zip(labels, self.nll_of_labels, strict=True)
        words = [f"{self.nll:.3f}" + "".join(f", {label} {nll:.3f}" for label, nll in each)]
        if self.separability is not None:
            words.append(f"tells leaks apart {self.separability:.0%}")
        if self.recognised is not None:
            words.append(f"recognises labels {self.recognised:.0%}")
        return "  ".join(words)


class FlowTask:
    """The training of a flow: its model, likelihood and contrast.

    `tuned` is a flow to go on from with its features, of the same size. Raises StemwrightError
    when it has another one.
    """

    def __init__(
        self,
        config: FlowConfig,
        settings: TrainSettings,
        train: ExcerptSource,
        valid: ExcerptSource,
        leak: Leak | None,
        identity: Mapping[str, str] = MappingProxyType({}),
        device: torch.device | None = None,
        tuned: tuple[Flow, Features] | None = None,
    ) -> None:
        self.config, self.settings, self.identity = config, settings, identity
        self.train_excerpts, self.valid_excerpts, self.leak = train, valid, leak
        self.device = device or torch.device("cpu")
        torch.manual_seed(settings.seed)
        self.model = Flow(config)
        self._features: Features | None = None
        if tuned is not None:
            self._begin_from(*tuned)

    def _begin_from(self, flow: Flow, features: Features) -> None:
        if flow.config != self.config or features.compression != self.settings.compression:
            raise StemwrightError(
                "prior-size-differs",
                f"the prior to begin from is {flow.config}, this training {self.config}. Leave "
                "--begin-from out, or name a prior of this size.",
            )
        self.model.load_state_dict(flow.state_dict())
        self._features = features

    @property
    def features(self) -> Features:
        """Those of the checkpoint or of the prior to begin from, or else measured now."""
        if self._features is None:
            self._features = measure_features(self.train_excerpts, self.settings)
        return self._features

    def described(self) -> CheckpointMetadata:
        """The size."""
        return {"config": self.config.to_dict()}

    def arrays(self) -> dict[str, Float]:
        """The features'."""
        return {"mean": self.features.mean, "std": self.features.std}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take the features back."""
        mean, std = checkpoint.arrays["mean"], checkpoint.arrays["std"]
        self._features = Features(self.settings.compression, mean, std)

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """Nats per dimension and, later, the contrast; nats per dimension alone are reported."""
        s = self.settings
        # every step draws from its own generator: a resumed run sees the same batches
        rng = np.random.default_rng([s.seed, 2, step])
        generator = self._generator(int(rng.integers(2**62)))
        magnitudes = self.train_excerpts.sample(rng, s.batch, s.frames)
        log_prob = self._log_prob(magnitudes, generator, self._labels())
        loss = nll = -log_prob.mean()
        if s.contrast_weight and done >= s.contrast_from:
            if self.leak is not None:
                term = self._contrast(rng, generator, magnitudes, log_prob)
                loss = loss + s.contrast_weight * term
            if self.config.labels > 1:
                term = self._label_contrast(rng, generator, magnitudes, log_prob)
                loss = loss + s.contrast_weight * term
        return loss, nll

    def _contrast(
        self, rng: Rng, generator: torch.Generator, magnitudes: Tensor, clean: Tensor
    ) -> Tensor:
        """Hinge on the gap between the excerpt and the same excerpt with a leak.

        The margin shrinks with the leak's level, so that a faint leak is not asked to look
        impossible: the density must fall gradually on the way from clean to mixed.
        """
        assert self.leak is not None
        batch, frames = magnitudes.shape[:2]
        level_db = rng.uniform(-25, 5, batch)
        leaked = (
            self.leak(rng, batch, frames) * on(10 ** (level_db / 20), magnitudes)[:, None, None]
        )
        mixed = torch.sqrt(magnitudes**2 + leaked**2)
        dirty = self._log_prob(mixed, generator, self._labels())
        share = on(np.clip((level_db + 25) / 20, 0, 1), magnitudes)
        return torch.relu(self.settings.margin * share - (clean - dirty)).mean()

    def _label_contrast(
        self, rng: Rng, generator: torch.Generator, magnitudes: Tensor, own: Tensor
    ) -> Tensor:
        """Hinge on the gap between an excerpt under its own label and under another one.

        Pauses sound alike whoever rests, so they do not count.
        """
        labels, count = self._labels(), self.config.labels
        assert labels is not None
        other = (labels + on(rng.integers(1, count, len(labels)), magnitudes)) % count
        wrong = self._log_prob(magnitudes, generator, other)
        played = _played(magnitudes).to(own.dtype)
        return (played * torch.relu(self.settings.margin - (own - wrong))).mean()

    @torch.no_grad()
    def validate(self, batches: int = 4) -> Validation:
        """Measure the flow on held-out songs, always the same excerpts."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 3])
        generator = self._generator(s.seed)
        clean, dirty, recognised = [], [], []
        for _ in range(batches):
            magnitudes = self.valid_excerpts.sample(rng, s.batch, s.frames)
            clean.append(self._log_prob(magnitudes, generator, self._labels()))
            if self.leak is not None:
                leaked = torch.sqrt(magnitudes**2 + self.leak(rng, s.batch, s.frames) ** 2)
                dirty.append(self._log_prob(leaked, generator, self._labels()))
            if self.config.labels:
                recognised.append(self._recognised(magnitudes)[_played(magnitudes)])
        scores = torch.cat(clean)
        separability = float((scores > torch.cat(dirty)).float().mean()) if dirty else None
        if not self.config.labels:
            return Validation(-float(scores.mean()), separability)
        rows = np.tile(labels_of_rows(s.batch, self.config.labels), batches)
        by_label = [
            -float(scores[on(np.flatnonzero(rows == label), scores)].mean())
            for label in range(self.config.labels)
        ]
        share = float(torch.cat(recognised).float().mean())
        return Validation(-float(scores.mean()), separability, tuple(by_label), share)

    def _recognised(self, magnitudes: Tensor) -> Tensor:
        """Whether each row is likelier under its own label than under all others."""
        s, count = self.settings, self.config.labels
        under = []
        for label in range(count):
            generator = self._generator(s.seed)  # the same noise for each
            labels = torch.full((len(magnitudes),), label, device=self.device)
            under.append(self._log_prob(magnitudes, generator, labels))
        own = self._labels()
        assert own is not None
        return torch.stack(under).argmax(dim=0) == own

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed)

    def _labels(self) -> Tensor | None:
        """The labels of a batch's rows; None for a flow without labels."""
        if not self.config.labels:
            return None
        labels = labels_of_rows(self.settings.batch, self.config.labels)
        return torch.from_numpy(labels).to(self.device)

    def _log_prob(
        self, magnitudes: Tensor, generator: torch.Generator, labels: Tensor | None
    ) -> Tensor:
        x = noise(self.features.apply(magnitudes), self.settings.sigma, generator)
        scores: Tensor = self.model.log_prob(x, labels)
        return scores


def flow_lines(run: TrainingRun[Validation], labels: Sequence[str] = ()) -> Iterator[str]:
    """Train, told in lines for the terminal; `labels` are the names of the flow's labels."""
    if run.step:
        yield f"resuming at step {run.step} of {run.task.settings.steps}"
    yield run.forecast()
    for p in run.run(run.every):
        yield (
            f"step {p.step}/{p.steps}  nats per dimension: train {p.train_loss:.3f}, "
            f"validation {p.valid.summary(labels)}  {p.left}"
        )


def _played(magnitudes: Tensor) -> Tensor:
    """Which rows of a batch (batch, frames, bands) are more than a pause."""
    power = (magnitudes**2).mean(dim=(1, 2))
    return power > PLAYED * power.mean()


@dataclass(frozen=True)
class Run:
    """What a training folder holds; `identity` is as in `Task`."""

    flow: Flow
    features: Features
    config: FlowConfig
    settings: TrainSettings
    step: int
    identity: Mapping[str, str] = field(default_factory=dict)
    budget: int = 0

    @torch.no_grad()
    def scores(self, excerpts: Sequence[Float], label: int | None = None) -> Float:
        """log p in nats per dimension of excerpts (1, frames, bands), without noise."""
        labels = None if label is None else torch.tensor([label])
        seen = [self.flow.log_prob(self.features.apply(piece), labels) for piece in excerpts]
        return torch.cat(seen).numpy()


def load_run(folder: Path) -> Run:
    """Read the last checkpoint of a training folder."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = FlowConfig(**checkpoint.metadata["config"])
    settings = TrainSettings(**checkpoint.metadata["settings"])
    flow = Flow(config)
    flow.load_state_dict(checkpoint.model)
    features = Features(settings.compression, checkpoint.arrays["mean"], checkpoint.arrays["std"])
    step, identity = int(checkpoint.metadata["step"]), checkpoint.metadata.get("identity", {})
    return Run(flow.eval(), features, config, settings, step, identity, checkpoint.budget)
