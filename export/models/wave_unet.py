"""Wave-U-Net: down and up blocks on the waveform, and the last stem is what is left of the mix.

Architecture of Stoller, Ewert, Dixon, "Wave-U-Net: A Multi-Scale Neural Network for End-to-End
Audio Source Separation" (ISMIR 2018), variant with context: convolutions without padding,
decimation by two, linear interpolation, concatenated skips, difference output.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .demucs import centre

SLOPE = 0.2  # of the leaky rectifiers


@dataclass(frozen=True)
class WaveUNetConfig:
    """Size of the network. `published()` is the one of the paper, the default suits two cores."""

    stems: tuple[str, ...] = ("vocals", "bass", "drums", "other")
    sample_rate: int = 22_050
    audio_channels: int = 1
    levels: int = 9
    filters: int = 20
    down_kernel: int = 15
    up_kernel: int = 5

    @classmethod
    def published(cls) -> WaveUNetConfig:
        """Twelve levels of 24 more filters each: 10.26 million parameters."""
        return cls(levels=12, filters=24)

    def to_dict(self) -> dict[str, object]:
        """For cards and checkpoints."""
        return asdict(self)

    def lengths(self, samples: int) -> tuple[int, int]:
        """Samples in and out for the least output of at least `samples`."""
        foot = 1
        while (out := self._climb(foot)) < samples:
            foot += 1 + (samples - out) // 2**self.levels
        length = foot + self.down_kernel - 1
        for _ in range(self.levels):
            length = 2 * length - 1 + self.down_kernel - 1
        return length, out

    def _climb(self, foot: int) -> int:
        """Samples at the output for `foot` steps at the lowest level."""
        for _ in range(self.levels):
            foot = 2 * foot - 1 - (self.up_kernel - 1)
        return foot

    def valid_length(self, samples: int) -> int:
        """The least number of samples that the network can take to give back `samples`."""
        return self.lengths(samples)[0]


class WaveUNet(nn.Module):
    """Mix to stems that sum to it.

    Shape: (batch, audio_channels, samples) -> (batch, stems, audio_channels, fewer samples),
    cut off equally at both ends; `WaveUNetConfig.lengths` says which lengths there are.
    """

    def __init__(self, config: WaveUNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.filters * (level + 1) for level in range(config.levels + 1)]
        inwards = [config.audio_channels, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Conv1d(a, b, config.down_kernel) for a, b in zip(inwards, widths, strict=True)
        )
        self.up = nn.ModuleList(  # the innermost first
            nn.Conv1d(widths[level + 1] + widths[level], widths[level], config.up_kernel)
            for level in reversed(range(config.levels))
        )
        heads = (len(config.stems) - 1) * config.audio_channels
        self.last = nn.Conv1d(widths[0] + config.audio_channels, heads, 1)

    def forward(self, mix: Tensor) -> Tensor:
        x, skips = mix, []
        for conv in self.down[:-1]:
            x = F.leaky_relu(conv(x), SLOPE)
            skips.append(x)
            x = x[..., ::2]
        x = F.leaky_relu(self.down[-1](x), SLOPE)
        for conv in self.up:
            x = interpolate(x)
            x = torch.cat([centre(skips.pop(), x.shape[2]), x], dim=1)
            x = F.leaky_relu(cast(Tensor, conv(x)), SLOPE)
        own = centre(mix, x.shape[2])
        found = torch.tanh(self.last(torch.cat([own, x], dim=1)))
        found = found.view(len(mix), len(self.config.stems) - 1, self.config.audio_channels, -1)
        return torch.cat([found, own[:, None] - found.sum(dim=1, keepdim=True)], dim=1)

    def separate(self, mix: Tensor) -> Tensor:
        """Stems as long as the mix, which is padded with silence."""
        samples = mix.shape[2]
        spare = self.config.valid_length(samples) - samples
        padded = F.pad(mix, (spare // 2, spare - spare // 2))
        return centre(self(padded), samples)


def interpolate(x: Tensor) -> Tensor:
    """2n - 1 steps from n: between two of them, their mean."""
    between = 0.5 * (x[..., :-1] + x[..., 1:])
    woven = torch.stack([x[..., :-1], between], dim=3).flatten(2)
    return torch.cat([woven, x[..., -1:]], dim=2)
