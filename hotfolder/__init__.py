"""When is a mix done, and by whom? The watched folder, its journal, and the workers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audit import mixes_below as mixes_below
    from .audit import verify_sets as verify_sets
    from .batch import Batch as Batch
    from .catalogue import read_catalogue as read_catalogue
    from .catalogue_report import write_reports as write_reports
    from .cluster import Cluster as Cluster
    from .daemon import Daemon as Daemon
    from .enquiry import Enquiry as Enquiry
    from .enquiry import preview as preview
    from .logs import log_to as log_to
    from .rehearsal import audio_seconds as audio_seconds
    from .rehearsal import measured_rtf as measured_rtf
    from .root import find_root as find_root
    from .root import state_folder as state_folder
    from .settings import HotFolderSettings as HotFolderSettings
    from .settings import RetrySettings as RetrySettings
    from .settings import WorkerSettings as WorkerSettings
    from .settings import load_settings as load_settings
    from .terminal import BatchScreen as BatchScreen

# A name's module is loaded when the name is first asked for: `stemwright --help` needs none.
_DOOR = {
    "Batch": "batch",
    "BatchScreen": "terminal",
    "Cluster": "cluster",
    "Daemon": "daemon",
    "Enquiry": "enquiry",
    "HotFolderSettings": "settings",
    "RetrySettings": "settings",
    "WorkerSettings": "settings",
    "audio_seconds": "rehearsal",
    "find_root": "root",
    "load_settings": "settings",
    "log_to": "logs",
    "measured_rtf": "rehearsal",
    "mixes_below": "audit",
    "preview": "enquiry",
    "read_catalogue": "catalogue",
    "state_folder": "root",
    "verify_sets": "audit",
    "write_reports": "catalogue_report",
}

__all__ = list(_DOOR)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a door has every type
    if name in _DOOR:
        return getattr(import_module(f".{_DOOR[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
