"""Metadata: what a mix carries is on every stem, as other programs read it."""

import json
import struct
import subprocess

import mutagen
import numpy as np
import pytest
import soundfile

from engine.audio import wave_header
from engine.audio.loudness import Loudness
from engine.audio.metadata import bext_loudness, naming_fields, with_history
from engine.audio.reading import MixReader, probe
from engine.audio.riff import walk_chunks
from engine.audio.signal import MixFile
from engine.audio.tags import read_tags
from engine.stems.naming import NameTemplate
from engine.stems.output_format import OutputFormat
from engine.stems.stem_set import write_set
from fidelity_fixtures import (
    ffmpeg,
    quiet_integers,
    riff_chunk,
    riff_wav,
    separate,
    tool,
    write_pcm,
)

TIME_REFERENCE = 3600 * 48000 + 123  # one hour after midnight and a little
HISTORY = b"A=ANALOGUE,M=stereo,T=Studer A80\r\nA=PCM,F=48000,W=24,M=stereo,T=Lynx\r\n"
BEXT = struct.pack(
    "<256s32s32s10s8sQH64s5h180s",
    b"Final mix, take 3",
    b"Mixing Room B",
    b"FRXYZ0001",
    b"2026-11-21",
    b"10:20:30",
    TIME_REFERENCE,
    1,
    bytes(range(64)),
    *([0] * 5),
    b"",
)
IXML = (
    b'<?xml version="1.0" encoding="UTF-8"?><BWFXML><IXML_VERSION>2.0</IXML_VERSION>'
    b"<PROJECT>Stems</PROJECT><SCENE>12</SCENE><TAKE>3</TAKE><NOTE>caf\xc3\xa9</NOTE></BWFXML>"
)
CUE = struct.pack("<I", 2) + b"".join(
    struct.pack("<II4sIII", number, at, b"data", 0, 0, at) for number, at in ((1, 100), (2, 2000))
)
LABELS = b"adtl" + riff_chunk(b"labl", struct.pack("<I", 1) + b"Verse\0")
INFO = (
    b"INFO"
    + riff_chunk(b"INAM", b"Caf\xc3\xa9 Song\0")
    + riff_chunk(b"IART", b"Ana D\xc3\xadaz\0")
)


def bwf(path):
    """A broadcast wave file with everything before and behind its audio."""
    before = riff_chunk(b"bext", BEXT + HISTORY) + riff_chunk(b"iXML", IXML)
    after = riff_chunk(b"cue ", CUE) + riff_chunk(b"LIST", LABELS) + riff_chunk(b"LIST", INFO)
    after += riff_chunk(b"zzzz", b"nobody knows this") + riff_chunk(b"PEAK", bytes(24))
    path.write_bytes(riff_wav(quiet_integers(24, frames=96_000), 24, before=before, after=after))
    return path


def stems_of(tmp_path, mix, output=None):
    with MixReader(mix) as reader:  # libsndfile alone takes a W64's last chunks for audio
        audio = reader.read(1 << 20).double
    naming = NameTemplate("{title}_{stem}", naming_fields(mix, read_tags(mix)))
    with separate(tmp_path / "scratch", audio) as scratch:
        report = write_set(
            MixFile(mix, probe(mix)),
            scratch,
            tmp_path / "dry",
            naming,
            output or OutputFormat(),
            program="Stemwright 9",
        )
    return report, [tmp_path / "dry" / file.name for file in report.files]


def ffprobe_tags(path):
    command = [tool("ffprobe"), "-v", "error", "-show_format", "-of", "json", path]
    done = subprocess.run(command, check=True, capture_output=True)
    return {k.lower(): v for k, v in json.loads(done.stdout)["format"].get("tags", {}).items()}


def test_broadcast_wave_is_read_by_wavinfo(tmp_path):
    wavinfo = pytest.importorskip("wavinfo")
    report, paths = stems_of(tmp_path, bwf(tmp_path / "mix.wav"))
    for file, path in zip(report.files, paths, strict=True):
        info = wavinfo.WavInfoReader(path, info_encoding="utf-8")
        bext = info.bext
        assert bext.time_reference == TIME_REFERENCE
        assert bext.description == "Final mix, take 3"
        assert bext.originator_ref == "FRXYZ0001"
        assert bext.originator_date == "2026-11-21"
        assert bytes(bext.umid) == bytes(range(64))
        line = f"A=PCM,F=48000,W=24,M=stereo,T=Stemwright 9 {file.stem}\r\n"
        assert bext.coding_history == HISTORY.decode() + line
        assert bext.loudness_value == pytest.approx(file.loudness.integrated_lufs, abs=0.006)
        assert bext.max_true_peak == pytest.approx(file.loudness.true_peak_dbtp, abs=0.006)
        assert info.ixml.project == "Stems"
        assert info.ixml.take == "3"
        assert info.info.title == "Café Song"
        assert [cue.position for cue in info.cues.cues] == [100, 2000]
        assert [label.text for label in info.cues.labels] == ["Verse"]


def test_broadcast_wave_is_read_by_ffprobe(tmp_path):
    _, paths = stems_of(tmp_path, bwf(tmp_path / "mix.wav"))
    tags = ffprobe_tags(paths[0])
    assert tags["time_reference"] == str(TIME_REFERENCE)
    assert tags["originator_reference"] == "FRXYZ0001"
    assert tags["title"] == "Café Song"
    assert tags["coding_history"].count("A=PCM") == 2


def test_unknown_chunks_are_copied_and_untrue_ones_are_not(tmp_path):
    report, paths = stems_of(tmp_path, bwf(tmp_path / "mix.wav"))
    names = [chunk.id for chunk in walk_chunks(paths[0]).chunks]
    assert names.index(b"bext") < names.index(b"data") < names.index(b"cue ")
    stem = walk_chunks(paths[0])
    assert stem.read(stem.find(b"zzzz")) == b"nobody knows this"
    assert stem.read(stem.find(b"iXML")) == IXML
    assert b"PEAK" not in names
    assert report.metadata_dropped == ()


def test_the_first_stem_is_named_after_the_title(tmp_path):
    report, _ = stems_of(tmp_path, bwf(tmp_path / "mix.wav"))
    assert report.files[0].name == "Café Song_vocals.wav"


def test_a_w64_mix_keeps_its_chunks(tmp_path):
    samples = quiet_integers(24)
    mix = write_pcm(tmp_path / "mix.w64", samples, 24, container="W64")
    data = bytearray(mix.read_bytes())
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    data += bytes(-len(data) % 8)
    payload = BEXT + HISTORY
    data += b"bext" + tail + struct.pack("<Q", len(payload) + 24) + payload
    data += bytes(-len(data) % 8)
    struct.pack_into("<Q", data, 16, len(data))
    mix.write_bytes(data)
    _, paths = stems_of(tmp_path, mix)
    assert ffprobe_tags(paths[0])["time_reference"] == str(TIME_REFERENCE)


def flac_with_tags(tmp_path):
    path = write_pcm(tmp_path / "mix.flac", quiet_integers(24), 24, container="FLAC")
    file = mutagen.File(path)
    file["title"], file["artist"], file["isrc"] = "Où", ["Ana", "Luz"], "FR6V82000001"
    file["replaygain_track_gain"] = "-7.1 dB"
    picture = mutagen.flac.Picture()
    picture.type, picture.mime, picture.data = 3, "image/png", b"\x89PNG not really"
    file.add_picture(picture)
    file.save()
    return path


def test_flac_tags_and_pictures_stay(tmp_path):
    mix = flac_with_tags(tmp_path)
    _, paths = stems_of(tmp_path, mix)
    for path in paths:
        file = mutagen.File(path)
        assert file["artist"] == ["Ana", "Luz"]
        assert file["isrc"] == ["FR6V82000001"]
        assert file.pictures[0].data == b"\x89PNG not really"
        assert ffprobe_tags(path)["title"] == "Où"
    assert naming_fields(mix, read_tags(mix)) == {
        "title": "Où",
        "artist": "Ana",
        "isrc": "FR6V82000001",
    }


@pytest.mark.parametrize("container", ["wav", "aiff"])
def test_flac_tags_become_id3(tmp_path, container):
    report, paths = stems_of(tmp_path, flac_with_tags(tmp_path), OutputFormat(container))
    assert report.metadata_dropped == ()
    tags = mutagen.File(paths[0]).tags
    assert tags["TIT2"].text == ["Où"]
    assert tags["TPE1"].text == ["Ana", "Luz"]
    assert tags["TSRC"].text == ["FR6V82000001"]
    assert ffprobe_tags(paths[0])["title"] == "Où"


def test_mp3_tags_stay_whole(tmp_path):
    soundfile.write(tmp_path / "tone.wav", 0.1 * np.sin(np.arange(20000) / 9), 44100)
    meta = ("-metadata", "title=Où", "-metadata", "artist=Ana", "-metadata", "mood=blue")
    ffmpeg("-i", tmp_path / "tone.wav", *meta, tmp_path / "mix.mp3")
    _, paths = stems_of(tmp_path, tmp_path / "mix.mp3")
    tags = mutagen.File(paths[0]).tags
    assert tags["TIT2"].text == ["Où"]
    assert tags["TXXX:mood"].text == ["blue"]


def test_ogg_tags_become_id3_and_info(tmp_path):
    soundfile.write(tmp_path / "mix.ogg", 0.1 * np.sin(np.arange(20000) / 9), 44100)
    file = mutagen.File(tmp_path / "mix.ogg")
    file["title"], file["isrc"] = "Où", "FR6V82000001"
    file.save()
    _, paths = stems_of(tmp_path, tmp_path / "mix.ogg")
    assert mutagen.File(paths[0]).tags["TSRC"].text == ["FR6V82000001"]
    wavinfo = pytest.importorskip("wavinfo")
    assert wavinfo.WavInfoReader(paths[0], info_encoding="utf-8").info.title == "Où"


def test_wave_tags_become_flac_tags_and_the_rest_is_reported(tmp_path):
    report, paths = stems_of(tmp_path, bwf(tmp_path / "mix.wav"), OutputFormat("flac"))
    assert mutagen.File(paths[0])["title"] == ["Café Song"]
    assert mutagen.File(paths[0])["artist"] == ["Ana Díaz"]
    assert report.metadata_dropped == ("LIST-adtl", "bext", "cue", "iXML", "zzzz")


def test_aiff_chunks_stay(tmp_path):
    mix = write_pcm(tmp_path / "mix.aiff", quiet_integers(24), 24, container="AIFF")
    data = bytearray(mix.read_bytes())
    for name, payload in (
        (b"NAME", b"Cafe"),
        (b"MARK", struct.pack(">HHIB1s", 1, 1, 42, 1, b"A")),
    ):
        data += struct.pack(">4sI", name, len(payload)) + payload + b"\0" * (len(payload) % 2)
    struct.pack_into(">I", data, 4, len(data) - 8)
    mix.write_bytes(data)
    report, paths = stems_of(tmp_path, mix)
    assert report.files[0].name == "Cafe_vocals.aiff"
    stem = walk_chunks(paths[0])
    assert stem.read(stem.find(b"MARK")) == struct.pack(">HHIB1s", 1, 1, 42, 1, b"A")
    assert ffprobe_tags(paths[0])["title"] == "Cafe"


def test_damaged_tags_do_not_stop_sound_audio(tmp_path):
    junk = riff_chunk(b"id3 ", b"ID3\x04\0\0\x7f\x7f\x7f\x7fTIT2\xff\xff") + riff_chunk(
        b"LIST", b"INFOI"
    )
    mix = tmp_path / "mix.wav"
    mix.write_bytes(riff_wav(quiet_integers(24), 24, after=junk))
    report, _ = stems_of(tmp_path, mix, OutputFormat("flac"))
    assert report.null_dbfs == -np.inf


def test_history_grows_by_a_line_whatever_it_was():
    for history in (b"", b"A=PCM\r\n", b"A=PCM\r\n\0\0\0", b"A=PCM"):
        grown = with_history(BEXT + history, "T=me")
        assert grown[:602] == BEXT
        assert grown[602:].rstrip(b"\0") == (b"A=PCM\r\n" if history else b"") + b"T=me\r\n"
        assert len(grown) % 2 == 0


def test_silence_has_no_loudness_to_write():
    silence = Loudness(*[-np.inf] * 6)
    assert struct.unpack("<5h", bext_loudness(silence)) == (0x7FFF,) * 5


def test_real_time_code_survives_rf64(tmp_path, monkeypatch):
    monkeypatch.setattr(wave_header, "LONGEST_RIFF_BYTES", 1000)
    _, paths = stems_of(tmp_path, bwf(tmp_path / "mix.wav"))
    assert paths[0].read_bytes()[:4] == b"RF64"
    assert ffprobe_tags(paths[0])["time_reference"] == str(TIME_REFERENCE)
