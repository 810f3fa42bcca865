"""Keeps separated stems on disk, as raw floats, until the whole set can be written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from presets import StemwrightError

from .closing import Closing
from .writing import telling_disk_errors

Stems = Mapping[str, npt.NDArray[np.floating]]  # one block of every stem, (channels, n) each
Sink = Callable[[Stems], None]


def scratch_file(folder: Path, stem: str) -> Path:
    """Where the scratch in a folder keeps one stem: its frames one after the other."""
    return folder / f"{stem}.raw"


class StemScratch(Closing):
    """One raw file per stem in a folder; opening the same folder again goes on where it ended.

    Whether a set overflows is known only at its end, so nothing can be written for good before.
    """

    def __init__(
        self,
        folder: Path,
        stems: Sequence[str],
        channels: int,
        dtype: type[np.float32 | np.float64] = np.float32,
    ) -> None:
        self.folder, self.stems, self.channels = folder, tuple(stems), channels
        self._dtype: np.dtype[np.floating] = np.dtype(dtype)
        self._width = self._dtype.itemsize * channels
        with telling_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._files = {stem: self.path_of(stem).open("ab") for stem in self.stems}
        self.truncate(self.frames)

    @property
    def frames(self) -> int:
        """Frames that every stem has."""
        self.flush()
        return min(
            (self.path_of(stem).stat().st_size // self._width for stem in self.stems), default=0
        )

    def append(self, stems: Stems) -> None:
        """The next frames of all stems, float32 `(channels, n)` each."""
        if set(stems) != set(self.stems) or len({audio.shape for audio in stems.values()}) > 1:
            raise ValueError(f"expected equally long blocks of {self.stems}")
        with telling_disk_errors(self.folder):
            for stem, audio in stems.items():
                if audio.shape[0] != self.channels:
                    raise ValueError(f"{stem}: expected {self.channels} channels")
                if not np.isfinite(audio).all():
                    raise StemwrightError(
                        "stem-not-finite",
                        f"{stem}: the separation gave NaN or infinity. Is its prior damaged?",
                    )
                self._files[stem].write(np.ascontiguousarray(audio.T, self._dtype).tobytes())

    def truncate(self, frames: int) -> None:
        """Forget everything behind that frame: back to a checkpoint."""
        self.flush()
        for stem in self.stems:
            os.truncate(self.path_of(stem), frames * self._width)

    def flush(self) -> None:
        """Give everything to the operating system."""
        with telling_disk_errors(self.folder):
            for file in self._files.values():
                file.flush()

    def blocks(self, frames: int) -> Iterator[dict[str, npt.NDArray[np.floating]]]:
        """All stems from the beginning in blocks `(channels, frames)`."""
        self.flush()
        left = self.frames
        files = {stem: self.path_of(stem).open("rb") for stem in self.stems}
        try:
            while left > 0:
                count = min(frames, left)
                yield {
                    stem: np.frombuffer(file.read(count * self._width), self._dtype)
                    .reshape(count, self.channels)
                    .T
                    for stem, file in files.items()
                }
                left -= count
        finally:
            for file in files.values():
                file.close()

    def close(self) -> None:
        """Close the files and leave them where they are."""
        for file in self._files.values():
            file.close()

    def path_of(self, stem: str) -> Path:
        """The file of one stem."""
        return scratch_file(self.folder, stem)
