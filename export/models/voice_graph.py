"""The ONNX graph of a voice network, written layer by layer."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import onnx
from torch import nn

from .estimator import round_parameters
from .graph_writer import END, GraphWriter, array_of, recurrent
from .source_filter import (
    LEAST,
    LEAST_DEVIATION,
    LEAST_GAP,
    LOG10,
    MOST,
    NOISE_SLOPE,
    SLOPE,
    Perceptron,
    SourceFilterNetwork,
)


def emit_voices(network: SourceFilterNetwork) -> onnx.ModelProto:
    """Write mel (frames, mels), pitch (voices, frames) and, where the network wants them,
    harmonics (voices, frames, 2 * harmonics) -> amplitude, noise_gain (voices, frames), lsf
    (voices, frames, order), noise_shape (voices, frames, bands); rounds the network's weights.
    """
    round_parameters(network)
    g, config = GraphWriter(), network.config
    count = g.op("Shape", "pitch", start=0, end=1)
    latent = _perceptron(g, network.of_latent, _encoded(g, network))
    shared = g.op("Expand", latent, g.op("Concat", count, g.ints(1, 1), axis=0))
    features = [_perceptron(g, network.of_pitch, g.op("Unsqueeze", "pitch", g.ints(2))), shared]
    if config.harmonics:
        features.append(_perceptron(g, network.of_harmonics, "harmonics"))
    remembered = recurrent(g, network.memory, g.op("Concat", *features, axis=2))
    x = _perceptron(g, network.last, remembered)
    found = _linear(g, network.head, x)
    amplitude = _exp_sigmoid(g, g.slice(found, 0, 1, 2))
    noise = g.op("Mul", _exp_sigmoid(g, g.slice(found, 1, 2, 2)), g.number(0.5))
    g.name(g.op("Squeeze", amplitude, g.ints(2)), "amplitude")
    g.name(g.op("Squeeze", noise, g.ints(2)), "noise_gain")
    g.name(_ordered(g, g.slice(found, 2, config.order + 3, 2), config.order), "lsf")
    g.name(_noise_shape(g, network, x, remembered), "noise_shape")
    voices_frames = ("voices", "frames")
    inputs: dict[str, tuple[str | int, ...]] = {
        "mel": ("frames", config.mels), "pitch": voices_frames
    }  # fmt: skip
    if config.harmonics:
        inputs["harmonics"] = (*voices_frames, 2 * config.harmonics)
    return g.model(
        dict(inputs),
        {
            "amplitude": voices_frames,
            "noise_gain": voices_frames,
            "lsf": (*voices_frames, config.order),
            "noise_shape": (*voices_frames, config.noise_bands),
        },
    )


def _encoded(g: GraphWriter, network: SourceFilterNetwork) -> str:
    """(1, frames, latent)."""
    mel = g.op("Unsqueeze", "mel", g.ints(0))
    wide = g.op("Sub", mel, g.op("ReduceMean", mel, g.ints(1), keepdims=1))
    variance = g.op("ReduceMean", g.op("Mul", wide, wide), g.ints(1), keepdims=1)
    deviation = g.op("Add", g.op("Sqrt", variance), g.number(LEAST_DEVIATION))
    x = g.op("Div", wide, deviation)
    for layer, memory in enumerate(network.encoder):
        found = recurrent(g, cast(nn.GRU, memory), x)
        x = g.op("Add", found, x) if layer else found
    return _linear(g, network.latent, x)


def _noise_shape(g: GraphWriter, network: SourceFilterNetwork, x: str, remembered: str) -> str:
    """From every frame, or one shape from the last frame's memory."""
    if network.config.noise_follows:
        return _exp_sigmoid(
            g, g.op("Mul", _linear(g, network.noise_head, x), g.number(NOISE_SLOPE))
        )
    last = g.slice(remembered, -1, END, 1)
    shape = g.op("Mul", _linear(g, network.noise_head, last), g.number(NOISE_SLOPE))
    frames = g.op("Shape", "pitch", start=1, end=2)
    wanted = g.op("Concat", g.ints(1), frames, g.ints(1), axis=0)
    return g.op("Expand", _exp_sigmoid(g, shape), wanted)


def _linear(g: GraphWriter, linear: nn.Linear, x: str) -> str:
    matrix = g.weight(np.ascontiguousarray(array_of(linear.weight).T))
    return g.op("Add", g.op("MatMul", x, matrix), g.weight(array_of(linear.bias)))


def _perceptron(g: GraphWriter, perceptron: Perceptron, x: str) -> str:
    for linear, norm in zip(perceptron.linear, perceptron.norm, strict=True):
        norm = cast(nn.LayerNorm, norm)
        x = _linear(g, cast(nn.Linear, linear), x)
        scale, bias = g.weight(array_of(norm.weight)), g.weight(array_of(norm.bias))
        x = g.op("LayerNormalization", x, scale, bias, axis=-1)
        x = g.op("Max", x, g.op("Mul", x, g.number(SLOPE)))
    return x


def _exp_sigmoid(g: GraphWriter, x: str) -> str:
    powered = g.op("Pow", g.op("Sigmoid", x), g.number(LOG10))
    return g.op("Add", g.op("Mul", powered, g.number(MOST)), g.number(LEAST))


def _ordered(g: GraphWriter, x: str, order: int) -> str:
    gaps = _exp_sigmoid(g, x)
    share = g.op("Div", gaps, g.op("ReduceSum", gaps, g.ints(2), keepdims=1))
    free = math.pi - (order + 1) * LEAST_GAP
    gaps = g.op("Add", g.op("Mul", share, g.number(free)), g.number(LEAST_GAP))
    summed = g.op("CumSum", gaps, g.constant(np.array(2, np.int64)))
    return g.slice(summed, 0, order, 2)
