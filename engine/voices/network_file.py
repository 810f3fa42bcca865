"""The file of a network that hears choirs: a bundle like a prior's, and the self-test of it.

A zip with `card.json`, the graph `network.onnx`, whose weights a training can go on from
(`weights.npz`), and `selftest.npz`, which a session must reproduce before it is used.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from presets import StemwrightError

from ..model.bundle import check_files, damaged, read_card
from ..model.card import CARD_SCHEMA, Source

Float = NDArray[np.float32]

NETWORK_GRAPH = "network"


class NetworkCard(BaseModel):
    """Everything about a network that is not its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: int = CARD_SCHEMA
    kind: str
    description: str = ""
    licence: str = "unknown"
    config: dict[str, int | bool]
    parameters: int = Field(gt=0)
    training: dict[str, Any]
    sources: tuple[Source, ...]
    validation: dict[str, Any]
    made_with: dict[str, str]
    files: dict[str, str] = Field(description="sha256 of every other file in the bundle")
    tolerance: float = Field(gt=0, description="largest relative error of the self-test")


Card = TypeVar("Card", bound=NetworkCard)


def read_network(path: Path, kind: str, card_of: type[Card]) -> tuple[Card, dict[str, bytes], str]:
    """Card, files and sha256 of a bundle. Raises StemwrightError for one that is damaged or of
    another kind."""
    fields, files, sha256 = read_card(path, kind)
    try:
        card = card_of.model_validate(fields)
    except pydantic.ValidationError as error:
        raise damaged(path, f"its card cannot be read: {error}") from error
    check_files(path, [NETWORK_GRAPH], card.files, files)
    return card, files, sha256


def check_session(
    path: Path,
    selftest: bytes,
    names: tuple[Sequence[str], Sequence[str]],
    run: Callable[..., tuple[Float, ...]],
    tolerance: float,
    device: str,
) -> None:
    """Refuse a session that does not say what torch said; `names` are inputs and outputs."""
    inputs, outputs = names
    with np.load(io.BytesIO(selftest), allow_pickle=False) as vectors:
        found = run(*(vectors[name] for name in inputs))
        for name, values in zip(outputs, found, strict=True):
            error = np.abs(values - vectors[name]).max() / np.abs(vectors[name]).max()
            if not error <= tolerance:
                raise StemwrightError(
                    "voices-selftest",
                    f"{path}: {name} differs from the training's by {error:.2g} of its "
                    f"largest value on {device}, allowed are {tolerance:g}. "
                    "Update ONNX Runtime, choose another --device, or export it again.",
                )
