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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.labelled import labels_of_rows
from ..models.features import Features
from ..models.flow import Flow, FlowConfig, noise
from .checkpoint import load_checkpoint, save_checkpoint
from .loop import learning_rate, training_loop

Float = NDArray[np.float32]
Rng = np.random.Generator

CHECKPOINT = "checkpoint.npz"
PLAYED = 1e-3  # an excerpt this far (30 dB) below its batch is a pause: it has no instrument


class ExcerptSource(Protocol):
    """Where batches come from: band magnitudes of one instrument alone in every row. For a flow
    with labels the rows follow `labels_of_rows`."""

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


def measure_features(
    corpus: ExcerptSource, settings: TrainSettings, batches: int = 40
) -> Features:
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


class Validation(NamedTuple):
    """Held-out songs: nats per dimension, of each label too where there are labels, how often a
    clean excerpt beats its leak, and how often its own label is the likeliest."""

    nll: float
    told_apart: float | None
    nll_of_labels: tuple[float, ...] = ()
    recognised: float | None = None

    def summary(self, labels: Sequence[str]) -> str:
        """For the terminal."""
        each = zip(labels, self.nll_of_labels, strict=True)
        words = [f"{self.nll:.3f}" + "".join(f", {label} {nll:.3f}" for label, nll in each)]
        if self.told_apart is not None:
            words.append(f"tells leaks apart {self.told_apart:.0%}")
        if self.recognised is not None:
            words.append(f"recognises labels {self.recognised:.0%}")
        return "  ".join(words)


@dataclass(frozen=True)
class FlowProgress:
    """One report: nats per dimension on training audio, and what held-out songs say."""

    step: int
    steps: int
    train_nll: float
    valid: Validation
    seconds: float


class Trainer:
    """A run: the flow, its optimiser and the folder it can be resumed from.

    `given` says by name what else the run is of: its stem, what it hears. Raises StemwrightError
    when the folder's run was another one.
    """

    def __init__(
        self,
        folder: Path,
        config: FlowConfig,
        settings: TrainSettings,
        train: ExcerptSource,
        valid: ExcerptSource,
        leak: Leak | None,
        given: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder, self.config, self.settings, self.given = folder, config, settings, given
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

    def run(self, every: int = 100) -> Iterator[FlowProgress]:
        """Train to the end, reporting and saving every `every` steps."""
        for loss, seconds in training_loop(self, every):
            yield FlowProgress(self.step, self.settings.steps, loss, self.validate(), seconds)

    def lines(self, labels: Sequence[str] = ()) -> Iterator[str]:
        """`run`, told in lines for the terminal; `labels` are the names of the flow's labels."""
        if self.step:
            yield f"resuming at step {self.step} of {self.settings.steps}"
        for p in self.run():
            left = p.seconds / max(p.step - self.started_at, 1) * (p.steps - p.step)
            yield (
                f"step {p.step}/{p.steps}  nats per dimension: train {p.train_nll:.3f}, "
                f"validation {p.valid.summary(labels)}  {left / 60:.1f} min left"
            )

    def train_step(self) -> float:
        """Take one step; return its loss."""
        s = self.settings
        # every step draws from its own generator: a resumed run sees the same batches
        rng = np.random.default_rng([s.seed, 2, self.step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(s, self.step)
        magnitudes = self.train_corpus.sample(rng, s.batch, s.frames)
        log_prob = self._log_prob(magnitudes, generator, self._labels())
        loss = -log_prob.mean()
        nll = float(loss.detach())
        if s.contrast_weight and self.step >= s.contrast_from * s.steps:
            if self.leak is not None:
                term = self._contrast(rng, generator, magnitudes, log_prob)
                loss = loss + s.contrast_weight * term
            if self.config.labels > 1:
                term = self._label_contrast(rng, generator, magnitudes, log_prob)
                loss = loss + s.contrast_weight * term
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.flow.parameters(), s.clip_norm)
        self.optimiser.step()
        return nll

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
        dirty = self._log_prob(mixed, generator, self._labels())
        share = torch.from_numpy(np.clip((level_db[:, 0, 0] + 25) / 20, 0, 1))
        return torch.relu(self.settings.margin * share - (clean - dirty)).mean()

    def _label_contrast(
        self, rng: Rng, generator: torch.Generator, magnitudes: Float, own: Tensor
    ) -> Tensor:
        """Hinge on the gap between an excerpt under its own label and under another one.

        Pauses sound alike whoever rests, so they do not count.
        """
        labels, count = self._labels(), self.config.labels
        assert labels is not None
        other = (labels + torch.from_numpy(rng.integers(1, count, len(labels)))) % count
        wrong = self._log_prob(magnitudes, generator, other)
        played = torch.from_numpy(_played(magnitudes).astype(np.float32))
        return (played * torch.relu(self.settings.margin - (own - wrong))).mean()

    @torch.no_grad()
    def validate(self, batches: int = 4) -> Validation:
        """Measure the flow on held-out songs, always the same excerpts."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 3])
        generator = torch.Generator().manual_seed(s.seed)
        clean, dirty, recognised = [], [], []
        for _ in range(batches):
            magnitudes = self.valid_corpus.sample(rng, s.batch, s.frames)
            clean.append(self._log_prob(magnitudes, generator, self._labels()))
            if self.leak is not None:
                leaked = np.sqrt(magnitudes**2 + self.leak(rng, s.batch, s.frames) ** 2)
                dirty.append(self._log_prob(leaked, generator, self._labels()))
            if self.config.labels:
                recognised.append(self._recognised(magnitudes)[_played(magnitudes)])
        scores = torch.cat(clean)
        told = float((scores > torch.cat(dirty)).float().mean()) if dirty else None
        if not self.config.labels:
            return Validation(-float(scores.mean()), told)
        rows = np.tile(labels_of_rows(s.batch, self.config.labels), batches)
        by_label = [-float(scores[rows == label].mean()) for label in range(self.config.labels)]
        share = float(np.concatenate(recognised).mean())
        return Validation(-float(scores.mean()), told, tuple(by_label), share)

    def _recognised(self, magnitudes: Float) -> NDArray[np.bool_]:
        """Whether each row is likelier under its own label than under all others."""
        s, count = self.settings, self.config.labels
        under = []
        for label in range(count):
            generator = torch.Generator().manual_seed(s.seed)  # the same noise for each
            labels = torch.full((len(magnitudes),), label)
            under.append(self._log_prob(magnitudes, generator, labels))
        likeliest = torch.stack(under).argmax(dim=0).numpy()
        return np.asarray(likeliest == labels_of_rows(len(magnitudes), count))

    def _labels(self) -> Tensor | None:
        """The labels of a batch's rows; None for a flow without labels."""
        if not self.config.labels:
            return None
        return torch.from_numpy(labels_of_rows(self.settings.batch, self.config.labels))

    def _log_prob(
        self, magnitudes: Float, generator: torch.Generator, labels: Tensor | None
    ) -> Tensor:
        x = noise(self.features.apply(magnitudes), self.settings.sigma, generator)
        return self.flow.log_prob(x, labels)

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(
            self.folder / CHECKPOINT,
            self.flow,
            self.optimiser,
            self._identity(),
            mean=self.features.mean,
            std=self.features.std,
        )

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.folder / CHECKPOINT)
        checkpoint.refuse_other(self.folder, self._identity())
        checkpoint.restore(self.flow, self.optimiser)
        self.step = int(checkpoint.about["step"])
        self.features = Features(
            self.settings.compression, checkpoint.arrays["mean"], checkpoint.arrays["std"]
        )

    def _identity(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "config": self.config.to_dict(),
            "settings": asdict(self.settings),
            "given": dict(self.given),
        }


def _played(magnitudes: Float) -> NDArray[np.bool_]:
    """Which rows of a batch (batch, frames, bands) are more than a pause."""
    power = (magnitudes**2).mean(axis=(1, 2))
    return np.asarray(power > PLAYED * power.mean())


@dataclass(frozen=True)
class Run:
    """What a training folder holds; `given` is as in `Trainer`."""

    flow: Flow
    features: Features
    config: FlowConfig
    settings: TrainSettings
    step: int
    given: Mapping[str, str] = field(default_factory=dict)

    @torch.no_grad()
    def scores(self, excerpts: Sequence[Float], label: int | None = None) -> Float:
        """log p in nats per dimension of excerpts (1, frames, bands), without noise."""
        labels = None if label is None else torch.tensor([label])
        seen = [self.flow.log_prob(self.features.apply(piece), labels) for piece in excerpts]
        return torch.cat(seen).numpy()


def load_run(folder: Path) -> Run:
    """Read the last checkpoint of a training folder."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = FlowConfig(**checkpoint.about["config"])
    settings = TrainSettings(**checkpoint.about["settings"])
    flow = Flow(config)
    flow.load_state_dict(checkpoint.model)
    features = Features(settings.compression, checkpoint.arrays["mean"], checkpoint.arrays["std"])
    step, given = int(checkpoint.about["step"]), checkpoint.about.get("given", {})
    return Run(flow.eval(), features, config, settings, step, given)
