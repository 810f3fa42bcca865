"""The catalogue's page: every row of a run in the browser, to filter, sort, plot and listen to.

One file without anything outside it. Rows are data in the page and a hundred of them stand in
the table at a time, so that a catalogue of many thousands is turned over as quickly as one of
ten. The lanes of a set are its own listening page, one click away where the set has one.
"""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from engine import script_json

from ..clock import Instant, iso_time
from .report_row import ReportRow, plain_cell

LISTENING_PAGE = "report.html"
PLOTTED = ("null_dbfs", "loudness_lufs", "leakage_db")
FIGURE = re.compile(r"(?<!\S)[+-]?\d[\d.]*(?!\S)")
EXACT_NULL_DBFS = -200.0  # where an exact null is drawn: below all others


def summary_page(
    rows: list[ReportRow], columns: list[str], table: list[list[str]], now: Instant, out: Path
) -> str:
    """The page as HTML; `table` has the rows' cells, printable and harmless."""
    counts = Counter(row.state for row in rows)
    hours = sum(row.duration_s or 0.0 for row in rows) / 3600
    counted = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    sums = f"{len(rows)} rows: {counted}. {hours:.2f} hours of audio. {iso_time(now.wall_s)}"
    data = {
        "sums": sums,
        "columns": [plain_cell(name) for name in columns],
        "rows": table,
        "pages": [_listening_page(row, out) for row in rows],
        "plots": {name: [_plotted(getattr(row, name)) for row in rows] for name in PLOTTED},
        "flags": _flags(rows),
        "column": {name: columns.index(name) for name in ("state", "path", "title", "flags")},
    }
    template = files(__package__).joinpath("assets", "summary.html").read_text(encoding="utf-8")
    return template.replace("@@DATA@@", script_json(data), 1)


def _listening_page(row: ReportRow, out: Path) -> str:
    """The address of a set's page, as seen from the catalogue's; empty where it has none."""
    destination = row.destination
    if not destination or not (out / destination / LISTENING_PAGE).is_file():
        return ""
    inside = not Path(destination).is_absolute()
    place = f"{destination}/{LISTENING_PAGE}"
    return quote(place) if inside else Path(place).as_uri()


def _plotted(value: float | Literal["exact"] | None) -> float | None:
    return EXACT_NULL_DBFS if value == "exact" else value


def _flags(rows: list[ReportRow]) -> dict[str, int]:
    """How many rows bear each kind of flag; figures in a flag do not make another kind."""
    found: Counter[str] = Counter()
    for row in rows:
        found.update({flag_kind(flag) for flag in row.flags.split("; ") if flag})
    return dict(found.most_common())


def flag_kind(flag: str) -> str:
    """A flag without its figures: `mix peaks at 0.4 dBTP` is `mix peaks at … dBTP`."""
    words = flag.split(" ")
    return " ".join(
        "…" if word.lstrip("+-").replace(".", "").isdigit() else word for word in words
    )
