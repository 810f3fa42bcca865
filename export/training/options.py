"""How a training is asked for: no torch here, so that the command line has it without waiting."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict, cast

DeviceName = Literal["auto", "cpu", "cuda"]
SizeName = Literal["cpu", "paper", "paper-small"]


class SettingsChanges(TypedDict, total=False):
    """Settings of a training that take the place of its size's."""

    batch: int
    learning_rate: float


class FlowChanges(SettingsChanges, total=False):
    """The same of a flow's."""

    contrast_from: float


@dataclass(frozen=True)
class TrainingOptions:
    """How to train, whatever is trained.

    `out` is the run's folder, where it resumes. `minutes` after these options were made, reading
    of recordings included, the training ends, where given, instead of after `steps`. `begin_from`
    is a bundle to go on from, or a folder of them for the encoder and its heads. `batch` and
    `learning_rate` replace what the size has (0: that).
    """

    out: Path = Path("runs")
    steps: int = 4000
    size: SizeName = "cpu"
    seed: int = 0
    threads: int = 0
    device: DeviceName = "auto"
    minutes: float = 0.0
    batch: int = 0
    learning_rate: float = 0.0
    begin_from: Path | None = None
    made: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float | None:
        """When `minutes` are over, by `time.monotonic`."""
        return self.made + 60 * self.minutes if self.minutes else None

    def changes(self) -> SettingsChanges:
        """What differs from a size's settings."""
        changes: SettingsChanges = {}
        if self.batch:
            changes["batch"] = self.batch
        if self.learning_rate:
            changes["learning_rate"] = self.learning_rate
        return changes

    def flow_changes(self) -> FlowChanges:
        """The same for a flow: one that is gone on from has learned its likelihood already."""
        changes = cast(FlowChanges, self.changes())  # a flow's settings have all of these
        if self.begin_from:
            changes["contrast_from"] = 0.0
        return changes
