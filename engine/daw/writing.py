"""A set becomes a session file: whole or not at all, and never over another one by chance."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from presets import SESSION_SUFFIXES, SessionFormat, StemwrightError

from ..stems.manifest import load_manifest
from ..stems.naming import render_name
from ..version import ENGINE_VERSION
from .dawproject import write_dawproject
from .live import live_devices
from .reaper import write_reaper
from .session import session_of

PROGRAM = f"Stemwright {ENGINE_VERSION}"


def write_session(
    folder: Path,
    kind: SessionFormat,
    output: Path | None = None,
    *,
    mix: Path | None = None,
    dry: bool = False,
    live: bool = False,
    timeout_s: float = 30.0,
) -> Path:
    """Make a session of the set in `folder` and return its path.

    `output` is the file to write, by default the set's title inside the set. An existing file
    is replaced when the new one is complete.
    """
    folder = folder.parent if folder.is_file() else folder
    title = load_manifest(folder).title
    target = output or folder / (render_name("{title}", {"title": title}) + SESSION_SUFFIXES[kind])
    if target.suffix.lower() != SESSION_SUFFIXES[kind].lower():
        raise StemwrightError(
            "session-suffix",
            f"{target.name}: expected a name that ends in {SESSION_SUFFIXES[kind]}, which is how "
            "workstations know the format. Rename it.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    devices = (lambda chain: live_devices(chain, timeout_s)) if live else None
    aside = target.with_name(f".{secrets.token_hex(4)}{SESSION_SUFFIXES[kind]}")
    try:
        if kind == "dawproject":
            with tempfile.TemporaryDirectory(prefix=".session-", dir=target.parent) as workspace:
                session = session_of(folder, Path(workspace), mix, dry, devices)
                write_dawproject(session, aside, Path(workspace), PROGRAM)
        else:
            media = target.parent / "Media"
            media.mkdir(exist_ok=True)  # a mix that has to be added up goes there
            write_reaper(session_of(folder, media, mix, dry), aside, PROGRAM)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return target
