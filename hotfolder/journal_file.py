"""Is the journal's file there, whole, and still the one that is open? What to do when it is not.

Only what SQLite itself calls corrupt is damage. A damaged journal is moved aside and made again
from the folders; one that was deleted or replaced while a daemon had it open is written again.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

from .clock import Instant
from .journal import Journal
from .journal_database import is_damage
from .logs import log_event
from .recovery import rebuild
from .root import Root
from .settings import HotFolderSettings

CHECK_S = 60.0  # between two full checks of the file
CHECK_SHARE = 100  # a check may take a hundredth of the time


class DamagedError(Exception):
    """SQLite itself says that the journal is corrupt."""


def open_journal(path: Path, root: Root, settings: HotFolderSettings, now: Instant) -> Journal:
    """Open the journal; a damaged one is moved aside, a missing one rebuilt from the folders."""
    fresh = not path.exists()
    try:
        journal = Journal(path)
        if not fresh and not journal.is_sound():
            journal.close()
            raise DamagedError("the integrity check failed")
    except (sqlite3.DatabaseError, DamagedError) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise
        aside = move_journal_aside(path, now)
        log_event("journal-damaged", level=logging.ERROR, reason=str(error), moved_to=str(aside))
        journal, fresh = Journal(path), True
    if fresh:
        rebuild(journal, root, settings, now)
    return journal


def look_after_journal(journal: Journal, now: Instant) -> bool:
    """Whether the open journal is still the file at its path; puts it back when it is not.

    A file that was deleted or replaced by something else is written again from the open one,
    which still has everything. One that was replaced by a sound journal is gone on with.
    """
    if not journal.is_elsewhere():
        return not journal.has_been_overwritten()
    if journal.path.exists():
        if journal.is_replaced():
            aside = move_journal_aside(journal.path, now)
            log_event("journal-replaced", level=logging.ERROR, moved_to=str(aside))
        else:
            journal.reopen()
            log_event("journal-exchanged", level=logging.WARNING, path=str(journal.path))
            return True
    if journal.put_back():
        log_event("journal-put-back", level=logging.ERROR, path=str(journal.path),
                  reason="it was deleted while this daemon had it open")  # fmt: skip
    return True


def move_journal_aside(path: Path, now: Instant) -> Path:
    """Keep a damaged journal for whoever wants to look at it."""
    aside = path.with_name(f"{path.name}.damaged-{now.wall_s:.0f}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.replace(aside.with_name(aside.name + ending))
    return aside


class JournalCheck:
    """Questions: in every round what is cheap to ask, now and then whether all pages fit."""

    def __init__(self, journal: Journal, now: Instant) -> None:
        self._journal = journal
        self._next_s = now.steady_s + CHECK_S

    def look(self, now: Instant) -> None:
        """Raise `DamagedError` when the file is corrupt; put it back when it is gone."""
        if not look_after_journal(self._journal, now):
            raise DamagedError("it does not begin like a journal any more")
        if now.steady_s < self._next_s:
            return
        began_s = time.monotonic()
        sound = self._journal.is_sound()
        took_s = time.monotonic() - began_s
        self._next_s = now.steady_s + max(CHECK_S, CHECK_SHARE * took_s)
        if not sound:
            raise DamagedError("the integrity check failed")
