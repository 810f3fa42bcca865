"""One file to do, as the journal remembers it, and the states that it goes through."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypedDict

from .clock import Instant


class State(StrEnum):
    """Where a job stands; `MAY_BECOME` says what may follow. Every transition may happen twice
    without harm."""

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

_ENDS = {State.CLAIMED, State.RETRY_AT, State.QUARANTINED, State.DONE}  # of what is in work
# Every change there is; `Journal.advance` refuses any other. A state may always follow itself.
# docs/architecture.md says who makes them.
MAY_BECOME: Mapping[State, Set[State]] = {
    State.SEEN: {State.SETTLED},
    State.SETTLED: {State.SEEN, State.CLAIMED},
    State.CLAIMED: {State.SEEN, State.DECODED, *_ENDS},
    State.DECODED: {State.SEARCHING, State.PROCESSING, State.PUBLISHING, *_ENDS},
    State.SEARCHING: {State.PROCESSING, State.PUBLISHING, *_ENDS},
    State.PROCESSING: {State.PUBLISHING, *_ENDS},
    State.PUBLISHING: {*_ENDS},
    State.DONE: {State.SETTLED},
    State.RETRY_AT: {State.CLAIMED, State.QUARANTINED},
    State.QUARANTINED: {State.RETRY_AT, State.SETTLED},
}


@dataclass(frozen=True)
class Job:
    """A row of the journal; a changed job is a `replace` of it that `Journal.advance` is given.

    `source` is where the file arrived: relative to the inbox, or the absolute path of a
    catalogue's row. `filed` is where the original was put when the job ended. Times are seconds
    of the wall clock, but for `lease_until`, which is the steady clock's. `facts` is the text of
    `JobFacts`.
    """

    id: str
    source: Path
    identity: str
    size: int
    preset: str
    state: State
    created_at: float
    changed_at: float
    updated_at: float
    segment: int = 0
    segments: int = 0
    attempts: int = 0
    kills: int = 0
    faults: int = 0
    sha256: str | None = None
    key: str | None = None
    destination: Path | None = None
    filed: Path | None = None
    owner: str | None = None
    lease_until: float = 0.0
    due_at: float = 0.0
    code: str | None = None
    reason: str | None = None
    priority: int = 0
    row: int | None = None
    facts: str | None = None


def new_job(
    source: Path, identity: str, size: int, preset: str, state: State, now: Instant
) -> Job:
    """A job that no journal knows yet."""
    times = (now.wall_s, now.wall_s, now.wall_s)
    return Job(new_job_id(), source, identity, size, preset, state, *times)


def new_job_id() -> str:
    """Twelve hexadecimal digits."""
    return uuid.uuid4().hex[:12]


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
