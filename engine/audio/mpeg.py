"""Walks the frames of an MP3 file to prove that none is missing or cut."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .riff import damaged, truncated

RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
# kbit/s by (MPEG-1?, layer); index 0 is "free format", 15 is forbidden
BITRATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SEARCH_BYTES = 65536  # of zeros that encoders put between a tag and the first frame


@dataclass(frozen=True)
class Mp3Frames:
    """Where the frames begin, how many there are, and whether a header of the file says so."""

    start: int
    frames: int
    stated: bool
    first_header: bytes


def check_mp3(path: Path) -> Mp3Frames:
    """Refuse an MP3 file whose last frame is cut or whose Xing header counts more frames."""
    with path.open("rb") as file:
        data = _FileBytes(file)
        start = _first_frame(path, data)
        header = data[start : start + 4]
        promised = _xing_frames(data, start)
        frames, position = 0, start
        while position + 4 <= len(data):
            length = frame_bytes(data[position : position + 4])
            if length == 0:
                _refuse_gap(path, data, position)
                break
            if position + length > len(data):
                raise truncated(path, position + length, len(data), "bytes of MP3 frames")
            position += length
            frames += 1
    counted = frames - 1 if promised is not None else frames  # the Xing frame holds no audio
    if promised is not None and counted < promised:
        raise truncated(path, promised, counted, "MP3 frames")
    return Mp3Frames(start, frames, promised is not None, header)


def length_frame(walked: Mp3Frames) -> bytes:
    """A Xing frame that states the length of a file that has none.

    Without it the decoder guesses the length from the bit rate and stops there.
    """
    header = bytearray(walked.first_header)
    header[1] |= 1  # no checksum
    mpeg1, mono = header[1] >> 3 & 3 == 3, header[3] >> 6 == 3
    side_info = {(True, False): 32, (False, True): 9}.get((mpeg1, mono), 17)
    frame = bytes(header) + bytes(side_info) + b"Xing" + struct.pack(">II", 1, walked.frames)
    return frame.ljust(frame_bytes(bytes(header)), b"\0")


def frame_bytes(header: bytes) -> int:
    """Length of the frame that these four bytes open, 0 when they open none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate_index, bitrate_index = header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or layer == 4 or rate_index == 3 or bitrate_index in (0, 15):
        return 0
    bitrate = BITRATES[version == 3, layer][bitrate_index] * 1000
    rate, padding = RATES_HZ[version][rate_index], header[2] >> 1 & 1
    if layer == 1:
        return (12 * bitrate // rate + padding) * 4
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bitrate // rate + padding


def id3v2_bytes(head: bytes) -> int:
    """Length of an ID3v2 tag from its ten header bytes."""
    head = head.ljust(10, b"\0")
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


class _FileBytes:
    """Slices of an open file; a mapping would end the process when a share goes away."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._length = file, os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: slice) -> bytes:
        self._file.seek(place.start)
        return self._file.read(place.stop - place.start)


def _first_frame(path: Path, data: _FileBytes) -> int:
    start = 0
    while data[start : start + 3] == b"ID3":
        start += id3v2_bytes(data[start : start + 10])
    for position in range(start, min(start + SEARCH_BYTES, len(data) - 3)):
        if _begins_frame(data, position):
            return position
        if data[position : position + 1] != b"\0":
            break
    raise damaged(path, f"no MPEG audio frame at byte {start}")


def _begins_frame(data: _FileBytes, position: int) -> bool:
    length = frame_bytes(data[position : position + 4])
    follower = position + length
    return length > 0 and (follower >= len(data) or frame_bytes(data[follower : follower + 4]) > 0)


def _refuse_gap(path: Path, data: _FileBytes, position: int) -> None:
    """What is no frame may be a tag or junk at the very end, but no frames may follow it."""
    tail = data[position : position + 8]
    if tail[:3] in (b"TAG", b"ID3") or tail in (b"APETAGEX", b"LYRICSBE"):
        return
    window = data[position : position + SEARCH_BYTES]
    offset = window.find(b"\xff")
    while offset >= 0:
        if _begins_frame(data, position + offset):
            raise damaged(path, f"no MPEG frame at byte {position} where one must begin")
        offset = window.find(b"\xff", offset + 1)


def _xing_frames(data: _FileBytes, start: int) -> int | None:
    """The number of audio frames that a Xing, Info or VBRI header promises."""
    frame = data[start : start + 200].ljust(200, b"\0")
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        if 0 < at <= 40 and frame[at + 7] & 1:
            return int.from_bytes(frame[at + 8 : at + 12], "big")
    at = frame.find(b"VBRI")
    return int.from_bytes(frame[at + 14 : at + 18], "big") if at == 36 else None
