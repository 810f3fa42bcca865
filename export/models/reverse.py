"""Reverse-mode differentiation of a graph that is being written.

ONNX Runtime has no gradients, so they are written as nodes: `gradient` walks the nodes behind a
scalar-per-example loss backwards and writes the vector-Jacobian product of each. Weights are
constants, so only what depends on the wanted input is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx
from onnx import NodeProto, TensorProto, helper, shape_inference

from .graph_writer import END, GraphWriter

Shape = tuple[int, ...]  # -1: the batch
Rule = Callable[["Reverse", NodeProto, str], Mapping[int, str]]


class Reverse:
    """A writer of gradients into `g`, whose inputs have `shapes` with a dynamic first axis."""

    def __init__(self, g: GraphWriter, shapes: Mapping[str, Sequence[int | str]]) -> None:
        self.g = g
        self._nodes = list(g.nodes)
        self.shapes = _shapes(g, shapes)

    def gradient(self, loss: str, wanted: str) -> str:
        """The name of d(sum of `loss`) / d `wanted`; `loss` is (batch,)."""
        depends = {wanted}
        for node in self._nodes:
            if depends & set(node.input):
                depends |= set(node.output)
        ones = self.g.op("Sub", loss, loss)
        found: dict[str, list[str]] = {loss: [self.g.op("Add", ones, self.g.number(1.0))]}
        for node in reversed(self._nodes):
            if node.output[0] not in found:
                continue
            if len(node.output) != 1 or node.op_type not in _RULES:
                raise NotImplementedError(f"no gradient is known for {node.op_type}")
            flowing = self._sum(found.pop(node.output[0]))
            for index, part in _RULES[node.op_type](self, node, flowing).items():
                name = node.input[index]
                if name in depends:
                    found.setdefault(name, []).append(part)
        return self._sum(found[wanted])

    def _sum(self, parts: Sequence[str]) -> str:
        total = parts[0]
        for part in parts[1:]:
            total = self.g.op("Add", total, part)
        return total

    def like(self, flowing: str, name: str) -> str:
        """A gradient stretched to the shape that `name` has."""
        return self.g.op("Expand", flowing, self.g.op("Shape", name))

    def reduced(self, flowing: str, name: str) -> str:
        """The gradient of an operand that was broadcast along its axes of length one."""
        shape = self.shapes[name]
        axes = [axis for axis, size in enumerate(shape) if size == 1]
        if not axes:
            return flowing
        return self.g.op("ReduceSum", flowing, self.g.ints(*axes), keepdims=1)


def _shapes(g: GraphWriter, inputs: Mapping[str, Sequence[int | str]]) -> dict[str, Shape]:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
        for name, shape in inputs.items()
    ]
    graph = helper.make_graph(g.nodes, "shapes", values, [], g.initialisers)
    inferred = shape_inference.infer_shapes(onnx.helper.make_model(graph), data_prop=True)
    known = [*inferred.graph.value_info, *values]
    found = {
        value.name: tuple(d.dim_value or -1 for d in value.type.tensor_type.shape.dim)
        for value in known
    }
    return found | {tensor.name: tuple(tensor.dims) for tensor in g.initialisers}


def _attributes(node: NodeProto) -> dict[str, list[int]]:
    found = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        found[attribute.name] = list(value) if isinstance(value, list) else [value]
    return found


def _add(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    return {index: r.reduced(d, name) for index, name in enumerate(node.input)}


def _sub(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    a, b = node.input
    return {0: r.reduced(d, a), 1: r.reduced(r.g.op("Neg", d), b)}


def _mul(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    a, b = node.input
    if a == b:
        return {0: r.g.op("Mul", r.g.op("Mul", d, a), r.g.number(2.0))}
    return {0: r.reduced(r.g.op("Mul", d, b), a), 1: r.reduced(r.g.op("Mul", d, a), b)}


def _div(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    a, b = node.input
    over = r.g.op("Div", d, b)
    below = r.g.op("Neg", r.g.op("Mul", over, node.output[0]))
    return {0: r.reduced(over, a), 1: r.reduced(below, b)}


def _sqrt(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    return {0: r.g.op("Div", d, r.g.op("Mul", node.output[0], r.g.number(2.0)))}


def _log(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    return {0: r.g.op("Div", d, node.input[0])}


def _abs(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    return {0: r.g.op("Mul", d, r.g.op("Sign", node.input[0]))}


def _neg(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    return {0: r.g.op("Neg", d)}


def _relu(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    return {0: r.g.op("Mul", d, r.g.op("Sign", node.output[0]))}


def _tanh(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    y = node.output[0]
    slope = r.g.op("Sub", r.g.number(1.0), r.g.op("Mul", y, y))
    return {0: r.g.op("Mul", d, slope)}


def _matmul(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    """By the left operand; the right one is a matrix of weights."""
    return {0: r.g.op("MatMul", d, r.g.op("Transpose", node.input[1], perm=[1, 0]))}


def _reshape(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    return {0: r.g.op("Reshape", d, r.g.op("Shape", node.input[0]))}


def _reduce_mean(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    shape = r.shapes[node.input[0]]
    count = 1
    for axis in _constant(r, node.input[1]):
        count *= shape[axis]
    summed = _reduce_sum(r, node, d)[0]
    return {0: r.g.op("Mul", summed, r.g.number(1 / count))}


def _reduce_sum(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    axes = _constant(r, node.input[1])
    if _attributes(node).get("keepdims", [1]) == [0]:
        d = r.g.op("Unsqueeze", d, r.g.ints(*axes))
    return {0: r.like(d, node.input[0])}


def _slice(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    """Slices of one axis in steps of one."""
    start, end, axis = (_constant(r, name)[0] for name in node.input[1:4])
    length = r.shapes[node.input[0]][axis]
    end = length if end == END else end + length * (end < 0)
    return {0: r.g.op("Pad", d, r.g.ints(start, length - end), "", r.g.ints(axis))}


def _conv(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    attributes, axes = _attributes(node), len(r.shapes[node.input[0]]) - 2
    strides, pads = attributes.get("strides", [1] * axes), attributes.get("pads", [0] * 2 * axes)
    kernel = r.shapes[node.input[1]][2:]
    into, out = (r.shapes[name][2:] for name in (node.input[0], node.output[0]))
    spare = [
        into[n] - ((out[n] - 1) * strides[n] + kernel[n] - pads[n] - pads[n + axes])
        for n in range(axes)
    ]
    weights = node.input[1]
    found = r.g.op("ConvTranspose", d, weights, strides=strides, pads=pads, output_padding=spare)
    return {0: found}


def _conv_transpose(r: Reverse, node: NodeProto, d: str) -> dict[int, str]:
    attributes, axes = _attributes(node), len(r.shapes[node.input[0]]) - 2
    strides, pads = attributes.get("strides", [1] * axes), attributes.get("pads", [0] * 2 * axes)
    return {0: r.g.op("Conv", d, node.input[1], strides=strides, pads=pads)}


def _constant(r: Reverse, name: str) -> list[int]:
    """The integers of an initialiser."""
    (tensor,) = (t for t in r.g.initialisers if t.name == name)
    return [int(value) for value in onnx.numpy_helper.to_array(tensor)]


_RULES: Mapping[str, Rule] = {
    "Abs": _abs,
    "Add": _add,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _div,
    "Log": _log,
    "MatMul": _matmul,
    "Mul": _mul,
    "Neg": _neg,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "Relu": _relu,
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": _sqrt,
    "Sub": _sub,
    "Tanh": _tanh,
}
