"""The journal's SQLite file: several processes have it open, and it may vanish under them."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from presets import StemwrightError

from .holder_lock import alone
from .schema import migrate

WAIT_S = 30.0  # for other processes that hold the file
LOG_PAGES = 64  # of 4 KiB, then the log goes into the file: SQLite's own 1000 fill a small disk
MAGIC = b"SQLite format 3\0"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Column = str | int | float | bytes | None


def is_damage(error: BaseException) -> bool:
    """Whether SQLite itself says that the file is corrupt; anything else is no fault of the file.

    A constraint that is hurt or a statement that is wrong is a bug of ours, and a journal that
    somebody else holds or a disk that is full will pass.
    """
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


class JournalDatabase:
    """A connection, and what becomes of the file that it leads to."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self._open()
        except sqlite3.OperationalError as error:  # a damaged file is another error
            raise StemwrightError(
                "journal-not-opened",
                f"{path}: the journal cannot be opened: {error}. Give --state a folder on a "
                "local disk with room, where you may write.",
                transient=True,
            ) from error

    def _open(self) -> None:
        self._db = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        try:
            self._configure_when_free()
            # Kept open for `has_been_overwritten`: on POSIX, closing it would give up the locks
            # that SQLite holds on the file in this process.
            self._raw = self.path.open("rb", buffering=0)
        except BaseException:
            self._db.close()
            raise

    def _configure_when_free(self) -> None:
        """Wait for others that open the file: SQLite changes its mode without waiting itself."""
        give_up_s = time.monotonic() + WAIT_S
        while True:
            try:
                return self._configure()
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > give_up_s:
                    raise
            time.sleep(0.02)

    def _configure(self) -> None:
        mode = self._db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StemwrightError(
                "journal-not-local",
                f"{self.path}: this file system cannot hold the journal (SQLite's WAL mode is "
                "refused). Give --state a folder on a local disk.",
            )
        # FULL: a transition that was logged is still there after a power cut.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        self._db.execute(f"PRAGMA journal_size_limit = {LOG_PAGES * 4096}")
        migrate(self._db, self.path)
        self._file = _identity(self.path)
        self._logs = {path: _identity(path) for path in _logs_of(self.path)}

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
        self._raw.close()

    # -- the file itself ---------------------------------------------------------------------

    def is_sound(self) -> bool:
        """Whether the file's pages fit together, read anew from the disk."""
        place = f"{self.path.absolute().as_uri()}?mode=rw"  # never makes one
        try:
            # another connection: this one may hold the pages as they were
            with contextlib.closing(sqlite3.connect(place, timeout=WAIT_S, uri=True)) as other:
                return bool(other.execute("PRAGMA quick_check").fetchone()[0] == "ok")
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                return False
            raise

    def has_been_overwritten(self) -> bool:
        """Whether the file does not begin like a journal any more; cheap, for every round."""
        self._raw.seek(0)
        return self._raw.read(len(MAGIC)) != MAGIC

    def is_elsewhere(self) -> bool:
        """Whether the path leads to another file than the open one, or to none."""
        if _identity(self.path) != self._file:
            return True
        self._logs = {path: _identity(path) for path in _logs_of(self.path)}
        return False

    def is_replaced(self) -> bool:
        """Whether what is at the path instead is no journal. Call it only when `is_elsewhere`."""
        for path, identity in self._logs.items():
            if identity is not None and _identity(path) == identity:
                path.unlink()  # ours: SQLite would lay it over the other file
        if not self.path.is_file():
            return True
        with self.path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return True
        return not self.is_sound()

    def put_back(self) -> bool:
        """Write a journal that was deleted while it was open to its place again, whole.

        False when another process had done so already; either way this one reads that file now.
        """
        aside = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}")
        with alone(self.path.with_name(f"{self.path.name}.lock"), WAIT_S):
            first = not self.path.exists()
            if first:
                with contextlib.closing(sqlite3.connect(aside)) as copy:
                    self._db.backup(copy)
                for path in _logs_of(self.path):  # they belong to the file that is gone
                    path.unlink(missing_ok=True)
                aside.rename(self.path)
            self.reopen()
        return first

    def reopen(self) -> None:
        """Go on with the file that is at the path now."""
        self.close()
        self._open()

    def make_room(self) -> None:
        """Take the log into the file: on a full disk, the same need not be there twice."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # -- statements --------------------------------------------------------------------------

    def execute(
        self, statement: str, values: Sequence[Column] | Mapping[str, Column] = ()
    ) -> sqlite3.Cursor:
        """One statement, and its rows."""
        return self._db.execute(statement, values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside of it, or none; within another one, a part of that.

        One is synced to disk once, however many statements it has.
        """
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk makes SQLite end it by itself
                self._db.execute("ROLLBACK")
            raise


def _logs_of(path: Path) -> list[Path]:
    """SQLite's own files beside a journal: its log, and the index of that."""
    return [path.with_name(path.name + ending) for ending in ("-wal", "-shm")]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
