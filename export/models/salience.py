"""The network that says which pitches are sung, and its ONNX graph.

Convolutions over frames and candidates, between which every candidate is also shown what stands
an octave, a fifth, a twelfth and two octaves above and below it: where the harmonics of one pitch
look like those of another.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import onnx
import torch
from torch import Tensor, nn

from engine import PITCH_INPUTS, PITCH_MULTIPLES, PITCH_OUTPUTS

from .estimator import round_parameters
from .graph_writer import END, GraphWriter, array_of

FIFTH, OCTAVE, TWELFTH, TWO_OCTAVES = 35, 60, 95, 120  # candidates of 20 cents
INTERVALS = tuple(
    sorted((*(-n for n in (FIFTH, OCTAVE, TWELFTH, TWO_OCTAVES)), 0,
            FIFTH, OCTAVE, TWELFTH, TWO_OCTAVES))
)  # fmt: skip
_UNLIKELY = -4.0  # of the output's bias: of 250 candidates four are sung


@dataclass(frozen=True)
class SalienceConfig:
    """Channels of every layer."""

    channels: int = 16

    def to_dict(self) -> dict[str, int | bool]:
        """For cards and checkpoints."""
        return asdict(self)


class SalienceNetwork(nn.Module):
    """(batch, multiples, frames, candidates) -> logits (batch, frames, candidates).

    It looks 7 frames back and ahead, fewer than `engine.voices.pitch_network.REACH`.
    """

    def __init__(self, config: SalienceConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.layers = nn.ModuleList([
            nn.Conv2d(len(PITCH_MULTIPLES), c, (3, 5), padding=(1, 2)),
            nn.Conv2d(c, c, (3, 5), padding=(1, 2)),
            nn.Conv2d(len(INTERVALS) * c, c, 1),
            nn.Conv2d(c, c, (5, 3), padding=(2, 1)),
            nn.Conv2d(len(INTERVALS) * c, c, 1),
            nn.Conv2d(c, c, (3, 3), padding=(3, 1), dilation=(3, 1)),
        ])  # fmt: skip
        self.last = nn.Conv2d(c, 1, 1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, _UNLIKELY)

    def forward(self, heard: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.layers[0](heard))
        for layer in self.layers[1:]:
            wide = layer.in_channels != self.config.channels
            x = x + torch.relu(layer(_at_intervals(x) if wide else x))
        logits: Tensor = self.last(x)[:, 0]
        return logits


def _at_intervals(x: Tensor) -> Tensor:
    """The channels at all INTERVALS of every candidate, one after the other."""
    width = x.shape[-1]
    padded = nn.functional.pad(x, (TWO_OCTAVES, TWO_OCTAVES))
    return torch.cat([padded[..., TWO_OCTAVES + n :][..., :width] for n in INTERVALS], dim=1)


def emit_salience(network: SalienceNetwork) -> onnx.ModelProto:
    """Write heard (multiples, frames, candidates) -> sung (frames, candidates), probabilities;
    rounds the network's weights."""
    round_parameters(network)
    g = GraphWriter()
    first, *further = network.layers
    x = g.op("Relu", _convolved(g, first, g.op("Unsqueeze", PITCH_INPUTS[0], g.ints(0))))
    for layer in further:
        wide = layer.in_channels != network.config.channels
        shown = _intervals(g, x) if wide else x
        x = g.op("Add", x, g.op("Relu", _convolved(g, layer, shown)))
    logits = g.op("Squeeze", _convolved(g, network.last, x), g.ints(0, 1))
    g.name(g.op("Sigmoid", logits), PITCH_OUTPUTS[0])
    shape = "frames", "candidates"
    return g.model({PITCH_INPUTS[0]: (len(PITCH_MULTIPLES), *shape)}, {PITCH_OUTPUTS[0]: shape})


def _convolved(g: GraphWriter, layer: nn.Module, x: str) -> str:
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    weight, bias = g.weight(array_of(layer.weight)), g.weight(array_of(layer.bias))
    rows, columns = (int(n) for n in layer.padding)
    return g.op(
        "Conv", x, weight, bias,
        pads=[rows, columns, rows, columns], dilations=[int(n) for n in layer.dilation],
    )  # fmt: skip


def _intervals(g: GraphWriter, x: str) -> str:
    padded = g.op("Pad", x, g.ints(TWO_OCTAVES, TWO_OCTAVES), "", g.ints(3))
    shifted = [
        g.slice(padded, TWO_OCTAVES + n, n - TWO_OCTAVES if n < TWO_OCTAVES else END, 3)
        for n in INTERVALS
    ]
    return g.op("Concat", *shifted, axis=1)
