"""What a catalogue run leaves behind: a CSV of every row, and one page to look at in a browser."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from presets import printable

from ..atomic import write_whole
from ..clock import Instant, iso_time
from ..inventory import content_sha256
from ..job import Job
from ..journal import Journal
from .list_file import shortened
from .listing import Catalogue, Row

STATUS_CSV = "status.csv"
SUMMARY_HTML = "summary.html"
STEM_COLUMN = "_stem_lufs"
QUIET_LUFS = -50.0
HOT_DBTP = 0.0
SHORT_S = 1.0
FIXED = (
    "row", "state", "path", "title", "artist", "isrc", "upc", "year", "preset", "destination",
    "duration_s", "null_dbfs", "loudness_lufs", "true_peak_dbtp", "leakage_db", "worst", "flags",
    "reason", "attempts", "elapsed_s", "sha256", "manifest_sha256",
)  # fmt: skip

_UNBROKEN = re.compile(r"[^\t\r\n]+")
# What begins a formula, in wide letters too; spreadsheets may skip the blanks before it, and take
# a tab or a line break at the beginning for the end of a cell.
_FORMULA = re.compile(r"[\t\r\n]|[ \u3000\xa0]*[=+\-@＝＋－＠]")


def write_reports(catalogue: Catalogue, journal: Journal, out: Path, now: Instant) -> list[Path]:
    """Writes `status.csv` and `summary.html` into OUT; returns both paths."""
    rows = list(report_rows(catalogue, journal, out))
    columns = report_columns(rows, catalogue)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(map(_plain, columns))
    writer.writerows([_plain(row.get(name)) for name in columns] for row in rows)
    write_whole(out / STATUS_CSV, text.getvalue())
    write_whole(out / SUMMARY_HTML, summary_page(rows, columns, now))
    return [out / STATUS_CSV, out / SUMMARY_HTML]


def report_rows(catalogue: Catalogue, journal: Journal, out: Path) -> Iterator[dict[str, Any]]:
    """One dictionary for every row, also for those that could not be worked on.

    Sets are told relative to `out`, so that the report stays true when the archive is moved.
    """
    jobs = {job.source: job for job in journal.all_jobs()}
    by_number: dict[int, dict[str, Any]] = {}
    for row in catalogue.rows:
        by_number[row.number] = _told(row) | _outcome(jobs.get(row.path), out)
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


def stem_levels(facts: dict[str, Any]) -> dict[str, float | None]:
    """Integrated loudness of every dry stem; nothing for silence."""
    return {
        file["stem"]: file["loudness"]["integrated_lufs"]
        for file in facts.get("files", ())
        if file.get("kind") == "dry"
    }


def summary_page(rows: list[dict[str, Any]], columns: list[str], now: Instant) -> str:
    """One HTML file without anything outside it; a click on a heading sorts."""
    counts = Counter(str(row.get("state")) for row in rows)
    hours = sum(row.get("duration_s") or 0.0 for row in rows) / 3600
    counted = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    heading = "".join(f"<th>{html.escape(_plain(name))}</th>" for name in columns)
    body = "\n".join(
        f'<tr class="{html.escape(str(row.get("state")))}">'
        + "".join(f"<td>{html.escape(_plain(row.get(name)))}</td>" for name in columns)
        + "</tr>"
        for row in rows
    )
    told = f"{len(rows)} rows: {counted}. {hours:.2f} hours of audio. {iso_time(now.wall_s)}"
    return _PAGE.format(told=html.escape(told), heading=heading, body=body)


def _told(row: Row) -> dict[str, Any]:
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


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Stemwright: catalogue</title><style>
body {{ font: 14px system-ui, sans-serif; margin: 2em }}
table {{ border-collapse: collapse }}
th {{ cursor: pointer; position: sticky; top: 0; background: #eee }}
th, td {{ padding: .2em .6em; border-bottom: 1px solid #ccc; text-align: left }}
td {{ max-width: 24em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }}
.done td:nth-child(2) {{ color: #060 }}
.quarantined td:nth-child(2), .refused td:nth-child(2) {{ color: #a00 }}
</style></head><body><h1>Catalogue</h1><p>{told}</p>
<input placeholder="filter" aria-label="filter">
<table><thead><tr>{heading}</tr></thead><tbody>
{body}
</tbody></table><script>
const rows = document.querySelector("tbody");
document.querySelectorAll("th").forEach((heading, column) => {{
  let turn = -1;
  heading.onclick = () => {{
    turn = -turn;
    const cell = row => row.cells[column].textContent;
    const number = text => text === "" || isNaN(text) ? null : Number(text);
    [...rows.rows].sort((a, b) => {{
      const x = number(cell(a)), y = number(cell(b));
      const order = x !== null && y !== null ? x - y : cell(a).localeCompare(cell(b));
      return turn * order;
    }}).forEach(row => rows.append(row));
  }};
}});
document.querySelector("input").oninput = event => {{
  const wanted = event.target.value.toLowerCase();
  for (const row of rows.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
}};
</script></body></html>
"""
