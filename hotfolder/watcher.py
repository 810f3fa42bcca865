"""The watcher only rings: "scan soon". What it misses, the next scan finds anyway.

Events get lost (queues overflow, limits are reached, roots are unmounted, emitters die while
the observer still counts as alive), so nothing is ever concluded from one, and whether the
watcher works is measured and reported.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .clock import Instant
from .logs import log_event

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")
REARM_S = 60.0


class Watcher:
    """Rings `on_event` when something happens in the inbox; may be re-armed at any time."""

    def __init__(self, inbox: Path, on_event: Callable[[], None]) -> None:
        self._inbox = inbox
        self._on_event = on_event
        self._observer: BaseObserver | None = None
        self._short = 0
        self._armed_s = float("-inf")
        self.trouble: str | None = "not started"

    def start(self) -> None:
        """Begin to watch, or say in `trouble` why it cannot."""
        from watchdog.events import FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        ring = self._on_event

        class Bell(FileSystemEventHandler):
            def dispatch(self, event: FileSystemEvent) -> None:
                # An exception here would end the observer's thread: nothing that could fail.
                if event.event_type not in ("opened", "closed_no_write"):
                    ring()

        # It learns of a new folder in two ways, and warns of that with all that it knows: of a
        # deep tree, megabytes.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        observer = Observer()
        try:
            observer.schedule(Bell(), str(self._inbox), recursive=True)
            observer.start()
        except OSError as error:
            self._note(f"no events: {error.strerror or error} (polling goes on)")
            return
        self._observer = observer
        self._note(None)

    def check(self, folders: int, now: Instant) -> None:
        """Look after the watcher: a dead one is started again, an incomplete one reported.

        `folders` is how many folders the last inventory saw.
        """
        if self._observer is None or not _is_alive(self._observer):
            if self._observer is not None:
                log_event("watcher-died", level=logging.WARNING)
            self._arm_again(now)
            return
        watched = watched_folders()
        # A folder made a moment ago is not watched yet: only the second look in a row counts.
        self._short = self._short + 1 if watched is not None and watched < folders else 0
        if self._short == 0:
            self._note(None)
        elif self._short > 1 and now.steady_s - self._armed_s > REARM_S:
            self._arm_again(now)  # an unmounted and remounted folder is watched no more
        elif self._short > 1:
            limit = INOTIFY_LIMIT.read_text("ascii").strip()
            self._note(
                f"{folders - (watched or 0)} of {folders} folders send no events (the system "
                f"allows {limit} watches: raise fs.inotify.max_user_watches); scans find their "
                "files"
            )

    def _arm_again(self, now: Instant) -> None:
        self.stop()
        self.start()
        self._armed_s = now.steady_s

    def stop(self) -> None:
        """End the watcher's threads."""
        observer, self._observer = self._observer, None
        self.trouble = "not started"
        if observer is not None:
            observer.stop()
            if observer.is_alive():
                observer.join(timeout=5)

    def _note(self, trouble: str | None) -> None:
        if trouble and trouble != self.trouble:
            log_event("watcher-trouble", level=logging.WARNING, reason=trouble)
        self.trouble = trouble


def watched_folders() -> int | None:
    """How many inotify watches this process really holds; nothing where that cannot be told.

    When the limit is reached the library goes on without a word, so the kernel is asked.
    """
    if sys.platform != "linux":
        return None
    count = 0
    for handle in Path("/proc/self/fdinfo").iterdir():
        try:
            count += handle.read_text("ascii").count("inotify wd:")
        except OSError:
            continue
    return count


def _is_alive(observer: BaseObserver) -> bool:
    return observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)
