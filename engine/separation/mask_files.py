"""The checkpoints of a search: the masks of every batch of segments, a file each."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def batch_path(workspace: Path, first: int) -> Path:
    """Where the batch that begins with segment `first` lies."""
    return workspace / f"masks-{first:06d}.npz"


@dataclass(frozen=True)
class MaskBatch:
    """The masks of some segments, (stems, groups, segments, WINDOW, bands), how many windows of
    their groups were searched (silent ones are not), and how that went."""

    masks: Float
    windows: int
    first_loss: float
    last_loss: float
    steps: int

    def save(self, path: Path) -> None:
        """Write aside and rename: a killed run leaves no half batch."""
        aside = path.with_suffix(".part.npz")
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:
            np.savez(
                file,
                masks=self.masks.astype(np.float16),
                windows=np.array(self.windows),
                losses=np.array([self.first_loss, self.last_loss]),
                steps=np.array(self.steps),
            )
        aside.replace(path)

    @classmethod
    def kept(cls, path: Path, shape: tuple[int, ...]) -> MaskBatch | None:
        """A checkpoint of masks of that shape; nothing when there is none, or none of ours.

        It lay on a disk that others may write to, or that was full: what is not a batch of this
        very search is searched anew.
        """
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None
            batch = cls.load(path)
        except (OSError, ValueError, TypeError, LookupError, EOFError, MemoryError, BadZipFile):
            return None
        sound = batch.masks.shape == shape and bool(np.all(batch.masks >= 0))
        return batch if sound and np.all(np.isfinite(batch.masks)) else None

    @classmethod
    def load(cls, path: Path) -> MaskBatch:
        """Read what `save` wrote."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            first, last = kept["losses"]
            masks = kept["masks"].astype(np.float32)
            windows, steps = int(kept["windows"]), int(kept["steps"])
            return cls(masks, windows, float(first), float(last), steps)


@dataclass
class SearchReport:
    """How the search went over the whole mix: divergence before and after and the steps that
    were taken, means over the windows that were searched."""

    windows: int = 0
    first_loss: float = 0.0
    last_loss: float = 0.0
    steps: float = 0.0

    @property
    def divergence(self) -> dict[str, float]:
        """How far it fell, for the manifest."""
        return {"before": self.first_loss, "after": self.last_loss}

    def add(self, batch: MaskBatch) -> None:
        """Take a batch into the means."""
        self.windows += batch.windows
        share = batch.windows / max(self.windows, 1)
        self.first_loss += share * (batch.first_loss - self.first_loss)
        self.last_loss += share * (batch.last_loss - self.last_loss)
        self.steps += share * (batch.steps - self.steps)
