"""Walks the chunks of RIFF, RF64, W64 and AIFF files and trusts no size in them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from presets import StemwrightError

UNKNOWN_SIZE = 0xFFFFFFFF  # what a recorder or a pipe leaves in a header that it cannot go back to
WRAPPED_BYTES = 4_000_000_000  # so much behind the end of a RIFF: its 32-bit size has wrapped
MOST_CHUNKS = 10_000


@dataclass(frozen=True)
class Chunk:
    """One chunk: its four-letter id and where its payload lies."""

    id: bytes
    offset: int
    size: int


@dataclass(frozen=True)
class ChunkFile:
    """A walked container; `container` is wav, rf64, w64 or aiff."""

    path: Path
    container: str
    chunks: tuple[Chunk, ...]

    def find(self, name: bytes) -> Chunk | None:
        """The first chunk of that id."""
        return next((chunk for chunk in self.chunks if chunk.id == name), None)

    def read(self, chunk: Chunk) -> bytes:
        """The payload of a chunk."""
        with self.path.open("rb") as file:
            file.seek(chunk.offset)
            return file.read(chunk.size)


def walk_chunks(path: Path) -> ChunkFile:
    """All chunks of a file that `sniff` found to be chunked.

    Refuses unfinished, truncated and tangled ones.
    """
    with path.open("rb") as file:
        head = file.read(16)
        length = os.fstat(file.fileno()).st_size
        if head[:4] in (b"RIFF", b"RF64", b"BW64"):
            container = "wav" if head[:4] == b"RIFF" else "rf64"
            chunks = tuple(_riff_chunks(path, file, length, container))
        elif head[:4] == b"FORM":
            container, chunks = "aiff", tuple(_aiff_chunks(path, file, length))
        else:
            container, chunks = "w64", tuple(_w64_chunks(path, file, length))
    return ChunkFile(path, container, chunks)


def damaged(path: Path, what: str) -> StemwrightError:
    """The error for a file whose structure contradicts itself."""
    return StemwrightError(
        "mix-damaged", f"{path.name}: {what}. Copy the file again or export it anew."
    )


def truncated(
    path: Path, promised: int, there: int, unit: str = "bytes of audio"
) -> StemwrightError:
    """The error for a file that ends before its header said it would."""
    return StemwrightError(
        "mix-truncated",
        f"{path.name}: the header promises {promised} {unit}, {max(there, 0)} are there. "
        "Copy the file again.",
    )


def unfinished(path: Path, what: str) -> StemwrightError:
    """The error for a header that its writer never completed."""
    return StemwrightError(
        "mix-unfinished",
        f"{path.name}: {what}, so nothing says whether all audio is there (a recorder or a pipe "
        "was still writing). Let it finish, or rewrite the file: ffmpeg -i IN -c copy OUT.",
    )


def _riff_chunks(path: Path, file: BinaryIO, length: int, container: str) -> Iterator[Chunk]:
    file.seek(4)
    size = struct.unpack("<I", file.read(4))[0]
    long_data: int | None = None
    if container == "rf64":
        size, long_data = _ds64(path, file)
    elif size in (0, UNKNOWN_SIZE):
        raise unfinished(path, f"the RIFF size was left at 0x{size:X}")
    if length - 8 - size >= WRAPPED_BYTES:
        raise StemwrightError(
            "mix-wrapped",
            f"{path.name}: the file has {length} bytes but its 32-bit header counts {size}. "
            "Export it as RF64 or W64.",
        )
    end = min(length, 8 + size)
    for chunk in _walk(path, file, 12, end, "<", long_data):
        if chunk.id == b"data" and container == "wav":
            _refuse_open_data(path, chunk, length)
        _refuse_beyond(path, chunk, length)
        yield chunk


def _ds64(path: Path, file: BinaryIO) -> tuple[int, int]:
    """RIFF and data size of an RF64 file from its ds64 chunk, which must come first."""
    file.seek(12)
    head = file.read(8)
    body = file.read(24)
    if head[:4] != b"ds64" or len(body) < 24:
        raise damaged(path, "an RF64 file without a ds64 chunk at its start")
    size, data, _frames = struct.unpack("<QQQ", body)
    if size == 0 or size >= 1 << 63:
        raise unfinished(path, "the ds64 sizes were never filled in")
    return size, data


def _refuse_open_data(path: Path, chunk: Chunk, length: int) -> None:
    if chunk.size == UNKNOWN_SIZE or (chunk.size == 0 and length - chunk.offset >= 8):
        raise unfinished(path, f"the data size was left at 0x{chunk.size:X}")


def _refuse_beyond(path: Path, chunk: Chunk, length: int) -> None:
    there = length - chunk.offset
    if chunk.size <= there:
        return
    if chunk.id in (b"data", b"SSND"):
        raise truncated(path, chunk.size, there)
    name = chunk.id.decode("latin-1")
    raise truncated(path, chunk.size, there, f"bytes in its {name!r} chunk")


def _walk(
    path: Path, file: BinaryIO, start: int, end: int, order: str, long_data: int | None = None
) -> Iterator[Chunk]:
    position, odd = start, False
    for _ in range(MOST_CHUNKS):
        if position + 8 > end:
            return
        file.seek(position)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if not _is_name(name):
            if not odd:
                raise damaged(path, f"no chunk begins at byte {position} where one must")
            position, odd = position - 1, False  # its writer forgot the pad byte
            continue
        if name == b"data" and long_data is not None and size == UNKNOWN_SIZE:
            size = long_data
        yield Chunk(name, position + 8, size)
        odd = bool(size % 2)
        position += 8 + size + size % 2
    raise damaged(path, f"more than {MOST_CHUNKS} chunks")


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= letter < 127 or letter == 0xA9 for letter in name)


def _aiff_chunks(path: Path, file: BinaryIO, length: int) -> Iterator[Chunk]:
    file.seek(4)
    size = struct.unpack(">I", file.read(4))[0]
    if size in (0, UNKNOWN_SIZE):
        raise unfinished(path, f"the FORM size was left at 0x{size:X}")
    for chunk in _walk(path, file, 12, min(length, 8 + size), ">"):
        if chunk.id == b"SSND" and chunk.size <= 8 and length - chunk.offset >= 16:
            raise unfinished(path, "the SSND chunk has no size")
        _refuse_beyond(path, chunk, length)
        yield chunk


def _w64_chunks(path: Path, file: BinaryIO, length: int) -> Iterator[Chunk]:
    file.seek(16)
    size = struct.unpack("<Q", file.read(8))[0]
    if size == 0 or size >= 1 << 63:
        raise unfinished(path, "the W64 size was never filled in")
    position = 40
    for _ in range(MOST_CHUNKS):
        if position + 24 > min(length, size):
            return
        file.seek(position)
        name, size_here = struct.unpack("<16sQ", file.read(24))
        if size_here < 24 or not _is_name(name[:4]):
            raise damaged(path, f"no chunk begins at byte {position} where one must")
        chunk = Chunk(name[:4], position + 24, size_here - 24)
        _refuse_beyond(path, chunk, length)
        yield chunk
        position += (size_here + 7) // 8 * 8
    raise damaged(path, f"more than {MOST_CHUNKS} chunks")
