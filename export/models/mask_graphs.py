"""The ONNX graph of a mask network as a separator: magnitudes of a mix in, gains out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import ModelProto

from engine import FrontEndCard

from .estimator import Encoder, Head, emit_encoder, emit_head
from .graph_writer import END, GraphWriter


def emit_masks(
    view: FrontEndCard, encoders: Sequence[Encoder], heads: Sequence[Head], owner: Sequence[int]
) -> ModelProto:
    """`joined_masks` of networks in torch."""
    return joined_masks(
        view, [emit_encoder(one) for one in encoders], [emit_head(one) for one in heads], owner
    )


def joined_masks(
    view: FrontEndCard,
    encoders: Sequence[ModelProto],
    heads: Sequence[ModelProto],
    owner: Sequence[int],
) -> ModelProto:
    """magnitudes (batch, channels, bins, frames) -> mask (batch, stems, channels, bins, frames).

    Channels are seen by themselves. Bins are gathered to the view's bands, scaled to mean square
    1, and every head's gain of a band is that of its bins. Head n reads encoder `owner[n]`; each
    encoder runs once.
    """
    g = GraphWriter()
    front_end = view.front_end()
    stft = front_end.stft(view.sample_rate)
    band = front_end.band_of_bin(view.sample_rate)
    inside = np.arange(stft.bins) * (view.sample_rate / stft.n_fft) < front_end.plan.edges_hz[-1]
    spread = np.zeros((stft.bins, front_end.plan.bands), np.float32)
    spread[np.arange(stft.bins), band] = 1
    shape = g.op("Shape", "magnitudes")
    frames = g.slice(shape, 3, END, 0)
    rows = g.op("Reshape", "magnitudes", g.op("Concat", g.ints(-1, stft.bins), frames, axis=0))
    power = g.op("Transpose", g.op("Mul", rows, rows), perm=[0, 2, 1])
    gathered = g.op("MatMul", power, g.constant(spread * inside[:, None]))
    mean = g.op("ReduceMean", gathered, g.ints(1, 2), keepdims=1)
    mix = g.op("Sqrt", g.op("Div", gathered, g.op("Add", mean, g.number(1e-20))))
    features = [_part(g, encoder, {"mix": mix}, "features") for encoder in encoders]
    masks = []
    for head, number in zip(heads, owner, strict=True):
        mask = _part(g, head, {"features": features[number]}, "mask")
        gains = g.op("MatMul", mask, g.constant(np.ascontiguousarray(spread.T)))
        turned = g.op("Transpose", gains, perm=[0, 2, 1])  # (rows, bins, frames)
        masks.append(g.op("Unsqueeze", g.op("Reshape", turned, shape), g.ints(1)))
    g.name(g.op("Concat", *masks, axis=1), "mask")
    return g.model(
        {"magnitudes": ("batch", "channels", stft.bins, "frames")},
        {"mask": ("batch", len(heads), "channels", stft.bins, "frames")},
    )


def _part(g: GraphWriter, part: ModelProto, inputs: dict[str, str], output: str) -> str:
    """Write another graph's nodes into this one; returns what it calls `asked`."""
    prefix = f"part_{len(g.nodes)}_"
    renamed = dict(inputs)

    def name(old: str) -> str:
        return renamed.setdefault(old, prefix + old) if old else ""

    for tensor in part.graph.initializer:
        copied = onnx.TensorProto()
        copied.CopyFrom(tensor)
        copied.name = name(tensor.name)
        g.initialisers.append(copied)
    for node in part.graph.node:
        copied_node = onnx.NodeProto()
        copied_node.CopyFrom(node)
        del copied_node.input[:], copied_node.output[:]
        copied_node.input.extend(name(old) for old in node.input)
        copied_node.output.extend(name(old) for old in node.output)
        g.nodes.append(copied_node)
    return renamed[output]
