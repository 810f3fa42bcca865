"""When is a mix done, and by whom? The watched folder, its journal, and the workers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .daemon import Daemon as Daemon
    from .logs import log_to as log_to
    from .settings import HotFolderSettings as HotFolderSettings

# A name's module is loaded when the name is first asked for: `stemwright --help` needs none.
_DOOR = {"Daemon": "daemon", "HotFolderSettings": "settings", "log_to": "logs"}

__all__ = list(_DOOR)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a door has every type
    if name in _DOOR:
        return getattr(import_module(f".{_DOOR[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
