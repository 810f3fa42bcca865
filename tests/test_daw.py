"""Sessions for workstations, read back by schemas, parsers and a renderer of their own."""

import io
import json
import posixpath
import shutil
import struct
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rpp
import rppxml
import soundfile
import xmlschema

from engine import RenderOptions, load_manifest, render
from engine.daw.dawproject import write_dawproject
from engine.daw.reaper import quoted
from engine.daw.session import DawTrack, Session
from engine.daw.writing import write_session
from presets import StemwrightError, load_preset
from vst3_fixtures import needs_zam

HERE = Path(__file__).parent
FLOAT_ULP = 2.0**-23
MIXES = {
    "mono": (1, "PCM_16", 44100, ("low", "high")),
    "stereo": (2, "PCM_24", 48000, ("low", "high")),
    "96 kHz float": (2, "FLOAT", 96000, ("low", "high")),
    "12 stems": (2, "PCM_16", 44100, tuple(f"stem-{n}" for n in range(11))),
}


@pytest.fixture
def make_set(tmp_path, rng, tiny_prior_folder):
    def make(
        name="song", channels=2, subtype="PCM_16", rate=44100, stems=("low", "high"), more=""
    ):
        time = np.arange(rate // 4)[:, None] / rate
        tones = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (110, 3000))
        mix = tmp_path / f"{name}.wav"
        noise = 0.05 * rng.standard_normal((len(time), channels))
        soundfile.write(mix, tones + noise, rate, subtype=subtype)
        lines = "".join(
            f"  {stem}: {{prior: {('low', 'high')[i % 2]}}}\n" for i, stem in enumerate(stems)
        )
        preset = tmp_path / "tiny.yaml"
        preset.write_text(f"stems:\n{lines}search: {{tier: draft}}\n{more}", encoding="utf-8")
        options = RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu")
        render(mix, tmp_path / "set", load_preset(preset), options)
        return mix, tmp_path / "set"

    return make


def samples(source):
    audio, rate = soundfile.read(source, dtype="float64", always_2d=True)
    return audio.T, rate


def render_dawproject(path):
    """Resolve every reference of the file as an importer does, and add up what is not muted."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        root = ET.fromstring(archive.read("project.xml"))
        channels = {track.get("id"): track.find("Channel") for track in root.iter("Track")}
        total = None
        for lane in root.find("Arrangement/Lanes").findall("Lanes"):
            channel = channels[lane.get("track")]
            destination = channel.get("destination")
            assert destination == channels["track-master"].get("id")
            for clip in lane.iter("Clip"):
                assert clip.get("contentTimeUnit") == "seconds"
                audio, rate = samples(
                    io.BytesIO(archive.read(clip.find("Audio/File").get("path")))
                )
                assert rate == int(clip.find("Audio").get("sampleRate"))
                assert round(float(clip.get("duration")) * rate) == audio.shape[1]
                if channel.find("Mute").get("value") == "true":
                    continue
                start = round(float(clip.get("time")) * rate)
                placed = np.pad(audio, ((0, 0), (start, 0)))
                placed = placed * float(channel.find("Volume").get("value"))
                total = placed if total is None else total + placed
        return total


def rpp_tracks(path):
    """Tracks by `rpp`, each a dict of its fields; `rppxml` has to find the same number."""
    text = path.read_text(encoding="utf-8")
    project = rpp.loads(text)
    tracks = project.findall("TRACK")
    other = rppxml.loads(text)
    assert sum(getattr(child, "name", None) == "TRACK" for child in other.children) == len(tracks)
    for track in tracks:
        item = track.find("ITEM")
        yield {
            "name": track.find("NAME")[1],
            "gain": float(track.find("VOLPAN")[1]),
            "muted": track.find("MUTESOLO")[1] == "1",
            "start": float(item.find("POSITION")[1]),
            "length": float(item.find("LENGTH")[1]),
            "loop": item.find("LOOP")[1],
            "file": path.parent / item.find("SOURCE").find("FILE")[1],
        }


def render_rpp(path):
    total = None
    for track in rpp_tracks(path):
        audio, rate = samples(track["file"])
        assert round(track["length"] * rate) == audio.shape[1]
        assert track["loop"] == "0"
        if not track["muted"]:
            placed = np.pad(audio, ((0, 0), (round(track["start"] * rate), 0))) * track["gain"]
            total = placed if total is None else total + placed
    return total


RENDERERS = {"dawproject": render_dawproject, "reaper": render_rpp}


@pytest.mark.parametrize("kind", RENDERERS)
@pytest.mark.parametrize("name", MIXES)
def test_a_session_of_dry_stems_nulls_against_the_mix(make_set, name, kind):
    channels, subtype, rate, stems = MIXES[name]
    mix, folder = make_set("song", channels, subtype, rate, stems)
    played = RENDERERS[kind](write_session(folder, kind))
    truth, _ = samples(mix)
    assert played.shape == truth.shape
    assert np.abs(played - truth).max() <= FLOAT_ULP * (len(stems) + 1)


@pytest.mark.parametrize("kind", RENDERERS)
def test_wet_stems_are_printed_and_the_printed_sum_is_muted(make_set, kind):
    more = "sum_chain: [{effect: Gain, gain_db: -3}]\nresidual: {gain_db: -6}\n"
    _, folder = make_set(more=more)
    played = RENDERERS[kind](write_session(folder, kind))
    wet = [f for f in load_manifest(folder).files if f.kind == "wet" and f.stem != "sum"]
    assert len(wet) == 3
    truth = sum(samples(folder / file.path)[0] for file in wet)
    np.testing.assert_array_equal(played, truth)


@pytest.mark.parametrize("kind", RENDERERS)
def test_a_common_gain_is_undone_by_the_faders(tmp_path, make_set, kind):
    mix, folder = make_set()
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in (folder / "dry").iterdir():  # a set whose every file was made 6 dB quieter
        audio, rate = soundfile.read(file, dtype="float64", always_2d=True)
        soundfile.write(file, audio * 10 ** (-6 / 20), rate, subtype="FLOAT")
    manifest |= {"gain_db": -6.0, "undo_db": 6.0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    played = RENDERERS[kind](write_session(folder, kind))
    np.testing.assert_allclose(played, samples(mix)[0], atol=1e-6)


def test_both_xml_files_validate_against_the_schema(tmp_path, make_set):
    name = 'Björk & "The <Band>" – 日本'
    _, folder = make_set(name, stems=("low", "a", "b"))
    path = write_session(folder, "dawproject")
    with zipfile.ZipFile(path) as archive:
        for entry in ("project", "metadata"):
            schema = xmlschema.XMLSchema(HERE / f"dawproject-{entry}.xsd")
            schema.validate(archive.read(f"{entry}.xml").decode("utf-8"))
        metadata = ET.fromstring(archive.read("metadata.xml"))
        assert metadata.findtext("Title") == load_manifest(folder).title
        root = ET.fromstring(archive.read("project.xml"))
        names = archive.namelist()
    tracks = [
        track for track in root.iter("Track") if track.find("Channel").get("role") == "regular"
    ]
    assert [track.get("name") for track in tracks] == [
        "mix (reference)", "low", "a", "b", "residual",
    ]  # fmt: skip
    assert len({track.get("color") for track in tracks[1:]}) == 4
    assert [t.find("Channel/Mute").get("value") for t in tracks] == ["true"] + 4 * ["false"]
    assert all(not posixpath.isabs(name) and ".." not in name for name in names)


@pytest.mark.parametrize("kind", RENDERERS)
def test_the_reference_is_the_mix_sample_for_sample(tmp_path, make_set, kind):
    mix, folder = make_set(subtype="PCM_24")
    path = write_session(folder, kind)
    if kind == "dawproject":
        with zipfile.ZipFile(path) as archive:
            reference = io.BytesIO(archive.read("audio/00-mix--reference.wav"))
            assert soundfile.info(reference).subtype == "PCM_24"
            reference.seek(0)
            got, _ = samples(reference)
    else:
        got, _ = samples(next(rpp_tracks(path))["file"])
    np.testing.assert_array_equal(got, samples(mix)[0])


def test_another_mix_is_no_reference(tmp_path, make_set):
    _, folder = make_set()
    stranger = tmp_path / "stranger.wav"
    soundfile.write(stranger, np.zeros((100, 2)), 44100)
    with pytest.raises(StemwrightError, match="not the file that this set was made of"):
        write_session(folder, "reaper", mix=stranger)


@pytest.mark.parametrize("kind", RENDERERS)
def test_the_same_set_gives_the_same_bytes_anywhere(tmp_path, make_set, kind):
    mix, folder = make_set()
    suffix = {"dawproject": ".dawproject", "reaper": ".RPP"}[kind]
    first = write_session(folder, kind, tmp_path / "one" / f"x{suffix}", mix=mix).read_bytes()
    again = write_session(folder, kind, tmp_path / "two" / f"x{suffix}", mix=mix).read_bytes()
    assert first == again


def test_a_reaper_project_elsewhere_brings_its_media(tmp_path, make_set):
    mix, folder = make_set()
    path = write_session(folder, "reaper", tmp_path / "there" / "song.RPP")
    shutil.rmtree(folder)
    assert all(track["file"].is_relative_to(path.parent / "Media") for track in rpp_tracks(path))
    np.testing.assert_allclose(render_rpp(path), samples(mix)[0], atol=1e-6)


@pytest.mark.parametrize("kind", RENDERERS)
def test_clips_stand_where_a_broadcast_wave_says(make_set, kind):
    mix, folder = make_set(rate=48000)
    offset = 48000 * 3 + 17
    bext = bytearray(602)
    struct.pack_into("<Q", bext, 338, offset)
    for file in (folder / "dry").iterdir():
        content = file.read_bytes()
        data = content + b"bext" + struct.pack("<I", len(bext)) + bytes(bext)
        file.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    played = RENDERERS[kind](write_session(folder, kind))
    assert np.abs(played[:, :offset]).max() == 0
    np.testing.assert_allclose(played[:, offset:], samples(mix)[0], atol=1e-6)


@pytest.mark.parametrize(
    "name", ["plain", 'with "double"', "with 'single'", "a \"b\" 'c'", "a\nb", "`", "\"'`"]
)
def test_names_survive_the_quotes_of_a_format_without_escapes(name):
    text = f"<TRACK\n  NAME {quoted(name)}\n>\n"
    read = rpp.loads(text).find("NAME")[1]
    assert read == (name.replace("\n", " ") if "`" not in name or name == "`" else "\"''")


@needs_zam
def test_plugins_stay_live_where_a_chain_is_made_of_plugins(make_set, tmp_path, tiny_prior_folder):
    chain = "[{plugin: ZamCompX2, parameters: {threshold_db: -30.0}}]"
    make_set()
    preset = tmp_path / "live.yaml"
    preset.write_text(
        f"stems:\n  low: {{gain_db: -3, chain: {chain}}}\n"
        "  high: {chain: [{effect: Gain, gain_db: 2}]}\nsearch: {tier: draft}\n"
    )
    options = RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu")
    render(tmp_path / "song.wav", tmp_path / "live", load_preset(preset), options)
    path = write_session(tmp_path / "live", "dawproject", live=True)
    with zipfile.ZipFile(path) as archive:
        text = archive.read("project.xml").decode()
        xmlschema.XMLSchema(HERE / "dawproject-project.xsd").validate(text)
        devices = list(ET.fromstring(text).iter("Vst3Plugin"))
        assert [device.get("deviceName") for device in devices] == ["ZamCompX2"]
        state = archive.read(devices[0].find("State").get("path"))
    assert state[:4] == b"VST3"
    assert state[8:40].decode().upper() == devices[0].get("deviceID")


@pytest.mark.slow
def test_media_above_four_gibibytes(tmp_path):
    """A sparse RF64 of 4.2 GiB is embedded by way of zip64 and found again."""
    frames = 4_500_000_000 // 4
    stem = tmp_path / "long.wav"
    head = struct.pack("<4sI4s4sIQQQI", b"RF64", 0xFFFFFFFF, b"WAVE", b"ds64", 28,
                       frames * 4 + 72, frames * 4, frames, 0)  # fmt: skip
    head += struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 44100, 44100 * 4, 4, 16)
    head += struct.pack("<4sI", b"data", 0xFFFFFFFF)
    with stem.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + frames * 4)
    track = DawTrack("long", stem, "#000000", 2, 44100, frames)
    out = tmp_path / "long.dawproject"
    write_dawproject(Session("long", 44100, (track,)), out, tmp_path, "Stemwright 0")
    with zipfile.ZipFile(out) as archive:
        assert archive.getinfo("audio/00-long.wav").file_size == stem.stat().st_size
        duration = ET.fromstring(archive.read("project.xml")).find(".//Clip").get("duration")
    assert float(duration) == pytest.approx(frames / 44100, abs=1e-8)


@pytest.mark.parametrize(("kind", "name"), [("dawproject", "x.zip"), ("reaper", "x.txt")])
def test_a_wrong_suffix_is_refused(make_set, tmp_path, kind, name):
    _, folder = make_set()
    with pytest.raises(StemwrightError, match="expected a name that ends in"):
        write_session(folder, kind, tmp_path / name)
