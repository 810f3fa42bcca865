"""A catalogue: a folder, a glob, or a CSV or JSONL list of mixes, checked before any work.

Known columns are path, title, artist, isrc, upc, year, preset and priority; all others are kept
and appear in the report again. A row that is wrong never stops the others.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from presets import StemwrightError, preset_names, printable, sha256_of, suggestion

from ..filenames import NameRules, is_text
from ..identity import content_identity
from ..inventory import take_inventory
from .list_file import (
    KNOWN,
    Entry,
    ListText,
    csv_entries,
    jsonl_entries,
    read_list_text,
    shortened,
)

TABLES, OBJECTS = (".csv", ".tsv"), (".jsonl", ".ndjson")
MAX_DEPTH = 32
MOST_NAMED = 20  # ignored files of one kind
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")


@dataclass(frozen=True)
class Row:
    """One title. `number` is its line in the list, counted from one below the heading."""

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
        return f"row {self.row}: {printable(shortened(self.path, 200))}: {self.reason}"


@dataclass(frozen=True)
class Catalogue:
    """The rows that can be worked on, what is wrong with others, and what else is to be told."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    def columns(self) -> list[str]:
        """Unknown columns, in the order in which they were first seen."""
        return list(dict.fromkeys(name for row in self.rows for name in row.extra))


def read_catalogue(
    where: str | Path,
    default_preset: str = "default",
    tier: str | None = None,
    encoding: str | None = None,
) -> Catalogue:
    """Read and check a catalogue. `where` is a folder, a glob, or a .csv or .jsonl file.

    Every preset must allow `tier`, which is to replace its own. `encoding` is a list's; without
    it, it is found. A catalogue without a single row is an error that says what there is instead.
    """
    path, presets = Path(where), _Presets(tier)
    suffix = path.suffix.lower()
    if path.is_dir():
        found = _from_folder(path)
        return _checked(found.paths, path, default_preset, presets, notes=found.notes(path))
    if suffix in (*TABLES, *OBJECTS) and path.is_file():
        listed = read_list_text(path, encoding)
        entries = list(csv_entries(listed, path) if suffix in TABLES else jsonl_entries(listed))
        if not entries:
            raise StemwrightError("catalogue-empty", f"{path}: there is no row in this list.")
        notes = (listed.note,) if listed.note else ()
        return _checked(entries, path.parent, default_preset, presets, listed, notes)
    if any(letter in str(where) for letter in "*?["):
        found = _from_pattern(str(where))
        return _checked(found.paths, Path(), default_preset, presets, notes=found.notes(where))
    what = "no such file or folder" if not path.exists() else "no list that can be read"
    raise StemwrightError(
        "catalogue-unreadable",
        f"{where}: {what}. Expected a folder, a pattern with *, or a .csv or .jsonl file.",
    )


# -- the kinds of catalogue ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """The mixes below a folder or behind a pattern, and why other files are none."""

    paths: tuple[Entry, ...]
    ignored: dict[Path, str]

    def notes(self, where: str | Path) -> tuple[str, ...]:
        """What is ignored, kind by kind with names; an error when nothing else is there."""
        by_reason = defaultdict(list)
        for path, reason in sorted(self.ignored.items()):
            by_reason[reason].append(printable(path))
        kinds = sorted(by_reason.items(), key=lambda kind: -len(kind[1]))
        if not self.paths:
            what = "; ".join(f"{len(names)} ignored, {reason}" for reason, names in kinds)
            raise StemwrightError(
                "catalogue-empty",
                f"{where}: there is no mix here ({what or 'no file at all'}). Is the name right? "
                f"Mixes have one of the endings {', '.join(NameRules().suffixes)}; convert others "
                "first, for example with ffmpeg to FLAC.",
            )
        return tuple(f"ignored: {_counted(names)}: {reason}" for reason, names in kinds)


def _counted(names: list[str]) -> str:
    """`3 files (a.m4a, b.m4a, c.m4a)`, with no more names than a person reads."""
    more = [f"and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    what = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"{what} ({', '.join([*names[:MOST_NAMED], *more])})"


def _from_folder(folder: Path) -> _Found:
    # what lies beside a mix is read there, if its preset has voices
    found = take_inventory(folder, NameRules(), MAX_DEPTH, lambda mix: True)
    return _Found(_entries(file.path for file in found.files), found.ignored)


def _from_pattern(pattern: str) -> _Found:
    rules, mixes, ignored = NameRules(), [], {}
    # Path.glob takes no absolute pattern
    for name in glob.glob(pattern, recursive=True):  # noqa: PTH207
        path = Path(name)
        if path.is_dir():
            continue
        if reason := rules.why_ignored(path.name):
            ignored[path] = reason
        else:
            mixes.append(path)
    return _Found(_entries(mixes), ignored)


def _entries(paths: Iterable[Path]) -> tuple[Entry, ...]:
    numbered = enumerate(sorted(paths), start=1)
    return tuple(Entry(number, {"path": str(path)}) for number, path in numbered)


# -- checking ------------------------------------------------------------------------------------


def _checked(
    entries: Iterable[Entry],
    base: Path,
    default: str,
    presets: _Presets,
    listed: ListText | None = None,
    notes: tuple[str, ...] = (),
) -> Catalogue:
    rows, problems = [], []
    for entry in entries:
        try:
            rows.append(_row(entry, base, default, presets, listed))
        except StemwrightError as error:
            path = str(entry.cells.get("path") or "")
            problems.append(Problem(entry.number, path, error.code, error.sentence))
    rows, twins = _without_duplicates(rows)
    problems = sorted([*problems, *twins], key=lambda problem: problem.row)
    return Catalogue(tuple(rows), tuple(problems), notes)


def _row(
    entry: Entry, base: Path, default: str, presets: _Presets, listed: ListText | None
) -> Row:
    if entry.problem:
        raise StemwrightError("row-unreadable", entry.problem)
    cells = {name: str(value) for name, value in entry.cells.items() if value is not None}
    known = {name: cells[name].strip() for name in KNOWN if name in cells}
    path = _existing(base, known.get("path", ""), listed)
    _check_text({name: text for name, text in known.items() if name != "path"}, listed)
    preset = known.get("preset") or default
    presets.check(preset)
    _check_numbers({name: shortened(text) for name, text in known.items()})
    facts = path.stat()
    return Row(
        number=entry.number,
        path=path,
        preset=preset,
        title=known.get("title", ""),
        artist=known.get("artist", ""),
        isrc=known.get("isrc", "").replace("-", "").upper(),
        upc=known.get("upc", ""),
        year=known.get("year", ""),
        priority=int(known.get("priority") or 0),
        extra={name: text for name, text in cells.items() if name not in KNOWN},
        identity=content_identity(facts),
        size=facts.st_size,
    )


def _existing(base: Path, cell: str, listed: ListText | None) -> Path:
    """The file of a row: named by its text, or by the very bytes that stand in the list."""
    if not cell:
        raise StemwrightError("row-no-path", "has no path")
    path = _whole(base, cell)
    raw = listed.raw(cell) if listed else None
    for way in (path, _whole(base, os.fsdecode(raw)) if raw else path):
        try:
            mode = way.stat().st_mode
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(mode):
            return way
        raise StemwrightError("mix-not-a-file", "is no regular file")
    raise StemwrightError("mix-missing", f"no file {shortened(str(path), 200)}")


def _whole(base: Path, name: str) -> Path:
    return Path(os.path.normpath((base / name).absolute()))


def _check_text(known: dict[str, str], listed: ListText | None) -> None:
    """Letters that the encoding does not have would be lost from a title without a word."""
    for name, text in known.items():
        if "\ufffd" in text or not is_text(text):
            encoding = listed.encoding if listed else "utf-8"
            raise StemwrightError(
                "row-not-text",
                f"{name} '{shortened(text)}' is no text in {encoding}. Save the list in one "
                "encoding, or give --encoding.",
            )


class _Presets:
    """Every preset, loaded once, however many rows name it."""

    def __init__(self, tier: str | None) -> None:
        self._tier = tier
        self._wrong: dict[str, StemwrightError | None] = {}

    def check(self, name: str) -> None:
        """Raise what is wrong with a preset, at every row that names it."""
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
    """Keep the first of rows with the same content; only files of equal size are compared."""
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
        return sha256_of(path)
    except OSError:
        return str(path)  # the worker will say what is wrong with it
