"""The journal: a SQLite file that remembers every job, shared by all processes of one machine.

A claim marks a row and never deletes it, so that a killed process loses nothing. Whoever holds
a job renews its lease; a job whose lease ran out may be taken over, and its former holder
finds out at its next transition (`LeaseLostError`) and lets go.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path

from presets import same_name_key

from .clock import Instant
from .job import FINAL, MAY_BECOME, RUNNING, WAITING, Job, State, Transition, new_job
from .journal_database import Column, JournalDatabase
from .journal_statistics import JournalStatistics

_CANCEL = "cancel:"  # and the id of a job, among the words for the daemons
_PATHS = ("source", "destination", "filed")
_NAMES = tuple(field.name for field in fields(Job))
_COLUMNS = ", ".join(_NAMES)
_RUNNING = ", ".join(f"'{state}'" for state in RUNNING)
_WAITING = ", ".join(f"'{state}'" for state in WAITING)
# A due time or a lease further ahead than anyone can have set it comes from a clock that jumped
# or from before a reboot; it counts as over.
_CLAIMABLE = f"""state NOT IN ('seen', 'done', 'quarantined') AND (
    state = 'settled'
    OR (state = 'retry-at' AND (due_at <= :wall OR due_at > :wall + :longest))
    OR (state IN ({_RUNNING})
        AND (owner IS NULL OR lease_until < :steady OR lease_until > :steady + :lease)))"""


class LeaseLostError(Exception):
    """Another process has taken the job over, or it was forgotten."""


class Journal(JournalDatabase):
    """All jobs of one hot folder or one catalogue."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.statistics = JournalStatistics(self)

    # -- files that wait ---------------------------------------------------------------------

    def note_seen(self, files: Iterable[tuple[Path, str, int, str]], now: Instant) -> list[Job]:
        """Write down files (source, identity, size, preset); return new and changed ones."""
        with self.transaction():
            noted = [self._note_one(*file, now) for file in files]
        return [job for job in noted if job]

    def _note_one(
        self, source: Path, identity: str, size: int, preset: str, now: Instant
    ) -> Job | None:
        waiting = self._one(f"source = ? AND state IN ({_WAITING})", os.fsencode(source))
        if waiting is None and not self._is_being_claimed(source, identity):
            job = new_job(source, identity, size, preset, State.SEEN, now)
            self._insert(job, now)
            return job
        if waiting and (waiting.identity != identity or waiting.preset != preset):
            seen = replace(waiting, identity=identity, size=size, preset=preset, code=None,
                           reason=None, state=State.SEEN, changed_at=now.wall_s)  # fmt: skip
            return self.advance(waiting, seen, now)
        return None

    def _is_being_claimed(self, source: Path, identity: str) -> bool:
        """True for the very file that somebody is about to move out of the inbox."""
        where = f"source = ? AND identity = ? AND state IN ({_RUNNING})"
        return self._one(where, os.fsencode(source), identity) is not None

    def note_settled(self, sources: Iterable[Path], now: Instant) -> list[Job]:
        """Make seen files ready to be claimed; return those that were not ready before."""
        with self.transaction():
            found = [self._one("source = ? AND state = 'seen'", os.fsencode(s)) for s in sources]
            return [
                self.advance(job, replace(job, state=State.SETTLED, code=None, reason=None), now)
                for job in found
                if job
            ]

    def note_gone(self, sources: Iterable[Path], now: Instant) -> list[Job]:
        """Drop waiting rows whose file was taken away before anyone claimed it."""
        with self.transaction():
            rows = [
                self._one(f"source = ? AND state IN ({_WAITING})", os.fsencode(source))
                for source in sources
            ]
            gone = [job for job in rows if job]
            for job in gone:
                self._delete(job)
        return gone

    def note_reason(self, source: Path, code: str, reason: str, now: Instant) -> bool:
        """Say why a seen file waits; true when that is news."""
        reason = _as_text(reason)
        changed = self.execute(
            "UPDATE jobs SET code = ?, reason = ?, updated_at = ?"
            " WHERE source = ? AND state = 'seen' AND (code IS NOT ? OR reason IS NOT ?)",
            (code, reason, now.wall_s, os.fsencode(source), code, reason),
        )
        return changed.rowcount > 0

    def waiting(self) -> list[Job]:
        """Every job whose file still lies where it arrived."""
        return self._many(f"state IN ({_WAITING}) ORDER BY created_at, rowid")

    def waiting_facts(self) -> dict[Path, tuple[str, str]]:
        """Identity and preset of every waiting file, as they are written down."""
        rows = self.execute(
            f"SELECT source, identity, preset FROM jobs WHERE state IN ({_WAITING})"
        )
        return {Path(os.fsdecode(row["source"])): (row["identity"], row["preset"]) for row in rows}

    def back_to_seen(self, job: Job, now: Instant, code: str, reason: str) -> Job | None:
        """Give a claimed file back to the inbox; nothing when another row waits for it there."""
        with self.transaction():
            where = f"source = ? AND id != ? AND state IN ({_WAITING})"
            if self._one(where, os.fsencode(job.source), job.id) is not None:
                self._delete(job)
                return None
            seen = replace(job, state=State.SEEN, owner=None, code=code, reason=reason)
            return self.advance(job, seen, now)

    # -- claiming ----------------------------------------------------------------------------

    def claim(self, owner: str, now: Instant, lease_s: float, longest_s: float) -> Job | None:
        """Take the next job: settled, due again, or left behind by a holder that is gone.

        `longest_s` is the longest wait that anyone may have asked for.
        """
        with self.transaction():
            found = self.execute(
                # left to itself, SQLite sorts every waiting row: 60 ms at 100,000 of them
                f"SELECT {_COLUMNS} FROM jobs INDEXED BY claimable WHERE {_CLAIMABLE}"
                " ORDER BY priority DESC, created_at, rowid LIMIT 1",
                _clock(now, lease_s, longest_s),
            ).fetchone()
            if found is None:
                return None
            job = _job(found)
            lost = f"taken over from {job.owner}" if job.owner else None
            fresh = replace(job, key=None, code=None, reason=None, attempts=job.attempts + 1)
            return self.advance(job, _held_by(owner, fresh, now, lease_s), now, lost)

    def claimable(self, now: Instant, lease_s: float, longest_s: float) -> int:
        """How many jobs could be claimed at this instant."""
        query = f"SELECT count(*) FROM jobs WHERE {_CLAIMABLE}"
        return int(self.execute(query, _clock(now, lease_s, longest_s)).fetchone()[0])

    def renew(self, owner: str, now: Instant, lease_s: float) -> set[str]:
        """The heartbeat: renews every lease of an owner; returns the jobs that are still its."""
        self.execute(
            f"UPDATE jobs SET lease_until = ? WHERE owner = ? AND state IN ({_RUNNING})",
            (now.steady_s + lease_s, owner),
        )
        rows = self.execute("SELECT id FROM jobs WHERE owner = ?", (owner,))
        return {row["id"] for row in rows}

    def advance(self, job: Job, changed: Job, now: Instant, detail: str | None = None) -> Job:
        """Write down how a job has changed, if it is still held by the owner that `job` names.

        Raises LeaseLostError where it is not, and ValueError, which is a bug of ours, for a
        change of state that `MAY_BECOME` does not know.
        """
        if changed.state != job.state and changed.state not in MAY_BECOME[job.state]:
            raise ValueError(f"job {job.id}: {job.state} may not become {changed.state}")
        before, after = _columns_of(job), _columns_of(replace(changed, updated_at=now.wall_s))
        news = {name: value for name, value in after.items() if value != before[name]}
        news |= {"state": after["state"], "updated_at": now.wall_s}
        assignments = ", ".join(f"{name} = ?" for name in news)
        with self.transaction():
            row = self.execute(
                f"UPDATE jobs SET {assignments} WHERE id = ? AND owner IS ? RETURNING {_COLUMNS}",
                (*news.values(), job.id, job.owner),
            ).fetchone()
            if row is None:
                raise LeaseLostError(job.id)
            if changed.state != job.state or detail:
                self._log(job.id, changed.state, now, detail or changed.reason)
        return _job(row)

    def take_key(self, job: Job, decoded: Job, now: Instant) -> Job | None:
        """Mark the work with a key as this job's; nothing when another one is doing the same."""
        return self._advance_alone(job, decoded, now)

    def take_destination(self, job: Job, destination: Path, now: Instant) -> Job | None:
        """Reserve a place to publish; nothing when another job has reserved it."""
        return self._advance_alone(job, replace(job, destination=destination), now)

    def _advance_alone(self, job: Job, changed: Job, now: Instant) -> Job | None:
        """Advance, unless another job in work has what no two may have."""
        try:
            return self.advance(job, changed, now)
        except sqlite3.IntegrityError:
            return None

    # -- looking and keeping -----------------------------------------------------------------

    def get(self, job_id: str) -> Job | None:
        """One job by its id."""
        return self._one("id = ?", job_id)

    def find(self, path: Path) -> list[Job]:
        """Jobs that have this path as source, filed original or destination, newest last."""
        raw = os.fsencode(path)
        query = "source = ? OR filed = ? OR destination = ? ORDER BY created_at, rowid"
        return self._many(query, raw, raw, raw)

    def done_with(self, key: str) -> list[Job]:
        """Finished jobs that did the same work."""
        return self._many("key = ? AND state = 'done' ORDER BY updated_at", key)

    def in_state(self, *states: State) -> list[Job]:
        """Every job in one of these states, oldest first."""
        marks = ", ".join("?" for _ in states)
        return self._many(f"state IN ({marks}) ORDER BY priority DESC, created_at, rowid", *states)

    def running(self) -> list[Job]:
        """Every job that is in work, or was when its holder died."""
        return self.in_state(*RUNNING)

    def all_jobs(self) -> Iterator[Job]:
        """Every job, catalogue rows in their order, then by arrival."""
        query = f"SELECT {_COLUMNS} FROM jobs ORDER BY row IS NULL, row, created_at, rowid"
        return (_job(row) for row in self.execute(query))

    def page(
        self, states: Iterable[State], limit: int, offset: int, newest_first: bool
    ) -> list[Job]:
        """Some of the jobs in these states, in the order in which they arrived or ended."""
        wanted = tuple(states)
        marks = ", ".join("?" for _ in wanted)
        order = "updated_at DESC, rowid DESC" if newest_first else "created_at, rowid"
        where = f"state IN ({marks}) ORDER BY {order} LIMIT ? OFFSET ?"
        return self._many(where, *wanted, limit, offset)

    def history(self, job_id: str) -> list[Transition]:
        """Every transition of a job, oldest first: `at`, `state`, `detail`."""
        query = "SELECT at, state, detail FROM transitions WHERE job = ? ORDER BY rowid"
        rows = self.execute(query, (job_id,))
        return [Transition(at=at, state=state, detail=detail) for at, state, detail in rows]

    def enter(
        self,
        fresh: Iterable[Job],
        changes: Iterable[tuple[Job, Job]],
        gone: Iterable[Job],
        now: Instant,
    ) -> None:
        """Take a catalogue over in one transaction: new jobs, those that change (as they were and
        as they are to be), those it has no more. Rows that somebody holds keep their state."""
        with self.transaction():
            for job in fresh:
                self._insert(job, now)
            for job, changed in changes:
                with contextlib.suppress(LeaseLostError):
                    self.advance(job, changed, now)
            for job in gone:
                if job.state in FINAL:
                    self.advance(job, replace(job, row=None), now)
                elif job.owner is None:
                    self._delete(job)

    def insert(self, jobs: Iterable[Job], now: Instant) -> None:
        """Add jobs that come from elsewhere: folders, after a lost journal."""
        with self.transaction():
            for job in jobs:
                self._insert(job, now)

    def _insert(self, job: Job, now: Instant) -> None:
        columns = _columns_of(job)
        names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
        self.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", tuple(columns.values()))
        self._log(job.id, job.state, now, job.reason)

    def drop(self, job: Job) -> None:
        """Delete a row whose file is no longer there."""
        with self.transaction():
            self._delete(job)

    def setting(self, name: str) -> str | None:
        """A word that the command line left for the daemons."""
        row = self.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row["value"])

    def set_setting(self, name: str, value: str | None) -> None:
        """Leave a word for the daemons, or take it away."""
        if value is None:
            self.execute("DELETE FROM settings WHERE name = ?", (name,))
        else:
            self.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def ask_to_cancel(self, job: Job) -> None:
        """Leave word that a job is to be cancelled, for the daemon that holds or claims it."""
        self.set_setting(f"{_CANCEL}{job.id}", "asked")

    def cancel_asked(self) -> list[Job]:
        """The jobs that somebody wants cancelled; words about jobs that ended are taken back."""
        asked = []
        query = "SELECT name FROM settings WHERE name GLOB ?"
        for row in self.execute(query, (f"{_CANCEL}*",)).fetchall():
            job = self.get(row["name"].removeprefix(_CANCEL))
            if job is None or job.state in FINAL:
                self.set_setting(row["name"], None)
            else:
                asked.append(job)
        return asked

    def drop_cancel(self, job: Job) -> None:
        """Take the word back that a job is to be cancelled: it is, or is to be tried again."""
        self.set_setting(f"{_CANCEL}{job.id}", None)

    def hold(self, job: Job, owner: str, now: Instant, lease_s: float) -> Job:
        """Take one certain job that nobody holds."""
        return self.advance(job, _held_by(owner, job, now, lease_s), now)

    # -- below -------------------------------------------------------------------------------

    def _one(self, where: str, *values: Column) -> Job | None:
        found = self._many(f"{where} LIMIT 1", *values)
        return found[0] if found else None

    def _many(self, where: str, *values: Column) -> list[Job]:
        rows = self.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", values)
        return [_job(row) for row in rows]

    def _delete(self, job: Job) -> None:
        self.execute("DELETE FROM jobs WHERE id = ? AND owner IS ?", (job.id, job.owner))
        self.execute("DELETE FROM transitions WHERE job = ?", (job.id,))

    def _log(self, job: str, state: State, now: Instant, detail: str | None) -> None:
        values = (job, now.wall_s, state, None if detail is None else _as_text(detail))
        self.execute("INSERT INTO transitions VALUES (?, ?, ?, ?)", values)


def _clock(now: Instant, lease_s: float, longest_s: float) -> dict[str, float]:
    return {
        "wall": now.wall_s,
        "steady": now.steady_s,
        "lease": lease_s + 1,
        "longest": longest_s + 1,
    }


def _held_by(owner: str, job: Job, now: Instant, lease_s: float) -> Job:
    return replace(job, state=State.CLAIMED, owner=owner, lease_until=now.steady_s + lease_s)


def _columns_of(job: Job) -> dict[str, Column]:
    """A job as the values of its row."""
    columns = {name: _storable(getattr(job, name)) for name in _NAMES}
    return columns | {"destination_key": _storable(_destination_key(job.destination))}


def _storable(value: Path | Column) -> Column:
    if isinstance(value, Path):
        return os.fsencode(value)
    return _as_text(value) if isinstance(value, str) else value


def _as_text(text: str) -> str:
    """The text with anything that is no character escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _destination_key(destination: Path | None) -> str | None:
    return None if destination is None else same_name_key(str(destination))


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    for name in _PATHS:
        if values[name] is not None:
            values[name] = Path(os.fsdecode(values[name]))
    values["state"] = State(values["state"])
    return Job(**values)
