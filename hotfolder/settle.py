"""Settling: a file is quiet when two looks, some seconds apart, find it unchanged.

Time is the steady clock's, so that a jump of the calendar settles nothing. A file that changes
after it had been found quiet must be quiet for twice as long the next time: its writer pauses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .clock import Instant
from .inventory import Sighting

LONGEST_FACTOR = 16


@dataclass
class Quietness:
    """What is known of one waiting file."""

    identity: str
    since_s: float
    looks: int = 1
    factor: int = 1
    was_quiet: bool = False


@dataclass
class Changes:
    """What one inventory changed: files that are new or different, quiet ones, missing ones."""

    changed: list[Sighting] = field(default_factory=list)
    quiet: list[Sighting] = field(default_factory=list)
    gone: list[Path] = field(default_factory=list)


class SettleTracker:
    """Remembers every waiting file between two inventories."""

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._files: dict[Path, Quietness] = {}

    def look(self, files: Iterable[Sighting], now: Instant) -> Changes:
        """Compare an inventory with the one before."""
        result = Changes()
        missing = set(self._files)
        for file in files:
            missing.discard(file.path)
            self._look_at(file, now, result)
        for path in missing:
            del self._files[path]
        result.gone = sorted(missing)
        return result

    def quiet_for(self, path: Path, now: Instant) -> tuple[float, float] | None:
        """For how long a file has been unchanged and for how long it must be, in seconds."""
        known = self._files.get(path)
        if known is None:
            return None
        return now.steady_s - known.since_s, self.settle_s * known.factor

    def next_quiet_in(self, now: Instant) -> float | None:
        """Seconds until the next file may be found quiet; nothing when none is on its way."""
        waits = [
            known.since_s + self.settle_s * known.factor - now.steady_s
            for known in self._files.values()
            if not known.was_quiet
        ]
        return max(0.0, min(waits)) if waits else None

    def _look_at(self, file: Sighting, now: Instant, result: Changes) -> None:
        known = self._files.get(file.path)
        if known is None:
            self._files[file.path] = Quietness(file.identity, now.steady_s)
            result.changed.append(file)
        elif known.identity != file.identity:
            factor = min(known.factor * (2 if known.was_quiet else 1), LONGEST_FACTOR)
            self._files[file.path] = Quietness(file.identity, now.steady_s, factor=factor)
            result.changed.append(file)
        else:
            known.looks += 1
            if now.steady_s - known.since_s >= self.settle_s * known.factor:
                known.was_quiet = True
                result.quiet.append(file)
