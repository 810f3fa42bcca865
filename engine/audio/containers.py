"""Tells audio containers apart by their content and proves that a file is complete."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from presets import StemwrightError

from .mpeg import check_mp3, id3v2_bytes, length_frame
from .riff import UNKNOWN_SIZE, ChunkFile, damaged, truncated, unfinished, walk_chunks

SUPPORTED = "WAV, RF64, W64, AIFF, FLAC, OGG, MP3, CAF or AU"


@dataclass(frozen=True)
class Inspection:
    """What the container itself says, without any decoder.

    `frames` is the promised length where the container states one;
    `md5` is FLAC's digest of the decoded samples (None when absent). A decoder must be given
    `prefix` and then the file's bytes from `skip` on.
    """

    container: str
    frames: int | None = None
    channel_mask: int | None = None
    md5: bytes | None = None
    prefix: bytes = b""
    skip: int = 0


def inspect(path: Path) -> Inspection:
    """Identify a file by its first bytes and refuse it when it is not whole."""
    container = sniff(path)
    if container in ("wav", "rf64", "w64"):
        return _inspect_wav(walk_chunks(path))
    if container == "aiff":
        return _inspect_aiff(walk_chunks(path))
    checks = {"flac": _inspect_flac, "ogg": _inspect_ogg, "caf": _inspect_caf, "au": _inspect_au}
    if container in checks:
        return checks[container](path)
    walked = check_mp3(path)
    if walked.stated:
        return Inspection("mp3")
    return Inspection("mp3", prefix=length_frame(walked), skip=walked.start)


def sniff(path: Path) -> str:
    """The container's name by its first bytes; the extension plays no part."""
    with path.open("rb") as file:
        head = file.read(64)
        if head[:3] == b"ID3":
            file.seek(id3v2_bytes(head))
            head = file.read(16)
            return "flac" if head[:4] == b"fLaC" else "mp3"
    if not head:
        raise StemwrightError("mix-empty", f"{path.name}: zero bytes. Copy the file again.")
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] in (b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "rf64"
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return "w64"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    magics = {b"fLaC": "flac", b"OggS": "ogg", b"caff": "caf", b".snd": "au"}
    if head[:4] in magics:
        return magics[head[:4]]
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 6:
        return "mp3"
    raise _not_audio(path, head)


def _not_audio(path: Path, head: bytes) -> StemwrightError:
    if head[4:8] == b"ftyp":
        got = "an MP4/M4A file"
    elif all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        got = "text"
    else:
        got = f"bytes {head[:4].hex(' ')}"
    return StemwrightError(
        "mix-not-audio",
        f"{path.name}: expected {SUPPORTED}, got {got}. Convert it first, for example with "
        "ffmpeg -i IN OUT.wav.",
    )


def _inspect_wav(file: ChunkFile) -> Inspection:
    form, data = file.find(b"fmt "), file.find(b"data")
    if form is None or form.size < 16 or form.size > 4096:
        raise damaged(file.path, "no usable 'fmt ' chunk")
    if data is None:
        raise StemwrightError(
            "mix-empty", f"{file.path.name}: a header without audio. Export the mix again."
        )
    body = file.read(form)
    tag, channels, _rate, _byte_rate, align = struct.unpack_from("<HHIIH", body)
    if channels == 0 or align == 0:
        raise damaged(file.path, f"{channels} channels of {align} bytes")
    extensible = tag == 0xFFFE and len(body) >= 24
    mask = struct.unpack_from("<I", body, 20)[0] if extensible else 0
    real_tag = struct.unpack_from("<H", body, 24)[0] if extensible and len(body) >= 26 else tag
    frames = data.size // align if real_tag in (1, 3) else None
    prefix = b"" if file.container == "wav" else _rf64_header(body, data.size, align)
    return Inspection(file.container, frames, mask or None, prefix=prefix, skip=data.offset)


def _rf64_header(form: bytes, data_bytes: int, align: int) -> bytes:
    """A bare RF64 header to put before the samples of an RF64, BW64 or W64 file.

    libsndfile loses its way at chunks of odd size before the audio of an RF64 file, takes the
    chunks behind the audio of a W64 file for audio, and does not know BW64.
    """
    form = form.ljust(len(form) + len(form) % 2, b"\0")
    body = struct.pack("<4sI", b"fmt ", len(form)) + form
    sizes = struct.pack("<QQQI", 48 + len(body) + data_bytes, data_bytes, data_bytes // align, 0)
    start = struct.pack("<4sI4s4sI", b"RF64", UNKNOWN_SIZE, b"WAVE", b"ds64", len(sizes))
    return start + sizes + body + struct.pack("<4sI", b"data", UNKNOWN_SIZE)


def _inspect_aiff(file: ChunkFile) -> Inspection:
    common, sound = file.find(b"COMM"), file.find(b"SSND")
    if common is None or common.size < 18:
        raise damaged(file.path, "no usable COMM chunk")
    body = file.read(common)
    channels, frames, bits = struct.unpack_from(">hIh", body)
    if frames and sound is None:
        raise truncated(file.path, frames, 0, "frames")
    compression = body[18:22] if len(body) >= 22 else b"NONE"
    width = {b"fl32": 4, b"FL32": 4, b"fl64": 8, b"FL64": 8}.get(compression, (bits + 7) // 8)
    if sound and compression in (b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"fl64", b"FL64"):
        there = (sound.size - 8) // max(1, channels * width)
        if there < frames:
            raise truncated(file.path, frames, there, "frames")
        if there > frames:
            raise damaged(file.path, f"COMM counts {frames} frames, SSND holds {there}")
    return Inspection("aiff", frames)


def _inspect_flac(path: Path) -> Inspection:
    with path.open("rb") as file:
        head = file.read(10)
        file.seek(id3v2_bytes(head) if head[:3] == b"ID3" else 0)
        head = file.read(42)
    if len(head) < 42 or head[4] & 0x7F != 0:
        raise damaged(path, "no STREAMINFO at the start of the FLAC file")
    fields = int.from_bytes(head[18:26], "big")
    frames = fields & 0xFFFFFFFFF
    if frames == 0:
        raise unfinished(path, "the FLAC header does not state a length")
    depth = (fields >> 36 & 31) + 1
    provable = depth in (8, 16, 24) and any(head[26:42])
    return Inspection("flac", frames, md5=head[26:42] if provable else None)


def _inspect_ogg(path: Path) -> Inspection:
    """Walk all pages: one logical stream, no gap, the last page marked as the end."""
    size, position, ended, serials = path.stat().st_size, 0, False, set()
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            head = file.read(27)
            if len(head) < 27 or head[:4] != b"OggS":
                raise truncated(path, position + 27, size, "bytes of Ogg pages")
            serials.add(head[14:18])
            table = file.read(head[26])
            position += 27 + len(table) + sum(table)
            ended = bool(head[5] & 4)
            if position > size or len(table) < head[26]:
                raise truncated(path, position, size, "bytes of Ogg pages")
    if len(serials) > 1:
        raise StemwrightError(
            "mix-format-unsupported",
            f"{path.name}: {len(serials)} streams in one Ogg file, expected one. Split it first.",
        )
    if not ended:
        raise StemwrightError(
            "mix-truncated",
            f"{path.name}: the Ogg stream has no last page. Copy the file again.",
        )
    return Inspection("ogg")


def _inspect_caf(path: Path) -> Inspection:
    size, position = path.stat().st_size, 8
    with path.open("rb") as file:
        while position + 12 <= size:
            file.seek(position)
            name, length = struct.unpack(">4sq", file.read(12))
            if length < 0:
                raise unfinished(path, f"the size of the {name.decode('latin-1')!r} chunk is open")
            if position + 12 + length > size:
                raise truncated(path, length, size - position - 12)
            if name == b"data":
                return Inspection("caf")
            position += 12 + length
    raise StemwrightError(
        "mix-empty", f"{path.name}: a header without audio. Export the mix again."
    )


def _inspect_au(path: Path) -> Inspection:
    with path.open("rb") as file:
        head = file.read(12)
    if len(head) < 12:
        raise damaged(path, "the AU header is cut short")
    offset, length = struct.unpack(">II", head[4:])
    if length == UNKNOWN_SIZE:
        raise unfinished(path, "the AU header does not state a length")
    there = path.stat().st_size - offset
    if length > there:
        raise truncated(path, length, there)
    if there - length >= 8:
        raise damaged(path, f"{there - length} bytes behind the audio that the header counts")
    return Inspection("au")
