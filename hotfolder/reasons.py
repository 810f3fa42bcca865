"""Why a file lies in `failed`: the text beside it, for a person and for the next journal."""

from __future__ import annotations

import json
import os
from pathlib import Path

from presets import printable

from .clock import iso_time
from .filenames import MAX_NAME_BYTES, shortened
from .job import Job, Transition

REASON_SUFFIX = ".reason.json"


def reason_path(filed: Path) -> Path:
    """`<name>.reason.json` beside a quarantined file."""
    name = filed.name
    if len(os.fsencode(name)) > MAX_NAME_BYTES + 60:
        name = shortened(name, MAX_NAME_BYTES)
    return filed.with_name(name + REASON_SUFFIX)


def reason_text(job: Job, history: list[Transition]) -> str:
    """Code, sentence, attempts, what happened, and how to try again."""
    reason = {
        "file": printable(job.source),
        "source": os.fsencode(job.source).hex(),
        "code": job.code,
        "reason": job.reason,
        "preset": job.preset,
        "sha256": job.sha256,
        "attempts": job.attempts,
        "worker_kills": job.kills,
        "job": job.id,
        "retry": f"stemwright retry '{printable(job.filed or job.id)}', or put it into the inbox",
        "history": [{**entry, "at": iso_time(entry["at"])} for entry in history],
    }
    return json.dumps(reason, indent=2) + "\n"
