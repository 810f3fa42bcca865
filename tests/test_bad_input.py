"""Bad input: every kind gets one clear sentence with a code, and never shorter audio."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio import decoding
from engine.audio.reading import MixReader, verify_mix
from fidelity_fixtures import ffmpeg, integers, riff_chunk, riff_wav, write_pcm
from presets import StemwrightError

ROOT = Path(__file__).parents[1]
PLAIN = riff_wav(integers(16, 2, 2000), 16)


def patched(data, offset, fmt, value):
    out = bytearray(data)
    struct.pack_into(fmt, out, offset, value)
    return bytes(out)


def encoded(tmp_path, container, subtype, samples=None):
    samples = np.random.default_rng(0).normal(0, 0.1, (30000, 2)) if samples is None else samples
    path = tmp_path / "whole"
    soundfile.write(path, samples, 48000, format=container, subtype=subtype)
    return path.read_bytes()


BAD_BYTES = {
    "zero bytes": (b"", "mix-empty"),
    "text": (b"Dear mastering engineer,\nplease find attached\n" * 4, "mix-not-audio"),
    "web page": (b"<!DOCTYPE html><html>not found</html>", "mix-not-audio"),
    "m4a": (struct.pack(">I4s4s", 24, b"ftyp", b"M4A ") + bytes(100), "mix-not-audio"),
    "zeros": (bytes(5000), "mix-not-audio"),
    "header only": (riff_wav(integers(16, 2, 0), 16), "mix-empty"),
    "no data chunk": (struct.pack("<4sI4s", b"RIFF", 4, b"WAVE") + bytes(0), "mix-damaged"),
    "fmt but no data": (
        struct.pack("<4sI4s", b"RIFF", 28, b"WAVE") + PLAIN[12:36],
        "mix-empty",
    ),
    "RIFF size 0": (patched(PLAIN, 4, "<I", 0), "mix-unfinished"),
    "RIFF size -1": (patched(PLAIN, 4, "<I", 0xFFFFFFFF), "mix-unfinished"),
    "data size 0": (patched(PLAIN, 40, "<I", 0), "mix-unfinished"),
    "data size -1": (patched(PLAIN, 40, "<I", 0xFFFFFFFF), "mix-unfinished"),
    "data too short": (patched(PLAIN, 40, "<I", 4000), "mix-left-over"),
    "data too long": (patched(PLAIN, 40, "<I", 9000), "mix-truncated"),
    "cut": (PLAIN[:-1000], "mix-truncated"),
    "zero channels": (patched(PLAIN, 22, "<H", 0), "mix-damaged"),
    "zero rate": (patched(PLAIN, 24, "<I", 0), "mix-undecodable"),
    "absurd rate": (patched(PLAIN, 24, "<I", 3_000_000), "mix-rate-unsupported"),
    "rate 1": (patched(PLAIN, 24, "<I", 1), "mix-rate-unsupported"),
    "AIFF of ten bytes": (b"FORM\x80\0\x1c\x0c\0\x0f", "mix-not-audio"),
    "MP3 cut in its length": (b"\xff\xfb\x94" + bytes(11) + b"Xing", "mix-truncated"),
    "ID3 of five bytes": (b"ID3li", "mix-damaged"),
    "RF64 without ds64": (b"RF64\xff\xff\xff\xff" + PLAIN[8:], "mix-damaged"),
}


@pytest.mark.parametrize("kind", BAD_BYTES)
def test_bad_files_are_refused_with_a_code(tmp_path, kind):
    data, code = BAD_BYTES[kind]
    path = tmp_path / "song.wav"
    path.write_bytes(data)
    with pytest.raises(StemwrightError) as caught:
        verify_mix(path)
    assert caught.value.code == code
    assert str(caught.value).startswith("song.wav: ")


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(StemwrightError) as caught:
            verify_mix(path)
        assert caught.value.code == "mix-missing"


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_24"),
        ("RF64", "PCM_24"),
        ("W64", "PCM_24"),
        ("AIFF", "PCM_24"),
        ("CAF", "PCM_24"),
        ("AU", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("left", [0.31, 0.9, -1])
def test_no_truncated_file_passes(tmp_path, container, subtype, left):
    whole = encoded(tmp_path, container, subtype)
    path = tmp_path / "song"
    path.write_bytes(whole[: int(len(whole) * left)] if left > 0 else whole[:-1])
    with pytest.raises(StemwrightError) as caught:
        verify_mix(path)
    assert caught.value.code in ("mix-truncated", "mix-undecodable", "mix-damaged")


def test_mp3_cut_between_two_frames_is_seen_by_its_header(tmp_path):
    soundfile.write(tmp_path / "tone.wav", np.zeros((100000, 2)), 44100)
    ffmpeg("-i", tmp_path / "tone.wav", "-b:a", "128k", tmp_path / "song.mp3")
    whole = (tmp_path / "song.mp3").read_bytes()
    last = whole.rindex(whole[-417:][:2])
    (tmp_path / "song.mp3").write_bytes(whole[:last])
    with pytest.raises(StemwrightError) as caught:
        verify_mix(tmp_path / "song.mp3")
    assert caught.value.code == "mix-truncated"


def test_two_ogg_streams_side_by_side_are_not_half_read(tmp_path):
    one, other = encoded(tmp_path, "OGG", "VORBIS"), encoded(tmp_path, "OGG", "VORBIS")
    first_page = one.index(b"OggS", 4)
    (tmp_path / "song.ogg").write_bytes(one[:first_page] + other + one[first_page:])
    with pytest.raises(StemwrightError) as caught:
        verify_mix(tmp_path / "song.ogg")
    assert caught.value.code == "mix-format-unsupported"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_frame_that_is_no_number_is_named(tmp_path, bad):
    samples = np.zeros((70000, 2), np.float32)
    samples[66000, 1] = bad
    soundfile.write(tmp_path / "song.wav", samples, 44100, subtype="FLOAT")
    with pytest.raises(StemwrightError, match="frame 66000") as caught:
        verify_mix(tmp_path / "song.wav")
    assert caught.value.code == "mix-not-finite"


def test_a_32_bit_size_that_wrapped_is_seen(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(PLAIN)
    with path.open("r+b") as file:
        file.truncate(len(PLAIN) + (1 << 32))  # sparse
    with pytest.raises(StemwrightError) as caught:
        verify_mix(path)
    assert caught.value.code == "mix-wrapped"


def test_aiff_whose_counts_disagree_is_refused(tmp_path):
    path = write_pcm(tmp_path / "song.aiff", integers(16), 16, container="AIFF")
    data = path.read_bytes()
    at = data.index(b"COMM") + 10
    path.write_bytes(patched(data, at, ">I", 100))
    with pytest.raises(StemwrightError) as caught:
        verify_mix(path)
    assert caught.value.code == "mix-left-over"


def test_audio_behind_an_unknown_chunk_is_read(tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes(riff_wav(integers(16, 2, 100), 16, before=riff_chunk(b"zzzz", b"12345")))
    assert verify_mix(path).info.frames == 100


CRASHES = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
DIES_SILENTLY = "import os; os._exit(0)"
HANGS = "import time; time.sleep(600)"
GARBAGE = "print('nonsense' * 2000)"


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (CRASHES, "decoder-crashed"),
        (DIES_SILENTLY, "decoder-failed"),
        (HANGS, "decoder-hung"),
        (GARBAGE, "decoder-failed"),
    ],
)
def test_a_decoder_that_dies_is_one_clear_error(tmp_path, monkeypatch, program, code):
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(decoding, "_CHILD", child)
    with pytest.raises(StemwrightError) as caught:
        decoding.Decoder(tmp_path / "song.wav", stall_s=1.0)
    assert caught.value.code == code


def test_a_decoder_that_crashes_in_mid_file_is_not_an_end_of_file(tmp_path, monkeypatch):
    path = write_pcm(tmp_path / "song.wav", integers(16, 2, 500_000), 16)
    child = tmp_path / "child.py"
    source = decoding._CHILD.read_text()
    crash = "import os, signal; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGSEGV)"
    sends = "sys.stdout.buffer.write(samples)"
    child.write_text(source.replace(sends, f"{sends}; {crash}"))
    monkeypatch.setattr(decoding, "_CHILD", child)
    with pytest.raises(StemwrightError) as caught, MixReader(path) as mix:
        while mix.read(65536).frames:
            pass
    assert caught.value.code == "decoder-crashed"


def test_every_code_is_in_the_docs():
    page = (ROOT / "docs" / "fidelity.md").read_text()
    files = [*(ROOT / "engine" / "audio").glob("*.py"), *(ROOT / "engine" / "stems").glob("*.py")]
    source = "".join(path.read_text() for path in files)
    codes = set(re.findall(r'"((?:mix|decoder|stem|format|naming|disk|write)-[a-z-]+)"', source))
    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in page} == set()
