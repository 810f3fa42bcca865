"""What can be separated: a mix in a file or in memory, or anything else that is read like one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .blocks import BLOCK_FRAMES
from .closing import Closing
from .reading import MixBlock, MixReader, SourceInfo
from .tags import FileTags, read_tags

_ARRAY_BITS = 64


class SignalReader(Protocol):
    """A reader of a signal, from its beginning to its end."""

    def read(self, frames: int, /) -> MixBlock:
        """The next frames; fewer only at the end, 0 behind it."""


class Signal(Protocol):
    """Audio with a length, a rate and loudspeakers, which can be read as often as needed."""

    @property
    def info(self) -> SourceInfo:
        """What it is."""

    def open(self) -> AbstractContextManager[SignalReader]:
        """A reader at the beginning."""


class TaggedSignal(Signal, Protocol):
    """A signal that stems are written of, with all that its file says of itself."""

    @property
    def tags(self) -> FileTags:
        """What the stems carry on."""


@dataclass(frozen=True)
class MixFile:
    """A mix as the user has given it."""

    path: Path
    info: SourceInfo

    @cached_property
    def tags(self) -> FileTags:
        """All that the file says of itself."""
        return read_tags(self.path)

    def open(self) -> MixReader:
        """A reader at the beginning."""
        return MixReader(self.path)


@dataclass(frozen=True)
class ArraySignal:
    """Audio in memory as a signal: (channels, samples), floats with full scale 1.0."""

    audio: npt.NDArray[np.floating]
    sample_rate: int

    @property
    def info(self) -> SourceInfo:
        """What it is, as a file of it would be described."""
        channels, frames = self.audio.shape
        return SourceInfo(
            Path("array"), "array", "float", _ARRAY_BITS, channels, self.sample_rate, frames
        )

    def open(self) -> ArrayReader:
        """A reader at the beginning."""
        return ArrayReader(self.audio)


class ArrayReader(Closing):
    """A reader of an array, from its beginning to its end."""

    def __init__(self, audio: npt.NDArray[np.floating]) -> None:
        self._audio, self._position = audio, 0

    def read(self, frames: int, /) -> MixBlock:
        """The next frames, fewer only at the end, 0 behind it."""
        part = self._audio[:, self._position : self._position + frames]
        self._position += part.shape[1]
        return MixBlock(part.astype(np.float64, copy=False), _ARRAY_BITS)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class FrameBlock:
    """Consecutive frames (channels, n)."""

    audio: npt.NDArray[np.float32]


class PieceReader:
    """Pieces of any length, read as many frames at a time as the reader wants."""

    def __init__(self, pieces: Iterator[npt.NDArray[np.float32]], channels: int) -> None:
        self._pieces, self._held = pieces, [np.zeros((channels, 0), np.float32)]

    def read(self, frames: int, /) -> FrameBlock:
        """The next frames; fewer at the end."""
        while sum(piece.shape[1] for piece in self._held) < frames:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held.append(piece)
        joined = np.concatenate(self._held, axis=1)
        self._held = [joined[:, frames:]]
        return FrameBlock(joined[:, :frames])


class Overheard:
    """A reader that keeps what is read through it until it is asked for `again`; the two may
    happen on different threads."""

    def __init__(self, reader: SignalReader) -> None:
        self._reader = reader
        self._kept: deque[npt.NDArray[np.float32]] = deque()

    def read(self, frames: int, /) -> FrameBlock:
        """The next frames; fewer at the end."""
        audio = self._reader.read(frames).audio
        self._kept.append(audio)
        return FrameBlock(audio)

    def again(self, frames: int) -> npt.NDArray[np.float32]:
        """A copy of the next frames (channels, n) of those that have been read."""
        pieces = []
        while frames > 0:
            piece = self._kept.popleft()
            if piece.shape[1] > frames:
                self._kept.appendleft(piece[:, frames:])
            pieces.append(piece[:, :frames])
            frames -= pieces[-1].shape[1]
        return np.concatenate(pieces, axis=1)


def blocks_of(signal: Signal, frames: int = BLOCK_FRAMES) -> Iterator[MixBlock]:
    """All of a signal, in blocks."""
    with signal.open() as reader:
        while (block := reader.read(frames)).frames:
            yield block
