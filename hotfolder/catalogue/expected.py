"""Which sets ought to be in an archive: by its `status.csv`, and by the journal that made it.

The list travels with the archive and may be edited, moved and saved by others, so whatever is
wrong with it is told; nothing that it says is followed out of the archive.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from presets import printable

from ..job import State
from ..journal import Journal
from ..published import MANIFEST
from .report import STATUS_CSV, SUMMARY_HTML
from .report_row import unguarded


@dataclass
class Expected:
    """The sets, as paths below the archive with the hash of the manifest where that is known.

    `troubles` are faults of the archive itself; `note` says what cannot be told without a list.
    """

    sets: dict[PurePosixPath, str] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    note: str = ""


def expected_sets(out: Path, state: Path | None) -> Expected:
    """What `status.csv` lists, and what the journal in `state`, if there is one, knows as done."""
    expected = Expected()
    made = set(_journalled(out, state)) if state else set()
    if (out / STATUS_CSV).is_file():
        _read_list(out, expected)
    elif made or (out / SUMMARY_HTML).is_file():
        witness = "the journal knows of one" if made else f"{SUMMARY_HTML} is here"
        expected.troubles.append(f"{STATUS_CSV} is missing, although {witness}")
    else:
        expected.note = (
            f"there is neither a {STATUS_CSV} nor a journal of this folder: a set that is missing "
            "as a whole would not be noticed"
        )
    for path in made - expected.sets.keys():
        expected.sets[path] = ""
    return expected


def _journalled(out: Path, state: Path) -> Iterator[PurePosixPath]:
    if not (state / "journal.db").is_file():
        return
    journal = Journal(state / "journal.db")
    try:
        for job in journal.in_state(State.DONE):
            if job.destination and job.destination.is_relative_to(out.absolute()):
                yield PurePosixPath(job.destination.relative_to(out.absolute()).as_posix())
    finally:
        journal.close()


def _read_list(out: Path, expected: Expected) -> None:
    try:
        raw = (out / STATUS_CSV).read_bytes()
    except OSError as error:
        expected.troubles.append(f"{STATUS_CSV} cannot be read: {error.strerror}")
        return
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        expected.troubles.append(f"{STATUS_CSV} was changed: its byte {error.start} is not UTF-8")
        text = raw.decode("utf-8-sig", "replace")
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if not {"destination", "manifest_sha256"} <= set(reader.fieldnames or ()):
            expected.troubles.append(
                f"{STATUS_CSV} was changed: it has no columns destination and manifest_sha256"
            )
            return
        for row in reader:
            if row["destination"] and row["manifest_sha256"]:
                _take_row(out, unguarded(row["destination"]), row["manifest_sha256"], expected)
    except csv.Error as error:
        expected.troubles.append(f"{STATUS_CSV} was changed: line {reader.line_num}: {error}")


def _take_row(out: Path, destination: str, sha256: str, expected: Expected) -> None:
    path = _below(out, destination)
    if path is None:
        expected.troubles.append(
            f"{STATUS_CSV} was changed: it lists {printable(destination)}, which lies elsewhere"
        )
    else:
        expected.sets[path] = sha256


def _below(out: Path, destination: str) -> PurePosixPath | None:
    """Where a listed set lies below the archive; nothing when it cannot lie there.

    Lists of older versions have whole paths. When the archive was moved since, the longest end of
    such a path that leads to a set here is the one.
    """
    path: PurePath = PureWindowsPath(destination) if "\\" in destination else Path(destination)
    for root in (out.absolute(), out.resolve()):
        if path.is_absolute() and path.is_relative_to(root):
            path = path.relative_to(root)
    if ".." in path.parts or "\0" in destination or not path.parts:
        return None
    if not path.is_absolute():
        return PurePosixPath(*path.parts)
    parts = path.parts[1:]
    for start in range(len(parts)):
        if (out.joinpath(*parts[start:]) / MANIFEST).is_file():
            return PurePosixPath(*parts[start:])
    return PurePosixPath(parts[-1]) if parts else None
