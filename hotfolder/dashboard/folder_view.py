"""What the dashboard shows of a hot folder, and the requests that its buttons make.

Everything is read from the journal at the moment of asking; every call opens and closes it, so
that no connection is shared between threads. A client names jobs by their ids and files by
their place in the set's manifest: no path comes from outside.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import load_manifest, write_report
from presets import StemwrightError, preset_names, printable

from ..admin import Admin
from ..clock import iso_time
from ..health import HealthDocument
from ..job import FINAL, RUNNING, Job, State
from ..settings import HotFolderSettings
from .documents import Disk, JobDetail, JobPage, JobRow, Overview, SetSummary, StemFileRow, Step

PAGE_ROWS = 100
HISTORY_DAYS = 14
PREVIEW = re.compile(r"(mix|dry-\d{1,3}|wet-\d{1,3})-\d{1,5}\.js")
GROUPS: dict[str, tuple[State, ...]] = {
    "work": RUNNING,
    "waiting": (State.SEEN, State.SETTLED, State.RETRY_AT),
    "failed": (State.QUARANTINED,),
    "done": (State.DONE,),
}


class FolderView:
    """One hot folder, asked from a web server's threads."""

    def __init__(
        self,
        root: Path,
        state: Path,
        settings: HotFolderSettings,
        health: Callable[[], HealthDocument],
    ) -> None:
        self._root, self._state, self._settings = root, state, settings
        self.health = health

    @contextmanager
    def _admin(self) -> Iterator[Admin]:
        admin = Admin(self._root, self._state, self._settings)
        try:
            yield admin
        finally:
            admin.close()

    # -- reading -----------------------------------------------------------------------------

    def overview(self) -> Overview:
        """Counts, health, free space and figures per day."""
        with self._admin() as admin:
            counts = admin.journal.statistics.counts()
            return {
                "root": str(self._root),
                "health": self.health(),
                "paused": admin.journal.setting("paused"),
                "counts": {
                    group: sum(counts[str(state)] for state in states)
                    for group, states in GROUPS.items()
                },
                "disks": self._disks(),
                "days": admin.journal.statistics.per_day(time.time() - HISTORY_DAYS * 86_400),
                "presets": sorted(preset_names()),
            }

    def _disks(self) -> dict[str, Disk]:
        found: dict[str, Disk] = {}
        for name in ("inbox", "work", "outbox"):
            try:
                usage = shutil.disk_usage(self._root / name)
            except OSError:
                continue
            found[name] = {"free": usage.free, "total": usage.total}
        return found

    def jobs(self, group: str, page: int) -> JobPage:
        """One page of a group's jobs; finished ones newest first."""
        states = GROUPS.get(group)
        if states is None:
            raise StemwrightError(
                "no-such-group", f"expected one of {', '.join(GROUPS)}, got another word."
            )
        with self._admin() as admin:
            newest_first = states[0] in FINAL
            rows = admin.journal.page(states, PAGE_ROWS, page * PAGE_ROWS, newest_first)
            return {"page": page, "rows": [self._row(admin, job) for job in rows]}

    def _row(self, admin: Admin, job: Job) -> JobRow:
        done = job.segment / job.segments if job.segments else None
        began = job.updated_at if job.state in RUNNING else None
        return {
            "id": job.id,
            "file": printable(job.source),
            "preset": job.preset,
            "state": str(job.state),
            "why": admin.why(job),
            "progress": done,
            "segment": job.segment,
            "segments": job.segments,
            "attempts": job.attempts,
            "arrived": iso_time(job.created_at),
            "changed": iso_time(job.updated_at),
            "since_s": None if began is None else max(0.0, time.time() - began),
            "can": self._may(job),
        }

    def _may(self, job: Job) -> list[str]:
        """The buttons that make sense."""
        if job.state in (State.QUARANTINED, State.RETRY_AT):
            return ["retry"]
        if job.state == State.DONE:
            return ["listen"]
        return ["cancel"]

    def job(self, job_id: str) -> JobDetail:
        """One job with its history and, when it is done, its files."""
        with self._admin() as admin:
            job = self._known(admin, job_id)
            history = [
                Step(at=iso_time(step["at"]), state=step["state"], detail=step["detail"])
                for step in admin.journal.history(job.id)
            ]
            row = self._row(admin, job)
        if job.state != State.DONE or job.destination is None:
            return {**row, "history": history, "files": [], "facts": None, "page": False}
        manifest = load_manifest(job.destination)
        files = [
            StemFileRow(stem=file.stem, kind=file.kind, lufs=file.loudness.integrated_lufs)
            for file in manifest.files
        ]
        facts = SetSummary(null_dbfs=manifest.null_dbfs, seconds=sum(manifest.seconds.values()))
        page = (job.destination / "report.html").is_file()
        return {**row, "history": history, "files": files, "facts": facts, "page": page}

    def stem_file(self, job_id: str, number: int) -> Path:
        """The file with that number in the set's manifest."""
        folder = self._set_of(job_id)
        files = load_manifest(folder).files
        if not 0 <= number < len(files):
            raise StemwrightError("no-such-file", f"the set has {len(files)} files.")
        return _inside(folder, folder / files[number].path)

    def page_file(self, job_id: str, name: str | None) -> Path:
        """The listening page of a set, made when there is none, or one of its previews."""
        folder = self._set_of(job_id)
        if name is None:
            page = folder / "report.html"
            return _inside(folder, page if page.is_file() else write_report(folder))
        if not PREVIEW.fullmatch(name):
            raise StemwrightError("no-such-file", "a page has no such preview.")
        return _inside(folder, folder / "report" / name)

    def _set_of(self, job_id: str) -> Path:
        with self._admin() as admin:
            job = self._known(admin, job_id)
        if job.state != State.DONE or job.destination is None:
            raise StemwrightError("not-done", "the job is not done: it has no set yet.")
        return job.destination

    def _known(self, admin: Admin, job_id: str) -> Job:
        job = admin.journal.get(job_id)
        if job is None:
            raise StemwrightError("unknown-job", "the journal has no job of that number.")
        return job

    # -- buttons -----------------------------------------------------------------------------

    def retry(self, job_id: str, preset: str | None) -> str:
        """Try a job again, with another preset if one is named."""
        with self._admin() as admin:
            self._known(admin, job_id)
            [job] = admin.retry(job_id, preset)
            return admin.why(job)

    def cancel(self, job_id: str) -> str:
        """Take a job out of the queue, or end its work; its mix goes to `failed/`."""
        with self._admin() as admin:
            self._known(admin, job_id)
            admin.cancel(job_id)
        return "it will be cancelled"

    def pause(self) -> str:
        """Begin no new job."""
        with self._admin() as admin:
            admin.pause("somebody pressed the button")
        return "paused"

    def resume(self) -> str:
        """Take the pause back."""
        with self._admin() as admin:
            admin.resume()
        return "going on"


def _inside(folder: Path, path: Path) -> Path:
    """The path, when it is a file within the folder once links are followed."""
    real = path.resolve()
    if not real.is_relative_to(folder.resolve()) or not real.is_file():
        raise StemwrightError("no-such-file", "the set has no such file.")
    return real
