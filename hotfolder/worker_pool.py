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

from .clock import Instant
from .disk_space import shortage_for
from .facts import JobFacts, WorkFacts
from .failures import Failure, failure_from
from .job import Job, State
from .job_files import RootLostError, exists_alike
from .journal import LeaseLostError
from .logs import log_event
from .published import PublishedSet, holds_work
from .running_job import RunningJob
from .transitions import CANCELLED, JobTransitions
from .worker import Worker
from .worker_protocol import (
    Event,
    FailedEvent,
    InterruptedEvent,
    ProgressEvent,
    PublishCommand,
    PublishedEvent,
    RenderCommand,
    StopCommand,
    VerifiedEvent,
    WithdrawCommand,
    WorkCommand,
    work_command,
)

KEPT = 0.5  # of the memory that a worker may have: who holds more between two mixes is ended


class WorkerPool:
    """As many jobs in work as the settings allow."""

    def __init__(
        self,
        jobs: JobTransitions,
        *,
        backend: str = "engine",
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        self.jobs = jobs
        self.in_work: dict[str, RunningJob] = {}
        self._ready: list[Worker] = []  # have published, and wait for another mix
        self.provider = "none yet"
        self.audio_s = 0.0  # of everything finished here
        self.finished = 0
        self.peak_mb = 0.0  # the largest worker so far
        self.is_draining = False
        self._backend = backend
        self._on_message = on_message

    # -- what the daemon calls ---------------------------------------------------------------

    def start_more(self, now: Instant) -> int:
        """Claim jobs while there is room; return how many were begun or settled at once."""
        begun = 0
        while len(self.in_work) < self.jobs.settings.jobs:
            job = self.jobs.claim(now)
            if job is None:
                break
            try:
                with contextlib.suppress(LeaseLostError):
                    self._start_or_fail(job, now)
            except RootLostError:
                self.jobs.release(job, now)
                break
            begun += 1
        return begun

    def poll(self, now: Instant) -> None:
        """Hear every child, keep the limits, renew the leases, cancel what is to be.

        Children that have published are ready for other mixes until the next call.
        """
        self._end_ready()
        self._renew(now)
        self._cancel_asked(now)
        for running in list(self.in_work.values()):
            try:
                self._poll_one(running, now)
            except LeaseLostError:
                self._let_go(running, "lease-lost")
            except RootLostError:
                # Nothing is concluded of it: when the root is back, it goes on at its segment.
                self._let_go(running, "root-lost")
                self.jobs.release(running.job, now)
            except sqlite3.Error:  # the journal's trouble, and not the job's
                raise
            except Exception as error:
                self.jobs.fail(running.job, failure_from(error), now)
                self._let_go(running)

    def obey(self, stops: int, now: Instant) -> None:
        """Drain once somebody has asked to stop, and let go at once of those who ask again."""
        if stops and not self.is_draining:  # two may have come since the last round
            log_event("draining", in_work=len(self.in_work))
            self.is_draining = True
            self._drain()
        if stops >= 2:
            self.abandon(now)

    def _drain(self) -> None:
        """Ask every child to finish or to keep its segment, and to stop."""
        self._end_ready()
        for running in self.in_work.values():
            running.worker.send(StopCommand())

    def abandon(self, now: Instant) -> None:
        """Kill every child; its job may be claimed again at once."""
        self._end_ready()
        for running in list(self.in_work.values()):
            self._let_go(running, "abandoned")
            # what cannot be written down now is seen by whoever looks after the journal next
            with contextlib.suppress(LeaseLostError, sqlite3.Error):
                self.jobs.release(running.job, now)

    def resident_mb(self) -> float:
        """Memory of the children that wait for another mix, 0 where the system does not say."""
        return sum(worker.resident_mb() for worker in self._ready)

    def release_dead_holders(self, now: Instant) -> None:
        """Take jobs from holders that are certainly gone."""
        self.jobs.release_dead_holders(set(self.in_work), now)

    # -- starting and cancelling -------------------------------------------------------------

    def _start_or_fail(self, job: Job, now: Instant) -> None:
        try:
            self._start(job, now)
        except (LeaseLostError, RootLostError, sqlite3.Error):
            raise
        except Exception as error:  # it may not hold up the others, nor keep its lease for ever
            self.jobs.fail(job, failure_from(error), now)

    def _start(self, job: Job, now: Instant) -> None:
        brought = self.jobs.bring_in(job, now)
        if brought is None:
            return
        mix, identity = brought
        log_event("claimed", job, attempt=job.attempts, bytes=job.size)
        workspace = self.jobs.files.workspace(job)
        command = work_command(job, mix, workspace, self.jobs.settings, self._backend)
        if job.kills:  # whose fault that was is seen in a child of its own alone
            self._end_ready()
        self.in_work[job.id] = RunningJob(job, self._worker(command), mix, identity, now)

    def _worker(self, command: WorkCommand) -> Worker:
        """A child that begins with the command: one that is ready, or a new one."""
        while self._ready:
            worker = self._ready.pop()
            if worker.is_ready:
                worker.begin(command)
                return worker
            worker.close()
        return Worker(command, self._on_message)

    def _end_ready(self) -> None:
        """End the children that nobody had another mix for."""
        while self._ready:
            self._ready.pop().close()

    def _renew(self, now: Instant) -> None:
        """The heartbeat; work whose lease was lost is let go."""
        held = self.jobs.renew(now)
        if held is None:
            return
        for running in list(self.in_work.values()):
            if running.job.id not in held:
                self._let_go(running, "lease-lost")

    def _cancel_asked(self, now: Instant) -> None:
        """End what somebody wants cancelled: work of our own, and what nobody holds."""
        for job in self.jobs.journal.cancel_asked():
            running = self.in_work.get(job.id)
            with contextlib.suppress(LeaseLostError, RootLostError):
                if running is not None:
                    self._cancel_running(running, now)
                elif job.owner is None and job.state in (State.SETTLED, State.RETRY_AT):
                    self.jobs.cancel_waiting(job, now)

    def _cancel_running(self, running: RunningJob, now: Instant) -> None:
        self.jobs.files.insist_on_root()
        self._let_go(running, "cancelled")
        if not self._take_as_done(running, now):  # its set may have just been published
            self.jobs.quarantine(running.job, CANCELLED, now)
        self.jobs.journal.drop_cancel(running.job)

    # -- hearing -----------------------------------------------------------------------------

    def _poll_one(self, running: RunningJob, now: Instant) -> None:
        # The exit is asked for first: whatever was said before it is then in the queue.
        code = running.worker.exit_code()
        while not running.ended and (event := running.worker.next_event()) is not None:
            self._hear(running, event, now)
            running.worker.drop_event()  # not before: the journal may have been full
        if running.ended:
            self._let_go(running)
        elif code is not None:
            self._fail(running, running.failure or running.crash(code), now, killed=True)
        elif running.failure is None:
            self._keep_limits(running, now)

    def _hear(self, running: RunningJob, event: Event, now: Instant) -> None:
        match event:
            case VerifiedEvent():
                self._on_verified(running, event.work, now)
            case ProgressEvent():
                self._on_progress(running, event, now)
            case PublishedEvent():
                self._on_published(running, event, now)
            case InterruptedEvent():
                self._on_interrupted(running, now)
            case FailedEvent():
                self._fail(running, event.failure, now)

    def _keep_limits(self, running: RunningJob, now: Instant) -> None:
        limits = self.jobs.settings.worker
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

    def _on_verified(self, running: RunningJob, work: WorkFacts, now: Instant) -> None:
        facts = JobFacts.of_work(work)
        job = self.jobs.begin_work(running.job, work, facts, now)
        if job is None:
            running.worker.send(WithdrawCommand())
            self.jobs.wait_for_same_work(running.job, now)
            running.ended = True
            return
        running.job, running.facts = job, facts
        log_event("decoded", job, sha256=work.sha256, frames=work.frames,
                  separators_s=work.separators_s or None)  # fmt: skip
        if self._take_as_done(running, now) or self._skip_as_done(running, now):
            running.worker.send(WithdrawCommand())
        elif not self._lacks_space(running, work, now):
            self._reserve(running, now)

    def _take_as_done(self, running: RunningJob, now: Instant) -> bool:
        """Finish a job whose set was published by an attempt that died before it said so."""
        place = running.job.destination
        there = holds_work(place, running.job.key)
        if there:
            self._finish_with(running, place, there, now)
        return there is not None

    def _skip_as_done(self, running: RunningJob, now: Instant) -> bool:
        key = running.job.key
        if self.jobs.settings.existing != "skip-if-same" or key is None:
            return False
        for other in self.jobs.journal.done_with(key):
            if there := holds_work(other.destination, key):
                log_event("same-work", running.job, destination=str(other.destination))
                detail = f"same work as job {other.id}"
                self._finish_with(running, other.destination, there, now, detail)
                return True
        return False

    def _finish_with(
        self,
        running: RunningJob,
        place: Path | None,
        there: PublishedSet,
        now: Instant,
        detail: str | None = None,
    ) -> None:
        self.jobs.finish(running.job, place, running.facts.with_set(there.facts), now, detail)
        running.ended = True

    def _lacks_space(self, running: RunningJob, work: WorkFacts, now: Instant) -> bool:
        disks = self.jobs.files.disks()
        if shortage := shortage_for(work, disks[0], disks[-1]):
            self._give_back(running, Failure("disk-full", shortage, transient=True), now)
            return True
        return False

    def _reserve(self, running: RunningJob, now: Instant) -> None:
        first = self.jobs.files.destination(running.job, 1)
        if self.jobs.settings.existing == "fail" and exists_alike(first):
            sentence = f"{first} exists. Move it away, or set `existing: version`."
            self._give_back(running, Failure("destination-exists", sentence), now)
            return
        running.job = job = self.jobs.reserve(running.job, now)
        assert job.destination is not None
        running.worker.send(RenderCommand(job.destination, self.jobs.files.guard(job)))

    def _on_progress(self, running: RunningJob, progress: ProgressEvent, now: Instant) -> None:
        before, state = running.job, progress.state
        running.job = self.jobs.journal.advance(
            before,
            replace(
                before,
                state=state,
                segment=progress.segment,
                segments=progress.segments,
                facts=running.facts.at(progress.work, progress.left_s).text(),
            ),
            now,
        )
        if state != before.state or progress.work not in ("", running.part):
            running.part = progress.work
            log_event(str(state), running.job, segment=progress.segment,
                      segments=progress.segments, work=progress.work or None)  # fmt: skip
        if state == State.PUBLISHING:
            self._give_leave_to_publish(running, now)

    def _give_leave_to_publish(self, running: RunningJob, now: Instant) -> None:
        """The last look: the journal has just confirmed the lease; is the mix still the same?"""
        self.jobs.files.insist_on_root()
        if running.has_changed():
            sentence = "it changed while it was worked on"
            self._give_back(running, Failure("still-growing", sentence), now)
        else:
            running.worker.send(PublishCommand())

    def _on_published(self, running: RunningJob, event: PublishedEvent, now: Instant) -> None:
        job = running.job
        if not holds_work(job.destination, job.key):
            self.jobs.files.insist_on_root()
            sentence = f"its set is not at {job.destination}, where it was published"
            self._fail(running, Failure("output-missing", sentence, transient=True), now)
            return
        elapsed_s = now.steady_s - running.started.steady_s
        facts = running.facts.with_set(event.facts).took(elapsed_s)
        self.provider = facts.provider.get("got", self.provider)
        self.audio_s += facts.duration_s or 0.0
        self.jobs.finish(job, job.destination, facts, now)
        self.finished += 1
        running.ended = running.published = True

    def _on_interrupted(self, running: RunningJob, now: Instant) -> None:
        self.jobs.release(running.job, now)
        running.ended = True
        log_event(
            "interrupted", running.job, segment=running.job.segment, segments=running.job.segments
        )

    # -- ending ------------------------------------------------------------------------------

    def _give_back(self, running: RunningJob, failure: Failure, now: Instant) -> None:
        """A failure that the parent noticed while the child waits for an answer."""
        running.worker.send(WithdrawCommand())
        self._fail(running, failure, now)

    def _fail(
        self, running: RunningJob, failure: Failure, now: Instant, *, killed: bool = False
    ) -> None:
        self.jobs.files.insist_on_root()  # else nothing that it says of mix or set is true
        if self._take_as_done(running, now):  # it came to grief after its last step
            self._let_go(running)
            return
        if running.has_changed() and failure.code != "still-growing":
            failure = Failure("still-growing", f"it changed while it was read ({failure.reason})")
        self.jobs.fail(running.job, failure, now, killed=killed)
        running.ended = True
        self._let_go(running)

    def _let_go(self, running: RunningJob, event: str | None = None) -> None:
        self.in_work.pop(running.job.id, None)
        if running.published and running.failure is None and self._may_go_on(running.worker):
            self._ready.append(running.worker)
        else:
            running.worker.close()
        if event:
            log_event(event, running.job, level=logging.WARNING)

    def _may_go_on(self, worker: Worker) -> bool:
        """Whether it is ready and has not kept so much memory that the next mix lacks it; where
        the system does not say, nobody would notice a library that keeps some of every mix."""
        most_mb = KEPT * self.jobs.settings.worker.memory_mb
        return worker.is_ready and 0 < worker.resident_mb() < most_mb
