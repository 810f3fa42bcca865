"""Reads what files say of themselves, wherever it stands, as Vorbis-style fields.

A tag may be the container's own (chunks, blocks, Vorbis comments), or stand in front of it (ID3v2)
or behind it (APE, ID3v1). Whatever cannot become a field or a picture is named in `unread`, so
that nothing is lost without a word.
"""

from __future__ import annotations

import base64
import importlib
import io
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .containers import sniff
from .file_bytes import ID3V1_BYTES, FileBytes, id3v2_bytes
from .riff import ChunkFile, walk_chunks
from .wave_header import RawChunk

Tags = dict[str, list[str]]  # Vorbis field names in lower case

MOST_TAG_BYTES = 1 << 24  # of one chunk of tags: what is longer is no tag
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
# Read under the names that Vorbis comments have for them; written as TXXX.
MORE_ID3_FIELDS = {
    **{"TEXT": "lyricist", "TPE3": "conductor", "TPE4": "remixer", "TIT1": "grouping"},
    **{"TKEY": "initialkey", "TLAN": "language", "TMOO": "mood", "TENC": "encoded-by"},
    **{"TSSE": "encoder", "TSST": "discsubtitle", "TMED": "media", "TDOR": "originaldate"},
    **{"TSOP": "artistsort", "TSOA": "albumsort", "TSOT": "titlesort", "TCMP": "compilation"},
}
AIFF_FIELDS = {b"NAME": "title", b"AUTH": "artist", b"ANNO": "comment", b"(c) ": "copyright"}
APE_FIELDS = {
    **{"year": "date", "track": "tracknumber", "disc": "discnumber"},
    **{"publisher": "organization"},
}
CAF_FIELDS = {"year": "date", "comments": "comment", "track number": "tracknumber", "tempo": "bpm"}
# Chunks of CAF that describe the old samples or their storage
CAF_STORAGE = {b"desc", b"data", b"pakt", b"kuki", b"free", b"chan", b"peak", b"ovvw", b"edct"}
# Blocks that describe the old stream: STREAMINFO, PADDING, SEEKTABLE.
FLAC_NOT_COPIED = {0, 1, 3}
VORBIS_BLOCK, CUE_BLOCK, PICTURE_BLOCK = 4, 5, 6
# Comments that are no text about the music: pictures are kept as such, masks in the format.
NOT_FIELDS = {"metadata_block_picture", "coverart", "waveformatextensible_channel_mask"}
AU_HEAD_BYTES = 24


@dataclass(frozen=True)
class Picture:
    """An image with its MIME type, ID3's number of what it shows, and a description."""

    mime: str
    kind: int
    description: str
    data: bytes


@dataclass
class FileTags:
    """All that a file says of itself.

    `own` are the names of the fields that the container itself states, as are the first
    `own_pictures`. `id3` is the first ID3v2
    tag as it is.
    """

    fields: Tags = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    id3: bytes = b""
    id3_unread: set[str] = field(default_factory=set)  # frames that only an ID3 tag can hold
    own: frozenset[str] = frozenset()
    own_pictures: int = 0

    def add(self, tags: Tags) -> None:
        """Fields that nobody has stated yet: a fuller tag is asked before a poorer one."""
        for name, values in tags.items():
            if values and any(values):
                self.fields.setdefault(name, values)

    def add_id3(self, raw: bytes) -> Tags:
        """The fields of an ID3v2 tag; what else it holds is taken in."""
        if raw[:3] != b"ID3":
            return {}
        self.id3 = self.id3 or raw
        tag = _tolerant(_parse_id3, raw)
        if tag is None:
            self.unread.add("ID3")
            return {}
        fields, pictures, unread = _frames(tag.values())
        self.id3_unread |= unread | {_name_of(frame) for frame in tag.unknown_frames}
        self.pictures += pictures
        return fields


def read_tags(path: Path) -> FileTags:
    """All tags of a file; damaged ones are named and left out."""
    container = sniff(path)
    found = FileTags()
    _container_tags(path, container, found)
    found.own, found.own_pictures = frozenset(found.fields), len(found.pictures)
    found.add(found.add_id3(_front_id3(path)))
    _add_tail(path, found)
    return found


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


def mutagen_module(name: str) -> Any:  # noqa: ANN401 - half of it is untyped
    """A module of mutagen, loaded when it is needed."""
    return importlib.import_module(f"mutagen.{name}")


def _container_tags(path: Path, container: str, found: FileTags) -> None:
    if container in ("wav", "rf64", "w64", "aiff"):
        _chunk_tags(walk_chunks(path), found)
    elif container == "caf":
        _caf_tags(walk_chunks(path), found)
    elif container == "au":
        _au_tags(path, found)
    elif container == "flac":
        _flac_tags(path, found)
    elif container == "ogg":
        comments = _tolerant(_open_ogg, path)
        if comments is None:
            found.unread.add("Vorbis comments")
        elif comments.tags is not None:
            _vorbis_tags(comments.tags, found)


def _chunk_tags(file: ChunkFile, found: FileTags) -> None:
    tags: Tags = {}
    for part in file.chunks:
        if part.id not in (b"id3 ", b"ID3 ", b"LIST", b"list", *AIFF_FIELDS):
            continue
        if part.size >= MOST_TAG_BYTES:
            found.unread.add(part.id.decode("latin-1").strip())
            continue
        payload = file.read(part)
        if part.id in (b"id3 ", b"ID3 "):
            tags |= found.add_id3(payload)
        elif part.id in AIFF_FIELDS:
            tags.setdefault(AIFF_FIELDS[part.id], []).append(_text(payload))
        elif payload[:4] == b"INFO":
            tags = _info_tags(payload) | tags  # ID3 says it more fully
        else:
            found.unread.add("LIST-" + payload[:4].decode("latin-1").strip())
    found.add(tags)


def _info_tags(payload: bytes) -> Tags:
    tags: Tags = {}
    position = 4
    while position + 8 <= len(payload):
        name, size = struct.unpack_from("<4sI", payload, position)
        text = _text(payload[position + 8 : position + 8 + size])
        key = _key(INFO_FIELDS.get(name.decode("latin-1"), name.decode("latin-1").lower()))
        if key and text:
            tags[key] = [text]
        position += 8 + size + size % 2
    return tags


def _caf_tags(file: ChunkFile, found: FileTags) -> None:
    for part in file.chunks:
        if part.id == b"info" and part.size < MOST_TAG_BYTES:
            texts = file.read(part)[4:].split(b"\0")
            for name, value in zip(texts[::2], texts[1::2], strict=False):
                key = _text(name).lower()
                found.add({_key(CAF_FIELDS.get(key, key)): [_text(value)]})
        elif part.id not in CAF_STORAGE:
            found.unread.add(part.id.decode("latin-1").strip())


def _au_tags(path: Path, found: FileTags) -> None:
    with path.open("rb") as file:
        offset = int.from_bytes(FileBytes(file)[4:8], "big")
        text = _text(FileBytes(file)[AU_HEAD_BYTES : min(offset, MOST_TAG_BYTES)])
    found.add({"comment": [text]})


def _flac_tags(path: Path, found: FileTags) -> None:
    comments = _tolerant(_open_flac, path)
    if comments is None:
        found.unread.add("Vorbis comments")
        return
    if comments.tags is not None:
        _vorbis_tags(comments.tags, found)
    found.pictures += [_picture(picture) for picture in comments.pictures]
    for name, payload in flac_blocks(path):
        if name[0] == CUE_BLOCK:
            found.unread.add("cuesheet")
        elif name[0] not in (VORBIS_BLOCK, PICTURE_BLOCK):
            known = payload[:4].decode("latin-1") if name[0] == 2 else str(name[0])
            found.unread.add(f"application {known}".strip())


def _vorbis_tags(comments: Any, found: FileTags) -> None:  # noqa: ANN401
    for name, value in comments:
        key = name.lower()
        if key not in NOT_FIELDS:
            found.fields.setdefault(key, []).append(value)
        elif key == "metadata_block_picture":
            picture = _tolerant(_decoded_picture, value)
            if picture is None:
                found.unread.add("picture")
            else:
                found.pictures.append(picture)
        elif key == "coverart":
            found.unread.add("picture")


def _front_id3(path: Path) -> bytes:
    """The ID3v2 tag at the start of a file, as it is."""
    with path.open("rb") as file:
        head = file.read(10)
        return head + file.read(id3v2_bytes(head) - 10) if head[:3] == b"ID3" else b""


def _frames(frames: Iterable[Any]) -> tuple[Tags, list[Picture], set[str]]:
    tags: Tags = {}
    pictures: list[Picture] = []
    unread: set[str] = set()
    for frame in frames:
        name = frame.FrameID
        texts = [str(text) for text in _texts(frame)]
        if name == "APIC":
            pictures.append(Picture(frame.mime, int(frame.type), frame.desc, frame.data))
        elif not texts:
            unread.add(name)
        else:
            values = tags.setdefault(_id3_key(frame), [])
            values += [text for text in texts if text not in values]
    return tags, pictures, unread


def _texts(frame: Any) -> list[Any]:  # noqa: ANN401
    """The texts of a frame that is text and nothing else."""
    name = frame.FrameID
    if name == "USLT":
        return [frame.text]
    if name.startswith("W"):
        return [frame.url]
    return list(frame.text) if name.startswith("T") or name == "COMM" else []


def _id3_key(frame: Any) -> str:  # noqa: ANN401
    name = frame.FrameID
    if name == "TXXX":
        return _key(frame.desc.lower())
    if name == "COMM":
        return _key(f"comment_{frame.desc.lower()}") if frame.desc else "comment"
    known = {"USLT": "lyrics", "WXXX": "url"} | ID3_FIELDS | MORE_ID3_FIELDS
    return str(known.get(name, name.lower()))


def _add_tail(path: Path, found: FileTags) -> None:
    """What stands behind the audio: APE says more than ID3v1, which cuts at 30 letters."""
    with path.open("rb") as file:
        data = FileBytes(file)
        last = data[data.stop - ID3V1_BYTES : data.stop]
    ape = _tolerant(_open_ape, path)
    for key, value in ape.items() if ape is not None else ():
        name = key.lower()
        if value.kind == 0:
            found.add({_key(APE_FIELDS.get(name, name)): list(value)})
        elif value.kind == 1 and name.startswith("cover art"):
            label, _, image = value.value.partition(b"\0")
            mime = "image/png" if image[:4] == b"\x89PNG" else "image/jpeg"
            found.pictures.append(Picture(mime, 3, _text(label), image))
        else:
            found.unread.add(f"APE {key}")
    if last[:3] == b"TAG":
        frames = mutagen_module("id3").ParseID3v1(last) or {}
        found.add(_frames(frames.values())[0])


def _text(raw: bytes) -> str:
    raw = raw.split(b"\0")[0]
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip()


def _key(name: str) -> str:
    """The name as a Vorbis field may be called: printable ASCII without the equals sign."""
    return re.sub(r"[^ -<>-}]", "_", name).strip()


def _name_of(raw_frame: bytes) -> str:
    return raw_frame[:4].decode("latin-1").strip("\0 ")


def _picture(picture: Any) -> Picture:  # noqa: ANN401
    return Picture(picture.mime, int(picture.type), picture.desc, picture.data)


def _decoded_picture(text: str) -> Picture:
    return _picture(mutagen_module("flac").Picture(base64.b64decode(text)))


def _parse_id3(raw: bytes) -> Any:  # noqa: ANN401
    return mutagen_module("id3").ID3(io.BytesIO(raw))


def _open_flac(path: Path) -> Any:  # noqa: ANN401
    return mutagen_module("flac").FLAC(path)


def _open_ogg(path: Path) -> Any:  # noqa: ANN401
    return mutagen_module("_file").File(path)


def _open_ape(path: Path) -> Any:  # noqa: ANN401
    return mutagen_module("apev2").APEv2(path)


def _tolerant(read: Callable[[Any], Any], what: Path | bytes | str) -> Any:  # noqa: ANN401
    """Tags are a gift: damaged ones must not keep sound audio from being separated."""
    from mutagen import MutagenError

    try:
        return read(what)
    except (MutagenError, ValueError, IndexError, KeyError, OverflowError, struct.error):
        return None
