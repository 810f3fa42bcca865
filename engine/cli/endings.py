"""How a verb ends when something is wrong: what is told, and the exit code.

0 done, 1 something the user can mend (one sentence says what), 130 interrupted, 3 a bug of ours
(a log is written). Usage errors (2) are click's own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from presets import StemwrightError, complain, placed_at

from ..stems.publish import TRANSIENT, published_here
from ..version import ENGINE_VERSION

MENDABLE, BUG, INTERRUPTED = 1, 3, 130


def tell_ending(error: BaseException, file: Path | None = None) -> int:
    """Complain of what ended a verb, or the work on one `file` of several; the exit code."""
    (first, *further), code = _ending(error)
    if file is not None and isinstance(error, StemwrightError):
        first = placed_at(file, first)
    complain(f"stemwright: {first}")
    for line in further:
        complain(line)
    return code


@contextlib.contextmanager
def one_of_many(file: Path) -> Iterator[list[int]]:
    """Tell what is wrong with one of several files, so that it stops none of the others.

    Gives a list that holds the exit code afterwards, when there was something.
    """
    codes: list[int] = []
    try:
        yield codes
    except Exception as error:
        codes.append(tell_ending(error, file))


def _ending(error: BaseException) -> tuple[tuple[str, ...], int]:
    if isinstance(error, StemwrightError):
        return error.lines, MENDABLE
    if isinstance(error, KeyboardInterrupt):
        return ("interrupted",), INTERRUPTED
    if isinstance(error, MemoryError):
        return ("there is not enough memory for this." + _published(),), MENDABLE
    if isinstance(error, OSError) and (error.filename is not None or error.errno in TRANSIENT):
        logging.getLogger(__name__).info("in full:", exc_info=error)
        return (_of_the_disk(error) + _published(),), MENDABLE
    log = _bug_report(error)
    known = _published() or " No set is left half-published."  # workers may have whole ones
    sentence = f"a bug of ours: {type(error).__name__}: {error}.{known} Please report it"
    return (f"{sentence} with {log}." if log else f"{sentence}.",), BUG


def _published() -> str:
    """What is known about sets of this run."""
    if done := published_here():
        return f" Published before it, and whole: {', '.join(map(str, done))}."
    return ""


def _of_the_disk(error: OSError) -> str:
    """What the system says of a file or folder: one that is not there, or not ours to change."""
    if error.filename is None:
        return f"{error.strerror}."
    return (
        f"{os.fsdecode(error.filename)}: {error.strerror}. Does its folder exist, and may "
        "you read and write there?"
    )


def _bug_report(error: BaseException) -> Path | None:
    """Leave the traceback where it can be pasted from; nothing where no file can be written."""
    trace = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="stemwright-", suffix=".log", delete=False, encoding="utf-8",
            errors="backslashreplace",
        ) as file:  # fmt: skip
            file.write(f"stemwright {ENGINE_VERSION}\n{sys.argv!r}\n{trace}")
    except OSError:
        for line in trace.splitlines():
            complain(line)
        return None
    return Path(file.name)
