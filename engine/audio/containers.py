"""Tells audio containers apart by their content and proves that a file is whole.

Two questions are asked of every container: is anything missing, and is anything left over? The
engine asks them before it decodes, the hot folder before it begins (`why_not_whole`).
"""

from __future__ import annotations

import struct
from pathlib import Path

from presets import StemwrightError

from .chunked import inspect_aiff, inspect_au, inspect_caf, inspect_wav
from .faults import ARRIVING, FaultyFileError
from .file_bytes import id3v2_bytes
from .flac import inspect_flac
from .inspection import Inspection
from .mpeg import inspect_mp3
from .ogg import inspect_ogg

SUPPORTED = "WAV, RF64, W64, AIFF, FLAC, OGG, MP3, CAF or AU"
SLACK_BYTES = 9  # some writers count their own header, or a padding byte that is not there
MAGICS = {b"fLaC": "flac", b"OggS": "ogg", b"caff": "caf", b".snd": "au"}
# What people drop as audio, by the first bytes, so that it is refused by name
FOREIGN = {
    b"wvpk": "a WavPack file",
    b"MAC ": "a Monkey's Audio file",
    b"TTA1": "a True Audio file",
    b"MPCK": "a Musepack file",
    b"MP+": "a Musepack file",
    b"DSD ": "a DSF file",
    b"FRM8": "a DSDIFF file",
    b"\x1a\x45\xdf\xa3": "a Matroska or WebM file",
    b"\x30\x26\xb2\x75": "a WMA file",
    b"#!AMR": "an AMR file",
    b"\x0b\x77": "an AC-3 file",
    b"\xff\xf1": "an AAC file",
    b"\xff\xf9": "an AAC file",
    b"PK\x03\x04": "a ZIP archive",
    b"RIFX": "a big-endian RIFF file",
}


def inspect(path: Path, *, quick: bool = False) -> Inspection:
    """Identify a file by its first bytes and refuse it when it is not whole.

    `quick` reads the structure alone, not all of the bytes: enough to begin, not to be sure.
    """
    container = sniff(path)
    if container in ("wav", "rf64", "w64"):
        return inspect_wav(path)
    if container == "ogg":
        return inspect_ogg(path, quick=quick)
    if container == "flac":
        return inspect_flac(path, quick=quick)
    if container == "mp3":
        return inspect_mp3(path)
    return {"aiff": inspect_aiff, "caf": inspect_caf, "au": inspect_au}[container](path)


def why_not_whole(path: Path) -> str | None:
    """What is missing or left over, in words; None for a file that is whole or never will be.

    Reads heads, not all of the bytes: a file that fails here may still be arriving.
    """
    size = path.stat().st_size
    promised = promised_bytes(path)
    if promised > size + SLACK_BYTES:
        return f"its header promises {promised} bytes, {size} are there"
    try:
        inspect(path, quick=True)
    except FaultyFileError as fault:
        return fault.what if fault.code in ARRIVING else None
    except StemwrightError:
        return None
    return None


def promised_bytes(path: Path) -> int:
    """The whole file's length according to its first bytes, 0 when they do not say."""
    with path.open("rb") as file:
        head = file.read(40)
    kind, form = head[:4], head[8:12]
    size = 0
    if kind == b"RIFF" and form == b"WAVE":
        size = 8 + struct.unpack_from("<I", head, 4)[0]
    elif kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        size = 8 + struct.unpack_from(">I", head, 4)[0]
    elif kind in (b"RF64", b"BW64") and head[12:16] == b"ds64" and len(head) >= 28:
        return _unless_unknown(8 + struct.unpack_from("<Q", head, 20)[0])
    elif kind == b"riff" and len(head) >= 24:  # W64: a 16-byte identifier, then the length
        return _unless_unknown(struct.unpack_from("<Q", head, 16)[0])
    return 0 if size in (8, 8 + 0xFFFFFFFF) else size


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
    if head[:4] in MAGICS:
        return MAGICS[head[:4]]
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 6:
        return "mp3"
    raise _not_audio(path, head)


def _not_audio(path: Path, head: bytes) -> StemwrightError:
    foreign = next((name for magic, name in FOREIGN.items() if head.startswith(magic)), None)
    if head[4:8] == b"ftyp":
        got = "an MP4/M4A file"
    elif foreign:
        got = foreign
    elif all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        got = "text"
    else:
        got = f"bytes {head[:4].hex(' ')}"
    return StemwrightError(
        "mix-not-audio",
        f"{path.name}: expected {SUPPORTED}, got {got}. Convert it first, for example with "
        "ffmpeg -i IN -c:a pcm_s24le OUT.wav",
    )


def _unless_unknown(size: int) -> int:
    return 0 if size <= 8 or size >= 1 << 62 else size
