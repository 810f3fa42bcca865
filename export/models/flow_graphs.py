"""A trained flow as three standard ONNX graphs: forward, inverse, and the search gradient.

The graphs are written node by node, not traced: ONNX Runtime has no autograd, so the
vector-Jacobian product stands in the graph as plain forward operators. Torch stays the referee
(`export.parity`). Layout is (batch, step, channel), a convolution being a window gather and one
matrix product; measured on two cores this beats Conv on (batch, channel, step).

All graphs speak band magnitudes of shape (batch, frames, bands) and latents of shape
(batch, frames / 2, 2 * bands). Weights are stored once per graph in half precision and cast
when the session is made; the flow is rounded first, so graph and torch agree exactly.

A flow with labels has one more input, the number of the label. All that a label does is add to
the gates' biases, so the graphs hold a row of biases per label and gather the one asked for:
every label costs what an unconditional flow costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn

from .features import Features
from .flow import LOG_SCALE_LIMIT, SPLIT, SQUEEZE, Flow, GlowBlock, WaveNet
from .graph_writer import END, GraphWriter, Linear, array_of

LABEL = "label"  # the graphs' int64 input, a scalar
LEAST_SUM = 1e-8  # keeps the logarithm of the modelled mixture finite (the paper's constant)


def round_weights(flow: Flow) -> None:
    """Round the weights that the graphs store in half precision, in place."""
    for name, parameter in flow.named_parameters():
        if ".net." in name:
            parameter.data = parameter.data.half().float()


@dataclass(frozen=True)
class _Tape:
    """What the reverse pass of one coupling needs from its forward pass."""

    x_b: str
    scale: str
    bounded: str
    layers: list[tuple[str, str]]  # tanh and sigmoid of each layer


class NetEmitter:
    """Emits a coupling's WaveNet forwards and backwards from one set of weights.

    `embedded` are the embeddings (labels, embedding) of a flow that has labels.
    """

    def __init__(self, graph: GraphWriter, net: WaveNet, embedded: Tensor | None) -> None:
        self.g = graph
        self.gate_convs = cast(list[nn.Conv1d], list(net.gates))
        self.start, self.end = Linear(graph, net.start), Linear(graph, net.end)
        self.gates = [Linear(graph, gate) for gate in self.gate_convs]
        self.mixers = [Linear(graph, mixer) for mixer in cast(list[nn.Conv1d], list(net.mixers))]
        self.biases = [gate.bias for gate in self.gates]
        if embedded is not None:
            rows = array_of(net.label_biases(embedded))  # (labels, layers, 2 * hidden)
            own = [array_of(cast(Tensor, gate.bias)) for gate in self.gate_convs]
            tables = [rows[:, index] + bias for index, bias in enumerate(own)]
            self.biases = [graph.op("Gather", graph.constant(t), LABEL, axis=0) for t in tables]

    def forward(self, x: str) -> tuple[str, str, str, list[tuple[str, str]]]:
        """Return shift, log-scale, tanh of the raw log-scale, and the gates."""
        g = self.g
        h, skip = self.start.apply(x), ""
        gates: list[tuple[str, str]] = []
        for index, (gate, mixer) in enumerate(zip(self.gates, self.mixers, strict=True)):
            windows = g.windows(h, self.gate_convs[index].kernel_size[0])
            a, b = g.halves(gate.apply(windows, self.biases[index]))
            gates.append((g.op("Tanh", a), g.op("Sigmoid", b)))
            mixed = mixer.apply(g.op("Mul", *gates[-1]))
            if index + 1 < len(self.gates):
                residual, mixed = g.halves(mixed)
                h = g.op("Add", h, residual)
            skip = g.op("Add", skip, mixed) if skip else mixed
        shift, raw = g.halves(self.end.apply(skip))
        limit = g.number(LOG_SCALE_LIMIT)
        bounded = g.op("Tanh", g.op("Div", raw, limit))
        return shift, g.op("Mul", bounded, limit), bounded, gates

    def backward(self, d_shift: str, d_raw: str, gates: list[tuple[str, str]]) -> str:
        """Gradient with respect to the network's input, from those of shift and raw scale."""
        g = self.g
        d_skip = self.end.back(g.op("Concat", d_shift, d_raw, axis=2))
        d_h = ""
        for index in reversed(range(len(gates))):
            # the last mixer feeds the skip path alone, the others residual and skip
            d_mixed = g.op("Concat", d_h, d_skip, axis=2) if d_h else d_skip
            d_gate = self.mixers[index].back(d_mixed)
            d_input = self._back_conv(self._back_gates(d_gate, *gates[index]), index)
            d_h = g.op("Add", d_h, d_input) if d_h else d_input
        return self.start.back(d_h)

    def _back_gates(self, d: str, tanh: str, sigmoid: str) -> str:
        """d tanh(a) sigmoid(b): (d s (1 - t^2), d t s (1 - s))."""
        g, one = self.g, self.g.number(1)
        d_a = g.op("Mul", g.op("Mul", d, sigmoid), g.op("Sub", one, g.op("Mul", tanh, tanh)))
        product = g.op("Mul", g.op("Mul", d, tanh), sigmoid)
        d_b = g.op("Mul", product, g.op("Sub", one, sigmoid))
        return g.op("Concat", d_a, d_b, axis=2)

    def _back_conv(self, gradient: str, index: int) -> str:
        """Transposed convolution: windows of the gradient times the flipped, turned kernel."""
        g, gate = self.g, self.gate_convs[index]
        kernel, out, inside = gate.kernel_size[0], gate.out_channels, gate.in_channels
        taps = g.op("Reshape", self.gates[index].matrix, g.ints(kernel, inside, out))
        order = g.ints(*reversed(range(kernel)))
        flipped = g.op("Transpose", g.op("Gather", taps, order, axis=0), perm=[0, 2, 1])
        matrix = g.op("Reshape", flipped, g.ints(kernel * out, inside))
        return g.op("MatMul", g.windows(gradient, kernel), matrix)


class BlockEmitter:
    """Emits one flow block in the three directions."""

    def __init__(self, graph: GraphWriter, block: GlowBlock, embedded: Tensor | None) -> None:
        self.g, self.net = graph, NetEmitter(graph, block.net, embedded)
        self.scale = array_of(block.norm.log_scale)[:, 0]
        self.bias = array_of(block.norm.bias)[:, 0]
        self.mixing = array_of(block.mix.weight)

    def _mix(self, x: str, matrix: NDArray[np.float32]) -> str:
        g, channels = self.g, len(self.bias)
        grouped = g.op("Reshape", x, g.ints(0, 0, SPLIT, channels // SPLIT))
        mixed = g.op("MatMul", g.constant(matrix), grouped)
        return g.op("Reshape", mixed, g.ints(0, 0, channels))

    def forward(self, x: str) -> tuple[str, str, float]:
        """Return y, the log-scales, and the constant log-determinant per step."""
        g = self.g
        x = g.op("Mul", x, g.constant(np.exp(self.scale)))
        x = self._mix(g.op("Add", x, g.constant(self.bias)), self.mixing)
        a, b = g.halves(x)
        shift, log_scale, _, _ = self.net.forward(a)
        y_b = g.op("Add", shift, g.op("Mul", g.op("Exp", log_scale), b))
        determinant = float(np.linalg.slogdet(self.mixing.astype(np.float64))[1])
        per_step = float(self.scale.sum()) + determinant * len(self.bias) / SPLIT
        return g.op("Concat", a, y_b, axis=2), log_scale, per_step

    @property
    def _unmixing(self) -> NDArray[np.float32]:
        return np.linalg.inv(self.mixing.astype(np.float64)).astype(np.float32)

    def inverse(self, y: str) -> tuple[str, _Tape]:
        """Return x and what the reverse pass needs."""
        g = self.g
        a, b = g.halves(y)
        shift, log_scale, bounded, gates = self.net.forward(a)
        scale = g.op("Exp", g.op("Neg", log_scale))
        x_b = g.op("Mul", g.op("Sub", b, shift), scale)
        x = self._mix(g.op("Concat", a, x_b, axis=2), self._unmixing)
        x = g.op("Sub", x, g.constant(self.bias))
        x = g.op("Mul", x, g.constant(np.exp(-self.scale)))
        return x, _Tape(x_b, scale, bounded, gates)

    def backward(self, d_x: str, tape: _Tape) -> str:
        """Gradient with respect to y of the inverse direction, from that of x."""
        g = self.g
        d_x = g.op("Mul", d_x, g.constant(np.exp(-self.scale)))
        d_a, d_b = g.halves(self._mix(d_x, np.ascontiguousarray(self._unmixing.T)))
        d_y_b = g.op("Mul", d_b, tape.scale)
        # x_b = (y_b - shift) exp(-s), s = L tanh(raw / L): dx_b/draw = -x_b (1 - tanh^2)
        slope = g.op("Sub", g.op("Mul", tape.bounded, tape.bounded), g.number(1))
        d_raw = g.op("Mul", g.op("Mul", d_b, tape.x_b), slope)
        through_net = self.net.backward(g.op("Neg", d_y_b), d_raw, tape.layers)
        return g.op("Concat", g.op("Add", d_a, through_net), d_y_b, axis=2)


class FlowEmitter:
    """Emits a whole prior: features, blocks and, for the gradient, the objective."""

    def __init__(self, flow: Flow, features: Features) -> None:
        self.g = GraphWriter()
        self.features, self.bands = features, flow.config.bands
        self.labels = flow.config.labels
        embedded = flow.embed(torch.arange(self.labels) if self.labels else None)
        blocks = cast(list[GlowBlock], list(flow.blocks))
        self.blocks = [BlockEmitter(self.g, block, embedded) for block in blocks]
        self.latents = ("batch", "steps", SQUEEZE * self.bands)
        self.frames = ("batch", "frames", self.bands)

    @property
    def _power(self) -> float:
        return 1 / self.features.compression

    def forward(self) -> onnx.ModelProto:
        """magnitudes -> latents, log_det (batch,) of latents by standardised compressed
        magnitudes; the standardisation is counted, the compression is not, so likelihoods of
        different priors can be compared."""
        g = self.g
        x = g.op("Pow", "magnitudes", g.number(self.features.compression))
        x = g.op("Sub", x, g.constant(self.features.mean))
        x = g.op("Div", x, g.constant(self.features.std))
        y = g.op("Reshape", x, g.ints(0, -1, SQUEEZE * self.bands))
        per_step = -SQUEEZE * float(np.log(self.features.std.astype(np.float64)).sum())
        total = ""
        for block in self.blocks:
            y, log_scale, constant = block.forward(y)
            per_step += constant
            summed = g.op("ReduceSum", log_scale, g.ints(1, 2), keepdims=0)
            total = g.op("Add", total, summed) if total else summed
        steps = g.op("Cast", g.slice(g.op("Shape", y), 1, 2, 0), to=TensorProto.FLOAT)
        g.name(y, "latents")
        constant_part = g.op("Mul", steps, g.number(per_step))
        g.name(g.op("Add", total, constant_part), "log_det")
        return self._model(
            {"magnitudes": self.frames}, {"latents": self.latents, "log_det": ("batch",)}
        )

    def inverse(self) -> onnx.ModelProto:
        """latents -> magnitudes."""
        u, _ = self._invert()
        self.g.name(self._expand(u)[0], "magnitudes")
        return self._model({"latents": self.latents}, {"magnitudes": self.frames})

    def gradient(self) -> onnx.ModelProto:
        """The separation objective of one prior and its gradient by the latents.

        loss = mean(weight * (X log((X + e)/S) - X + S)) + prior_weight * mean(z^2) / 2, with
        S = |m(z) + others| + e: generalised Kullback-Leibler divergence between the mix's
        magnitudes X and the sum of all stems', plus minus the latent's log density (Zhu et al.
        2022). `others` holds the sum of the other priors' magnitudes. Ours adds guide_weight
        times the same divergence between `guide`, an estimate of this stem, and m(z).
        """
        g = self.g
        u, tapes = self._invert()
        magnitudes, slope = self._expand(u)
        d_m = self._objective(magnitudes)
        d_x = g.op("Mul", g.op("Mul", d_m, slope), g.constant(self.features.std))
        d_y = g.op("Reshape", d_x, g.ints(0, -1, SQUEEZE * self.bands))
        for block, tape in zip(self.blocks, reversed(tapes), strict=True):
            d_y = block.backward(d_y, tape)
        count = self._count("latents")
        d_prior = g.op("Mul", "latents", g.op("Div", "prior_weight", count))
        g.name(g.op("Add", d_y, d_prior), "gradient")
        g.name(magnitudes, "own")
        return self._model(
            {
                "latents": self.latents,
                "mix": self.frames,
                "others": self.frames,
                "guide": self.frames,
                "weight": self.frames,
                "prior_weight": (),
                "guide_weight": (),
            },
            {"loss": ("batch",), "own": self.frames, "gradient": self.latents},
        )

    def _model(
        self, inputs: dict[str, Sequence[str | int]], outputs: dict[str, Sequence[str | int]]
    ) -> onnx.ModelProto:
        if self.labels:
            inputs = {**inputs, LABEL: ()}
        return self.g.model(inputs, outputs, integers=[LABEL])

    def _invert(self) -> tuple[str, list[_Tape]]:
        """latents -> compressed magnitudes, and the tapes in the order of emission."""
        g, y = self.g, "latents"
        tapes = []
        for block in reversed(self.blocks):
            y, tape = block.inverse(y)
            tapes.append(tape)
        x = g.op("Reshape", y, g.ints(0, -1, self.bands))
        u = g.op("Mul", x, g.constant(self.features.std))
        return g.op("Add", u, g.constant(self.features.mean)), tapes

    def _expand(self, u: str) -> tuple[str, str]:
        """Undo the compression: magnitudes and their slope by u. Linear features may be
        negative, as in the paper; compressed ones are cut at zero."""
        g = self.g
        if self._power == 1:
            return u, g.number(1)
        u = g.op("Relu", u)
        if round(self._power, 6) == 3:  # two products are far cheaper than Pow
            square = g.op("Mul", u, u)
            return g.op("Mul", square, u), g.op("Mul", square, g.number(3))
        slope = g.op("Mul", g.op("Pow", u, g.number(self._power - 1)), g.number(self._power))
        return g.op("Pow", u, g.number(self._power)), slope

    def _objective(self, magnitudes: str) -> str:
        """Emit the loss; return its gradient by this prior's magnitudes."""
        g = self.g
        # mean over the frames that count
        size = g.op("ReduceSum", "weight", g.ints(1, 2), keepdims=1)
        share = g.op("Div", "weight", g.op("Max", size, g.number(1)))
        mixed, d_mixed = self._divergence("mix", g.op("Add", magnitudes, "others"))
        guided, d_guided = self._divergence("guide", magnitudes)
        points = g.op("Add", mixed, g.op("Mul", guided, "guide_weight"))
        slope = g.op("Add", d_mixed, g.op("Mul", d_guided, "guide_weight"))
        rec = g.op("ReduceSum", g.op("Mul", share, points), g.ints(1, 2), keepdims=0)
        energy = g.op("ReduceSumSquare", "latents", g.ints(1, 2), keepdims=0)
        half = g.op("Div", g.op("Mul", energy, g.number(0.5)), self._count("latents"))
        g.name(g.op("Add", rec, g.op("Mul", half, "prior_weight")), "loss")
        return g.op("Mul", share, slope)

    def _divergence(self, target: str, signed: str) -> tuple[str, str]:
        """Generalised Kullback-Leibler divergence of every point, and its slope by `signed`."""
        g, least = self.g, self.g.number(LEAST_SUM)
        model = g.op("Add", g.op("Abs", signed), least)
        ratio = g.op("Div", g.op("Add", target, least), model)
        point = g.op("Mul", target, g.op("Log", ratio))
        point = g.op("Add", g.op("Sub", point, target), model)
        slope = g.op("Sub", g.number(1), g.op("Div", target, model))
        return point, g.op("Mul", slope, g.op("Sign", signed))

    def _count(self, name: str) -> str:
        """Latent dimensions of one example, as a float scalar."""
        g = self.g
        shape = g.slice(g.op("Shape", name), 1, END, 0)
        return g.op("Cast", g.op("ReduceProd", shape, keepdims=0), to=TensorProto.FLOAT)


def emit_graphs(flow: Flow, features: Features) -> dict[str, onnx.ModelProto]:
    """Round the flow's weights in place and return its `forward`, `inverse`, `gradient`."""
    round_weights(flow)
    return {
        direction: getattr(FlowEmitter(flow, features), direction)()
        for direction in ("forward", "inverse", "gradient")
    }
