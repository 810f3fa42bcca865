"""The settings file of a running daemon, which is read again whenever it was edited."""

from __future__ import annotations

import logging
from pathlib import Path

from presets import StemwrightError

from .logs import log_event
from .settings import HotFolderSettings, load_settings


class SettingsFile:
    """Notices edits. With one that is wrong the old settings stay, and `trouble` says why."""

    def __init__(self, path: Path | None) -> None:
        self.trouble: str | None = None
        self._path = path
        self._stamp = self._look()

    def read_again(self, *, asked: bool) -> HotFolderSettings | None:
        """Other settings, if the file was edited or somebody `asked`, and it is right."""
        stamp = self._look()
        if self._path is None or (stamp == self._stamp and not asked):
            return None
        self._stamp = stamp
        try:
            settings = load_settings(self._path)
        except StemwrightError as error:
            self.trouble = f"the old settings stay: {error}"
            log_event("settings-refused", level=logging.ERROR, reason=str(error))
            return None
        self.trouble = None
        return settings

    def _look(self) -> tuple[int, int, int] | None:
        """What changes when the file is edited or replaced."""
        if self._path is None:
            return None
        try:
            facts = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return facts.st_ino, facts.st_size, facts.st_mtime_ns
