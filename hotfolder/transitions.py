"""The steps of a job from one state to the next: written down, logged, and made so on disk.

Whoever works on jobs goes through here, the worker pool of this machine as well as the driver of
a cluster. Nothing here waits, and the time is an argument.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from pathlib import Path

from presets import StemwrightError, unplaced

from .clock import Instant, iso_time
from .facts import JobFacts, WorkFacts
from .failures import POISON_KILLS, Decision, Failure, back_off_s, decide, failure_from
from .filenames import is_numbered
from .holder_lock import HolderLock
from .identity import content_identity
from .job import Job, State
from .job_files import (
    ChangedError,
    GoneError,
    JobFiles,
    OutsideError,
    RootLostError,
    exists_alike,
)
from .journal import Journal, LeaseLostError
from .logs import log_event
from .settings import HotFolderSettings

LEASE_S = 30.0
MAX_VERSIONS = 10_000
SAME_WORK_S = 5.0  # until a file is looked at again whose content another job is at
CANCELLED = Failure("cancelled", "somebody cancelled it")


class JobTransitions:
    """What one holder does with the jobs of a journal."""

    def __init__(
        self,
        journal: Journal,
        files: JobFiles,
        settings: HotFolderSettings,
        holder: HolderLock,
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        self.journal = journal
        self.files = files
        self.settings = settings
        self.holder = holder
        self.lease_s = lease_s
        self._renewed_s = float("-inf")
        self._refused: dict[Path, str] = {}  # files that could not be claimed, and why

    # -- holding -----------------------------------------------------------------------------

    def claim(self, now: Instant) -> Job | None:
        """Take the next job, if there is one."""
        longest_s = self.settings.retry.longest_s
        return self.journal.claim(self.holder.owner, now, self.lease_s, longest_s)

    def claim_some(self, most: int, now: Instant) -> list[Job]:
        """Claim up to so many jobs for work elsewhere, each with a destination."""
        claimed: list[Job] = []
        while len(claimed) < most and (job := self.claim(now)):
            claimed.append(self.reserve(job, now))
        return claimed

    def renew(self, now: Instant) -> set[str] | None:
        """The heartbeat: the jobs that are still held; nothing when it was not due yet."""
        if now.steady_s - self._renewed_s < self.lease_s / 3:
            return None
        self._renewed_s = now.steady_s
        return self.journal.renew(self.holder.owner, now, self.lease_s)

    def release(self, job: Job, now: Instant) -> None:
        """Let a job be claimed again at once; it goes on at its segment."""
        self.journal.advance(job, replace(job, owner=None, lease_until=0.0), now)

    def release_dead_holders(self, in_work: set[str], now: Instant) -> None:
        """Take jobs from holders that are certainly gone, without waiting for their leases.

        A job of our own that is not in work was claimed or ended while the journal could not be
        written: it is as free as the others.
        """
        for job in self.journal.running():
            ours = job.owner == self.holder.owner and job.id not in in_work
            if job.owner and (ours or self.holder.has_died(job.owner)):
                with contextlib.suppress(LeaseLostError):
                    self.release(job, now)
                    log_event("holder-gone", job, level=logging.WARNING, holder=job.owner)

    # -- beginning ---------------------------------------------------------------------------

    def bring_in(self, job: Job, now: Instant) -> tuple[Path, str] | None:
        """Where to read a claimed job's mix, and its `content_identity`; nothing when there is no
        mix to work on, and the job was ended or put back."""
        try:
            mix = self.files.bring_in(job)
            identity = content_identity(mix.lstat())
        except StemwrightError as error:
            self.quarantine(job, Failure(error.code, unplaced(job.source, error.sentence)), now)
        except RootLostError:
            raise
        except OutsideError as error:
            self.fail(job, failure_from(error), now)
        except (GoneError, FileNotFoundError):
            self._withdraw(job)
        except (ChangedError, OSError) as error:
            self._back_to_seen(job, error, now)
        else:
            self._refused.pop(job.source, None)
            return mix, identity
        return None

    def begin_work(self, job: Job, work: WorkFacts, facts: JobFacts, now: Instant) -> Job | None:
        """Note what a decoded mix's work is; nothing when another job is doing the same."""
        decoded = replace(
            job, state=State.DECODED, key=work.key, sha256=work.sha256, facts=facts.text()
        )
        return self.journal.take_key(job, decoded, now)

    def reserve(self, job: Job, now: Instant) -> Job:
        """Give a job a destination that is free, on disk and among the jobs in work.

        A job that was held before keeps its place: the worker of a holder that is gone may have
        published there, or may do so yet. Unless sets belong elsewhere by now.
        """
        first = self.files.destination(job, 1)
        self.files.make_room_for(first)
        kept = job.destination
        if kept and kept.parent == first.parent and is_numbered(kept.name, first.name):
            return job
        for number in range(1, MAX_VERSIONS):
            place = self.files.destination(job, number)
            if exists_alike(place):
                continue
            if taken := self.journal.take_destination(job, place, now):
                return taken
        raise RuntimeError(f"{first}: {MAX_VERSIONS} versions exist")

    # -- ending ------------------------------------------------------------------------------

    def finish(
        self,
        job: Job,
        destination: Path | None,
        facts: JobFacts,
        now: Instant,
        detail: str | None = None,
    ) -> None:
        """Note that a job's set is published at a destination, and file its original."""
        self.files.insist_on_root()
        done = replace(
            job, state=State.DONE, owner=None, destination=destination, facts=facts.text(),
            filed=self.files.filing_place(job, State.DONE, now),
        )  # fmt: skip
        job = self.journal.advance(job, done, now, detail)
        log_event("done", job, destination=str(job.destination), elapsed_s=facts.elapsed_s)
        self._file_away(job)

    def fail(self, job: Job, failure: Failure, now: Instant, *, killed: bool = False) -> None:
        """Put a job back, or aside, after an attempt that came to nothing."""
        changed_at = now.wall_s if failure.code == "still-growing" else job.changed_at
        kills = job.kills + killed
        if kills >= POISON_KILLS:
            failure = Failure("poison", f"it ended its worker {kills} times: {failure.reason}")
        failed = replace(
            job, kills=kills, faults=job.faults + (not failure.blameless), changed_at=changed_at
        )
        decision = decide(
            failure,
            failed.faults,
            now.wall_s - changed_at,
            self.settings.incomplete_after_s,
            self.settings.retry,
        )
        if killed and kills < POISON_KILLS:
            decision = Decision.TRY_AGAIN
        if decision == Decision.GIVE_UP:
            self.quarantine(job, failure, now, failed)
        else:
            self._try_again(job, failed, failure, decision, now)

    def _try_again(
        self, job: Job, failed: Job, failure: Failure, decision: Decision, now: Instant
    ) -> None:
        retry = self.settings.retry
        wait_s = back_off_s(job.id, job.attempts, retry)
        if decision == Decision.WAIT_FOR_FILE:
            failed = replace(failed, faults=job.faults)
            wait_s = min(retry.first_s, self.settings.incomplete_after_s)
        if failed.kills == job.kills:  # else a dying worker's last act may have been to publish
            failed = replace(failed, destination=None)
        waiting = self._due(failed, failure, now.wall_s + wait_s)
        self.journal.advance(job, waiting, now)
        log_event(
            "retry-at", job, level=logging.WARNING, code=failure.code, reason=failure.reason,
            due=iso_time(waiting.due_at), attempts=job.attempts, log=failure.log or None,
        )  # fmt: skip

    def wait_for_same_work(self, job: Job, now: Instant) -> None:
        """Another file with the same content is ahead: this one is looked at again soon."""
        ahead = Failure("in-flight", "the same work is being done for another file")
        waiting = self._due(job, ahead, now.wall_s + min(self.settings.retry.first_s, SAME_WORK_S))
        self.journal.advance(job, waiting, now)
        log_event("retry-at", job, code=ahead.code, reason=ahead.reason,
                  due=iso_time(waiting.due_at))  # fmt: skip

    def _due(self, job: Job, failure: Failure, due_at: float) -> Job:
        return replace(
            job, state=State.RETRY_AT, owner=None, key=None, due_at=due_at,
            code=failure.code, reason=failure.reason,
        )  # fmt: skip

    def quarantine(
        self, job: Job, failure: Failure, now: Instant, failed: Job | None = None
    ) -> None:
        """Put a job aside with the reason; `failed` is the job with its faults counted."""
        self.files.insist_on_root()
        aside = replace(
            failed or job, state=State.QUARANTINED, owner=None, key=None, destination=None,
            filed=self.files.filing_place(job, State.QUARANTINED, now),
            code=failure.code, reason=failure.reason,
        )  # fmt: skip
        job = self.journal.advance(job, aside, now)
        log_event(
            "quarantined", job, level=logging.ERROR, code=failure.code, reason=failure.reason,
            kills=job.kills, faults=job.faults, log=failure.log or None,
        )  # fmt: skip
        self._file_away(job)

    def cancel_waiting(self, job: Job, now: Instant) -> None:
        """Put a job aside that nobody holds; its mix is brought in first, to be filed."""
        job = self.journal.hold(job, self.holder.owner, now, self.lease_s)
        try:
            self.files.bring_in(job)
        except (GoneError, FileNotFoundError):
            self._withdraw(job)
        except (ChangedError, OSError) as error:
            self._back_to_seen(job, error, now)
        else:
            self.quarantine(job, CANCELLED, now)
            self.journal.drop_cancel(job)

    def _withdraw(self, job: Job) -> None:
        log_event("withdrawn", job)
        self.journal.drop(job)

    def _back_to_seen(self, job: Job, error: Exception, now: Instant) -> None:
        code, reason = "changed", "it changed before it was claimed"
        if isinstance(error, OSError):
            code, reason = "busy", f"it cannot be moved: {error.strerror or error}"
        waits = self.journal.back_to_seen(job, now, code, reason)
        if waits is None:
            log_event("withdrawn", job, reason="another job waits for the same file")
        elif self._refused.get(job.source) != reason:  # told once, however often it is tried
            self._refused[job.source] = reason
            log_event("not-claimed", job, reason=reason)

    def _file_away(self, job: Job) -> None:
        try:
            self.files.file_away(job, self.journal.history(job.id))
        except OSError as error:  # the next tidying tries again
            log_event("not-filed", job, level=logging.WARNING, reason=str(error))
