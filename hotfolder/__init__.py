"""When is a mix done, and by whom? The watched folder, its journal, and the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presets import lazy_door

if TYPE_CHECKING:
    from .daemon import Daemon
    from .logs import log_to
    from .settings import HotFolderSettings

__all__ = ["Daemon", "HotFolderSettings", "log_to"]

__getattr__ = lazy_door(
    __name__, {"daemon": ("Daemon",), "logs": ("log_to",), "settings": ("HotFolderSettings",)}
)
