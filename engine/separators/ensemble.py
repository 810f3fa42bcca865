"""Several estimates of one stem become one: in time the weighted mean, or bin by bin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..audio.reading import SourceInfo
from ..audio.signal import PieceReader
from ..model.frames import Synthesis, stream_frames
from ..model.spectrogram import Stft

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]

_HOP_S = 0.023
_FRAMES = 64
_PIECE = 1 << 16


def ensemble(
    estimates: Sequence[Iterator[Float]],
    weights: Sequence[float],
    combine: str,
    info: SourceInfo,
) -> Iterator[Float]:
    """Estimates (channels, n) of one stem in pieces, as one.

    `mean` weighs them; the spectral ways (`median-spec`, `max-spec`, `min-spec`) take of every bin
    the value whose magnitude is the median, largest or smallest, and heed only whether a weight is
    zero.
    """
    chosen = [
        (PieceReader(pieces, info.channels), weight)
        for pieces, weight in zip(estimates, weights, strict=True)
        if weight > 0
    ]
    if len(chosen) == 1 or combine == "mean":
        total = sum(weight for _, weight in chosen)
        left = info.frames
        while left > 0:
            frames = min(_PIECE, left)
            mean = np.zeros((info.channels, frames), np.float32)
            for reader, weight in chosen:
                mean += reader.read(frames).audio * np.float32(weight / total)
            left -= frames
            yield mean
        return
    stft = Stft(max(16, 2 * round(_HOP_S * info.sample_rate / 2)))
    synthesis, total_frames, done = Synthesis(stft, info.frames), stft.frames(info.frames), 0
    streams = [
        stream_frames(reader, stft, info.channels, info.frames, _FRAMES) for reader, _ in chosen
    ]
    for spectra in zip(*streams, strict=True):
        done += spectra[0].shape[1]
        yield synthesis.add(_by_magnitude(np.stack(spectra), combine), last=done == total_frames)


def _by_magnitude(spectra: Complex, combine: str) -> Complex:
    """One of (estimates, channels, frames, bins) in every bin; of two in the middle the mean."""
    order = np.argsort(np.abs(spectra), axis=0, kind="stable")
    last = len(spectra) - 1
    middle = last // 2, -(-last // 2)
    places = {"max-spec": (last, last), "min-spec": (0, 0), "median-spec": middle}
    low, high = (
        np.take_along_axis(spectra, order[place : place + 1], axis=0)[0]
        for place in places[combine]
    )
    return np.asarray((low + high) / 2, np.complex64)
