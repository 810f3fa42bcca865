"""The network of the voice models, and its synthesis in torch.

Encoder and decoder of Schulze-Forster et al. (IEEE/ACM TASLP 31, 2023): a recurrent encoder hears
the mix, one decoder that all voices share is told a voice's pitch and gives the parameters of its
source-filter model. Voices differ by their pitch alone. The small size is also told the mix at
each voice's harmonics, which spares it to learn where they lie.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

LOG10 = math.log(10)
MOST, LEAST = 2.0, 1e-7
LEAST_GAP = 0.004  # radians between neighbouring line spectral frequencies: 10 Hz at 16 kHz
SLOPE = 0.01
NOISE_SLOPE = 2.5  # of the noise shape's sigmoid
LEAST_DEVIATION = 1e-2  # of a mel band: what does not change is not made to


@dataclass(frozen=True)
class SourceFilterConfig:
    """Sizes; the defaults are the published ones."""

    mels: int = 128
    encoder: int = 256
    encoder_layers: int = 3
    latent: int = 128
    decoder: int = 512
    layers: int = 3
    order: int = 20
    noise_bands: int = 40
    harmonics: int = 0
    both_ways: bool = False
    noise_follows: bool = False

    def to_dict(self) -> dict[str, int | bool]:
        """For the card."""
        return asdict(self)


PUBLISHED = SourceFilterConfig()
SMALL = SourceFilterConfig(
    mels=64, encoder=64, encoder_layers=1, latent=64, decoder=128, layers=2, harmonics=32,
    both_ways=True, noise_follows=True,
)  # fmt: skip


def exp_sigmoid(x: Tensor) -> Tensor:
    """2 sigmoid(x)^ln(10) + 1e-7 (Engel et al., ICLR 2020)."""
    return MOST * torch.sigmoid(x) ** LOG10 + LEAST


class Perceptron(nn.Module):
    """Linear layers, each with a layer norm and a leaky rectifier."""

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        widths = [width, *[hidden] * layers]
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norm = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., hidden)."""
        for linear, norm in zip(self.linear, self.norm, strict=True):
            x = nn.functional.leaky_relu(norm(linear(x)), SLOPE)
        return x


class SourceFilterNetwork(nn.Module):
    """Mel bands of a mix and pitches of its voices -> parameters of every voice."""

    def __init__(self, config: SourceFilterConfig) -> None:
        super().__init__()
        self.config = c = config
        ways = 2 if c.both_ways else 1
        self.encoder = nn.ModuleList(
            nn.GRU(
                c.mels if not layer else ways * c.encoder,
                c.encoder,
                batch_first=True,
                bidirectional=c.both_ways,
            )
            for layer in range(c.encoder_layers)
        )
        self.latent = nn.Linear(ways * c.encoder, c.latent)
        self.of_pitch = Perceptron(1, c.decoder, c.layers)
        self.of_latent = Perceptron(c.latent, c.decoder, c.layers)
        inputs = 2
        if c.harmonics:
            self.of_harmonics = Perceptron(2 * c.harmonics, c.decoder, c.layers)
            inputs = 3
        self.memory = nn.GRU(
            inputs * c.decoder, c.decoder, batch_first=True, bidirectional=c.both_ways
        )
        self.last = Perceptron(ways * c.decoder, c.decoder, c.layers)
        self.head = nn.Linear(c.decoder, 2 + c.order + 1)
        self.noise_head = nn.Linear(
            c.decoder if c.noise_follows else ways * c.decoder, c.noise_bands
        )

    def encoded(self, mel: Tensor) -> Tensor:
        """(batch, frames, mels) -> (batch, frames, latent)."""
        mean = mel.mean(dim=1, keepdim=True)
        deviation = ((mel - mean) ** 2).mean(dim=1, keepdim=True).sqrt()
        x = (mel - mean) / (deviation + LEAST_DEVIATION)
        for layer, gru in enumerate(self.encoder):
            found = gru(x)[0]
            x = found + x if layer else found
        return self.latent(x)  # type: ignore[no-any-return]

    def forward(
        self, mel: Tensor, pitch: Tensor, harmonics: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give amplitude, noise gain (batch, voices, frames), LSFs (..., order) and noise shape
        (..., bands) for mel (batch, frames, mels), pitch (batch, voices, frames) and harmonics
        (batch, voices, frames, 2 * harmonics)."""
        batch, voices, frames = pitch.shape
        c = self.config
        z = self.of_latent(self.encoded(mel))
        inputs = [
            self.of_pitch(pitch.unsqueeze(-1)),
            z.unsqueeze(1).expand(-1, voices, -1, -1),
        ]
        if c.harmonics:
            inputs.append(self.of_harmonics(harmonics))
        x = torch.cat(inputs, dim=-1).reshape(batch * voices, frames, -1)
        remembered = self.memory(x)[0]
        x = self.last(remembered).reshape(batch, voices, frames, -1)
        found = self.head(x)
        amplitude = exp_sigmoid(found[..., 0])
        noise = 0.5 * exp_sigmoid(found[..., 1])
        if c.noise_follows:
            shape = self.noise_head(x)
        else:
            last = remembered[:, -1].reshape(batch, voices, 1, -1)
            shape = self.noise_head(last).expand(-1, -1, frames, -1)
        return amplitude, noise, ordered(found[..., 2:]), exp_sigmoid(NOISE_SLOPE * shape)


def ordered(x: Tensor) -> Tensor:
    """Any numbers (..., order + 1) -> line spectral frequencies (..., order), ascending and
    LEAST_GAP apart inside (0, pi), so that the filter is stable whatever the network says."""
    gaps = exp_sigmoid(x)
    count = x.shape[-1]
    free = math.pi - count * LEAST_GAP
    gaps = LEAST_GAP + free * gaps / gaps.sum(dim=-1, keepdim=True)
    return gaps.cumsum(dim=-1)[..., :-1]


def predictor(lsf: Tensor) -> Tensor:
    """Coefficients of A(z) = 1 + a_1 z^-1 + ... from LSFs: (..., order) -> (..., order + 1)."""
    place = -2 * torch.cos(lsf)
    one = torch.ones_like(place[..., :1])
    P, Q = torch.cat([one, one], dim=-1), torch.cat([one, -one], dim=-1)
    for index in range(0, lsf.shape[-1], 2):
        P = _times(P, place[..., index, None])
        Q = _times(Q, place[..., index + 1, None])
    return 0.5 * (P + Q)[..., :-1]


def _times(polynomial: Tensor, middle: Tensor) -> Tensor:
    """A polynomial times 1 + middle z^-1 + z^-2."""
    pad = nn.functional.pad
    return pad(polynomial, (0, 2)) + middle * pad(polynomial, (1, 1)) + pad(polynomial, (2, 0))


def filter_power(lsf: Tensor, omega: Tensor) -> Tensor:
    """|H|^2 of the filters at angular frequencies: (..., order), (bins,) -> (..., bins).

    As matrix products, which a gradient goes through cheaply; the program at work multiplies out
    the roots (`engine.voices.synthesis.filter_power`).
    """
    a = predictor(lsf)
    phase = torch.arange(a.shape[-1])[:, None] * omega
    return 1 / ((a @ torch.cos(phase)) ** 2 + (a @ torch.sin(phase)) ** 2 + 1e-12)
