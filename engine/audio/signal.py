"""What can be separated: a mix, or what an earlier separation has left on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .decoding import BLOCK_FRAMES
from .reading import MixBlock, MixReader, SourceInfo


class SignalReader(Protocol):
    """Reads a signal from its beginning to its end."""

    def read(self, frames: int, /) -> MixBlock:
        """The next frames; fewer only at the end, 0 behind it."""


class Signal(Protocol):
    """Audio with a length, a rate and loudspeakers, which can be read as often as needed."""

    @property
    def info(self) -> SourceInfo:
        """What it is."""

    def open(self) -> AbstractContextManager[SignalReader]:
        """A reader at the beginning."""


@dataclass(frozen=True)
class MixFile:
    """A mix as the user has given it."""

    path: Path
    info: SourceInfo

    def open(self) -> MixReader:
        """A reader at the beginning."""
        return MixReader(self.path)


def blocks_of(signal: Signal, frames: int = BLOCK_FRAMES) -> Iterator[MixBlock]:
    """All of a signal, in blocks."""
    with signal.open() as reader:
        while (block := reader.read(frames)).frames:
            yield block
