"""Questions and requests from the command line: they need no running daemon, only the journal."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from presets import StemwrightError, find_preset, printable

from .clock import Instant
from .explanation import Explainer
from .holder_lock import living_holders
from .inventory import take_inventory
from .job import FINAL, RUNNING, Job, State
from .job_files import JOB_ID, HotFolderFiles
from .journal import Journal, LeaseLostError
from .journal_database import is_damage
from .known_mounts import MOUNTS, KnownMounts
from .readiness import why_unready
from .records import ForeignError, Health, read_record
from .root import Root
from .settings import HotFolderSettings, known_folders, preset_of, takes_companions

SHOWN_JOBS = 20


class JobLine(TypedDict):
    """One job as `status` shows it."""

    job: str
    file: str
    state: str
    preset: str
    why: str


class Status(TypedDict):
    """A hot folder at a glance; `counts` by state, `ignored` with the reason of each file."""

    root: str
    daemons: list[str]
    paused: str | None
    health: dict[str, object] | None
    counts: dict[str, int]
    ignored: dict[str, str]
    in_work: list[JobLine]
    waiting: list[JobLine]
    retry_at: list[JobLine]
    quarantined: list[JobLine]


class Admin:
    """One hot folder seen from outside."""

    def __init__(self, root: Path, state: Path, settings: HotFolderSettings) -> None:
        self.root = Root(root.absolute())
        self.state = state
        self.settings = settings
        self.journal = _opened(root, state)
        self._explainer = Explainer(self.journal, self.root, settings)

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the journal."""
        self.journal.close()

    # -- questions ---------------------------------------------------------------------------

    def status(self) -> Status:
        """Everything at a glance: daemons, health, counts, what is in work, waits, has failed."""
        jobs, health = self.journal, self._last_health()
        return {
            "root": str(self.root.path),
            "daemons": living_holders(self.state),
            "paused": jobs.setting("paused"),
            "health": health.model_dump(mode="json") if health else None,
            "counts": jobs.statistics.counts(),
            "ignored": self._ignored(),
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
        health = self._last_health() if status["daemons"] else None
        if health and not health.healthy:
            lines.append(f"NOT HEALTHY: {health.lost or 'the last scan is too old'}")
        lines += [f"note: {reason}" for reason in health.degraded] if health else []
        if status["paused"]:
            lines.append(f"paused: {status['paused']}")
        ignored = list(status["ignored"].items())
        if ignored:
            named = [f"  {file}: {why}" for file, why in ignored[:SHOWN_JOBS]]
            lines += [f"ignored: {len(ignored)} in the inbox are left alone", *named]
        for group in (
            status["in_work"], status["waiting"], status["retry_at"], status["quarantined"]
        ):  # fmt: skip
            lines += [f"  {job['file']}: {job['why']}" for job in group]
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
        return self._explainer.why(job)

    # -- requests ------------------------------------------------------------------------------

    def retry(self, target: str | None, preset: str | None = None) -> list[Job]:
        """Try quarantined or waiting jobs again now; all quarantined ones without a target.

        With `preset` they are done with another one than their folder says.
        """
        if preset is not None:
            find_preset(preset)
        jobs = self.journal.in_state(State.QUARANTINED) if target is None else self._find(target)
        failed = [job for job in jobs if job.state in (State.QUARANTINED, State.RETRY_AT)]
        chosen = [job for job in failed if not self._was_put_back(job)]
        if target is not None and failed and not chosen:
            raise StemwrightError(
                "nothing-to-retry",
                f"{target}: its original is not in failed any more: somebody has put it back, and "
                f"it goes its way from the inbox. {self.explain(target)[-1]}",
            )
        if target is not None and not chosen:
            raise StemwrightError(
                "nothing-to-retry", f"{target}: {self.explain(target)[0]}; nothing to retry."
            )
        now = Instant.now()
        asked = []
        for job in chosen:
            self.journal.drop_cancel(job)
            again = replace(
                job, state=State.RETRY_AT, due_at=now.wall_s, attempts=0, kills=0, faults=0,
                preset=preset or job.preset, code="asked",
                reason="somebody asked for another try",
            )  # fmt: skip
            with contextlib.suppress(LeaseLostError):  # a daemon has just taken it
                asked.append(self.journal.advance(job, again, now))
        return asked

    def _was_put_back(self, job: Job) -> bool:
        """Whether a failed original left its place by hand; then there is nothing to take up."""
        in_work = self.root.work / job.id
        gone = job.filed is not None and not os.path.lexists(job.filed)
        return job.state == State.QUARANTINED and gone and not os.path.lexists(in_work)

    def cancel(self, target: str) -> list[Job]:
        """Take jobs out of the queue or end their work; their mixes go to `failed/`.

        The daemon does it, at its next round; a file that is still being written first settles.
        """
        chosen = [job for job in self._find(target) if job.state not in FINAL]
        if not chosen:
            raise StemwrightError(
                "nothing-to-cancel", f"{target}: {self.explain(target)[0]}; nothing to cancel."
            )
        for job in chosen:
            self.journal.ask_to_cancel(job)
        return chosen

    def pause(self, reason: str = "somebody asked for it") -> None:
        """Let every daemon finish what it has, and begin nothing."""
        self.journal.set_setting("paused", reason)

    def resume(self) -> None:
        """Take the pause back."""
        self.journal.set_setting("paused", None)

    def forget(self, target: str) -> list[Job]:
        """Forget finished jobs, so that the same mix is done again; send waiting ones to failed.

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
        now, number = Instant.now(), self.root.number() or ""
        if lost := self.root.why_lost(number):
            raise StemwrightError("root-lost", lost, transient=True)
        files = HotFolderFiles(
            self.root, number, KnownMounts(self.state / MOUNTS, self.root.outbox)
        )
        aside = replace(
            job, state=State.QUARANTINED, code="withdrawn",
            reason="somebody withdrew it with `stemwright forget`",
            filed=job.filed or files.filing_place(job, State.QUARANTINED, now),
        )  # fmt: skip
        job = self.journal.advance(job, aside, now)
        files.file_away(job, self.journal.history(job.id))

    # -- below -------------------------------------------------------------------------------

    def _why_unknown(self, path: Path) -> str:
        if not self.root.inbox.is_dir():
            return f"the hot folder {self.root.path} is not there"
        rules, depth = self.settings.name_rules, self.settings.max_depth
        found = take_inventory(self.root.inbox, rules, depth, takes_companions(self.settings))
        files = {file.path for file in found.files}
        for source in self._as_seen_from(self.root.inbox, path):
            for place in (source, *source.parents):
                if place in found.ignored:
                    which = f"its folder {printable(place)} is left alone: "
                    return f"ignored: {'' if place == source else which}{found.ignored[place]}"
            if source in files:
                return "waiting: the next scan will see it"
            if (self.root.inbox / source).is_dir() and source != Path():
                inside = sum(source in file.parents for file in files)
                return f"a folder, and no mix: {inside} mixes in it, each with its own story"
        where = "it lies there all the same" if path.exists() else "there is no such file"
        return f"not known, and not in the inbox; {where}"

    def _find(self, target: str) -> list[Job]:
        if JOB_ID.fullmatch(target) and (job := self.journal.get(target)):
            return [job]
        name = Path(target)
        path = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow links
        for place in (path, *self._as_seen_from(self.root.inbox, name)):
            if found := self.journal.find(place):
                return found
        found = self._by_work_folder(path) or self._by_set(path)
        if not found and len(name.parts) == 1:
            found = [job for job in self.journal.all_jobs() if job.source.name == name.name]
        return found

    def _by_work_folder(self, path: Path) -> list[Job]:
        for inside in self._as_seen_from(self.root.work, path):
            folder = inside.parts[0] if inside.parts else ""
            if JOB_ID.fullmatch(folder) and (job := self.journal.get(folder)):
                return [job]
        return []

    def _by_set(self, path: Path) -> list[Job]:
        """The job whose set a file of the outbox belongs to."""
        inside = [place for place in path.parents if place.is_relative_to(self.root.outbox)]
        return next((found for place in inside if (found := self.journal.find(place))), [])

    def _as_seen_from(self, folder: Path, path: Path) -> list[Path]:
        """What a path may mean in a folder: from where one stands, through links or not, and, for
        a relative one that leads elsewhere, as it would be typed in the folder itself."""
        here = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the last link
        real = Path(os.path.realpath(here.parent)) / here.name
        meant = [
            place.relative_to(base)
            for place, base in ((here, folder), (real, Path(os.path.realpath(folder))))
            if place.is_relative_to(base)
        ]
        typed = [] if path.is_absolute() or ".." in path.parts else [path]
        return list(dict.fromkeys([*meant, *typed]))

    def _ignored(self) -> dict[str, str]:
        """What lies in the inbox and is left alone, as it is now, and why."""
        try:
            found = take_inventory(
                self.root.inbox,
                self.settings.name_rules,
                self.settings.max_depth,
                takes_companions(self.settings),
            )
        except OSError:
            return {}
        return {printable(path): why for path, why in sorted(found.worth_telling().items())}

    def _line(self, job: Job) -> JobLine:
        return {
            "job": job.id,
            "file": printable(job.source),
            "state": str(job.state),
            "preset": job.preset,
            "why": self.why(job),
        }

    def _last_health(self) -> Health | None:
        try:
            return read_record(self.state / "health.json", Health)
        except (OSError, ForeignError):
            return None


def _opened(root: Path, state: Path) -> Journal:
    """The journal of a hot folder's daemons; an error that says what to do when there is none."""
    path = state / "journal.db"
    alive = living_holders(state)
    if not path.exists():
        if alive:
            raise StemwrightError(
                "no-journal",
                f"{path}: the journal was deleted while a daemon has it open "
                f"({', '.join(alive)}). It puts it back within seconds: ask again.",
                transient=True,
            )
        raise StemwrightError(
            "no-journal",
            f"{root}: no daemon has looked after this folder yet (no journal in {state}). "
            "Start `stemwright watch`, or give the same --state as the daemon.",
        )
    try:
        return Journal(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        next_step = (
            "The running daemon moves it aside" if alive else "Start `stemwright watch`: it"
        )
        raise StemwrightError(
            "journal-damaged",
            f"{path}: the journal is damaged: {error}. {next_step} and makes it again from the "
            "folders.",
            transient=bool(alive),
        ) from error


def preview(root: Path, settings: HotFolderSettings) -> list[str]:
    """What a daemon would do with the inbox as it is now: `--dry-run`. Changes nothing."""
    place = Root(root.absolute())
    if not place.inbox.is_dir():
        raise StemwrightError("root-missing", f"{place.inbox}: no such folder.")
    wants = takes_companions(settings)
    found = take_inventory(place.inbox, settings.name_rules, settings.max_depth, wants)
    known, lines = known_folders(settings), []
    for file in sorted(found.files, key=lambda file: file.path):
        trouble = why_unready(place.inbox / file.path)
        preset = preset_of(file.path, settings, known)
        what = f"would wait: {trouble.reason}" if trouble else f"would be done with {preset}"
        lines.append(f"{printable(file.path)}: {what}")
    lines += [f"{printable(path)}: ignored: {why}" for path, why in sorted(found.ignored.items())]
    return lines
