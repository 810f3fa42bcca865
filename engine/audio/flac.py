"""Walks the frames of a FLAC file: whether as many samples are there as its header counts.

A frame does not say how long it is, so a walk looks for headers whose own checksum holds and
whose number is the next one. The last frame must end in its checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .faults import FaultyFileError, damaged, left_over, truncated, unfinished, unsupported
from .file_bytes import (
    MOST_PADDING_BYTES,
    PIECE_BYTES,
    FileBytes,
    leading_tags_end,
    left_over_at,
    trailing_tags_start,
)
from .inspection import Inspection, Link

READABLE_BITS = (8, 16, 24)  # what libsndfile decodes
DECODE_32 = "flac -d IN -o OUT.wav (1.4 or later)"
STREAMINFO_BYTES = 34
LONGEST_HEADER_BYTES = 16
QUICK_BYTES = 4 * PIECE_BYTES  # at the end of the file, which hold at least one whole frame
_BLOCK_SIZES = {1: 192, **{n: 144 << n for n in range(2, 6)}, **{n: 1 << n for n in range(8, 16)}}
_CODED_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}


def _crc_table(polynomial: int, bits: int) -> list[int]:
    table, top, mask = [], 1 << bits - 1, (1 << bits) - 1
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return table


_CRC8, _CRC16 = _crc_table(0x07, 8), _crc_table(0x8005, 16)


@dataclass(frozen=True)
class StreamInfo:
    """The STREAMINFO block and where the first frame begins."""

    smallest_block: int
    largest_block: int
    sample_rate: int
    channels: int
    bits: int
    frames: int
    md5: bytes
    audio_at: int


@dataclass(frozen=True)
class _Frame:
    at: int
    first: int  # number of its first sample
    count: int


def inspect_flac(path: Path, *, quick: bool = False) -> Inspection:
    """Count the samples of all frames. `quick` looks at the end of the file alone."""
    with path.open("rb") as file:
        data = FileBytes(file)
        start = leading_tags_end(data)
        info = read_stream_info(path, data, start)
        if info.bits not in READABLE_BITS:
            raise unsupported(
                path,
                f"FLAC of {info.bits} bits, expected one of {', '.join(map(str, READABLE_BITS))}",
                "Convert it: "
                + ("ffmpeg -i IN -c:a pcm_s32le OUT.wav" if info.bits < 32 else DECODE_32),
            )
        if info.frames == 0:
            raise unfinished(
                path,
                "the FLAC header does not state a length",
                "decode and encode it again: ffmpeg -i IN OUT.flac",
            )
        stop = trailing_tags_start(data, info.audio_at)
        _check_frames(path, data, info, stop, quick)
        links = () if stop == data.stop else (Link(ranges=((start, stop),)),)
    md5 = info.md5 if any(info.md5) else None
    return Inspection("flac", info.frames, md5=md5, links=links)


def read_stream_info(path: Path, data: FileBytes, start: int) -> StreamInfo:
    """The first block, which every FLAC file must have; then on to the first frame."""
    head = data[start : start + 8 + STREAMINFO_BYTES]
    if len(head) < 8 + STREAMINFO_BYTES or head[4] & 0x7F != 0:
        raise damaged(path, "no STREAMINFO at the start of the FLAC file")
    smallest, largest = struct.unpack_from(">HH", head, 8)
    fields = int.from_bytes(head[18:26], "big")
    position, last = start + 4, False
    while not last:
        block = data[position : position + 4]
        if len(block) < 4:
            raise truncated(path, position + 4, data.stop, "bytes of metadata")
        last = bool(block[0] & 0x80)
        position += 4 + int.from_bytes(block[1:], "big")
    return StreamInfo(
        smallest,
        largest,
        fields >> 44,
        (fields >> 41 & 7) + 1,
        (fields >> 36 & 31) + 1,
        fields & 0xFFFFFFFFF,
        head[26:42],
        position,
    )


def _check_frames(path: Path, data: FileBytes, info: StreamInfo, stop: int, quick: bool) -> None:
    begin = max(info.audio_at, stop - QUICK_BYTES) if quick else info.audio_at
    last = _last_frame(_frames(data, info, begin, stop), anywhere=begin > info.audio_at)
    expected = last.first + last.count if last else 0
    counted, there = _shown(info.frames, info, " frames"), _shown(expected, info)
    if last is None or expected < info.frames:
        raise truncated(path, counted, there, "")
    if expected > info.frames:
        advice = "Decode and encode it again: ffmpeg -i IN OUT.flac"
        raise left_over(path, counted, there, "", advice)
    _look_behind(path, data, info, last, stop)


def _last_frame(frames: Iterator[_Frame], *, anywhere: bool) -> _Frame | None:
    """The end of the longest chain of frames that follow each other.

    It begins at the first sample, or anywhere: what only looks like a frame has no follower.
    """
    chains: dict[int, tuple[int, _Frame]] = {}
    best: tuple[int, _Frame] | None = None
    for frame in frames:
        before = chains.pop(frame.first, None)
        if before is None and not anywhere and (frame.first or best):
            continue
        chain = (before[0] + 1 if before else 1, frame)
        chains[frame.first + frame.count] = chain
        if best is None or chain[0] >= best[0]:
            best = chain
    return best[1] if best else None


def _look_behind(path: Path, data: FileBytes, info: StreamInfo, last: _Frame, stop: int) -> None:
    """The last frame must be whole, and nothing but padding may follow it."""
    another = data.find(b"fLaC", last.at, stop)
    stop_here = stop if another < 0 else another
    longest = 64 + info.channels * (4 + (last.count * (info.bits + 1) + 7) // 8)
    raw = data[last.at : min(stop_here, last.at + longest + MOST_PADDING_BYTES)]
    end = _frame_end(raw)
    if end is None:
        what = "the last FLAC frame does not match its checksum: it is cut or damaged"
        raise FaultyFileError(path, "mix-truncated", what, "Copy the file again.")
    if another < 0 and left_over_at(data, last.at + end) == data.stop:
        return
    advice = "Export it anew, or keep what the header counts: ffmpeg -i IN OUT.flac"
    if another >= 0:
        advice = (
            f"Another file begins at byte {another}. Part them: "
            f"ffmpeg -skip_initial_bytes {another} -i IN REST.flac takes out the second."
        )
    raise left_over(path, last.at + end, stop, "bytes of FLAC", advice)


def _frame_end(raw: bytes) -> int | None:
    """Where the frame at the start ends: behind the checksum that makes it come out as zero.

    The checksum of what was right stays zero over zeros, so padding is found as well. In a frame
    one place in 65536 looks like its end by chance; the last that may be it is taken.
    """
    value, end = 0, None
    for at, byte in enumerate(raw, start=1):
        value = (value << 8 & 0xFFFF) ^ _CRC16[value >> 8 ^ byte]
        if value == 0 and at > 8 and (end is None or raw[at - 1]):
            end = at
    return end


def _frames(data: FileBytes, info: StreamInfo, begin: int, stop: int) -> Iterator[_Frame]:
    """All places that look like the header of a frame, in order."""
    position = begin
    while position < stop:
        piece = data[position : min(position + PIECE_BYTES + LONGEST_HEADER_BYTES, stop)]
        if len(piece) < 2:
            return
        raw = np.frombuffer(piece, np.uint8)
        sync = (raw[:-1] == 0xFF) & (raw[1:] & 0xFE == 0xF8)
        for at in map(int, np.flatnonzero(sync[:PIECE_BYTES])):
            frame = _header(piece[at : at + LONGEST_HEADER_BYTES], position + at, info)
            if frame:
                yield frame
        position += PIECE_BYTES


def _header(raw: bytes, at: int, info: StreamInfo) -> _Frame | None:
    """The frame header that these bytes are, None when they are not one of this stream."""
    if len(raw) < 6 or raw[3] & 1 or raw[2] & 0x0F == 0x0F:
        return None
    size_code, bits_code = raw[2] >> 4, raw[3] >> 1 & 7
    if bits_code and _CODED_BITS.get(bits_code) != info.bits:
        return None
    number, place = _coded_number(raw)
    if place == 0 or size_code == 0:
        return None
    count = _BLOCK_SIZES.get(size_code, 0)
    if size_code in (6, 7):
        width = size_code - 5
        count = int.from_bytes(raw[place : place + width], "big") + 1
        place += width
    place += {12: 1, 13: 2, 14: 2}.get(raw[2] & 0x0F, 0)
    if place >= len(raw):
        return None
    check = 0
    for byte in raw[:place]:
        check = _CRC8[check ^ byte]
    if check != raw[place]:
        return None
    by_sample = bool(raw[1] & 1)
    return _Frame(at, number if by_sample else number * info.smallest_block, count)


def _coded_number(raw: bytes) -> tuple[int, int]:
    """The UTF-8-like number from the fifth byte on, and where it ends; (0, 0) for none."""
    first = raw[4]
    if first < 0x80:
        return first, 5
    length = 8 - (~first & 0xFF).bit_length() if first != 0xFF else 8
    tail = raw[5 : 4 + length]
    if not 2 <= length <= 7 or len(tail) < length - 1:
        return 0, 0
    number = first & (0x7F >> length)
    for byte in tail:
        if byte & 0xC0 != 0x80:
            return 0, 0
        number = number << 6 | byte & 0x3F
    return number, 4 + length


def _shown(frames: int, info: StreamInfo, unit: str = "") -> str:
    time = f" ({frames / info.sample_rate:.3f} s)" if info.sample_rate else ""
    return f"{frames}{unit}{time}"
