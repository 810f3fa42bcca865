"""What a catalogue run leaves behind: a CSV of every row, and one page to look at in a browser."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from presets import printable, sha256_of, unplaced

from ..atomic import write_whole
from ..clock import Instant
from ..facts import JobFacts, SetFacts
from ..job import Job
from ..journal import Journal
from ..published import MANIFEST
from .list_file import shortened
from .listing import Catalogue, Row
from .report_row import FIXED, STEM_COLUMN, ReportRow, own_column, plain_cell
from .summary import summary_page

STATUS_CSV = "status.csv"
SUMMARY_HTML = "summary.html"
QUIET_LUFS = -50.0
HOT_DBTP = 0.0
SHORT_S = 1.0


def write_reports(catalogue: Catalogue, journal: Journal, out: Path, now: Instant) -> list[Path]:
    """Write `status.csv` and `summary.html` into OUT; return both paths."""
    rows = list(report_rows(catalogue, journal, out))
    columns = report_columns(rows, catalogue)
    table = [
        [plain_cell(cells.get(name)) for name in columns] for cells in map(ReportRow.cells, rows)
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(map(plain_cell, columns))
    writer.writerows(table)
    write_whole(out / STATUS_CSV, text.getvalue())
    write_whole(out / SUMMARY_HTML, summary_page(rows, columns, table, now, out))
    return [out / STATUS_CSV, out / SUMMARY_HTML]


def report_rows(catalogue: Catalogue, journal: Journal, out: Path) -> Iterator[ReportRow]:
    """Every row, also those that could not be worked on.

    Sets are told relative to `out`, so that the report stays true when the archive is moved.
    """
    jobs = {job.source: job for job in journal.all_jobs()}
    by_number = {row.number: _row(row, jobs.get(row.path), out) for row in catalogue.rows}
    for problem in catalogue.problems:
        by_number[problem.row] = ReportRow(
            problem.row,
            "refused",
            printable(shortened(problem.path, 200)),
            reason=f"{problem.code}: {problem.reason}",
        )
    yield from (by_number[number] for number in sorted(by_number))


def report_columns(rows: list[ReportRow], catalogue: Catalogue) -> list[str]:
    """The fixed columns, then one per stem, then the catalogue's own."""
    stems = dict.fromkeys(f"{stem}{STEM_COLUMN}" for row in rows for stem in row.stems)
    return [*FIXED, *stems, *map(own_column, catalogue.columns())]


def flags_of(facts: JobFacts) -> list[str]:
    """What a person should listen to again."""
    flags = []
    for stem, lufs in facts.stem_levels().items():
        if stem != "residual" and (lufs is None or lufs < QUIET_LUFS):
            guess = ": instrumental?" if stem == "vocals" else ""
            flags.append(f"{stem} below {QUIET_LUFS:g} LUFS{guess}")
    if facts.null_dbfs is not None:
        flags.append(f"stems null to {facts.null_dbfs:.1f} dBFS only")
    peak = facts.input.loudness.true_peak_dbtp
    if peak is not None and peak > HOT_DBTP:
        flags.append(f"mix peaks at {peak:.1f} dBTP")
    if facts.duration_s is not None and facts.duration_s < SHORT_S:
        flags.append("shorter than a second")
    return flags


def separators_of(facts: SetFacts) -> str:
    """The separators of one's own that a set was made with, and the licence of each."""
    return "; ".join(f"{name} ({card.licence})" for name, card in facts.separators.items())


def _row(row: Row, job: Job | None, out: Path) -> ReportRow:
    entered = ReportRow(
        row.number, "new", printable(row.path), row.title, row.artist, row.isrc, row.upc, row.year,
        row.preset, own=row.extra,
    )  # fmt: skip
    return entered if job is None else _with_set(_with_job(entered, job, out), job)


def _with_job(row: ReportRow, job: Job, out: Path) -> ReportRow:
    return replace(
        row,
        state=str(job.state),
        destination="" if job.destination is None else _relative(job.destination, out),
        reason="" if job.reason is None else f"{job.code}: {unplaced(job.source, job.reason)}",
        attempts=job.attempts,
        sha256=job.sha256,
    )


def _with_set(row: ReportRow, job: Job) -> ReportRow:
    facts = JobFacts.parse(job.facts)
    if not facts.has_set:
        return row
    loudness, worst = facts.input.loudness, facts.quality and facts.quality.worst
    return replace(
        row,
        duration_s=None if facts.duration_s is None else round(facts.duration_s, 3),
        null_dbfs="exact" if facts.null_dbfs is None else facts.null_dbfs,
        loudness_lufs=loudness.integrated_lufs,
        true_peak_dbtp=loudness.true_peak_dbtp,
        leakage_db=facts.quality.leakage_db if facts.quality else None,
        worst=f"{worst.listen} ({worst.stem})" if worst else None,
        flags="; ".join(flags_of(facts)),
        elapsed_s=facts.elapsed_s,
        separators=separators_of(facts),
        manifest_sha256=_manifest_sha256(job.destination),
        stems=facts.stem_levels(),
    )


def _manifest_sha256(destination: Path | None) -> str:
    if destination is None:
        return "missing"
    try:
        return sha256_of(destination / MANIFEST)
    except OSError:
        return "missing"


def _relative(destination: Path, out: Path) -> str:
    inside = destination.is_relative_to(out)
    return printable(destination.relative_to(out).as_posix() if inside else destination)
