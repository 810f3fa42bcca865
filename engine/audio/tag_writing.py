"""Writes fields and pictures in the forms that containers hold: ID3, INFO, Vorbis, cue chunks."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from .tags import ID3_FIELDS, INFO_FIELDS, Picture, Tags, mutagen_module
from .wave_header import FileFormat, RawChunk, chunk

VENDOR = b"Stemwright"
CUE_TRACKS_AT = 128 + 8 + 1 + 258  # in a CUESHEET block: behind number, lead-in and flags
LEAD_OUT = (170, 255)


def id3_bytes(tags: Tags, pictures: Sequence[Picture] = (), onto: bytes = b"") -> bytes:
    """An ID3v2.4 tag; fields that ID3 has no frame for become TXXX.

    `onto` is a tag that is kept and only added to.
    """
    if not tags and not pictures:
        return onto
    id3 = mutagen_module("id3")
    frames = {field: frame for frame, field in ID3_FIELDS.items()}
    tag = id3.ID3(io.BytesIO(onto)) if onto else id3.ID3()
    for field, values in tags.items():
        if field == "comment":
            tag.add(id3.COMM(encoding=3, lang="eng", text=values))
        elif field in frames:
            tag.add(getattr(id3, frames[field])(encoding=3, text=values))
        else:
            tag.add(id3.TXXX(encoding=3, desc=field, text=values))
    for number, picture in enumerate(pictures):
        # frames of one kind and description would replace each other
        label = picture.description or (f"{number}" if number else "")
        kind = id3.PictureType(picture.kind) if picture.kind < 21 else id3.PictureType.OTHER
        tag.add(id3.APIC(encoding=3, mime=picture.mime, type=kind, desc=label, data=picture.data))
    out = io.BytesIO()
    tag.save(out, v1=0)
    return out.getvalue()


def info_chunk(tags: Tags) -> bytes:
    """The payload of a LIST/INFO chunk."""
    out = b""
    for name, field in INFO_FIELDS.items():
        if field in tags:
            out += chunk(name.encode(), "; ".join(tags[field]).encode() + b"\0")
    return b"INFO" + out if out else b""


def vorbis_block(tags: Tags, fmt: FileFormat) -> bytes:
    """The payload of a VORBIS_COMMENT block."""
    lines = [f"{field.upper()}={value}" for field, values in tags.items() for value in values]
    if fmt.channel_mask is not None:
        lines.append(f"WAVEFORMATEXTENSIBLE_CHANNEL_MASK=0x{fmt.channel_mask:04X}")
    encoded = [_vorbis_line(line) for line in lines]
    out = struct.pack("<I", len(VENDOR)) + VENDOR + struct.pack("<I", len(encoded))
    return out + b"".join(encoded)


def with_vorbis_fields(block: bytes, tags: Tags) -> bytes:
    """A VORBIS_COMMENT payload with more fields behind its own."""
    at = 4 + struct.unpack_from("<I", block)[0]
    count = struct.unpack_from("<I", block, at)[0]
    lines = [f"{field.upper()}={value}" for field, values in tags.items() for value in values]
    head = block[:at] + struct.pack("<I", count + len(lines))
    return head + block[at + 4 :] + b"".join(map(_vorbis_line, lines))


def picture_block(picture: Picture) -> bytes:
    """The payload of a PICTURE block."""
    block = mutagen_module("flac").Picture()
    block.mime, block.type, block.desc = picture.mime, picture.kind, picture.description
    block.data = picture.data
    return bytes(block.write())


def cue_chunks(block: bytes) -> tuple[RawChunk, ...]:
    """A FLAC cue sheet as the cue points of a WAV file, labelled with track and ISRC.

    Nothing when a track lies where no 32-bit number reaches, or the block is damaged.
    """
    points: list[tuple[int, bytes]] = []
    position = CUE_TRACKS_AT + 1
    for _ in range(block[CUE_TRACKS_AT] if len(block) > CUE_TRACKS_AT else 0):
        if position + 36 > len(block):
            return ()
        offset, number = struct.unpack_from(">QB", block, position)
        isrc = block[position + 9 : position + 21].rstrip(b"\0")
        indices = block[position + 35]
        starts = [
            struct.unpack_from(">QB", block, position + 36 + 12 * index)
            for index in range(indices)
            if position + 48 + 12 * index <= len(block)
        ]
        first = next((start for start, index in starts if index == 1), 0)
        position += 36 + 12 * indices
        if offset + first >= 1 << 32:
            return ()
        if number not in LEAD_OUT:
            points.append((offset + first, b" ".join(filter(None, (b"Track %d" % number, isrc)))))
    if not points:
        return ()
    cue = struct.pack("<I", len(points)) + b"".join(
        struct.pack("<II4sIII", number, at, b"data", 0, 0, at)
        for number, (at, _) in enumerate(points, start=1)
    )
    labels = b"adtl" + b"".join(
        chunk(b"labl", struct.pack("<I", number) + label + b"\0")
        for number, (_, label) in enumerate(points, start=1)
    )
    return ((b"cue ", cue), (b"LIST", labels))


def _vorbis_line(line: str) -> bytes:
    raw = line.encode("utf-8", "replace")
    return struct.pack("<I", len(raw)) + raw
