"""Pitches of a computed choir: tracked, from scores in any tempo, from tables; and odd input."""

import json

import numpy as np
import pytest

from engine.voices.pitch_files import pitches_json, read_pitch_files
from engine.voices.pitch_network import SHIPPED_PITCHES
from engine.voices.salience import PitchFrames, activations, pitch_grid
from engine.voices.sources import PitchRequest, beside, find_pitches, notes_on
from engine.voices.tracker import assign, registers_of
from presets import StemwrightError, sha256_of
from voice_fixtures import MELODIES, RATE, choir, sung, within, write_score

SAB = ("soprano", "alto", "bass")


@pytest.fixture(scope="module")
def sab():
    return choir()


@pytest.fixture
def song(tmp_path):
    return write_score(tmp_path / "song.mid")


def test_a_tone_is_the_strongest_candidate_and_its_octaves_are_quiet():
    audio, hertz = sung([60, 60], cents=0)
    found = activations(PitchFrames(audio.astype(np.float32)))[40]
    place = int(np.argmin(np.abs(pitch_grid() - np.median(hertz))))
    assert abs(int(found.argmax()) - place) <= 2
    for octave in (-60, 60):
        assert found[place + octave - 2 : place + octave + 3].max() < 0.2 * found.max()


def test_voices_are_at_home_by_their_names_else_from_the_highest_down():
    soprano, alto, tenor, bass = registers_of(["soprano", "alto", "tenor", "bass"])
    assert soprano > alto > tenor > bass
    assert list(registers_of(["bass2", "soprano1"])) == [bass, soprano]
    spread = registers_of(["one", "two", "three"])
    assert list(spread) == sorted(spread, reverse=True)


def test_the_tracker_follows_all_voices(sab):
    audio, hertz = sab
    found = find_pitches(audio, PitchRequest(SAB))
    assert found.report["origin"] == "tracker"
    assert within(found.tracks.hertz, hertz, 23) > 0.75
    assert within(found.tracks.hertz, hertz, 5) > 0.65


@pytest.mark.parametrize(
    ("seconds_a_note", "lead_in", "tempo"),
    [(1.0, 0.0, 500_000), (1.0, 3.0, 500_000), (0.7, 0.0, 350_000), (1.5, 1.0, 1_000_000)],
)
def test_a_score_in_any_tempo_is_laid_onto_the_recording(
    sab, tmp_path, seconds_a_note, lead_in, tempo
):
    audio, hertz = sab
    path = write_score(
        tmp_path / "a.mid", seconds_a_note=seconds_a_note, lead_in=lead_in, tempo=tempo
    )
    found = find_pitches(audio, PitchRequest(SAB, path))
    assert found.report["stretch"] == pytest.approx(1 / seconds_a_note, rel=0.03)
    assert found.report["offset_s"] == pytest.approx(-lead_in / seconds_a_note, abs=0.25)
    assert found.report["agreement"] > 2 * found.report["agreement_by_chance"]
    assert within(found.tracks.hertz, hertz, 23) > 0.9


def test_what_is_sung_is_found_around_what_is_written(sab, song):
    """Singers are 12 cents off and shake by 15: the score alone is no pitch."""
    audio, hertz = sab
    tracks = find_pitches(audio, PitchRequest(SAB, song)).tracks
    numbers = [[note for note in MELODIES[name] for _ in range(RATE // 256)] for name in SAB]
    written = np.array([[440 * 2 ** ((n - 69) / 12) if n else 0 for n in row] for row in numbers])
    assert within(tracks.hertz, hertz, 3) > within(written, hertz, 3) + 0.2


def test_a_choir_that_sings_lower_than_written_is_followed_and_told(song):
    audio, hertz = choir(transposed=-2)
    found = find_pitches(audio, PitchRequest(SAB, song))
    assert within(found.tracks.hertz, hertz, 23) > 0.85
    assert any("-2 semitones" in note for note in notes_on(found.report))


def test_a_score_of_another_song_is_refused(sab, tmp_path):
    rng = np.random.default_rng(3)
    other = {
        name: [int(n) for n in rng.integers(low, low + 14, 16)]
        for name, low in (("soprano", 67), ("alto", 59), ("bass", 42))
    }
    path = write_score(tmp_path / "other.mid", other, seconds_a_note=0.5)
    with pytest.raises(StemwrightError, match=r"other\.mid: no agreement with the audio"):
        find_pitches(sab[0], PitchRequest(SAB, path))


def test_a_tracked_set_is_the_same_twice(sab):
    audio = sab[0][: 3 * RATE]
    one, two = (find_pitches(audio, PitchRequest(SAB)).tracks for _ in range(2))
    assert np.array_equal(one.hertz, two.hertz) and np.array_equal(one.confidence, two.confidence)


def test_silence_is_rests_and_told_and_no_score_is_asked(song):
    found = find_pitches(np.zeros(RATE, np.float32), PitchRequest(SAB, song))
    assert found.report["origin"] == "silence" and not found.tracks.hertz.any()
    assert len([note for note in notes_on(found.report) if "never sings" in note]) == 3


def test_one_voice_is_followed():
    audio, hertz = sung(MELODIES["alto"])
    found = find_pitches(audio.astype(np.float32), PitchRequest(("alto",)))
    assert within(found.tracks.hertz, hertz[None], 5) > 0.9


def test_unisons_and_crossings_are_told(tmp_path):
    melodies = {"soprano": [72, 69, 65, 64], "alto": [65, 69, 71, 60]}
    ones = [sung(notes, seed=n, cents=3) for n, notes in enumerate(melodies.values())]
    path = write_score(tmp_path / "a.mid", melodies)
    audio = sum(audio for audio, _ in ones).astype(np.float32)
    found = find_pitches(audio, PitchRequest(tuple(melodies), path))
    assert set(found.report["unison_s"]) == {"soprano and alto"}
    assert set(found.report["crossing_s"]) == {"soprano and alto"}
    assert any("cross for" in note for note in notes_on(found.report))


def test_a_preset_that_insists_on_a_score_has_one_or_says_so(sab):
    with pytest.raises(StemwrightError, match="asks for pitches by a score"):
        find_pitches(sab[0], PitchRequest(SAB, method="score"))


def test_what_hears_the_pitches_is_told_as_it_was_foretold(tmp_path, song):
    """A key of work is made before anything is heard, and again of what the manifest says."""
    silence = np.zeros(RATE, np.float32)
    table = tmp_path / "song.f0.csv"
    table.write_text("time,soprano,alto,bass\n0,440,220,110\n1,440,220,110\n")
    heard = PitchRequest(SAB)
    assert find_pitches(silence, heard).report["tracked_by"]["sha256"] == heard.heard_by()
    assert heard.heard_by() == sha256_of(SHIPPED_PITCHES)
    for read in (PitchRequest(SAB, song), PitchRequest(SAB, files=(str(table),))):
        assert read.heard_by() is None
        assert "tracked_by" not in find_pitches(silence, read).report
    assert PitchRequest(SAB, song, method="tracker").heard_by() == heard.heard_by()


def test_what_lies_beside_a_mix_is_found_the_score_first(tmp_path):
    mix = tmp_path / "song.wav"
    assert beside(mix, SAB) == PitchRequest(SAB)
    (tmp_path / "song.f0.csv").write_text("time,alto\n")
    assert beside(mix, SAB).from_files == (str(tmp_path / "song.f0.csv"),)
    (tmp_path / "song.MID").write_text("x")
    request = beside(mix, SAB)
    assert request.from_score == tmp_path / "song.MID" and request.from_files == ()
    assert list(request.hashes()) == ["song.MID"]
    assert beside(mix, SAB, "tracker").hashes() == {}


# -- tables --------------------------------------------------------------------------------------


def test_tables_come_back_as_they_were_written(sab, tmp_path):
    tracks = find_pitches(sab[0], PitchRequest(SAB)).tracks
    path = tmp_path / "a.f0.json"
    path.write_text(pitches_json(tracks))
    back = read_pitch_files([path], SAB)
    assert np.allclose(back.hertz, tracks.hertz, atol=0.006)
    assert np.allclose(back.confidence, tracks.confidence, atol=0.006)


def table(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "time,bass,alto\n0,100,300\n0.016,100,300\n0.032,0,300\n"),
        ("a.csv", "Time;Alto;Bass\n0;300;100\n0.016;300;100\n0.032;300;\n"),
        ("a.json", json.dumps({"frame_seconds": 0.016, "voices": {
            "alto": [300, 300, 300], "bass": {"hertz": [100, 100, 0]}}})),
    ],
)  # fmt: skip
def test_every_form_of_a_table_says_the_same(tmp_path, name, text):
    found = read_pitch_files([table(tmp_path / name, text)], ["alto", "bass"])
    assert found.hertz.tolist() == [[300, 300, 300], [100, 100, 0]]


def test_a_file_for_each_voice_is_told_by_its_name_or_by_word(tmp_path):
    one = table(tmp_path / "song_alto.f0", "0 300\n0.016 300\n")
    two = table(tmp_path / "song2.f0", "time,frequency,confidence\n0,100,0.5\n0.016,-100,0.5\n")
    found = read_pitch_files([one, f"bass={two}"], ["alto", "bass"])
    assert found.hertz.tolist() == [[300, 300], [100, 0]]
    assert found.confidence.tolist() == [[1, 1], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no row of numbers"),
        ("time,alto\n0,300\n0,310\n", "do not rise"),
        ("time,alto\n0,60000\n", "expected Hz"),
        ("time,alto\n0,x\n", "'x' is no number"),
        ("time,alto\n0,300,3\n", "columns"),
        ("1,2,3,4\n", "no head that names alto"),
        ("{", "not the JSON of pitches"),
        ('{"frame_seconds": 1, "voices": {"bass": [100]}}', "no pitches for alto"),
        ("0 300\n", "tells none of alto"),
    ],
)
def test_what_is_no_table_of_pitches_is_refused(tmp_path, text, says):
    with pytest.raises(StemwrightError) as caught:
        read_pitch_files([table(tmp_path / "song.f0", text)], ["alto"])
    assert says in str(caught.value)


def test_six_voices_are_given_a_chord_in_order():
    chord = [180, 150, 125, 100, 70, 40]  # candidates
    frames = 40
    strengths = np.full((frames, len(pitch_grid())), 1e-4, np.float32)
    for candidate in chord:
        for offset, share in ((-1, 0.5), (0, 1.0), (1, 0.5)):
            strengths[:, candidate + offset] = share
    names = ["voice1", "voice2", "voice3", "voice4", "voice5", "voice6"]
    found = assign(strengths, np.ones(frames, np.float32), names)
    expected = pitch_grid()[chord]
    np.testing.assert_allclose(found.hertz[:, 10], expected, rtol=1e-3)
