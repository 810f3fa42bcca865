"""What the program once wrote to disk and now reads back: tickets, reasons, manifests, markers.

The folders lie on a share, and whoever may drop a mix there may also write any of these files. So
they are foreign input: read only when they are plain files of a sensible size, checked against a
schema, and a path in them must stay inside the folder that it is seen from.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

MAX_RECORD_BYTES = 1_000_000
MAX_MANIFEST_BYTES = 16_000_000
MAX_MARKER_BYTES = 256
MAX_PATH_BYTES = 3000  # of the 4096 that Linux has, because folders come before it
MAX_PART_BYTES = 255
SQLITE_MAX = 2**63 - 1


class ForeignError(Exception):
    """A file is not what this program writes; the message says what is wrong with it."""


def read_small(path: Path, most_bytes: int) -> bytes:
    """The content of a plain file. Links are not followed, pipes and devices not opened.

    Raises FileNotFoundError when it is missing, `ForeignError` for anything else.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        facts = os.lstat(path)
        if not stat.S_ISREG(facts.st_mode):
            raise ForeignError("it is not a plain file")
        with os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ForeignError("it is not a plain file")
            raw = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ForeignError(f"it cannot be read: {error.strerror}") from error
    if len(raw) > most_bytes:
        raise ForeignError(f"it is longer than {most_bytes} bytes")
    return raw


JsonObject = dict[str, object]


def read_json(path: Path, most_bytes: int = MAX_RECORD_BYTES) -> JsonObject:
    """A JSON object from a plain file; `ForeignError` when it is anything else."""
    raw = read_small(path, most_bytes)
    try:
        found = from_json(raw, allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise ForeignError(f"it is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ForeignError("it is no JSON object")
    return found


class Record(BaseModel):
    """What is read back. Unknown keys are left alone: a newer program may have written them."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


Kind = TypeVar("Kind", bound=Record)


def read_record(path: Path, kind: type[Kind]) -> Kind:
    """A record of one kind from its file; `ForeignError` says which field is wrong, and how."""
    return parsed(read_json(path), kind)


def parsed(found: JsonObject, kind: type[Kind]) -> Kind:
    """A JSON object as a record of one kind."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ForeignError(f"{place}: {first['msg']}") from None


def read_marker(path: Path) -> str | None:
    """The number in a folder's marker; nothing when there is none that could be ours."""
    try:
        return read_small(path, MAX_MARKER_BYTES).decode("utf-8").strip() or None
    except (ForeignError, OSError, UnicodeDecodeError):
        return None


def _plain_path(text: object) -> Path:
    """A path below the inbox from its bytes in hexadecimal: relative, nothing hidden, no `..`."""
    try:
        if not isinstance(text, str):
            raise ValueError
        raw = bytes.fromhex(text)
    except ValueError:
        raise ValueError("must be bytes in hexadecimal") from None
    path = Path(os.fsdecode(raw))
    if b"\0" in raw or not path.parts or len(raw) > MAX_PATH_BYTES:
        raise ValueError("is no path of a file")
    if path.is_absolute() or path.drive or path.root:
        raise ValueError("must be relative to the inbox")
    if any(part.startswith(".") for part in path.parts):  # `..`, too; the inbox has none of these
        raise ValueError("leads outside the inbox, or to a hidden name")
    if any(len(os.fsencode(part)) > MAX_PART_BYTES for part in path.parts):
        raise ValueError("has a name that is too long")
    return path


def _plain_name(text: object) -> str:
    """A file's name from its bytes in hexadecimal."""
    path = _plain_path(text)
    if len(path.parts) != 1:
        raise ValueError("is no name of a file")
    return path.name


PlainName = Annotated[str, BeforeValidator(_plain_name)]
InboxPath = Annotated[Path, BeforeValidator(_plain_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=SQLITE_MAX)]
Words = Annotated[str, Field(max_length=20_000)]


class _BesideMix(Record):
    """A file that goes with a mix."""

    name: PlainName
    identity: Words


class Ticket(Record):
    """`work/<job>/job.json`: what another daemon needs to know to take a claimed mix over."""

    source: InboxPath
    preset: Words
    size: Count
    beside: list[_BesideMix] = []


class Reason(Record):
    """`failed/<date>/<name>.reason.json`: why the file beside it lies there."""

    source: InboxPath
    code: Words
    reason: Words
    preset: Words
    sha256: Sha256 | None = None
    attempts: Count = 0
    worker_kills: Count = 0


class _Input(Record):
    name: Words
    sha256: Sha256


class _Named(Record):
    name: Words


class _Hashed(Record):
    sha256: Sha256


class _Card(Record):
    digest: Sha256


class _Program(Record):
    version: Words


class _Pitches(Record):
    files: dict[Words, Sha256] = {}
    tracked_by: _Hashed | None = None
    graph_sha256: Sha256 | None = None

    @property
    def heard_by(self) -> str | None:
        """sha256 of the network or graph that heard them; None where files told them."""
        return self.tracked_by.sha256 if self.tracked_by else self.graph_sha256


class _Voices(Record):
    network: _Hashed
    pitches: _Pitches


class SetManifest(Record):
    """`manifest.json` of a published set, as far as it names the work that the set is."""

    input: _Input
    preset: _Named
    preset_sha256: Words
    priors: dict[Words, _Hashed]
    separators: dict[Words, _Card] = {}
    voices: _Voices | None = None
    program: _Program
    search: JsonObject
    seed: Count


class Health(Record):
    """`health.json` in the state folder; `status --json` shows all that is in it."""

    model_config = ConfigDict(extra="allow")

    healthy: bool
    lost: Words | None = None
    degraded: list[Words] = []
