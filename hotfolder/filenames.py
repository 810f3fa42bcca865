"""Names are data: which files are mixes, which are someone's temporary files, what names may be.

The names of dropped files are never changed, compared by NFC and case only where two outputs
would meet, and never joined to a path unless they are plain names.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from engine import AUDIO_SUFFIXES
from presets import FORBIDDEN, is_reserved

READY_SUFFIX = ".ready"

# Half-written files of browsers, rsync, Syncthing, Dropbox, FTP clients, editors and recorders,
# and what systems leave lying about. Everything that begins with a dot is ignored anyway.
TEMPORARY = (
    "~*", "*~", "*.tmp", "*.temp", "*.part", "*.partial", "*.crdownload", "*.download",
    "*.filepart", "*.!sync", "*.!ut", "*.bts", "*.upload", "*.incomplete", "*.opdownload",
    "*.sb-????????-??????", "*.swp", "*.lock", "*.reason.json", "*.lnk",
)  # fmt: skip
SYSTEM = ("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r")
HIDDEN = "hidden"
SYSTEM_NAME = "a system's own file"
SYSTEM_FOLDER = "a hidden or system folder"
READY_MARKER = "a ready marker"
COMPANION = "it goes with the mix of its name"
UNREMARKABLE = (HIDDEN, SYSTEM_NAME, SYSTEM_FOLDER, READY_MARKER, COMPANION)  # nobody asks why
IGNORED_FOLDERS = (
    "@eadir", "#recycle", "$recycle.bin", "system volume information", "__macosx", "lost+found",
    "network trash folder", "temporary items",
)  # fmt: skip

MAX_NAME_BYTES = 180  # of the 255 a file system has: `.name.partial-<job>` must fit as well


@dataclass(frozen=True)
class NameRules:
    """Which names in an inbox are mixes."""

    suffixes: tuple[str, ...] = AUDIO_SUFFIXES
    ignore: tuple[str, ...] = ()

    def why_ignored(self, name: str) -> str | None:
        """Why a file of this name is left alone, or nothing when it may be a mix."""
        reason = self.why_left_alone(name)
        lower = unicodedata.normalize("NFC", name).lower()
        if reason is None and not lower.endswith(self.suffixes):
            ending = Path(lower).suffix
            reason = f"{ending} is not an audio file's ending" if ending else "no file name ending"
        return reason

    def why_left_alone(self, name: str) -> str | None:
        """Why a file of this name is never looked at, whatever its ending is for."""
        lower = unicodedata.normalize("NFC", name).lower()
        if lower.startswith("."):
            return HIDDEN
        for pattern in (*SYSTEM, *TEMPORARY, *(pattern.lower() for pattern in self.ignore)):
            if fnmatchcase(lower, pattern):
                return SYSTEM_NAME if pattern in SYSTEM else f"a temporary name ({pattern})"
        if lower.endswith(READY_SUFFIX):
            return READY_MARKER
        return None

    def why_folder_ignored(self, name: str) -> str | None:
        """Why a folder of this name is not entered, or nothing when it is."""
        lower = unicodedata.normalize("NFC", name).lower()
        if lower.startswith(".") or lower in IGNORED_FOLDERS:
            return SYSTEM_FOLDER
        for pattern in self.ignore:
            if fnmatchcase(lower, pattern.lower()):
                return f"ignored by {pattern}"
        return None


def safe_name(name: str) -> str:
    """A folder name for every file system: no reserved word, control character or surrogate."""
    plain = FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).rstrip(". ").lstrip(" ")
    plain = re.sub(r"^\.+", "_", plain) or "_"
    if is_reserved(plain):
        plain = f"_{plain}"
    return shortened(plain, MAX_NAME_BYTES)


def is_text(name: str) -> bool:
    """False for a name with bytes that are no UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def shortened(name: str, max_bytes: int) -> str:
    """The name cut to so many bytes of UTF-8, never inside a character."""
    raw = name.encode("utf-8", "surrogateescape")[:max_bytes]
    return raw.decode("utf-8", "ignore").rstrip(". ") or "_"


def numbered(name: str, number: int) -> str:
    """`song`, `song-2`, `song-3`: the same name in its so many-th version."""
    return name if number == 1 else f"{name}-{number}"


def is_numbered(name: str, first: str) -> bool:
    """Whether a name is some version of another one."""
    return name == first or re.fullmatch(re.escape(first) + r"-\d+", name) is not None
