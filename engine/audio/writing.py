"""Writes one audio file as a stream: WAV (RF64 when long), AIFF or FLAC, with its metadata."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from presets import StemwrightError

from .quantise import full_scale, quantise
from .wave_header import (
    LONGEST_RIFF_BYTES,
    FileFormat,
    RawChunk,
    aiff_header,
    chunk,
    wav_header,
)

WrittenSamples = npt.NDArray[np.integer[Any]] | npt.NDArray[np.floating[Any]]

FLAC_BITS = (8, 16, 24)
FLAC_CHANNELS = 8


def sound_path(path: Path) -> str | bytes:
    """What libsndfile opens: bytes, since a name need not be text; text on Windows."""
    return str(path) if os.name == "nt" else os.fsencode(path)


class SampleOverflowError(StemwrightError):
    """A sample that the depth of a file cannot hold."""


class StemWriter:
    """A writer of blocks `(channels, n)`; the file is whole and on disk after `close`.

    Integer blocks are stored as they are. Float blocks have full scale 1.0 and are rounded to
    the nearest integer (with `dither` noise when given). Nothing is ever clipped: a sample
    that the depth cannot hold is an error. `before` and `after` are metadata chunks round the
    audio; for FLAC the metadata blocks, their id being the one byte of the block's type.
    """

    def __init__(
        self,
        path: Path,
        fmt: FileFormat,
        before: tuple[RawChunk, ...] = (),
        after: tuple[RawChunk, ...] = (),
        dither: np.random.Generator | None = None,
    ) -> None:
        refuse_impossible(fmt)
        self.path, self.fmt, self.frames = path, fmt, 0
        self._dither = dither
        with telling_disk_errors(path):
            self._file: _ChunkedFile | _FlacFile = (
                _FlacFile(path, fmt, before + after)
                if fmt.container == "flac"
                else _ChunkedFile(path, fmt, before, after)
            )

    def write(self, block: WrittenSamples) -> None:
        """Append frames."""
        if self.fmt.encoding == "pcm":
            if np.issubdtype(block.dtype, np.floating):
                block = quantise(np.asarray(block, np.float64), self.fmt.bits, self._dither)
            self._refuse_overflow(block)
        with telling_disk_errors(self.path):
            self._file.write(block)
        self.frames += block.shape[1]

    def close(self) -> None:
        """Complete the header and wait until the file is on disk."""
        with telling_disk_errors(self.path):
            self._file.close()

    def abandon(self) -> None:
        """Close without completing and remove the file."""
        self._file.abandon()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> StemWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def _refuse_overflow(self, block: WrittenSamples) -> None:
        low, high = full_scale(self.fmt.bits)
        if block.size and (block.min() < low or block.max() > high):
            raise SampleOverflowError(
                "stem-overflow",
                f"{self.path.name}: a sample does not fit into {self.fmt.bits} bits. Write "
                "32-bit float or lower the level of the whole set.",
            )


def refuse_impossible(fmt: FileFormat) -> None:
    """Refuse what the container cannot hold."""
    if fmt.container != "flac":
        return
    if fmt.encoding != "pcm" or fmt.bits not in FLAC_BITS or fmt.channels > FLAC_CHANNELS:
        raise StemwrightError(
            "format-impossible",
            f"FLAC holds 8, 16 or 24-bit integers and up to {FLAC_CHANNELS} channels, not "
            f"{fmt.depth} with {fmt.channels}. Choose wav.",
        )


@contextlib.contextmanager
def telling_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or vanished disk into an error that may be tried again."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StemwrightError(
            "disk-full" if full else "write-failed",
            f"{path.name}: writing failed ({error.strerror}). "
            + ("Free some space." if full else "Is the folder still there and writable?"),
            transient=True,
        ) from error


def pcm_bytes(block: WrittenSamples, bits: int, order: str = "<") -> bytes:
    """Interleaved samples of 8 to 32 bits; 8-bit is signed here."""
    width = bits // 8
    if width != 3:
        return block.T.astype(f"{order}i{width}", order="C").tobytes()
    parts = block.T.astype(f"{order}i4", order="C").view(np.uint8).reshape(-1, 4)
    packed = np.empty((len(parts), 3), np.uint8)
    for byte in range(3):  # three strided copies are twice as fast as one of three bytes each
        packed[:, byte] = parts[:, byte if order == "<" else byte + 1]
    return packed.tobytes()


class _ChunkedFile:
    """A WAV or AIFF file; the header is written again when the length is known."""

    def __init__(
        self,
        path: Path,
        fmt: FileFormat,
        before: tuple[RawChunk, ...],
        after: tuple[RawChunk, ...],
    ) -> None:
        self._fmt, self._before, self._data_bytes = fmt, before, 0
        self._order = ">" if fmt.container == "aiff" else "<"
        self._tail = b"".join(chunk(name, payload, self._order) for name, payload in after)
        self._file: BinaryIO = path.open("wb")
        self._file.write(self._header())

    def write(self, block: WrittenSamples) -> None:
        raw = self._encode(block)
        self._data_bytes += len(raw)
        if self._fmt.container == "aiff" and self._data_bytes > LONGEST_RIFF_BYTES:
            raise StemwrightError(
                "format-impossible", "AIFF cannot hold more than 4 GB of audio. Choose wav."
            )
        self._file.write(raw)

    def close(self) -> None:
        self._file.write(b"\0" * (self._data_bytes % 2) + self._tail)
        self._file.seek(0)
        self._file.write(self._header())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def _header(self) -> bytes:
        build = aiff_header if self._fmt.container == "aiff" else wav_header
        return build(self._fmt, self._before, self._data_bytes, len(self._tail))

    def _encode(self, block: WrittenSamples) -> bytes:
        if self._fmt.encoding == "float":
            dtype = f"{self._order}f{self._fmt.bits // 8}"
            return np.ascontiguousarray(block.T).astype(dtype).tobytes()
        if self._fmt.bits == 8 and self._fmt.container == "wav":
            block = block + 128  # WAV alone stores 8 bits unsigned
        return pcm_bytes(block, self._fmt.bits, self._order)


class _FlacFile:
    """A FLAC file from libsndfile, into which the metadata blocks are put at the end."""

    def __init__(self, path: Path, fmt: FileFormat, blocks: tuple[RawChunk, ...]) -> None:
        import soundfile

        self._path, self._bits, self._blocks = path, fmt.bits, blocks
        subtype = "PCM_S8" if fmt.bits == 8 else f"PCM_{fmt.bits}"
        path.open("wb").close()  # an OSError with its reason, which libsndfile would not give
        self._sound = soundfile.SoundFile(
            sound_path(path), "w", fmt.sample_rate, fmt.channels, subtype, format="FLAC"
        )

    def write(self, block: WrittenSamples) -> None:
        left_justified = block.astype(np.int32) << (32 - self._bits)
        self._sound.write(np.ascontiguousarray(left_justified.T))

    def close(self) -> None:
        self._sound.close()
        aside = self._path.with_name(self._path.name + ".tagging")
        with self._path.open("rb") as old, aside.open("wb") as new:
            new.write(flac_head(old, self._blocks))
            while piece := old.read(1 << 20):
                new.write(piece)
            new.flush()
            os.fsync(new.fileno())
        aside.replace(self._path)

    def abandon(self) -> None:
        self._sound.close()


def flac_head(file: BinaryIO, blocks: tuple[RawChunk, ...]) -> bytes:
    """The metadata of an open FLAC file with `blocks` in place of blocks of the same types.

    Leaves the file at its first audio frame.
    """
    assert file.read(4) == b"fLaC"
    replaced = {name[0] for name, _ in blocks}
    kept: list[tuple[int, bytes]] = []
    last = False
    while not last:
        head = file.read(4)
        last, kind = bool(head[0] & 0x80), head[0] & 0x7F
        payload = file.read(int.from_bytes(head[1:4], "big"))
        if kind not in replaced and kind != 1:  # 1 is padding
            kept.append((kind, payload))
    kept += [(name[0], payload) for name, payload in blocks]
    out = [b"fLaC"]
    for index, (kind, payload) in enumerate(kept):
        flag = 0x80 if index == len(kept) - 1 else 0
        out.append(bytes([flag | kind]) + len(payload).to_bytes(3, "big") + payload)
    return b"".join(out)
