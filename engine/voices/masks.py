"""From the voices' magnitudes to audio: soft masks on the mix's complex spectrogram.

A voice's mask is its share of all voices' powers, as in Wiener's filter, so the parts sum to the
mix wherever any voice sounds at all. The transform is that of the published evaluation (2048
samples at 16 kHz), stretched to the mix's own rate: no sample is moved, no band is cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from ..model.frames import Reader, Synthesis, stream_frames
from ..model.spectrogram import Stft
from .network import VoiceNetwork
from .pitches import PitchTracks
from .synthesis import VOICE_RATE, Excitation, VoiceBins, VoiceParameters, voice_magnitudes

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]

HOP = 512  # at VOICE_RATE: a quarter of the window of 2048
BLOCK = 64  # frames at once
POWER = 2.0  # powers of voices add up; the published masks have 1
_LEAST = np.float32(1e-20)


def mask_stft(sample_rate: int) -> Stft:
    """The transform for a mix at `sample_rate`."""
    return Stft.stretched(HOP, VOICE_RATE, sample_rate)


class VoiceMasks:
    """Masks of all voices, frame by frame, in bounded memory."""

    def __init__(
        self, parameters: VoiceParameters, tracks: PitchTracks, sample_rate: int, samples: int
    ) -> None:
        self.parameters, self.sample_rate = parameters, sample_rate
        self.stft = mask_stft(sample_rate)
        self.bins = VoiceBins(self.stft.n_fft, sample_rate)
        self.driving = Excitation(tracks, samples / sample_rate)

    def magnitudes(self, first: int, frames: int) -> Float:
        """Of every voice in frames of `Stft.forward`, (voices, frames, bins)."""
        hop, half = self.stft.hop, self.stft.n_fft // 2
        begin = (first - 1) * hop - half  # frame t is centred on sample (t - 1) * hop
        waves = self.driving.waveform(
            begin, (frames - 1) * hop + self.stft.n_fft, self.sample_rate
        )
        pieces = np.lib.stride_tricks.sliding_window_view(waves, self.stft.n_fft, axis=-1)
        spectra = np.fft.rfft(pieces[:, ::hop] * self.bins.window, axis=-1)
        driven = np.abs(spectra).astype(np.float32, copy=False)
        times = np.arange(first - 1, first - 1 + frames, dtype=np.float64)
        times *= hop / self.sample_rate
        return voice_magnitudes(self.parameters.at(times), driven, self.bins)

    def masks(self, first: int, frames: int) -> Float:
        """|S_i|^POWER / sum_j |S_j|^POWER, (voices, frames, bins)."""
        shares = self.magnitudes(first, frames) ** POWER
        return np.asarray(shares / (shares.sum(axis=0) + _LEAST), np.float32)


def separated_blocks(
    reader: Reader,
    channels: int,
    samples: int,
    masks: VoiceMasks,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Float]:
    """Every voice as blocks (voices, channels, n) of audio, in order; together `samples` long.

    `progress` is told frames that are done and all frames.
    """
    stft = masks.stft
    total, done = stft.frames(samples), 0
    synthesis = Synthesis(stft, samples)
    for spectrogram in stream_frames(reader, stft, channels, samples, BLOCK):
        frames = spectrogram.shape[1]
        share = masks.masks(done, frames)
        done += frames
        yield synthesis.add(share[:, None] * spectrogram, last=done == total)
        if progress is not None:
            progress(done, total)


def separate_voices(
    audio: Float,
    sample_rate: int,
    tracks: PitchTracks,
    network: VoiceNetwork,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Float]:
    """Take a whole mix (channels, samples) apart into its voices, each of the mix's shape.

    What no voice claims, the mix less their sum, is left to the caller.
    """
    channels, samples = audio.shape
    parameters = network.parameters(heard_by_networks(audio, sample_rate), tracks)
    masks = VoiceMasks(parameters, tracks, sample_rate, samples)
    blocks = separated_blocks(_Whole(audio), channels, samples, masks, progress)
    voices = np.empty((len(tracks.names), channels, samples), np.float32)
    done = 0
    for block in blocks:
        voices[..., done : done + block.shape[-1]] = block
        done += block.shape[-1]
    return dict(zip(tracks.names, voices, strict=True))


def heard_by_networks(audio: Float, sample_rate: int) -> Float:
    """A mix (channels, samples) as networks hear it: (samples,) mono at VOICE_RATE."""
    mono = np.asarray(audio.mean(axis=0), np.float32)
    if sample_rate == VOICE_RATE:
        return mono
    return np.asarray(soxr.resample(mono, sample_rate, VOICE_RATE), np.float32)


@dataclass(frozen=True)
class _Piece:
    audio: Float


class _Whole:
    """A recording in memory, read like a file."""

    def __init__(self, audio: Float) -> None:
        self._audio, self._done = audio, 0

    def read(self, frames: int, /) -> _Piece:
        begin, self._done = self._done, self._done + frames
        return _Piece(self._audio[:, begin : self._done])
