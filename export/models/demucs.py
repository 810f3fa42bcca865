"""Demucs v2: a U-Net on the waveform with a bidirectional LSTM at its foot.

Architecture of Défossez, Usunier, Bottou, Bach, "Music Source Separation in the Waveform
Domain" (arXiv:1911.13254), as in the second version of their code: the mix is resampled to twice
its rate, every encoder layer is a strided convolution, a ReLU and a gated 1x1 convolution, every
decoder layer a gated convolution over three steps and a transposed one, and skips are added.
Convolutions have no padding: what leaves the network is shorter than what enters it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ZEROS = 56  # zero crossings of the sinc on either side
NORMAL_FLOOR = 1e-5


@dataclass(frozen=True)
class DemucsConfig:
    """Size of the network. `published()` is the one of the paper, the default suits two cores."""

    stems: tuple[str, ...] = ("vocals", "bass", "drums", "other")
    sample_rate: int = 22_050
    audio_channels: int = 1
    channels: int = 16
    depth: int = 5
    kernel: int = 8
    stride: int = 4
    context: int = 3
    lstm_layers: int = 2
    rescale: float = 0.1

    @classmethod
    def published(cls) -> DemucsConfig:
        """64 channels, six layers, stereo at 44.1 kHz: 265.7 million parameters."""
        return cls(sample_rate=44_100, audio_channels=2, channels=64, depth=6)

    def to_dict(self) -> dict[str, object]:
        """For cards and checkpoints."""
        return asdict(self)

    def valid_length(self, samples: int) -> int:
        """The least number of samples that the network can take to give back `samples`."""
        length = 2 * samples
        for _ in range(self.depth):
            length = max(1, math.ceil((length - self.kernel) / self.stride) + 1)
            length += self.context - 1
        for _ in range(self.depth):
            length = (length - 1) * self.stride + self.kernel
        return math.ceil(length / 2)

    def lengths(self, samples: int) -> list[int]:
        """Steps behind every encoder layer for an input of `samples`, the outermost first."""
        found, length = [], 2 * samples
        for _ in range(self.depth):
            length = (length - self.kernel) // self.stride + 1
            found.append(length)
        return found


class Demucs(nn.Module):
    """Mix to stems.

    Shape: (batch, audio_channels, samples) -> (batch, stems, audio_channels, fewer samples),
    cut off equally at both ends; `DemucsConfig.valid_length` says how many to give.
    """

    def __init__(self, config: DemucsConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("half_sample", half_sample_kernel(ZEROS), persistent=False)
        widths = [config.channels * 2**index for index in range(config.depth)]
        inwards = [config.audio_channels, *widths[:-1]]
        outwards = [len(config.stems) * config.audio_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            nn.ModuleList([nn.Conv1d(a, b, config.kernel, config.stride), nn.Conv1d(b, 2 * b, 1)])
            for a, b in zip(inwards, widths, strict=True)
        )
        self.lstm = nn.LSTM(
            widths[-1], widths[-1], config.lstm_layers, batch_first=True, bidirectional=True
        )
        self.recall = nn.Linear(2 * widths[-1], widths[-1])
        self.decoder = nn.ModuleList(  # the innermost first
            nn.ModuleList(
                [
                    nn.Conv1d(b, 2 * b, config.context),
                    nn.ConvTranspose1d(b, a, config.kernel, config.stride),
                ]
            )
            for a, b in reversed(list(zip(outwards, widths, strict=True)))
        )
        self._rescale()

    @torch.no_grad()
    def _rescale(self) -> None:
        """Divide every convolution by the root of its spread over the reference (section 4.3)."""
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                scale = (module.weight.std() / self.config.rescale) ** 0.5
                module.weight /= scale
                assert module.bias is not None
                module.bias /= scale

    def forward(self, mix: Tensor) -> Tensor:
        mono = mix.mean(dim=1, keepdim=True)
        mean = mono.mean(dim=2, keepdim=True)
        std = mono.std(dim=2, keepdim=True, correction=0) + NORMAL_FLOOR
        x = self._upsample((mix - mean) / std)
        skips = []
        for layer in self.encoder:
            conv, gate = cast(nn.ModuleList, layer)
            x = F.glu(gate(torch.relu(conv(x))), dim=1)
            skips.append(x)
        x = self.recall(self.lstm(x.transpose(1, 2))[0]).transpose(1, 2)
        for index, layer in enumerate(self.decoder):
            gate, conv = cast(nn.ModuleList, layer)
            x = conv(F.glu(gate(x + centre(skips.pop(), x.shape[2])), dim=1))
            if index + 1 < len(self.decoder):
                x = torch.relu(x)
        x = self._downsample(x) * std + mean
        return x.view(len(x), len(self.config.stems), self.config.audio_channels, -1)

    def separate(self, mix: Tensor) -> Tensor:
        """Stems as long as the mix, which is padded with silence."""
        samples = mix.shape[2]
        spare = self.config.valid_length(samples) - samples
        padded = F.pad(mix, (spare // 2, spare - spare // 2))
        return centre(self(padded), samples)

    def _upsample(self, x: Tensor) -> Tensor:
        """Twice the rate: the samples and, between them, what a sinc says."""
        between = self._between(x)[..., 1:]
        return torch.stack([x, between], dim=3).flatten(2)

    def _downsample(self, x: Tensor) -> Tensor:
        """Half the rate, by the transpose of `_upsample`."""
        x = F.pad(x, (0, x.shape[2] % 2))
        even, odd = x[..., ::2], x[..., 1::2]
        return 0.5 * (even + self._between(odd)[..., :-1])

    def _between(self, x: Tensor) -> Tensor:
        """Values half a sample before every sample, and half a sample behind the last."""
        batch, channels, samples = x.shape
        kernel = cast(Tensor, self.half_sample)
        rows = F.conv1d(x.reshape(batch * channels, 1, samples), kernel, padding=ZEROS)
        return rows.view(batch, channels, samples + 1)


def half_sample_kernel(zeros: int) -> Tensor:
    """A windowed sinc at the odd halves, shape (1, 1, 2 * zeros)."""
    window = np.hanning(4 * zeros + 1)[1::2]
    at = np.arange(-zeros + 0.5, zeros)
    return torch.from_numpy((np.sinc(at) * window).astype(np.float32))[None, None]


def centre(x: Tensor, length: int) -> Tensor:
    """The middle `length` steps of the last axis."""
    spare = x.shape[-1] - length
    return x[..., spare // 2 : spare // 2 + length]
