"""Writes a REAPER project: a text file beside a folder with the stems.

The format is REAPER's own and undocumented; what stands here is what independent parsers and
projects that REAPER saved agree about. Fades are named as zero, since a missing one means the
user's default fade, and items do not loop.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from ..audio.reading import MixReader
from .session import DawTrack, Session

SPACE = uuid.UUID("6f0f2a2c-5d0a-5c54-9d5e-5e1a3c6b7a10")  # ours: equal sessions get equal ids
SOURCES = {"flac": "FLAC"}  # WAV, RF64 and AIFF are all WAVE to REAPER
COLOUR_IS_SET = 0x1000000


def write_reaper(session: Session, path: Path, program: str) -> None:
    """Write the session to `path` (`*.RPP`) and its audio into `Media/` beside it.

    Stems that lie beneath the project's folder stay where they are. The same session gives the
    same text.
    """
    places = [_placed(track, path.parent) for track in session.tracks]
    path.write_text("\n".join(_project(session, places, program)) + "\n", encoding="utf-8")


def _placed(track: DawTrack, folder: Path) -> str:
    """Where the track's file lies, relative to the project; copied to `Media/` if elsewhere."""
    home, file = folder.resolve(), track.file.resolve()
    if file.is_relative_to(home):
        return file.relative_to(home).as_posix()
    media = folder / "Media"
    media.mkdir(exist_ok=True)
    target = media / file.name
    number = 1
    while target.exists() and not target.samefile(file):
        number += 1
        target = media / f"{file.stem}-{number}{file.suffix}"
    if not target.exists():
        shutil.copyfile(file, target)
    return target.relative_to(folder).as_posix()


def quoted(text: str) -> str:
    """A string as the format has it: there are no escapes, only three kinds of quotes."""
    text = "".join(letter if letter >= " " else " " for letter in text)
    for mark in ('"', "'", "`"):
        if mark not in text:
            return f"{mark}{text}{mark}"
    return "`" + text.replace("`", "'") + "`"


def _guid(*words: str) -> str:
    return "{" + str(uuid.uuid5(SPACE, "\n".join(words))).upper() + "}"


def _colour(colour: str) -> int:
    """REAPER keeps red in the lowest byte."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red + (green << 8) + (blue << 16) + COLOUR_IS_SET


def _project(session: Session, places: list[str], program: str) -> Iterator[str]:
    yield '<REAPER_PROJECT 0.1 "7.0/linux-x86_64" 0'
    yield "  <NOTES 0 2"
    yield f"    |{session.title}: stems by {program}".replace("\n", " ")
    yield "  >"
    yield "  RIPPLE 0"
    yield f"  SAMPLERATE {session.sample_rate} 1 0"
    yield "  TEMPO 120 4 4"
    if session.worst:
        start_s = session.tracks[0].start_s + session.worst.start_s
        yield f"  MARKER 1 {start_s:.9f} {quoted('listen: ' + session.worst.stem)} 0"
    for number, (track, place) in enumerate(zip(session.tracks, places, strict=True)):
        yield from _track(session, number, track, place)
    yield ">"


def _track(session: Session, number: int, track: DawTrack, place: str) -> Iterator[str]:
    guid = _guid(session.title, str(number), track.name)
    yield f"  <TRACK {guid}"
    yield f"    NAME {quoted(track.name)}"
    yield f"    PEAKCOL {_colour(track.colour)}"
    yield f"    VOLPAN {track.gain:.12g} 0 -1 -1 1"
    yield f"    MUTESOLO {int(track.muted)} 0 0"
    yield f"    NCHAN {track.channels + track.channels % 2}"  # REAPER's tracks are even
    yield f"    TRACKID {guid}"
    yield "    MAINSEND 1 0"
    yield "    <ITEM"
    yield f"      POSITION {track.start_s:.9f}"
    yield "      SNAPOFFS 0"
    yield f"      LENGTH {track.duration_s:.9f}"
    yield "      LOOP 0"
    yield "      ALLTAKES 0"
    yield "      FADEIN 1 0 0 1 0 0 0"
    yield "      FADEOUT 1 0 0 1 0 0 0"
    yield "      MUTE 0 0"
    yield f"      NAME {quoted(track.name)}"
    yield "      VOLPAN 1 0 1 -1"
    yield "      SOFFS 0"
    yield "      PLAYRATE 1 0 0 -1 0 0.0025"
    yield "      CHANMODE 0"
    yield f"      <SOURCE {SOURCES.get(_container(track.file), 'WAVE')}"
    yield f"        FILE {quoted(place)}"
    yield "      >"
    yield "    >"
    yield "  >"


def _container(path: Path) -> str:
    with MixReader(path) as reader:
        return reader.info.container
