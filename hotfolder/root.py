"""The hot folder on disk: inbox, work, done, failed, outbox, and how to tell that it is still it.

Each folder carries a marker with the hot folder's number. A share that drops away leaves an
empty mount point behind: without the markers, that would look like an inbox in which everything
was deleted. With them it is "lost", and nothing is concluded from it until it is back.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from presets import StemwrightError, needed_folder, printable

from .atomic import move_new, write_whole
from .records import read_marker

MARKER = ".stemwright-folder"
BEGINNING = ".stemwright-beginning"
FOLDERS = ("inbox", "work", "done", "failed", "outbox")

NETWORK_KINDS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "fuse.sshfs", "ceph")


@dataclass(frozen=True)
class Root:
    """The five folders below one path."""

    path: Path

    @property
    def inbox(self) -> Path:
        """Where mixes are dropped."""
        return self.path / "inbox"

    @property
    def work(self) -> Path:
        """Where a claimed mix lies while it is worked on."""
        return self.path / "work"

    @property
    def done(self) -> Path:
        """Where originals go whose stems are published."""
        return self.path / "done"

    @property
    def failed(self) -> Path:
        """Where originals go that cannot be separated, with the reason beside them."""
        return self.path / "failed"

    @property
    def outbox(self) -> Path:
        """Where sets of stems appear."""
        return self.path / "outbox"

    def prepare(self, state: Path, *, adopt: bool) -> None:
        """Make the folders on the first start; later, insist that they are the same ones.

        `state` remembers the number. `adopt` accepts folders whose markers are missing or
        different, after somebody has looked.
        """
        memory = state / "root-id"
        known = read_marker(memory)
        if not adopt and (lost := self._why_not_ours(known)):
            raise StemwrightError("root-lost", lost, transient=True)
        for folder in (state, *(self.path / name for name in FOLDERS)):
            folder.mkdir(parents=True, exist_ok=True)
        beginning = self.path / BEGINNING
        if known is None or adopt:
            beginning.touch()
        number = (known if not adopt else None) or self.number() or self._first_number()
        for name in FOLDERS:
            if self._marker(name) != number:
                write_whole(self.path / name / MARKER, number + "\n")
        if known != number:
            write_whole(memory, number + "\n")
        beginning.unlink(missing_ok=True)

    def _why_not_ours(self, known: str | None) -> str | None:
        """A sentence when folders are there already and some are not the hot folder's.

        Of a hot folder that another daemon is making at this moment, or was making when it was
        killed, some have no marker yet: `BEGINNING` lies there until all of them have.
        """
        if known is not None:
            return self.why_lost(known)
        here = self.number()
        if here is None and not any(self._marker(name) for name in FOLDERS):
            return None  # nobody has been here
        if (self.path / BEGINNING).exists():
            return None
        return self.why_lost(self.number() or "none")  # again: it may be whole by now

    def _first_number(self) -> str:
        """A new number, in the inbox's marker; of daemons that start at once, one decides."""
        number = uuid.uuid4().hex
        offer = self.inbox / f"{MARKER}.{number}"
        write_whole(offer, number + "\n")
        try:
            move_new(offer, self.inbox / MARKER)
        except FileExistsError:
            offer.unlink()
        return self._marker("inbox") or number

    def why_lost(self, number: str) -> str | None:
        """A sentence when a folder is missing or another one; nothing when all is well."""
        for folder, wanted in self.markers(number).items():
            if sentence := why_not_marked(folder, wanted):
                return sentence
        return None

    def markers(self, number: str) -> dict[Path, str]:
        """What the marker of every folder must say."""
        return {self.path / name: number for name in FOLDERS}

    def number(self) -> str | None:
        """The hot folder's number, as its inbox tells it."""
        return self._marker("inbox")

    def _marker(self, name: str) -> str | None:
        return read_marker(self.path / name / MARKER)


def why_not_marked(folder: Path, number: str) -> str | None:
    """A sentence when a folder's marker does not say this number."""
    here = read_marker(folder / MARKER)
    if here == number:
        return None
    what = "has no marker" if here is None else "is another hot folder's"
    return (
        f"{printable(folder)}: this folder {what} ({MARKER} should say {number[:8]}...). Is the "
        "disk or share mounted? If it was replaced on purpose, start once with --adopt."
    )


def why_outside(path: Path, folder: Path) -> str | None:
    """A sentence when a path that should lie below a folder leads out of it, through a link."""
    parent = Path(os.path.realpath(path.parent))
    if parent.is_relative_to(os.path.realpath(folder)):
        return None
    return (
        f"{printable(path.parent)}: leads out of {printable(folder)}, to {printable(parent)}. "
        "Put a folder there instead of the link, or mount the other place on it."
    )


def find_root(path: Path) -> Path:
    """The hot folder that a path belongs to: itself, or the nearest folder above that is one."""
    for folder in (path.absolute(), *path.absolute().parents):
        if (folder / "inbox" / MARKER).exists():
            return folder
    raise StemwrightError(
        "no-hot-folder", f"{path}: not inside a hot folder. Name the hot folder with --root."
    )


def state_folder(root: Path, named: Path | None = None) -> Path:
    """Where a hot folder's journal lives: on a local disk, never on the share itself."""
    if named is not None:
        return named
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]
    home = needed_folder("state", "Name a folder with --state")
    return home / f"{root.name or 'root'}-{name}"


def insist_on_local(state: Path, mounts: Path = Path("/proc/mounts")) -> None:
    """Refuse a state folder on a share: SQLite's WAL seems to work there, and then loses rows."""
    if not mounts.exists():
        return
    place, kind = max(
        (fields[1], fields[2])
        for fields in map(str.split, mounts.read_text("utf-8", "replace").splitlines())
        if state.absolute().is_relative_to(fields[1].replace("\\040", " "))
    )
    if kind in NETWORK_KINDS:
        raise StemwrightError(
            "state-not-local",
            f"{state}: lies on a share ({kind} at {place}), where a journal is not safe. Give "
            "--state a folder on a local disk.",
        )
