"""Reads a file that this program has just written: in this process, and otherwise as any other.

A decoder in a process of its own guards against foreign files. Starting one costs 0.1 s of
processor, and a set of six stems would pay it a dozen times.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .closing import Closing
from .containers import inspect
from .decoding import DecoderHeader
from .reading import MixBlock, source_info
from .writing import sound_path


class WrittenReader(Closing):
    """A reader from beginning to end, in the blocks of `MixReader` to the bit."""

    def __init__(self, path: Path) -> None:
        import soundfile

        from .decoder_process import header_of

        self._file = soundfile.SoundFile(sound_path(path))
        self.info = source_info(path, inspect(path), DecoderHeader(**header_of([self._file])))

    def read(self, frames: int) -> MixBlock:
        """The next frames, fewer than asked for only at the end, 0 behind it."""
        is_pcm, bits = self.info.encoding == "pcm", self.info.bits
        dtype = "int32" if is_pcm else "float64"
        exact = np.ascontiguousarray(self._file.read(frames, dtype, always_2d=True).T)
        return MixBlock(np.right_shift(exact, 32 - bits) if is_pcm else exact, bits)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
