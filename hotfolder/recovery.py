"""What is put right at the start and now and then: a lost journal, orphaned work, leftovers.

The journal can be lost, because everything it knows stands in the folders as well: claimed mixes
with their tickets in work, manifests in the outbox, reasons in failed.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .clock import Instant
from .job import FINAL, RUNNING, State
from .job_files import TICKET, HotFolderFiles, sweep_partials
from .journal import Journal
from .logs import log_event
from .published import PublishedSet, read_json, read_published
from .root import Root
from .worker_protocol import facts_text


def open_journal(path: Path, root: Root, now: Instant) -> Journal:
    """Opens the journal; a damaged one is moved aside, a missing one rebuilt from the folders."""
    fresh = not path.exists()
    try:
        journal = Journal(path)
        if not fresh and not journal.is_sound():
            journal.close()
            raise sqlite3.DatabaseError("the integrity check failed")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = move_journal_aside(path, now)
        log_event("journal-damaged", level=logging.ERROR, reason=str(error), moved_to=str(aside))
        journal, fresh = Journal(path), True
    if fresh:
        rebuild(journal, root, now)
    return journal


def move_journal_aside(path: Path, now: Instant) -> Path:
    """Keeps a damaged journal for whoever wants to look at it."""
    aside = path.with_name(f"{path.name}.damaged-{now.wall_s:.0f}")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.replace(aside.with_name(aside.name + ending))
    return aside


def rebuild(journal: Journal, root: Root, now: Instant) -> int:
    """Fills an empty journal from the manifests and reasons in the folders."""
    rows = [*_done_rows(root), *_quarantined_rows(root)]
    journal.insert(rows, now)
    if rows:
        log_event("journal-rebuilt", rows=len(rows))
    return len(rows)


def tidy(journal: Journal, files: HotFolderFiles) -> None:
    """Finishes what a kill left half done: final jobs are filed, held work folders shown alive."""
    held = []
    for folder in _work_folders(files.root):
        job = journal.get(folder.name)
        if job is not None and job.state in FINAL and job.filed is not None:
            files.file_away(job, journal.history(job.id))
        elif job is not None:
            held.append(job.id)
    files.touch(held)


def sweep(journal: Journal, root: Root) -> None:
    """Removes half-written sets that nobody is writing any more."""
    jobs = list(journal.all_jobs())
    in_work = {job.id for job in jobs if job.state in RUNNING and job.owner is not None}
    for partial in sweep_partials(root.outbox, in_work, {job.id for job in jobs}):
        log_event("partial-swept", path=str(partial))


class Adopter:
    """Takes over work folders that nobody's journal looks after.

    Their holders touch the ticket with every heartbeat. A ticket that has been still for a whole
    lease, on this machine's steady clock, is nobody's; whoever renames its folder has it.
    """

    def __init__(self, lease_s: float) -> None:
        self._still_s = 2 * lease_s
        self._tickets: dict[str, tuple[int, float]] = {}

    def adopt(self, journal: Journal, root: Root, now: Instant) -> int:
        """One look at all work folders; returns how many were taken over."""
        found = 0
        for folder in _work_folders(root):
            ticket = folder / TICKET
            if journal.get(folder.name) is not None or not ticket.exists():
                continue
            touched = ticket.stat().st_mtime_ns
            before = self._tickets.get(folder.name)
            if before is None or before[0] != touched:
                self._tickets[folder.name] = (touched, now.steady_s)
            elif now.steady_s - before[1] >= self._still_s:
                found += self._take(journal, folder, now)
        return found

    def _take(self, journal: Journal, folder: Path, now: Instant) -> int:
        self._tickets.pop(folder.name)
        ticket = read_json(folder / TICKET)
        if ticket is None:
            return 0
        job_id = uuid.uuid4().hex[:12]
        try:
            folder.rename(folder.with_name(job_id))
        except OSError:  # another daemon was faster
            return 0
        row = {
            "id": job_id,
            "source": Path(os.fsdecode(bytes.fromhex(ticket["source"]))),
            "identity": "",
            "size": ticket["size"],
            "preset": ticket["preset"],
            "state": State.RETRY_AT,
            "due_at": now.wall_s,
            "reason": f"taken over from the abandoned job {folder.name}",
        }
        journal.insert([row], now)
        log_event("adopted", journal.get(job_id), level=logging.WARNING, formerly=folder.name)
        return 1


def _done_rows(root: Root) -> Iterator[dict[str, Any]]:
    for parent, names, files in os.walk(root.outbox):
        names[:] = [name for name in names if not name.startswith(".")]
        if "manifest.json" not in files:
            continue
        names.clear()
        if there := read_published(Path(parent)):
            yield _done_row(root, Path(parent), there)


def _done_row(root: Root, folder: Path, there: PublishedSet) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex[:12],
        "source": folder.relative_to(root.outbox).parent / there.mix_name,
        "identity": "",
        "size": 0,
        "preset": there.preset,
        "state": State.DONE,
        "sha256": there.sha256,
        "key": there.key,
        "destination": folder,
        "facts": facts_text(there.facts),
    }


def _quarantined_rows(root: Root) -> Iterator[dict[str, Any]]:
    for path in sorted(root.failed.rglob("*.reason.json")):
        reason = read_json(path)
        filed = path.with_name(path.name.removesuffix(".reason.json"))
        if reason is None or not filed.exists():
            continue
        try:
            yield {
                "id": uuid.uuid4().hex[:12],
                "source": Path(os.fsdecode(bytes.fromhex(reason["source"]))),
                "identity": "",
                "size": filed.stat().st_size,
                "preset": reason["preset"],
                "state": State.QUARANTINED,
                "sha256": reason["sha256"],
                "attempts": reason["attempts"],
                "kills": reason["worker_kills"],
                "filed": filed,
                "code": reason["code"],
                "reason": reason["reason"],
            }
        except (KeyError, TypeError, ValueError):
            continue


def _work_folders(root: Root) -> list[Path]:
    return sorted(entry for entry in root.work.iterdir() if entry.is_dir())
