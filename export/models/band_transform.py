"""The priors' view of waveforms as a torch module: band magnitudes computed where a network is.

The same numbers as `FrontEnd.magnitudes` for audio at one rate, for batches and on any device.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine import FrontEndCard


class BandTransform(nn.Module):
    """Shape: (..., samples) -> (..., bands, frames)."""

    def __init__(self, card: FrontEndCard, sample_rate: int) -> None:
        super().__init__()
        view = card.front_end()
        stft = view.stft(sample_rate)
        self.hop, self.n_fft, self.lead = stft.hop, stft.n_fft, stft.lead
        self._frames = stft.frames
        inside = np.arange(stft.bins) * (sample_rate / stft.n_fft) < view.plan.edges_hz[-1]
        gather = np.zeros((view.plan.bands, stft.bins), np.float32)
        bins = np.flatnonzero(inside)
        gather[view.band_of_bin(sample_rate)[bins], bins] = 1
        self.register_buffer("window", torch.from_numpy(stft.window), persistent=False)
        self.register_buffer("gather", torch.from_numpy(gather), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        shape, samples = audio.shape[:-1], audio.shape[-1]
        window, gather = cast(Tensor, self.window), cast(Tensor, self.gather)
        frames = self._frames(samples)
        right = (frames - 1) * self.hop + self.n_fft - self.lead - samples
        padded = F.pad(audio.reshape(-1, samples), (self.lead, right))
        seen = torch.stft(
            padded, self.n_fft, self.hop, window=window, center=False, return_complex=True
        )
        power = seen.real**2 + seen.imag**2  # (rows, bins, frames)
        root = torch.sqrt(torch.matmul(gather, power)) / window.sum()
        return root.reshape(*shape, -1, frames)
