"""Reads tags of every container as Vorbis-style fields, and writes them as ID3, INFO or Vorbis."""

from __future__ import annotations

import importlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .containers import sniff
from .file_bytes import id3v2_bytes
from .riff import ChunkFile, walk_chunks
from .wave_header import FileFormat, RawChunk, chunk

Tags = dict[str, list[str]]  # Vorbis field names in lower case

INFO_FIELDS = {
    "INAM": "title",
    "IART": "artist",
    "IPRD": "album",
    "ICRD": "date",
    "IGNR": "genre",
    "ICMT": "comment",
    "ITRK": "tracknumber",
    "ICOP": "copyright",
    "IENG": "engineer",
    "IMUS": "composer",
}
ID3_FIELDS = {
    "TIT2": "title",
    "TPE1": "artist",
    "TALB": "album",
    "TPE2": "albumartist",
    "TDRC": "date",
    "TCON": "genre",
    "TRCK": "tracknumber",
    "TPOS": "discnumber",
    "TSRC": "isrc",
    "TCOM": "composer",
    "TCOP": "copyright",
    "TBPM": "bpm",
    "TPUB": "organization",
    "TIT3": "version",
}
AIFF_FIELDS = {b"NAME": "title", b"AUTH": "artist", b"ANNO": "comment", b"(c) ": "copyright"}
VENDOR = b"Stemwright"
VORBIS_BLOCK, PICTURE_BLOCK = b"\x04", 6
# Blocks that describe the old stream: STREAMINFO, PADDING, SEEKTABLE.
FLAC_NOT_COPIED = {0, 1, 3}


def read_tags(path: Path) -> Tags:
    """All text tags of a file; what cannot be read as a tag is left out."""
    container = sniff(path)
    if container in ("wav", "rf64", "w64", "aiff"):
        return _chunk_tags(walk_chunks(path))
    if container == "mp3":
        return _id3_tags(mp3_id3(path))
    readers: dict[str, Callable[[Path], Any]] = {"flac": _open_flac, "ogg": _open_ogg}
    comments = _tolerant(readers[container], path) if container in readers else None
    return _lower(comments.tags) if comments is not None and comments.tags is not None else {}


def mp3_id3(path: Path) -> bytes:
    """The ID3v2 tag at the start of an MP3 file, as it is."""
    with path.open("rb") as file:
        head = file.read(10)
        return head + file.read(id3v2_bytes(head) - 10) if head[:3] == b"ID3" else b""


def id3_bytes(tags: Tags) -> bytes:
    """An ID3v2.4 tag; fields that ID3 has no frame for become TXXX."""
    if not tags:
        return b""
    id3 = _mutagen("id3")
    frames = {field: frame for frame, field in ID3_FIELDS.items()}
    tag = id3.ID3()
    for field, values in tags.items():
        if field == "comment":
            tag.add(id3.COMM(encoding=3, lang="eng", text=values))
        elif field in frames:
            tag.add(getattr(id3, frames[field])(encoding=3, text=values))
        else:
            tag.add(id3.TXXX(encoding=3, desc=field, text=values))
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
    encoded = [line.encode() for line in lines]
    out = struct.pack("<I", len(VENDOR)) + VENDOR + struct.pack("<I", len(encoded))
    return out + b"".join(struct.pack("<I", len(line)) + line for line in encoded)


def flac_blocks(path: Path) -> tuple[RawChunk, ...]:
    """The metadata blocks of a FLAC file that hold for other audio too."""
    blocks: list[RawChunk] = []
    with path.open("rb") as file:
        head = file.read(10)
        file.seek((id3v2_bytes(head) if head[:3] == b"ID3" else 0) + 4)
        last = False
        while not last and len(head := file.read(4)) == 4:
            last, kind = bool(head[0] & 0x80), head[0] & 0x7F
            payload = file.read(int.from_bytes(head[1:], "big"))
            if kind not in FLAC_NOT_COPIED:
                blocks.append((bytes([kind]), payload))
    return tuple(blocks)


def _chunk_tags(file: ChunkFile) -> Tags:
    tags: Tags = {}
    for part in file.chunks:
        if part.id in (b"id3 ", b"ID3 ", b"LIST", b"list", *AIFF_FIELDS) and part.size < 1 << 24:
            payload = file.read(part)
            if part.id in (b"id3 ", b"ID3 "):
                tags |= _id3_tags(payload)
            elif part.id in AIFF_FIELDS:
                tags.setdefault(AIFF_FIELDS[part.id], []).append(_text(payload))
            elif payload[:4] == b"INFO":
                tags = _info_tags(payload) | tags  # ID3 says it more fully
    return tags


def _info_tags(payload: bytes) -> Tags:
    tags: Tags = {}
    position = 4
    while position + 8 <= len(payload):
        name, size = struct.unpack_from("<4sI", payload, position)
        field = INFO_FIELDS.get(name.decode("latin-1"))
        text = _text(payload[position + 8 : position + 8 + size])
        if field and text:
            tags[field] = [text]
        position += 8 + size + size % 2
    return tags


def _text(raw: bytes) -> str:
    raw = raw.split(b"\0")[0]
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip()


def _id3_tags(raw: bytes) -> Tags:
    if raw[:3] != b"ID3":
        return {}
    tag = _tolerant(_parse_id3, raw)
    tags: Tags = {}
    for frame in tag.values() if tag is not None else ():
        field = ID3_FIELDS.get(frame.FrameID)
        if frame.FrameID == "TXXX":
            field = frame.desc.lower()
        elif frame.FrameID == "COMM" and not frame.desc:
            field = "comment"
        texts = [str(text) for text in getattr(frame, "text", [])]
        if field and texts:
            tags[field] = texts
    return tags


def _mutagen(module: str) -> Any:  # noqa: ANN401 - half of it is untyped
    return importlib.import_module(f"mutagen.{module}")


def _parse_id3(raw: bytes) -> Any:  # noqa: ANN401
    return _mutagen("id3").ID3(io.BytesIO(raw))


def _open_flac(path: Path) -> Any:  # noqa: ANN401
    return _mutagen("flac").FLAC(path)


def _open_ogg(path: Path) -> Any:  # noqa: ANN401
    return _mutagen("_file").File(path)


def _lower(comments: Any) -> Tags:  # noqa: ANN401
    tags: Tags = {}
    for field, value in comments:
        tags.setdefault(field.lower(), []).append(value)
    return tags


def _tolerant(read: Callable[[Any], Any], what: Path | bytes) -> Any:  # noqa: ANN401
    """Tags are a gift: damaged ones must not keep sound audio from being separated."""
    from mutagen import MutagenError

    try:
        return read(what)
    except (MutagenError, ValueError, IndexError, KeyError, OverflowError, struct.error):
        return None
