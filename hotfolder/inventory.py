"""The inventory scan: what lies in the inbox now. This, not any event, is the truth."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .filenames import READY_SUFFIX, UNREMARKABLE, NameRules


@dataclass(frozen=True)
class Sighting:
    """A regular file in the inbox: its path there, and everything that betrays a change."""

    path: Path
    identity: str
    size: int
    marked: bool


@dataclass
class Inventory:
    """One look at the inbox. `ignored` says why for each name that was left alone."""

    files: list[Sighting] = field(default_factory=list)
    ignored: dict[Path, str] = field(default_factory=dict)
    unreadable: set[Path] = field(default_factory=set)
    folders: int = 0

    def hides(self, path: Path) -> bool:
        """Whether a file may well be there, in a folder that could not be read this time."""
        return not self.unreadable.isdisjoint(path.parents)

    def worth_telling(self) -> dict[Path, str]:
        """What was left alone and may have been meant as a mix; not what systems leave about."""
        return {path: why for path, why in self.ignored.items() if why not in UNREMARKABLE}


def take_inventory(inbox: Path, rules: NameRules, max_depth: int) -> Inventory:
    """Look at every entry of the inbox without opening or following any of them."""
    found = Inventory()
    for folder, entries in _folders(inbox, rules, max_depth, found):
        markers = {entry.name for entry in entries if entry.name.endswith(READY_SUFFIX)}
        for entry in entries:
            _look(entry, folder / entry.name, rules, markers, found)
    return found


def identity_of(facts: os.stat_result) -> str:
    """Return what changes whenever a file is written, replaced, resized or touched."""
    times = f"{facts.st_mtime_ns}:{facts.st_ctime_ns}"
    return f"{facts.st_dev}:{facts.st_ino}:{facts.st_size}:{times}"


def content_identity(facts: os.stat_result) -> str:
    """Like `identity_of`, but a rename leaves it as it was."""
    return f"{facts.st_ino}:{facts.st_size}:{facts.st_mtime_ns}"


def _folders(
    inbox: Path, rules: NameRules, max_depth: int, found: Inventory
) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Every folder, as a path in the inbox, and its entries; the inbox itself must be readable."""
    waiting = [Path()]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(inbox / folder) as listing:
                entries = list(listing)
        except OSError as error:
            if folder == Path():
                raise
            found.ignored[folder] = f"cannot be read: {error.strerror}"
            found.unreadable.add(folder)
            continue
        found.folders += 1
        yield folder, entries
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting += _enter(folder / entry.name, rules, max_depth, found)


def _enter(folder: Path, rules: NameRules, max_depth: int, found: Inventory) -> list[Path]:
    reason = rules.why_folder_ignored(folder.name)
    if len(folder.parts) > max_depth:
        reason = f"lies deeper than {max_depth} folders"
    if reason:
        found.ignored[folder] = reason
        return []
    return [folder]


def _look(
    entry: os.DirEntry[str], path: Path, rules: NameRules, markers: set[str], found: Inventory
) -> None:
    if entry.is_dir(follow_symlinks=False):
        return
    try:
        facts = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        found.ignored[path] = f"cannot be looked at: {error.strerror}"
        return
    reason = _why_not_regular(facts.st_mode) or rules.why_ignored(entry.name)
    if reason:
        found.ignored[path] = reason
        return
    marked = f"{entry.name}{READY_SUFFIX}" in markers
    found.files.append(Sighting(path, identity_of(facts), facts.st_size, marked))


def _why_not_regular(mode: int) -> str | None:
    """Opening a FIFO would hang, and a link may lead anywhere: neither is ever opened."""
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return None if stat.S_ISREG(mode) else "not a regular file"


def content_sha256(path: Path) -> str:
    """The hash of a file's content; raises OSError when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
