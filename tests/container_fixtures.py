"""Files of every container, built so that their headers and what is there can be set apart."""

import io
import struct

import numpy as np
import soundfile

from fidelity_fixtures import integers, riff_chunk

RATE, CHANNELS, BITS = 48000, 2, 24
FRAME_BYTES = CHANNELS * BITS // 8
PCM_CONTAINERS = ("WAV", "RF64", "W64", "AIFF", "CAF", "AU")


def whole(container, frames=4801, seed=0):
    """The bytes of a sound file of 24-bit integers, and the integers."""
    samples = integers(BITS, CHANNELS, frames, seed)
    out = io.BytesIO()
    left_justified = np.ascontiguousarray((samples.astype(np.int64) << 8).T.astype(np.int32))
    soundfile.write(out, left_justified, RATE, "PCM_24", format=container)
    return out.getvalue(), samples


def counting(container, data, frames):
    """The same file with a header that counts so many frames."""
    out, size = bytearray(data), frames * FRAME_BYTES
    at = out.index(b"SSND" if container == "AIFF" else b"data") if container != "AU" else 8
    audio = audio_at(container, data)
    if container == "WAV":
        struct.pack_into("<I", out, at + 4, size)
        struct.pack_into("<I", out, 4, audio + size - 8)
    elif container == "RF64":
        struct.pack_into("<QQQ", out, 20, audio + size - 8, size, frames)
    elif container == "W64":
        struct.pack_into("<Q", out, at + 16, size + 24)
        struct.pack_into("<Q", out, 16, audio + size)
    elif container == "AIFF":
        struct.pack_into(">I", out, out.index(b"COMM") + 10, frames)
        struct.pack_into(">I", out, at + 4, size + 8)
        struct.pack_into(">I", out, 4, audio + size - 8)
    elif container == "CAF":
        struct.pack_into(">q", out, at + 4, size + 4)
    else:
        struct.pack_into(">I", out, 8, size)
    return bytes(out)


def audio_at(container, data):
    """Where the first sample lies."""
    heads = {"WAV": (b"data", 8), "RF64": (b"data", 8), "W64": (b"data", 24)}
    heads |= {"AIFF": (b"SSND", 16), "CAF": (b"data", 16)}
    if container == "AU":
        return struct.unpack_from(">I", data, 4)[0]
    name, length = heads[container]
    return data.index(name) + length


OPEN_SIZES = {
    "WAV data 0": ("WAV", b"data", 4, "<I", 0),
    "WAV data -1": ("WAV", b"data", 4, "<I", 0xFFFFFFFF),
    "WAV RIFF 0": ("WAV", b"RIFF", 4, "<I", 0),
    "WAV RIFF -1": ("WAV", b"RIFF", 4, "<I", 0xFFFFFFFF),
    "RF64 0": ("RF64", b"ds64", 8, "<QQ", 0, 0),
    "RF64 -1": ("RF64", b"ds64", 8, "<QQ", 2**64 - 1, 2**64 - 1),
    "RF64 data -1": ("RF64", b"ds64", 16, "<Q", 2**64 - 1),
    "RF64 data 0": ("RF64", b"ds64", 16, "<Q", 0),
    "W64 -1": ("W64", b"riff", 16, "<Q", 2**64 - 1),
    "W64 0": ("W64", b"riff", 16, "<Q", 0),
    "W64 data -1": ("W64", b"data", 16, "<Q", 2**64 - 1),
    "W64 data 0": ("W64", b"data", 16, "<Q", 0),
    "W64 data 24": ("W64", b"data", 16, "<Q", 24),
    "AIFF FORM 0": ("AIFF", b"FORM", 4, ">I", 0),
    "AIFF SSND 0": ("AIFF", b"SSND", 4, ">I", 0),
    "AIFF SSND 8": ("AIFF", b"SSND", 4, ">I", 8),
    "AIFF SSND -1": ("AIFF", b"SSND", 4, ">I", 0xFFFFFFFF),
    "CAF -1": ("CAF", b"data", 4, ">q", -1),
    "CAF 0": ("CAF", b"data", 4, ">q", 0),
    "AU -1": ("AU", b".snd", 8, ">I", 0xFFFFFFFF),
    "AU 0": ("AU", b".snd", 8, ">I", 0),
}


def left_open(kind, data):
    """The file as a crashed recorder or a pipe leaves it."""
    _, name, offset, layout, *values = OPEN_SIZES[kind]
    out = bytearray(data)
    struct.pack_into(layout, out, out.index(name) + offset, *values)
    return bytes(out)


ID3V1 = b"TAG" + b"A title".ljust(30, b"\0") + b"An artist".ljust(30, b"\0") + bytes(65)
ID3V2 = b"ID3\x03\0\0\0\0\0\x12" + b"TIT2\0\0\0\x08\0\0\0A title"


def ape_tag(with_header=True, **items):
    """An APEv2 tag of text items."""
    body = b"".join(
        struct.pack("<II", len(value.encode()), 0) + key.encode() + b"\0" + value.encode()
        for key, value in items.items()
    )
    size, flags = len(body) + 32, 0x80000000 if with_header else 0
    foot = struct.pack("<8sIIII8x", b"APETAGEX", 2000, size, len(items), flags)
    head = struct.pack("<8sIIII8x", b"APETAGEX", 2000, size, len(items), flags | 0x20000000)
    return (head if with_header else b"") + body + foot


APE = ape_tag(Title="A title", Artist="An artist")
LYRICS = b"LYRICSBEGININD0000200" + b"LYR00002la" + b"000031LYRICS200" + ID3V1
NO_AUDIO = {
    "ID3v1": ID3V1,
    "ID3v2": ID3V2,
    "APE": APE,
    "APE without a header": ape_tag(with_header=False, Title="A title"),
    "APE and ID3v1": APE + ID3V1,
    "Lyrics3": LYRICS,
    "zeros": bytes(4096),
    "zeros and a tag": bytes(512) + ID3V1,
}
CHUNK_BEHIND = riff_chunk(b"LIST", b"INFO" + riff_chunk(b"INAM", b"a name\0"))


def crc8(raw):
    value = 0
    for byte in raw:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
    return value


def crc16(raw):
    value = 0
    for byte in raw:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x8005 if value & 0x8000 else 0)) & 0xFFFF
    return value


def verbatim_flac(samples, bits, rate=48000, block=1024, counted=None):
    """A FLAC file of any depth, without prediction and without an MD5, built by hand."""
    channels, frames = samples.shape
    counted = frames if counted is None else counted
    fields = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | counted
    info = struct.pack(">HH6x", block, block) + fields.to_bytes(8, "big") + bytes(16)
    out = b"fLaC" + b"\x80" + len(info).to_bytes(3, "big") + info
    for number, first in enumerate(range(0, frames, block)):
        piece = samples[:, first : first + block]
        head = bytes([0xFF, 0xF8, 0x70, (channels - 1) << 4, number])
        head += (piece.shape[1] - 1).to_bytes(2, "big")
        head += bytes([crc8(head)])
        body = "".join(
            "00000010" + "".join(f"{int(value) & (1 << bits) - 1:0{bits}b}" for value in channel)
            for channel in piece
        )
        body += "0" * (-len(body) % 8)
        frame = head + int(body, 2).to_bytes(len(body) // 8, "big")
        out += frame + crc16(frame).to_bytes(2, "big")
    return out
