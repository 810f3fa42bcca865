"""What all trainings share: steps in training_loop, a checkpoint behind each, and the schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Settings(Protocol):
    """What the loop asks of a training's settings."""

    @property
    def steps(self) -> int:
        """The budget."""

    @property
    def warm_up(self) -> int:
        """Steps until the learning rate is whole."""

    @property
    def learning_rate(self) -> float:
        """The largest one."""


class Training(Protocol):
    """A run that takes steps and can be saved; `step` were taken so far."""

    step: int

    @property
    def settings(self) -> Settings:
        """The run's settings."""

    def train_step(self) -> float:
        """Take one step; return its loss."""

    def save(self) -> None:
        """Write the checkpoint."""


def training_loop(training: Training, every: int) -> Iterator[tuple[float, float]]:
    """Train to the end; after every `every` steps save, then yield the mean loss of the round
    and the seconds since the loop began."""
    started, losses = time.monotonic(), list[float]()
    while training.step < training.settings.steps:
        losses.append(training.train_step())
        training.step += 1
        if training.step % every == 0 or training.step == training.settings.steps:
            training.save()
            yield float(np.mean(losses)), time.monotonic() - started
            losses.clear()


def learning_rate(settings: Settings, step: int) -> float:
    """Linear warm-up, then a cosine to 1 %."""
    warm = min((step + 1) / settings.warm_up, 1.0)
    cosine = 0.505 + 0.495 * math.cos(math.pi * step / settings.steps)
    return settings.learning_rate * warm * cosine
