"""The daemon of a hot folder: scans, settles, claims, polls its workers, and reports its health.

`loop(now)` does one round and never waits, so that a day can pass in a test in no time. `run`
calls it until a signal says stop.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sqlite3
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from presets import StemwrightError

from .atomic import write_whole
from .clock import Instant
from .disk_space import over_high_water
from .health import Findings, HealthDocument, Vitals, free_bytes, health_of
from .holder_lock import HolderLock
from .http_server import HealthServer
from .intake import Intake
from .job import FINAL, State
from .job_files import HotFolderFiles, RootLostError
from .journal_database import is_damage
from .journal_file import DamagedError, JournalCheck, move_journal_aside, open_journal
from .known_mounts import MOUNTS, KnownMounts
from .logs import log_event
from .optional_server import OptionalServer, Server
from .recovery import Adopter, sweep, tidy
from .root import Root, insist_on_local
from .service import notify
from .settings import HotFolderSettings, HttpSettings, loggable
from .settings_file import SettingsFile
from .transitions import LEASE_S, JobTransitions
from .wakeup import Wakeup
from .watcher import Watcher
from .worker_pool import WorkerPool

HOUSEKEEPING_S = 10.0
SWEEP_S = 600.0  # between two looks for half-written sets that nobody writes any more
HEALTH_S = 1.0
BUSY_ROUND_S = 0.25
DAY_S = 86_400.0


Serve = Callable[["Daemon", HttpSettings], Server]


class Daemon:
    """One process that looks after one hot folder. Several may, on the same or other machines."""

    def __init__(
        self,
        root: Path,
        state: Path,
        settings: HotFolderSettings,
        *,
        settings_file: Path | None = None,
        adopt: bool = False,
        backend: str = "engine",
        lease_s: float = LEASE_S,
        serve: Serve | None = None,
    ) -> None:
        serve = serve or (lambda daemon, http: HealthServer(http, daemon.health))
        self._server = OptionalServer(partial(serve, self))
        self.root = Root(root.absolute())
        self.state = state
        self.settings = settings
        self.lost: str | None = None
        self._settings_file = SettingsFile(settings_file)
        self._trouble: tuple[str, str] | None = None
        self.unmet: str | None = None
        self._backend = backend
        self._lease_s = lease_s
        self._scan_soon = threading.Event()
        self._housekept_s = self._swept_s = float("-inf")
        self._health_s = float("-inf")
        self._paused: str | None = None
        insist_on_local(state)
        self.root.prepare(state, adopt=adopt)
        self._number = self.root.number() or ""
        self._mounts = KnownMounts(state / MOUNTS, self.root.outbox)
        if adopt:
            self._mounts.forget()
        self._holder = HolderLock(state, socket.gethostname())
        self._wakeup = Wakeup()
        self._open(Instant.now())

    def _open(self, now: Instant) -> None:
        self._started = now
        self.journal = open_journal(self.state / "journal.db", self.root, self.settings, now)
        self._journal_check = JournalCheck(self.journal, now)
        self.files = HotFolderFiles(self.root, self._number, self._mounts)
        self.pool = self._new_pool()
        self.intake = Intake(self.root.inbox, self.journal, self.settings)
        self._adopter = Adopter(self._lease_s, self.settings)
        self._watcher = Watcher(self.root.inbox, self._on_file_event)
        self._vitals = self._take_vitals(now)
        self._apply_watching()
        log_event("started", root=str(self.root.path), state_folder=str(self.state),
                  owner=self._holder.owner, settings=loggable(self.settings))  # fmt: skip

    def _new_pool(self) -> WorkerPool:
        jobs = JobTransitions(
            self.journal, self.files, self.settings, self._holder, lease_s=self._lease_s
        )
        return WorkerPool(jobs, backend=self._backend, on_message=self._wakeup.ring)

    # -- running -----------------------------------------------------------------------------

    def run(self, *, once: bool = False) -> int:
        """Work until told to stop, or with `once` until nothing is left to do.

        Return the exit code: 1 when a run with `once` had to put files aside, or could not do
        what it found (`unmet` says why), else 0.
        """
        self._wakeup.catch_signals(reload=True)
        ready = False
        while True:
            wait_s = self._safe_loop(Instant.now())
            if not ready and self.intake.scanned is not None:
                ready = notify("READY=1", f"MAINPID={os.getpid()}")
            notify("WATCHDOG=1", f"STATUS={self._status_line()}")
            if self._is_over(once):
                break
            self._wakeup.wait(wait_s)
        notify("STOPPING=1")
        if not once:
            return 0
        if self.unmet:
            log_event("not-done", level=logging.ERROR, reason=self.unmet)
            return 1
        return int(self.journal.statistics.failures_since(self._started.wall_s, final=True) > 0)

    def stop(self) -> None:
        """Ask to drain; asked a second time, to stop at once."""
        self._wakeup.stop()

    def loop(self, now: Instant) -> float:
        """One round; returns for how many seconds nothing needs to be done."""
        self._journal_check.look(now)
        self._reload_settings()
        self.pool.obey(self._wakeup.stops, now)
        self._look_for_root()
        if self.lost is None:
            self._scan(now)
            self._keep_house(now)
        self.pool.poll(now)
        if self.lost is None and not self.pool.is_draining:
            self._paused = self._why_paused()
            if self._paused is None:
                self.pool.start_more(now)
        self._tell_health(now)
        if self.pool.in_work:
            return BUSY_ROUND_S
        if self.lost is not None:  # no scan is due before the root is back
            return HEALTH_S
        return min(self.intake.next_scan_in(now), HEALTH_S)

    def is_idle(self, now: Instant) -> bool:
        """True when nothing is in work, nothing is ready and no file is still settling."""
        if self.pool.in_work or self.intake.scanned is None or self.intake.is_settling(now):
            return False
        return not self.journal.claimable(now, self._lease_s, self.settings.retry.longest_s)

    def health(self) -> HealthDocument:
        """The health document, as of now."""
        return health_of(self._vitals, Instant.now())

    @property
    def http_url(self) -> str | None:
        """Where the endpoint listens, if there is one."""
        return self._server.url

    def close(self) -> None:
        """Let go of everything; children still at work are ended."""
        self.pool.abandon(Instant.now())
        self._watcher.stop()
        self._server.close()
        self.journal.close()
        self._holder.close()
        self._wakeup.close()

    # -- one round ---------------------------------------------------------------------------

    def _safe_loop(self, now: Instant) -> float:
        """A round that outlives a journal that is damaged or on a full disk, and our own bugs."""
        try:
            wait_s = self.loop(now)
        except StemwrightError:
            raise
        except Exception as error:
            self._outlive(error, now)
            if self._wakeup.stops:  # to stop, nothing needs to be written down
                self.pool.abandon(now)
            return HEALTH_S
        self._trouble = None
        return wait_s

    def _outlive(self, error: Exception, now: Instant) -> None:
        if isinstance(error, DamagedError) or is_damage(error):
            log_event("journal-damaged", level=logging.ERROR, reason=str(error))
            self._replace_journal(now)
            return
        passing = isinstance(error, sqlite3.OperationalError)
        trouble = ("journal-trouble" if passing else "bug", f"{type(error).__name__}: {error}")
        if trouble != self._trouble:  # told once, however many rounds it lasts
            log = None if passing else "".join(traceback.format_exception(error))
            log_event(trouble[0], level=logging.ERROR, reason=trouble[1], log=log)
        self._trouble = trouble
        if passing:
            self.journal.make_room()

    def _replace_journal(self, now: Instant) -> None:
        self.pool.abandon(now)
        damaged = not self.journal.is_elsewhere()  # else another daemon has replaced it already
        self.journal.close()
        if damaged:
            aside = move_journal_aside(self.journal.path, now)
            log_event("journal-moved-aside", level=logging.ERROR, moved_to=str(aside))
        self._watcher.stop()
        self._server.close()
        self._open(now)

    def _look_for_root(self) -> None:
        lost = self.root.why_lost(self._number)
        if lost and not self.lost:
            log_event("root-lost", level=logging.ERROR, reason=lost)
        elif self.lost and not lost:
            log_event("root-back")
            self._scan_soon.set()
        self.lost = lost

    def _scan(self, now: Instant) -> None:
        asked = self._scan_soon.is_set()
        if not self.intake.is_due(now, asked=asked):
            return
        self._scan_soon.clear()
        try:
            folders = self.intake.scan(now, self.files.insist_on_root)
        except OSError as error:
            unread = f"{self.root.inbox}: cannot be read: {error.strerror}"
            self.lost = str(error) if isinstance(error, RootLostError) else unread
            log_event("root-lost", level=logging.ERROR, reason=self.lost)
            return
        if self.settings.watch == "events":
            self._watcher.check(folders, now)

    def _keep_house(self, now: Instant) -> None:
        if now.steady_s - self._housekept_s < min(HOUSEKEEPING_S, self._lease_s):
            return
        self._housekept_s = now.steady_s
        self.pool.release_dead_holders(now)
        try:
            tidy(self.journal, self.files)
            self._adopter.adopt(self.journal, self.files, now)
            if now.steady_s - self._swept_s >= SWEEP_S:
                self._swept_s = now.steady_s
                self.files.insist_on_root()
                sweep(self.journal, self.root)
        except OSError as error:
            log_event("housekeeping-failed", level=logging.WARNING, reason=str(error))
        self._holder.sweep({job.owner for job in self.journal.running() if job.owner})

    def _why_paused(self) -> str | None:
        reason = self.journal.setting("paused")
        try:
            reason = reason or over_high_water(
                self.files.disks(), self.settings.high_water_percent
            )
        except OSError as error:
            reason = f"free space cannot be asked: {error.strerror}"
        if reason != self._paused:
            log_event("paused" if reason else "resumed", level=logging.WARNING, reason=reason)
        return reason

    def _is_over(self, once: bool) -> bool:
        if self._wakeup.stops:
            return not self.pool.in_work
        if not once or self.pool.in_work:
            return False
        self.unmet = self._why_unmet(Instant.now())
        return self.unmet is not None or self.is_idle(Instant.now())

    def _why_unmet(self, now: Instant) -> str | None:
        """Why a run with `once` cannot do what lies there; nothing while it can, or has."""
        if self.lost:
            return self.lost
        if self._trouble or self.intake.scanned is None or self.intake.is_settling(now):
            return None
        waiting = self.journal.claimable(now, self._lease_s, self.settings.retry.longest_s)
        if self._paused and waiting:
            return (
                f"paused, {waiting} wait: {self._paused}. `stemwright resume` ends a pause that "
                "somebody asked for."
            )
        if waiting or self.journal.statistics.ended_since(self._started.wall_s):
            return None
        return self.intake.why_nothing_to_do()

    # -- settings ----------------------------------------------------------------------------

    def _reload_settings(self) -> None:
        settings = self._settings_file.read_again(asked=self._wakeup.take_reload())
        if settings is None:
            return
        self.settings = self.pool.jobs.settings = self._adopter.settings = settings
        self.intake.use(settings)
        self._apply_watching()
        log_event("settings-loaded", settings=loggable(settings))

    def _apply_watching(self) -> None:
        self._watcher.stop()
        if self.settings.watch == "events":
            self._watcher.start()
        self._server.open(self.settings.http)

    # -- telling -----------------------------------------------------------------------------

    def _tell_health(self, now: Instant) -> None:
        if now.steady_s - self._health_s < HEALTH_S:
            return
        self._health_s = now.steady_s
        self._vitals = self._take_vitals(now)
        document = health_of(self._vitals, now)
        with contextlib.suppress(OSError):
            write_whole(self.state / "health.json", json.dumps(document, indent=2) + "\n")

    def _take_vitals(self, now: Instant) -> Vitals:
        counts = self.journal.statistics.counts()
        waiting = {name: n for name, n in counts.items() if name not in FINAL}
        oldest = self.journal.statistics.oldest_unfinished() if any(waiting.values()) else None
        events = self.settings.watch == "events"
        findings = Findings(
            pid=os.getpid(),
            owner=self._holder.owner,
            scan_interval_s=self.intake.interval_s,
            scan_took_s=self.intake.took_s,
            watcher_trouble=self._watcher.trouble if events else None,
            watching=self.settings.watch,
            lost=self.lost,
            paused=self._paused,
            settings_trouble=self._settings_file.trouble or self._server.trouble,
            journal_trouble=self._trouble_of("journal-trouble"),
            bug=self._trouble_of("bug"),
            ignored=len(self.intake.ignored),
            queue=counts,
            in_flight=sorted(self.pool.in_work),
            failures_24h=self.journal.statistics.failures_since(now.wall_s - DAY_S),
            free_bytes=free_bytes({"outbox": self.root.outbox, "work": self.root.work}),
            provider=self.pool.provider,
        )
        return Vitals(findings, self._started.wall_s, self.intake.scanned, oldest)

    def _trouble_of(self, event: str) -> str | None:
        return self._trouble[1] if self._trouble and self._trouble[0] == event else None

    def _status_line(self) -> str:
        queue = self._vitals.findings["queue"]
        if self.lost:
            return f"root lost: {self.lost}"[:200]
        return f"{len(self.pool.in_work)} in work, {queue[State.SETTLED]} queued"

    def _on_file_event(self) -> None:
        self._scan_soon.set()
        self._wakeup.ring()
