"""A program, not a module: decodes one audio file to raw samples on its standard output.

It runs in a process of its own because C decoders can crash, hang or ask for absurd memory on
a malformed file. Usage: decoder_process.py PATH START BLOCK PREFIX SKIP, with
START = -1 for the header only, and PREFIX hexadecimal bytes to put before those of the file
from SKIP on (empty: read the file as it is).
One JSON line with the header, then interleaved native-endian samples: int32 (left-justified)
for integer PCM, float64 for everything else. Reasons for failure go to standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import soundfile

MEMORY_BYTES = 4 << 30
INTEGER_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
INTEGER_BITS |= {"ALAC_16": 16, "ALAC_20": 20, "ALAC_24": 24, "ALAC_32": 32}
FLOAT_BITS = {"FLOAT": 32, "DOUBLE": 64}


def _limit_resources() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _send(sound: soundfile.SoundFile, start: int, block: int, dtype: str) -> None:
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


class _Spliced(io.RawIOBase):
    """A file whose bytes before `skip` are replaced by `prefix`."""

    def __init__(self, path: str, prefix: bytes, skip: int) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - closed with this object
        self._prefix, self._shift, self._at = prefix, skip - len(prefix), 0
        self._length = Path(path).stat().st_size - self._shift

    def read(self, size: int = -1) -> bytes:
        size = self._length - self._at if size < 0 else size
        head = self._prefix[self._at : self._at + size]
        self._file.seek(max(self._at + len(head), len(self._prefix)) + self._shift)
        data = head + self._file.read(size - len(head))
        self._at += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._length)[whence]
        return self._at

    def tell(self) -> int:
        return self._at


def _opened(path: str, prefix: bytes, skip: int) -> str | _Spliced:
    return _Spliced(path, prefix, skip) if prefix else path


def main() -> int:
    """Decode; 0 when the decoder reached its end without complaint, 2 when it refused."""
    path, start, block = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    prefix, skip = bytes.fromhex(sys.argv[4]), int(sys.argv[5])
    _limit_resources()
    try:
        with soundfile.SoundFile(_opened(path, prefix, skip)) as sound:
            subtype = sound.subtype
            header = {
                "frames": sound.frames,
                "channels": sound.channels,
                "sample_rate": sound.samplerate,
                "integer_bits": INTEGER_BITS.get(subtype),
                "float_bits": FLOAT_BITS.get(subtype),
                "subtype": subtype,
            }
            sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
            if start >= 0:
                _send(sound, start, block, "int32" if header["integer_bits"] else "float64")
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
