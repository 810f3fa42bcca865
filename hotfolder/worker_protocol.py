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

SPACE_FACTOR = 1.1  # for masks, manifests, headers and rounding to blocks
WORK_BYTES = 8


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


def space_needed_bytes(facts: dict[str, Any]) -> tuple[int, int]:
    """Bytes of the set, and of the workspace while it is made.

    The set is all stems, dry and wet, at the depth they are written in; the workspace holds the
    decoded mix and every separated stem in float64, and masks, which the factor covers.
    """
    samples = int(facts["frames"]) * int(facts["channels"])
    of_set = samples * int(facts["file_count"]) * int(facts["file_bytes"])
    of_work = samples * (int(facts["stem_count"]) + 1) * WORK_BYTES
    return int(of_set * SPACE_FACTOR), int(of_work * SPACE_FACTOR)


def shortage_for(facts: dict[str, Any], sets: Path, workspace: Path) -> str | None:
    """A sentence when a set or its workspace would not fit; disks that they share count both."""
    of_set, of_work = space_needed_bytes(facts)
    if sets.stat().st_dev == workspace.stat().st_dev:
        return space_shortage([sets], of_set + of_work)
    return space_shortage([sets], of_set) or space_shortage([workspace], of_work)


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
