"""Years later: are all sets still what their manifests say, and do the stems still null?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine import BESIDE_VOICES, Manifest, load_manifest, measure_null
from presets import SESSION_SUFFIXES, StemwrightError, printable, sha256_of

from ..filenames import NameRules
from ..inventory import take_inventory
from ..published import MANIFEST
from .expected import Expected
from .report import STATUS_CSV
from .summary import LISTENING_PAGE

SESSIONS = tuple(suffix.lower() for suffix in SESSION_SUFFIXES.values())
PREVIEWS, MEDIA = "report", "Media"  # folders of a listening page and of a REAPER project

_LEVEL_DB = 0.1  # a null is measured, written down with two digits, and measured again


@dataclass(frozen=True)
class SetAudit:
    """The verdict on one set. `null` says what was measured, or why it could not be."""

    folder: Path
    problems: tuple[str, ...]
    files: int
    null: str

    @property
    def is_sound(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


def verify_sets(
    out: Path, find_mix: Callable[[str], Path | None], expected: Expected
) -> Iterator[SetAudit]:
    """Check every set below a folder. `find_mix` gives the mix with a hash, if it is at hand.

    Sets that are expected and not there come last. Folders that cannot be looked into are added to
    the troubles.
    """
    unseen = dict(expected.sets)

    def unreadable(error: OSError) -> None:
        expected.troubles.append(f"{error.filename} cannot be read: {error.strerror}")

    for parent, names, files in os.walk(out, onerror=unreadable):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if MANIFEST in files:
            names.clear()
            folder = Path(parent)
            listed = unseen.pop(PurePosixPath(folder.relative_to(out).as_posix()), None)
            yield _verify_set(folder, listed, find_mix)
    for missing in sorted(unseen):
        yield SetAudit(out / missing, ("the whole set is missing",), 0, "not measured")


def mixes_below(folders: list[Path]) -> Callable[[str], Path | None]:
    """Find mixes by content below some folders; only files of audio names are read."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in take_inventory(folder, NameRules(), 32).files:
            found[sha256_of(folder / file.path)] = folder / file.path
    return found.get


def _verify_set(
    folder: Path, listed_sha256: str | None, find_mix: Callable[[str], Path | None]
) -> SetAudit:
    problems = []
    try:
        manifest = load_manifest(folder)
    except StemwrightError as error:
        return SetAudit(folder, error.lines, 0, "not measured")
    if listed_sha256 and sha256_of(folder / MANIFEST) != listed_sha256:
        problems.append(f"manifest.json is not the one that {STATUS_CSV} lists")
    for file in manifest.files:
        problems += _verify_file(folder, file.path, file.sha256)
    known = {folder / file.path for file in manifest.files}
    for path in folder.rglob("*"):
        if path.is_file() and path not in known and not _may_be_added(path, folder):
            problems.append(f"{printable(path.relative_to(folder))} is not in the manifest")
    null = "not measured: files are missing or changed" if problems else ""
    if not problems:
        null, trouble = _verify_null(folder, manifest, find_mix)
        problems += trouble
    return SetAudit(folder, tuple(problems), len(manifest.files), null)


def _may_be_added(path: Path, folder: Path) -> bool:
    """The manifest itself, the pitches of voices with their picture, and the sessions and pages
    that were made of the set."""
    if path.parent == folder / PREVIEWS or path.parent == folder / MEDIA:
        return True
    if path.relative_to(folder).as_posix() in BESIDE_VOICES:
        return True
    is_session = path.suffix.lower() in SESSIONS
    return path.parent == folder and (path.name in (MANIFEST, LISTENING_PAGE) or is_session)


def _verify_file(folder: Path, name: str, sha256: str) -> list[str]:
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return [f"{printable(name)} points outside the set"]
        if not path.is_file():
            return [f"{printable(name)} is missing"]
        return [] if sha256_of(path) == sha256 else [f"{printable(name)} has changed"]
    except (OSError, ValueError) as error:  # the latter for a name with a zero in it
        why = error.strerror if isinstance(error, OSError) else str(error)
        return [f"{printable(name)} cannot be read: {why}"]


def _verify_null(
    folder: Path, manifest: Manifest, find_mix: Callable[[str], Path | None]
) -> tuple[str, list[str]]:
    mix = find_mix(manifest.input.sha256)
    if mix is None:
        return "not measured: the mix is not at hand", []
    dry = [folder / file.path for file in manifest.files if file.kind == "dry"]
    try:
        report = measure_null(mix, dry, manifest.undo_db)
    except StemwrightError as error:
        return "not measured", [f"the null cannot be measured: {error.sentence}"]
    if report.exact or report.exact_at_bits is not None:
        return "exact", []
    null = f"{report.null_dbfs:.1f} dBFS"
    promised = manifest.source_null_dbfs
    if promised is None or report.null_dbfs > promised + _LEVEL_DB:
        wanted = "exact" if promised is None else f"{promised:.1f} dBFS"
        return null, [f"the stems null to {null}, the manifest says {wanted}"]
    return null, []
