"""Is there room for a set and for the work on it?"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from .facts import WorkFacts

SPACE_FACTOR = 1.1  # for masks, manifests, headers and rounding to blocks
WORK_BYTES = 8


def space_needed_bytes(work: WorkFacts) -> tuple[int, int]:
    """Bytes of the set, and of the workspace while it is made.

    The set is all stems, dry and wet, at the depth they are written in; the workspace holds the
    decoded mix and every separated stem in float64, and masks, which the factor covers.
    """
    samples = work.frames * work.channels
    of_set = samples * work.file_count * work.file_bytes
    of_work = samples * (work.stem_count + 1) * WORK_BYTES
    return int(of_set * SPACE_FACTOR), int(of_work * SPACE_FACTOR)


def shortage_for(work: WorkFacts, sets: Path, workspace: Path) -> str | None:
    """A sentence when a set or its workspace would not fit; disks that they share count both."""
    of_set, of_work = space_needed_bytes(work)
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
