"""Slices of an open file, and what may stand in it that is no audio: tags and padding."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

MOST_PADDING_BYTES = 1 << 16  # of zeros; more of them may be a silence that someone recorded
PIECE_BYTES = 1 << 20
ID3V1_BYTES, ID3V1_PLUS_BYTES, APE_HEAD_BYTES = 128, 227, 32
_NOT_ZERO = re.compile(rb"[^\0]")


class FileBytes:
    """Slices of an open file; a mapping would end the process when a share goes away.

    `start` and `stop` narrow it to a part: positions stay those of the whole file.
    """

    def __init__(self, file: BinaryIO, start: int = 0, stop: int | None = None) -> None:
        self._file, self.start = file, start
        length = os.fstat(file.fileno()).st_size
        self.stop = length if stop is None else min(stop, length)

    def until(self, stop: int) -> FileBytes:
        """The same, ending earlier."""
        return FileBytes(self._file, self.start, stop)

    def __getitem__(self, place: slice) -> bytes:
        start, stop = max(place.start, 0), min(place.stop, self.stop)
        if start >= stop:
            return b""
        self._file.seek(start)
        return self._file.read(stop - start)

    def first_not_zero(self, position: int, stop: int) -> int:
        """Where the zeros that begin here end."""
        while position < stop:
            piece = self[position : min(position + PIECE_BYTES, stop)]
            found = _NOT_ZERO.search(piece)
            if found or not piece:
                return position + (found.start() if found else 0)
            position += len(piece)
        return stop

    def find(self, word: bytes, position: int, stop: int) -> int:
        """Where a word begins, -1 when it is not there."""
        while position < stop:
            piece = self[position : min(position + PIECE_BYTES, stop)]
            at = piece.find(word)
            if at >= 0:
                return position + at
            if position + len(piece) >= stop:
                return -1
            position += max(1, len(piece) - len(word) + 1)
        return -1


def id3v2_bytes(head: bytes) -> int:
    """Length of an ID3v2 tag from its ten header bytes."""
    head = head.ljust(10, b"\0")
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


def leading_tags_end(data: FileBytes) -> int:
    """Where the ID3v2 tags at the start of a file end."""
    position = data.start
    while data[position : position + 3] == b"ID3":
        position += id3v2_bytes(data[position : position + 10])
    return position


def tag_end(data: FileBytes, position: int) -> int | None:
    """Where the tag that begins here ends (ID3v2, ID3v1, APE, Lyrics3), None when none does."""
    head = data[position : position + APE_HEAD_BYTES]
    end: int | None = None
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
        end = position + id3v2_bytes(head)
    elif head[:4] == b"TAG+":
        end = position + ID3V1_PLUS_BYTES
    elif head[:3] == b"TAG":
        end = position + ID3V1_BYTES
    elif head[:8] == b"APETAGEX" and len(head) == APE_HEAD_BYTES:
        size = int.from_bytes(head[12:16], "little")
        is_header = bool(int.from_bytes(head[20:24], "little") & 1 << 29)
        end = position + APE_HEAD_BYTES + (size if is_header else 0)
    elif head[:11] == b"LYRICSBEGIN":
        ends = [data.find(word, position, data.stop) for word in (b"LYRICS200", b"LYRICSEND")]
        end = min((at + 9 for at in ends if at >= 0), default=None)
    return None if end is None else min(end, data.stop)


def trailing_tags_start(data: FileBytes, floor: int) -> int:
    """Where the tags that end with the file begin; `floor` is the end of the audio."""
    stop = data.stop
    while (start := _tag_before(data, stop)) is not None and start >= floor:
        stop = start
    return stop


def left_over_at(data: FileBytes, position: int, most_zeros: int = MOST_PADDING_BYTES) -> int:
    """Where, behind the audio, something begins that is neither tag nor padding.

    `data.stop` when nothing does.
    """
    stop = trailing_tags_start(data, position)
    while position < stop:
        end = tag_end(data, position)
        if end is None:
            end = data.first_not_zero(position, stop)
            if end == position or end - position > most_zeros:
                return position
        position = end
    return data.stop


def _tag_before(data: FileBytes, stop: int) -> int | None:
    """Where the tag that ends here begins."""
    if data[stop - ID3V1_BYTES : stop - ID3V1_BYTES + 3] == b"TAG":
        start = stop - ID3V1_BYTES
        plus = start - ID3V1_PLUS_BYTES
        return plus if data[plus : plus + 4] == b"TAG+" else start
    foot = data[stop - APE_HEAD_BYTES : stop]
    if foot[:8] == b"APETAGEX" and len(foot) == APE_HEAD_BYTES:
        has_header = bool(int.from_bytes(foot[20:24], "little") & 1 << 31)
        size = int.from_bytes(foot[12:16], "little") + (APE_HEAD_BYTES if has_header else 0)
        return stop - size if size >= APE_HEAD_BYTES else None
    if foot[-9:] == b"LYRICS200" and foot[-15:-9].isdigit():
        return stop - 15 - int(foot[-15:-9])
    if foot[-10:-7] == b"3DI":
        return stop - id3v2_bytes(b"ID3" + foot[-7:])
    return None
