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
class Watch:
    """What is known of one waiting file."""

    identity: str
    since_s: float
    looks: int = 1
    factor: int = 1
    was_quiet: bool = False


@dataclass
class Look:
    """What one inventory changed: files that are new or different, quiet ones, missing ones."""

    changed: list[Sighting] = field(default_factory=list)
    quiet: list[Sighting] = field(default_factory=list)
    gone: list[Path] = field(default_factory=list)


class SettleTracker:
    """Remembers every waiting file between two inventories."""

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self._watches: dict[Path, Watch] = {}

    def look(self, files: Iterable[Sighting], now: Instant) -> Look:
        """Compares an inventory with the one before."""
        result = Look()
        missing = set(self._watches)
        for file in files:
            missing.discard(file.path)
            self._look_at(file, now, result)
        for path in missing:
            del self._watches[path]
        result.gone = sorted(missing)
        return result

    def quiet_for(self, path: Path, now: Instant) -> tuple[float, float] | None:
        """For how long a file has been unchanged and for how long it must be, in seconds."""
        watch = self._watches.get(path)
        if watch is None:
            return None
        return now.steady_s - watch.since_s, self.settle_s * watch.factor

    def next_quiet_in(self, now: Instant) -> float | None:
        """Seconds until the next file may be found quiet; nothing when none is on its way."""
        waits = [
            watch.since_s + self.settle_s * watch.factor - now.steady_s
            for watch in self._watches.values()
            if not watch.was_quiet
        ]
        return max(0.0, min(waits)) if waits else None

    def _look_at(self, file: Sighting, now: Instant, result: Look) -> None:
        watch = self._watches.get(file.path)
        if watch is None:
            self._watches[file.path] = Watch(file.identity, now.steady_s)
            result.changed.append(file)
        elif watch.identity != file.identity:
            factor = min(watch.factor * (2 if watch.was_quiet else 1), LONGEST_FACTOR)
            self._watches[file.path] = Watch(file.identity, now.steady_s, factor=factor)
            result.changed.append(file)
        else:
            watch.looks += 1
            if now.steady_s - watch.since_s >= self.settle_s * watch.factor:
                watch.was_quiet = True
                result.quiet.append(file)
