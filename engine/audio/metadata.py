"""Carries a mix's metadata to its stems: chunks as they are, tags across containers."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from presets import name_text

from .containers import sniff
from .loudness import Loudness
from .riff import ChunkFile, walk_chunks
from .tag_writing import (
    cue_chunks,
    id3_bytes,
    info_chunk,
    picture_block,
    vorbis_block,
    with_vorbis_fields,
)
from .tags import (
    CUE_BLOCK,
    PICTURE_BLOCK,
    VORBIS_BLOCK,
    FileTags,
    Tags,
    flac_blocks,
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

    def with_history(self, line: str) -> Metadata:
        """The same with one more line of coding history in the bext chunk, where there is one."""

        def extended(chunks: tuple[RawChunk, ...]) -> tuple[RawChunk, ...]:
            return tuple(
                (name, with_history(payload, line) if name == b"bext" else payload)
                for name, payload in chunks
            )

        return replace(self, before=extended(self.before), after=extended(self.after))


def metadata_for(mix: Path, tags: FileTags, fmt: FileFormat) -> Metadata:
    """What the stems of this mix carry in that format; `tags` are the mix's own (`read_tags`).

    The same family of containers gets every chunk as it is; another family gets the tags it can
    hold. What stands in front of a container or behind it (ID3, APE) is carried where the
    container says nothing.
    """
    container = sniff(mix)
    foreign = {name: values for name, values in tags.fields.items() if name not in tags.own}
    if container in ("wav", "rf64", "w64") and fmt.container == "wav":
        return _with_foreign(_copied(walk_chunks(mix)), b"id3 ", tags, foreign)
    if container == "aiff" and fmt.container == "aiff":
        return _with_foreign(_copied(walk_chunks(mix)), b"ID3 ", tags, foreign)
    if container == "flac" and fmt.container == "flac":
        return _flac_to_flac(mix, tags, foreign, fmt)
    return _translated(mix, container, tags, fmt)


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


def naming_fields(mix: Path, tags: FileTags) -> dict[str, str]:
    """Title, artist and ISRC of a mix; the title is the file's name when no tag says it."""
    found = {key: tags.fields.get(key, [""])[0] for key in ("title", "artist", "isrc")}
    return {**found, "title": found["title"] or name_text(mix.stem)}


def _hundredths(value: float) -> int:
    if not math.isfinite(value) or abs(value) > 327:
        return UNMEASURED
    return round(value * 100)


def _copied(file: ChunkFile) -> Metadata:
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
            # libsndfile cannot read an RF64 file with an odd chunk before its audio; the history
            # that a bext chunk is given makes it even
            even = name == b"bext" or len(payload) % 2 == 0
            (place if even else after).append((name, payload))
    return Metadata(tuple(before), tuple(after), tuple(dropped))


def _with_foreign(copied: Metadata, name: bytes, tags: FileTags, foreign: Tags) -> Metadata:
    """Copied chunks, and in an ID3 chunk what only stood around the container."""
    images = tags.pictures[tags.own_pictures :]
    if not foreign and not images:
        return replace(copied, dropped=(*copied.dropped, *_around(tags)))
    ours = [payload for key, payload in copied.before + copied.after if key == name]
    before, after = (
        tuple(chunk for chunk in part if chunk[0] != name)
        for part in (copied.before, copied.after)
    )
    merged = id3_bytes(foreign, images, onto=ours[0] if ours and "ID3" not in tags.unread else b"")
    return Metadata(before, (*after, (name, merged)), (*copied.dropped, *_around(tags)))


def _around(tags: FileTags) -> list[str]:
    """What found no place of the tags in front of a container and behind it."""
    return sorted(name for name in tags.unread if name.startswith("APE"))


def _flac_to_flac(mix: Path, tags: FileTags, foreign: Tags, fmt: FileFormat) -> Metadata:
    blocks = list(flac_blocks(mix))
    comments = [number for number, (name, _) in enumerate(blocks) if name[0] == VORBIS_BLOCK]
    dropped = {*_around(tags), *tags.id3_unread} | tags.unread & {"ID3"}
    if foreign and not comments:
        blocks.append((bytes([VORBIS_BLOCK]), vorbis_block(foreign, fmt)))
    elif foreign and "Vorbis comments" in tags.unread:  # damaged ones are kept, not added to
        dropped |= {f"field {name}" for name in foreign}
    elif foreign:
        name, payload = blocks[comments[0]]
        blocks[comments[0]] = (name, with_vorbis_fields(payload, foreign))
    images = tags.pictures[tags.own_pictures :]
    blocks += [(bytes([PICTURE_BLOCK]), picture_block(image)) for image in images]
    return Metadata(before=tuple(blocks), dropped=tuple(sorted(dropped)))


def _translated(mix: Path, container: str, tags: FileTags, fmt: FileFormat) -> Metadata:
    dropped = tags.unread | _untranslatable(mix, container)
    if fmt.container == "flac":
        blocks = [(bytes([VORBIS_BLOCK]), vorbis_block(tags.fields, fmt))]
        blocks += [(bytes([PICTURE_BLOCK]), picture_block(image)) for image in tags.pictures]
        return Metadata(tuple(blocks), dropped=tuple(sorted(dropped | tags.id3_unread)))
    id3 = _id3(tags)
    if fmt.container == "aiff":
        after: tuple[RawChunk, ...] = ((b"ID3 ", id3),) if id3 else ()
        return Metadata(after=after, dropped=tuple(sorted(dropped)))
    info = info_chunk(tags.fields)
    cues = _cues(mix, container)
    if cues:
        dropped -= {"cuesheet"}
    chunks: tuple[RawChunk, ...] = ((b"LIST", info),) if info else ()
    after = (*cues, (b"id3 ", id3)) if id3 else cues
    return Metadata(chunks, after, tuple(sorted(dropped)))


def _id3(tags: FileTags) -> bytes:
    """The file's own ID3 tag as it is, with what else the file says; or one of all its fields."""
    if not tags.id3 or "ID3" in tags.unread:
        return tags.id3 or id3_bytes(tags.fields, tags.pictures)
    in_tag = FileTags()
    fields = in_tag.add_id3(tags.id3)
    more = {name: values for name, values in tags.fields.items() if name not in fields}
    images = [image for image in tags.pictures if image not in in_tag.pictures]
    return id3_bytes(more, images, onto=tags.id3)


def _cues(mix: Path, container: str) -> tuple[RawChunk, ...]:
    if container != "flac":
        return ()
    sheets = (payload for name, payload in flac_blocks(mix) if name[0] == CUE_BLOCK)
    return next((cue_chunks(sheet) for sheet in sheets), ())


def _untranslatable(mix: Path, container: str) -> set[str]:
    """Names of the chunks that have no counterpart in another container."""
    if container not in ("wav", "rf64", "w64", "aiff"):
        return set()
    translated = {
        b"LIST",
        b"list",
        b"id3 ",
        b"ID3 ",
        b"NAME",
        b"AUTH",
        b"ANNO",
        b"(c) ",
    } | NOT_COPIED
    names = (chunk.id for chunk in walk_chunks(mix).chunks if chunk.id not in translated)
    return {name.decode("latin-1").strip() for name in names}
