"""The first estimate: a small mask network with a shared encoder and one head per stem.

Trained on random sums of isolated recordings only; no finished mix is ever seen. A head reads
the encoder's features and says how much of every band belongs to its stem, without knowing the
other heads, so a new instrument adds a head (encoder frozen) and changes nobody else's bytes:
the shared-encoder idea of Doire & Okubadejo, arXiv:1908.05182.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .graph_writer import GraphWriter, Linear

Float = NDArray[np.float32]


@dataclass(frozen=True)
class EstimatorConfig:
    """Size of the network."""

    bands: int = 128
    hidden: int = 160
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    head: int = 96
    compression: float = 1 / 3

    def to_dict(self) -> dict[str, object]:
        """For cards and checkpoints."""
        return asdict(self)


class Encoder(nn.Module):
    """Dilated gated convolutions over time on compressed band magnitudes.

    Shape: (batch, bands, frames) -> (batch, hidden, frames).
    """

    def __init__(self, config: EstimatorConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = nn.Parameter(torch.ones(config.bands, 1))
        self.shift = nn.Parameter(torch.zeros(config.bands, 1))
        self.start = nn.Conv1d(config.bands, config.hidden, 1)
        self.gates = nn.ModuleList(
            nn.Conv1d(config.hidden, 2 * config.hidden, 3, padding=d, dilation=d)
            for d in config.dilations
        )
        self.mixers = nn.ModuleList(
            nn.Conv1d(config.hidden, config.hidden, 1) for _ in config.dilations
        )

    def forward(self, compressed: Tensor) -> Tensor:
        h: Tensor = self.start(compressed * self.scale + self.shift)
        for gate, mixer in zip(self.gates, self.mixers, strict=True):
            a, b = gate(h).chunk(2, dim=1)
            h = h + mixer(torch.tanh(a) * torch.sigmoid(b))
        return h


class Head(nn.Module):
    """(batch, hidden, frames) -> mask in (0, 1), shape (batch, bands, frames)."""

    def __init__(self, config: EstimatorConfig) -> None:
        super().__init__()
        self.first = nn.Conv1d(config.hidden, config.head, 3, padding=1)
        self.last = nn.Conv1d(config.head, config.bands, 1)

    def forward(self, features: Tensor) -> Tensor:
        mask: Tensor = torch.sigmoid(self.last(torch.relu(self.first(features))))
        return mask


@dataclass(frozen=True)
class TrainedHead:
    """What a bundle takes from a trained estimator: graph, encoder's hash, self-test vectors."""

    graph: onnx.ModelProto
    encoder_sha256: str
    vectors: dict[str, Float]
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainedEncoder:
    """The encoder's ONNX file, and a random mix with the features that torch gives for it."""

    onnx: bytes
    vectors: dict[str, Float]

    @property
    def file_name(self) -> str:
        """The name under which heads find it."""
        return f"{hashlib.sha256(self.onnx).hexdigest()[:16]}.encoder.onnx"


@dataclass(frozen=True)
class TrainedEstimator:
    """A finished estimator run: the shared encoder and a head per stem.

    `parts` are the instruments that each head stands for; see `against`.
    """

    config: EstimatorConfig
    encoder: Encoder
    heads: dict[str, Head]
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def encoder_bytes(self) -> bytes:
        """The encoder's ONNX file; its sha256 names it."""
        return bytes(emit_encoder(self.encoder).SerializeToString(deterministic=True))

    def trained_encoder(self, seed: int) -> TrainedEncoder:
        """The encoder, to be written beside the bundles of its heads."""
        blob = self.encoder_bytes()  # rounds the weights: torch must answer with the same
        rng = np.random.default_rng([seed, 19])
        mix = rng.random((1, 12, self.config.bands)).astype(np.float32)
        compressed = torch.from_numpy(mix**self.config.compression).transpose(1, 2)
        with torch.no_grad():
            features = self.encoder(compressed).transpose(1, 2).numpy()
        return TrainedEncoder(blob, {"mix": mix, "features": features})

    def head(self, stem: str, seed: int) -> TrainedHead:
        """The head of one stem, for its bundle."""
        sha256 = hashlib.sha256(self.encoder_bytes()).hexdigest()
        return trained_head(self.heads[stem], sha256, seed, against(stem, self.parts))


def against(stem: str, parts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What a head of several parts was trained to tell from: the single instruments outside it.

    A head of one part finds itself and nothing else, so it has no such list.
    """
    own = parts.get(stem, ())
    if len(own) < 2:
        return ()
    return tuple(
        name for name, made_of in parts.items() if len(made_of) == 1 and made_of[0] not in own
    )


def trained_head(
    head: Head, encoder_sha256: str, seed: int, against: tuple[str, ...] = ()
) -> TrainedHead:
    """A head's graph, and random features with the mask that torch gives for them."""
    graph = emit_head(head)
    rng = np.random.default_rng([seed, 13])
    features = rng.standard_normal((1, 12, head.first.in_channels)).astype(np.float32)
    with torch.no_grad():
        mask = head(torch.from_numpy(features).transpose(1, 2)).transpose(1, 2).numpy()
    vectors = {"features": features, "mask": np.ascontiguousarray(mask)}
    return TrainedHead(graph, encoder_sha256, vectors, against)


def emit_encoder(encoder: Encoder) -> onnx.ModelProto:
    """mix (batch, frames, bands) of mean square 1 -> features (batch, frames, hidden)."""
    round_parameters(encoder)
    g, config = GraphWriter(), encoder.config
    x = g.op("Pow", "mix", g.number(config.compression))
    x = g.op("Mul", x, g.constant(_row(encoder.scale)))
    x = g.op("Add", x, g.constant(_row(encoder.shift)))
    h = Linear(g, encoder.start).apply(x)
    for gate, mixer, dilation in zip(encoder.gates, encoder.mixers, config.dilations, strict=True):
        windows = g.windows(h, 3, dilation)
        a, b = g.halves(Linear(g, cast(nn.Conv1d, gate)).apply(windows))
        gated = g.op("Mul", g.op("Tanh", a), g.op("Sigmoid", b))
        h = g.op("Add", h, Linear(g, cast(nn.Conv1d, mixer)).apply(gated))
    g.name(h, "features")
    return g.model(
        {"mix": ("batch", "frames", config.bands)},
        {"features": ("batch", "frames", config.hidden)},
    )


def emit_head(head: Head) -> onnx.ModelProto:
    """features (batch, frames, hidden) -> mask (batch, frames, bands)."""
    round_parameters(head)
    g = GraphWriter()
    h = g.op("Relu", Linear(g, head.first).apply(g.windows("features", 3)))
    g.name(g.op("Sigmoid", Linear(g, head.last).apply(h)), "mask")
    return g.model(
        {"features": ("batch", "frames", head.first.in_channels)},
        {"mask": ("batch", "frames", head.last.out_channels)},
    )


def round_parameters(module: nn.Module) -> None:
    """Round to what the graphs store, in place."""
    for parameter in module.parameters():
        parameter.data = parameter.data.half().float()


def _row(parameter: Tensor) -> Float:
    return np.ascontiguousarray(parameter.detach().numpy()[:, 0])
