"""Questions and requests from the command line: they need no running daemon, only the journal."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from presets import StemwrightError, printable

from .clock import Instant, iso_time
from .holder_lock import living_holders
from .inventory import take_inventory
from .job import FINAL, RUNNING, Job, State
from .job_files import HotFolderFiles
from .journal import Journal
from .readiness import why_unready
from .root import Root
from .settings import HotFolderSettings, known_folders, preset_of
from .worker_protocol import over_high_water

SHOWN_JOBS = 20


class Admin:
    """One hot folder seen from outside."""

    def __init__(self, root: Path, state: Path, settings: HotFolderSettings) -> None:
        self.root = Root(root.absolute())
        self.state = state
        self.settings = settings
        path = state / "journal.db"
        if not path.exists():
            raise StemwrightError(
                "no-journal",
                f"{root}: no daemon has looked after this folder yet (no journal in {state}). "
                "Start `stemwright watch`, or give the same --state as the daemon.",
            )
        self.journal = Journal(path)

    def close(self) -> None:
        """Lets go of the journal."""
        self.journal.close()

    # -- questions ---------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Everything at a glance: daemons, health, counts, what is in work, waits, has failed."""
        jobs = self.journal
        return {
            "root": str(self.root.path),
            "daemons": living_holders(self.state),
            "paused": jobs.setting("paused"),
            "health": self._last_health(),
            "counts": jobs.counts(),
            "in_work": [self._line(job) for job in jobs.running()],
            "waiting": [self._line(job) for job in jobs.waiting()[:SHOWN_JOBS]],
            "retry_at": [self._line(job) for job in jobs.in_state(State.RETRY_AT)[:SHOWN_JOBS]],
            "quarantined": [
                self._line(job) for job in jobs.in_state(State.QUARANTINED)[-SHOWN_JOBS:]
            ],
        }

    def status_lines(self) -> list[str]:
        """The status for a terminal."""
        status = self.status()
        daemons = ", ".join(status["daemons"]) or "none is running"
        counts = ", ".join(f"{n} {state}" for state, n in status["counts"].items() if n)
        lines = [f"{status['root']}", f"daemons: {daemons}", f"jobs: {counts or 'none yet'}"]
        health = status["health"] if status["daemons"] else None
        if health and not health["healthy"]:
            lines.append(f"NOT HEALTHY: {health['lost'] or 'the last scan is too old'}")
        lines += [f"note: {reason}" for reason in health["degraded"]] if health else []
        if status["paused"]:
            lines.append(f"paused: {status['paused']}")
        for group in ("in_work", "waiting", "retry_at", "quarantined"):
            lines += [f"  {job['file']}: {job['why']}" for job in status[group]]
        return lines

    def explain(self, target: str) -> list[str]:
        """Why a file is where it is: one sentence for each job that knows it."""
        jobs = self._find(target)
        if jobs:
            sentences = [f"{printable(job.source)}: {self.why(job)}" for job in jobs]
        else:
            sentences = [f"{printable(target)}: {self._why_unknown(Path(target))}"]
        if not living_holders(self.state) and any(job.state not in FINAL for job in jobs):
            sentences.append("No daemon is running: nothing will happen until one is started.")
        return sentences

    def why(self, job: Job) -> str:
        """One job's state as a sentence."""
        now_s = time.time()
        match job.state:
            case State.SEEN:
                return self._why_seen(job, now_s)
            case State.SETTLED:
                return self._why_queued(job)
            case State.RETRY_AT:
                wait_s = max(0.0, job.due_at - now_s)
                when = f"attempt {job.attempts + 1} in {wait_s:.0f} s"
                return f"waiting: {when}, because {job.reason}"
            case State.DONE:
                return f"done at {iso_time(job.updated_at)}: {job.destination}"
            case State.QUARANTINED:
                return (
                    f"quarantined: {job.reason} ({job.code}, attempts: {job.attempts}). The "
                    f"original is {job.filed}. To try again: stemwright retry '{job.filed}'"
                )
            case _:
                return self._why_running(job)

    # -- requests ------------------------------------------------------------------------------

    def retry(self, target: str | None) -> list[Job]:
        """Tries quarantined or waiting jobs again now; all quarantined ones without a target."""
        jobs = self.journal.in_state(State.QUARANTINED) if target is None else self._find(target)
        chosen = [job for job in jobs if job.state in (State.QUARANTINED, State.RETRY_AT)]
        if target is not None and not chosen:
            raise StemwrightError(
                "nothing-to-retry", f"{target}: {self.explain(target)[0]}; nothing to retry."
            )
        now = Instant.now()
        fresh: dict[str, Any] = {"due_at": now.wall_s, "attempts": 0, "kills": 0, "faults": 0}
        fresh |= {"code": "asked", "reason": "somebody asked for another try"}
        return [self.journal.advance(job, State.RETRY_AT, now, **fresh) for job in chosen]

    def pause(self, reason: str = "somebody asked for it") -> None:
        """Lets every daemon finish what it has, and begin nothing."""
        self.journal.set_setting("paused", reason)

    def resume(self) -> None:
        """Takes the pause back."""
        self.journal.set_setting("paused", None)

    def forget(self, target: str) -> list[Job]:
        """Forgets finished jobs, so that the same mix is done again; sends waiting ones to failed.

        Files are never deleted: originals and sets stay where they are.
        """
        jobs = self._find(target)
        if not jobs:
            raise StemwrightError("unknown-file", f"{target}: the journal does not know it.")
        for job in jobs:
            if job.state in RUNNING:
                raise StemwrightError(
                    "job-in-work", f"{target}: is in work. Pause or stop the daemon first."
                )
            if job.state == State.RETRY_AT:
                self._withdraw(job)
            else:
                self.journal.drop(job)
        return jobs

    def _withdraw(self, job: Job) -> None:
        now = Instant.now()
        files = HotFolderFiles(self.root, self.root.number() or "")
        outcome = {"code": "withdrawn", "reason": "somebody withdrew it with `stemwright forget`"}
        filed = job.filed or files.filing_place(job, State.QUARANTINED, now)
        job = self.journal.advance(job, State.QUARANTINED, now, filed=filed, **outcome)
        files.file_away(job, self.journal.history(job.id))

    # -- below -------------------------------------------------------------------------------

    def _why_seen(self, job: Job, now_s: float) -> str:
        if job.reason:
            return f"waiting: {job.reason}"
        return (
            f"waiting: size or time changed {max(0.0, now_s - job.changed_at):.0f} s ago; it must "
            f"stay the same for {self.settings.settle_s:g} s or more"
        )

    def _why_queued(self, job: Job) -> str:
        paused = self.journal.setting("paused")
        if paused:
            return f"queued, but paused: {paused}"
        full = over_high_water(
            [self.root.outbox, self.root.work], self.settings.high_water_percent
        )
        if full:
            return f"queued, but no job is begun: {full}"
        behind = self.journal.queued_before(job) + len(self.journal.running())
        return f"queued behind {behind}" if behind else "queued: next"

    def _why_running(self, job: Job) -> str:
        where = f"{job.state}"
        if job.segments:
            where += f", segment {job.segment} of {job.segments}"
        if job.owner is None:
            return f"interrupted ({where}); the next daemon goes on from there"
        return f"in work: {where}, attempt {job.attempts}, by {job.owner}"

    def _why_unknown(self, path: Path) -> str:
        if not self.root.inbox.is_dir():
            return f"the hot folder {self.root.path} is not there"
        rules, depth = self.settings.name_rules, self.settings.max_depth
        found = take_inventory(self.root.inbox, rules, depth)
        source = self._in(self.root.inbox, path)
        for place in (source, *source.parents):
            if place in found.ignored:
                which = "" if place == source else f"its folder {printable(place)} is left alone: "
                return f"ignored: {which}{found.ignored[place]}"
        if any(file.path == source for file in found.files):
            return "waiting: the next scan will see it"
        return "not known, and not in the inbox"

    def _find(self, target: str) -> list[Job]:
        if job := self.journal.get(target):
            return [job]
        path = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow links
        found = self.journal.find(path) or self.journal.find(self._in(self.root.inbox, path))
        found = found or self._by_work_folder(path)
        name = Path(target)
        if not found and len(name.parts) == 1:
            found = [job for job in self.journal.all_jobs() if job.source.name == name.name]
        return found

    def _by_work_folder(self, path: Path) -> list[Job]:
        inside = self._in(self.root.work, path)
        job = self.journal.get(inside.parts[0]) if inside.parts else None
        return [job] if job else []

    def _in(self, folder: Path, path: Path) -> Path:
        """A path as seen from a folder; a relative one is taken to be so already."""
        return path.relative_to(folder) if path.is_relative_to(folder) else path

    def _line(self, job: Job) -> dict[str, Any]:
        return {
            "job": job.id,
            "file": printable(job.source),
            "state": str(job.state),
            "preset": job.preset,
            "why": self.why(job),
        }

    def _last_health(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.state / "health.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def preview(root: Path, settings: HotFolderSettings) -> list[str]:
    """What a daemon would do with the inbox as it is now: `--dry-run`. Changes nothing."""
    place = Root(root.absolute())
    if not place.inbox.is_dir():
        raise StemwrightError("root-missing", f"{place.inbox}: no such folder.")
    found = take_inventory(place.inbox, settings.name_rules, settings.max_depth)
    known, lines = known_folders(settings), []
    for file in sorted(found.files, key=lambda file: file.path):
        trouble = why_unready(place.inbox / file.path)
        preset = preset_of(file.path, settings, known)
        what = f"would wait: {trouble.reason}" if trouble else f"would be done with {preset}"
        lines.append(f"{printable(file.path)}: {what}")
    lines += [f"{printable(path)}: ignored: {why}" for path, why in sorted(found.ignored.items())]
    return lines
