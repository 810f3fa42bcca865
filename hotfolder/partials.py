"""Half-written sets and the workplaces of attempts: their names, and what is nobody's any more."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path

from .published import MANIFEST

PARTIAL = re.compile(r"\..*\.partial-(?P<job>[0-9A-Za-z]+)")
ATTEMPT = "x"  # between a job's number, which is hexadecimal, and the attempt's
ABANDONED_S = 600.0


def sweep_partials(folder: Path, in_work: set[str], known: set[str]) -> list[Path]:
    """Remove half-written sets that no job is writing; return them.

    Those of jobs that this journal does not know may belong to another machine: they go only
    when nothing in them has changed for ten minutes.
    """
    swept = []
    for parent, names, files in os.walk(folder):
        for name in [name for name in names if name.startswith(".")]:
            names.remove(name)
            match = PARTIAL.fullmatch(name)
            partial = Path(parent) / name
            job = _job_of_attempt(match["job"]) if match else None
            if job is None or job in in_work:
                continue
            if job in known or _is_abandoned(partial):
                shutil.rmtree(partial, ignore_errors=True)
                swept.append(partial)
        if MANIFEST in files:  # a set holds no others
            names.clear()
    return swept


def sweep_attempts(folder: Path, in_work: set[str]) -> list[Path]:
    """Remove workplaces of attempts (see `attempt_of`) whose worker died; return them."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    swept = [
        folder / name for name in names if ATTEMPT in name and _job_of_attempt(name) not in in_work
    ]
    for path in swept:
        shutil.rmtree(path, ignore_errors=True)
    return swept


def attempt_of(job_id: str) -> str:
    """A name for one attempt at a job, for when two workers may be at the same job at once."""
    return f"{job_id}{ATTEMPT}{secrets.token_hex(4)}"


def _job_of_attempt(token: str) -> str:
    return token.partition(ATTEMPT)[0]


def _is_abandoned(partial: Path) -> bool:
    newest = 0.0
    for parent, _, files in os.walk(partial):
        for path in (Path(parent), *(Path(parent) / name for name in files)):
            with contextlib.suppress(OSError):
                newest = max(newest, path.stat().st_mtime)
    return time.time() - newest > ABANDONED_S
