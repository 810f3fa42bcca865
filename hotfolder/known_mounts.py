"""Disks and shares that are mounted below the outbox: one that drops away is not written past.

The hot folder's own folders carry markers, but a label's share may be mounted on a folder further
down, where an empty mount point looks like any other folder. So whatever was a mount point when a
set went below it must be one ever after, by a list in the state folder: mounts are this machine's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from presets import printable

from .atomic import write_whole

MOUNTS = "mounts.json"  # in the state folder


class KnownMounts:
    """Remembers the mount points below a folder that were seen to be some."""

    def __init__(self, memory: Path, folder: Path) -> None:
        self._memory, self._folder = memory, folder
        self._known = _read(memory)

    def above(self, place: Path) -> tuple[str, ...]:
        """The mount points between the folder and a place below it; new ones are remembered."""
        between = [path for path in place.parents if self._folder in path.parents]
        seen = {str(path) for path in between if os.path.ismount(path)}
        if new := seen - self._known:
            self._known |= new
            write_whole(self._memory, json.dumps(sorted(self._known), indent=2) + "\n")
        return tuple(str(path) for path in between if str(path) in self._known)

    def forget(self) -> None:
        """Begin anew, after somebody has looked."""
        self._known.clear()
        self._memory.unlink(missing_ok=True)


def why_not_mounted(folder: Path) -> str | None:
    """A sentence when a folder that was a mount point is none now."""
    if os.path.ismount(folder):
        return None
    return (
        f"{printable(folder)}: a disk or share was mounted here and is not any more. Mount it "
        "again; if sets are to lie in the folder itself from now on, start once with --adopt."
    )


def _read(memory: Path) -> set[str]:
    try:
        return set(map(str, json.loads(memory.read_text(encoding="ascii"))))
    except (OSError, ValueError, TypeError):
        return set()
