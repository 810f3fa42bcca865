"""Now, told twice: by the calendar, which may jump, and by a clock that only goes forward."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Instant:
    """`wall_s` since 1970 for people and for restarts; `steady_s` for settling and leases."""

    wall_s: float
    steady_s: float

    @staticmethod
    def now() -> Instant:
        """Read both clocks."""
        return Instant(time.time(), time.monotonic())

    def later(self, seconds: float) -> Instant:
        """The instant so many seconds from here."""
        return Instant(self.wall_s + seconds, self.steady_s + seconds)


def iso_time(wall_s: float) -> str:
    """`2026-11-21T02:30:00.123Z`, the form of every log line, manifest and reason."""
    moment = datetime.fromtimestamp(wall_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def date_folder(wall_s: float) -> str:
    """`2026-11-21`, by the local calendar: the folder name that an engineer looks for."""
    return datetime.fromtimestamp(wall_s).astimezone().strftime("%Y-%m-%d")
