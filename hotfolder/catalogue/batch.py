"""The catalogue batch: the hot folder's journal and pool, without moving anybody's files.

A run may be stopped, killed and repeated: only what the journal does not know as done is done.
A changed preset or prior makes other work of the rows it touches, and only those are done again.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from presets import Preset, load_preset

from ..clock import Instant
from ..engine_protocol import Engine, load_engine, render_options
from ..filenames import safe_name
from ..holder_lock import HolderLock
from ..job import FINAL, Job, State, new_job
from ..job_files import CatalogueFiles
from ..journal import Journal
from ..logs import log_event
from ..partials import sweep_attempts, sweep_partials
from ..published import holds_work, work_key
from ..settings import HotFolderSettings
from ..transitions import LEASE_S, JobTransitions
from ..wakeup import Wakeup
from ..worker_pool import WorkerPool
from .listing import Catalogue, Row

HOUSEKEEPING_S = 5.0
MEMORY_SHARE = 0.8
RowStatus = Literal["new", "changed", "done", "failed", "unfinished"]


@dataclass(frozen=True)
class BatchPlan:
    """What a run would do: rows that are new, to be done again and why, done, failed before."""

    new: int
    changed: int
    done: int
    failed: int
    unfinished: int

    @property
    def to_do(self) -> int:
        """Rows that need work."""
        return self.new + self.changed + self.unfinished


@dataclass(frozen=True)
class Snapshot:
    """How far a run is."""

    rows: int
    done: int
    failed: int
    in_work: int
    waiting: int  # for another attempt
    waits_because: str | None  # of one that waits
    audio_s: float
    elapsed_s: float
    jobs: int
    left_s: float | None

    @property
    def rtf(self) -> float | None:
        """Seconds of the clock for each second of audio, all workers together."""
        return self.elapsed_s / self.audio_s if self.audio_s else None


class Batch:
    """One catalogue, one output folder, one journal."""

    def __init__(
        self,
        catalogue: Catalogue,
        out: Path,
        state: Path,
        settings: HotFolderSettings,
        *,
        auto_jobs: bool = False,
        backend: str = "engine",
        lease_s: float = LEASE_S,
    ) -> None:
        self.catalogue, self.out = catalogue, out.absolute()
        self.settings = settings
        self.journal = Journal(state / "journal.db")
        self._holder = HolderLock(state, socket.gethostname())
        self.backend = backend
        self._keys = _WorkKeys(load_engine(backend), settings)
        self._auto_jobs = auto_jobs
        self._wakeup = Wakeup()
        self._began = Instant.now()
        self._housekept_s = float("-inf")
        self._done_before = 0
        files = CatalogueFiles(self.out, output_names(catalogue.rows))
        self.jobs = JobTransitions(self.journal, files, settings, self._holder, lease_s=lease_s)
        self.pool = WorkerPool(self.jobs, backend=backend, on_message=self._wakeup.ring)

    @property
    def chooses_jobs(self) -> bool:
        """Whether the number of workers is still to be chosen, by the first one's memory."""
        return self._auto_jobs

    def plan(self) -> BatchPlan:
        """Compare the catalogue with the journal; change nothing."""
        known = self._known()
        return _plan(self._status(row, known.get(row.path)) for row in self.catalogue.rows)

    def undone(self, *, retry_failed: bool = False) -> list[Row]:
        """The rows that a run would work on."""
        known, left = self._known(), {"done"} if retry_failed else {"done", "failed"}
        statuses = {
            row.path: self._status(row, known.get(row.path)) for row in self.catalogue.rows
        }
        return [row for row in self.catalogue.rows if statuses[row.path] not in left]

    def enter(self, *, retry_failed: bool = False) -> BatchPlan:
        """Write the catalogue into the journal: new rows, and those to be done again."""
        known, statuses, now = self._known(), [], Instant.now()
        self.out.mkdir(parents=True, exist_ok=True)
        fresh, changes = [], []
        for row in self.catalogue.rows:
            job = known.pop(row.path, None)
            statuses.append(self._status(row, job))
            if job is None:
                fresh.append(_new_job(row, now))
                continue
            again = statuses[-1] == "changed" or (statuses[-1] == "failed" and retry_failed)
            changes.append((job, _changed_job(row, job, again=again)))
        plan = _plan(statuses)
        self.journal.enter(fresh, changes, list(known.values()), now)
        self._done_before = self.journal.statistics.counts()[State.DONE]
        log_event(
            "catalogue", rows=len(self.catalogue.rows), problems=len(self.catalogue.problems),
            new=plan.new, changed=plan.changed, done=plan.done,
        )  # fmt: skip
        self._sweep()
        return plan

    def run(self, report: Callable[[Snapshot], None]) -> bool:
        """Work until every row is done or has failed; false when it was stopped before."""
        self._wakeup.catch_signals()
        self._began = Instant.now()
        while True:
            now = Instant.now()
            finished = self.loop(now)
            report(self.snapshot(now))
            if finished or (self._wakeup.stops and not self.pool.in_work):
                return finished
            self._wakeup.wait(0.5)

    def loop(self, now: Instant) -> bool:
        """One round; true when no row is left."""
        self.pool.obey(self._wakeup.stops, now)
        if now.steady_s - self._housekept_s >= HOUSEKEEPING_S:
            self._housekept_s = now.steady_s
            self.pool.release_dead_holders(now)
        self.pool.poll(now)
        self._fit_jobs()
        if not self._wakeup.stops:
            self.pool.start_more(now)
        return not self.pool.in_work and self.journal.statistics.unfinished() == 0

    def stop(self) -> None:
        """Ask to drain; asked a second time, to stop at once."""
        self._wakeup.stop()

    @property
    def is_stopping(self) -> bool:
        """True once somebody asked for it."""
        return self._wakeup.stops > 0

    def snapshot(self, now: Instant) -> Snapshot:
        """How far the run is, from the journal."""
        counts = self.journal.statistics.counts()
        done = counts[State.DONE]
        elapsed_s = now.steady_s - self._began.steady_s
        here = done - self._done_before
        left = sum(n for state, n in counts.items() if state not in FINAL)
        left_s = elapsed_s / here * left if here else None
        return Snapshot(
            rows=sum(counts.values()),
            done=done,
            failed=counts[State.QUARANTINED],
            in_work=len(self.pool.in_work),
            waiting=counts[State.RETRY_AT],
            waits_because=self.journal.statistics.why_one_waits(),
            audio_s=self.pool.audio_s,
            elapsed_s=elapsed_s,
            jobs=self.settings.jobs,
            left_s=left_s,
        )

    def close(self) -> None:
        """End the children and let go of the journal."""
        self.pool.abandon(Instant.now())
        self._sweep()
        self.journal.close()
        self._holder.close()
        self._wakeup.close()
        with contextlib.suppress(OSError):
            (self.out / ".work").rmdir()

    def _sweep(self) -> None:
        """Remove what killed workers left half done: hidden sets, workplaces of attempts."""
        if not self.out.is_dir():
            return
        jobs = list(self.journal.all_jobs())
        foreign = [job for job in jobs if job.owner not in (None, self._holder.owner)]
        in_work = {job.id for job in foreign if not self._holder.has_died(job.owner or "")}
        known = {job.id for job in jobs}
        left = sweep_partials(self.out, in_work, known)
        for path in left + sweep_attempts(self.out / ".work", in_work):
            log_event("partial-swept", path=str(path))

    def check_presets(self) -> None:
        """Raise StemwrightError where a preset of the catalogue, or a prior, separator or network
        that it names, is missing: waiting for it row by row would never end."""
        for name in sorted({row.preset for row in self.catalogue.rows}):
            self._keys.read(name)

    # -- below -------------------------------------------------------------------------------

    def _known(self) -> dict[Path, Job]:
        return {job.source: job for job in self.journal.all_jobs()}

    def _status(self, row: Row, job: Job | None) -> RowStatus:
        if job is None:
            return "new"
        same_file = job.identity == row.identity
        if job.state == State.QUARANTINED:
            return "failed" if same_file and job.preset == row.preset else "changed"
        if job.state != State.DONE:
            return "unfinished"
        if not same_file or job.sha256 is None or job.destination is None:
            return "changed"
        if job.key != self._keys.of(row.path, job.sha256, row.preset):
            return "changed"
        return "done" if holds_work(job.destination, job.key) else "changed"

    def _fit_jobs(self) -> None:
        """As many workers as cores, and as memory holds of the largest worker seen so far."""
        peak_mb = self.pool.peak_mb
        if not self._auto_jobs or not self.pool.finished or not peak_mb:
            return
        from engine import usable_cores

        self._auto_jobs = False
        own_mb = len(self.pool.in_work) * peak_mb + self.pool.resident_mb()
        by_memory = int(MEMORY_SHARE * (available_mb() + own_mb) / peak_mb)
        jobs = max(1, min(usable_cores(), by_memory))
        log_event("jobs", jobs=jobs, largest_worker_mb=round(peak_mb), cores=usable_cores())
        self.settings = self.settings.model_copy(update={"jobs": jobs})
        self.jobs.settings = self.settings


class _WorkKeys:
    """The key that a mix's work has now, with every preset and prior read only once."""

    def __init__(self, engine: Engine, settings: HotFolderSettings) -> None:
        self._engine, self._worker = engine, settings.worker
        self._parts: dict[str, Callable[[Path, str], str]] = {}

    def of(self, mix: Path, sha256: str, preset_name: str) -> str:
        """The key of a mix under a preset."""
        self.read(preset_name)
        return self._parts[preset_name](mix, sha256)

    def read(self, preset_name: str) -> None:
        """Read a preset and what it names; raises StemwrightError where something is missing."""
        if preset_name not in self._parts:
            preset = load_preset(preset_name)
            options = render_options(self._engine, self._worker)
            self._parts[preset_name] = partial(
                self._key,
                preset=preset,
                digest=preset.digest(),
                priors=self._engine.prior_hashes(preset, options),
                heard_by=self._engine.pitches_heard_by(preset),
                engine=self._engine.ENGINE_VERSION,
                search=preset.search.resolved(self._worker.tier).as_json(),
                seed=self._worker.seed,
            )

    def _key(
        self, mix: Path, sha256: str, *, preset: Preset, digest: str, priors: dict[str, str],
        heard_by: str | None, engine: str, search: object, seed: int,
    ) -> str:  # fmt: skip
        hashes = priors | self._engine.pitch_hashes(preset, mix, heard_by)
        return work_key(sha256, digest, hashes, engine, search, seed)


def output_names(rows: Iterable[Row]) -> dict[Path, Path]:
    """Where each row's set goes: by artist and title where given, else by the file's name."""
    rows = list(rows)
    parents = [row.path.parent for row in rows]
    common = Path(os.path.commonpath(parents)) if parents else Path()
    names = {}
    for row in rows:
        if row.title:
            name = f"{row.artist} - {row.title}" if row.artist else row.title
            names[row.path] = Path(safe_name(name))
        else:
            folders = row.path.parent.relative_to(common).parts
            names[row.path] = Path(*map(safe_name, folders), safe_name(row.path.stem))
    return names


def available_mb() -> float:
    """Memory that can be had without swapping, in megabytes; very much where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return float("1e9")
    return next(float(line.split()[1]) / 1000 for line in lines if line.startswith("MemAvailable"))


def _plan(statuses: Iterable[RowStatus]) -> BatchPlan:
    counts = Counter(statuses)
    return BatchPlan(**{status: counts[status] for status in get_args(RowStatus)})


def _new_job(row: Row, now: Instant) -> Job:
    job = new_job(row.path, row.identity, row.size, row.preset, State.SETTLED, now)
    return replace(job, priority=row.priority, row=row.number)


def _changed_job(row: Row, job: Job, *, again: bool) -> Job:
    """A job by the row that it has now; with `again` it forgets what came of it."""
    changed = replace(job, row=row.number, priority=row.priority)
    if again or (job.state not in FINAL and job.owner is None):
        changed = replace(changed, preset=row.preset, identity=row.identity, size=row.size)
    if not again:
        return changed
    return replace(
        changed, state=State.SETTLED, attempts=0, kills=0, faults=0, segment=0, segments=0,
        key=None, destination=None, code=None, reason=None, facts=None, sha256=None,
    )  # fmt: skip
