"""Walks the pages of an Ogg file: none missing, none damaged, every stream ended.

Streams that follow each other (RFC 3533 calls them chained) are links; streams side by side are
refused.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from .faults import FaultyFileError, damaged, left_over, truncated, unsupported
from .file_bytes import FileBytes, left_over_at
from .inspection import Inspection, Link

HEAD_BYTES, CRC_AT = 27, 22
CONTINUED, FIRST, LAST = 1, 2, 4  # flags of a page
SEARCH_BYTES = 1 << 16
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# What else comes in Ogg, by the first bytes of its first packet
FOREIGN = {
    b"\x7fFLAC": "Ogg FLAC",
    b"fLaC": "Ogg FLAC",
    b"Speex   ": "Ogg Speex",
    b"\x80theora": "Ogg Theora video",
    b"fishead\0": "Ogg Skeleton",
    b"PCM     ": "Ogg PCM",
}


@dataclass(frozen=True)
class Page:
    """One page: where it lies, and what its head says."""

    start: int
    stop: int
    flags: int
    serial: bytes
    number: int
    body_at: int


@dataclass
class _Stream:
    layout: str
    serial: bytes
    start: int
    stop: int = 0
    next_number: int = 0
    ended: bool = False
    pages: int = field(default=0)


def inspect_ogg(path: Path, *, quick: bool = False) -> Inspection:
    """Walk all pages. `quick` leaves their checksums alone, so that only heads are read."""
    with path.open("rb") as file:
        data = FileBytes(file)
        streams = _streams(path, data, quick)
        _refuse_other_layouts(path, streams)
        whole = len(streams) == 1 and streams[0].stop == data.stop
    links = tuple(Link(ranges=((stream.start, stream.stop),)) for stream in streams)
    return Inspection("ogg", links=() if whole else links)


def _streams(path: Path, data: FileBytes, quick: bool) -> list[_Stream]:
    streams: list[_Stream] = []
    position = 0
    while position < data.stop:
        page = _page(path, data, position)
        if page is None:
            _look_behind(path, data, position, streams)
            break
        if not quick:
            _refuse_wrong_checksum(path, data, page)
        if page.flags & FIRST:
            _refuse_unended(path, streams, page)
            streams.append(_Stream(_layout(path, data, page), page.serial, page.start))
        _add(path, streams, page)
        position = page.stop
    if not streams or not streams[-1].ended:
        raise _unended(path)
    return streams


def _page(path: Path, data: FileBytes, position: int) -> Page | None:
    head = data[position : position + HEAD_BYTES]
    if head[:4] != b"OggS"[: len(head)]:
        return None
    if len(head) < HEAD_BYTES:
        raise truncated(path, position + HEAD_BYTES, data.stop, "bytes of Ogg pages")
    body_at = position + HEAD_BYTES + head[26]
    table = data[position + HEAD_BYTES : body_at]
    stop = body_at + sum(table)
    if len(table) < head[26] or stop > data.stop:
        raise truncated(path, stop, data.stop, "bytes of Ogg pages")
    number = struct.unpack_from("<I", head, 18)[0]
    return Page(position, stop, head[5], head[14:18], number, body_at)


def _add(path: Path, streams: list[_Stream], page: Page) -> None:
    stream = streams[-1] if streams else None
    if stream is None or stream.serial != page.serial or stream.ended:
        raise damaged(path, f"an Ogg page at byte {page.start} belongs to no stream")
    if page.number != stream.next_number and stream.pages:
        raise damaged(
            path,
            f"Ogg page {stream.next_number} should begin at byte {page.start}, found page "
            f"{page.number}",
        )
    stream.next_number = page.number + 1 & 0xFFFFFFFF
    stream.stop, stream.ended = page.stop, bool(page.flags & LAST)
    stream.pages += 1


def _look_behind(path: Path, data: FileBytes, position: int, streams: list[_Stream]) -> None:
    """Tags and padding may follow the last page; a page behind other bytes is a gap."""
    if left_over_at(data, position) == data.stop:
        return
    if data.find(b"OggS", position, data.stop) >= 0:
        raise damaged(path, f"no Ogg page begins at byte {position} where one must")
    if streams and not streams[-1].ended:
        raise _unended(path)
    advice = "Export it anew, or keep what the pages hold: ffmpeg -i IN -c copy OUT.ogg"
    raise left_over(path, position, data.stop, "bytes in Ogg pages", advice)


def _refuse_wrong_checksum(path: Path, data: FileBytes, page: Page) -> None:
    raw = bytearray(data[page.start : page.stop])
    stated = struct.unpack_from("<I", raw, CRC_AT)[0]
    raw[CRC_AT : CRC_AT + 4] = bytes(4)
    if checksum(bytes(raw)) != stated:
        raise damaged(path, f"the Ogg page at byte {page.start} does not match its checksum")


def checksum(raw: bytes) -> int:
    """RFC 3533's CRC-32: zlib's polynomial, but bits the other way round and no inversions."""
    mirrored = zlib.crc32(raw.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _layout(path: Path, data: FileBytes, page: Page) -> str:
    packet = data[page.body_at : page.stop]
    for head, name in FOREIGN.items():
        if packet.startswith(head):
            out = "OUT.flac" if "FLAC" in name else "-vn -c:a pcm_s24le OUT.wav"
            what = f"{name}, which the decoder does not read"
            raise unsupported(path, what, f"Convert it: ffmpeg -i IN {out}")
    if packet[:7] == b"\x01vorbis" and len(packet) >= 16:
        return f"Vorbis of {struct.unpack_from('<I', packet, 12)[0]} Hz, {packet[11]} channels"
    if packet[:8] == b"OpusHead" and len(packet) >= 16:
        return f"Opus of {struct.unpack_from('<I', packet, 12)[0]} Hz, {packet[9]} channels"
    advice = "Convert it: ffmpeg -i IN -c:a pcm_s24le OUT.wav"
    raise unsupported(path, "an Ogg stream of an unknown kind", advice)


def _refuse_unended(path: Path, streams: list[_Stream], page: Page) -> None:
    """A stream that begins before the one before it has ended stands beside it."""
    if streams and not streams[-1].ended:
        raise unsupported(
            path,
            f"a second stream begins at byte {page.start} before the first has ended; expected "
            "one stream at a time",
            "Take the first one out: ffmpeg -i IN -map 0:a:0 -c copy OUT.ogg",
        )


def _refuse_other_layouts(path: Path, streams: list[_Stream]) -> None:
    first = streams[0]
    for stream in streams[1:]:
        if stream.layout != first.layout:
            raise unsupported(
                path,
                f"{first.layout}, then {stream.layout} from byte {stream.start} on; expected one "
                "layout",
                f"Part them: ffmpeg -skip_initial_bytes {stream.start} -i IN -c copy REST.ogg "
                "takes out the rest.",
            )


def _unended(path: Path) -> FaultyFileError:
    return FaultyFileError(
        path,
        "mix-truncated",
        "the Ogg stream has no last page: it was cut between two pages, or its recorder was "
        "stopped",
        "Copy the file again; if this is all there is, ffmpeg -i IN -c copy OUT.ogg closes it.",
    )
