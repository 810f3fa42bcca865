"""The flow prior: a Glow over spectrogram frames, one per instrument or one for several.

Architecture of "Music Source Separation with Generative Flow" (Zhu, Darefsky, Jiang, Selitskiy,
Duan, IEEE SPL 2022) after Glow-TTS: frequency bands are channels, time is squeezed by two, and
every block is ActNorm, a grouped invertible 1x1 convolution and an affine coupling whose
network is a small non-causal WaveNet.

Without labels it is the paper's InstGlow, a flow of one instrument. With labels it is MusicGlow:
one flow for several instruments, told which by a learned embedding that enters every gate of
every coupling, as Glow-TTS (Kim et al., NeurIPS 2020) tells speakers.

Repaired against the published code: no constant padding channel, ActNorm really initialised
from data, log-scales bounded so that the inverse stays accurate in single precision.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SQUEEZE = 2  # frames folded into one step
SPLIT = 4  # size of the invertible 1x1 matrices
LOG_SCALE_LIMIT = 2.0  # |log s| of a coupling: exp(2) = 7.4 per block is ample


@dataclass(frozen=True)
class FlowConfig:
    """Size of a flow. `paper()` is the published one, the default suits two CPU cores."""

    bands: int = 128
    blocks: int = 8
    hidden: int = 64
    layers: int = 2
    kernel: int = 3
    labels: int = 0  # instruments that one flow knows by their labels; 0 has no labels

    @classmethod
    def paper(cls) -> FlowConfig:
        """12 blocks, hidden 128, 4 layers of kernel 5 on 512 bins: 11.7 M parameters."""
        return cls(bands=512, blocks=12, hidden=128, layers=4, kernel=5)

    @property
    def embedding(self) -> int:
        """Width of a label's embedding: 256 at the paper's size, as published."""
        return 2 * self.hidden

    def to_dict(self) -> dict[str, int]:
        """For the card and checkpoints."""
        return asdict(self)


def squeeze(x: Tensor) -> Tensor:
    """(batch, bands, frames) -> (batch, 2 * bands, frames / 2); even frames come first."""
    batch, bands, frames = x.shape
    folded = x.view(batch, bands, frames // SQUEEZE, SQUEEZE).permute(0, 3, 1, 2)
    return folded.reshape(batch, SQUEEZE * bands, frames // SQUEEZE)


def unsqueeze(y: Tensor) -> Tensor:
    """The inverse of `squeeze`."""
    batch, channels, steps = y.shape
    unfolded = y.view(batch, SQUEEZE, channels // SQUEEZE, steps).permute(0, 2, 3, 1)
    return unfolded.reshape(batch, channels // SQUEEZE, steps * SQUEEZE)


class ActNorm(nn.Module):
    """y = exp(log_scale) * x + bias per channel, set from the first batch (Glow, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))
        self.ready: Tensor
        self.register_buffer("ready", torch.tensor(False))
        self._ready = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self._ready:  # asking a graphics card each time would wait for it
            if not bool(self.ready):
                self._initialise(x)
            self._ready = True
        return x * self.log_scale.exp() + self.bias, self.log_scale.sum() * x.shape[2]

    def inverse(self, y: Tensor) -> Tensor:
        return (y - self.bias) * (-self.log_scale).exp()

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        std, mean = torch.std_mean(x, dim=(0, 2), unbiased=False)
        self.log_scale.copy_(-std.clamp_min(1e-2).log()[:, None])
        self.bias.copy_(-(mean[:, None] * self.log_scale.exp()))
        self.ready.fill_(True)


class InvertibleConv(nn.Module):
    """One SPLIT x SPLIT matrix shared by all groups of channels c, c + C/4, c + C/2, c + 3C/4.

    A group holds both squeezed frames and both halves of the spectrum, so what one coupling
    leaves untouched the next one transforms.
    """

    def __init__(self) -> None:
        super().__init__()
        weight = torch.linalg.qr(torch.randn(SPLIT, SPLIT))[0]
        if torch.det(weight) < 0:
            weight[:, 0] *= -1
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = torch.linalg.slogdet(self.weight)[1] * (x.shape[1] // SPLIT) * x.shape[2]
        return self._mix(self.weight, x), log_det

    def inverse(self, y: Tensor) -> Tensor:
        return self._mix(torch.linalg.inv(self.weight), y)

    @staticmethod
    def _mix(weight: Tensor, x: Tensor) -> Tensor:
        batch, channels, steps = x.shape
        grouped = x.view(batch, SPLIT, channels // SPLIT * steps)
        return torch.matmul(weight, grouped).view(batch, channels, steps)


class WaveNet(nn.Module):
    """The coupling's network: gated convolutions with residual and skip paths."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        half = config.bands * SQUEEZE // 2
        hidden, kernel = config.hidden, config.kernel
        self.start = nn.Conv1d(half, hidden, 1)
        self.gates = nn.ModuleList(
            nn.Conv1d(hidden, 2 * hidden, kernel, padding=kernel // 2)
            for _ in range(config.layers)
        )
        # the last layer has no successor, so it feeds the skip path only
        self.mixers = nn.ModuleList(
            nn.Conv1d(hidden, 2 * hidden if i + 1 < config.layers else hidden, 1)
            for i in range(config.layers)
        )
        self.end = nn.Conv1d(hidden, 2 * half, 1)
        nn.init.zeros_(self.end.weight)
        assert self.end.bias is not None
        nn.init.zeros_(self.end.bias)
        if config.labels:
            self.condition = nn.Linear(config.embedding, config.layers * 2 * hidden)

    def label_biases(self, embedded: Tensor) -> Tensor:
        """What labels add to the gates: (batch, embedding) -> (batch, layers, 2 * hidden)."""
        biases: Tensor = self.condition(embedded).unflatten(1, (len(self.gates), -1))
        return biases

    def forward(self, x: Tensor, embedded: Tensor | None) -> tuple[Tensor, Tensor]:
        h = self.start(x)
        skip = torch.zeros_like(h)
        biases = None if embedded is None else self.label_biases(embedded)[..., None]
        for index, (gate, mixer) in enumerate(zip(self.gates, self.mixers, strict=True)):
            gated = gate(h) if biases is None else gate(h) + biases[:, index]
            a, b = gated.chunk(2, dim=1)
            mixed = mixer(torch.tanh(a) * torch.sigmoid(b))
            if mixed.shape[1] == h.shape[1]:
                skip = skip + mixed
            else:
                residual, skipped = mixed.chunk(2, dim=1)
                h, skip = h + residual, skip + skipped
        shift, raw = self.end(skip).chunk(2, dim=1)
        return shift, LOG_SCALE_LIMIT * torch.tanh(raw / LOG_SCALE_LIMIT)


class GlowBlock(nn.Module):
    """ActNorm, invertible 1x1, affine coupling: y_b = shift(y_a) + exp(log_s(y_a)) x_b.

    With labels, shift and log_s depend on the label's embedding too.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.norm = ActNorm(config.bands * SQUEEZE)
        self.mix = InvertibleConv()
        self.net = WaveNet(config)

    def forward(self, x: Tensor, embedded: Tensor | None) -> tuple[Tensor, Tensor]:
        x, norm_log_det = self.norm(x)
        x, mix_log_det = self.mix(x)
        a, b = x.chunk(2, dim=1)
        shift, log_scale = self.net(a, embedded)
        y = torch.cat([a, shift + log_scale.exp() * b], dim=1)
        return y, norm_log_det + mix_log_det + log_scale.sum(dim=(1, 2))

    def inverse(self, y: Tensor, embedded: Tensor | None) -> Tensor:
        a, b = y.chunk(2, dim=1)
        shift, log_scale = self.net(a, embedded)
        x = torch.cat([a, (b - shift) * (-log_scale).exp()], dim=1)
        inverted: Tensor = self.norm.inverse(self.mix.inverse(x))
        return inverted


class Flow(nn.Module):
    """A bijection between standardised features x and Gaussian latents z.

    Shape: x (batch, bands, frames) with an even number of frames;
    z (batch, 2 * bands, frames / 2); labels (batch,) of int64, for a flow that has labels.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(GlowBlock(config) for _ in range(config.blocks))
        if config.labels:
            self.labels = nn.Embedding(config.labels, config.embedding)
            nn.init.uniform_(self.labels.weight, -0.1, 0.1)

    def embed(self, labels: Tensor | None) -> Tensor | None:
        """Embeddings of unit length (batch, embedding); None for a flow without labels."""
        if (labels is None) == bool(self.config.labels):
            raise ValueError(f"a flow with {self.config.labels} labels was given {labels}")
        return None if labels is None else F.normalize(self.labels(labels), dim=1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z and log |det dz/dx|, shape (batch,)."""
        y, embedded = squeeze(x), self.embed(labels)
        log_det = x.new_zeros(x.shape[0])
        for block in self.blocks:
            y, step = block(y, embedded)
            log_det = log_det + step
        return y, log_det

    def inverse(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return x."""
        embedded = self.embed(labels)
        for block in reversed(self.blocks):
            z = block.inverse(z, embedded)  # type: ignore[operator]
        return unsqueeze(z)

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x), of the labels' instruments where there are any, in nats per dimension:
        shape (batch,)."""
        z, log_det = self.forward(x, labels)
        dimensions = x.shape[1] * x.shape[2]
        gaussian = -0.5 * (z**2).sum(dim=(1, 2)) - 0.5 * dimensions * math.log(2 * math.pi)
        return (gaussian + log_det) / dimensions


def noise(x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Gaussian dequantisation noise in standardised units: keeps the density finite on
    silence, where features are constant."""
    noisy: Tensor = x + sigma * torch.randn(x.shape, generator=generator, device=x.device)
    return noisy


__all__ = ["Flow", "FlowConfig", "noise", "squeeze", "unsqueeze"]
