"""Judges WAV, RF64, W64, AIFF, CAF and AU files: is anything missing, is anything left over?"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from presets import StemwrightError

from .faults import damaged, left_over, truncated, unfinished, unsupported
from .file_bytes import FileBytes, left_over_at, trailing_tags_start
from .inspection import Inspection, Link
from .mpeg import inspect_mp3
from .riff import UNKNOWN_SIZE, Chunk, ChunkFile, walk_chunks

AUDIO = "bytes of audio"
MPEG_TAG = 0x55
WAV_CODECS = {1: "s{bits}le", 3: "f{bits}le", 6: "alaw", 7: "mulaw"}
# WAV's tags of codecs that no libsndfile decodes, so that they are refused by name
FOREIGN_TAGS = {
    **{0x0160: "WMA 1", 0x0161: "WMA 2", 0x0162: "WMA Pro", 0x0163: "WMA Lossless"},
    **{0x00FF: "AAC", 0x1610: "AAC", 0x2000: "AC-3", 0x2001: "DTS", 0x0008: "DTS"},
    **{0x0050: "MPEG Layer II", 0x674F: "Ogg Vorbis", 0xF1AC: "FLAC", 0x0270: "ATRAC3"},
}
AIFF_CODECS = {
    **{b"NONE": "s{bits}be", b"twos": "s{bits}be", b"sowt": "s{bits}le"},
    **{b"fl32": "f32be", b"FL32": "f32be", b"fl64": "f64be", b"FL64": "f64be"},
    **{b"alaw": "alaw", b"ALAW": "alaw", b"ulaw": "mulaw", b"ULAW": "mulaw"},
}
AU_CODECS = {
    **{1: ("mulaw", 1), 2: ("s8", 1), 3: ("s16be", 2), 4: ("s24be", 3), 5: ("s32be", 4)},
    **{6: ("f32be", 4), 7: ("f64be", 8), 27: ("alaw", 1)},
}
AU_MAGIC_BYTES = 24
# The first bytes of files that someone may have joined to the end of another
_MAGICS = (b"RIFF", b"RF64", b"BW64", b"riff", b"FORM", b"caff", b".snd", b"fLaC", b"OggS", b"ID3")


@dataclass(frozen=True)
class Form:
    """How samples are stored; `codec` is what ffmpeg calls them, None where frames differ."""

    codec: str | None
    frame_bytes: int
    channels: int
    sample_rate: int

    def shown(self, size: int, unit: str = "") -> str:
        """A number of bytes, with the time that they last."""
        amount = f"{size} {unit}" if unit else str(size)
        if not self.codec or not self.frame_bytes or not self.sample_rate:
            return amount
        return f"{amount} ({size / self.frame_bytes / self.sample_rate:.3f} s)"


def inspect_wav(path: Path) -> Inspection:
    """WAV, RF64, BW64 and W64."""
    file = walk_chunks(path)
    head, data = file.find(b"fmt "), file.find(b"data")
    if head is None or head.size < 16 or head.size > 4096:
        raise damaged(path, "no usable 'fmt ' chunk")
    body = file.read(head).ljust(16, b"\0")
    tag, channels, rate, _byte_rate, align, bits = struct.unpack_from("<HHIIHH", body)
    if channels == 0 or align == 0:
        raise damaged(path, f"{channels} channels of {align} bytes")
    extensible = tag == 0xFFFE and len(body) >= 24
    mask = struct.unpack_from("<I", body, 20)[0] if extensible else 0
    real_tag = struct.unpack_from("<H", body, 24)[0] if extensible and len(body) >= 26 else tag
    codec = WAV_CODECS.get(real_tag, "").format(bits=-(-bits // 8) * 8).replace("s8le", "u8")
    _judge(file, data, Form(codec or None, align, channels, rate))
    assert data is not None
    if real_tag in FOREIGN_TAGS:
        raise unsupported(path, f"a WAV file that holds {FOREIGN_TAGS[real_tag]}", _decode_first())
    if real_tag == MPEG_TAG:
        return inspect_mp3(path, file.container, data.offset, data.offset + data.size)
    frames = data.size // align if real_tag in (1, 3) else None
    links = _plain_links(file)
    if file.container != "wav":
        prefix = _rf64_header(body, data.size, align)
        links = (Link(prefix, ((data.offset, data.offset + data.size),)),)
    return Inspection(file.container, frames, mask or None, links=links)


def inspect_aiff(path: Path) -> Inspection:
    """AIFF and AIFF-C."""
    file = walk_chunks(path)
    common, sound = file.find(b"COMM"), file.find(b"SSND")
    if common is None or common.size < 18:
        raise damaged(path, "no usable COMM chunk")
    body = file.read(common).ljust(18, b"\0")
    channels, frames, bits = struct.unpack_from(">hIh", body)
    if frames and sound is None:
        raise truncated(path, frames, 0, "frames")
    compression = body[18:22] if len(body) >= 22 else b"NONE"
    width = (bits + 7) // 8
    codec = AIFF_CODECS.get(compression, "").format(bits=width * 8)
    codec = {"s8be": "s8", "s8le": "s8"}.get(codec, codec)
    if codec:
        widths = {"alaw": 1, "mulaw": 1, "f32be": 4, "f64be": 8}
        width = widths.get(codec, width)
    form = Form(codec or None, max(1, channels * width), channels, _extended_rate(body[8:18]))
    offset, block = _ssnd_head(file, sound)
    _judge(file, sound, form, skip=8 + offset)
    if sound and codec and _is_padded(path, form, frames, sound, offset, block):
        return Inspection("aiff", frames, links=(_unpadded(file, form, body, frames),))
    return Inspection("aiff", frames, links=_plain_links(file))


def inspect_caf(path: Path) -> Inspection:
    """Apple's Core Audio Format."""
    file = walk_chunks(path)
    head, data = file.find(b"desc"), file.find(b"data")
    if head is None or head.size < 32:
        raise damaged(path, "no usable 'desc' chunk")
    rate, kind, flags, packet, per_packet, channels, bits = struct.unpack(
        ">d4s5I", file.read(head)[:32].ljust(32, b"\0")
    )
    codec = {b"alaw": "alaw", b"ulaw": "mulaw"}.get(kind)
    if kind == b"lpcm" and packet:
        order = "le" if flags & 2 else "be"
        codec = ("f" if flags & 1 else "s") + str(bits) + ("" if bits == 8 else order)
    sound_rate = int(rate) if 0 < rate < 1e9 else 0
    form = Form(codec if packet else None, packet or 1, channels, sound_rate)
    _judge(file, data, form, skip=4)
    assert data is not None
    frames = (data.size - 4) // packet if codec and packet and per_packet == 1 else None
    return Inspection("caf", frames, links=_plain_links(file))


def inspect_au(path: Path) -> Inspection:
    """Sun's AU."""
    with path.open("rb") as file:
        data = FileBytes(file)
        head = data[0:AU_MAGIC_BYTES]
        if len(head) < AU_MAGIC_BYTES:
            raise damaged(path, "the AU header is cut short")
        offset, length, encoding, rate, channels = struct.unpack(">5I", head[4:])
        codec, width = AU_CODECS.get(encoding, (None, 1))
        walk = ChunkFile(
            path,
            "au",
            (Chunk(b"data", offset, length),),
            trailing_tags_start(data, min(offset, data.stop)),
            _loose_at(data, offset + length),
            "the AU header does not state a length" if length == UNKNOWN_SIZE else None,
        )
    if length == 0 and walk.length - offset >= 8:
        walk = ChunkFile(path, "au", walk.chunks, walk.length, None, "the AU size was left at 0")
    _judge(walk, walk.chunks[0], Form(codec, max(1, width * channels), channels, rate))
    return Inspection("au", links=_plain_links(walk))


def _loose_at(data: FileBytes, position: int) -> int | None:
    behind = left_over_at(data, position) if position < data.stop else data.stop
    return behind if behind < data.stop else None


def _judge(file: ChunkFile, audio: Chunk | None, form: Form, skip: int = 0) -> None:
    """Refuse what is unfinished, cut or not all counted; `skip` bytes come before the samples."""
    path = file.path
    start = audio.offset + skip if audio else 0
    if file.open_size:
        rescue = _take_all(form, start) if audio else "export it anew."
        raise unfinished(path, file.open_size, rescue)
    for chunk in file.chunks:
        _refuse_beyond(file, chunk, audio, form)
    if audio is None:
        if file.loose_at is not None:
            raise damaged(path, f"no chunk begins at byte {file.loose_at} where one must")
        raise StemwrightError(
            "mix-empty", f"{path.name}: a header without audio. Export the mix again."
        )
    _refuse_second(file, audio, form)
    if file.loose_at is not None:
        _refuse_loose(file, audio, form, start)


def _refuse_beyond(file: ChunkFile, chunk: Chunk, audio: Chunk | None, form: Form) -> None:
    there = max(file.length - chunk.offset, 0)
    if chunk.size <= there:
        return
    if chunk == audio:
        raise truncated(file.path, form.shown(chunk.size, AUDIO), form.shown(there), "")
    name = chunk.id.decode("latin-1")
    raise truncated(file.path, chunk.size, there, f"bytes in its {name!r} chunk")


def _refuse_second(file: ChunkFile, audio: Chunk, form: Form) -> None:
    """Two chunks of audio: a decoder would read the first and stop."""
    further = [chunk for chunk in file.chunks if chunk.id == audio.id and chunk != audio]
    if further:
        counted, all_there = audio.size, audio.size + sum(chunk.size for chunk in further)
        count = 1 + len(further)
        raise left_over(
            file.path,
            form.shown(counted, f"{AUDIO} in its first of {count} '{audio.id.decode()}' chunks"),
            form.shown(all_there),
            "",
            "Export it anew as one. For the second part alone, "
            + _take_all(form, further[0].offset),
        )


def _refuse_loose(file: ChunkFile, audio: Chunk, form: Form, start: int) -> None:
    assert file.loose_at is not None
    loose = file.length - file.loose_at
    if file.loose_at < audio.offset:
        raise damaged(file.path, f"no chunk begins at byte {file.loose_at} where one must")
    if loose < max(form.frame_bytes, 2):
        return  # less than a frame
    with file.path.open("rb") as opened:
        opened.seek(file.loose_at)
        magic = opened.read(4)
    if magic.startswith(_MAGICS):
        advice = (
            f"Another file begins at byte {file.loose_at}. Part them, and separate each: "
            f"ffmpeg -skip_initial_bytes {file.loose_at} -i IN -c copy REST takes out the second."
        )
    else:
        advice = f"Export it anew. If this is all there is, {_take_all(form, start)}"
    counted = audio.size - (start - audio.offset)
    raise left_over(file.path, form.shown(counted, AUDIO), form.shown(counted + loose), "", advice)


def _take_all(form: Form, start: int) -> str:
    """The command that takes all bytes from `start` on for audio, whatever the header says."""
    if not form.codec:
        return "export it anew."
    name = {"alaw": "pcm_alaw", "mulaw": "pcm_mulaw", "s8": "pcm_u8", "u8": "pcm_u8"}
    coded = name.get(form.codec, "pcm_" + form.codec.replace("be", "le"))
    return (
        f"take all of it for audio: ffmpeg -f {form.codec} -ar {form.sample_rate} "
        f"-ac {form.channels} -skip_initial_bytes {start} -i IN -c:a {coded} OUT.wav"
    )


def _decode_first() -> str:
    return "Decode it first: ffmpeg -i IN -c:a pcm_s24le OUT.wav"


def _plain_links(file: ChunkFile) -> tuple[Link, ...]:
    """The file without tags behind it, or as it is."""
    return (Link(ranges=((0, file.length),)),) if file.length < file.path.stat().st_size else ()


def _ssnd_head(file: ChunkFile, sound: Chunk | None) -> tuple[int, int]:
    """Offset of the samples in an SSND chunk, and the block size that it is padded to."""
    if sound is None:
        return 0, 0
    head = file.read(Chunk(sound.id, sound.offset, 8)).ljust(8, b"\0")
    offset, block = struct.unpack(">II", head)
    return offset, block


def _is_padded(path: Path, form: Form, frames: int, sound: Chunk, offset: int, block: int) -> bool:
    """COMM counts frames, SSND holds bytes: refuse if they differ, but for padding to a block."""
    there = max(0, sound.size - 8 - offset)
    if there // form.frame_bytes < frames:
        raise truncated(path, frames, there // form.frame_bytes, "frames")
    if there // form.frame_bytes > frames:
        end = sound.offset + 8 + offset + frames * form.frame_bytes
        with path.open("rb") as file:
            behind = FileBytes(file, stop=sound.offset + sound.size)
            padded = behind.first_not_zero(end, behind.stop) == behind.stop
            if padded and behind.stop - end < block:
                return True
        start = sound.offset + 8 + offset
        advice = f"Export it anew. If this is all there is, {_take_all(form, start)}"
        raise left_over(path, frames, there // form.frame_bytes, "frames", advice)
    return False


def _unpadded(file: ChunkFile, form: Form, common: bytes, frames: int) -> Link:
    """A bare header, and the samples without what pads them: libsndfile takes that for audio."""
    sound = file.find(b"SSND")
    assert sound is not None
    size, start = frames * form.frame_bytes, sound.offset + 8 + _ssnd_head(file, sound)[0]
    kind = b"AIFC" if len(common) > 18 else b"AIFF"
    body = struct.pack(">4sI", b"COMM", len(common)) + common + b"\0" * (len(common) % 2)
    body += struct.pack(">4sIII", b"SSND", 8 + size, 0, 0)
    head = struct.pack(">4sI4s", b"FORM", 4 + len(body) + size, kind)
    return Link(head + body, ((start, start + size),))


def _extended_rate(raw: bytes) -> int:
    """The integer part of an 80-bit IEEE 754 extended number, 0 for nonsense."""
    exponent, mantissa = struct.unpack(">HQ", raw)
    shift = 16383 + 63 - (exponent & 0x7FFF)
    return int(mantissa >> shift) if 0 <= shift < 64 else 0


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
