"""One JSON line for every transition: time, event, job, file, and what else there is to say."""

from __future__ import annotations

import json
import logging
import sys
from typing import IO

from .clock import iso_time
from .filenames import shown
from .job import Job

logger = logging.getLogger("hotfolder")


def log_event(
    event: str, job: Job | None = None, level: int = logging.INFO, **fields: object
) -> None:
    """Logs one event; `job` adds its number, file, state and preset."""
    context: dict[str, object] = {}
    if job is not None:
        context = {
            "job": job.id,
            "file": shown(job.source),
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
        return json.dumps(line, default=str)


def log_to(stream: IO[str] = sys.stderr, level: int = logging.INFO) -> logging.Handler:
    """Sends the hot folder's log to a stream; returns the handler, for taking it away again."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    return handler
