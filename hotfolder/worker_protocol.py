"""What a worker is told, and what its work will need."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .engine_protocol import options_to_send
from .job import Job
from .settings import HotFolderSettings

SPACE_FACTOR = 1.2  # for manifests, headers and rounding to blocks
SAMPLE_BYTES = 4


def work_request(
    job: Job, mix: Path, workspace: Path, settings: HotFolderSettings, backend: str
) -> dict[str, Any]:
    """The first message to a worker process; see `worker_process`."""
    return {
        "word": "work",
        "backend": backend,
        "mix": str(mix),
        "preset": job.preset,
        "workspace": str(workspace),
        "plugin_folders": settings.plugin_folders,
        "options": options_to_send(settings.worker),
    }


def space_needed_bytes(facts: dict[str, Any]) -> int:
    """Bytes for all stems, dry and wet, and for the checkpoint of the dry ones, at 32 bits."""
    one_file = int(facts["frames"]) * int(facts["channels"]) * SAMPLE_BYTES
    return int(one_file * int(facts["file_count"]) * 2 * SPACE_FACTOR)


def space_shortage(folders: Iterable[Path], needed: int) -> str | None:
    """A sentence when a disk has less than needed; nothing when all have room."""
    for folder in folders:
        free = shutil.disk_usage(folder).free
        if free < needed:
            return f"{folder}: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
    return None


def over_high_water(folders: Iterable[Path], high_water_percent: float) -> str | None:
    """A sentence when a disk is fuller than the mark; nothing when all are below it."""
    for folder in folders:
        usage = shutil.disk_usage(folder)
        # as df counts: what is kept back for the system is neither used nor free
        used_percent = 100 * usage.used / max(usage.used + usage.free, 1)
        if used_percent > high_water_percent:
            mark = f"the mark is {high_water_percent:g} %"
            return f"{folder}: the disk is {used_percent:.0f} % full, {mark}"
    return None


def facts_text(facts: dict[str, Any]) -> str:
    """Facts as the journal keeps them."""
    return json.dumps(facts, sort_keys=True)
