"""Checkpoints of a training run: one `.npz` without pickle, from which a run resumes exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from presets import StemwrightError

_MODEL, _ADAM, _METADATA = "model/", "adam/", "metadata"
_FORMER = {"metadata": "about", "identity": "given"}  # as older checkpoints say it

Config = dict[str, Any]  # the fields of a network's sizes, a dataclass that differs by network
CheckpointMetadata = TypedDict(
    "CheckpointMetadata",
    {
        "step": int,
        "settings": Config,  # and those of its training
        "identity": dict[str, str],
        "device": str,
        "by the clock": bool,
        "config": Config,
        "heads": list[str],
        "parts": Mapping[str, Sequence[str]],
        "encoder_sha256": str,
        "encoder of": Mapping[str, str],
        "begins as": str,
        "best step": int,
        "best share": float,
        "held out": list[str],
        "minutes of songs": float,
    },
    total=False,
)
CheckpointMetadata.__doc__ = (
    "What a checkpoint says of its run; not every task all of it, and older ones less."
)


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: weights, the optimiser's moments, further arrays, and facts."""

    model: dict[str, Tensor]
    moments: dict[int, dict[str, Tensor]]
    arrays: dict[str, NDArray[np.float32]]
    metadata: CheckpointMetadata

    @property
    def training(self) -> Config:
        """For the card: every setting, the steps that were taken, of how many, and what the
        weights were before them."""
        counted = {"steps": self.metadata["step"], "of": self.budget}
        return self.metadata["settings"] | counted | begun_from(self.metadata.get("identity", {}))

    @property
    def budget(self) -> int:
        """The steps that there were to take: those that were, where the clock ended the run."""
        by_clock = self.metadata.get("by the clock", False)
        return int(self.metadata["step"] if by_clock else self.metadata["settings"]["steps"])

    def restore(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Put weights and moments back; a checkpoint without moments begins with new ones."""
        model.load_state_dict(self.model)
        if not self.moments:
            return
        state = optimiser.state_dict()
        state["state"] = self.moments
        optimiser.load_state_dict(state)

    def refuse_other(self, folder: Path, metadata: CheckpointMetadata) -> None:
        """Raise StemwrightError unless the run that wants to go on is the one that was saved.

        The budget of steps may differ. What an older checkpoint does not say counts as the same.
        """
        here = json.loads(
            json.dumps(metadata)
        )  # as it would be read again: tuples are lists there
        saved = dict[str, Any](self.metadata)
        differ = [
            f"{name}: {there[name]} there, {value} here"
            for section in ("config", "settings", "identity")
            for there in [saved.get(section, {})]
            for name, value in here[section].items()
            if name != "steps" and there.get(name, value) != value
        ]
        if differ:
            raise StemwrightError(
                "run-differs",
                f"{folder} holds another run ({'; '.join(differ)}). Train with another "
                "--output, or remove that folder to begin anew.",
            )


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    metadata: CheckpointMetadata,
    **arrays: NDArray[np.float32],
) -> None:
    """Write aside and rename: a killed run keeps the last one."""
    stored: dict[str, Any] = {**arrays, _METADATA: np.array(json.dumps(metadata))}
    stored |= {
        f"{_MODEL}{name}": value.detach().cpu().numpy()
        for name, value in model.state_dict().items()
    }
    for index, moments in optimiser.state_dict()["state"].items():
        stored |= {
            f"{_ADAM}{index}/{name}": value.cpu().numpy() for name, value in moments.items()
        }
    aside = path.with_suffix(".part.npz")
    np.savez(aside, **stored)
    aside.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: np.array(stored[name]) for name in stored.files}
    metadata = _metadata(arrays)
    moments: dict[int, dict[str, Tensor]] = {}
    for name in [name for name in arrays if name.startswith(_ADAM)]:
        _, index, key = name.split("/")
        moments.setdefault(int(index), {})[key] = torch.from_numpy(arrays.pop(name))
    model = {
        name.removeprefix(_MODEL): _whole(torch.from_numpy(arrays.pop(name)))
        for name in list(arrays)
        if name.startswith(_MODEL)
    }
    return Checkpoint(model, moments, arrays, metadata)


def _metadata(arrays: dict[str, NDArray[Any]]) -> CheckpointMetadata:
    """Take what a checkpoint says of its run out of its arrays, today's names for former ones."""
    name = _METADATA if _METADATA in arrays else _FORMER[_METADATA]
    metadata = json.loads(str(arrays.pop(name)))
    if (former := _FORMER["identity"]) in metadata:
        metadata["identity"] = metadata.pop(former)
    return cast(CheckpointMetadata, metadata)


def _whole(weights: Tensor) -> Tensor:
    """Weights in single precision, whatever they were stored in."""
    return weights.float() if weights.is_floating_point() else weights


def begun_from(identity: Mapping[str, str]) -> dict[str, str]:
    """For the card of a run that was given other weights to begin with: their hash."""
    return {"tuned_from": identity["tuned from"]} if "tuned from" in identity else {}
