"""Beyond one machine: the rows of a catalogue on the workers of a Dask cluster.

The driver keeps the journal and submits only what it says is undone, so a scheduler or a driver
that dies loses nothing: run it again. Every worker keeps its sessions open between jobs. Sets are
written to shared storage under a hidden name of their own and appear by one rename; should two
workers do the same job, the second finds the set there, sees that it is the same, and is content.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from presets import StemwrightError, load_preset

from ..clock import Instant
from ..engine_protocol import Engine, load_engine, render_options
from ..failures import Failure
from ..job import Job
from ..job_files import attempt_of
from ..logs import log_event
from ..published import holds_work, read_published, summary
from ..worker_process import failure_of, refuse_foreign_plugins, work_facts
from ..worker_protocol import work_request
from .batch import Batch

if TYPE_CHECKING:
    from engine import Renderer, RenderOptions
    from presets import Preset

PER_THREAD = 2  # jobs waiting at every worker, so that none is idle between two
POLL_S = 0.2
HASH = 12  # digits that are told


class Cluster:
    """One client of a scheduler; `local:N` starts one here with N workers of one thread."""

    def __init__(self, address: str, *, gpu: bool = False) -> None:
        try:
            distributed = import_module("distributed")
        except ImportError as error:
            sentence = "this needs the extra: pip install 'stemwright[cluster]'."
            raise StemwrightError("cluster-not-installed", sentence) from error
        self._local: Any = None
        if address.startswith("local:"):
            workers = int(address.removeprefix("local:"))
            self._local = distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
            )
        self.client: Any = distributed.Client(self._local or address, set_as_default=False)
        self.client.run_on_scheduler(_suspect_early)
        self._resources = {"GPU": 1} if gpu else None

    def check(
        self,
        presets: set[str],
        backend: str,
        prior_folders: tuple[str, ...],
        separator_folders: tuple[str, ...] = (),
    ) -> None:
        """Refuse a cluster whose workers would not all do the same work as this machine."""
        self.client.get_versions(check=True)
        asked = (presets, backend, prior_folders, separator_folders)
        mine = fingerprint(*asked)
        theirs = self.client.run(fingerprint, *asked)
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
            batch.pool.renew(now)
            for future in [future for future in futures if future.done()]:
                self._end(batch, futures.pop(future), future, now)
            if not batch.is_stopping:
                for job in self._next(batch, list(futures.values()), suspects, now):
                    futures[self._submit(batch, job)] = job
            if not futures and (batch.is_stopping or batch.journal.unfinished() == 0):
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
        self.client.close()
        if self._local is not None:
            self._local.close()

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
        claimed = batch.pool.claim_some(room, now)
        suspects += [job for job in claimed if job.kills]
        return [job for job in claimed if not job.kills]

    def _submit(self, batch: Batch, job: Job) -> Any:  # noqa: ANN401
        request, key = _request(batch, job), f"{job.id}-{job.attempts}"
        return self.client.submit(
            do_request, request, key=key, pure=False, resources=self._resources
        )

    def _end(self, batch: Batch, job: Job, future: Any, now: Instant) -> None:  # noqa: ANN401
        if future.status == "finished":
            result = future.result()
        elif facts := _find_published(_request(batch, job)):  # its worker died, but only then
            result = {"done": facts}
        else:  # its worker died, and another one with it
            reason = f"{type(future.exception()).__name__}: {future.exception()}"
            batch.pool.fail(job, Failure("worker-crash", reason), now, killed=True)
            return
        if "failed" in result:
            batch.pool.fail(job, Failure(**result["failed"]), now)
            return
        facts = result["done"]
        noted = batch.journal.advance(
            job, job.state, now, sha256=facts["sha256"], key=facts["key"]
        )
        batch.pool.finish(noted, now, facts)


def fingerprint(
    presets: set[str],
    backend: str,
    prior_folders: tuple[str, ...],
    separator_folders: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Everything that the work depends on besides the mix."""
    engine = load_engine(backend)
    options = render_options(
        engine, {"prior_folders": prior_folders, "separator_folders": separator_folders}
    )
    loaded = {name: load_preset(name) for name in sorted(presets)}
    return {
        "engine": engine.ENGINE_VERSION,
        "presets": {name: preset.digest() for name, preset in loaded.items()},
        "priors": {name: engine.prior_hashes(preset, options) for name, preset in loaded.items()},
    }


def _differences(mine: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    """What differs, by name, with the beginnings of both hashes."""
    here, there = _by_name(mine), _by_name(theirs)
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            yield f"{name} is {there.get(name, 'missing')} there, {here.get(name, 'missing')} here"


def _by_name(found: dict[str, Any]) -> dict[str, str]:
    """A fingerprint as what a person calls its parts."""
    named = {"the program": found["engine"]}
    named |= {f"preset {name}": digest[:HASH] for name, digest in found["presets"].items()}
    for preset, hashes in found["priors"].items():
        for name, digest in hashes.items():
            what = name.replace(":", " ") if ":" in name else f"prior of {name} in {preset}"
            named[what] = digest[:HASH]
    return named


def _suspect_early(dask_scheduler: Any) -> None:  # noqa: ANN401
    """A job that ends two workers is poison, here as in the hot folder; Dask would try four."""
    dask_scheduler.allowed_failures = 1


def _request(batch: Batch, job: Job) -> dict[str, Any]:
    workspace = batch.out / ".work" / job.id
    request = work_request(job, job.source, workspace, batch.settings, batch.backend)
    return request | {"destination": str(job.destination)}


def do_request(request: dict[str, Any]) -> dict[str, Any]:
    """One job, on a worker. Failures come back as words; only a dying worker is an exception."""
    began_s = time.monotonic()
    try:
        facts = _render(request)
    except Exception as error:
        return {"failed": failure_of(error)}
    return {"done": facts | {"elapsed_s": round(time.monotonic() - began_s, 3)}}


def _render(request: dict[str, Any]) -> dict[str, Any]:
    engine, preset, options = _engine_of(request)
    refuse_foreign_plugins(preset, request["plugin_folders"])
    mix, destination = Path(request["mix"]), Path(request["destination"])
    facts = work_facts(engine, engine.verify_mix(mix), preset, options)
    if there := holds_work(destination, facts["key"]):
        return facts | there.facts
    # A name of its own, also for the half-written set: a worker given up for lost may go on. It
    # begins with the job's number, by which the next run finds what a dead worker left.
    place = Path(request["workspace"])
    place = place.with_name(attempt_of(place.name))
    renderer = _renderer(engine, request, preset, options)
    renderer.options = replace(renderer.options, workspace=place / facts["key"][:16])
    try:
        manifest = renderer.render(mix, destination)
    except StemwrightError as error:
        # a worker given up for lost may have gone on, and published first
        there = holds_work(destination, facts["key"])
        if error.code != "destination-exists" or there is None:
            raise
        return facts | there.facts
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return facts | summary(json.loads(manifest.to_json()))


def _find_published(request: dict[str, Any]) -> dict[str, Any] | None:
    """The facts of a set that a worker published before it died, if it came so far."""
    destination = Path(request["destination"])
    there = read_published(destination)
    if there is None:
        return None
    engine, preset, options = _engine_of(request)
    try:
        facts = work_facts(engine, engine.verify_mix(Path(request["mix"])), preset, options)
    except StemwrightError:  # the next attempt says what is wrong with the mix
        return None
    return facts | there.facts if there.key == facts["key"] else None


def _engine_of(request: dict[str, Any]) -> tuple[Engine, Preset, RenderOptions]:
    """The engine, the preset and the options that a request names."""
    engine = load_engine(request["backend"])
    options = render_options(engine, request["options"])
    return engine, load_preset(request["preset"]), options


def _renderer(
    engine: Engine, request: dict[str, Any], preset: Preset, options: RenderOptions
) -> Renderer:
    """The open sessions of this worker for a preset; kept until the preset changes."""
    from distributed import get_worker

    kept = get_worker().__dict__.setdefault("stemwright_renderers", {})
    name = (request["preset"], preset.digest(), repr(sorted(request["options"].items())))
    if name not in kept:
        kept.clear()  # one preset's sessions at a time: memory is dearer than opening
        kept[name] = engine.Renderer(preset, options)
    renderer: Renderer = kept[name]
    return renderer
