"""Is a quiet file also complete? Asked just before it is handed to a worker, without decoding it.

A copy may pause for longer than any settling time, and a share may report the full size from
the first second, and a recorder may count less than it has written. So more questions are asked:
does another program hold the file open for writing (Linux can tell), is anything missing of what
its container counts, and is anything left over that it does not count?
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine import why_not_whole

# What was found incomplete is not walked again at every look while it stays the same.
_MOST_REMEMBERED = 1000
_seen_incomplete: dict[tuple[object, ...], str] = {}


@dataclass(frozen=True)
class Unready:
    """Why a file waits. `lasting`: it may stay so for ever, and then it is the file's fault."""

    code: str
    reason: str
    lasting: bool


def why_unready(path: Path) -> Unready | None:
    """What speaks against starting on a file; nothing when it looks complete."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
            if _is_being_written(file):
                return Unready("busy", "another program has it open for writing", False)
            return _why_incomplete(path, os.fstat(file.fileno()))
    except FileNotFoundError:
        return Unready("gone", "it was taken away", False)
    except OSError as error:
        return Unready("unreadable", f"it cannot be read: {error.strerror}", False)


def _why_incomplete(path: Path, status: os.stat_result) -> Unready | None:
    if not stat.S_ISREG(status.st_mode):
        return None  # no file at all, which the worker will say
    if status.st_size == 0:
        return Unready("empty", "it is empty so far", True)
    key = (path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if key not in _seen_incomplete:
        reason = why_not_whole(path)
        if reason is None:
            return None
        if len(_seen_incomplete) >= _MOST_REMEMBERED:
            _seen_incomplete.clear()
        _seen_incomplete[key] = reason
    return Unready("incomplete", _seen_incomplete[key], True)


def _is_being_written(file: BinaryIO) -> bool:
    """True when Linux refuses a read lease, as it does while anyone may write to the file.

    On other systems and on network shares the answer is unknown, and taken as no.
    """
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        # Should a writer come in the microseconds that we hold the lease, Linux signals us.
        # The usual signal for it, SIGIO, would end the process; SIGURG is ignored by default.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
