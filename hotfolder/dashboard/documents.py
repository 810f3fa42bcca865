"""What the dashboard's page is sent: JSON objects, times in ISO 8601, durations in seconds."""

from __future__ import annotations

from typing import TypedDict

from ..health import HealthDocument
from ..job import DayCount


class Disk(TypedDict):
    """In bytes."""

    free: int
    total: int


class Overview(TypedDict):
    """The hot folder at a glance; `counts` by the page's groups, `disks` by folder."""

    root: str
    health: HealthDocument
    paused: str | None
    counts: dict[str, int]
    disks: dict[str, Disk]
    days: list[DayCount]
    presets: list[str]


class JobRow(TypedDict):
    """One job in the table; `progress` from 0 to 1, `can` are its buttons."""

    id: str
    file: str
    preset: str
    state: str
    why: str
    progress: float | None
    segment: int
    segments: int
    attempts: int
    arrived: str
    changed: str
    since_s: float | None
    can: list[str]


class JobPage(TypedDict):
    """Some of a group's jobs."""

    page: int
    rows: list[JobRow]


class Step(TypedDict):
    """One transition of a job."""

    at: str
    state: str
    detail: str | None


class StemFileRow(TypedDict):
    """One file of a set, in the manifest's order."""

    stem: str
    kind: str
    lufs: float | None


class SetSummary(TypedDict):
    """Of a set as a whole; a null of None is exact."""

    null_dbfs: float | None
    seconds: float


class JobDetail(JobRow):
    """One job with its history and, when it is done, its set, which may have a `page`."""

    history: list[Step]
    files: list[StemFileRow]
    facts: SetSummary | None
    page: bool
