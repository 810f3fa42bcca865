"""One file to do, as the journal remembers it, and the states that it goes through."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypedDict


class State(StrEnum):
    """Where a job stands. Every transition may happen twice without harm."""

    SEEN = "seen"
    SETTLED = "settled"
    CLAIMED = "claimed"
    DECODED = "decoded"
    SEARCHING = "searching"
    PROCESSING = "processing"
    PUBLISHING = "publishing"
    DONE = "done"
    RETRY_AT = "retry-at"
    QUARANTINED = "quarantined"


WAITING = (State.SEEN, State.SETTLED)
RUNNING = (
    State.CLAIMED,
    State.DECODED,
    State.SEARCHING,
    State.PROCESSING,
    State.PUBLISHING,
)
FINAL = (State.DONE, State.QUARANTINED)


@dataclass(frozen=True)
class Job:
    """A row of the journal.

    `source` is where the file arrived: relative to the inbox, or the absolute path of a
    catalogue's row. `filed` is where the original was put when the job ended.
    """

    id: str
    source: Path
    identity: str
    size: int
    preset: str
    state: State
    segment: int
    segments: int
    attempts: int
    kills: int
    faults: int
    sha256: str | None
    key: str | None
    destination: Path | None
    filed: Path | None
    owner: str | None
    lease_until: float
    due_at: float
    code: str | None
    reason: str | None
    created_at: float
    changed_at: float
    updated_at: float
    priority: int
    row: int | None
    facts: str | None


class Transition(TypedDict):
    """One step of a job's history."""

    at: float  # seconds of the wall clock
    state: str
    detail: str | None


class DayCount(TypedDict):
    """How many jobs a day (UTC) ended, and how."""

    day: str
    done: int
    failed: int


class JobChanges(TypedDict, total=False):
    """What a transition may change of a job besides its state."""

    identity: str
    size: int
    preset: str
    segment: int
    segments: int
    attempts: int
    kills: int
    faults: int
    sha256: str | None
    key: str | None
    destination: Path | None
    filed: Path | None
    owner: str | None
    lease_until: float
    due_at: float
    code: str | None
    reason: str | None
    changed_at: float
    priority: int
    row: int | None
    facts: str | None
