"""Files that come with a mix and go with it: `song.mid` beside `song.wav`, for its voices.

A mix whose preset has voices is claimed, filed and tried again together with what lies beside
it under its name. What is known of the companions stands in the mix's identity, so that one that
comes, goes or changes makes the mix settle again; the ticket of a claimed mix says which go with
it, so that a crash between two renames loses none and takes no later one by mistake.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

from engine import BESIDE_ENDINGS
from presets import StemwrightError, find_preset, load_preset

from .atomic import move_new
from .identity import identity_of

_SEPARATOR = "|"


class CompanionRecord(TypedDict):
    """A companion as a ticket names it: name as bytes in hexadecimal, identity."""

    name: str
    identity: str


@dataclass(frozen=True, order=True)
class Companion:
    """A file beside a mix: its name, and everything that betrays a change."""

    name: str
    identity: str

    @property
    def ending(self) -> str:
        """What its name has behind the mix's stem, as it is spelt."""
        ending = ending_of(self.name)
        assert ending is not None
        return self.name[len(self.name) - len(ending) :]

    def record(self) -> CompanionRecord:
        """How tickets and identities name it."""
        return {"name": os.fsencode(self.name).hex(), "identity": self.identity}


def ending_of(name: str) -> str | None:
    """The companion's ending that a file's name has; None for other files."""
    lower = name.lower()
    return next((end for end in sorted(BESIDE_ENDINGS, key=len, reverse=True)
                 if lower.endswith(end) and len(lower) > len(end)), None)  # fmt: skip


def mix_stem(name: str) -> str:
    """The stem of the mixes that a companion of this name belongs to."""
    return name[: len(name) - len(ending_of(name) or "")]


def joined(identity: str, companions: Iterable[Companion]) -> str:
    """The identity of a mix together with what lies beside it."""
    records = [one.record() for one in sorted(companions)]
    return _SEPARATOR.join([identity, *(f"{r['name']}={r['identity']}" for r in records)])


def split(identity: str) -> tuple[str, tuple[Companion, ...]]:
    """The identity of a mix alone, and its companions."""
    own, *companions = identity.split(_SEPARATOR)
    pairs = (companion.partition("=") for companion in companions)
    return own, tuple(
        Companion(os.fsdecode(bytes.fromhex(name)), theirs) for name, _, theirs in pairs
    )


def is_there(companion: Companion, folder: Path) -> bool:
    """Whether a companion is still the plain file that was seen."""
    try:
        facts = (folder / companion.name).lstat()
    except OSError:
        return False
    return stat.S_ISREG(facts.st_mode) and identity_of(facts) == companion.identity


def bring(companions: Iterable[Companion], folder: Path, mix: Path) -> None:
    """Move what still lies in the mix's old folder beside the mix; harmless when it has happened,
    and no other file of these names is taken."""
    for companion in companions:
        if is_there(companion, folder):
            move_new(folder / companion.name, mix.with_name(mix.stem + companion.ending))


def file_beside(mix: Path, filed: Path, job_id: str) -> None:
    """Move everything beside a claimed mix to where the mix is filed."""
    for place in beside(mix):
        ending = place.name[len(mix.stem) :]
        target = filed.with_name(filed.stem + ending)
        try:
            move_new(place, target)
        except FileExistsError:
            move_new(place, filed.with_name(f"{filed.stem}~{job_id}{ending}"))


def beside(mix: Path) -> list[Path]:
    """Companions of a mix in its folder."""
    try:
        names = sorted(path.name for path in mix.parent.iterdir())
    except FileNotFoundError:
        return []
    return [mix.with_name(n) for n in names if ending_of(n) and mix_stem(n) == mix.stem]


def voices_wanted(preset: str) -> str | None:
    """How a preset's voices get their pitches; None where it has none, or cannot be read."""
    try:
        file = find_preset(preset)
        return _pitches_of(preset, file.stat().st_mtime_ns)
    except (StemwrightError, OSError):
        return None


@lru_cache(256)
def _pitches_of(preset: str, _changed: int) -> str | None:
    voices = load_preset(preset).voices
    return voices.pitches if voices else None
