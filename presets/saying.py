"""What the program says: sentences, facts and progress, none of which can fail a job.

A terminal may know fewer letters than a title has, a pipe may be closed by its reader, the disk
behind `> report.txt` may be full, a service may have no output at all. None of this is a reason to
leave a mix undone, so whatever cannot be said is left unsaid, and `speaking` tells so at the end.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from .printable import printable


def say(line: str) -> None:
    """Print one line of results; what is foreign in it is made printable."""
    _put(sys.stdout, printable(line))


def complain(line: str) -> None:
    """Print one line of what is wrong, or of how far the work is, where errors go."""
    _put(sys.stderr, printable(line))


def say_json(value: Any, indent: int | None = None) -> None:  # noqa: ANN401
    """Print a value as JSON in ASCII."""
    # JSON lets DEL stand as it is
    _put(sys.stdout, json.dumps(value, indent=indent).replace("\x7f", r"\u007f"))


def duration_text(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _put(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        stream.write(text + "\n")
        stream.flush()


class Outlet(io.TextIOBase):
    """A text stream that takes everything, whatever has become of its other end.

    Letters that its encoding lacks are written as `\\u266b`. After the first error nothing more
    is written; `lost` says why.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.lost: Exception | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has it as a variable
        """The stream's, so that others can tell what it may be given."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return self._stream is not None and self.lost is None and self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor, for child processes; raises OSError where there is none."""
        if self._stream is None:
            raise OSError("no such stream")
        return self._stream.fileno()

    def write(self, text: str, /) -> int:
        """Write, or remember why that was not possible."""
        if self._stream is not None and self.lost is None:
            try:
                self._stream.write(text)
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, or remember why that was not possible."""
        if self._stream is not None and self.lost is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        """Nothing more is written; what is still buffered must not fail at the very end either."""
        self.lost = error
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)


class PrintableLines(logging.Formatter):
    """Formats log records for people: control characters of foreign names are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Every line of ours is a line, and no line of others is."""
        return "\n".join(map(printable, super().format(record).split("\n")))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The message is one line; only a traceback has several."""
        return printable(super().formatMessage(record))


@contextlib.contextmanager
def speaking() -> Iterator[Outlet]:
    """Make stdout and stderr ones that cannot fail, and tell at the end if something was lost.

    Gives the outlet of the results. A reader that goes away before the end (`| head`) has what it
    wanted, so that is not worth a word.
    """
    _open_what_is_closed()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err = Outlet(before[0]), Outlet(before[1])
    try:
        yield out
    finally:
        out.flush()
        if is_loss(out):
            complain(f"stemwright: the results could not be printed: {out.lost}")
        err.flush()
        sys.stdout, sys.stderr = before


def is_loss(out: Outlet) -> bool:
    """Whether something was lost that somebody waits for."""
    return out.lost is not None and not isinstance(out.lost, BrokenPipeError)


def _open_what_is_closed() -> None:
    """Let no file of ours get the number of a standard stream that was closed (`>&-`).

    A library that prints would print into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
