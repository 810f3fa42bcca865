"""Builds the headers of WAV, RF64 and AIFF files around audio whose length is known or not yet."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

LONGEST_RIFF_BYTES = 4_000_000_000  # beyond it a 32-bit size is a risk, so RF64
PCM_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")

RawChunk = tuple[bytes, bytes]


@dataclass(frozen=True)
class FileFormat:
    """How samples are stored: container, integer or float, depth, channels, rate."""

    container: Literal["wav", "aiff", "flac"]
    encoding: Literal["pcm", "float"]
    bits: int
    channels: int
    sample_rate: int
    channel_mask: int | None = None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.bits // 8 * self.channels

    @property
    def extension(self) -> str:
        """With its dot."""
        return {"wav": ".wav", "aiff": ".aiff", "flac": ".flac"}[self.container]

    @property
    def depth(self) -> str:
        """The depth as engineers write it: 16, 24, 32f."""
        return f"{self.bits}f" if self.encoding == "float" else str(self.bits)


def chunk(name: bytes, payload: bytes, order: str = "<") -> bytes:
    """One chunk with its pad byte."""
    return struct.pack(f"{order}4sI", name, len(payload)) + payload + b"\0" * (len(payload) % 2)


def wav_header(
    fmt: FileFormat, before: tuple[RawChunk, ...], data_bytes: int, after_bytes: int
) -> bytes:
    """Everything up to the first sample; the same length for WAV and RF64."""
    tail = b"".join(chunk(name, payload) for name, payload in before)
    body = chunk(b"fmt ", _wav_format(fmt))
    if fmt.encoding == "float":
        body += chunk(b"fact", struct.pack("<I", min(data_bytes // fmt.frame_bytes, 0xFFFFFFFF)))
    body += tail
    riff_bytes = 4 + 36 + len(body) + 8 + data_bytes + data_bytes % 2 + after_bytes
    if riff_bytes + 8 <= LONGEST_RIFF_BYTES:
        # the room for a ds64, as EBU Tech 3306 asks, so that a long recording can become RF64
        start = struct.pack("<4sI4s", b"RIFF", riff_bytes, b"WAVE") + chunk(b"JUNK", bytes(28))
        return start + body + struct.pack("<4sI", b"data", data_bytes)
    frames = data_bytes // fmt.frame_bytes
    start = struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE")
    start += chunk(b"ds64", struct.pack("<QQQI", riff_bytes, data_bytes, frames, 0))
    return start + body + struct.pack("<4sI", b"data", 0xFFFFFFFF)


def aiff_header(
    fmt: FileFormat, before: tuple[RawChunk, ...], data_bytes: int, after_bytes: int
) -> bytes:
    """Everything up to the first sample; AIFC only for float."""
    frames = data_bytes // fmt.frame_bytes
    common = struct.pack(">hIh", fmt.channels, frames, fmt.bits) + _extended(fmt.sample_rate)
    kind, body = b"AIFF", b""
    if fmt.encoding == "float":
        kind, body = b"AIFC", chunk(b"FVER", struct.pack(">I", 0xA2805140), ">")
        common += (b"fl32" if fmt.bits == 32 else b"fl64") + b"\0\0"
    body += chunk(b"COMM", common, ">")
    body += b"".join(chunk(name, payload, ">") for name, payload in before)
    size = 4 + len(body) + 16 + data_bytes + data_bytes % 2 + after_bytes
    body += struct.pack(">4sIII", b"SSND", data_bytes + 8, 0, 0)
    return struct.pack(">4sI4s", b"FORM", size, kind) + body


def _wav_format(fmt: FileFormat) -> bytes:
    tag = 3 if fmt.encoding == "float" else 1
    extensible = fmt.channels > 2 or fmt.channel_mask is not None
    base = struct.pack(
        "<HHIIHH",
        0xFFFE if extensible else tag,
        fmt.channels,
        fmt.sample_rate,
        fmt.sample_rate * fmt.frame_bytes,
        fmt.frame_bytes,
        fmt.bits,
    )
    if extensible:
        mask = fmt.channel_mask or 0
        return base + struct.pack("<HHIH", 22, fmt.bits, mask, tag) + PCM_GUID_TAIL
    return base + (b"\0\0" if fmt.encoding == "float" else b"")


def _extended(rate: int) -> bytes:
    """A positive integer as an 80-bit IEEE 754 extended number."""
    return struct.pack(">HQ", 16383 + rate.bit_length() - 1, rate << (64 - rate.bit_length()))
