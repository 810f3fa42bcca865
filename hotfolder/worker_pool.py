"""The worker pool: claims jobs from the journal and has each done by a child process.

The hot folder's daemon and the catalogue batch share it. Nothing here waits: `poll` looks at
what the children have said, `start_more` claims what there is room for, and both take the time
as an argument.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from presets import StemwrightError

from .clock import Instant, iso_time
from .failures import POISON_KILLS, Decision, Failure, back_off_s, decide, failure_from
from .filenames import is_numbered
from .holder_lock import HolderLock
from .inventory import content_identity
from .job import Job, JobChanges, State
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
from .published import PublishedSet, holds_work
from .running_job import RunningJob
from .settings import HotFolderSettings
from .worker import Worker
from .worker_protocol import facts_text, shortage_for, work_request

LEASE_S = 30.0
MAX_VERSIONS = 10_000
CANCELLED: JobChanges = {"code": "cancelled", "reason": "somebody cancelled it"}


class WorkerPool:
    """As many jobs in work as the settings allow."""

    def __init__(
        self,
        journal: Journal,
        files: JobFiles,
        settings: HotFolderSettings,
        holder: HolderLock,
        *,
        backend: str = "engine",
        lease_s: float = LEASE_S,
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        self.journal = journal
        self.files = files
        self.settings = settings
        self.holder = holder
        self.lease_s = lease_s
        self.in_work: dict[str, RunningJob] = {}
        self.provider = "none yet"
        self.audio_s = 0.0  # of everything finished here
        self.finished = 0
        self.peak_mb = 0.0  # the largest worker so far
        self._backend = backend
        self._on_message = on_message
        self._renewed_s = float("-inf")
        self._refused: dict[Path, str] = {}  # files that could not be claimed, and why
        self._answers = {
            "verified": self._on_verified,
            "progress": self._on_progress,
            "published": self._on_published,
            "failed": self._on_failed,
            "interrupted": self._on_interrupted,
        }

    # -- what every way of working needs -----------------------------------------------------

    def reserve(self, job: Job, now: Instant) -> Job:
        """Give a job a destination that is free, on disk and among the jobs in work.

        A job that was held before keeps its place: the worker of a holder that is gone may have
        published there, or may do so yet. Unless sets belong elsewhere by now.
        """
        first = self.files.destination(job, 1)
        kept = job.destination
        if kept and kept.parent == first.parent and is_numbered(kept.name, first.name):
            return job
        for number in range(1, MAX_VERSIONS):
            place = self.files.destination(job, number)
            if exists_alike(place):
                continue
            if taken := self.journal.take_destination(job, place, now):
                self.files.make_room_for(place)
                return taken
        raise RuntimeError(f"{first}: {MAX_VERSIONS} versions exist")

    def claim_some(self, most: int, now: Instant) -> list[Job]:
        """Claim up to so many jobs for work elsewhere, each with a destination."""
        claimed: list[Job] = []
        while len(claimed) < most and (job := self._claim(now)):
            claimed.append(self.reserve(job, now))
        return claimed

    def _claim(self, now: Instant) -> Job | None:
        longest_s = self.settings.retry.longest_s
        return self.journal.claim(self.holder.owner, now, self.lease_s, longest_s)

    def finish(
        self, job: Job, now: Instant, facts: dict[str, Any], detail: str | None = None
    ) -> None:
        """Note that a job's set is published, and file its original."""
        self.files.insist_on_root()
        filed = self.files.filing_place(job, State.DONE, now)
        changes: JobChanges = {"filed": filed, "destination": job.destination, "owner": None}
        changes["facts"] = facts_text(facts)
        job = self.journal.advance(job, State.DONE, now, detail=detail, **changes)
        log_event("done", job, destination=str(job.destination), elapsed_s=facts.get("elapsed_s"))
        self._file_away(job)

    def fail(self, job: Job, failure: Failure, now: Instant, *, killed: bool = False) -> None:
        """Put a job back, or aside, after an attempt that came to nothing."""
        changed_at = now.wall_s if failure.code == "still-growing" else job.changed_at
        kills = job.kills + killed
        if kills >= POISON_KILLS:
            failure = Failure("poison", f"it ended its worker {kills} times: {failure.reason}")
        faults = job.faults + (not failure.blameless)
        decision = decide(
            failure,
            faults,
            now.wall_s - changed_at,
            self.settings.incomplete_after_s,
            self.settings.retry,
        )
        if killed and kills < POISON_KILLS:
            decision = Decision.TRY_AGAIN
        counts: JobChanges = {"kills": kills, "faults": faults, "changed_at": changed_at}
        self._act(job, decision, failure, counts, now)

    # -- what the daemon calls ---------------------------------------------------------------

    def start_more(self, now: Instant) -> int:
        """Claim jobs while there is room; return how many were begun or settled at once."""
        begun = 0
        while len(self.in_work) < self.settings.jobs:
            job = self._claim(now)
            if job is None:
                break
            try:
                with contextlib.suppress(LeaseLostError):
                    self._start_or_fail(job, now)
            except RootLostError:
                self._release(job, now)
                break
            begun += 1
        return begun

    def poll(self, now: Instant) -> None:
        """Hear every child, keep the limits, renew the leases, cancel what is to be."""
        self.renew(now)
        self._cancel_asked(now)
        for running in list(self.in_work.values()):
            try:
                self._poll_one(running, now)
            except LeaseLostError:
                self._let_go(running, "lease-lost")
            except RootLostError:
                # Nothing is concluded of it: when the root is back, it goes on at its segment.
                self._let_go(running, "root-lost")
                self._release(running.job, now)
            except sqlite3.Error:  # the journal's trouble, and not the job's
                raise
            except Exception as error:
                self.fail(running.job, failure_from(error), now)
                self._let_go(running)

    def _cancel_asked(self, now: Instant) -> None:
        """End what somebody wants cancelled: work of our own, and what nobody holds."""
        for job in self.journal.cancel_asked():
            running = self.in_work.get(job.id)
            with contextlib.suppress(LeaseLostError, RootLostError):
                if running is not None:
                    self._cancel_running(running, now)
                elif job.owner is None and job.state in (State.SETTLED, State.RETRY_AT):
                    held = self.journal.hold(job, self.holder.owner, now, self.lease_s)
                    self._cancel_waiting(held, now)

    def _cancel_running(self, running: RunningJob, now: Instant) -> None:
        self.files.insist_on_root()
        self._let_go(running, "cancelled")
        if not self._take_as_done(running, now):  # its set may have just been published
            self._quarantine(running.job, CANCELLED, "", now)
        self.journal.drop_cancel(running.job)

    def _cancel_waiting(self, job: Job, now: Instant) -> None:
        try:
            self.files.bring_in(job)
        except (GoneError, FileNotFoundError):
            log_event("withdrawn", job)
            self.journal.drop(job)
        except (ChangedError, OSError) as error:
            self._back_to_seen(job, error, now)
        else:
            self._quarantine(job, CANCELLED, "", now)
            self.journal.drop_cancel(job)

    def drain(self) -> None:
        """Ask every child to finish or to keep its segment, and to stop."""
        for running in self.in_work.values():
            running.worker.send("stop")

    def abandon(self, now: Instant) -> None:
        """Kill every child; its job may be claimed again at once."""
        for running in list(self.in_work.values()):
            self._let_go(running, "abandoned")
            # what cannot be written down now is seen by whoever looks after the journal next
            with contextlib.suppress(LeaseLostError, sqlite3.Error):
                self._release(running.job, now)

    def free_the_dead(self, now: Instant) -> None:
        """Take jobs from holders that are certainly gone, without waiting for their leases.

        A job of our own that is not in work was claimed or ended while the journal could not be
        written: it is as free as the others.
        """
        for job in self.journal.running():
            ours = job.owner == self.holder.owner and job.id not in self.in_work
            if job.owner and (ours or self.holder.has_died(job.owner)):
                with contextlib.suppress(LeaseLostError):
                    self._release(job, now)
                    log_event("holder-gone", job, level=logging.WARNING, holder=job.owner)

    # -- beginning ---------------------------------------------------------------------------

    def _start_or_fail(self, job: Job, now: Instant) -> None:
        try:
            self._start(job, now)
        except (LeaseLostError, RootLostError, sqlite3.Error):
            raise
        except Exception as error:  # it may not hold up the others, nor keep its lease for ever
            self.fail(job, failure_from(error), now)

    def _start(self, job: Job, now: Instant) -> None:
        try:
            mix = self.files.bring_in(job)
            facts = mix.lstat()
        except StemwrightError as error:
            outcome: JobChanges = {"code": error.code, "reason": error.sentence}
            self._quarantine(job, outcome, "", now)
            return
        except RootLostError:
            raise
        except OutsideError as error:
            self.fail(job, failure_from(error), now)
            return
        except (GoneError, FileNotFoundError):
            log_event("withdrawn", job)
            self.journal.drop(job)
            return
        except (ChangedError, OSError) as error:
            self._back_to_seen(job, error, now)
            return
        self._refused.pop(job.source, None)
        log_event("claimed", job, attempt=job.attempts, bytes=job.size)
        request = work_request(job, mix, self.files.workspace(job), self.settings, self._backend)
        worker = Worker(request, self._on_message)
        self.in_work[job.id] = RunningJob(job, worker, mix, content_identity(facts), now)

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

    # -- hearing -----------------------------------------------------------------------------

    def _poll_one(self, running: RunningJob, now: Instant) -> None:
        # The exit is asked for first: whatever was said before it is then in the queue.
        code = running.worker.exit_code()
        while not running.ended and (message := running.worker.next_message()) is not None:
            details = {name: value for name, value in message.items() if name != "say"}
            self._answers[message["say"]](running, details, now)
            running.worker.drop_message()  # not before: the journal may have been full
        if running.ended:
            self._let_go(running)
        elif code is not None:
            self._fail(running, running.failure or running.crash(code), now, killed=True)
        elif running.failure is None:
            self._keep_limits(running, now)

    def _keep_limits(self, running: RunningJob, now: Instant) -> None:
        limits = self.settings.worker
        resident_mb = running.worker.resident_mb()
        self.peak_mb = max(self.peak_mb, resident_mb)
        if resident_mb > limits.memory_mb:
            sentence = f"its worker used {resident_mb:.0f} MB, {limits.memory_mb} are allowed"
            running.failure = Failure("worker-memory", sentence)
        elif now.steady_s - running.started.steady_s > limits.wall_limit_s:
            sentence = f"its worker took longer than {limits.wall_limit_s:g} s"
            running.failure = Failure("worker-timeout", sentence)
        if running.failure:
            log_event(
                "worker-ended", running.job, level=logging.WARNING, reason=running.failure.reason
            )
            running.worker.kill()

    def _on_verified(self, running: RunningJob, facts: dict[str, Any], now: Instant) -> None:
        job = self.journal.take_key(
            running.job, facts["key"], now, facts["sha256"], facts_text(facts)
        )
        if job is None:
            self._put_back(
                running, "in-flight", "the same work is being done for another file", now
            )
            return
        running.job, running.facts = job, facts
        cost = {name: facts[name] for name in ("separators_s",) if name in facts}
        log_event("decoded", job, sha256=facts["sha256"], frames=facts["frames"], **cost)
        if self._take_as_done(running, now) or self._skip_as_done(running, now):
            running.worker.send("withdraw")
        elif not self._lacks_space(running, now):
            self._reserve(running, now)

    def _take_as_done(self, running: RunningJob, now: Instant) -> bool:
        """Finish a job whose set was published by an attempt that died before it said so."""
        there = holds_work(running.job.destination, running.job.key)
        if there:
            self._finish_with(running, running.job, there, now)
        return there is not None

    def _skip_as_done(self, running: RunningJob, now: Instant) -> bool:
        if self.settings.existing != "skip-if-same":
            return False
        for other in self.journal.done_with(running.facts["key"]):
            if there := holds_work(other.destination, running.job.key):
                log_event("same-work", running.job, destination=str(other.destination))
                job = replace(running.job, destination=other.destination)
                self._finish_with(running, job, there, now, f"same work as job {other.id}")
                return True
        return False

    def _finish_with(
        self,
        running: RunningJob,
        job: Job,
        there: PublishedSet,
        now: Instant,
        detail: str | None = None,
    ) -> None:
        self.finish(job, now, running.facts | there.facts, detail)
        running.ended = True

    def _lacks_space(self, running: RunningJob, now: Instant) -> bool:
        disks = self.files.disks()
        if shortage := shortage_for(running.facts, disks[0], disks[-1]):
            self._give_back(running, Failure("disk-full", shortage, transient=True), now)
            return True
        return False

    def _reserve(self, running: RunningJob, now: Instant) -> None:
        first = self.files.destination(running.job, 1)
        if self.settings.existing == "fail" and exists_alike(first):
            sentence = f"{first} exists. Move it away, or set `existing: version`."
            self._give_back(running, Failure("destination-exists", sentence), now)
            return
        running.job = self.reserve(running.job, now)
        running.worker.send(
            "render",
            destination=str(running.job.destination),
            guard=self.files.guard(running.job),
        )

    def _on_progress(self, running: RunningJob, progress: dict[str, Any], now: Instant) -> None:
        state = State(progress["state"])
        segment, segments = progress["segment"], progress["segments"]
        where = {name: progress[name] for name in ("work", "left_s") if progress.get(name)}
        facts = facts_text(running.facts | where)
        before = running.job
        steps: JobChanges = {"segment": segment, "segments": segments, "facts": facts}
        running.job = self.journal.advance(running.job, state, now, **steps)
        if state != before.state or where.get("work", running.work) != running.work:
            running.work = where.get("work", "")
            work = running.work or None
            log_event(str(state), running.job, segment=segment, segments=segments, work=work)
        if state == State.PUBLISHING:
            self._give_leave_to_publish(running, now)

    def _give_leave_to_publish(self, running: RunningJob, now: Instant) -> None:
        """The last look: the journal has just confirmed the lease; is the mix still the same?"""
        self.files.insist_on_root()
        if running.has_changed():
            sentence = "it changed while it was worked on"
            self._give_back(running, Failure("still-growing", sentence), now)
        else:
            running.worker.send("publish")

    def _on_published(self, running: RunningJob, message: dict[str, Any], now: Instant) -> None:
        if not holds_work(running.job.destination, running.job.key):
            self.files.insist_on_root()
            sentence = f"its set is not at {running.job.destination}, where it was published"
            self._fail(running, Failure("output-missing", sentence, transient=True), now)
            return
        elapsed_s = now.steady_s - running.started.steady_s
        facts = running.facts | message["facts"] | {"elapsed_s": round(elapsed_s, 3)}
        self.provider = facts.get("provider", {}).get("got", self.provider)
        self.audio_s += facts["frames"] / facts["sample_rate"]
        self.finish(running.job, now, facts)
        self.finished += 1
        running.ended = True

    def _on_interrupted(self, running: RunningJob, _message: dict[str, Any], now: Instant) -> None:
        self._release(running.job, now)
        running.ended = True
        log_event(
            "interrupted", running.job, segment=running.job.segment, segments=running.job.segments
        )

    def _on_failed(self, running: RunningJob, message: dict[str, Any], now: Instant) -> None:
        self._fail(running, Failure(**message), now)

    # -- ending ------------------------------------------------------------------------------

    def _give_back(self, running: RunningJob, failure: Failure, now: Instant) -> None:
        """A failure that the parent noticed while the child waits for an answer."""
        running.worker.send("withdraw")
        self._fail(running, failure, now)

    def _fail(
        self, running: RunningJob, failure: Failure, now: Instant, *, killed: bool = False
    ) -> None:
        self.files.insist_on_root()  # else nothing that it says of the mix or the set is true
        if self._take_as_done(running, now):  # it came to grief after its last step
            self._let_go(running)
            return
        if running.has_changed() and failure.code != "still-growing":
            failure = Failure("still-growing", f"it changed while it was read ({failure.reason})")
        self.fail(running.job, failure, now, killed=killed)
        running.ended = True
        self._let_go(running)

    def _act(
        self, job: Job, decision: Decision, failure: Failure, counts: JobChanges, now: Instant
    ) -> None:
        outcome: JobChanges = {**counts, "code": failure.code, "reason": failure.reason}
        if decision == Decision.GIVE_UP:
            self._quarantine(job, outcome, failure.log, now)
            return
        if decision == Decision.WAIT_FOR_FILE:
            outcome["faults"] = job.faults
            wait_s = min(self.settings.retry.first_s, self.settings.incomplete_after_s)
        else:
            wait_s = back_off_s(job.id, job.attempts, self.settings.retry)
        due_at = now.wall_s + wait_s
        outcome |= {"owner": None, "key": None, "due_at": due_at}
        if counts["kills"] == job.kills:  # else a dying worker's last act may have been to publish
            outcome["destination"] = None
        self.journal.advance(job, State.RETRY_AT, now, **outcome)
        log_event(
            "retry-at", job, level=logging.WARNING, code=failure.code, reason=failure.reason,
            due=iso_time(due_at), attempts=job.attempts, log=failure.log or None,
        )  # fmt: skip

    def _quarantine(self, job: Job, outcome: JobChanges, log: str, now: Instant) -> None:
        self.files.insist_on_root()
        filed = self.files.filing_place(job, State.QUARANTINED, now)
        changes: JobChanges = {**outcome, "owner": None, "key": None, "destination": None}
        changes["filed"] = filed
        job = self.journal.advance(job, State.QUARANTINED, now, **changes)
        log_event("quarantined", job, level=logging.ERROR, **outcome, log=log or None)
        self._file_away(job)

    def _put_back(self, running: RunningJob, code: str, reason: str, now: Instant) -> None:
        """Another file with the same content is ahead: this one is looked at again soon."""
        running.worker.send("withdraw")
        due_at = now.wall_s + min(self.settings.retry.first_s, 5.0)
        self.journal.advance(
            running.job, State.RETRY_AT, now, owner=None, due_at=due_at, code=code, reason=reason
        )
        running.ended = True
        log_event("retry-at", running.job, code=code, reason=reason, due=iso_time(due_at))

    def _release(self, job: Job, now: Instant) -> None:
        self.journal.advance(job, job.state, now, owner=None, lease_until=0.0)

    def _file_away(self, job: Job) -> None:
        try:
            self.files.file_away(job, self.journal.history(job.id))
        except OSError as error:  # the next tidying tries again
            log_event("not-filed", job, level=logging.WARNING, reason=str(error))

    def _let_go(self, running: RunningJob, event: str | None = None) -> None:
        self.in_work.pop(running.job.id, None)
        running.worker.close()
        if event:
            log_event(event, running.job, level=logging.WARNING)

    def renew(self, now: Instant) -> None:
        """The heartbeat; work whose lease was lost is let go."""
        if now.steady_s - self._renewed_s < self.lease_s / 3:
            return
        self._renewed_s = now.steady_s
        held = self.journal.renew(self.holder.owner, now, self.lease_s)
        for running in list(self.in_work.values()):
            if running.job.id not in held:
                self._let_go(running, "lease-lost")
