"""The supervised rival: a U-Net that is told one voice's pitch and masks the mix for it.

After Petermann, Chandna, Cuesta, Bonada & Gomez (ISMIR 2020): a spectrogram of 1024/256 goes
through six strided convolutions and back; the pitch, one-hot over 361 bins of a fifth of a
semitone, scales and shifts the input. PUBLISHED is their size, REDUCED one for a processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from choirs import RATE, Choir
from engine import PitchTracks, VoiceBins

Float = NDArray[np.float32]

BINS = VoiceBins(1024, RATE)
HOP = 256
PITCHES, PER_OCTAVE, LOWEST_HZ = 361, 60, 32.7
FRAMES = 128  # a multiple of 64, the strides of six layers


@dataclass(frozen=True)
class UNetConfig:
    """Channels of the layers on the way down; three layers of the way up drop out."""

    channels: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    condition: int = 64


PUBLISHED = UNetConfig()
REDUCED = UNetConfig((8, 12, 16, 24, 32, 48), 24)


class UNet(nn.Module):
    """Magnitudes (batch, 512, frames) and pitches (batch, PITCHES, frames) -> mask."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        c, widths = config.condition, (1, *config.channels)
        self.condition = nn.Sequential(
            nn.Conv1d(PITCHES, c, 9, padding=4), nn.ReLU(),
            nn.Conv1d(c, c, 9, padding=4), nn.ReLU(),
            nn.Conv1d(c, 2 * 512, 9, padding=4),
        )  # fmt: skip
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 5, 2, 2), nn.BatchNorm2d(b), nn.LeakyReLU(0.2))
            for a, b in pairwise(widths)
        )
        ups = []
        for layer in reversed(range(len(config.channels))):
            wide = widths[layer + 1] * (1 if layer == len(config.channels) - 1 else 2)
            conv = nn.ConvTranspose2d(wide, widths[layer], 5, 2, 2, output_padding=1)
            if layer == 0:
                ups.append(nn.Sequential(conv, nn.Sigmoid()))
                continue
            drop = nn.Dropout2d(0.5) if layer >= len(config.channels) - 3 else nn.Identity()
            ups.append(nn.Sequential(conv, nn.BatchNorm2d(widths[layer]), nn.ReLU(), drop))
        self.up = nn.ModuleList(ups)

    def forward(self, mix: Tensor, pitch: Tensor) -> Tensor:
        scale, shift = self.condition(pitch).chunk(2, dim=1)
        x = ((1 + scale) * mix + shift).unsqueeze(1)
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        skips.pop()
        for layer in self.up:
            x = layer(x)
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
        mask: Tensor = x.squeeze(1)
        return mask


def one_hot(hertz: Float) -> Float:
    """Pitches (frames,) as blurred rows (PITCHES, frames); nothing where the voice rests."""
    place = PER_OCTAVE * np.log2(np.maximum(hertz, LOWEST_HZ) / LOWEST_HZ)
    blurred = np.exp(-0.5 * (np.arange(PITCHES)[:, None] - place) ** 2)
    return np.asarray(np.where(hertz > 0, blurred, 0), np.float32)


def train(
    choirs: Sequence[Choir], config: UNetConfig, steps: int, batch: int = 4, seed: int = 0
) -> UNet:
    """Learn from choirs and their isolated voices: one random voice of each excerpt."""
    torch.manual_seed(seed)
    network = UNet(config)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        mixes, targets, pitches = (
            torch.from_numpy(np.stack(part))
            for part in zip(*(_excerpt(choirs, rng) for _ in range(batch)), strict=True)
        )
        loss = (network(mixes, pitches) * mixes - targets).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def save(network: UNet, path: Path) -> None:
    """Keep weights without pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: value.numpy() for name, value in network.state_dict().items()})


def load(path: Path, config: UNetConfig) -> UNet:
    """Read what `save` wrote."""
    network = UNet(config)
    with np.load(path, allow_pickle=False) as stored:
        network.load_state_dict({name: torch.tensor(stored[name]) for name in stored.files})
    return network.eval()


def _excerpt(choirs: Sequence[Choir], rng: np.random.Generator) -> tuple[Float, Float, Float]:
    """Magnitudes of a mix and of one voice, scaled alike, and that voice's pitches."""
    choir = choirs[int(rng.integers(len(choirs)))]
    samples = (FRAMES - 1) * HOP
    first = int(rng.integers(max((choir.voices.shape[1] - samples) // HOP, 1)))
    cut = choir.voices[:, first * HOP : first * HOP + samples]
    cut = np.pad(cut, ((0, 0), (0, samples - cut.shape[1])))
    which = int(rng.integers(len(cut)))
    mix = BINS.magnitudes(cut.sum(axis=0), HOP)
    target = BINS.magnitudes(cut[which], HOP)
    level = np.float32(mix.max() + 1e-7)
    times = (first + np.arange(FRAMES)) * HOP / RATE
    pitch = one_hot(choir.tracks.at(times)[which])
    return mix.T[:512] / level, target.T[:512] / level, pitch


@torch.no_grad()
def masks(network: UNet, mix: Float, tracks: PitchTracks) -> Float:
    """Soft masks of all voices that sum to one, (voices, frames, bins of 1024/256)."""
    magnitudes = BINS.magnitudes(mix, HOP)
    frames = len(magnitudes)
    hertz = tracks.at(np.arange(frames) * HOP / RATE)
    padded = np.pad(magnitudes, ((0, -frames % FRAMES), (0, 0)))
    found = np.zeros((len(hertz), *padded.shape), np.float32)
    for voice, track in enumerate(hertz):
        pitches = np.pad(one_hot(track), ((0, 0), (0, -frames % FRAMES)))
        for first in range(0, len(padded), FRAMES):
            part = slice(first, first + FRAMES)
            level = np.float32(padded[part].max() + 1e-7)
            x = torch.from_numpy(padded[part].T[None, :512] / level)
            mask = network(x, torch.from_numpy(pitches[None, :, part]))[0].numpy()
            found[voice, part, :512] = mask.T
    found[..., 512] = found[..., 511]
    found = found[:, :frames] + 1e-6
    return np.asarray(found / found.sum(axis=0), np.float32)
