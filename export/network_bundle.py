"""Bundles of the networks that hear choirs: graph, weights, self-test and card in one file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from engine import NETWORK_GRAPH, NetworkCard, Source, write_bundle_file

Float = NDArray[np.float32]

TOLERANCE = 1e-3  # relative to the largest value: what ONNX Runtime may differ from torch


class NetworkFacts(TypedDict):
    """What a card says that neither weights nor checkpoint do; see `NetworkCard`."""

    description: str
    licence: str
    sources: tuple[Source, ...]
    validation: Mapping[str, float | str]


def write_network(
    bundle: Path,
    network: nn.Module,
    graph: onnx.ModelProto,
    selftest: Mapping[str, Float],
    card: Mapping[str, Any],
    card_of: type[NetworkCard],
) -> None:
    """Write the file of a network whose weights are rounded; `card` has the fields that are the
    network's own."""
    halves = {
        name: value.numpy().astype(np.float16) for name, value in network.state_dict().items()
    }
    files = {
        f"{NETWORK_GRAPH}.onnx": graph.SerializeToString(deterministic=True),
        "weights.npz": _stored(halves),
        "selftest.npz": _stored(selftest),
    }
    whole = card_of(
        **card,
        parameters=sum(p.numel() for p in network.parameters()),
        made_with={name: importlib.metadata.version(name) for name in ("torch", "onnx")},
        files={name: hashlib.sha256(blob).hexdigest() for name, blob in files.items()},
        tolerance=TOLERANCE,
    )
    text = json.dumps(whole.model_dump(mode="json"), indent=1)
    write_bundle_file(bundle, {"card.json": text.encode(), **files})


def _stored(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
