"""WaveGAN: a generator and a critic of one second of one instrument at 16 kHz.

Architecture of Donahue, McAuley, Puckette, "Adversarial Audio Synthesis" (ICLR 2019), trained
with a gradient penalty (Gulrajani et al., 2017); the prior of Narayanaswamy et al.,
"Unsupervised Audio Source Separation using Generative Priors" (Interspeech 2020).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOOT = 16  # steps from which a generator starts
KERNEL, STRIDE = 25, 4
SLOPE = 0.2


@dataclass(frozen=True)
class GanConfig:
    """Size of the networks. `published()` is the one of the paper, the default suits two
    cores."""

    width: int = 16
    latent: int = 100
    layers: int = 5
    sample_rate: int = 16_000
    shuffle: int = 2  # a critic's phase shuffle, in steps

    @classmethod
    def published(cls) -> GanConfig:
        """Width 64: 19.07 million parameters of the generator, 17.43 million of the critic."""
        return cls(width=64)

    @property
    def samples(self) -> int:
        """Samples of an excerpt: 16,384 at five layers."""
        return FOOT * int(STRIDE**self.layers)

    @property
    def widths(self) -> list[int]:
        """Channels from a generator's foot to the waveform."""
        return [self.width * 2**index for index in reversed(range(self.layers))] + [1]

    def to_dict(self) -> dict[str, int]:
        """For cards and checkpoints."""
        return asdict(self)


def begin_published(module: nn.Module) -> None:
    """Initial weights as in the published programs: Glorot's, and no biases.

    Torch's own are half as large a layer, with biases that drown what comes through: the generator
    begins as a constant far from zero, whatever its latents are, and keeps it for thousands of
    steps. Without biases, latents of zero, where a search begins, are silence.
    """
    if isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """Latents (batch, latent) -> waveform (batch, samples) in (-1, 1)."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.foot = nn.Linear(config.latent, FOOT * widths[0])
        self.convs = nn.ModuleList(
            nn.ConvTranspose1d(a, b, KERNEL, STRIDE, padding=11, output_padding=1)
            for a, b in pairwise(widths)
        )
        self.apply(begin_published)

    def forward(self, z: Tensor) -> Tensor:
        x = torch.relu(self.foot(z).unflatten(1, (-1, FOOT)))
        for conv in self.convs[:-1]:
            x = torch.relu(conv(x))
        return torch.tanh(self.convs[-1](x))[:, 0]


class Critic(nn.Module):
    """Waveform (batch, samples) -> how real it sounds (batch,).

    Between the layers every excerpt is shifted by a few steps, drawn anew each time, so that
    the critic cannot go by the phase of the generator's artefacts (section 3.3).
    """

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths[::-1]
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, STRIDE, padding=11) for a, b in pairwise(widths)
        )
        self.last = nn.Linear(FOOT * widths[-1], 1)
        self.apply(begin_published)

    def forward(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        x = waveform[:, None]
        for index, conv in enumerate(self.convs):
            x = F.leaky_relu(conv(x), SLOPE)
            if self.config.shuffle and index + 1 < len(self.convs):
                x = self._shuffled(x, generator)
        score: Tensor = self.last(x.flatten(1))
        return score[:, 0]

    def _shuffled(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        reach = self.config.shuffle
        shifts = torch.randint(-reach, reach + 1, (len(x),), generator=generator).to(x.device)
        padded = F.pad(x, (reach, reach), mode="reflect")
        at = torch.arange(x.shape[2], device=x.device) + reach + shifts[:, None]
        return padded.gather(2, at[:, None].expand(-1, x.shape[1], -1))
