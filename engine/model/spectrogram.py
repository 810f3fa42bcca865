"""The short-time Fourier transform, scaled to any sample rate, and the priors' view of it.

A prior is made for one window length in seconds. Instead of resampling the mix to the
prior's rate, the transform is stretched to the mix's rate: window and hop keep their
duration, so the full band of the mix is analysed and rebuilt and no sample is ever moved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .bands import BandPlan, summed_by_band

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]
FramesMaker = Callable[[slice], Complex]  # which frames -> (channels, frames, bins)

OVERLAP = 4  # hops in a window: Hann analysis and synthesis windows then sum to a constant
_HALF = np.float32(np.sqrt(0.5))
FRAMES_AT_ONCE = 16  # that stay in the cache between being cut out, transformed and added up


def middle_and_side(pair: Complex) -> Complex:
    """What two channels have in common and what they differ by, which have the pair's power
    together: spectrograms (2, frames, bins) -> (2, frames, bins)."""
    left, right = pair
    return np.stack([(left + right) * _HALF, (left - right) * _HALF])


def _smooth_near(value: float) -> int:
    """Return the number nearest to `value` with no prime factor above 7: FFTs stay fast."""

    def smooth(n: int) -> bool:
        for p in (2, 3, 5, 7):
            while n % p == 0:
                n //= p
        return n == 1

    nearest = max(round(value), 1)
    for distance in range(nearest + 1):
        for candidate in (nearest - distance, nearest + distance):
            if candidate > 0 and smooth(candidate):
                return candidate
    return 1


@dataclass(frozen=True)
class Stft:
    """A Hann STFT whose frame t is centred on sample (t - 1) * hop.

    The extra frame before the start lets every sample, the first one too, lie under OVERLAP
    windows, so that analysis and synthesis are exact inverses.

    Shape: audio (channels, samples) <-> spectrogram (channels, frames, n_fft // 2 + 1).
    """

    hop: int

    @classmethod
    def stretched(cls, hop: int, made_for: int, sample_rate: int) -> Stft:
        """The transform with `hop` samples at the rate `made_for`, at another rate.

        The hop keeps its duration, rounded to a number with small prime factors.
        """
        return cls(_smooth_near(hop * sample_rate / made_for))

    @property
    def n_fft(self) -> int:
        """Window length in samples."""
        return OVERLAP * self.hop

    @property
    def bins(self) -> int:
        """Frequency bins of one frame."""
        return self.n_fft // 2 + 1

    @cached_property
    def window(self) -> Float:
        """Periodic Hann window, shape (n_fft,)."""
        phase = np.arange(self.n_fft) * (2 * np.pi / self.n_fft)
        return np.asarray(0.5 - 0.5 * np.cos(phase), np.float32)

    def frames(self, samples: int) -> int:
        """Frames that cover `samples` (> 0) fully."""
        return -(-(samples - 1) // self.hop) + 3

    @property
    def lead(self) -> int:
        """Zeros that stand before the first sample: from the first frame's start to it."""
        return self.n_fft // 2 + self.hop

    def analyse(self, padded: Float, frames: int) -> Complex:
        """Transform `frames` frames of audio (channels, (frames - 1) * hop + n_fft)."""
        pieces = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft, axis=-1)
        pieces = pieces[:, : frames * self.hop : self.hop]
        spectrogram = np.empty((len(padded), frames, self.bins), np.complex64)
        # Not scaled, NumPy would transform in float64, which takes twice as long: the window
        # brings the factor that "forward" takes away.
        window = self.window * np.float32(self.n_fft)
        for some in _a_few_of(frames):
            out = spectrogram[:, some]
            np.fft.rfft(pieces[:, some] * window, norm="forward", out=out)  # type: ignore[arg-type]  # stubs
        return spectrogram

    def forward(self, audio: Float) -> Complex:
        """Transform a whole recording, zero-padded at both ends."""
        frames = self.frames(audio.shape[1])
        right = (frames - 1) * self.hop + self.n_fft - self.lead - audio.shape[1]
        padded = np.pad(audio, ((0, 0), (self.lead, right)))
        return self.analyse(padded.astype(np.float32), frames)

    def synthesise(self, channels: int, frames: int, make: FramesMaker) -> Float:
        """Overlap-add frames; returns (channels, (frames - 1) * hop + n_fft) before trimming.

        The sum of the squared windows is the constant 3/8 * OVERLAP wherever OVERLAP windows
        overlap, so dividing by it inverts `analyse` there. A few frames are made at a time, so
        that they need not be fetched from memory again.
        """
        window = self.window / np.float32(0.375 * OVERLAP)
        out = np.zeros((channels, frames + OVERLAP - 1, self.hop), np.float32)
        for some in _a_few_of(frames):
            pieces = np.fft.irfft(make(some), n=self.n_fft, axis=-1)
            pieces *= window
            hops = pieces.reshape(channels, -1, OVERLAP, self.hop)
            for part in range(OVERLAP):  # frame t covers hops t .. t + OVERLAP - 1
                out[:, some.start + part : some.stop + part] += hops[:, :, part]
        return out.reshape(channels, -1)

    def inverse(self, spectrogram: Complex, samples: int) -> Float:
        """Rebuild a whole recording of `samples` samples."""
        channels, frames, _ = spectrogram.shape
        audio = self.synthesise(channels, frames, lambda some: spectrogram[:, some])
        return audio[:, self.lead : self.lead + samples]


def _a_few_of(frames: int) -> Iterator[slice]:
    for first in range(0, frames, FRAMES_AT_ONCE):
        yield slice(first, min(first + FRAMES_AT_ONCE, frames))


@dataclass(frozen=True)
class FrontEnd:
    """What a prior sees: band magnitudes of a scaled STFT.

    `hop` belongs to `sample_rate`; for another rate the hop keeps its duration (rounded to a
    number with small prime factors, at most 2 % away above 8 kHz).
    """

    sample_rate: int
    hop: int
    plan: BandPlan

    def stft(self, sample_rate: int) -> Stft:
        """The transform for audio at `sample_rate`."""
        return Stft.stretched(self.hop, self.sample_rate, sample_rate)

    def band_of_bin(self, sample_rate: int) -> NDArray[np.intp]:
        """Band of every bin at `sample_rate`, shape (bins,)."""
        return self.plan.assign(sample_rate, self.stft(sample_rate).n_fft)

    def band_magnitudes(self, spectrogram: Complex, sample_rate: int) -> Float:
        """Root of the power in each band, channels added: (channels, frames, bins) ->
        (frames, bands).

        Divided by the window's sum, which makes the value independent of the sample rate.
        Bins above the plan's range do not count: priors never saw them.
        """
        stft = self.stft(sample_rate)
        power = (spectrogram.real**2 + spectrogram.imag**2).sum(axis=0)
        inside = np.arange(stft.bins) * (sample_rate / stft.n_fft) < self.plan.edges_hz[-1]
        last = int(inside.sum())
        band = self.band_of_bin(sample_rate)[:last]
        root = np.sqrt(summed_by_band(power[:, :last], band, self.plan.bands))
        return np.asarray(root / stft.window.sum(), np.float32)

    def magnitudes(self, audio: Float, sample_rate: int) -> Float:
        """Band magnitudes of a whole recording: (channels, samples) -> (frames, bands)."""
        return self.band_magnitudes(self.stft(sample_rate).forward(audio), sample_rate)

    def digest(self) -> str:
        """A short name of everything that defines this view."""
        text = json.dumps([self.sample_rate, self.hop, self.plan.edges_hz])
        return hashlib.sha256(text.encode()).hexdigest()[:16]
