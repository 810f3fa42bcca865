"""Carries a mix's metadata to its stems: chunks as they are, tags across containers."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from presets import name_text

from .containers import sniff
from .loudness import Loudness
from .riff import ChunkFile, walk_chunks
from .tags import (
    PICTURE_BLOCK,
    VORBIS_BLOCK,
    flac_blocks,
    id3_bytes,
    info_chunk,
    mp3_id3,
    read_tags,
    vorbis_block,
)
from .wave_header import FileFormat, RawChunk

# What describes the old samples' storage, or would be untrue of the new samples.
NOT_COPIED = {
    *(b"RIFF", b"ds64", b"fmt ", b"data", b"fact", b"JUNK", b"junk", b"PAD ", b"FLLR"),
    *(b"PEAK", b"levl", b"MD5 ", b"COMM", b"SSND", b"FVER"),
}
MOST_BYTES = 64 << 20  # of all chunks together, which are held in memory
BEXT_FIXED_BYTES = 602
BEXT_VERSION_AT, BEXT_LOUDNESS_AT = 346, 412
UNMEASURED = 0x7FFF  # EBU Tech 3285: the value that says "not measured"


@dataclass(frozen=True)
class Metadata:
    """Chunks to write before and behind the audio, and the names of what found no place."""

    before: tuple[RawChunk, ...] = ()
    after: tuple[RawChunk, ...] = ()
    dropped: tuple[str, ...] = ()


def metadata_for(mix: Path, fmt: FileFormat, history: str) -> Metadata:
    """What a stem of this mix carries in that format.

    The same family of containers gets every chunk as it is, except that `history` is appended
    to the coding history of a bext chunk; another family gets the tags it can hold.
    """
    container = sniff(mix)
    if container in ("wav", "rf64", "w64") and fmt.container == "wav":
        return _copied(walk_chunks(mix), history)
    if container == "aiff" and fmt.container == "aiff":
        return _copied(walk_chunks(mix), history)
    if container == "flac" and fmt.container == "flac":
        return Metadata(before=flac_blocks(mix))
    return _translated(mix, container, fmt)


def with_history(bext: bytes, line: str) -> bytes:
    """A bext payload with one more line of coding history."""
    bext = bext.ljust(BEXT_FIXED_BYTES, b"\0")
    history = bext[BEXT_FIXED_BYTES:].rstrip(b"\0")
    if history and not history.endswith(b"\n"):
        history += b"\r\n"
    history += line.encode("ascii", "replace") + b"\r\n"
    return bext[:BEXT_FIXED_BYTES] + history + b"\0" * (len(history) % 2)


def history_line(fmt: FileFormat, program: str) -> str:
    """A line of coding history (EBU R 98) for this format."""
    mode = {1: "mono", 2: "stereo"}.get(fmt.channels, "multitrack")
    return f"A=PCM,F={fmt.sample_rate},W={fmt.bits},M={mode},T={program}"


def bext_loudness(loudness: Loudness) -> bytes:
    """The five loudness fields of bext version 2: hundredths, little-endian."""
    values = (
        loudness.integrated_lufs,
        loudness.range_lu,
        loudness.true_peak_dbtp,
        loudness.max_momentary_lufs,
        loudness.max_short_term_lufs,
    )
    return struct.pack("<5h", *(_hundredths(value) for value in values))


def rewrite_loudness(path: Path, loudness: Loudness) -> None:
    """Put measured loudness into a WAV file's bext chunk, when it has one."""
    if sniff(path) not in ("wav", "rf64"):
        return
    bext = walk_chunks(path).find(b"bext")
    if bext is None:
        return
    with path.open("r+b") as file:
        file.seek(bext.offset + BEXT_VERSION_AT)
        file.write(struct.pack("<H", 2))  # the first version that has these fields
        file.seek(bext.offset + BEXT_LOUDNESS_AT)
        file.write(bext_loudness(loudness))
        file.flush()
        os.fsync(file.fileno())


def naming_fields(mix: Path) -> dict[str, str]:
    """Title, artist and ISRC of a mix; the title is the file's name when no tag says it."""
    tags = read_tags(mix)
    found = {key: tags.get(key, [""])[0] for key in ("title", "artist", "isrc")}
    return {**found, "title": found["title"] or name_text(mix.stem)}


def _hundredths(value: float) -> int:
    if not math.isfinite(value) or abs(value) > 327:
        return UNMEASURED
    return round(value * 100)


def _copied(file: ChunkFile, history: str) -> Metadata:
    before: list[RawChunk] = []
    after: list[RawChunk] = []
    dropped: list[str] = []
    place, room = before, MOST_BYTES
    for chunk in file.chunks:
        name = b"LIST" if chunk.id == b"list" else chunk.id  # as W64 spells it
        if name in (b"data", b"SSND"):
            place = after
        elif name in NOT_COPIED:
            continue
        elif chunk.size > room:
            dropped.append(name.decode("latin-1").strip())
        else:
            room -= chunk.size
            payload = file.read(chunk)
            payload = with_history(payload, history) if name == b"bext" else payload
            # libsndfile cannot read an RF64 file with an odd chunk before its audio
            (place if len(payload) % 2 == 0 else after).append((name, payload))
    return Metadata(tuple(before), tuple(after), tuple(dropped))


def _translated(mix: Path, container: str, fmt: FileFormat) -> Metadata:
    tags = read_tags(mix)
    dropped = _untranslatable(mix, container)
    if fmt.container == "flac":
        return Metadata(before=((VORBIS_BLOCK, vorbis_block(tags, fmt)),), dropped=dropped)
    id3 = mp3_id3(mix) if container == "mp3" else id3_bytes(tags)
    if fmt.container == "aiff":
        return Metadata(after=((b"ID3 ", id3),) if id3 else (), dropped=dropped)
    info = info_chunk(tags)
    chunks = ((b"LIST", info),) if info else ()
    return Metadata(before=chunks, after=((b"id3 ", id3),) if id3 else (), dropped=dropped)


def _untranslatable(mix: Path, container: str) -> tuple[str, ...]:
    """Names of the chunks or blocks that have no counterpart in another container."""
    if container == "flac" and any(name[0] == PICTURE_BLOCK for name, _ in flac_blocks(mix)):
        return ("picture",)
    if container not in ("wav", "rf64", "w64", "aiff"):
        return ()
    told = {b"LIST", b"list", b"id3 ", b"ID3 ", b"NAME", b"AUTH", b"ANNO", b"(c) "} | NOT_COPIED
    names = (chunk.id for chunk in walk_chunks(mix).chunks if chunk.id not in told)
    return tuple(sorted({name.decode("latin-1").strip() for name in names}))
