"""Tags wherever they stand: what has a place is carried, everything else is named."""

import base64
import struct

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC, CueSheetTrack, CueSheetTrackIndex, Picture
from mutagen.id3 import APIC, COMM, GEOB, ID3, POPM, TALB, TIT2, TKEY, TXXX

from container_fixtures import APE, ID3V1, ID3V2, ape_tag, whole
from engine.audio.metadata import metadata_for, naming_fields
from engine.audio.riff import walk_chunks
from engine.audio.tags import read_tags
from engine.audio.wave_header import FileFormat, chunk
from engine.audio.writing import StemWriter
from fidelity_fixtures import ffmpeg, riff_chunk

WAV, AIFF, FLAC_OUT = (
    FileFormat(container, "pcm", 24, 2, 48000) for container in ("wav", "aiff", "flac")
)
FORMATS = pytest.mark.parametrize("fmt", [WAV, AIFF, FLAC_OUT], ids=lambda fmt: fmt.container)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def put(tmp_path, data, name="Some mix"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def stem_of(tmp_path, mix, fmt):
    """An empty stem with what it carries of the mix, and the names of what it does not."""
    metadata = metadata_for(mix, read_tags(mix), fmt).with_history("T=test")
    path = tmp_path / f"stem{fmt.extension}"
    with StemWriter(path, fmt, metadata.before, metadata.after) as writer:
        writer.write(np.zeros((2, 10), np.int32))
    return path, metadata.dropped


def mp3(tmp_path, tail=b"", head=b""):
    tone = 0.1 * np.sin(np.arange(20000) / 9)
    soundfile.write(tmp_path / "bare.mp3", np.stack([tone, tone], axis=1), 48000)
    return put(tmp_path, head + (tmp_path / "bare.mp3").read_bytes() + tail)


@FORMATS
@pytest.mark.parametrize("tail", [ID3V1, APE, APE + ID3V1], ids=["ID3v1", "APE", "both"])
def test_tags_behind_an_mp3_are_carried(tmp_path, fmt, tail):
    mix = mp3(tmp_path, tail)
    assert naming_fields(mix, read_tags(mix))["title"] == "A title"
    path, dropped = stem_of(tmp_path, mix, fmt)
    fields = read_tags(path).fields
    assert (fields["title"], fields["artist"]) == (["A title"], ["An artist"])
    assert dropped == ()


@pytest.mark.parametrize("container", ["WAV", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC", "OGG"])
def test_a_title_behind_any_container_reaches_the_name_and_the_stems(tmp_path, container):
    if container == "OGG":
        soundfile.write(tmp_path / "bare", np.zeros((9000, 2)), 48000, format="OGG")
        data = (tmp_path / "bare").read_bytes()
    else:
        data, _ = whole(container)
    mix = put(tmp_path, data + APE + ID3V1)
    assert naming_fields(mix, read_tags(mix)) == {
        "title": "A title",
        "artist": "An artist",
        "isrc": "",
    }
    for fmt in (WAV, AIFF, FLAC_OUT):
        path, dropped = stem_of(tmp_path, mix, fmt)
        assert read_tags(path).fields["title"] == ["A title"], fmt
        assert mutagen.File(path).tags is not None
        assert dropped == (), fmt


@FORMATS
@pytest.mark.parametrize("comments", [True, False])
def test_id3_in_front_of_flac_is_carried(tmp_path, fmt, comments):
    data, _ = whole("FLAC")
    mix = put(tmp_path, data)
    if comments:
        file = FLAC(mix)
        file["isrc"] = "FR6V82000001"
        file.save()
    tag = ID3()
    tag.add(TIT2(encoding=3, text="Où"))
    tag.add(APIC(encoding=3, mime="image/png", type=3, desc="", data=PNG))
    tag.add(GEOB(encoding=3, mime="x/y", filename="f", desc="d", data=b"123"))
    tag.save(tmp_path / "tag", v1=0)
    mix = put(tmp_path, (tmp_path / "tag").read_bytes() + mix.read_bytes())
    assert naming_fields(mix, read_tags(mix))["title"] == "Où"
    path, dropped = stem_of(tmp_path, mix, fmt)
    tags = read_tags(path)
    assert tags.fields["title"] == ["Où"]
    assert tags.fields.get("isrc") == (["FR6V82000001"] if comments else None)
    assert [picture.data for picture in tags.pictures] == [PNG]
    assert dropped == (("GEOB",) if fmt is FLAC_OUT else ())


def test_what_only_id3_can_hold_is_named(tmp_path):
    tag = ID3()
    tag.add(TIT2(encoding=3, text="Où"))
    tag.add(TKEY(encoding=3, text="Am"))
    tag.add(COMM(encoding=3, lang="eng", desc="mix notes", text="loud"))
    tag.add(TXXX(encoding=3, desc="Émotion=x", text="blue"))
    tag.add(GEOB(encoding=3, mime="x/y", filename="f", desc="d", data=b"123"))
    tag.add(POPM(email="a@b.c", rating=5))
    tag.add(APIC(encoding=3, mime="image/png", type=3, desc="", data=PNG))
    tag.save(tmp_path / "tag", v1=0)
    mix = mp3(tmp_path, head=(tmp_path / "tag").read_bytes())
    path, dropped = stem_of(tmp_path, mix, FLAC_OUT)
    assert dropped == ("GEOB", "POPM")
    file = FLAC(path)
    assert file["initialkey"] == ["Am"]
    assert file["comment_mix notes"] == ["loud"]
    assert file["_motion_x"] == ["blue"]
    assert file.pictures[0].data == PNG
    for fmt in (WAV, AIFF):
        path, dropped = stem_of(tmp_path, mix, fmt)
        assert dropped == ()
        assert mutagen.File(path).tags.getall("GEOB")[0].data == b"123"


def test_an_id3_tag_stays_as_it_is_and_takes_in_what_stands_behind(tmp_path):
    tag = ID3()
    tag.add(TALB(encoding=3, text="An album"))
    tag.add(GEOB(encoding=3, mime="x/y", filename="f", desc="d", data=b"123"))
    tag.save(tmp_path / "tag", v1=0)
    head = (tmp_path / "tag").read_bytes()
    alone = walk_chunks(stem_of(tmp_path, mp3(tmp_path, head=head), WAV)[0])
    assert alone.read(alone.find(b"id3 ")) == head
    path, dropped = stem_of(tmp_path, mp3(tmp_path, ID3V1, head), WAV)
    tags = mutagen.File(path).tags
    assert (tags["TALB"].text, tags["TIT2"].text) == (["An album"], ["A title"])
    assert tags.getall("GEOB")[0].data == b"123"
    assert dropped == ()


def test_every_field_of_info_becomes_a_field_of_flac(tmp_path):
    info = b"INFO" + b"".join(
        riff_chunk(name, text)
        for name, text in ((b"INAM", b"Caf\xe9\0"), (b"ISFT", b"A desk\0"), (b"IKEY", b"a; b\0"))
    )
    labels = b"adtl" + riff_chunk(b"labl", struct.pack("<I", 1) + b"Verse\0")
    data, _ = whole("WAV")
    out = bytearray(data + riff_chunk(b"LIST", labels) + riff_chunk(b"LIST", info))
    struct.pack_into("<I", out, 4, len(out) - 8)
    path, dropped = stem_of(tmp_path, put(tmp_path, bytes(out)), FLAC_OUT)
    file = FLAC(path)
    assert (file["title"], file["isft"], file["ikey"]) == (["Café"], ["A desk"], ["a; b"])
    assert dropped == ("LIST-adtl",)


@FORMATS
def test_the_info_of_caf_is_carried_and_its_other_chunks_named(tmp_path, fmt):
    data, _ = whole("CAF")
    texts = b"".join(
        text.encode() + b"\0" for text in ("title", "Où", "artist", "Ana", "comments", "loud")
    )
    info = struct.pack(">I", 3) + texts
    data += struct.pack(">4sq", b"info", len(info)) + info
    data += struct.pack(">4sq", b"mark", 8) + bytes(8)
    mix = put(tmp_path, data)
    assert naming_fields(mix, read_tags(mix))["title"] == "Où"
    path, dropped = stem_of(tmp_path, mix, fmt)
    fields = read_tags(path).fields
    assert (fields["title"], fields["artist"], fields["comment"]) == (["Où"], ["Ana"], ["loud"])
    assert dropped == ("mark",)


@FORMATS
def test_the_annotation_of_au_becomes_a_comment(tmp_path, fmt):
    data, _ = whole("AU")
    text = b"recorded at home\0\0\0\0"
    data = data[:4] + struct.pack(">I", 24 + len(text)) + data[8:24] + text + data[24:]
    path, dropped = stem_of(tmp_path, put(tmp_path, data), fmt)
    assert read_tags(path).fields["comment"] == ["recorded at home"]
    assert dropped == ()


def flac_with_cues(tmp_path):
    data, _ = whole("FLAC")
    mix = put(tmp_path, data)
    file = FLAC(mix)
    sheet = mutagen.flac.CueSheet(None)
    sheet.media_catalog_number, sheet.compact_disc = b"", False
    for number, start, isrc in ((1, 0, b"FRZ039800212"), (2, 2000, b"")):
        track = CueSheetTrack(number, start, isrc=isrc)
        track.indexes.append(CueSheetTrackIndex(1, 5))
        sheet.tracks.append(track)
    sheet.tracks.append(CueSheetTrack(255, 4801))
    file.cuesheet = sheet
    file.metadata_blocks.append(sheet)
    file.save()
    return mix


def test_a_cue_sheet_becomes_cue_points_with_labels(tmp_path):
    wavinfo = pytest.importorskip("wavinfo")
    path, dropped = stem_of(tmp_path, flac_with_cues(tmp_path), WAV)
    info = wavinfo.WavInfoReader(path)
    assert [cue.position for cue in info.cues.cues] == [5, 2005]
    assert [label.text for label in info.cues.labels] == ["Track 1 FRZ039800212", "Track 2"]
    assert dropped == ()
    assert stem_of(tmp_path, flac_with_cues(tmp_path), AIFF)[1] == ("cuesheet",)
    kept, dropped = stem_of(tmp_path, flac_with_cues(tmp_path), FLAC_OUT)
    assert len(FLAC(kept).cuesheet.tracks) == 3
    assert dropped == ()


@FORMATS
def test_pictures_go_between_vorbis_and_id3(tmp_path, fmt):
    picture = Picture()
    picture.mime, picture.type, picture.desc, picture.data = "image/png", 3, "cover", PNG
    soundfile.write(tmp_path / "mix.ogg", np.zeros((9000, 2)), 48000, format="OGG")
    file = mutagen.File(tmp_path / "mix.ogg")
    file["metadata_block_picture"] = [base64.b64encode(picture.write()).decode()]
    file.save()
    path, dropped = stem_of(tmp_path, tmp_path / "mix.ogg", fmt)
    (got,) = read_tags(path).pictures
    assert (got.mime, got.kind, got.description, got.data) == ("image/png", 3, "cover", PNG)
    assert dropped == ()


def test_ape_binaries_are_named_and_covers_kept(tmp_path):
    cover = b"Cover Art (Front)\0" + b"front.png\0" + PNG
    size = len(b"front.png\0" + PNG)
    item = struct.pack("<II", size, 2) + cover
    other = struct.pack("<II", 3, 2) + b"Dongle\0" + b"123"
    body = item + other
    foot = struct.pack("<8sIIII8x", b"APETAGEX", 2000, len(body) + 32, 2, 0)
    mix = mp3(tmp_path, body + foot)
    path, dropped = stem_of(tmp_path, mix, FLAC_OUT)
    assert dropped == ("APE Dongle",)
    assert FLAC(path).pictures[0].data == PNG


@pytest.mark.parametrize("tag", [ID3V1[:64], APE[:50], ID3V2[:15], ape_tag(Title="x")[:-32]])
@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_tags_that_are_cut_stop_nothing(tmp_path, container, tag):
    data, _ = whole(container)
    mix = put(tmp_path, data + tag)
    assert naming_fields(mix, read_tags(mix))["title"] == "Some mix"
    for fmt in (WAV, AIFF, FLAC_OUT):
        stem_of(tmp_path, mix, fmt)


def test_ffmpeg_reads_what_was_carried(tmp_path):
    path, _ = stem_of(tmp_path, mp3(tmp_path, APE), WAV)
    metadata = ffmpeg("-i", path, "-f", "ffmetadata", "-").decode()
    assert "title=A title" in metadata
    assert chunk(b"abcd", b"x")[-1:] == b"\0"
