"""The inventory scan: what lies in the inbox now. This, not any event, is the truth."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .companions import Companion, ending_of, joined, mix_stem
from .filenames import COMPANION, READY_SUFFIX, UNREMARKABLE, NameRules
from .identity import identity_of


@dataclass(frozen=True)
class Sighting:
    """A regular file in the inbox: its path there, and everything that betrays a change."""

    path: Path
    identity: str
    size: int
    marked: bool
    beside: tuple[str, ...] = ()  # names of the files that go with it


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


def take_inventory(
    inbox: Path,
    rules: NameRules,
    max_depth: int,
    wants: Callable[[Path], bool] = lambda mix: False,
) -> Inventory:
    """Look at every entry of the inbox without opening or following any of them.

    `wants` says of a mix whether what lies beside it under its name goes with it.
    """
    found = Inventory()
    for folder, entries in _folders(inbox, rules, max_depth, found):
        markers = {entry.name for entry in entries if entry.name.endswith(READY_SUFFIX)}
        first = len(found.files)
        for entry in entries:
            _look(entry, folder / entry.name, rules, markers, found)
        companions = _companions(folder, entries, rules)
        if companions:
            found.files[first:] = [
                _with_companions(file, companions, found) if wants(file.path) else file
                for file in found.files[first:]
            ]
    return found


def _companions(
    folder: Path, entries: list[os.DirEntry[str]], rules: NameRules
) -> dict[Path, list[Companion]]:
    """What may go with a mix, by the mix's path without its ending."""
    there: dict[Path, list[Companion]] = defaultdict(list)
    for entry in entries:
        if ending_of(entry.name) is None or rules.why_left_alone(entry.name):
            continue
        try:
            facts = entry.stat(follow_symlinks=False)
        except OSError:  # it has just gone, or `_look` has told why
            continue
        if stat.S_ISREG(facts.st_mode):
            companion = Companion(entry.name, identity_of(facts))
            there[folder / mix_stem(entry.name)].append(companion)
    return there


def _with_companions(
    file: Sighting, companions: Mapping[Path, list[Companion]], found: Inventory
) -> Sighting:
    """A mix together with what lies beside it."""
    mine = companions.get(file.path.with_name(file.path.stem), [])
    for companion in mine:
        found.ignored[file.path.with_name(companion.name)] = COMPANION
    names = tuple(companion.name for companion in mine)
    return replace(file, identity=joined(file.identity, mine), beside=names)


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
