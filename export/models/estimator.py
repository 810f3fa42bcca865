"""The first estimate: a small mask network with a shared encoder and one head per stem.

Trained on random sums of isolated recordings only; no finished mix is ever seen. A head reads
the encoder's features and says how much of every band belongs to its stem, without knowing the
other heads, so a new instrument adds a head (encoder frozen) and changes nobody else's bytes:
the shared-encoder idea of Doire & Okubadejo, arXiv:1908.05182.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from presets import StemwrightError

from .graph_writer import GraphWriter, Linear, array_of, recurrent

Float = NDArray[np.float32]


@dataclass(frozen=True)
class EstimatorConfig:
    """Size of the network: `channels` of the local patterns, `recurrent` units each way."""

    bands: int = 128
    channels: int = 16
    hidden: int = 160
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    recurrent: int = 128
    head: int = 96
    compression: float = 1 / 3

    def to_dict(self) -> dict[str, object]:
        """For cards and checkpoints."""
        return asdict(self)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> EstimatorConfig:
        """From a checkpoint. Raises StemwrightError for a network of a kind that is no more."""
        values = dict(stored)
        if values.pop("beside", False):  # for a while there was an ear for a pair's other half
            raise StemwrightError(
                "network-of-both-halves",
                "this training's network hears both halves of a pair, and the program has none of "
                "that kind any more. Train it anew.",
            )
        return cls(**values | {"dilations": tuple(values["dilations"])})


# what `draft` may cost decides how large (docs/lab.md)
NETWORKS: Mapping[str, EstimatorConfig] = MappingProxyType(
    {
        "small": EstimatorConfig(),
        "medium": EstimatorConfig(
            channels=24, hidden=256, dilations=(1, 2, 4, 8, 1, 4), recurrent=192, head=128
        ),
        "large": EstimatorConfig(
            channels=32, hidden=320, dilations=(1, 2, 4, 8, 1, 4), recurrent=256, head=160
        ),
    }
)


class Patterns(nn.Module):
    """What a few neighbouring bands and frames show, wherever they lie: onsets, partials, glides.

    Shape: (batch, 1, frames, bands) -> (batch, channels, frames, half the bands).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, (3, 5), stride=(1, 2), padding=(1, 2))
        self.others = nn.ModuleList(
            nn.Conv2d(channels, channels, (3, 5), padding=(reach, 2), dilation=(reach, 1))
            for reach in (1, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        for conv in self.others:
            h = h + torch.relu(conv(h))
        return h


class Encoder(nn.Module):
    """Compressed band magnitudes and their local patterns, seen by dilated gated convolutions
    over some seconds and by a recurrent layer over all that is there.

    Shape: (batch, bands, frames) -> (batch, hidden, frames).
    """

    def __init__(self, config: EstimatorConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = nn.Parameter(torch.ones(config.bands, 1))
        self.shift = nn.Parameter(torch.zeros(config.bands, 1))
        self.patterns = Patterns(config.channels)
        seen = config.bands + config.channels * ((config.bands + 1) // 2)
        self.start = nn.Conv1d(seen, config.hidden, 1)
        self.gates = nn.ModuleList(
            nn.Conv1d(config.hidden, 2 * config.hidden, 3, padding=d, dilation=d)
            for d in config.dilations
        )
        self.mixers = nn.ModuleList(
            nn.Conv1d(config.hidden, config.hidden, 1) for _ in config.dilations
        )
        self.memory = nn.GRU(config.hidden, config.recurrent, batch_first=True, bidirectional=True)
        self.recall = nn.Conv1d(2 * config.recurrent, config.hidden, 1)

    def forward(self, compressed: Tensor) -> Tensor:
        x = compressed * self.scale + self.shift
        local = self.patterns(x.transpose(1, 2)[:, None]).transpose(2, 3).flatten(1, 2)
        h: Tensor = self.start(torch.cat([x, local], dim=1))
        for gate, mixer in zip(self.gates, self.mixers, strict=True):
            a, b = gate(h).chunk(2, dim=1)
            h = h + mixer(torch.tanh(a) * torch.sigmoid(b))
        return h + cast(Tensor, self.recall(self._remembered(h.transpose(1, 2)).transpose(1, 2)))

    def _remembered(self, steps: Tensor) -> Tensor:
        """(batch, frames, hidden) -> (batch, frames, 2 * recurrent)."""
        if not steps.is_cuda:
            return cast(Tensor, self.memory(steps)[0])
        # a card's recurrent layers would be cast to half precision, whose gradients vanish
        with torch.autocast("cuda", enabled=False):
            return cast(Tensor, self.memory(steps.float())[0])


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
    """What a bundle takes from a trained estimator: graph, encoder's hash, self-test vectors, and
    for the card how it was trained."""

    graph: onnx.ModelProto
    encoder_sha256: str
    vectors: dict[str, Float]
    against: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)


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

    `parts` are the instruments that each head stands for; see `against`. `training` is what the
    card says of the run.
    """

    config: EstimatorConfig
    encoder: Encoder
    heads: dict[str, Head]
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

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
        head = trained_head(self.heads[stem], sha256, seed)
        return replace(head, against=against(stem, self.parts), training=self.training)


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


def trained_head(head: Head, encoder_sha256: str, seed: int) -> TrainedHead:
    """A head's graph, and random features with the mask that torch gives for them."""
    graph = emit_head(head)
    rng = np.random.default_rng([seed, 13])
    features = rng.standard_normal((1, 12, head.first.in_channels)).astype(np.float32)
    with torch.no_grad():
        mask = head(torch.from_numpy(features).transpose(1, 2)).transpose(1, 2).numpy()
    vectors = {"features": features, "mask": np.ascontiguousarray(mask)}
    return TrainedHead(graph, encoder_sha256, vectors)


def emit_encoder(encoder: Encoder) -> onnx.ModelProto:
    """mix (batch, frames, bands) of mean square 1 -> features (batch, frames, hidden)."""
    round_parameters(encoder)
    g, config = GraphWriter(), encoder.config
    x = g.op("Pow", "mix", g.number(config.compression))
    x = g.op("Mul", x, g.constant(_row(encoder.scale)))
    x = g.op("Add", x, g.constant(_row(encoder.shift)))
    h = Linear(g, encoder.start).apply(g.op("Concat", x, _patterns(g, encoder, x), axis=2))
    for gate, mixer, dilation in zip(encoder.gates, encoder.mixers, config.dilations, strict=True):
        windows = g.windows(h, 3, dilation)
        a, b = g.halves(Linear(g, cast(nn.Conv1d, gate)).apply(windows))
        gated = g.op("Mul", g.op("Tanh", a), g.op("Sigmoid", b))
        h = g.op("Add", h, Linear(g, cast(nn.Conv1d, mixer)).apply(gated))
    recalled = Linear(g, encoder.recall).apply(recurrent(g, encoder.memory, h))
    g.name(g.op("Add", h, recalled), "features")
    return g.model(
        {"mix": ("batch", "frames", config.bands)},
        {"features": ("batch", "frames", config.hidden)},
    )


def _patterns(g: GraphWriter, encoder: Encoder, x: str) -> str:
    """(batch, frames, bands) -> (batch, frames, channels * half the bands)."""
    patterns = encoder.patterns
    h = g.op("Relu", _conv2d(g, patterns.first, g.op("Unsqueeze", x, g.ints(1))))
    for conv in patterns.others:
        h = g.op("Add", h, g.op("Relu", _conv2d(g, cast(nn.Conv2d, conv), h)))
    return g.op("Reshape", g.op("Transpose", h, perm=[0, 2, 1, 3]), g.ints(0, 0, -1))


def _conv2d(g: GraphWriter, conv: nn.Conv2d, x: str) -> str:
    assert conv.bias is not None
    assert not isinstance(conv.padding, str)
    weights = g.weight(array_of(conv.weight)), g.weight(array_of(conv.bias))
    pads = [*conv.padding, *conv.padding]  # before and after
    return g.op("Conv", x, *weights, pads=pads, dilations=conv.dilation, strides=conv.stride)


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
