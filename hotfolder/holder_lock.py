"""Who is alive: every daemon holds a locked file, which the system lets go of when it dies.

A lease that ran out says the same thing later and for every kind of silence; the lock says it at
once after a crash, and it holds across containers that share the state folder.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .filenames import safe_name

FRESH_S = 60  # a file this young may belong to a process that is about to lock it


def living_holders(state: Path) -> list[str]:
    """The names of all daemons of this state folder that are alive."""
    folder = state / "holders"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if not _is_free(folder / name)]


class HolderLock:
    """One process's name among the holders of leases, as long as it lives."""

    def __init__(self, state: Path, host: str) -> None:
        self._folder = state / "holders"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.owner = f"{safe_name(host)[:40]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._path = self._folder / self.owner
        self._file = self._path.open("w", encoding="utf-8")
        if not _lock(self._file):
            raise RuntimeError(f"{self._path}: a fresh name is locked already")

    def has_died(self, owner: str) -> bool:
        """True when the holder of this name is certainly gone; unknown names may be alive."""
        if owner == self.owner:
            return False
        return _is_free(self._folder / safe_name(owner))

    def sweep(self, needed: set[str]) -> None:
        """Remove the files of dead holders that no job names any more."""
        for path in self._folder.iterdir():
            fresh = time.time() - path.stat().st_mtime < FRESH_S
            if not fresh and path.name not in needed and self.has_died(path.name):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the name."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _is_free(path: Path) -> bool:
    try:
        with path.open("r+", encoding="utf-8") as file:
            return _lock(file)
    except OSError:
        return False


def _lock(file: IO[str]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def alone(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock of a file, which is made for it, as the only process; wait for others."""
    give_up_s = time.monotonic() + wait_s
    with path.open("a", encoding="utf-8") as file:
        while not _lock(file):
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"{path}: held by another process for {wait_s:g} s")
            time.sleep(0.02)
        yield
