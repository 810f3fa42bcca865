"""ONNX graphs of the networks on waveforms, written layer by layer.

A graph has one length: mix (batch, audio_channels, samples) -> stems (batch, stems,
audio_channels, samples). What the convolutions cut off is put in front and behind as silence
first, as the papers' programs do with a whole song.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from .demucs import NORMAL_FLOOR, ZEROS, Demucs
from .estimator import round_parameters
from .graph_writer import END, GraphWriter, array_of
from .wave_unet import SLOPE, WaveUNet

Float = NDArray[np.float32]
Convolution = nn.Conv1d | nn.ConvTranspose1d


def emit_demucs(network: Demucs, samples: int) -> onnx.ModelProto:
    """The graph of a Demucs for excerpts of `samples` samples; rounds its weights."""
    round_parameters(network)
    g, config = GraphWriter(), network.config
    channels, length = config.audio_channels, config.valid_length(samples)
    mean, std = _level(g, _padded(g, "mix", length - samples))
    x = g.op("Div", g.op("Sub", _padded(g, "mix", length - samples), mean), std)
    half = array_of(cast(nn.Parameter, network.half_sample))
    x = _upsample(g, x, half, channels)
    skips, lengths = [], config.lengths(length)
    for layer in network.encoder:
        conv, gate = cast(Iterable[Convolution], layer)
        x = _glu(g, _conv(g, gate, g.op("Relu", _conv(g, conv, x))))
        skips.append(x)
    x = _recalled(g, network, x)
    here = lengths[-1]
    for index, layer in enumerate(network.decoder):
        gate, conv = cast(Iterable[Convolution], layer)
        skip = _centre(g, skips.pop(), lengths.pop(), here)
        x = _conv(g, conv, _glu(g, _conv(g, gate, g.op("Add", x, skip))))
        here = (here - config.context) * config.stride + config.kernel
        if index + 1 < len(network.decoder):
            x = g.op("Relu", x)
    stems = len(config.stems)
    x, here = _downsample(g, x, half, stems * channels, here)
    x = g.op("Add", g.op("Mul", x, std), mean)
    return _stems(g, _centre(g, x, here, samples), stems, channels, samples)


def emit_wave_unet(network: WaveUNet, samples: int) -> onnx.ModelProto:
    """The graph of a Wave-U-Net for excerpts of `samples` samples; rounds its weights."""
    round_parameters(network)
    g, config = GraphWriter(), network.config
    length, out = config.lengths(samples)
    own = x = _padded(g, "mix", length - samples)
    skips, here = [], length
    for conv in network.down[:-1]:
        x = _leaky(g, _conv(g, cast(nn.Conv1d, conv), x))
        here -= config.down_kernel - 1
        skips.append((x, here))
        x, here = _every_second(g, x), (here + 1) // 2
    x = _leaky(g, _conv(g, cast(nn.Conv1d, network.down[-1]), x))
    here -= config.down_kernel - 1
    for conv in network.up:
        x, here = _interpolated(g, x, here), 2 * here - 1
        skip, wide = skips.pop()
        x = g.op("Concat", _centre(g, skip, wide, here), x, axis=1)
        x = _leaky(g, _conv(g, cast(nn.Conv1d, conv), x))
        here -= config.up_kernel - 1
    own = _centre(g, own, length, out)
    found = g.op("Tanh", _conv(g, network.last, g.op("Concat", own, x, axis=1)))
    stems, channels = len(config.stems), config.audio_channels
    heads = g.op("Reshape", found, g.ints(0, stems - 1, channels, out))
    left = g.op("Sub", own, g.op("ReduceSum", heads, g.ints(1), keepdims=0))
    x = _centre(g, g.op("Concat", found, left, axis=1), out, samples)
    return _stems(g, x, stems, channels, samples)


def _stems(g: GraphWriter, x: str, stems: int, channels: int, samples: int) -> onnx.ModelProto:
    g.name(g.op("Reshape", x, g.ints(0, stems, channels, samples)), "stems")
    return g.model(
        {"mix": ("batch", channels, samples)},
        {"stems": ("batch", stems, channels, samples)},
    )


def _conv(g: GraphWriter, conv: Convolution, x: str) -> str:
    assert conv.bias is not None
    kind = "ConvTranspose" if isinstance(conv, nn.ConvTranspose1d) else "Conv"
    weights = g.weight(array_of(conv.weight)), g.weight(array_of(conv.bias))
    return g.op(kind, x, *weights, strides=list(conv.stride))


def _glu(g: GraphWriter, x: str) -> str:
    a, b = g.ops("Split", x, outputs=2, axis=1, num_outputs=2)
    return g.op("Mul", a, g.op("Sigmoid", b))


def _leaky(g: GraphWriter, x: str) -> str:
    return g.op("Max", x, g.op("Mul", x, g.number(SLOPE)))


def _padded(g: GraphWriter, x: str, spare: int) -> str:
    return g.op("Pad", x, g.ints(spare // 2, spare - spare // 2), "", g.ints(2))


def _centre(g: GraphWriter, x: str, length: int, wanted: int) -> str:
    """The middle `wanted` of `length` steps."""
    start = (length - wanted) // 2
    return x if length == wanted else g.slice(x, start, start + wanted, 2)


def _level(g: GraphWriter, x: str) -> tuple[str, str]:
    """Mean and standard deviation of the channels' mean, each (batch, 1, 1)."""
    mono = g.op("ReduceMean", x, g.ints(1), keepdims=1)
    mean = g.op("ReduceMean", mono, g.ints(2), keepdims=1)
    wide = g.op("Sub", mono, mean)
    variance = g.op("ReduceMean", g.op("Mul", wide, wide), g.ints(2), keepdims=1)
    return mean, g.op("Add", g.op("Sqrt", variance), g.number(NORMAL_FLOOR))


def _between(g: GraphWriter, x: str, half: Float, channels: int) -> str:
    """Values half a sample before every sample, and half a sample behind the last."""
    kernel = g.constant(np.ascontiguousarray(np.repeat(half, channels, axis=0)))
    return g.op("Conv", x, kernel, group=channels, pads=[ZEROS, ZEROS])


def _woven(g: GraphWriter, a: str, b: str) -> str:
    """a[0], b[0], a[1], b[1], ... along the last axis."""
    both = g.op("Concat", g.op("Unsqueeze", a, g.ints(3)), g.op("Unsqueeze", b, g.ints(3)), axis=3)
    channels = g.op("Shape", a, start=0, end=2)
    return g.op("Reshape", both, g.op("Concat", channels, g.ints(-1), axis=0))


def _upsample(g: GraphWriter, x: str, half: Float, channels: int) -> str:
    return _woven(g, x, g.slice(_between(g, x, half, channels), 1, END, 2))


def _downsample(
    g: GraphWriter, x: str, half: Float, channels: int, length: int
) -> tuple[str, int]:
    if length % 2:
        x = g.op("Pad", x, g.ints(0, 1), "", g.ints(2))
    even = _every_second(g, x)
    odd = _every_second(g, g.slice(x, 1, END, 2))
    between = g.slice(_between(g, odd, half, channels), 0, -1, 2)
    return g.op("Mul", g.op("Add", even, between), g.number(0.5)), (length + 1) // 2


def _every_second(g: GraphWriter, x: str) -> str:
    return g.op("Slice", x, g.ints(0), g.ints(END), g.ints(2), g.ints(2))


def _interpolated(g: GraphWriter, x: str, length: int) -> str:
    """2n - 1 steps from n: between two of them, their mean."""
    before, behind = g.slice(x, 0, length - 1, 2), g.slice(x, 1, length, 2)
    between = g.op("Mul", g.op("Add", before, behind), g.number(0.5))
    last = g.slice(x, length - 1, length, 2)
    return g.op("Concat", _woven(g, before, between), last, axis=2)


def _recalled(g: GraphWriter, network: Demucs, x: str) -> str:
    """LSTM layers and the linear one behind them, (batch, channels, steps) both ways."""
    steps = g.op("Transpose", x, perm=[2, 0, 1])
    for layer in range(network.lstm.num_layers):
        steps = _lstm(g, network.lstm, layer, steps)
    matrix = g.weight(np.ascontiguousarray(array_of(network.recall.weight).T))
    found = g.op("Add", g.op("MatMul", steps, matrix), g.weight(array_of(network.recall.bias)))
    return g.op("Transpose", found, perm=[1, 2, 0])


def _lstm(g: GraphWriter, lstm: nn.LSTM, layer: int, steps: str) -> str:
    """One bidirectional layer: (steps, batch, size) -> (steps, batch, 2 * hidden)."""
    size = lstm.hidden_size
    blocks = np.arange(4 * size).reshape(4, size)
    order = blocks[[0, 3, 1, 2]].ravel()  # torch has i f g o, ONNX i o f g

    def both_ways(name: str) -> Float:
        ways = (getattr(lstm, f"{name}_l{layer}{way}") for way in ("", "_reverse"))
        return np.ascontiguousarray(np.stack([array_of(weights)[order] for weights in ways]))

    bias = np.concatenate([both_ways("bias_ih"), both_ways("bias_hh")], axis=1)
    weights = [g.weight(both_ways("weight_ih")), g.weight(both_ways("weight_hh")), g.weight(bias)]
    found = g.ops("LSTM", steps, *weights, outputs=1, hidden_size=size, direction="bidirectional")
    return g.op("Reshape", g.op("Transpose", found[0], perm=[0, 2, 1, 3]), g.ints(0, 0, -1))
