"""Bundles read back into torch, so that training can go on from what is shipped.

The inverse of `estimator.emit_*` and `flow_graphs.emit_graphs`: weights are found by the operators
that use them, in the order in which they were written, and what the sizes are is read off them.
Torch then gives what the graphs give (tests hold both against each other).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from presets import StemwrightError

from .estimator import Encoder, EstimatorConfig, Head
from .flow import SQUEEZE, Flow, FlowConfig, GlowBlock

Array = NDArray[np.float32]


class _Reader:
    """A graph's nodes in order, and the stored arrays they use."""

    def __init__(self, blob: bytes) -> None:
        try:
            graph = onnx.load_model_from_string(blob).graph
        except Exception as error:  # protobuf has its own kinds
            raise StemwrightError(
                "graph-unreadable", f"this is no ONNX graph: {error}. Copy the bundle again."
            ) from error
        self.nodes = list(graph.node)
        self._arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        for node in self.nodes:
            if node.op_type == "Cast" and node.input[0] in self._arrays:
                self._arrays[node.output[0]] = self._arrays[node.input[0]]

    def constants(self, kind: str) -> list[Array]:
        """What operators of a kind are given besides computed values, one for each that is."""
        return [
            np.array(self._arrays[name], np.float32)
            for node in self.nodes
            if node.op_type == kind
            for name in node.input
            if name in self._arrays
        ]

    def products(self) -> list[tuple[Array, Array]]:
        """Matrix products with stored matrices in order, with the bias that is added to each."""
        return [
            (np.array(self._arrays[matrix], np.float32), self._added(node))
            for node in self.nodes
            if node.op_type == "MatMul"
            for matrix in node.input
            if matrix in self._arrays
        ]

    def scalings(self, channels: int) -> list[tuple[Array, Array]]:
        """Factors of channels in order, with what is added to each product."""
        return [
            (factor, self._added(node))
            for node in self.of("Mul")
            for factor in self.inputs(node)
            if factor.shape == (channels,)
        ]

    def _added(self, node: onnx.NodeProto) -> Array:
        """The stored array that is added to a node's result; none has no numbers."""
        for other in self.of("Add"):
            if other.input[0] == node.output[0] and other.input[1] in self._arrays:
                return np.array(self._arrays[other.input[1]], np.float32)
        return np.zeros(0, np.float32)

    def of(self, kind: str) -> list[onnx.NodeProto]:
        """Nodes of a kind."""
        return [node for node in self.nodes if node.op_type == kind]

    def inputs(self, node: onnx.NodeProto) -> list[Array]:
        """The stored arrays that a node is given."""
        return [
            np.array(self._arrays[name], np.float32) for name in node.input if name in self._arrays
        ]

    def pads(self) -> list[int]:
        """How far windows reach, in order."""
        return [int(self._arrays[node.input[1]][0]) for node in self.of("Pad")]


def read_encoder(blob: bytes) -> Encoder:
    """An encoder's ONNX file as the network it was written from."""
    reader = _Reader(blob)
    scale, shift = reader.constants("Mul")[0], reader.constants("Add")[0]
    convolutions = [reader.inputs(node) for node in reader.of("Conv")]
    (start, start_bias), *gated, (recall, recall_bias) = reader.products()
    memory = reader.of("GRU")[0]
    dilations = reader.pads()
    config = EstimatorConfig(
        bands=len(scale),
        channels=len(convolutions[0][0]),
        hidden=start.shape[1],
        dilations=tuple(dilations),
        recurrent=onnx.helper.get_attribute_value(memory.attribute[_hidden_size(memory)]),
        compression=1 / round(1 / float(reader.constants("Pow")[0]), 4),  # stored in single
    )
    encoder = Encoder(config)
    with torch.no_grad():
        encoder.scale.copy_(_tensor(scale)[:, None])
        encoder.shift.copy_(_tensor(shift)[:, None])
        patterns = [encoder.patterns.first, *cast(list[nn.Conv2d], list(encoder.patterns.others))]
        for pattern, (weight, bias) in zip(patterns, convolutions, strict=True):
            pattern.weight.copy_(_tensor(weight))
            assert pattern.bias is not None
            pattern.bias.copy_(_tensor(bias))
        _set_linear(encoder.start, start, start_bias)
        for conv, pair in zip(encoder.gates, gated[::2], strict=True):
            _set_linear(cast(nn.Conv1d, conv), *pair)
        for conv, pair in zip(encoder.mixers, gated[1::2], strict=True):
            _set_linear(cast(nn.Conv1d, conv), *pair)
        _set_memory(encoder.memory, *reader.inputs(memory))
        _set_linear(encoder.recall, recall, recall_bias)
    return encoder.eval()


def read_head(blob: bytes) -> Head:
    """A head's graph as the network it was written from."""
    first, last = _Reader(blob).products()
    config = EstimatorConfig(
        bands=last[0].shape[1], hidden=first[0].shape[0] // 3, head=first[0].shape[1]
    )
    head = Head(config)
    with torch.no_grad():
        _set_linear(head.first, *first)
        _set_linear(head.last, *last)
    return head.eval()


def read_flow(forward: bytes, sizes: Mapping[str, Any]) -> tuple[Flow, Array, Array]:
    """A bundle's forward graph as the flow, and the mean and deviation of its features.

    `sizes` are those of the card. Raises StemwrightError for a flow of several labels, whose
    embeddings are no longer in its graphs.
    """
    config = FlowConfig(**sizes)
    if config.labels:
        raise StemwrightError(
            "prior-labelled",
            "a bundle of one flow for several stems (MusicGlow) cannot be trained on: its graphs "
            "do not hold the labels' embeddings. Go on in the folder of its run instead.",
        )
    reader = _Reader(forward)
    mean, std = reader.constants("Sub")[0], reader.constants("Div")[0]
    scalings = reader.scalings(SQUEEZE * config.bands)
    products = reader.products()
    flow = Flow(config)
    each = len(products) // config.blocks  # mixing, start, gates and mixers, end
    with torch.no_grad():
        for index, block in enumerate(cast(list[GlowBlock], list(flow.blocks))):
            mixing, start, *layers, end = products[index * each : (index + 1) * each]
            scale, shift = scalings[index]
            block.norm.log_scale.copy_(_tensor(np.log(scale))[:, None])
            block.norm.bias.copy_(_tensor(shift)[:, None])
            block.norm.ready.fill_(True)
            block.mix.weight.copy_(_tensor(mixing[0]))
            _set_linear(block.net.start, *start)
            for conv, pair in zip(block.net.gates, layers[::2], strict=True):
                _set_linear(cast(nn.Conv1d, conv), *pair)
            for conv, pair in zip(block.net.mixers, layers[1::2], strict=True):
                _set_linear(cast(nn.Conv1d, conv), *pair)
            _set_linear(block.net.end, *end)
    return flow.eval(), mean, std


def _hidden_size(memory: onnx.NodeProto) -> int:
    return [attribute.name for attribute in memory.attribute].index("hidden_size")


def _set_linear(conv: nn.Conv1d, matrix: Array, bias: Array) -> None:
    """(kernel * in, out) -> (out, in, kernel)."""
    kernel = conv.kernel_size[0]
    taps = matrix.reshape(kernel, conv.in_channels, conv.out_channels)
    conv.weight.copy_(_tensor(taps.transpose(2, 1, 0)))
    assert conv.bias is not None
    conv.bias.copy_(_tensor(bias))


def _set_memory(memory: nn.GRU, inward: Array, own: Array, bias: Array) -> None:
    """ONNX has the gates z r n and both biases in one row, torch r z n."""
    size = memory.hidden_size
    order = np.r_[size : 2 * size, :size, 2 * size : 3 * size]
    halves = {"weight_ih": inward, "weight_hh": own}
    halves |= {"bias_ih": bias[:, : 3 * size], "bias_hh": bias[:, 3 * size :]}
    for name, ways in halves.items():
        for way, suffix in zip(ways, ("", "_reverse"), strict=True):
            getattr(memory, f"{name}_l0{suffix}").copy_(_tensor(way[order]))


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
