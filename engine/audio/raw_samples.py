"""Raw samples on disk, interleaved as they came, read again as a signal without any decoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .closing import Closing
from .reading import MixBlock, SourceInfo

SampleType = type[np.int32] | type[np.float32] | type[np.float64]


@dataclass(frozen=True)
class RawSignal:
    """Samples of one type in a file that holds nothing else; `info` says what they are of."""

    path: Path
    info: SourceInfo
    dtype: SampleType

    def open(self) -> RawReader:
        """A reader at the beginning."""
        return RawReader(self)


class RawReader(Closing):
    """A reader of raw samples, from the beginning to the end."""

    def __init__(self, signal: RawSignal) -> None:
        self.info, self._dtype = signal.info, np.dtype(signal.dtype)
        self._file = signal.path.open("rb")

    def read(self, frames: int, /) -> MixBlock:
        """The next frames, fewer only at the end, 0 behind it."""
        channels = self.info.channels
        data = self._file.read(frames * channels * self._dtype.itemsize)
        exact = np.frombuffer(data, self._dtype).reshape(-1, channels).T
        if self._dtype == np.float32:
            exact = exact.astype(np.float64)
        return MixBlock(exact, self.info.bits)

    def close(self) -> None:
        """Close the file and leave it where it is."""
        self._file.close()
