"""A mix as a stream of spectrogram frames, and frames back to a stream of audio.

Both hold a few windows of audio, never the recording, so memory does not grow with length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .spectrogram import FramesMaker, Stft

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]
Item = TypeVar("Item")


class Block(Protocol):
    """Consecutive frames of audio as the reader gives them."""

    @property
    def audio(self) -> Float: ...


class Reader(Protocol):
    """What a frame stream needs of a mix reader."""

    def read(self, frames: int, /) -> Block: ...


def stream_frames(
    reader: Reader, stft: Stft, channels: int, samples: int, block: int
) -> Iterator[Complex]:
    """Yield the frames of `Stft.forward` in order, `block` at a time (fewer at the end).

    Shape of each: (channels, frames, bins). `samples` is the length of the mix.
    """
    total, done = stft.frames(samples), 0
    buffer = np.zeros((channels, stft.lead), np.float32)
    while done < total:
        frames = min(block, total - done)
        needed = (frames - 1) * stft.hop + stft.n_fft
        if (missing := needed - buffer.shape[1]) > 0:
            audio = reader.read(missing).audio
            silence = np.zeros((channels, missing - audio.shape[1]), np.float32)
            buffer = np.concatenate([buffer, audio, silence], axis=1)
        yield stft.analyse(buffer[:, :needed], frames)
        buffer = buffer[:, frames * stft.hop :]
        done += frames


def with_next(items: Iterator[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Each item with its successor, None behind the last."""
    current = next(items, None)
    while current is not None:
        following = next(items, None)
        yield current, following
        current = following


class Synthesis:
    """Overlap-add of successive frame blocks; gives each sample out once, when it is complete.

    Shape: frames (..., channels, frames, bins) in, audio (..., channels, n) out.
    """

    def __init__(self, stft: Stft, samples: int) -> None:
        self.stft, self.left = stft, samples
        self._skip = stft.lead
        self._tail: Float | None = None

    def add(self, spectrogram: Complex, *, last: bool) -> Float:
        """Add frames and return the audio they complete; all that is left with the last ones."""
        shape = spectrogram.shape
        flat = spectrogram.reshape(-1, *shape[-2:])
        audio = self.add_made(len(flat), shape[-2], lambda some: flat[:, some], last=last)
        return audio.reshape(*shape[:-2], -1)

    def add_made(self, channels: int, frames: int, make: FramesMaker, *, last: bool) -> Float:
        """The same of `frames` frames that `make` makes, some at a time; (channels, n)."""
        audio = self.stft.synthesise(channels, frames, make)
        if self._tail is not None:
            audio[:, : self._tail.shape[1]] += self._tail
        complete = audio.shape[1] if last else frames * self.stft.hop
        self._tail = audio[:, complete:].copy()
        return self._give(audio[:, :complete])

    def _give(self, audio: Float) -> Float:
        skipped = min(self._skip, audio.shape[1])
        self._skip -= skipped
        kept = audio[:, skipped : skipped + self.left]
        self.left -= kept.shape[1]
        return kept
