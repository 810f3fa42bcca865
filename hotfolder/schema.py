"""The journal's tables, version by version, and the step from each version to the next."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from presets import StemwrightError

# Paths are blobs, because a file's name need not be text. Times are seconds since 1970, except
# lease_until, which is on the machine's steady clock: a calendar that jumps must not free a lease.
_VERSION_1 = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    source BLOB NOT NULL,
    identity TEXT NOT NULL,
    size INTEGER NOT NULL,
    preset TEXT NOT NULL,
    state TEXT NOT NULL,
    segment INTEGER NOT NULL DEFAULT 0,
    segments INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    kills INTEGER NOT NULL DEFAULT 0,
    faults INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT,
    key TEXT,
    destination BLOB,
    destination_key TEXT,
    filed BLOB,
    owner TEXT,
    lease_until REAL NOT NULL DEFAULT 0,
    due_at REAL NOT NULL DEFAULT 0,
    code TEXT,
    reason TEXT,
    created_at REAL NOT NULL,
    changed_at REAL NOT NULL,
    updated_at REAL NOT NULL
);
CREATE TABLE transitions (
    job TEXT NOT NULL,
    at REAL NOT NULL,
    state TEXT NOT NULL,
    detail TEXT
);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE UNIQUE INDEX one_waiting ON jobs(source) WHERE state IN ('seen', 'settled');
CREATE UNIQUE INDEX one_in_flight ON jobs(key) WHERE key IS NOT NULL
    AND state IN ('claimed', 'decoded', 'searching', 'processing', 'publishing');
CREATE UNIQUE INDEX one_destination ON jobs(destination_key) WHERE destination_key IS NOT NULL
    AND state NOT IN ('done', 'quarantined');
CREATE INDEX published ON jobs(key) WHERE state = 'done';
CREATE INDEX by_source ON jobs(source);
CREATE INDEX history ON transitions(job);
CREATE INDEX recent ON transitions(state, at);
"""

# Catalogues: a row's number and priority, and the figures that its report shows.
_VERSION_2 = """
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN row INTEGER;
ALTER TABLE jobs ADD COLUMN facts TEXT;
CREATE INDEX claimable ON jobs(priority DESC, created_at) WHERE state NOT IN
    ('seen', 'done', 'quarantined');
CREATE INDEX by_row ON jobs(row) WHERE row IS NOT NULL;
CREATE INDEX by_state ON jobs(state);
"""

STEPS = (_VERSION_1, _VERSION_2)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a journal to the newest version; the file as it was is kept beside it."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(STEPS):
        raise StemwrightError(
            "journal-newer",
            f"{path}: written by a newer Stemwright (version {version}, this one knows "
            f"{len(STEPS)}). Upgrade this machine, or give another --state folder.",
        )
    if 0 < version < len(STEPS):
        # by SQLite: a plain copy would, when it closes the file, give up this process's locks
        kept = path.with_name(f"{path.name}.version-{version}")
        with contextlib.closing(sqlite3.connect(kept)) as copy:
            connection.backup(copy)
    for number in range(version + 1, len(STEPS) + 1):
        _step(connection, number)


def _step(connection: sqlite3.Connection, number: int) -> None:
    """Go up one version, unless another daemon that started at the same time has done so.

    The version is read again under the write lock; `executescript` would give that lock up.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] < number:
            for statement in STEPS[number - 1].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
