"""What a catalogue run leaves behind: a CSV of every row, and one page to look at in a browser."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from presets import printable

from ..atomic import write_whole
from ..clock import Instant
from ..inventory import content_sha256
from ..job import Job
from ..journal import Journal
from .list_file import shortened
from .listing import Catalogue, Row
from .summary import summary_page

STATUS_CSV = "status.csv"
SUMMARY_HTML = "summary.html"
STEM_COLUMN = "_stem_lufs"
QUIET_LUFS = -50.0
HOT_DBTP = 0.0
SHORT_S = 1.0
FIXED = (
    "row", "state", "path", "title", "artist", "isrc", "upc", "year", "preset", "destination",
    "duration_s", "null_dbfs", "loudness_lufs", "true_peak_dbtp", "leakage_db", "worst", "flags",
    "reason", "attempts", "elapsed_s", "separators", "sha256", "manifest_sha256",
)  # fmt: skip

_UNBROKEN = re.compile(r"[^\t\r\n]+")
# What begins a formula, in wide letters too; spreadsheets may skip the blanks before it, and take
# a tab or a line break at the beginning for the end of a cell.
_FORMULA = re.compile(r"[\t\r\n]|[ \u3000\xa0]*[=+\-@＝＋－＠]")


def write_reports(catalogue: Catalogue, journal: Journal, out: Path, now: Instant) -> list[Path]:
    """Write `status.csv` and `summary.html` into OUT; return both paths."""
    rows = list(report_rows(catalogue, journal, out))
    columns = report_columns(rows, catalogue)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(map(_plain, columns))
    writer.writerows([_plain(row.get(name)) for name in columns] for row in rows)
    write_whole(out / STATUS_CSV, text.getvalue())
    write_whole(out / SUMMARY_HTML, summary_page(rows, columns, now, out, _plain))
    return [out / STATUS_CSV, out / SUMMARY_HTML]


def report_rows(catalogue: Catalogue, journal: Journal, out: Path) -> Iterator[dict[str, Any]]:
    """One dictionary for every row, also for those that could not be worked on.

    Sets are told relative to `out`, so that the report stays true when the archive is moved.
    """
    jobs = {job.source: job for job in journal.all_jobs()}
    by_number: dict[int, dict[str, Any]] = {}
    for row in catalogue.rows:
        by_number[row.number] = _row_columns(row) | _outcome(jobs.get(row.path), out)
    for problem in catalogue.problems:
        path = printable(shortened(problem.path, 200))
        told = {"row": problem.row, "path": path, "state": "refused"}
        by_number[problem.row] = told | {"reason": f"{problem.code}: {problem.reason}"}
    yield from (by_number[number] for number in sorted(by_number))


def report_columns(rows: list[dict[str, Any]], catalogue: Catalogue) -> list[str]:
    """The fixed columns, then one per stem, then the catalogue's own."""
    stems = dict.fromkeys(name for row in rows for name in row if name.endswith(STEM_COLUMN))
    return [*FIXED, *stems, *map(own_column, catalogue.columns())]


def own_column(name: str) -> str:
    """The heading of a list's own column; one that is like ours (a report read again) is kept
    apart from it."""
    return f"{name} (list)" if name in FIXED or name.endswith(STEM_COLUMN) else name


def flags_of(facts: dict[str, Any]) -> list[str]:
    """What a person should listen to again."""
    flags = []
    for stem, lufs in stem_levels(facts).items():
        if stem != "residual" and (lufs is None or lufs < QUIET_LUFS):
            guess = ": instrumental?" if stem == "vocals" else ""
            flags.append(f"{stem} below {QUIET_LUFS:g} LUFS{guess}")
    if facts.get("null_dbfs") is not None:
        flags.append(f"stems null to {facts['null_dbfs']:.1f} dBFS only")
    peak = (facts.get("input") or {}).get("loudness", {}).get("true_peak_dbtp")
    if peak is not None and peak > HOT_DBTP:
        flags.append(f"mix peaks at {peak:.1f} dBTP")
    if "frames" in facts and facts["frames"] / facts["sample_rate"] < SHORT_S:
        flags.append("shorter than a second")
    return flags


def separators_of(facts: dict[str, Any]) -> str:
    """The separators of one's own that a set was made with, and the licence of each."""
    found = facts.get("separators") or {}
    return "; ".join(f"{name} ({about.get('licence', '')})" for name, about in found.items())


def stem_levels(facts: dict[str, Any]) -> dict[str, float | None]:
    """Integrated loudness of every dry stem; nothing for silence."""
    return {
        file["stem"]: file["loudness"]["integrated_lufs"]
        for file in facts.get("files", ())
        if file.get("kind") == "dry"
    }


def _row_columns(row: Row) -> dict[str, Any]:
    names = ("title", "artist", "isrc", "upc", "year", "preset")
    told = {name: getattr(row, name) for name in names}
    own = {own_column(name): text for name, text in row.extra.items()}
    return own | {"row": row.number, "path": printable(row.path), **told}


def _outcome(job: Job | None, out: Path) -> dict[str, Any]:
    if job is None:
        return {"state": "new"}
    facts = json.loads(job.facts) if job.facts else {}
    loudness = (facts.get("input") or {}).get("loudness", {})
    outcome: dict[str, Any] = {
        "state": str(job.state),
        "destination": "" if job.destination is None else _relative(job.destination, out),
        "reason": "" if job.reason is None else f"{job.code}: {job.reason}",
        "attempts": job.attempts,
        "sha256": job.sha256,
    }
    if "files" not in facts:
        return outcome
    levels, quality = stem_levels(facts), facts.get("quality") or {}
    worst = quality.get("worst")
    return outcome | {
        "duration_s": round(facts["frames"] / facts["sample_rate"], 3),
        "null_dbfs": "exact" if facts.get("null_dbfs") is None else facts["null_dbfs"],
        "loudness_lufs": loudness.get("integrated_lufs"),
        "true_peak_dbtp": loudness.get("true_peak_dbtp"),
        "leakage_db": quality.get("leakage_db"),
        "worst": f"{worst['listen']} ({worst['stem']})" if worst else None,
        "flags": "; ".join(flags_of(facts)),
        "elapsed_s": facts.get("elapsed_s"),
        "separators": separators_of(facts),
        "manifest_sha256": _manifest_sha256(job.destination),
        **{
            f"{stem}{STEM_COLUMN}": "silent" if lufs is None else lufs
            for stem, lufs in levels.items()
        },
    }


def _manifest_sha256(destination: Path | None) -> str:
    if destination is None:
        return "missing"
    try:
        return content_sha256(destination / "manifest.json")
    except OSError:
        return "missing"


def _relative(destination: Path, out: Path) -> str:
    inside = destination.is_relative_to(out)
    return printable(destination.relative_to(out).as_posix() if inside else destination)


def _plain(value: Any) -> str:  # noqa: ANN401
    """A cell, made printable but for its line breaks and tabs.

    Foreign text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = _UNBROKEN.sub(lambda part: printable(part[0]), str(value))
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """What was in a cell before it was kept from being a formula."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell[1:]) else cell
