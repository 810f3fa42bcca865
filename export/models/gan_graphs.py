"""The graphs of a GAN prior: what its latents sound like, and the slope of the search's objective.

The objective is that of Narayanaswamy et al. (Interspeech 2020) for one source while the others
stay: 0.3 spectral + 0.8 frequency + 0.4 exclusion + 0.1 inclusion, on log(1 + |STFT|) with 256
samples of window and 128 of hop. Spectral: the absolute difference of mix and sum at three
scales. Frequency: per frame, the mix's summed magnitude over the sum's. Exclusion: edges that two
sources have at the same place. Inclusion: minus the edges that mix and sum share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import cast

import numpy as np
import onnx
from torch import nn

from .estimator import round_parameters
from .graph_writer import END, GraphWriter, array_of
from .reverse import Reverse
from .wavegan import FOOT, STRIDE, Generator

N_FFT, HOP = 256, 128
SCALES = 3
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"spectral": 0.3, "frequency": 0.8, "exclusion": 0.4, "inclusion": 0.1}
)
LEAST = 1e-8  # under roots
QUIET = 1e-4  # a frame's summed magnitude is never less: the ratio stays finite


def emit_gan(generator: Generator) -> dict[str, onnx.ModelProto]:
    """`inverse`: latents (batch, latent) -> waveform (batch, samples). `gradient`: latents, mix
    (batch, samples) and others (batch, rivals, samples) -> loss (batch,), own and gradient."""
    round_parameters(generator)
    return {"inverse": _inverse(generator), "gradient": _gradient(generator)}


def _inverse(generator: Generator) -> onnx.ModelProto:
    g, config = GraphWriter(), generator.config
    g.name(_played(g, generator), "waveform")
    return g.model({"latents": ("batch", config.latent)}, {"waveform": ("batch", config.samples)})


def _gradient(generator: Generator) -> onnx.ModelProto:
    g, config = GraphWriter(), generator.config
    samples, latent = config.samples, config.latent
    own = _played(g, generator)
    inputs: dict[str, Sequence[str | int]] = {
        "latents": ("batch", latent),
        "mix": ("batch", samples),
        "others": ("batch", "rivals", samples),
    }
    total = g.op("Add", own, g.op("ReduceSum", "others", g.ints(1), keepdims=0))
    mine, sum_, mix = (_logs(g, x, samples) for x in (own, total, "mix"))
    loss = _loss(g, mine, sum_, mix, samples)
    shapes = {**inputs, "others": ("batch", 1, samples)}  # those of one of the others
    gradient = Reverse(g, shapes).gradient(loss, "latents")
    for name, result in (("loss", loss), ("own", own), ("gradient", gradient)):
        g.name(result, name)
    return g.model(
        inputs,
        {"loss": ("batch",), "own": ("batch", samples), "gradient": ("batch", latent)},
    )


def _played(g: GraphWriter, generator: Generator) -> str:
    """latents -> waveform (batch, samples)."""
    config = generator.config
    matrix = g.weight(np.ascontiguousarray(array_of(generator.foot.weight).T))
    x = g.op("Add", g.op("MatMul", "latents", matrix), g.weight(array_of(generator.foot.bias)))
    x = g.op("Reshape", g.op("Relu", x), g.ints(-1, config.widths[0], FOOT))
    for index, layer in enumerate(generator.convs):
        conv = cast(nn.ConvTranspose1d, layer)
        assert conv.bias is not None
        weights = g.weight(array_of(conv.weight)), g.weight(array_of(conv.bias))
        x = g.op("ConvTranspose", x, *weights, strides=[STRIDE], pads=[11, 11], output_padding=[1])
        x = g.op("Tanh" if index + 1 == len(generator.convs) else "Relu", x)
    return g.op("Reshape", x, g.ints(-1, config.samples))


def _logs(g: GraphWriter, audio: str, samples: int) -> str:
    """(rows, samples) -> log(1 + magnitude), (rows, 1, bins, frames)."""
    bins = N_FFT // 2 + 1
    phase = 2 * np.pi * np.outer(np.arange(bins), np.arange(N_FFT)) / N_FFT
    window = np.hanning(N_FFT + 1)[:-1]
    waves = np.concatenate([np.cos(phase), -np.sin(phase)]) * window
    kernel = g.constant(waves.astype(np.float32)[:, None])
    rows = g.op("Reshape", audio, g.ints(-1, 1, samples))
    seen = g.op("Conv", rows, kernel, strides=[HOP])
    real, imag = g.slice(seen, 0, bins, 1), g.slice(seen, bins, 2 * bins, 1)
    power = g.op("Add", g.op("Mul", real, real), g.op("Mul", imag, imag))
    magnitude = g.op("Sqrt", g.op("Add", power, g.number(LEAST)))
    logs = g.op("Log", g.op("Add", magnitude, g.number(1.0)))
    frames = (samples - N_FFT) // HOP + 1
    return g.op("Reshape", logs, g.ints(-1, 1, bins, frames))


def _loss(g: GraphWriter, mine: str, total: str, mix: str, samples: int) -> str:
    """(batch,)."""
    rivals = g.op("Reshape", "others", g.ints(-1, samples))
    theirs = _logs(g, rivals, samples)
    spectral, inclusion = _zero(g, mix), _zero(g, mix)
    ratio = g.op(
        "Div",
        g.op("ReduceSum", mix, g.ints(2), keepdims=1),
        g.op("Add", g.op("ReduceSum", total, g.ints(2), keepdims=1), g.number(QUIET)),
    )
    frequency = g.op("ReduceSum", ratio, g.ints(1, 2, 3), keepdims=0)
    exclusion = _zero(g, mix)
    for scale in range(SCALES):
        if scale:
            mine, total, mix, theirs = (_pooled(g, x) for x in (mine, total, mix, theirs))
        apart = g.op("Abs", g.op("Sub", mix, total))
        spectral = g.op("Add", spectral, g.op("ReduceSum", apart, g.ints(1, 2, 3), keepdims=0))
        inclusion = g.op("Sub", inclusion, _shared(g, _edges(g, mix), _edges(g, total)))
        edges = [_by_example(g, x, mix) for x in _edges(g, theirs)]
        exclusion = g.op("Add", exclusion, _shared(g, _edges(g, mine), edges))
    parts = {
        "spectral": spectral,
        "frequency": frequency,
        "exclusion": exclusion,
        "inclusion": inclusion,
    }
    loss = _zero(g, mix)
    for name, part in parts.items():
        loss = g.op("Add", loss, g.op("Mul", part, g.number(WEIGHTS[name])))
    return loss


def _zero(g: GraphWriter, like: str) -> str:
    """Zeros (batch,)."""
    total = g.op("ReduceSum", like, g.ints(1, 2, 3), keepdims=0)
    return g.op("Sub", total, total)


def _pooled(g: GraphWriter, x: str) -> str:
    kernel = g.constant(np.full((1, 1, 2, 2), 0.25, np.float32))
    return g.op("Conv", x, kernel, strides=[2, 2])


def _edges(g: GraphWriter, x: str) -> list[str]:
    """Slopes by frequency and by time, squeezed to (-1, 1) and squared."""
    found = []
    for axis in (2, 3):
        slope = g.op("Sub", g.slice(x, 1, END, axis), g.slice(x, 0, -1, axis))
        bounded = g.op("Tanh", g.op("Mul", slope, g.number(0.5)))  # 2 sigmoid(slope) - 1
        found.append(g.op("Mul", bounded, bounded))
    return found


def _by_example(g: GraphWriter, edges: str, mix: str) -> str:
    """Edges of all rivals (batch * rivals, 1, bins, frames), their sum for every example."""
    batch = g.op("Shape", mix, start=0, end=1)
    size = g.op("Shape", edges, start=2, end=4)
    rows = g.op("Reshape", edges, g.op("Concat", batch, g.ints(-1), size, axis=0))
    return g.op("ReduceSum", rows, g.ints(1), keepdims=1)


def _shared(g: GraphWriter, a: list[str], b: list[str]) -> str:
    """The fourth root of the mean product of edges, both directions: (batch,)."""
    total = ""
    for one, other in zip(a, b, strict=True):
        mean = g.op("ReduceMean", g.op("Mul", one, other), g.ints(1, 2, 3), keepdims=0)
        root = g.op("Sqrt", g.op("Sqrt", g.op("Add", mean, g.number(LEAST))))
        total = root if not total else g.op("Add", total, root)
    return total
