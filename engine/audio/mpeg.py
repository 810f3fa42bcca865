"""Walks the frames of MPEG audio to prove that none is missing, cut or left out.

Every frame is audio, wherever it stands: songs that were joined end to end play on in any player.
So a file may have several links, each beginning at a length frame (Xing, Info, VBRI) of its own,
and tags between frames are stepped over.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from .faults import FaultyFileError, damaged, truncated, unsupported
from .file_bytes import FileBytes, leading_tags_end, left_over_at, tag_end
from .inspection import Inspection, Link

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
LONGEST_FREE_BYTES = 8192  # of a frame in free format: beyond 640 kbit/s at 32 kHz
WITH_FRAMES, WITH_BYTES, WITH_TABLE, WITH_QUALITY = 1, 2, 4, 8  # flags of a Xing frame
LAME_DELAYS_AT = 21  # in the extension that LAME puts behind a Xing header


@dataclass(frozen=True)
class LengthFrame:
    """A Xing, Info or VBRI frame: it holds no audio and says how many frames do, or does not."""

    at: int
    raw: bytes
    promised: int | None
    is_xing: bool


@dataclass
class Stream:
    """The frames of one encoding: where they lie, how many, and the frame that counts them."""

    first_header: bytes
    length_frame: LengthFrame | None
    ranges: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0  # without the length frame

    def add(self, start: int, stop: int) -> None:
        """One more frame; neighbours become one range."""
        if self.ranges and self.ranges[-1][1] == start:
            self.ranges[-1] = (self.ranges[-1][0], stop)
        else:
            self.ranges.append((start, stop))


def inspect_mp3(
    path: Path, container: str = "mp3", start: int = 0, stop: int | None = None
) -> Inspection:
    """What a decoder must be given so that it decodes every frame between two bytes of a file."""
    streams = walk_mp3(path, start, stop)
    header = streams[0].first_header
    links = tuple(_link(stream) for stream in streams)
    if links[0].prefix:
        return Inspection(container, links=links)
    frames = sum(stream.frames for stream in streams) * samples_per_frame(header)
    return Inspection(container, frames, links=links)


def walk_mp3(path: Path, start: int = 0, stop: int | None = None) -> list[Stream]:
    """All frames of a file; refuses cut ones, gaps, and a header that counts more frames."""
    with path.open("rb") as file:
        walk = _Walk(path, FileBytes(file, start, stop))
        walk.run()
    for stream in walk.streams:
        promised = stream.length_frame.promised if stream.length_frame else None
        if promised is not None and stream.frames < promised:
            raise truncated(path, promised, stream.frames, "MP3 frames")
    return walk.streams


def frame_bytes(header: bytes) -> int:
    """Length of the frame that these four bytes open, 0 when they open none or in free format."""
    if not _is_header(header) or header[2] >> 4 == 0:
        return 0
    version, layer = _version(header), _layer(header)
    bitrate = BITRATES[version == 3, layer][header[2] >> 4] * 1000
    rate, padding = sample_rate(header), header[2] >> 1 & 1
    if layer == 1:
        return (12 * bitrate // rate + padding) * 4
    return samples_per_frame(header) // 8 * bitrate // rate + padding


def samples_per_frame(header: bytes) -> int:
    """Samples per channel of a frame."""
    layer = _layer(header)
    return 384 if layer == 1 else 576 if layer == 3 and _version(header) != 3 else 1152


def sample_rate(header: bytes) -> int:
    """In Hz."""
    return RATES_HZ[_version(header)][header[2] >> 2 & 3]


def length_frame(header: bytes, frames: int) -> bytes:
    """A Xing frame that states the length of a stream that has none.

    Without it the decoder guesses the length from the bit rate and stops there.
    """
    head = bytearray(header)
    head[1] |= 1  # no checksum
    body = struct.pack(">4sII", b"Xing", WITH_FRAMES, frames)
    frame = bytes(head) + bytes(_side_info_bytes(header)) + body
    return frame.ljust(frame_bytes(bytes(head)), b"\0")


class _Walk:
    """One walk over the frames of a file."""

    def __init__(self, path: Path, data: FileBytes) -> None:
        self.path, self.data = path, data
        self.streams: list[Stream] = []
        self._free_bytes = 0
        self._behind_gap = False

    def run(self) -> None:
        position = self._first_frame()
        while position < self.data.stop:
            header = self.data[position : position + 4]
            length = self._length(header, position)
            if length == 0:
                self._behind_gap = True
                position = self._behind_what_is_no_frame(position)
                continue
            if position + length > self.data.stop:
                raise truncated(
                    self.path, position + length, self.data.stop, "bytes of MP3 frames"
                )
            self._take(header, position, length)
            position += length

    def _take(self, header: bytes, position: int, length: int) -> None:
        self._refuse_other_layout(header, position)
        found = self._length_frame(header, position, length)
        if found or not self.streams:
            self.streams.append(Stream(header, found))
        stream = self.streams[-1]
        if not found:
            stream.add(position, position + length)
            stream.frames += 1

    def _first_frame(self) -> int:
        start = leading_tags_end(self.data)
        stop = min(start + SEARCH_BYTES, self.data.stop - 3)
        position = self.data.first_not_zero(start, stop) if start < stop else stop
        if position >= stop or not self._begins_frame(position):
            raise damaged(self.path, f"no MPEG audio frame at byte {start}")
        return position

    def _length(self, header: bytes, position: int) -> int:
        if not _is_header(header) or header[2] >> 4:
            return frame_bytes(header)
        if not self._free_bytes:
            self._free_bytes = self._measured(header, position)
        padding = (4 if _layer(header) == 1 else 1) * (header[2] >> 1 & 1)
        return self._free_bytes + padding if self._free_bytes else 0

    def _measured(self, header: bytes, position: int) -> int:
        """Length of a frame in free format: the distance to the next header of its kind.

        Three in a row must agree, but for a byte of padding.
        """
        window = self.data[position : position + LONGEST_FREE_BYTES * 3]
        at = 24
        while 0 < (at := window.find(header[:2], at)) <= LONGEST_FREE_BYTES:
            slot = 4 if _layer(header) == 1 else 1
            base = at - slot * (header[2] >> 1 & 1)
            second = window[at : at + 4]
            third_at = at + base + slot * (second[2] >> 1 & 1 if len(second) == 4 else 0)
            third = window[third_at : third_at + 4]
            ends = position + third_at >= self.data.stop
            if _same_kind(header, second) and (ends or _same_kind(header, third)):
                return base
            at += 1
        return 0

    def _begins_frame(self, position: int) -> bool:
        """A header, and another where its frame ends."""
        length = self._length(self.data[position : position + 4], position)
        follower = position + length
        return length > 0 and (
            follower >= self.data.stop or _is_header(self.data[follower : follower + 4])
        )

    def _behind_what_is_no_frame(self, position: int) -> int:
        """Where to go on: behind a tag or zeros, or at the end behind a little junk."""
        end = tag_end(self.data, position)
        if end is None:
            end = self.data.first_not_zero(position, self.data.stop)
        if end > position:
            return end
        if left_over_at(self.data, position) == self.data.stop:
            return self.data.stop  # tags that can only be recognised from their ends
        following = self._next_frame(position)
        if following is not None:
            before = self.data.until(following)
            if left_over_at(before, position) < following:
                what = f"no MPEG frame at byte {position} where one must begin"
                raise damaged(self.path, what)
            return following
        junk = self.data.stop - position
        if junk > SEARCH_BYTES:
            raise FaultyFileError(
                self.path,
                "mix-left-over",
                f"its MP3 frames end at byte {position}, but {junk} more bytes are there that are "
                "neither frames nor a tag",
                "Export it anew, or keep what is known: ffmpeg -i IN -c:a pcm_s24le OUT.wav",
            )
        return self.data.stop

    def _next_frame(self, position: int) -> int | None:
        at = position
        while (at := self.data.find(b"\xff", at, self.data.stop)) >= 0:
            if self._begins_frame(at):
                return at
            at += 1
        return None

    def _refuse_other_layout(self, header: bytes, position: int) -> None:
        if not self.streams:
            return
        first = self.streams[0].first_header
        if _layout(first) != _layout(header):
            raise unsupported(
                self.path,
                f"it changes from {_layout(first)} to {_layout(header)} at byte {position}, "
                "expected one layout",
                "Bring all of it to one: ffmpeg -i IN -ar 48000 -ac 2 -c:a pcm_s24le OUT.wav",
            )

    def _length_frame(self, header: bytes, position: int, length: int) -> LengthFrame | None:
        if _layer(header) != 3:
            return None
        raw = self.data[position : position + length]
        at = 4 + _side_info_bytes(header) + (0 if header[1] & 1 else 2)
        for place in (at, 4 + _side_info_bytes(header)):
            if raw[place : place + 4] in (b"Xing", b"Info"):
                flags = int.from_bytes(raw[place + 4 : place + 8], "big")
                count = int.from_bytes(raw[place + 8 : place + 12], "big")
                return LengthFrame(place, raw, count if flags & WITH_FRAMES else None, True)
        if raw[36:40] == b"VBRI":
            return LengthFrame(36, raw, int.from_bytes(raw[50:54], "big"), False)
        return None


def _link(stream: Stream) -> Link:
    """The stream with a length frame that is true."""
    header = stream.first_header
    if _layer(header) != 3 or header[2] >> 4 == 0:
        # No decoder looks for a length frame there, and what it guesses is right: all frames
        # are equally long.
        return Link(ranges=tuple(stream.ranges))
    found = stream.length_frame
    if found is None or not found.is_xing or found.promised is None:
        prefix = length_frame(header, stream.frames)
    elif found.promised == stream.frames:
        prefix = found.raw
    else:
        prefix = _corrected(found, stream.frames)
    return Link(prefix, tuple(stream.ranges))


def _corrected(found: LengthFrame, frames: int) -> bytes:
    """A Xing frame that counts all frames, with LAME's delay kept and its padding set to none:

    what lies behind the frames that it counted is audio.
    """
    raw, at = bytearray(found.raw), found.at
    flags = int.from_bytes(raw[at + 4 : at + 8], "big")
    raw[at + 8 : at + 12] = frames.to_bytes(4, "big")
    behind = at + 12 + 4 * bool(flags & WITH_BYTES) + 100 * bool(flags & WITH_TABLE)
    behind += 4 * bool(flags & WITH_QUALITY) + LAME_DELAYS_AT
    if behind + 3 <= len(raw):
        raw[behind + 1] &= 0xF0
        raw[behind + 2] = 0
    return bytes(raw)


def _is_header(header: bytes) -> bool:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return False
    bitrate_index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    return _version(header) != 1 and _layer(header) != 4 and rate_index != 3 and bitrate_index < 15


def _same_kind(header: bytes, other: bytes) -> bool:
    """Free format's next frame: version, layer, rate and the bit rate's index agree."""
    return (
        len(other) == 4
        and other[:2] == header[:2]
        and other[2] & 0xFC == header[2] & 0xFC
        and (other[3] >> 6 == 3) == (header[3] >> 6 == 3)
    )


def _version(header: bytes) -> int:
    return header[1] >> 3 & 3


def _layer(header: bytes) -> int:
    return 4 - (header[1] >> 1 & 3)


def _layout(header: bytes) -> str:
    channels = "mono" if header[3] >> 6 == 3 else "stereo"
    return f"Layer {'I' * _layer(header)} of {sample_rate(header)} Hz {channels}"


def _side_info_bytes(header: bytes) -> int:
    mpeg1, mono = _version(header) == 3, header[3] >> 6 == 3
    return {(True, False): 32, (False, True): 9}.get((mpeg1, mono), 17)
