"""Where files lie at each step of a job, by a protocol and its two ways: a hot folder's originals
move from the inbox through work to done or failed, a catalogue's stay where they are.

The journal says what is to be so; this module makes it so, and may be asked again after a crash.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import uuid
from pathlib import Path
from typing import Protocol

from presets import StemwrightError, printable, same_name_key

from .atomic import move_new, sync_folder, write_whole
from .clock import Instant, date_folder
from .companions import Companion, beside, bring, file_beside, is_there, split
from .failures import PlaceError
from .filenames import (
    MAX_NAME_BYTES,
    READY_SUFFIX,
    is_text,
    numbered,
    safe_name,
    shortened,
)
from .identity import identity_of
from .job import Job, State, Transition
from .known_mounts import KnownMounts, why_not_mounted
from .publish_guard import PublishGuard
from .reasons import reason_path, reason_text
from .records import ForeignError, Ticket, read_record
from .root import Root, why_outside

TICKET = "job.json"
JOB_ID = re.compile(r"[0-9a-f]{12}")


class GoneError(Exception):
    """The file was taken away before it could be claimed."""


class ChangedError(Exception):
    """The file is not the one that settled."""


class OutsideError(PlaceError):
    """A folder leads out of the hot folder, through a link that somebody put there."""


class MountLostError(PlaceError):
    """What was mounted below the outbox is not there at the moment."""

    code = "folder-lost"


class RootLostError(OSError):
    """The hot folder itself is not there at the moment."""


class JobFiles(Protocol):
    """What a worker pool needs to know about places."""

    def bring_in(self, job: Job) -> Path:
        """Make the mix safe from its sender and say where to read it."""

    def workspace(self, job: Job) -> Path:
        """A folder for the job's checkpoints; its name is the job's, as in partial sets."""

    def destination(self, job: Job, number: int) -> Path:
        """Where the so many-th version of the job's set belongs."""

    def disks(self) -> list[Path]:
        """Folders on the disks that work fills: that of the sets first, of checkpoints last."""

    def insist_on_root(self) -> None:
        """Raise `RootLostError` when a folder that the work lives in is not the right one."""

    def make_room_for(self, destination: Path) -> None:
        """Make the folder in which a set will appear."""

    def guard(self, job: Job) -> PublishGuard:
        """What the worker has to ask right before its set becomes visible."""

    def filing_place(self, job: Job, state: State, now: Instant) -> Path | None:
        """Where the original goes at the end."""

    def file_away(self, job: Job, history: list[Transition]) -> None:
        """Put the original there, with the reason if it failed, and clear the workplace."""


class HotFolderFiles:
    """Job files that move: inbox -> work/<job> -> done/<date> or failed/<date>."""

    def __init__(self, root: Root, number: str, mounts: KnownMounts) -> None:
        self.root = root
        self._number = number
        self._mounts = mounts

    def bring_in(self, job: Job) -> Path:
        """Rename the mix into its work folder: whoever succeeds has it."""
        self.insist_on_root()
        mix = self._claimed(job)
        self._confine(mix, self.root.work)
        if _taken(mix):
            self._bring_companions(job, mix)
            return _insist_on_plain(mix)
        if job.filed is not None and _taken(job.filed):
            return self._bring_back(job, _insist_on_plain(job.filed), mix)
        arrived = self.root.inbox / job.source
        self._confine(arrived, self.root.inbox)
        try:
            facts = arrived.lstat()
        except (FileNotFoundError, NotADirectoryError):
            self.insist_on_root()
            raise GoneError(job.id) from None
        own, companions = split(job.identity)
        there = all(is_there(companion, arrived.parent) for companion in companions)
        if not stat.S_ISREG(facts.st_mode) or identity_of(facts) != own or not there:
            raise ChangedError(job.id)
        self._write_ticket(job, companions)
        self.insist_on_root()
        try:
            _move(arrived, mix)
        except FileNotFoundError:
            raise GoneError(job.id) from None
        with contextlib.suppress(OSError):
            arrived.with_name(arrived.name + READY_SUFFIX).unlink()
        self._bring_companions(job, mix)
        return mix

    def workspace(self, job: Job) -> Path:
        """Checkpoints lie beside the claimed mix and go with it."""
        return self.work_folder(job)

    def destination(self, job: Job, number: int) -> Path:
        """`outbox/<sub-folders>/<name>`, numbered from the second version on."""
        folder = self.root.outbox.joinpath(*map(safe_name, job.source.parts[:-1]))
        return folder / numbered(safe_name(job.source.stem), number)

    def disks(self) -> list[Path]:
        """Stems go to the outbox, checkpoints to work."""
        return [self.root.outbox, self.root.work]

    def make_room_for(self, destination: Path) -> None:
        """Make the set's folder below the outbox, and nowhere else."""
        self.insist_on_root()
        self._confine(destination, self.root.outbox)
        for folder in self._mounts.above(destination):
            if lost := why_not_mounted(Path(folder)):
                raise MountLostError(lost)
        destination.parent.mkdir(parents=True, exist_ok=True)

    def guard(self, job: Job) -> PublishGuard:
        """Every folder must be the right one, and none of the job's may lead out of it."""
        assert job.destination is not None
        markers = self.root.markers(self._number)
        return PublishGuard(
            markers={str(folder): number for folder, number in markers.items()},
            inside=(
                (str(job.destination), str(self.root.outbox)),
                (str(self.work_folder(job) / TICKET), str(self.root.work)),
            ),
            mounts=self._mounts.above(job.destination),
        )

    def filing_place(self, job: Job, state: State, now: Instant) -> Path:
        """`done/<date>/<path>` or `failed/<date>/<path>`; a taken name gets the job's number."""
        folder = self.root.done if state == State.DONE else self.root.failed
        place = folder / date_folder(now.wall_s) / job.source
        if not _taken(place) and len(os.fsencode(place.name)) <= MAX_NAME_BYTES + 60:
            return place
        stem = shortened(place.stem, MAX_NAME_BYTES)
        return place.with_name(f"{stem}~{job.id}{place.suffix[:20]}")

    def file_away(self, job: Job, history: list[Transition]) -> None:
        """Move the original to `job.filed`; harmless when that has happened already."""
        assert job.filed is not None
        mix = self._claimed(job)
        self.insist_on_root()
        self._confine(mix, self.root.work)
        self._confine(job.filed, self.root.done if job.state == State.DONE else self.root.failed)
        if job.state == State.QUARANTINED:
            job.filed.parent.mkdir(parents=True, exist_ok=True)
            write_whole(reason_path(job.filed), reason_text(job, history))
        if _taken(mix):
            self.insist_on_root()
            move_new(mix, job.filed)
        file_beside(mix, job.filed, job.id)
        self.clear(job)

    def set_aside(self, folder: Path, code: str, reason: str, now: Instant) -> Path:
        """Move a work folder that is nobody's job into failed, as it is, with the reason."""
        self.insist_on_root()
        place = self.root.failed / date_folder(now.wall_s) / safe_name(folder.name)
        self._confine(place, self.root.failed)
        place.parent.mkdir(parents=True, exist_ok=True)
        while _taken(place):
            place = place.with_name(f"{safe_name(folder.name)}~{uuid.uuid4().hex[:6]}")
        why = {"file": printable(folder.name), "code": code, "reason": reason}
        write_whole(reason_path(place), json.dumps(why, indent=2) + "\n")
        folder.rename(place)
        return place

    def clear(self, job: Job) -> None:
        """Remove the work folder, once the mix has left it."""
        shutil.rmtree(self.work_folder(job), ignore_errors=True)

    def work_folder(self, job: Job) -> Path:
        """`work/<job>`."""
        return self.root.work / job.id

    def insist_on_mix(self, folder: Path, source: Path) -> None:
        """Raise `ForeignError` unless the mix of a ticket lies in its folder, as a plain file."""
        try:
            plain = stat.S_ISREG(os.lstat(folder / _claimed_name(source)).st_mode)
        except FileNotFoundError:
            raise ForeignError(f"{printable(source.name)} does not lie beside it") from None
        if not plain:
            raise ForeignError(f"{printable(source.name)} beside it is not a plain file")

    def touch(self, job_ids: list[str]) -> None:
        """Show daemons on other machines that these work folders are looked after."""
        for job_id in job_ids:
            with contextlib.suppress(OSError):
                os.utime(self.root.work / job_id / TICKET)

    def _claimed(self, job: Job) -> Path:
        """The mix in its work folder. A name that is no text gets one for that time."""
        return self.work_folder(job) / _claimed_name(job.source)

    def _bring_back(self, job: Job, filed: Path, mix: Path) -> Path:
        """Take a quarantined original up again, for another try."""
        self._confine(filed, self.root.path)
        self._write_ticket(job)
        self.insist_on_root()
        move_new(filed, mix)
        for companion in beside(filed):
            move_new(companion, mix.with_name(mix.stem + companion.name[len(filed.stem) :]))
        reason_path(filed).unlink(missing_ok=True)
        return mix

    def _bring_companions(self, job: Job, mix: Path) -> None:
        """Take what goes with the mix, as its ticket says, from where the mix arrived."""
        arrived = self.root.inbox / job.source
        try:
            ticket = read_record(mix.with_name(TICKET), Ticket)
        except (ForeignError, FileNotFoundError):  # nothing is known to go with it
            return
        if ticket.beside and arrived.parent.is_dir():
            self._confine(arrived, self.root.inbox)
            bring((Companion(one.name, one.identity) for one in ticket.beside),
                  arrived.parent, mix)  # fmt: skip

    def insist_on_root(self) -> None:
        """Asked right before each rename: a share may go away at any moment."""
        if lost := self.root.why_lost(self._number):
            raise RootLostError(lost)

    def _confine(self, path: Path, folder: Path) -> None:
        if outside := why_outside(path, folder):
            raise OutsideError(outside)

    def _write_ticket(self, job: Job, companions: tuple[Companion, ...] = ()) -> None:
        folder = self.work_folder(job)
        folder.mkdir(parents=True, exist_ok=True)
        ticket = {
            "source": os.fsencode(job.source).hex(),
            "name": printable(job.source),
            "preset": job.preset,
            "size": job.size,
            "beside": [companion.record() for companion in companions],
        }
        write_whole(folder / TICKET, json.dumps(ticket, indent=2) + "\n")
        sync_folder(self.root.work)


class CatalogueFiles:
    """Job files that leave originals where they are; sets appear below one folder."""

    def __init__(self, out: Path, names: dict[Path, Path]) -> None:
        self.out = out
        self._names = names

    def bring_in(self, job: Job) -> Path:
        """The mix is read where it lies."""
        if not job.source.is_file():
            raise StemwrightError("mix-missing", f"{job.source}: no such file any more.")
        return job.source

    def workspace(self, job: Job) -> Path:
        """Checkpoints lie beside the sets, hidden."""
        folder = self.out / ".work" / job.id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def destination(self, job: Job, number: int) -> Path:
        """`OUT/<artist - title>`, or the file's name, numbered from the second version on."""
        place = self.out / self._names.get(job.source, Path(safe_name(job.source.stem)))
        return place.with_name(numbered(place.name, number))

    def disks(self) -> list[Path]:
        """Sets and checkpoints share a disk."""
        return [self.out]

    def insist_on_root(self) -> None:
        """The output folder carries no marker: whoever runs a batch looks after its disk."""

    def make_room_for(self, destination: Path) -> None:
        """Sets may lie in folders of their own."""
        destination.parent.mkdir(parents=True, exist_ok=True)

    def guard(self, job: Job) -> PublishGuard:
        """Nothing has to be asked before a set becomes visible."""
        return PublishGuard()

    def filing_place(self, job: Job, state: State, now: Instant) -> Path | None:
        """Originals stay."""
        return None

    def file_away(self, job: Job, history: list[Transition]) -> None:
        """Only the checkpoints are cleared away."""
        shutil.rmtree(self.out / ".work" / job.id, ignore_errors=True)


def exists_alike(destination: Path) -> bool:
    """True when a name is taken, or one that some file system would take for the same."""
    wanted = same_name_key(destination.name)
    try:
        names = [path.name for path in destination.parent.iterdir()]
    except FileNotFoundError:
        return False
    return any(same_name_key(name) == wanted for name in names)


def _move(arrived: Path, mix: Path) -> None:
    try:
        arrived.rename(mix)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        move_new(arrived, mix)
    sync_folder(mix.parent)


def _claimed_name(source: Path) -> str:
    return source.name if is_text(source.name) else safe_name(source.name)


def _insist_on_plain(mix: Path) -> Path:
    if not stat.S_ISREG(mix.lstat().st_mode):
        raise StemwrightError(
            "mix-not-plain", f"{printable(mix.name)}: is a link, a pipe or a folder, not a file."
        )
    return mix


def _taken(place: Path) -> bool:
    return os.path.lexists(place)
