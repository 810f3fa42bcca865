"""What can be separated: a mix, or what an earlier separation has left on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .blocks import BLOCK_FRAMES
from .reading import MixBlock, MixReader, SourceInfo
from .tags import FileTags, read_tags


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


def blocks_of(signal: Signal, frames: int = BLOCK_FRAMES) -> Iterator[MixBlock]:
    """All of a signal, in blocks."""
    with signal.open() as reader:
        while (block := reader.read(frames)).frames:
            yield block
