"""The intake: turns what lies in the inbox into jobs that may be claimed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from engine import BESIDE_ENDINGS
from presets import printable

from .clock import Instant
from .companions import voices_wanted
from .failures import back_off_s
from .filenames import READY_SUFFIX
from .inventory import Inventory, Sighting, take_inventory
from .job import Job, State
from .journal import Journal
from .logs import log_event
from .readiness import Unready, why_unready
from .settings import HotFolderSettings, known_folders, preset_of, takes_companions
from .settle import SettleTracker

SOONEST_S = 0.2  # between two scans, however many events ring
FULL_LOOK_S = 60.0
LONGEST_BUSY_S = 60.0  # between two attempts to claim a file that somebody else holds
MOST_NAMED = 20  # in the log
FEW_NAMED = 5  # in a sentence
SCAN_SHARE = 10  # a scan may take a tenth of the time


class Intake:
    """Scans the inbox and keeps the journal's waiting rows true."""

    def __init__(self, inbox: Path, journal: Journal, settings: HotFolderSettings) -> None:
        self._inbox = inbox
        self._journal = journal
        self._tracker = SettleTracker(settings.settle_s)
        self.scanned: Instant | None = None
        self.took_s = 0.0
        self.ignored: dict[Path, str] = {}
        self._full_look_s = float("-inf")
        self._score_awaited = False
        self.use(settings)

    def use(self, settings: HotFolderSettings) -> None:
        """Take other settings from now on."""
        self._settings = settings
        self._known = known_folders(settings)
        self._tracker.settle_s = settings.settle_s

    @property
    def interval_s(self) -> float:
        """Seconds between two scans; more when a scan of a huge inbox takes long."""
        return max(self._settings.scan_s, SCAN_SHARE * self.took_s)

    def next_scan_in(self, now: Instant) -> float:
        """Seconds until the next scan: the interval, or sooner when a file may be quiet then."""
        if self.scanned is None:
            return 0.0
        since = now.steady_s - self.scanned.steady_s
        waits = [self.interval_s - since]
        if (quiet_in := self._tracker.next_quiet_in(now)) is not None:
            waits.append(max(quiet_in, SOONEST_S - since))
        return max(0.0, min(waits))

    def is_due(self, now: Instant, *, asked: bool) -> bool:
        """Whether to scan in this round; `asked` when an event rang."""
        if self.next_scan_in(now) <= 0 or self.scanned is None:
            return True
        return asked and now.steady_s - self.scanned.steady_s >= SOONEST_S

    def is_settling(self, now: Instant) -> bool:
        """Whether some file has not been quiet for long enough yet."""
        return self._tracker.next_quiet_in(now) is not None or self._score_awaited

    def scan(self, now: Instant, insist: Callable[[], None] = lambda: None) -> int:
        """Look at the inbox once; return how many folders it has.

        `insist` is asked between the look and every conclusion: it raises when that was another
        folder, such as the bare mount point of a share that has just gone.
        """
        began_s = time.monotonic()
        found = take_inventory(
            self._inbox,
            self._settings.name_rules,
            self._settings.max_depth,
            takes_companions(self._settings),
        )
        insist()
        self._known = known_folders(self._settings)  # presets come and go, too
        look = self._tracker.look(found.files, now)
        self._note_seen(found.files, now)
        self._note_gone(look.gone, found, now)
        self._settle(look.quiet, now)
        self._note_ignored(found)
        self.scanned, self.took_s = now, time.monotonic() - began_s
        return found.folders

    def why_nothing_to_do(self) -> str | None:
        """A sentence when all that lies in the inbox is left alone; nothing when it is empty."""
        if not self.ignored:
            return None
        first = sorted(self.ignored.items())[:FEW_NAMED]
        named = "; ".join(f"{printable(path)}: {why}" for path, why in first)
        return f"nothing to do: {len(self.ignored)} in the inbox are left alone ({named})."

    def _note_seen(self, files: Iterable[Sighting], now: Instant) -> None:
        """Compare every file with what is written down of it, and not with what we remember:
        rows are forgotten, and lost with a journal, while the file waits."""
        written = self._journal.waiting_facts()
        rows = [
            (file.path, file.identity, file.size, preset)
            for file in files
            for preset in [self._preset(file.path)]
            if written.get(file.path) != (file.identity, preset)
        ]
        if rows:
            for job in self._journal.note_seen(rows, now):
                log_event("seen", job, bytes=job.size)

    def _note_gone(self, gone: list[Path], found: Inventory, now: Instant) -> None:
        if now.steady_s - self._full_look_s >= FULL_LOOK_S:  # also what left while nobody looked
            self._full_look_s = now.steady_s
            here = {file.path for file in found.files}
            gone = [job.source for job in self._journal.waiting() if job.source not in here]
        gone = [source for source in gone if not found.hides(source)]
        for job in self._journal.note_gone(gone, now):
            log_event("withdrawn", job)

    def _note_ignored(self, found: Inventory) -> None:
        ignored = found.worth_telling()
        news = sorted(path for path, why in ignored.items() if self.ignored.get(path) != why)
        if news:
            named = [f"{printable(path)}: {ignored[path]}" for path in news[:MOST_NAMED]]
            log_event("ignored", count=len(news), files=named)
        self.ignored = ignored

    def _settle(self, quiet: list[Sighting], now: Instant) -> None:
        self._score_awaited = False
        seen = {job.source: job for job in self._journal.in_state(State.SEEN)}
        ready = []
        for file in quiet:
            job = seen.get(file.path)
            if job is None or self._was_just_refused(job, now):
                continue
            trouble = self._why_not(file, job, now)
            if trouble is None:
                ready.append(file.path)
            elif self._journal.note_reason(file.path, trouble.code, trouble.reason, now):
                log_event("waiting", job, code=trouble.code, reason=trouble.reason)
        for job in self._journal.note_settled(ready, now):
            log_event("settled", job)

    def _why_not(self, file: Sighting, job: Job, now: Instant) -> Unready | None:
        if self._settings.ready_marker and not file.marked:
            return Unready("no-marker", f"{file.path.name}{READY_SUFFIX} is not there yet", False)
        if trouble := self._why_no_score(file, job, now):
            return trouble
        trouble = why_unready(self._inbox / file.path)
        if trouble and trouble.lasting:
            left_s = job.changed_at + self._settings.incomplete_after_s - now.wall_s
            if left_s <= 0:  # nobody is completing it: let the worker say what is wrong
                return None
        return trouble

    def _why_no_score(self, file: Sighting, job: Job, now: Instant) -> Unready | None:
        """Whether a mix for voices is to wait for its score, and how long yet."""
        pitches = None if file.beside else voices_wanted(job.preset)
        name = file.path.with_suffix(BESIDE_ENDINGS[0]).name
        if pitches == "score":
            return Unready("no-score", f"{name} is not there yet, and the preset insists", False)
        left_s = job.changed_at + self._settings.score_wait_s - now.wall_s
        if pitches != "auto" or left_s <= 0:
            return None
        self._score_awaited = True
        wait = f"{self._settings.score_wait_s:g} s after the mix"
        return Unready("no-score", f"{name} is not there; {wait} it is tracked without", False)

    def _was_just_refused(self, job: Job, now: Instant) -> bool:
        longer_s = min(back_off_s(job.id, job.attempts, self._settings.retry), LONGEST_BUSY_S)
        pause_s = max(self._settings.settle_s, self._settings.scan_s, longer_s)
        return job.code == "busy" and 0 <= now.wall_s - job.updated_at < pause_s

    def _preset(self, source: Path) -> str:
        return preset_of(source, self._settings, self._known)
