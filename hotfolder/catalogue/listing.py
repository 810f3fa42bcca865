"""A catalogue: a folder, a glob, or a CSV or JSONL list of mixes, checked before any work.

Known columns are path, title, artist, isrc, upc, year, preset and priority; all others are kept
and appear in the report again. A row that is wrong never stops the others.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from presets import StemwrightError, preset_names, suggestion

from ..filenames import NameRules, shown
from ..inventory import content_identity, content_sha256, take_inventory

KNOWN = ("path", "title", "artist", "isrc", "upc", "year", "preset", "priority")
MAX_DEPTH = 32
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")


@dataclass(frozen=True)
class Row:
    """One title. `number` is its line in the list, counted from one without the heading."""

    number: int
    path: Path
    preset: str
    title: str = ""
    artist: str = ""
    isrc: str = ""
    upc: str = ""
    year: str = ""
    priority: int = 0
    extra: dict[str, str] = field(default_factory=dict)
    identity: str = ""
    size: int = 0


@dataclass(frozen=True)
class Problem:
    """Why a row cannot be worked on."""

    row: int
    path: str
    code: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}: {shown(self.path)}: {self.reason}"


@dataclass(frozen=True)
class Catalogue:
    """The rows that can be worked on, and what is wrong with the others."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]

    def columns(self) -> list[str]:
        """Unknown columns, in the order in which they were first seen."""
        return list(dict.fromkeys(name for row in self.rows for name in row.extra))


def read_catalogue(
    where: str | Path, default_preset: str = "default", tier: str | None = None
) -> Catalogue:
    """Reads and checks a catalogue. `where` is a folder, a glob, or a .csv or .jsonl file.

    Every preset must allow `tier`, which is to replace its own.
    """
    path = Path(where)
    if path.is_dir():
        entries: Iterable[dict[str, Any]] = _from_folder(path)
        base = path
    elif path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson") and path.is_file():
        entries = _from_csv(path) if path.suffix.lower() in (".csv", ".tsv") else _from_jsonl(path)
        base = path.parent
    elif any(letter in str(where) for letter in "*?["):
        # Path.glob takes no absolute pattern
        found = glob.glob(str(where), recursive=True)  # noqa: PTH207
        entries = [{"path": name} for name in sorted(found)]
        base = Path()
    else:
        raise StemwrightError(
            "catalogue-unreadable",
            f"{where}: expected a folder, a pattern with *, or a .csv or .jsonl file.",
        )
    return _checked(entries, base, default_preset, _Presets(tier))


# -- the kinds of catalogue ----------------------------------------------------------------------


def _from_folder(folder: Path) -> list[dict[str, Any]]:
    found = take_inventory(folder, NameRules(), MAX_DEPTH)
    return [{"path": file.path} for file in sorted(found.files, key=lambda file: file.path)]


def _from_csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        sample = file.read(8192)
        file.seek(0)
        heading = sample.splitlines()[0] if sample else ""
        delimiter = max("\t;,", key=heading.count)
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        if "path" not in names:
            raise StemwrightError(
                "catalogue-no-path",
                f"{path}: the heading has no column 'path', it has {', '.join(names) or 'none'}.",
            )
        reader.fieldnames = names
        try:
            yield from reader
        except csv.Error as error:
            yield {"path": "", "problem": f"no CSV: {error}"}


def _from_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in filter(str.strip, file):
            try:
                entry = json.loads(line)
            except ValueError as error:
                entry = {"problem": f"no JSON: {error}"}
            if not isinstance(entry, dict):
                entry = {"problem": "expected an object with a path"}
            yield {str(name).lower(): value for name, value in entry.items()}


# -- checking ------------------------------------------------------------------------------------


def _checked(
    entries: Iterable[dict[str, Any]], base: Path, default: str, presets: _Presets
) -> Catalogue:
    rows, problems = [], []
    for number, entry in enumerate(entries, start=1):
        try:
            rows.append(_row(number, entry, base, default, presets))
        except StemwrightError as error:
            shown_path = str(entry.get("path") or "")
            problems.append(Problem(number, shown_path, error.code, error.sentence))
    rows, twins = _without_duplicates(rows)
    problems = sorted([*problems, *twins], key=lambda problem: problem.row)
    return Catalogue(tuple(rows), tuple(problems))


def _row(number: int, entry: dict[str, Any], base: Path, default: str, presets: _Presets) -> Row:
    if "problem" in entry:
        raise StemwrightError("row-unreadable", str(entry["problem"]))
    known = {name: str(entry[name]).strip() for name in KNOWN if entry.get(name) is not None}
    extra = {str(name): str(value) for name, value in entry.items() if name and name not in KNOWN}
    preset = known.get("preset") or default
    presets.check(preset)
    _check_numbers(known)
    path = _existing(base, known.get("path", ""))
    facts = path.stat()
    return Row(
        number=number,
        path=path,
        preset=preset,
        title=known.get("title", ""),
        artist=known.get("artist", ""),
        isrc=known.get("isrc", "").replace("-", "").upper(),
        upc=known.get("upc", ""),
        year=known.get("year", ""),
        priority=int(known.get("priority") or 0),
        extra=extra,
        identity=content_identity(facts),
        size=facts.st_size,
    )


def _existing(base: Path, given: str) -> Path:
    if not given:
        raise StemwrightError("row-no-path", "has no path")
    path = Path(os.path.normpath((base / given).absolute()))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        raise StemwrightError("mix-missing", f"no file {shown(path)}") from None
    if not stat.S_ISREG(mode):
        raise StemwrightError("mix-not-a-file", "is no regular file")
    return path


class _Presets:
    """Loads every preset once, however many rows name it."""

    def __init__(self, tier: str | None) -> None:
        self._tier = tier
        self._wrong: dict[str, StemwrightError | None] = {}

    def check(self, name: str) -> None:
        """Raises what is wrong with a preset, at every row that names it."""
        if name not in self._wrong:
            self._wrong[name] = self._problem(name)
        if problem := self._wrong[name]:
            raise problem

    def _problem(self, name: str) -> StemwrightError | None:
        from presets import load_preset

        try:
            preset = load_preset(name)
        except StemwrightError as error:
            hint = suggestion(name, preset_names())
            return StemwrightError("preset-unknown", error.sentence + hint)
        try:
            preset.search.resolved(self._tier)
        except StemwrightError as error:
            return StemwrightError(error.code, f"preset {name}: {error.sentence}")
        return None


def _check_numbers(known: dict[str, str]) -> None:
    isrc = known.get("isrc", "").replace("-", "").upper()
    if isrc and not _ISRC.fullmatch(isrc):
        raise StemwrightError(
            "isrc-invalid",
            f"ISRC {known['isrc']!r}: expected two letters, three letters or digits, seven digits",
        )
    upc = known.get("upc", "")
    if upc and not _is_upc(upc):
        raise StemwrightError("upc-invalid", f"UPC {upc!r}: expected 12 or 13 digits that check")
    year = known.get("year", "")
    if year and not re.fullmatch(r"[12][0-9]{3}", year):
        raise StemwrightError("year-invalid", f"year {year!r}: expected four digits")
    priority = known.get("priority") or "0"
    if not re.fullmatch(r"-?[0-9]{1,6}", priority):
        raise StemwrightError(
            "priority-invalid", f"priority {priority!r}: expected a whole number"
        )


def _is_upc(text: str) -> bool:
    """Twelve (UPC-A) or thirteen (EAN) digits whose last one fits the others."""
    if not re.fullmatch(r"[0-9]{12,13}", text):
        return False
    digits = [int(digit) for digit in reversed(text)]
    return sum(digits[0::2]) % 10 == -3 * sum(digits[1::2]) % 10


def _without_duplicates(rows: list[Row]) -> tuple[list[Row], list[Problem]]:
    """Keeps the first of rows with the same content; only files of equal size are compared."""
    by_size = defaultdict(list)
    for row in rows:
        by_size[row.size].append(row)
    first: dict[str, int] = {}
    problems = {}
    for row in (row for twins in by_size.values() if len(twins) > 1 for row in twins):
        sha256 = _content_of(row.path)
        if sha256 in first:
            sentence = f"the same content as row {first[sha256]}"
            problems[row.number] = Problem(row.number, str(row.path), "mix-duplicate", sentence)
        else:
            first[sha256] = row.number
    kept = [row for row in rows if row.number not in problems]
    return kept, list(problems.values())


def _content_of(path: Path) -> str:
    try:
        return content_sha256(path)
    except OSError:
        return str(path)  # the worker will say what is wrong with it
