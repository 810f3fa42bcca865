"""Atomic publish: a whole set becomes visible by one rename of its folder, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from presets import StemwrightError

_LONGEST_NAME = 150  # characters of the destination's name that the hidden name keeps

# What may go away by itself: full disks, busy files, shares that are gone for a while.
TRANSIENT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EBUSY, errno.EIO, errno.EAGAIN, errno.ETXTBSY),
    *(errno.ESTALE, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT),
}


_published: list[Path] = []


def published_here() -> tuple[Path, ...]:
    """What this process has published, for those who have to say so when it fails later."""
    return tuple(_published)


def forget_published() -> None:
    """Begin a run anew: what was published before it is none of its own."""
    _published.clear()


@contextlib.contextmanager
def publishing(
    destination: Path, token: str | None = None, guard: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """Give a hidden folder beside `destination` to write into; rename it at the end.

    The hidden folder is on the destination's file system, so the rename cannot become a copy.
    When anything fails it is removed. An existing destination is never touched. `guard` is asked
    before the first write and again right before the rename: it raises when this is not the place
    any more that the set belongs to.
    """
    partial = partial_path(destination, token or secrets.token_hex(4))
    try:
        guard()
        if destination.exists():
            raise StemwrightError(
                "destination-exists",
                f"{destination} exists already. Choose another output folder, or move it away.",
            )
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        sync_tree(partial)
        guard()
        if destination.exists():
            raise StemwrightError(
                "destination-exists", f"{destination} appeared while this set was being made."
            )
        partial.rename(destination)
        _published.append(destination)
        sync(destination.parent)
    except OSError as error:
        raise _disk_error(destination, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def partial_path(destination: Path, token: str) -> Path:
    """The hidden name under which a set is written."""
    return destination.parent / f".{destination.name[:_LONGEST_NAME]}.partial-{token}"


def sync_tree(folder: Path) -> None:
    """Bring every file and folder below `folder` to the disk, folders after their content."""
    for path, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(path, name))
        sync(Path(path))


def sync(path: Path) -> None:
    """fsync one file or folder, the latter where the system can do that."""
    is_folder = path.is_dir()
    if sys.platform == "win32" and is_folder:  # Windows opens no folders
        return
    # and brings nothing to the disk that is not open for writing
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not is_folder or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _disk_error(destination: Path, error: OSError) -> StemwrightError:
    code = "disk-full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "output-unwritable"
    return StemwrightError(
        code,
        f"{error.filename or destination}: cannot write: {error.strerror}. Free space, change "
        "its permissions, or choose another output folder.",
        transient=error.errno in TRANSIENT,
    )
