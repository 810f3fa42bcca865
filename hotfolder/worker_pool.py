"""The workshop: claims jobs from the journal and has each done by a child process.

The hot folder's daemon and the catalogue batch share it. Nothing here waits: `tend` looks at
what the children have said, `start_more` claims what there is room for, and both take the time
as an argument.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from presets import StemwrightError

from .clock import Instant, iso_time
from .failures import POISON_KILLS, Failure, Verdict, back_off_s, judge
from .filenames import is_numbered
from .holder_lock import Presence
from .inventory import content_identity
from .job import Job, State
from .job_files import ChangedError, Depot, GoneError, RootLostError, exists_alike
from .journal import Journal, LeaseLostError
from .logs import tell
from .published import PublishedSet, holds_work
from .running_job import Bench
from .settings import HotFolderSettings
from .worker import Worker
from .worker_protocol import facts_text, order_for, space_needed_bytes, space_shortage

LEASE_S = 30.0
MAX_VERSIONS = 10_000


class Workshop:
    """As many benches as the settings allow."""

    def __init__(
        self,
        journal: Journal,
        depot: Depot,
        settings: HotFolderSettings,
        presence: Presence,
        *,
        backend: str = "engine",
        lease_s: float = LEASE_S,
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        self.journal = journal
        self.depot = depot
        self.settings = settings
        self.presence = presence
        self.lease_s = lease_s
        self.benches: dict[str, Bench] = {}
        self.provider = "none yet"
        self.audio_s = 0.0  # of everything finished here
        self.finished = 0
        self.peak_mb = 0.0  # the largest worker so far
        self._backend = backend
        self._on_message = on_message
        self._renewed_s = float("-inf")
        self._answers = {
            "verified": self._on_verified,
            "progress": self._on_progress,
            "published": self._on_published,
            "failed": self._on_failed,
            "interrupted": self._on_interrupted,
        }

    # -- what every way of working needs -----------------------------------------------------

    def reserve(self, job: Job, now: Instant) -> Job:
        """Gives a job a destination that is free, on disk and among the jobs in work.

        A job that was held before keeps its place: the worker of a holder that is gone may have
        published there, or may do so yet. Unless sets belong elsewhere by now.
        """
        first = self.depot.destination(job, 1)
        kept = job.destination
        if kept and kept.parent == first.parent and is_numbered(kept.name, first.name):
            return job
        for number in range(1, MAX_VERSIONS):
            place = self.depot.destination(job, number)
            if exists_alike(place):
                continue
            if taken := self.journal.take_destination(job, place, now):
                place.parent.mkdir(parents=True, exist_ok=True)
                return taken
        raise RuntimeError(f"{first}: {MAX_VERSIONS} versions exist")

    def claim_some(self, most: int, now: Instant) -> list[Job]:
        """Claims up to so many jobs for work elsewhere, each with a destination."""
        claimed: list[Job] = []
        while len(claimed) < most and (job := self._claim(now)):
            claimed.append(self.reserve(job, now))
        return claimed

    def _claim(self, now: Instant) -> Job | None:
        longest_s = self.settings.retry.longest_s
        return self.journal.claim(self.presence.owner, now, self.lease_s, longest_s)

    def finish(
        self, job: Job, now: Instant, facts: dict[str, Any], detail: str | None = None
    ) -> None:
        """Notes that a job's set is published, and files its original."""
        filed = self.depot.filing_place(job, State.DONE, now)
        changes = {"filed": filed, "destination": job.destination, "facts": facts_text(facts)}
        job = self.journal.advance(job, State.DONE, now, detail=detail, owner=None, **changes)
        tell("done", job, destination=str(job.destination), elapsed_s=facts.get("elapsed_s"))
        self._file_away(job)

    def fail(self, job: Job, failure: Failure, now: Instant, *, killed: bool = False) -> None:
        """Puts a job back, or aside, after an attempt that came to nothing."""
        changed_at = now.wall_s if failure.code == "still-growing" else job.changed_at
        kills = job.kills + killed
        if kills >= POISON_KILLS:
            failure = Failure("poison", f"it ended its worker {kills} times: {failure.reason}")
        faults = job.faults + (not failure.blameless)
        verdict = judge(
            failure,
            faults,
            now.wall_s - changed_at,
            self.settings.incomplete_after_s,
            self.settings.retry,
        )
        if killed and kills < POISON_KILLS:
            verdict = Verdict.TRY_AGAIN
        counts = {"kills": kills, "faults": faults, "changed_at": changed_at}
        self._act(job, verdict, failure, counts, now)

    # -- what the daemon calls ---------------------------------------------------------------

    def start_more(self, now: Instant) -> int:
        """Claims jobs while there is room; returns how many were begun or settled at once."""
        begun = 0
        while len(self.benches) < self.settings.jobs:
            job = self._claim(now)
            if job is None:
                break
            with contextlib.suppress(LeaseLostError):
                self._start(job, now)
            begun += 1
        return begun

    def tend(self, now: Instant) -> None:
        """Hears every child, keeps the limits, renews the leases."""
        self.renew(now)
        for bench in list(self.benches.values()):
            try:
                self._tend_one(bench, now)
            except LeaseLostError:
                self._let_go(bench, "lease-lost")

    def drain(self) -> None:
        """Asks every child to finish or to keep its segment, and to stop."""
        for bench in self.benches.values():
            bench.worker.tell("stop")

    def abandon(self, now: Instant) -> None:
        """Kills every child; its job may be claimed again at once."""
        for bench in list(self.benches.values()):
            self._let_go(bench, "abandoned")
            with contextlib.suppress(LeaseLostError):
                self._release(bench.job, now)

    def free_the_dead(self, now: Instant) -> None:
        """Takes jobs from holders that are certainly gone, without waiting for their leases."""
        for job in self.journal.running():
            if job.owner and self.presence.has_died(job.owner):
                with contextlib.suppress(LeaseLostError):
                    self._release(job, now)
                    tell("holder-gone", job, level=logging.WARNING, holder=job.owner)

    # -- beginning ---------------------------------------------------------------------------

    def _start(self, job: Job, now: Instant) -> None:
        try:
            mix = self.depot.bring_in(job)
            facts = mix.lstat()
        except StemwrightError as error:
            told = {"code": error.code, "reason": str(error)}
            self._quarantine(job, told, "", now)
            return
        except RootLostError:
            self._release(job, now)
            return
        except (GoneError, FileNotFoundError):
            tell("withdrawn", job)
            self.journal.drop(job)
            return
        except (ChangedError, OSError) as error:
            self._back_to_seen(job, error, now)
            return
        tell("claimed", job, attempt=job.attempts, bytes=job.size)
        order = order_for(job, mix, self.depot.workspace(job), self.settings, self._backend)
        worker = Worker(order, self._on_message)
        self.benches[job.id] = Bench(job, worker, mix, content_identity(facts), now)

    def _back_to_seen(self, job: Job, error: Exception, now: Instant) -> None:
        code, reason = "changed", "it changed before it was claimed"
        if isinstance(error, OSError):
            code, reason = "busy", f"it cannot be moved: {error.strerror}"
        tell("not-claimed", job, reason=reason)
        self.journal.advance(job, State.SEEN, now, owner=None, code=code, reason=reason)

    # -- hearing -----------------------------------------------------------------------------

    def _tend_one(self, bench: Bench, now: Instant) -> None:
        # The exit is asked for first: whatever was said before it is then in the queue.
        code = bench.worker.exit_code()
        for message in bench.worker.messages():
            if not bench.ended:
                self._answers[message.pop("say")](bench, message, now)
        if bench.ended:
            self._let_go(bench)
        elif code is not None:
            self._fail(bench, bench.failure or bench.crash(code), now, killed=True)
        elif bench.failure is None:
            self._keep_limits(bench, now)

    def _keep_limits(self, bench: Bench, now: Instant) -> None:
        limits = self.settings.worker
        resident_mb = bench.worker.resident_mb()
        self.peak_mb = max(self.peak_mb, resident_mb)
        if resident_mb > limits.memory_mb:
            sentence = f"its worker used {resident_mb:.0f} MB, {limits.memory_mb} are allowed"
            bench.failure = Failure("worker-memory", sentence)
        elif now.steady_s - bench.started.steady_s > limits.wall_limit_s:
            sentence = f"its worker took longer than {limits.wall_limit_s:g} s"
            bench.failure = Failure("worker-timeout", sentence)
        if bench.failure:
            tell("worker-ended", bench.job, level=logging.WARNING, reason=bench.failure.reason)
            bench.worker.kill()

    def _on_verified(self, bench: Bench, facts: dict[str, Any], now: Instant) -> None:
        job = self.journal.take_key(
            bench.job, facts["key"], now, facts["sha256"], facts_text(facts)
        )
        if job is None:
            self._put_back(bench, "in-flight", "the same work is being done for another file", now)
            return
        bench.job, bench.facts = job, facts
        tell("decoded", job, sha256=facts["sha256"], frames=facts["frames"])
        if self._take_as_done(bench, now) or self._skip_as_done(bench, now):
            bench.worker.tell("withdraw")
        elif not self._lacks_space(bench, now):
            self._reserve(bench, now)

    def _take_as_done(self, bench: Bench, now: Instant) -> bool:
        """Finishes a job whose set was published by an attempt that died before it said so."""
        there = holds_work(bench.job.destination, bench.job.key)
        if there:
            self._finish_with(bench, bench.job, there, now)
        return there is not None

    def _skip_as_done(self, bench: Bench, now: Instant) -> bool:
        if self.settings.existing != "skip-if-same":
            return False
        for other in self.journal.done_with(bench.facts["key"]):
            if there := holds_work(other.destination, bench.job.key):
                tell("same-work", bench.job, destination=str(other.destination))
                job = replace(bench.job, destination=other.destination)
                self._finish_with(bench, job, there, now, f"same work as job {other.id}")
                return True
        return False

    def _finish_with(
        self, bench: Bench, job: Job, there: PublishedSet, now: Instant, detail: str | None = None
    ) -> None:
        bench.ended = True
        self.finish(job, now, bench.facts | there.facts, detail)

    def _lacks_space(self, bench: Bench, now: Instant) -> bool:
        needed = space_needed_bytes(bench.facts)
        if shortage := space_shortage(self.depot.disks(), needed):
            self._give_back(bench, Failure("disk-full", shortage, transient=True), now)
            return True
        return False

    def _reserve(self, bench: Bench, now: Instant) -> None:
        first = self.depot.destination(bench.job, 1)
        if self.settings.existing == "fail" and exists_alike(first):
            sentence = f"{first} exists. Move it away, or set `existing: version`."
            self._give_back(bench, Failure("destination-exists", sentence), now)
            return
        bench.job = self.reserve(bench.job, now)
        bench.worker.tell("render", destination=str(bench.job.destination))

    def _on_progress(self, bench: Bench, progress: dict[str, Any], now: Instant) -> None:
        state = State(progress["state"])
        steps = {name: progress[name] for name in ("segment", "segments")}
        before, bench.job = bench.job, self.journal.advance(bench.job, state, now, **steps)
        if state != before.state:
            tell(str(state), bench.job, **steps)
        if state == State.PUBLISHING:
            self._give_leave_to_publish(bench, now)

    def _give_leave_to_publish(self, bench: Bench, now: Instant) -> None:
        """The last look: the journal has just confirmed the lease; is the mix still the same?"""
        if bench.has_changed():
            sentence = "it changed while it was worked on"
            self._give_back(bench, Failure("still-growing", sentence), now)
        else:
            bench.worker.tell("publish")

    def _on_published(self, bench: Bench, message: dict[str, Any], now: Instant) -> None:
        bench.ended = True
        elapsed_s = now.steady_s - bench.started.steady_s
        facts = bench.facts | message["facts"] | {"elapsed_s": round(elapsed_s, 3)}
        self.provider = facts.get("provider", {}).get("got", self.provider)
        self.audio_s += facts["frames"] / facts["sample_rate"]
        self.finished += 1
        self.finish(bench.job, now, facts)

    def _on_interrupted(self, bench: Bench, _message: dict[str, Any], now: Instant) -> None:
        bench.ended = True
        self._release(bench.job, now)
        tell("interrupted", bench.job, segment=bench.job.segment, segments=bench.job.segments)

    def _on_failed(self, bench: Bench, message: dict[str, Any], now: Instant) -> None:
        self._fail(bench, Failure(**message), now)

    # -- ending ------------------------------------------------------------------------------

    def _give_back(self, bench: Bench, failure: Failure, now: Instant) -> None:
        """A failure that the parent noticed while the child waits for an answer."""
        bench.worker.tell("withdraw")
        self._fail(bench, failure, now)

    def _fail(self, bench: Bench, failure: Failure, now: Instant, *, killed: bool = False) -> None:
        if self._take_as_done(bench, now):  # it came to grief after its last step
            self._let_go(bench)
            return
        bench.ended = True
        if bench.has_changed() and failure.code != "still-growing":
            failure = Failure("still-growing", f"it changed while it was read ({failure.reason})")
        self.fail(bench.job, failure, now, killed=killed)
        self._let_go(bench)

    def _act(
        self, job: Job, verdict: Verdict, failure: Failure, counts: dict[str, Any], now: Instant
    ) -> None:
        told = {"code": failure.code, "reason": failure.reason, **counts}
        if verdict == Verdict.GIVE_UP:
            self._quarantine(job, told, failure.log, now)
            return
        if verdict == Verdict.WAIT_FOR_FILE:
            told["faults"] = job.faults
            wait_s = min(self.settings.retry.first_s, self.settings.incomplete_after_s)
        else:
            wait_s = back_off_s(job.id, job.attempts, self.settings.retry)
        due_at = now.wall_s + wait_s
        undone: dict[str, Any] = {"owner": None, "key": None}
        if counts["kills"] == job.kills:  # else a dying worker's last act may have been to publish
            undone["destination"] = None
        self.journal.advance(job, State.RETRY_AT, now, due_at=due_at, **undone, **told)
        tell(
            "retry-at", job, level=logging.WARNING, code=failure.code, reason=failure.reason,
            due=iso_time(due_at), attempts=job.attempts, log=failure.log or None,
        )  # fmt: skip

    def _quarantine(self, job: Job, told: dict[str, Any], log: str, now: Instant) -> None:
        filed = self.depot.filing_place(job, State.QUARANTINED, now)
        undone = {"owner": None, "key": None, "destination": None}
        job = self.journal.advance(job, State.QUARANTINED, now, filed=filed, **undone, **told)
        tell("quarantined", job, level=logging.ERROR, **told, log=log or None)
        self._file_away(job)

    def _put_back(self, bench: Bench, code: str, reason: str, now: Instant) -> None:
        """Another file with the same content is ahead: this one is looked at again soon."""
        bench.worker.tell("withdraw")
        bench.ended = True
        due_at = now.wall_s + min(self.settings.retry.first_s, 5.0)
        self.journal.advance(
            bench.job, State.RETRY_AT, now, owner=None, due_at=due_at, code=code, reason=reason
        )
        tell("retry-at", bench.job, code=code, reason=reason, due=iso_time(due_at))

    def _release(self, job: Job, now: Instant) -> None:
        self.journal.advance(job, job.state, now, owner=None, lease_until=0.0)

    def _file_away(self, job: Job) -> None:
        try:
            self.depot.file_away(job, self.journal.history(job.id))
        except OSError as error:  # the next tidying tries again
            tell("not-filed", job, level=logging.WARNING, reason=str(error))

    def _let_go(self, bench: Bench, event: str | None = None) -> None:
        self.benches.pop(bench.job.id, None)
        bench.worker.close()
        if event:
            tell(event, bench.job, level=logging.WARNING)

    def renew(self, now: Instant) -> None:
        """The heartbeat; work whose lease was lost is let go."""
        if now.steady_s - self._renewed_s < self.lease_s / 3:
            return
        self._renewed_s = now.steady_s
        held = self.journal.renew(self.presence.owner, now, self.lease_s)
        for bench in list(self.benches.values()):
            if bench.job.id not in held:
                self._let_go(bench, "lease-lost")
