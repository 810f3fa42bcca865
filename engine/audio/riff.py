"""Walks the chunks of RIFF, RF64, W64, AIFF and CAF files and trusts no size in them.

A walk tells what it found and judges nothing: which chunk reaches beyond the end, which size was
never filled in, and where bytes begin that no chunk counts. `chunked.py` judges.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from .faults import FaultyFileError, damaged
from .file_bytes import FileBytes, left_over_at, trailing_tags_start

UNKNOWN_SIZE = 0xFFFFFFFF  # what a recorder or a pipe leaves in a header that it cannot go back to
WRAPPED_BYTES = 4_000_000_000  # so much behind the end of a RIFF: its 32-bit size has wrapped
MOST_CHUNKS = 10_000
AUDIO_CHUNKS = (b"data", b"SSND")
# Another file, or its audio: never metadata that a writer forgot to count.
_FILES = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"riff", b"caff", b"fLaC", b"OggS")


@dataclass(frozen=True)
class Chunk:
    """One chunk: its four-letter id and where its payload lies."""

    id: bytes
    offset: int
    size: int


@dataclass(frozen=True)
class ChunkFile:
    """A walked container; `container` is wav, rf64, w64, aiff or caf.

    `length` is the file's without tags behind it. `loose_at` is where bytes begin that belong to
    no chunk and are no padding; `open_size` says which size was never filled in.
    """

    path: Path
    container: str
    chunks: tuple[Chunk, ...]
    length: int
    loose_at: int | None = None
    open_size: str | None = None

    def find(self, name: bytes) -> Chunk | None:
        """The first chunk of that id."""
        return next((chunk for chunk in self.chunks if chunk.id == name), None)

    def read(self, chunk: Chunk) -> bytes:
        """The payload of a chunk."""
        with self.path.open("rb") as file:
            file.seek(chunk.offset)
            return file.read(min(chunk.size, self.length))


def walk_chunks(path: Path) -> ChunkFile:
    """All chunks of a file that `sniff` found to be chunked."""
    with path.open("rb") as file:
        data = FileBytes(file)
        head = data[0:16]
        if head[:4] in (b"RIFF", b"RF64", b"BW64"):
            walk = _riff(path, data, "wav" if head[:4] == b"RIFF" else "rf64")
        elif head[:4] == b"FORM":
            walk = _aiff(path, data)
        elif head[:4] == b"caff":
            walk = _caf(path, data)
        else:
            walk = _w64(path, data)
        walk.run()
    found = (tuple(walk.chunks), walk.length, walk.loose_at, walk.open_size)
    return ChunkFile(path, walk.container, *found)


@dataclass
class _Walk:
    """One walk from `position` to `end`; `layout` packs an id and a size."""

    path: Path
    data: FileBytes
    container: str
    position: int
    end: int
    layout: str = "<4sI"
    size_counts_head: bool = False
    align: int = 2
    long_data: int | None = None
    chunks: list[Chunk] = field(default_factory=list)
    loose_at: int | None = None
    open_size: str | None = None

    def __post_init__(self) -> None:
        self.length = self.data.stop

    def run(self) -> None:
        """Walk to the end that the header counts, then look at what lies behind it."""
        self.end = min(self.end, self.data.stop)
        odd = False
        while self.position + self.head_bytes <= self.end:
            if len(self.chunks) > MOST_CHUNKS:
                raise damaged(self.path, f"more than {MOST_CHUNKS} chunks")
            chunk = self._chunk(self.position)
            if chunk is None and odd:  # its writer forgot the pad byte
                self.position, odd = self.position - 1, False
                continue
            if chunk is None:
                break
            self.chunks.append(chunk)
            if chunk.id in AUDIO_CHUNKS and self._is_open(chunk):
                return
            self.position = self._behind(chunk)
            odd = bool(chunk.size % self.align) and self.align == 2
        unpadded = self.chunks[-1].offset + self.chunks[-1].size if self.chunks else 0
        if left_over_at(self.data, unpadded) == self.data.stop and self.position > unpadded:
            self.position = unpadded  # its writer forgot the padding here as well
        if self.position < self.data.stop:
            self._look_behind()

    @property
    def head_bytes(self) -> int:
        return struct.calcsize(self.layout)

    def _chunk(self, position: int) -> Chunk | None:
        head = self.data[position : position + self.head_bytes]
        if len(head) < self.head_bytes:
            return None
        name, size = struct.unpack(self.layout, head)
        if self.long_data is not None and name == b"data" and size == UNKNOWN_SIZE:
            size = self.long_data
        if self.size_counts_head and size != (1 << 64) - 1:
            size -= self.head_bytes
        known = (
            _is_name(name[:4])
            and name[:4] not in _FILES
            and (size >= 0 or name[:4] in AUDIO_CHUNKS)
        )
        return Chunk(name[:4], position + self.head_bytes, size) if known else None

    def _behind(self, chunk: Chunk) -> int:
        return chunk.offset + -(-chunk.size // self.align) * self.align

    def _is_open(self, chunk: Chunk) -> bool:
        """True for the size of audio that a recorder leaves until it ends."""
        least = 8 if chunk.id == b"SSND" else 4 if self.container == "caf" else 0
        there = self.data.stop - chunk.offset
        unknown = chunk.size < 0 or chunk.size >= 1 << 62
        if self.container in ("wav", "aiff"):
            unknown = unknown or chunk.size == UNKNOWN_SIZE
        if unknown or (chunk.size <= least and there >= least + 8 and self._is_last(chunk)):
            name = chunk.id.decode("latin-1")
            shown = "-1" if unknown else str(chunk.size)
            self.open_size = self.open_size or f"the size of the {name} chunk was left at {shown}"
        return self.open_size is not None

    def _is_last(self, chunk: Chunk) -> bool:
        """No chunk begins behind a chunk that is said to be empty."""
        return self._chunk(self._behind(chunk)) is None

    def _look_behind(self) -> None:
        """Metadata that the header forgot to count is welcome; other bytes are loose."""
        behind = left_over_at(self.data, self.position)
        if behind == self.data.stop:
            self.length = trailing_tags_start(self.data, min(self.position, self.data.stop))
            return
        stop = trailing_tags_start(self.data, self.position)
        position = self.position
        forgotten: list[Chunk] = []
        while position + self.head_bytes <= stop and len(forgotten) < MOST_CHUNKS:
            chunk = self._chunk(position)
            if chunk is None or chunk.id in AUDIO_CHUNKS:
                break
            forgotten.append(chunk)
            position = self._behind(chunk)
        self.length = stop
        if forgotten and stop - 1 <= position <= stop + self.align:
            self.chunks += forgotten
        else:
            self.loose_at = behind


def _riff(path: Path, data: FileBytes, container: str) -> _Walk:
    size = struct.unpack("<I", data[4:8].ljust(4, b"\0"))[0]
    walk = _Walk(path, data, container, 12, 8 + size)
    if container == "rf64":
        size, walk.long_data = _ds64(path, data)
        walk.end = 8 + size
        if size == 0 or size >= 1 << 62:
            walk.open_size = "the ds64 sizes were never filled in"
    elif size in (0, UNKNOWN_SIZE):
        walk.open_size = f"the RIFF size was left at 0x{size:X}"
    elif data.stop - 8 - size >= WRAPPED_BYTES:
        raise FaultyFileError(
            path,
            "mix-wrapped",
            f"the file has {data.stop} bytes but its 32-bit header counts {size}",
            "Export it as RF64 or W64.",
        )
    if walk.open_size:
        walk.end = data.stop
    return walk


def _ds64(path: Path, data: FileBytes) -> tuple[int, int]:
    """RIFF and data size of an RF64 file from its ds64 chunk, which must come first."""
    head = data[12:44]
    if head[:4] != b"ds64" or len(head) < 32:
        raise damaged(path, "an RF64 file without a ds64 chunk at its start")
    size, audio, _frames = struct.unpack("<QQQ", head[8:32])
    return size, audio


def _aiff(path: Path, data: FileBytes) -> _Walk:
    size = struct.unpack(">I", data[4:8].ljust(4, b"\0"))[0]
    walk = _Walk(path, data, "aiff", 12, 8 + size, ">4sI")
    if size in (0, UNKNOWN_SIZE):
        walk.open_size, walk.end = f"the FORM size was left at 0x{size:X}", data.stop
    return walk


def _w64(path: Path, data: FileBytes) -> _Walk:
    size = struct.unpack("<Q", data[16:24].ljust(8, b"\0"))[0]
    walk = _Walk(path, data, "w64", 40, size, "<16sQ", size_counts_head=True, align=8)
    if size == 0 or size >= 1 << 62:
        walk.open_size, walk.end = "the W64 size was never filled in", data.stop
    return walk


def _caf(path: Path, data: FileBytes) -> _Walk:
    return _Walk(path, data, "caf", 8, trailing_tags_start(data, 8), ">4sq", align=1)


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= letter < 127 or letter == 0xA9 for letter in name)
