"""What is put right at the start and now and then: a lost journal, orphaned work, leftovers.

The journal can be lost, because everything it knows stands in the folders as well: claimed mixes
with their tickets in work, manifests in the outbox, reasons in failed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from presets import printable

from .clock import Instant
from .facts import JobFacts
from .job import FINAL, RUNNING, Job, State, new_job
from .job_files import JOB_ID, TICKET, HotFolderFiles, RootLostError
from .journal import Journal
from .logs import log_event
from .partials import sweep_partials
from .published import MANIFEST, PublishedSet, read_published
from .reasons import REASON_SUFFIX
from .records import ForeignError, Reason, Ticket, read_record
from .root import Root
from .settings import HotFolderSettings, allowed_preset


def rebuild(journal: Journal, root: Root, settings: HotFolderSettings, now: Instant) -> int:
    """Fill an empty journal from the manifests and reasons in the folders."""
    jobs = [*_done_jobs(root, now), *_quarantined_jobs(root, settings, now)]
    journal.insert(jobs, now)
    if jobs:
        log_event("journal-rebuilt", rows=len(jobs))
    return len(jobs)


def tidy(journal: Journal, files: HotFolderFiles) -> None:
    """Finish what a kill left half done: final jobs are filed, held work folders shown alive."""
    held = []
    for folder in _work_folders(files.root):
        job = _job_of(journal, folder)
        if job is not None and job.state in FINAL and job.filed is not None:
            with _reported(folder):
                files.file_away(job, journal.history(job.id))
        elif job is not None:
            held.append(job.id)
    files.touch(held)


def sweep(journal: Journal, root: Root) -> None:
    """Remove half-written sets that nobody is writing any more."""
    jobs = list(journal.all_jobs())
    in_work = {job.id for job in jobs if job.state in RUNNING and job.owner is not None}
    for partial in sweep_partials(root.outbox, in_work, {job.id for job in jobs}):
        log_event("partial-swept", path=str(partial))


class Adopter:
    """A new owner of work folders that nobody's journal looks after.

    Their holders touch the ticket with every heartbeat. A ticket that has been still for a whole
    lease, on this machine's steady clock, is nobody's; whoever renames its folder has it.
    """

    def __init__(self, lease_s: float, settings: HotFolderSettings) -> None:
        self.settings = settings
        self._still_s = 2 * lease_s
        self._tickets: dict[str, tuple[int, float]] = {}

    def adopt(self, journal: Journal, files: HotFolderFiles, now: Instant) -> int:
        """One look at all work folders; returns how many were taken over."""
        found = 0
        for folder in _work_folders(files.root):
            if _job_of(journal, folder) is not None:
                continue
            with _reported(folder):
                found += self._look_at(journal, files, folder, now)
        return found

    def _look_at(self, journal: Journal, files: HotFolderFiles, folder: Path, now: Instant) -> int:
        try:
            touched = os.lstat(folder / TICKET).st_mtime_ns
        except FileNotFoundError:  # somebody is about to write it
            return 0
        before = self._tickets.get(folder.name)
        if before is None or before[0] != touched:
            self._tickets[folder.name] = (touched, now.steady_s)
        elif now.steady_s - before[1] >= self._still_s:
            return self._take(journal, files, folder, now)
        return 0

    def _take(self, journal: Journal, files: HotFolderFiles, folder: Path, now: Instant) -> int:
        self._tickets.pop(folder.name)
        files.insist_on_root()
        try:
            ticket = read_record(folder / TICKET, Ticket)
            files.insist_on_mix(folder, ticket.source)
        except ForeignError as error:
            place = files.set_aside(folder, "ticket-invalid", f"{TICKET}: {error}", now)
            log_event("ticket-refused", level=logging.ERROR, reason=str(error),
                      folder=printable(folder), moved_to=printable(place))  # fmt: skip
            return 0
        preset = allowed_preset(ticket.preset, ticket.source, self.settings)
        job = replace(
            new_job(ticket.source, "", ticket.size, preset, State.RETRY_AT, now),
            due_at=now.wall_s,
            reason=f"taken over from the abandoned job {printable(folder.name)}",
        )
        try:
            folder.rename(folder.with_name(job.id))
        except OSError:  # another daemon was faster
            return 0
        journal.insert([job], now)
        log_event("adopted", job, level=logging.WARNING, formerly=printable(folder.name))
        return 1


def _done_jobs(root: Root, now: Instant) -> Iterator[Job]:
    for parent, names, files in os.walk(root.outbox):
        names[:] = [name for name in names if not name.startswith(".")]
        if MANIFEST not in files:
            continue
        names.clear()
        if there := read_published(Path(parent)):
            yield _done_job(root, Path(parent), there, now)


def _done_job(root: Root, folder: Path, there: PublishedSet, now: Instant) -> Job:
    source = folder.relative_to(root.outbox).parent / there.mix_name
    return replace(
        new_job(source, "", 0, there.preset, State.DONE, now),
        sha256=there.sha256,
        key=there.key,
        destination=folder,
        facts=JobFacts().with_set(there.facts).text(),
    )


def _quarantined_jobs(root: Root, settings: HotFolderSettings, now: Instant) -> Iterator[Job]:
    for parent, _, names in os.walk(root.failed):
        for name in sorted(name for name in names if name.endswith(REASON_SUFFIX)):
            path = Path(parent, name)
            filed = path.with_name(name.removesuffix(REASON_SUFFIX))
            with _reported(path), contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(os.lstat(filed).st_mode):
                    yield _quarantined_job(root, path, filed, settings, now)


def _quarantined_job(
    root: Root, path: Path, filed: Path, settings: HotFolderSettings, now: Instant
) -> Job:
    try:
        reason = read_record(path, Reason)
    except ForeignError as error:
        log_event("reason-refused", level=logging.ERROR, file=printable(path), reason=str(error))
        inside = filed.relative_to(root.failed).parts
        reason = Reason.model_construct(
            source=Path(*inside[1:] or inside),
            code="reason-damaged",
            reason=f"why it failed is not known any more: {path.name}: {error}",
            preset=settings.preset,
        )
    preset = allowed_preset(reason.preset, reason.source, settings)
    size = filed.stat().st_size
    return replace(
        new_job(reason.source, "", size, preset, State.QUARANTINED, now),
        sha256=reason.sha256,
        attempts=reason.attempts,
        kills=reason.worker_kills,
        filed=filed,
        code=reason.code,
        reason=reason.reason,
    )


def _job_of(journal: Journal, folder: Path) -> Job | None:
    """The job whose work folder this is; a name that we would not give is nobody's."""
    return journal.get(folder.name) if JOB_ID.fullmatch(folder.name) else None


def _work_folders(root: Root) -> list[Path]:
    with os.scandir(root.work) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


@contextlib.contextmanager
def _reported(place: Path) -> Iterator[None]:
    """What goes wrong with one folder is told, and the others are looked at all the same."""
    try:
        yield
    except RootLostError:
        raise
    except OSError as error:
        log_event("housekeeping-failed", level=logging.WARNING, place=printable(place),
                  reason=str(error))  # fmt: skip
