"""What all trainings share: a folder and its checkpoint, the optimiser, the schedule, the device.

A `TrainingRun` owns these; a task brings the model, a step's loss and what held-out songs say.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from presets import StemwrightError, duration_text

from .checkpoint import Checkpoint, CheckpointMetadata, load_checkpoint, save_checkpoint
from .options import DeviceName

FORECAST_STEPS = 4  # by which the time of a training is told
Held = TypeVar("Held")
HeldOut = TypeVar("HeldOut", covariant=True)


class Settings(Protocol):
    """What a run asks of a training's settings."""

    @property
    def steps(self) -> int:
        """The budget."""

    @property
    def warm_up(self) -> int:
        """Steps until the learning rate is whole."""

    @property
    def learning_rate(self) -> float:
        """The largest one."""

    @property
    def clip_norm(self) -> float:
        """The largest norm of a step's gradient."""


class Task(Protocol[HeldOut]):
    """What is trained. `identity` says by name what else the run is of: stem, what it hears."""

    @property
    def model(self) -> nn.Module:
        """What learns."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What the run is of."""

    @property
    def settings(self) -> Settings:
        """The run's settings, a dataclass."""

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """The loss of a step, when a share of the training is done, and the number to report."""

    def validate(self) -> HeldOut:
        """What held-out songs say."""

    def described(self) -> Mapping[str, object]:
        """What the checkpoint says of the model besides; the names are those of `About`."""

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What the checkpoint keeps besides weights."""

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take back what `arrays` gave, or refuse to go on."""


@dataclass(frozen=True)
class TrainingProgress(Generic[Held]):
    """One report: the mean number of the steps since the last one, and what held-out songs say."""

    step: int
    steps: int
    train_loss: float
    valid: Held
    seconds: float
    left_s: float
    rate: float

    @property
    def left(self) -> str:
        """How fast it goes, and how long it will take; for the terminal."""
        return f"{self.rate:.1f} steps/s, {duration_text(self.left_s)} left"


class TrainingRun(Generic[Held]):
    """A task's training in a folder, from which it resumes exactly.

    With a `deadline` (of `time.monotonic`) the run ends then instead of after the settings' steps;
    the schedule follows the clock, and two runs are not equal. Raises StemwrightError when the
    folder's run was another one.
    """

    def __init__(
        self,
        folder: Path,
        checkpoint: str,
        task: Task[Held],
        device: torch.device | None = None,
        deadline: float | None = None,
    ) -> None:
        self.path, self.task, self.deadline = folder / checkpoint, task, deadline
        self.device = device or torch.device("cpu")
        task.model.to(self.device)
        fused = self.device.type == "cuda"
        self.optimiser = torch.optim.Adam(
            task.model.parameters(), lr=task.settings.learning_rate, fused=fused
        )
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._resume()
        self.started_at, self._begun = self.step, 0.0
        self._numbers: list[Tensor] = []

    @property
    def every(self) -> int:
        """Steps between checkpoints: a card takes hundreds while a processor takes a few."""
        return 100 if self.device.type == "cpu" else 500

    def forecast(self) -> str:
        """Take the first few steps, and tell by them how long the training will take.

        They are steps of the run like all others; `run` goes on behind them. Nothing is measured
        where so few are left.
        """
        if self.deadline is not None:
            return f"ends in {duration_text(max(self.deadline - time.monotonic(), 0))}, as asked"
        left = self.task.settings.steps - self.step
        if left <= 0:
            return "nothing is left to train"
        if left <= FORECAST_STEPS:
            return f"{left} steps are left"
        self._begun = time.monotonic()
        self._take_step()  # the first one warms up
        began_s = time.monotonic()
        for _ in range(FORECAST_STEPS - 1):
            self._take_step()
        float(self._numbers[-1])  # waits for the device
        step_s = (time.monotonic() - began_s) / (FORECAST_STEPS - 1)
        return f"{left} steps of {step_s:.2g} s: will take about {duration_text(left * step_s)}"

    def run(self, every: int = 100) -> Iterator[TrainingProgress[Held]]:
        """Train to the end; after every `every` steps save, validate and report.

        A new run takes a step even where reading took all of its time: what is exported is there.
        """
        self._begun = self._begun or time.monotonic()
        while self._done < 1 or not self.step:
            self._take_step()
            if self.step % every == 0 or self._done >= 1:
                loss = float(torch.stack(self._numbers).mean())  # the device is waited for here
                self._numbers.clear()
                self.save()
                yield self._progress(loss)

    def _take_step(self) -> None:
        self._numbers.append(self.train_step())
        self.step += 1

    def train_step(self) -> Tensor:
        """Take one step; return the number that is reported."""
        task, done = self.task, self._done
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(task.settings, self.step, done)
        loss, number = task.loss(self.step, done)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), task.settings.clip_norm)
        self.optimiser.step()
        return number.detach()

    def validate(self) -> Held:
        """What held-out songs say now."""
        return self.task.validate()

    @property
    def _done(self) -> float:
        """The share of the training that is behind."""
        if self.deadline is None:
            return self.step / self.task.settings.steps
        whole = max(self.deadline - self._begun, 1e-9)
        return min((time.monotonic() - self._begun) / whole, 1.0)

    def _progress(self, loss: float) -> TrainingProgress[Held]:
        seconds = time.monotonic() - self._begun
        rate = (self.step - self.started_at) / max(seconds, 1e-9)
        steps = self.task.settings.steps
        left = (steps - self.step) / rate
        if self.deadline is not None:
            left = max(self.deadline - time.monotonic(), 0)
            steps = self.step + round(left * rate)
        return TrainingProgress(
            self.step, steps, loss, self.task.validate(), seconds, max(left, 0.0), rate
        )

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(
            self.path, self.task.model, self.optimiser, self._metadata(), **self.task.arrays()
        )

    def _metadata(self) -> CheckpointMetadata:
        settings = self.task.settings
        own: CheckpointMetadata = {
            "step": self.step,
            "settings": asdict(settings),  # type: ignore[call-overload]
            "identity": dict(self.task.identity),
            "device": self.device.type,
            "by the clock": self.deadline is not None,
        }
        return cast(CheckpointMetadata, {**own, **self.task.described()})

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.path)
        self.task.resume(checkpoint)
        checkpoint.refuse_other(self.path.parent, self._metadata())
        checkpoint.restore(self.task.model, self.optimiser)
        self.step = int(checkpoint.metadata["step"])


def learning_rate(settings: Settings, step: int, done: float | None = None) -> float:
    """Linear warm-up, then a cosine to 1 % over the training, of which a share is `done`."""
    done = step / settings.steps if done is None else done
    warm = min((step + 1) / settings.warm_up, 1.0)
    cosine = 0.505 + 0.495 * math.cos(math.pi * done)
    return settings.learning_rate * warm * cosine


def training_device(name: DeviceName = "auto", threads: int = 0) -> torch.device:
    """The device to train on: `auto` takes a graphics card where torch has one.

    Raises StemwrightError when a card is asked for and torch has none.
    """
    if threads:
        torch.set_num_threads(threads)
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise StemwrightError(
            "device-missing",
            f"--device cuda: torch {torch.__version__} finds no CUDA card here. Install a build "
            "of torch for CUDA and the card's driver, or train with --device cpu.",
        )
    if name == "cpu" or not there:
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")
    return torch.device("cuda")


def device_summary(device: torch.device) -> str:
    """What trains, for the terminal."""
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        return (
            f"training on {card.name}, {card.total_memory / 2**30:.0f} GiB, "
            f"torch {torch.__version__}" + (", bfloat16" if has_bfloat16(device) else "")
        )
    return (
        f"training on {torch.get_num_threads()} threads of the processor, "
        f"torch {torch.__version__}" + (", bfloat16" if has_bfloat16(device) else "")
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies in bfloat16, which makes a step a third shorter or more."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 for what bears it, where the device has it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
