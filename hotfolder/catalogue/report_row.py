"""A row of a catalogue's report: its columns, and its cells as a spreadsheet may read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from presets import printable

STEM_COLUMN = "_stem_lufs"
Cell = str | int | float | None


@dataclass(frozen=True)
class ReportRow:
    """One row of the report: the fixed columns in their order, then those that lists and sets add.

    `state` is the job's, `new` without one, or `refused` for a row that could not be worked on.
    A null is a level in dBFS or `exact`; a stem's loudness in LUFS is none for silence.
    """

    row: int
    state: str
    path: str
    title: str = ""
    artist: str = ""
    isrc: str = ""
    upc: str = ""
    year: str = ""
    preset: str = ""
    destination: str = ""
    duration_s: float | None = None
    null_dbfs: float | Literal["exact"] | None = None
    loudness_lufs: float | None = None
    true_peak_dbtp: float | None = None
    leakage_db: float | None = None
    worst: str | None = None
    flags: str = ""
    reason: str = ""
    attempts: int | None = None
    elapsed_s: float | None = None
    separators: str = ""
    sha256: str | None = None
    manifest_sha256: str = ""
    stems: Mapping[str, float | None] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)

    def cells(self) -> dict[str, Cell]:
        """Everything by the headings of the table."""
        levels: dict[str, Cell] = {
            f"{stem}{STEM_COLUMN}": "silent" if lufs is None else lufs
            for stem, lufs in self.stems.items()
        }
        own = {own_column(name): text for name, text in self.own.items()}
        return {**own, **{name: getattr(self, name) for name in FIXED}, **levels}


FIXED = tuple(f.name for f in fields(ReportRow) if f.name not in ("stems", "own"))


_UNBROKEN = re.compile(r"[^\t\r\n]+")
# What begins a formula, in wide letters too; spreadsheets may skip the blanks before it, and take
# a tab or a line break at the beginning for the end of a cell.
_FORMULA = re.compile(r"[\t\r\n]|[ \u3000\xa0]*[=+\-@＝＋－＠]")


def own_column(name: str) -> str:
    """The heading of a list's own column; one that is like ours (a report read again) is kept
    apart from it."""
    return f"{name} (list)" if name in FIXED or name.endswith(STEM_COLUMN) else name


def plain_cell(value: Cell) -> str:
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
