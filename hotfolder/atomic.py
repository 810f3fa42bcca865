"""Files and folders that appear whole or not at all, and never on top of others."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

COPY_BYTES = 1 << 20


def write_whole(path: Path, text: str) -> None:
    """Write a small text file aside, sync it and rename it into place."""
    aside = _aside(path, "writing")
    try:
        with aside.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def move_new(source: Path, target: Path) -> None:
    """Move a file to a name that must be free: `FileExistsError` when it is not.

    A plain rename would silently replace. May be repeated after a crash in its middle.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if not _same_file(source, target):
            raise
    except OSError as error:
        if error.errno == errno.EXDEV:
            _copy_new(source, target)
        elif error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK):
            _rename_new(source, target)  # a file system without hard links
            return
        else:
            raise
    source.unlink()
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power cut, where the system can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _aside(path: Path, doing: str) -> Path:
    """A hidden name that nobody can foresee: a link that waits there would lead the write away."""
    return path.with_name(f".{path.name[:150]}.{doing}-{secrets.token_hex(6)}")


def _same_file(source: Path, target: Path) -> bool:
    first, second = os.lstat(source), os.lstat(target)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _rename_new(source: Path, target: Path) -> None:
    target.open("xb").close()  # reserves the name
    source.replace(target)
    sync_folder(target.parent)


def _copy_new(source: Path, target: Path) -> None:
    """Across file systems: copied under a hidden name, synced, then given its name."""
    aside = _aside(target, "moving")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(source, flags), "rb") as old, aside.open("xb") as new:
            shutil.copyfileobj(old, new, COPY_BYTES)
            new.flush()
            os.fsync(new.fileno())
        shutil.copystat(source, aside, follow_symlinks=False)
        _rename_new(aside, target)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
