"""What the journal counts: jobs by state, ends by day, how long the queue is."""

from __future__ import annotations

from .job import FINAL, DayCount, Job, State
from .journal_database import JournalDatabase


class JournalStatistics:
    """Questions with a figure for an answer; each is asked of the file anew."""

    def __init__(self, database: JournalDatabase) -> None:
        self._database = database

    def queued_before(self, job: Job) -> int:
        """How many settled jobs will be claimed before this one."""
        query = (
            "SELECT count(*) FROM jobs WHERE state = 'settled' AND id != ? AND (priority > ? OR"
            " (priority = ? AND (created_at, rowid) <"
            " (?, (SELECT rowid FROM jobs WHERE id = ?))))"
        )
        values = (job.id, job.priority, job.priority, job.created_at, job.id)
        return int(self._database.execute(query, values).fetchone()[0])

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state; all states are named."""
        found = dict.fromkeys((str(state) for state in State), 0)
        for row in self._database.execute("SELECT state, count(*) AS n FROM jobs GROUP BY state"):
            found[row["state"]] = row["n"]
        return found

    def why_one_waits(self) -> str | None:
        """The reason of a job that waits for another attempt; None where none waits."""
        query = "SELECT reason FROM jobs WHERE state = 'retry-at' LIMIT 1"
        row = self._database.execute(query).fetchone()
        return row["reason"] if row else None

    def ended_since(self, wall_s: float) -> int:
        """How many times a job was done or quarantined since then."""
        query = "SELECT count(*) FROM transitions WHERE state IN (?, ?) AND at >= ?"
        return int(self._database.execute(query, (*FINAL, wall_s)).fetchone()[0])

    def unfinished(self) -> int:
        """How many jobs are neither done nor quarantined."""
        query = "SELECT count(*) FROM jobs WHERE state NOT IN ('done', 'quarantined')"
        return int(self._database.execute(query).fetchone()[0])

    def oldest_unfinished(self) -> float | None:
        """When the oldest job arrived that is neither done nor quarantined."""
        query = "SELECT min(created_at) FROM jobs WHERE state NOT IN ('done', 'quarantined')"
        found = self._database.execute(query).fetchone()[0]
        return None if found is None else float(found)

    def failures_since(self, wall_s: float, *, final: bool = False) -> int:
        """How many times a job was quarantined or (unless `final`) put back since then."""
        query = "SELECT count(*) FROM transitions WHERE state IN (?, ?) AND at >= ?"
        states = (State.QUARANTINED, State.QUARANTINED if final else State.RETRY_AT)
        return int(self._database.execute(query, (*states, wall_s)).fetchone()[0])

    def per_day(self, since_wall_s: float) -> list[DayCount]:
        """How many jobs were `done` and how many `failed` on each day (UTC), oldest first."""
        query = (
            "SELECT date(at, 'unixepoch') AS day, sum(state = ?) AS done, sum(state = ?) AS failed"
            " FROM transitions WHERE at >= ? AND state IN (?, ?) GROUP BY day ORDER BY day"
        )
        values = (*FINAL, since_wall_s, *FINAL)
        rows = self._database.execute(query, values)
        return [DayCount(day=day, done=done, failed=failed) for day, done, failed in rows]
