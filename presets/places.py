"""Where a person's own files lie on this system; a service may have no home at all.

Linux and everything else that knows them: the XDG base directories
(https://specifications.freedesktop.org/basedir-spec/latest/). Windows: `LOCALAPPDATA`. macOS keeps
caches in `~/Library/Caches`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from .errors import StemwrightError

Kind = Literal["data", "state", "cache"]
_XDG: dict[Kind, tuple[str, str]] = {
    "data": ("XDG_DATA_HOME", ".local/share"),
    "state": ("XDG_STATE_HOME", ".local/state"),
    "cache": ("XDG_CACHE_HOME", ".cache"),
}


def home_folder() -> Path | None:
    """The home folder; nothing where neither HOME nor the list of users tells of one."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_absolute() else None


def user_folder(kind: Kind) -> Path | None:
    """The program's own folder for files of a kind; nothing where it has no place."""
    variable, below_home = _XDG[kind]
    # a relative path there is to be ignored, says the specification
    named = Path(os.environ.get(variable, ""))
    if sys.platform == "win32" and kind != "data":
        named = Path(os.environ.get("LOCALAPPDATA", ""))
    if sys.platform == "darwin" and kind == "cache":
        named, below_home = Path(), "Library/Caches"
    if named.is_absolute():
        return named / "stemwright"
    home = home_folder()
    return None if home is None else home / below_home / "stemwright"


def needed_folder(kind: Kind, way_out: str) -> Path:
    """The same where there is no doing without; `way_out` says how else it can be named."""
    folder = user_folder(kind)
    if folder is None:
        raise StemwrightError(
            "home-missing",
            f"there is no home folder for this user: HOME is not set, and no list of users has "
            f"one. {way_out}, or set {_XDG[kind][0]}.",
        )
    return folder


def expanded(path: str) -> Path:
    """A path that somebody wrote, with `~` for a home; one that there is not is an error."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise StemwrightError(
            "home-missing", f"{path}: there is no such home folder. Write the whole path."
        ) from None
