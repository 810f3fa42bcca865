"""The commands of catalogues: `batch` and `verify`.

Each opens its modules when it is called: `--help` stays instant.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from engine.cli import (
    COMMERCIAL_ONLY,
    DEADLINE,
    DEVICE,
    FOLDER,
    NATURAL,
    PRIORS,
    SEED,
    SEPARATORS,
    STRICT_DEVICE,
    TIER,
    UNCHECKED,
    output,
)
from presets import StemwrightError, complain, duration_text, load_preset, placed_at, say

from .arguments import STATE

if TYPE_CHECKING:
    from ..catalogue.batch import Batch
    from ..catalogue.listing import Catalogue, Row

MOST_SHOWN = 20  # failures, on the terminal


@click.command()
@click.argument("catalogue")
@output("Folder of the sets and the report.", required=True)
@click.option("--preset", default="default", show_default=True, help="For rows that name none.")
@TIER
@click.option(
    "--jobs", type=click.IntRange(0, 64), default=0, help="Workers; 0 measures cores and memory."
)
@DEVICE
@STRICT_DEVICE
@SEED
@click.option("--threads", type=NATURAL, help="Of one worker.  [1, or all cores for one worker]")
@PRIORS
@SEPARATORS
@UNCHECKED
@COMMERCIAL_ONLY
@DEADLINE
@click.option("--cluster", help="tcp://scheduler:8786, or local:N.")
@click.option("--gpu", is_flag=True, help="Give jobs to workers with --resources GPU=1 only.")
@click.option("--retry-failed", is_flag=True, help="Try rows again that failed before.")
@click.option("--strict", is_flag=True, help="Begin nothing when any row is wrong.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and for how long.")
@click.option("--json", "as_json", is_flag=True, help="Progress as JSON lines.")
@click.option("--encoding", help="Of the list, for example mac_roman.  [found]")
@STATE
def batch(
    catalogue: str, output: Path, preset: str, tier: str | None, jobs: int, device: str,
    strict_device: bool, seed: int, threads: int | None,
    priors: tuple[Path, ...], separators: tuple[Path, ...],
    unchecked: Literal["refuse", "warn"],
    commercial_only: bool, deadline: float | None,
    cluster: str | None, gpu: bool, retry_failed: bool, strict: bool, dry_run: bool,
    as_json: bool, encoding: str | None, state: Path | None,
) -> None:  # fmt: skip
    """Separate all mixes of a CATALOGUE; run again to resume.

    A catalogue is a folder, a glob, a CSV or a JSONL file.
    """
    from engine import Device

    from ..catalogue.batch import Batch
    from ..catalogue.listing import read_catalogue
    from ..logs import log_to
    from ..root import state_folder
    from ..settings import HotFolderSettings, WorkerSettings

    # the journal in JSON with -v; else what failed is told in sentences at the end
    log_to(sys.stderr, logging.getLogger().level if _is_verbose() else logging.CRITICAL)
    Device.parse(device, strict=strict_device)  # told now, and not by every row
    read = read_catalogue(catalogue, preset, tier, encoding)
    _print_problems(read, catalogue, strict=strict)
    worker = WorkerSettings(
        device=device, strict_device=strict_device, seed=seed, tier=tier,
        threads=(1 if jobs != 1 else 0) if threads is None else threads,
        prior_folders=tuple(map(str, priors)),
        separator_folders=tuple(map(str, separators)), unchecked_separators=unchecked,
        commercial_only=commercial_only, deadline_s=deadline,
    )  # fmt: skip
    settings = HotFolderSettings(jobs=max(jobs, 1), incomplete_after_s=0, worker=worker)
    journal = state_folder(output.absolute(), state)
    run = Batch(read, output, journal, settings, auto_jobs=jobs == 0)
    with contextlib.closing(run):
        run.check_presets()
        undone = run.undone(retry_failed=retry_failed)
        _print_cost(run, undone)
        if dry_run:
            for line in _forecast(run, undone):
                say(line)
            sys.exit(1 if read.problems else 0)
        run.enter(retry_failed=retry_failed)
        finished = _on_cluster(run, cluster, gpu) if cluster else _here(run, as_json)
        failed = _report(run, as_json)
    sys.exit(130 if not finished else 1 if failed else 0)


def _print_problems(read: Catalogue, name: str, *, strict: bool) -> None:
    """Rows that cannot be worked on; with `strict` they end everything."""
    for note in read.notes:
        complain(f"stemwright: {note}")
    for problem in read.problems:
        complain(f"stemwright: {problem}")
    if strict and read.problems:
        raise StemwrightError("catalogue-invalid", f"{name}: {len(read.problems)} rows are wrong.")


def _print_cost(run: Batch, undone: Sequence[Row]) -> None:
    """How long separators of one's own will take, before they begin; once for each preset."""
    from ..catalogue.forecast import audio_seconds, separator_costs

    names = {row.preset for row in run.catalogue.rows}
    costly = {name for name in names if load_preset(name).sources.cards}
    if costly:
        rows = [row for row in undone if row.preset in costly]
        lengths = audio_seconds(row.path for row in rows)
        for line in separator_costs(rows, lengths, run.settings):
            complain(line)


def _forecast(run: Batch, rows: Sequence[Row]) -> Iterator[str]:
    """What a run would do, and how long by what a piece of it takes on this machine."""
    from ..catalogue.forecast import audio_seconds, forecast_s, measured_costs

    plan = run.plan()
    yield (
        f"{plan.new} new, {plan.changed} changed, {plan.unfinished} unfinished, "
        f"{plan.done} done, {plan.failed} failed before, {len(run.catalogue.problems)} refused"
    )
    lengths = audio_seconds(row.path for row in rows)
    if not sum(lengths):
        return
    try:
        costs = measured_costs(rows, lengths, run.settings)
    except StemwrightError as error:
        yield error.sentence
        return
    jobs = run.settings.jobs
    at_once = "one after the other" if jobs == 1 else f"{jobs} at once"
    if run.chooses_jobs:
        at_once = "one after the other; less where cores and memory hold more workers"
    yield (
        f"{duration_text(sum(lengths))} of audio in {len(rows)} title(s): about "
        f"{duration_text(forecast_s(rows, lengths, costs) / jobs)}, {at_once}, by pieces that "
        "were separated on this machine"
    )


def _on_cluster(run: Batch, address: str, gpu: bool) -> bool:
    """Work the catalogue off on many machines; false when it was stopped before the end."""
    from ..catalogue.cluster import Cluster

    presets = {row.preset for row in run.catalogue.rows}
    with Cluster(address, gpu=gpu) as remote:
        remote.check(presets, "engine", run.settings.worker)
        return remote.run(run)


def _here(run: Batch, as_json: bool) -> bool:
    """Work the catalogue off on this machine; false when it was stopped before the end."""
    from ..catalogue.terminal import BatchScreen

    with BatchScreen(as_json=as_json) as screen:
        return run.run(screen.show)


def _report(run: Batch, as_json: bool) -> int:
    """Write the reports, tell how it went, and count what failed or was refused."""
    from ..catalogue.report import write_reports
    from ..catalogue.terminal import sentence
    from ..clock import Instant
    from ..job import State

    now = Instant.now()
    failed = run.journal.in_state(State.QUARANTINED)
    for job in failed[:MOST_SHOWN]:
        complain(f"failed: {placed_at(job.source, job.reason or '')} ({job.code})")
    if len(failed) > MOST_SHOWN:
        complain(f"failed: {len(failed) - MOST_SHOWN} more, see the report")
    if not as_json:
        complain(sentence(run.snapshot(now)))
    for path in write_reports(run.catalogue, run.journal, run.out, now):
        (complain if as_json else say)(str(path))
    return len(failed) + len(run.catalogue.problems)


def _is_verbose() -> bool:
    return logging.getLogger().isEnabledFor(logging.INFO)


@click.command()
@click.argument("output", type=FOLDER)
@click.option(
    "--mixes", multiple=True, type=FOLDER, help="Where the mixes are, for the nulls; may repeat."
)
@STATE
def verify(output: Path, mixes: tuple[Path, ...], state: Path | None) -> None:
    """Prove that all sets in OUTPUT are unchanged and still null."""
    from ..catalogue.audit import mixes_below, verify_sets
    from ..catalogue.expected import expected_sets
    from ..root import state_folder

    for folder in (output, *mixes):
        if not folder.is_dir():
            raise StemwrightError("folder-missing", f"{folder}: no such folder.")
    try:
        journal = state_folder(output.absolute(), state)
    except StemwrightError:  # without a home there is no journal either
        journal = None
    expected = expected_sets(output, journal)
    wrong = sets = 0
    for audit in verify_sets(output, mixes_below(list(mixes)), expected):
        sets += 1
        wrong += not audit.is_sound
        verdict = "sound" if audit.is_sound else "; ".join(audit.problems)
        say(f"{audit.folder}: {verdict} (files: {audit.files}, null: {audit.null})")
    for trouble in expected.troubles:
        complain(f"stemwright: {output}: {trouble}")
    if not sets:
        raise StemwrightError("archive-empty", f"{output}: there is no set below this folder.")
    if expected.note:
        complain(f"stemwright: note: {expected.note}")
    say(f"{sets} sets, {wrong} not sound")
    sys.exit(1 if wrong or expected.troubles else 0)
