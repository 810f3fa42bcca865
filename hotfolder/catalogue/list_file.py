"""Reads CSV and JSONL lists row by row: every physical row becomes an entry or a reason.

Lists come from spreadsheets, databases and people. A quote that is never closed, a cell of 140 kB
or a line of a hundred thousand brackets costs its own row and no other one; the encoding is found
(byte order marks, UTF-8, UTF-16, else Windows-1252, with a note) or given.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from presets import StemwrightError

KNOWN = ("path", "title", "artist", "isrc", "upc", "year", "preset", "priority")
DELIMITERS = "\t;,"
MAX_CONTINUED = 64  # physical lines of one row with line breaks in its cells
LEGACY = "cp1252"
_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_FILE_NAME = re.compile(r"\.[A-Za-z0-9]{2,5}$")
_SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?\s*', re.I)  # how Excel is told of one


@dataclass(frozen=True)
class Entry:
    """One row: its number without the heading, and its cells by column, or what is wrong."""

    number: int
    cells: Mapping[str, str | None] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class ListText:
    """A list's text and the encoding that it was read in; `note` when that was a guess."""

    text: str
    encoding: str
    note: str = ""

    def raw(self, cell: str) -> bytes | None:
        """The bytes that stood in the list for a cell; nothing when they cannot be told."""
        try:
            return cell.encode(self.encoding, "surrogateescape")
        except UnicodeError:
            return None


def read_list_text(path: Path, encoding: str | None = None) -> ListText:
    """The text of a list, in the encoding that is given or found.

    Bytes that are not text in a UTF-8 list become lone surrogates, in others U+FFFD: their rows
    are refused later, unless they are the name of a file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StemwrightError(
            "catalogue-unreadable", f"{path}: cannot be read: {error.strerror}."
        ) from error
    if encoding is not None:
        return ListText(_decoded(raw, encoding), encoding)
    for mark, marked in _MARKS.items():
        if raw.startswith(mark):
            return ListText(_decoded(raw, marked), marked)
    if found := _utf16_without_mark(raw):
        return ListText(_decoded(raw, found), found)
    return _utf8_or_legacy(raw, path)


def csv_entries(listed: ListText, path: Path) -> Iterator[Entry]:
    """The rows of a CSV list below its heading; empty ones are left out."""
    csv.field_size_limit(1 << 30)
    lines = _Lines(listed.text)
    delimiter, names = _heading(lines, path)
    first = lines.read
    while (line := lines.next()) is not None:
        number = lines.read - first
        cells, problem = _row(line, lines, delimiter, names)
        if problem:
            yield Entry(number, _by_name(_salvaged(line, delimiter), names), problem)
        elif any(cell.strip() for cell in cells):
            yield _entry(number, cells, names)


def jsonl_entries(listed: ListText) -> Iterator[Entry]:
    """The objects of a JSONL list; empty lines are left out."""
    for number, line in enumerate(io.StringIO(listed.text, newline=""), start=1):
        if line.strip():
            yield _object(number, line)


# -- encodings -----------------------------------------------------------------------------------


def _decoded(raw: bytes, encoding: str) -> str:
    errors = "surrogateescape" if encoding.replace("_", "-").lower().startswith("utf-8") else ""
    try:
        return raw.decode(encoding, errors or "replace").removeprefix("\ufeff")
    except (LookupError, ValueError) as error:  # unknown, or one that makes no text
        raise StemwrightError(
            "encoding-unknown",
            f"--encoding {encoding}: {error}. Expected the name of a text encoding, for example "
            "utf-8, utf-16, cp1252, mac_roman or shift_jis.",
        ) from None


def _utf16_without_mark(raw: bytes) -> str | None:
    """Text of mostly Western letters has a zero in every second byte."""
    head = raw[: 1 << 12]
    half = len(head) // 2
    if half < 2:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > half // 2 and even < half // 8:
        return "utf-16-le"
    return "utf-16-be" if even > half // 2 and odd < half // 8 else None


def _utf8_or_legacy(raw: bytes, path: Path) -> ListText:
    """UTF-8 when any line with other letters than ASCII is; else the West's old code page.

    A list that is UTF-8 but for a line or two would come out with every other name garbled.
    """
    lines = [line for line in raw.splitlines() if not line.isascii()]
    valid = sum(_is_utf8(line) for line in lines)
    if valid or not lines:
        return ListText(_decoded(raw, "utf-8"), "utf-8")
    text = raw.decode(LEGACY, "replace")
    sample = next(line for line in text.splitlines() if not line.isascii()).strip()
    return ListText(
        text,
        LEGACY,
        f"{path}: is not UTF-8 and is read as Windows-1252 ({LEGACY}), for example "
        f"'{shortened(sample)}'. If that is wrong, save it as UTF-8 or give --encoding.",
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# -- CSV -----------------------------------------------------------------------------------------


class _Lines:
    """Physical lines with their ends; `read` counts those that were taken."""

    def __init__(self, text: str) -> None:
        # not splitlines: a cell may hold U+2028 or the line tabulation of a database
        self._all = list(io.StringIO(text, newline=""))
        self.read = 0

    def next(self) -> str | None:
        """Take one."""
        if self.read == len(self._all):
            return None
        self.read += 1
        return self._all[self.read - 1]

    def ahead(self) -> Iterator[str]:
        """Those that follow, without taking them."""
        yield from islice(self._all, self.read, self.read + MAX_CONTINUED)


def _heading(lines: _Lines, path: Path) -> tuple[str, list[str]]:
    """The separator and the names of the columns."""
    line, delimiters = lines.next(), DELIMITERS
    if line is not None and (named := _SEPARATOR_LINE.fullmatch(line)):
        delimiters = "\t" if named[1] == r"\t" else named[1]
        line = lines.next()
    while line is not None and not line.strip():
        line = lines.next()
    # spreadsheets break long headings into lines
    heading = _continued(line or "", lines, lambda more: False)
    lines.read += len(list(io.StringIO(heading, newline=""))) - 1 if heading else 0
    ways = [(delimiter, _parsed(heading, delimiter)) for delimiter in delimiters]
    read = [(delimiter, cells) for delimiter, cells in ways if cells is not None]
    if len(read) < len(ways) and not any("path" in _lowered(cells) for _, cells in read):
        raise StemwrightError(
            "catalogue-unreadable",
            f"{path}: the heading is no CSV: a quote in it is not closed or not doubled. It "
            f"begins with '{shortened(heading.strip())}'.",
        )
    delimiter, cells = max(read, key=lambda way: ("path" in _lowered(way[1]), len(way[1])))
    names = _lowered(cells)
    if "path" not in names:
        raise StemwrightError(
            "catalogue-no-path",
            f"{path}: the heading has no column 'path', it has "
            f"{shortened(', '.join(filter(None, names))) or 'none'}.",
        )
    return delimiter, _unique(names, path)


def _lowered(names: list[str]) -> list[str]:
    return [" ".join(name.split()).lower() for name in names]


def _unique(names: list[str], path: Path) -> list[str]:
    """A name for every column. Of our own columns there may be one each."""
    twice = [name for name, count in Counter(names).items() if count > 1 and name in KNOWN]
    if twice:
        raise StemwrightError(
            "catalogue-ambiguous", f"{path}: the heading has {', '.join(twice)} more than once."
        )
    unique: list[str] = []
    for place, heading in enumerate(names, start=1):
        name = heading or f"column {place}"
        unique.append(name if name not in unique else f"{name} ({place})")
    return unique


def _row(line: str, lines: _Lines, delimiter: str, names: list[str]) -> tuple[list[str], str]:
    """The cells of a row, taking the lines into which it goes on; or what is wrong with it."""
    cells = _parsed(line, delimiter)
    if cells is not None:
        return cells, ""
    if (whole := _continued(line, lines, lambda more: _is_row(more, delimiter, names))) != line:
        cells = _parsed(whole, delimiter)
    if cells is None:
        return [], "no CSV: a quote is not closed, or one inside of a quoted cell is not doubled"
    lines.read += len(list(io.StringIO(whole, newline=""))) - 1
    return cells, ""


def _continued(line: str, lines: _Lines, stop: Callable[[str], bool]) -> str:
    """A line with those that follow until its last quote is closed; itself where none closes it.

    Nothing is taken yet.
    """
    joined, odd = [line], line.count('"') % 2
    for more in lines.ahead() if odd else ():
        if stop(more):
            break
        joined.append(more)
        odd = (odd + more.count('"')) % 2
        if not odd:
            return "".join(joined)
    return line


def _is_row(line: str, delimiter: str, names: list[str]) -> bool:
    """Whether a line is a row of its own, and not the rest of a cell that went on too long."""
    cells = _parsed(line, delimiter) or _salvaged(line, delimiter)
    column = names.index("path")
    return column < len(cells) and _FILE_NAME.search(cells[column].strip()) is not None


def _parsed(text: str, delimiter: str) -> list[str] | None:
    """The cells of one row, nothing when it is none or not a whole one."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else [] if not rows else None


def _salvaged(line: str, delimiter: str) -> list[str]:
    """What can be told of a broken row, so that it can be named."""
    return [cell.strip().strip('"') for cell in line.split(delimiter)]


def _entry(number: int, cells: list[str], names: list[str]) -> Entry:
    found = _by_name(cells, names)
    if any(cell.strip() for cell in cells[len(names) :]):
        return Entry(
            number,
            found,
            f"has {len(cells)} cells where the heading has {len(names)}: put a cell with the "
            "separator in it into quotes",
        )
    return Entry(number, found)


def _by_name(cells: list[str], names: list[str]) -> dict[str, str]:
    return dict(zip(names, cells, strict=False))


# -- JSONL ---------------------------------------------------------------------------------------


def _object(number: int, line: str) -> Entry:
    try:
        found = json.loads(line, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        return Entry(number, problem=f"no JSON: {why}")
    if not isinstance(found, dict):
        return Entry(number, problem="expected an object with a path")
    cells = {name: _cell(value) for name, value in found.items()}
    if wrong := [name for name in KNOWN if isinstance(found.get(name), (list, dict))]:
        return Entry(number, cells, f"{wrong[0]} must be text or a number")
    return Entry(number, cells)


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [" ".join(name.split()).lower() for name, _ in pairs]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"it has {', '.join(twice)} more than once")
    return dict(zip(names, (value for _, value in pairs), strict=True))


def _cell(value: object) -> str | None:
    """A value as the text of a cell; lists and objects in JSON's own words."""
    if isinstance(value, str) or value is None:
        return value
    return json.dumps(value, ensure_ascii=False)


def shortened(text: str, most: int = 60) -> str:
    """For a sentence: cells may be as long as books."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
