"""Reads a file that this program has just written: in this process, and otherwise as any other.

A decoder in a process of its own guards against foreign files. Starting one costs 0.1 s of
processor, and a set of six stems would pay it a dozen times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
        bits = self.info.bits
        if self.info.encoding != "pcm":
            return MixBlock(self._read(frames, "float64"), bits)
        if bits <= 16:  # a plain copy for libsndfile
            return MixBlock(self._read(frames, "int16").astype(np.int32) >> (16 - bits), bits)
        return MixBlock(self._read(frames, "int32") >> (32 - bits), bits)

    def _read(self, frames: int, dtype: str) -> npt.NDArray[Any]:
        return np.ascontiguousarray(self._file.read(frames, dtype, always_2d=True).T)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
