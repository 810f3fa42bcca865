"""Loaders of the quality bench: the official folder layouts, made tiny here."""

import numpy as np
import pytest
import soundfile

import bench_path  # noqa: F401 - first, it finds the next ones
from fidelity_fixtures import ffmpeg, tool
from multitracks import LAYOUTS, Song, Stream

RATE = 8000
FOUR = ("vocals", "bass", "drums", "other")


def write(path, value=0.1, frames=800, channels=1, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full((frames, channels), value, np.float32), rate)
    return path


def test_musdb18hq_takes_the_test_half_without_its_mixtures(tmp_path):
    for part, song in (("train", "Heard"), ("test", "B - Two"), ("test", "A - One")):
        for name in (*FOUR, "mixture"):
            write(tmp_path / part / song / f"{name}.wav")
    songs = LAYOUTS["musdb18hq"](tmp_path)
    assert [song.name for song in songs] == ["A - One", "B - Two"]
    assert set(songs[0].stems) == set(FOUR)


def test_musdb18_reads_the_streams_of_stem_files(tmp_path):
    names, rate = ("mixture", "drums", "bass", "other", "vocals"), 44_100
    loudness = dict(zip(names, (0.4, 0.05, 0.1, 0.2, 0.3), strict=True))
    time = np.arange(rate) / rate
    for name, peak in loudness.items():
        tone = (peak * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
        soundfile.write(tmp_path / f"{name}.wav", np.stack([tone, tone], axis=1), rate)
    (tmp_path / "test").mkdir()
    inputs = [word for name in names for word in ("-i", tmp_path / f"{name}.wav")]
    chosen = [word for stream in range(5) for word in ("-map", f"{stream}:a")]
    ffmpeg(*inputs, *chosen, "-c:a", "aac", tmp_path / "test" / "A - One.stem.mp4")
    (song,) = LAYOUTS["musdb18"](tmp_path)
    stems, found_rate = song.read(seconds=0.5)
    assert (song.name, found_rate) == ("A - One", rate)
    assert {audio.shape for audio in stems.values()} == {(2, rate // 2)}
    for name in FOUR:
        heard = np.sqrt(2 * (stems[name] ** 2).mean())
        assert heard == pytest.approx(loudness[name], rel=0.05)


SLAKH_METADATA = """
UUID: 1a
stems:
  S00: {inst_class: Drums, is_drum: true, audio_rendered: true}
  S01: {inst_class: Guitar, is_drum: false, audio_rendered: true}
  S02: {inst_class: Guitar, is_drum: false, audio_rendered: true}
  S03: {inst_class: Strings (continued), is_drum: false, audio_rendered: true}
  S04: {inst_class: Piano, is_drum: false, audio_rendered: false}
  S05: {inst_class: Bass, is_drum: false, audio_rendered: true}
"""


@pytest.fixture
def slakh(tmp_path):
    track = tmp_path / "test" / "Track01876"
    for number in (0, 1, 2, 3, 5):
        write(track / "stems" / f"S{number:02}.flac", value=0.01 * 2**number)
    write(track / "mix.flac")
    (track / "metadata.yaml").write_text(SLAKH_METADATA)
    return tmp_path


def test_slakh2100_gathers_stems_by_instrument_class(slakh):
    (song,) = LAYOUTS["slakh2100"](slakh)
    assert song.name == "Track01876"
    assert {stem: len(files) for stem, files in song.stems.items()} == {
        "drums": 1,
        "guitar": 2,
        "other": 1,
        "bass": 1,
    }  # the piano was never rendered


def test_stem_of_several_files_is_their_sum(slakh):
    (song,) = LAYOUTS["slakh2100"](slakh)
    stems, rate = song.read(0)
    assert rate == RATE
    assert stems["guitar"] == pytest.approx(0.02 + 0.04, abs=1e-4)


def test_instruments_without_a_prior_go_to_other(slakh):
    (song,) = LAYOUTS["slakh2100"](slakh)
    folded = song.folded(FOUR)
    assert list(folded.stems) == ["bass", "drums", "other"]  # no vocals: K is 3
    assert len(folded.stems["other"]) == 3
    assert list(song.folded((*FOUR, "guitar")).stems) == ["bass", "drums", "other", "guitar"]


def test_folders_of_stems_in_any_container(tmp_path):
    write(tmp_path / "song" / "vocals.ogg", frames=4000)
    write(tmp_path / "song" / "bass.flac")
    write(tmp_path / "song" / "mixture.wav")
    (tmp_path / "song" / "notes.txt").write_text("no audio")
    (song,) = LAYOUTS["stems"](tmp_path)
    assert set(song.stems) == {"vocals", "bass"}


def test_song_with_a_stem_that_has_no_place_is_left_out(tmp_path):
    write(tmp_path / "quartet" / "soprano.wav")
    (song,) = LAYOUTS["stems"](tmp_path)
    assert song.folded(FOUR) is None


def test_held_out_songs_end_in_three(tmp_path):
    for number in ("053", "054", "130"):
        for instrument in ("bass", "guitar"):
            write(tmp_path / instrument / f"rendered_{number}.wav")
    write(tmp_path / "bass" / "loop_3.wav")
    (song,) = LAYOUTS["held-out"](tmp_path)
    assert song.name == "rendered_053"
    assert set(song.stems) == {"bass", "guitar"}


def ramp(path, frames, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.repeat(np.arange(frames)[:, None] / 4096, channels, axis=1)
    soundfile.write(path, steps.astype(np.float32), RATE, subtype="FLOAT")
    return path


def test_excerpt_is_the_middle_and_all_stems_keep_time(tmp_path):
    song = Song(
        "s", {"a": (ramp(tmp_path / "a.wav", 4000),), "b": (ramp(tmp_path / "b.wav", 900),)}
    )
    stems, _ = song.read(seconds=0.25)
    assert {audio.shape for audio in stems.values()} == {(1, 2000)}
    assert stems["a"][0, 0] * 4096 == pytest.approx(1000)
    assert not stems["b"].any()  # it ended before the excerpt begins


def test_mono_stems_join_stereo_ones_and_short_ones_are_padded(tmp_path):
    mono, stereo = ramp(tmp_path / "m.wav", 500), ramp(tmp_path / "s.wav", 800, channels=2)
    stems, _ = Song("s", {"m": (mono,), "s": (stereo,)}).read(seconds=0)
    assert stems["m"].shape == stems["s"].shape == (2, 800)
    assert np.array_equal(stems["m"][0], stems["m"][1])
    assert not stems["m"][:, 500:].any()


def test_stems_of_different_rates_are_refused(tmp_path):
    song = Song(
        "s", {"a": (write(tmp_path / "a.wav"),), "b": (write(tmp_path / "b.wav", rate=16000),)}
    )
    with pytest.raises(ValueError, match="sample rates"):
        song.read(0)


def test_a_missing_ffmpeg_or_stream_is_told(tmp_path, monkeypatch):
    tool("ffmpeg")
    song = Song("s", {"bass": (Stream(write(tmp_path / "mono.wav"), 2),)})
    with pytest.raises(SystemExit, match="no audio stream 2"):
        song.read(0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="not installed"):
        song.read(0)
