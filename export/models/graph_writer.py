"""Writes ONNX graphs node by node, with standard operators only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET = 18
IR_VERSION = 10  # the newest one that every ONNX Runtime we support reads
END = int(np.iinfo(np.int64).max)  # slice to the end

Attribute = int | str | Sequence[int]


class GraphWriter:
    """Collects nodes and initialisers; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[object, ...], str] = {}

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Attribute) -> str:
        """Add a node with one result."""
        return self.ops(kind, *inputs, outputs=outputs, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Attribute) -> list[str]:
        """Add a node with several results."""
        names = [f"{kind.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        node = helper.make_node(kind, list(inputs), names, **attributes)  # type: ignore[arg-type]
        self.nodes.append(node)
        return names

    def constant(self, array: NDArray[np.generic]) -> str:
        """Store a small array as it is; equal arrays are stored once."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self.initialisers)}"
            self.initialisers.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def number(self, value: float) -> str:
        """A float scalar."""
        return self.constant(np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """A list of integers: shapes, axes, slice bounds."""
        return self.constant(np.array(values, np.int64))

    def weight(self, array: NDArray[np.float32]) -> str:
        """Store a weight in half precision."""
        half = array.astype(np.float16)
        assert np.array_equal(half.astype(np.float32), array), "weights must be rounded first"
        return self.op("Cast", self.constant(half), to=TensorProto.FLOAT)

    def slice(self, x: str, start: int, end: int, axis: int) -> str:
        """x[start:end] along an axis."""
        return self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis))

    def halves(self, x: str) -> list[str]:
        """Split the channels in two."""
        return self.ops("Split", x, outputs=2, axis=2, num_outputs=2)

    def windows(self, x: str, kernel: int, dilation: int = 1) -> str:
        """Gather `kernel` neighbouring steps: (batch, step, c) -> (batch, step, kernel * c)."""
        reach = kernel // 2 * dilation
        padded = self.op("Pad", x, self.ints(reach, reach), "", self.ints(1))
        taps = [
            self.slice(padded, tap, END if tap == 2 * reach else tap - 2 * reach, 1)
            for tap in range(0, kernel * dilation, dilation)
        ]
        return self.op("Concat", *taps, axis=2)

    def name(self, result: str, public: str) -> None:
        """Give a result the name under which the graph returns it."""
        self.nodes.append(helper.make_node("Identity", [result], [public]))

    def model(
        self,
        inputs: dict[str, Sequence[str | int]],
        outputs: dict[str, Sequence[str | int]],
        integers: Sequence[str] = (),
    ) -> onnx.ModelProto:
        """Finish: give the outputs their public names and check the model. Inputs and outputs
        are float but for the `integers`, which are int64."""

        def values(shapes: dict[str, Sequence[str | int]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(
                    name, TensorProto.INT64 if name in integers else TensorProto.FLOAT, list(shape)
                )
                for name, shape in shapes.items()
            ]

        used = {name for node in self.nodes for name in node.input}
        stored = [tensor for tensor in self.initialisers if tensor.name in used]
        graph = helper.make_graph(self.nodes, "flow", values(inputs), values(outputs), stored)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="stemwright"
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


class Linear:
    """A convolution as one matrix product of gathered windows: (kernel * in, out) and a bias."""

    def __init__(self, graph: GraphWriter, conv: nn.Conv1d) -> None:
        self.g = graph
        weight = array_of(conv.weight)  # (out, in, kernel)
        turned = weight.transpose(2, 1, 0).reshape(-1, len(weight))
        self.matrix = graph.weight(np.ascontiguousarray(turned))
        assert conv.bias is not None
        self.bias = graph.weight(array_of(conv.bias))

    def apply(self, windows: str, bias: str = "") -> str:
        """The product plus the convolution's bias, or another one."""
        return self.g.op("Add", self.g.op("MatMul", windows, self.matrix), bias or self.bias)

    def back(self, gradient: str) -> str:
        """The transposed product, for convolutions of kernel 1."""
        return self.g.op("MatMul", gradient, self.g.op("Transpose", self.matrix, perm=[1, 0]))


def recurrent(g: GraphWriter, memory: nn.GRU, x: str) -> str:
    """A layer that remembers: (batch, frames, in) -> (batch, frames, directions * hidden)."""
    size = memory.hidden_size
    order = np.r_[size : 2 * size, :size, 2 * size : 3 * size]  # torch has r z n, ONNX z r n
    ways = ("", "_reverse") if memory.bidirectional else ("",)

    def every_way(name: str) -> NDArray[np.float32]:
        weights = (getattr(memory, f"{name}_l0{way}") for way in ways)
        return np.ascontiguousarray(np.stack([array_of(one)[order] for one in weights]))

    inward, own = g.weight(every_way("weight_ih")), g.weight(every_way("weight_hh"))
    bias = g.weight(np.concatenate([every_way("bias_ih"), every_way("bias_hh")], axis=1))
    found = g.ops(
        "GRU",
        *(g.op("Transpose", x, perm=[1, 0, 2]), inward, own, bias),
        outputs=1,
        hidden_size=size,
        direction="bidirectional" if memory.bidirectional else "forward",
        linear_before_reset=1,
    )
    return g.op("Reshape", g.op("Transpose", found[0], perm=[2, 0, 1, 3]), g.ints(0, 0, -1))


def array_of(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy().astype(np.float32)
