"""One JSON line for every transition: time, event, job, file, and what else there is to say."""

from __future__ import annotations

import json
import logging
import sys
from typing import IO

from presets import printable

from .clock import iso_time
from .job import Job

logger = logging.getLogger("hotfolder")
LIBRARIES = ("py.warnings", "watchdog")
MAX_TEXT = 8000  # characters of one value


def log_event(
    event: str, job: Job | None = None, level: int = logging.INFO, **fields: object
) -> None:
    """Log one event; `job` adds its number, file, state and preset."""
    context: dict[str, object] = {}
    if job is not None:
        context = {
            "job": job.id,
            "file": printable(job.source),
            "state": str(job.state),
            "preset": job.preset,
        }
    logger.log(level, event, extra={"fields": context | fields})


class JsonLines(logging.Formatter):
    """Formats every record, also those of libraries, as one line of JSON in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, one line."""
        line: dict[str, object] = {
            "time": iso_time(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({name: _bounded(value) for name, value in line.items()}, default=str)


def _bounded(value: object) -> object:
    """A value of bearable length: what a library or a plug-in says may have none."""
    if not isinstance(value, str) or len(value) <= MAX_TEXT:
        return value
    half = MAX_TEXT // 2
    return f"{value[:half]} ... ({len(value)} characters) ... {value[-half:]}"


def log_to(stream: IO[str] = sys.stderr, level: int = logging.INFO) -> logging.Handler:
    """Send the hot folder's log to a stream; return the handler, for taking it away again."""
    handler = _Unbreakable(stream)
    handler.setFormatter(JsonLines())
    # what libraries warn of or complain about is a line of the log, too
    logging.captureWarnings(True)
    for source in (logger, *map(logging.getLogger, LIBRARIES)):
        source.addHandler(handler)
        source.propagate = False
    logger.setLevel(level)
    return handler


class _Unbreakable(logging.StreamHandler[IO[str]]):
    """A log that cannot be written (a full pipe, a full disk) is no reason to stop the work."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the base class names it
        """Say nothing: the stream that would be told is the one that failed."""
