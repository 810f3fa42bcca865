"""What is remembered about plug-ins from run to run: their parameters, and their failures."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from presets import needed_folder, user_folder

from .messages import PluginInspection

FOLDER_VARIABLE = "STEMWRIGHT_CACHE"
FAILURES_UNTIL_QUARANTINE = 3


class PluginStore:
    """One small file for each plug-in, named after its path, time and size.

    A new version of a plug-in is another one: its parameters are looked up again, and it gets
    a new chance.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where it lies; an error where this user has no place for it."""
        return self._folder or needed_folder("cache", f"Name a folder in {FOLDER_VARIABLE}")

    def parameters(self, plugin: Path) -> object:
        """What `inspect` found, when it has been asked since the plug-in changed; foreign."""
        return self._read(plugin, "parameters")

    def keep_parameters(self, plugin: Path, found: PluginInspection) -> None:
        self._write(plugin, "parameters", {"plugin": str(plugin), **found})

    def failures(self, plugin: Path) -> list[str]:
        """Why the plug-in failed, the latest last; empty after a success."""
        failed = (self._read(plugin, "failures") or {}).get("reasons")
        return [str(reason) for reason in failed] if isinstance(failed, list) else []

    def is_quarantined(self, plugin: Path) -> bool:
        return len(self.failures(plugin)) >= FAILURES_UNTIL_QUARANTINE

    def keep_failure(self, plugin: Path, reason: str) -> None:
        reasons = [*self.failures(plugin), reason][-FAILURES_UNTIL_QUARANTINE:]
        self._write(plugin, "failures", {"plugin": str(plugin), "reasons": reasons})

    def forget_failures(self, plugin: Path) -> None:
        self._file(plugin, "failures").unlink(missing_ok=True)

    def _file(self, plugin: Path, kind: str) -> Path:
        return self.folder / f"{fingerprint(plugin)}.{kind}.json"

    def _read(self, plugin: Path, kind: str) -> dict[str, object] | None:
        if self._folder is None:
            return None
        try:
            content = json.loads(self._file(plugin, kind).read_text("utf-8"))
        except (OSError, ValueError):  # a damaged memory is no memory
            return None
        return content if isinstance(content, dict) else None

    def _write(self, plugin: Path, kind: str, content: Mapping[str, object]) -> None:
        """Beside and renamed, since several programs share the folder; a full disk is no loss."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file)
            Path(name).replace(self._file(plugin, kind))


def default_store() -> PluginStore:
    """The store in STEMWRIGHT_CACHE, or in the system's folder for such things."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return PluginStore(Path(named) / "plugins")
    base = user_folder("cache")
    return PluginStore(base / "plugins" if base else None)


def fingerprint(plugin: Path) -> str:
    """Path, newest time and whole size of a plug-in's file or bundle."""
    files = [plugin] if plugin.is_file() else sorted(plugin.rglob("*"))
    states = [file.stat() for file in files if file.is_file()]
    newest = max((state.st_mtime_ns for state in states), default=0)
    size = sum(state.st_size for state in states)
    return hashlib.sha256(f"{plugin}\n{newest}\n{size}".encode()).hexdigest()[:32]
