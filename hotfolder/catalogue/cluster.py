"""Beyond one machine: the rows of a catalogue on the workers of a Dask cluster.

The driver keeps the journal and submits only what it says is undone, so a scheduler or a driver
that dies loses nothing: run it again. Every worker keeps its sessions open between jobs. Sets are
written to shared storage under a hidden name of their own and appear by one rename; should two
workers do the same job, the second finds the set there, sees that it is the same, and is content.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from presets import StemwrightError, load_preset

from ..clock import Instant
from ..engine_protocol import Engine, load_engine, render_options
from ..facts import JobFacts, SetFacts, WorkFacts
from ..failures import Failure
from ..job import Job
from ..kept_renderer import KeptRenderer
from ..logs import log_event
from ..partials import attempt_of
from ..published import holds_work, read_published
from ..settings import WorkerSettings
from ..worker_process import facts_of_set, failure_of, refuse_foreign_plugins, work_facts
from ..worker_protocol import WorkCommand, work_command
from .batch import Batch

if TYPE_CHECKING:
    from engine import RenderOptions
    from presets import Preset

PER_THREAD = 2  # jobs waiting at every worker, so that none is idle between two
POLL_S = 0.2
HASH = 12  # digits that are shown


class Cluster:
    """One client of a scheduler; `local:N` starts one here with N workers of one thread."""

    def __init__(self, address: str, *, gpu: bool = False) -> None:
        try:
            distributed = import_module("distributed")
        except ImportError as error:
            sentence = "this needs the extra: pip install 'stemwright[cluster]'."
            raise StemwrightError("cluster-not-installed", sentence) from error
        self._resources = {"GPU": 1} if gpu else None
        with contextlib.ExitStack() as opened:
            scheduler: Any = address
            if address.startswith("local:"):
                workers = int(address.removeprefix("local:"))
                scheduler = opened.enter_context(
                    distributed.LocalCluster(
                        n_workers=workers, threads_per_worker=1, processes=True,
                        dashboard_address=None,
                    )
                )  # fmt: skip
            client = distributed.Client(scheduler, set_as_default=False)
            self.client: Any = opened.enter_context(client)
            self.client.run_on_scheduler(_suspect_early)
            self._opened = opened.pop_all()

    def check(self, presets: set[str], backend: str, settings: WorkerSettings) -> None:
        """Refuse a cluster whose workers would not all do the same work as this machine."""
        self.client.get_versions(check=True)
        asked = (presets, backend, settings)
        mine = fingerprint(*asked)
        theirs = self.client.run(fingerprint_or_failure, *asked)
        if not theirs:
            raise StemwrightError("cluster-empty", "the cluster has no workers. Start some.")
        different = [
            f"{worker} ({', '.join(_differences(mine, found))})"
            for worker, found in sorted(theirs.items())
            if found != mine
        ]
        if different:
            raise StemwrightError(
                "cluster-differs",
                "these workers have another program, other presets or priors or separators than "
                f"this machine: {', '.join(different)}. Install the same on all.",
            )

    def run(self, batch: Batch) -> bool:
        """Work a catalogue off; false when it was stopped before."""
        futures: dict[Any, Job] = {}
        suspects: list[Job] = []
        began = Instant.now()
        while True:
            now = Instant.now()
            batch.jobs.renew(now)
            for future in [future for future in futures if future.done()]:
                self._end(batch, futures.pop(future), future, now)
            if not batch.is_stopping:
                for job in self._next(batch, list(futures.values()), suspects, now):
                    futures[self._submit(batch, job)] = job
            if not futures and (batch.is_stopping or batch.journal.statistics.unfinished() == 0):
                elapsed_s = now.steady_s - began.steady_s
                log_event("cluster-ended", elapsed_s=elapsed_s, stopped=batch.is_stopping)
                return not batch.is_stopping
            time.sleep(POLL_S)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the cluster, and end it when it is our own."""
        self._opened.close()

    def _next(
        self, batch: Batch, in_work: list[Job], suspects: list[Job], now: Instant
    ) -> list[Job]:
        """The jobs to submit now.

        When a worker dies, Dask suspects every job that it had, also those that only waited
        there. So a suspect is tried again alone: if a worker dies then, it was this job.
        """
        if suspects:
            return [] if in_work else [suspects.pop()]
        if any(job.kills for job in in_work):
            return []
        room = PER_THREAD * sum(self.client.nthreads().values()) - len(in_work)
        claimed = batch.jobs.claim_some(room, now)
        suspects += [job for job in claimed if job.kills]
        return [job for job in claimed if not job.kills]

    def _submit(self, batch: Batch, job: Job) -> Any:  # noqa: ANN401
        request, key = _request(batch, job), f"{job.id}-{job.attempts}"
        return self.client.submit(
            do_request, request, key=key, pure=False, resources=self._resources
        )

    def _end(self, batch: Batch, job: Job, future: Any, now: Instant) -> None:  # noqa: ANN401
        if future.status == "finished":
            outcome: Done | Failure = future.result()
        elif done := _find_published(_request(batch, job)):  # its worker died, but only then
            outcome = done
        else:  # its worker died, and another one with it
            reason = f"{type(future.exception()).__name__}: {future.exception()}"
            batch.jobs.fail(job, Failure("worker-crash", reason), now, killed=True)
            return
        if isinstance(outcome, Failure):
            batch.jobs.fail(job, outcome, now)
            return
        work = outcome.work
        noted = batch.journal.advance(job, replace(job, sha256=work.sha256, key=work.key), now)
        batch.jobs.finish(noted, noted.destination, outcome.facts, now)


@dataclass(frozen=True)
class Fingerprint:
    """Everything that the work depends on besides the mix: version, and hashes by name."""

    engine: str
    presets: dict[str, str]
    priors: dict[str, dict[str, str]]  # preset -> stem or separator -> hash

    def named(self) -> dict[str, str]:
        """As what a person calls its parts, with the beginnings of the hashes."""
        named = {"the program": self.engine}
        named |= {f"preset {name}": digest[:HASH] for name, digest in self.presets.items()}
        for preset, hashes in self.priors.items():
            for name, digest in hashes.items():
                what = name.replace(":", " ") if ":" in name else f"prior of {name} in {preset}"
                named[what] = digest[:HASH]
        return named


def fingerprint(presets: set[str], backend: str, settings: WorkerSettings) -> Fingerprint:
    """What the work of these presets depends on, here."""
    engine = load_engine(backend)
    options = render_options(engine, settings)
    loaded = {name: load_preset(name) for name in sorted(presets)}
    return Fingerprint(
        engine.ENGINE_VERSION,
        {name: preset.digest() for name, preset in loaded.items()},
        {name: _hashes(engine, preset, options) for name, preset in loaded.items()},
    )


def _hashes(engine: Engine, preset: Preset, options: RenderOptions) -> dict[str, str]:
    heard_by = engine.pitches_heard_by(preset)
    hearing = {f"pitches:of {preset.name}": heard_by} if heard_by else {}
    return engine.prior_hashes(preset, options) | hearing


def fingerprint_or_failure(
    presets: set[str], backend: str, settings: WorkerSettings
) -> Fingerprint | Failure:
    """The same on a worker, which may lack a preset, a prior or a card."""
    try:
        return fingerprint(presets, backend, settings)
    except StemwrightError as error:
        return Failure(error.code, error.sentence)


def _differences(mine: Fingerprint, theirs: Fingerprint | Failure) -> Iterator[str]:
    """What differs, by name."""
    if isinstance(theirs, Failure):
        yield theirs.reason.rstrip(".")
        return
    here, there = mine.named(), theirs.named()
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            yield f"{name} is {there.get(name, 'missing')} there, {here.get(name, 'missing')} here"


def _suspect_early(dask_scheduler: Any) -> None:  # noqa: ANN401
    """A job that ends two workers is poison, here as in the hot folder; Dask would try four."""
    dask_scheduler.allowed_failures = 1


@dataclass(frozen=True)
class Request:
    """One job for a worker: all commands at once, since nobody is asked in between."""

    command: WorkCommand
    destination: Path


@dataclass(frozen=True)
class Done:
    """A job whose set is published."""

    work: WorkFacts
    facts: JobFacts


def _request(batch: Batch, job: Job) -> Request:
    assert job.destination is not None, "a job is reserved a place before it is submitted"
    workspace = batch.out / ".work" / job.id
    command = work_command(job, job.source, workspace, batch.settings, batch.backend)
    return Request(command, job.destination)


def do_request(request: Request) -> Done | Failure:
    """One job, on a worker. Only a dying worker is an exception; any other failure comes back,
    with the worker's address unless the mix itself is to blame."""
    began_s = time.monotonic()
    try:
        done = _render(request)
    except Exception as error:
        failure = failure_of(error, request.command.mix)
        if failure.code.startswith("mix-"):
            return failure
        return replace(failure, reason=f"worker {_this_worker().address}: {failure.reason}")
    return replace(done, facts=done.facts.took(time.monotonic() - began_s))


def _render(request: Request) -> Done:
    command, destination = request.command, request.destination
    engine, preset, options = _engine_of(command)
    refuse_foreign_plugins(preset, command.plugin_folders)
    # A name of its own, also for the half-written set: a worker given up for lost may go on. It
    # begins with the job's number, by which the next run finds what a dead worker left.
    place = command.workspace.with_name(attempt_of(command.workspace.name))
    try:
        mix = engine.decode_mix(command.mix, place / "decoded")
        hashes = engine.prior_hashes(preset, options)
        work = work_facts(engine, mix.facts, preset, options, hashes)
        if there := holds_work(destination, work.key):
            return _done(work, there.facts)
        options = replace(options, workspace=place / work.key[:16])
        renderer = _kept().of(engine, preset, hashes, options)
        try:
            return _done(work, facts_of_set(renderer.render(mix, destination)))
        except StemwrightError as error:
            # a worker given up for lost may have gone on, and published first
            there = holds_work(destination, work.key)
            if error.code != "destination-exists" or there is None:
                raise
            return _done(work, there.facts)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _done(work: WorkFacts, facts: SetFacts) -> Done:
    return Done(work, JobFacts.of_work(work).with_set(facts))


def _find_published(request: Request) -> Done | None:
    """What is known of a set that a worker published before it died, if it came so far."""
    there = read_published(request.destination)
    if there is None:
        return None
    engine, preset, options = _engine_of(request.command)
    try:
        mix = engine.verify_mix(request.command.mix)
        hashes = engine.prior_hashes(preset, options)
        work = work_facts(engine, mix, preset, options, hashes)
    except StemwrightError:  # the next attempt says what is wrong with the mix
        return None
    return _done(work, there.facts) if there.key == work.key else None


def _engine_of(command: WorkCommand) -> tuple[Engine, Preset, RenderOptions]:
    """The engine, the preset and the options that a command names."""
    engine = load_engine(command.backend)
    return engine, load_preset(command.preset), render_options(engine, command.settings)


def _kept() -> KeptRenderer:
    """The open sessions of this thread of this worker: a renderer takes one mix at a time."""
    by_thread = _this_worker().__dict__.setdefault("stemwright_renderers", {})
    kept: KeptRenderer = by_thread.setdefault(threading.get_ident(), KeptRenderer())
    return kept


def _this_worker() -> Any:  # noqa: ANN401 - Dask has no types
    from distributed import get_worker

    return get_worker()
