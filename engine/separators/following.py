"""What lies above a model's band, where the card says that it follows the highest band below.

A model that was trained at 44.1 kHz, or sees the lowest bins alone, gives stems that are dull.
How much of the mix it takes for a stem in its highest band is carried on upwards.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..audio.layout import ChannelGroups
from ..audio.signal import PieceReader, Signal
from ..model.frames import Synthesis, stream_frames
from ..model.spectrogram import Stft

Float = NDArray[np.float32]

_FRAME_S = 0.023  # hop in seconds
_BLOCK = 64  # frames
_EDGE = 0.96  # the last bins below the cut are in the slope of the model's or the resampler's
_TOP = 0.8  # the highest band: from here on
_LEAST = np.float32(1e-12)


def follow_above(
    band_hz: float, signal: Signal, groups: ChannelGroups, stems: Iterator[Float], count: int
) -> Iterator[Float]:
    """Blocks (stems, channels, n) with the signal's content above `band_hz` shared out."""
    info = signal.info
    if band_hz >= 0.97 * info.sample_rate / 2:
        yield from stems
        return
    stft = Stft(max(16, 2 * round(_FRAME_S * info.sample_rate / 2)))
    cut = int(_EDGE * band_hz / info.sample_rate * stft.n_fft)
    top = int(_TOP * band_hz / info.sample_rate * stft.n_fft)
    heard = np.zeros(info.channels, np.float32)
    heard[[channel for group in groups.groups for channel in group]] = 1
    channels = count * info.channels
    synthesis, total, done = Synthesis(stft, info.frames), stft.frames(info.frames), 0
    with signal.open() as reader:
        mix_frames = stream_frames(reader, stft, info.channels, info.frames, _BLOCK)
        flat = (block.reshape(channels, -1) for block in stems)
        own = stream_frames(PieceReader(flat, channels), stft, channels, info.frames, _BLOCK)
        for mix, joined in zip(mix_frames, own, strict=True):
            spectra = joined.reshape(count, info.channels, *joined.shape[1:]).copy()
            below = np.square(np.abs(spectra[..., top:cut])).sum(axis=-1, keepdims=True)
            whole = np.square(np.abs(mix[..., top:cut])).sum(axis=-1, keepdims=True)
            gain = np.sqrt(below / np.maximum(whole, _LEAST)) * heard[:, None, None]
            spectra[..., cut:] = np.minimum(gain, 1) * mix[..., cut:]
            done += mix.shape[1]
            yield synthesis.add(spectra, last=done == total)
