"""Is a quiet file also complete? Asked just before it is handed to a worker, without decoding it.

A copy may pause for longer than any settling time, and a share may report the full size from
the first second. So two more questions are asked: does another program hold the file open for
writing (Linux can tell), and does the header promise more than is there?
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_UNKNOWN_SIZE = (0, 0xFFFFFFFF)  # what a recorder writes before it knows better
_SLACK_BYTES = 9  # some writers count their own header, or a padding byte that is not there


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
            return _why_incomplete(file)
    except FileNotFoundError:
        return Unready("gone", "it was taken away", False)
    except OSError as error:
        return Unready("unreadable", f"it cannot be read: {error.strerror}", False)


def _why_incomplete(file: BinaryIO) -> Unready | None:
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        return Unready("empty", "it is empty so far", True)
    promised = _promised_bytes(file)
    if promised > size + _SLACK_BYTES:
        sentence = f"its header promises {promised} bytes, {size} are there"
        return Unready("incomplete", sentence, True)
    return None


def _promised_bytes(file: BinaryIO) -> int:
    """The whole file's length according to its first bytes, 0 when they do not say."""
    head = file.read(40)
    kind, form = head[:4], head[8:12]
    if kind == b"RIFF" and form == b"WAVE" and len(head) >= 8:
        return _unless_unknown(struct.unpack_from("<I", head, 4)[0])
    if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _unless_unknown(struct.unpack_from(">I", head, 4)[0])
    if kind in (b"RF64", b"BW64") and head[12:16] == b"ds64" and len(head) >= 28:
        return _unless_unknown(struct.unpack_from("<Q", head, 20)[0])
    if kind == b"riff" and len(head) >= 24:  # W64: a 16-byte identifier, then the whole length
        return int(struct.unpack_from("<Q", head, 16)[0])
    return 0


def _unless_unknown(chunk: int) -> int:
    return 0 if chunk in _UNKNOWN_SIZE else chunk + 8


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
