"""A program: decodes one audio file to raw samples on its standard output.

It runs in a process of its own because C decoders can crash, hang or ask for absurd memory on
a malformed file. One JSON line on its standard input says what to do: `path` (its bytes in
hexadecimal), `start` (a frame; -1 for the header only), `block` (frames at a time), and `links`,
the streams to decode one after another: each a `prefix` (hexadecimal bytes) and the `ranges` of
the file behind it; without links the file is read as it is.
One JSON line with the header, then interleaved native-endian samples: int32 (left-justified)
for integer PCM, float64 for everything else. Reasons for failure go to standard error.
"""

from __future__ import annotations

import bisect
import contextlib
import io
import itertools
import json
import os
import sys
from pathlib import Path
from typing import TypedDict

import soundfile

MEMORY_BYTES = 4 << 30
INTEGER_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
INTEGER_BITS |= {"ALAC_16": 16, "ALAC_20": 20, "ALAC_24": 24, "ALAC_32": 32}
FLOAT_BITS = {"FLOAT": 32, "DOUBLE": 64}


class StreamRequest(TypedDict):
    """A stream to decode: bytes in hexadecimal, and the ranges of the file behind them."""

    prefix: str
    ranges: list[tuple[int, int]]


class Header(TypedDict):
    """The answer; `decoding.DecoderHeader` is its other end."""

    frames: int
    channels: int
    sample_rate: int
    integer_bits: int | None
    float_bits: int | None
    subtype: str


def _limit_resources() -> None:
    if sys.platform == "win32":
        return
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Spliced(io.RawIOBase):
    """A prefix and ranges of a file, read as one."""

    def __init__(self, path: Path, prefix: bytes, ranges: list[tuple[int, int]]) -> None:
        self._file = path.open("rb")
        length = path.stat().st_size
        self._prefix, self._ranges = prefix, [(a, min(b, length)) for a, b in ranges]
        sizes = (stop - start for start, stop in self._ranges)
        self._begins = list(itertools.accumulate(sizes, initial=len(prefix)))
        self._length, self._at = self._begins[-1], 0

    def close(self) -> None:
        self._file.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        left = self._length - self._at
        size = left if size < 0 else min(size, left)
        pieces = []
        while size > 0 and (piece := self._piece(size)):
            pieces.append(piece)
            self._at += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._length)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def _piece(self, size: int) -> bytes:
        if self._at < len(self._prefix):
            return self._prefix[self._at : self._at + size]
        number = bisect.bisect_right(self._begins, self._at) - 1
        start, stop = self._ranges[number]
        place = start + self._at - self._begins[number]
        self._file.seek(place)
        return self._file.read(min(size, stop - place))


def _opened(path: Path, links: list[StreamRequest]) -> list[soundfile.SoundFile]:
    if not links:  # a descriptor, since a name's ending would be taken for a format
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
        return [soundfile.SoundFile(os.open(path, flags))]
    return [
        soundfile.SoundFile(_Spliced(path, bytes.fromhex(link["prefix"]), link["ranges"]))
        for link in links
    ]


def header_of(sounds: list[soundfile.SoundFile]) -> Header:
    """What the files say of themselves, as if they were one."""
    kinds = {(sound.subtype, sound.channels, sound.samplerate) for sound in sounds}
    if len(kinds) > 1:
        raise ValueError(f"its parts differ: {sorted(kinds)}")
    subtype, channels, rate = kinds.pop()
    return {
        "frames": sum(sound.frames for sound in sounds),
        "channels": channels,
        "sample_rate": rate,
        "integer_bits": INTEGER_BITS.get(subtype),
        "float_bits": FLOAT_BITS.get(subtype),
        "subtype": subtype,
    }


def _send(sounds: list[soundfile.SoundFile], start: int, block: int, dtype: str) -> None:
    for sound in sounds:
        if start < sound.frames:
            _send_one(sound, start, block, dtype)
        start = max(0, start - sound.frames)


def _send_one(sound: soundfile.SoundFile, start: int, block: int, dtype: str) -> None:
    if start and dtype == "int32":
        sound.seek(start)  # lossy decoders do not land on the exact frame, so they read up to it
        start = 0
    while start > 0:
        skipped = len(sound.buffer_read(min(block, start), dtype)) // (8 * sound.channels)
        if skipped == 0:
            return
        start -= skipped
    while samples := bytes(sound.buffer_read(block, dtype)):
        sys.stdout.buffer.write(samples)


def main() -> int:
    """Decode; 0 when the decoder reached its end without complaint, 2 when it refused."""
    task = json.loads(sys.stdin.buffer.readline())
    path = Path(os.fsdecode(bytes.fromhex(task["path"])))
    _limit_resources()
    try:
        sounds = _opened(path, task["links"])
        header = header_of(sounds)
        sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
        if task["start"] >= 0:
            dtype = "int32" if header["integer_bits"] else "float64"
            _send(sounds, task["start"], task["block"], dtype)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return 0  # whoever asked has read enough
    except AssertionError:  # soundfile's own, when the decoder gives less than it announced
        print("it ends before the length that it states", file=sys.stderr)
        return 2
    except (soundfile.SoundFileError, OSError, MemoryError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
