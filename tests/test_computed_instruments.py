"""Training material on computed instruments and on drum kits taken apart."""

from random import Random

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import stemwright
from export.recipe import RecipeRun
from export.synthesis import drum_kits
from export.synthesis.computed_drums import random_strike
from export.synthesis.computed_instruments import (
    SAMPLE_RATE_HZ,
    FrequencyModulated,
    String,
    Subtractive,
    add_at,
    bass,
    guitar,
    other,
)
from export.synthesis.computed_pianos import Hammered, Picked, piano
from export.synthesis.drum_kits import DrumKits, in_a_room
from export.synthesis.midi import Control, Note, Score, Track
from export.synthesis.rendering import compose, procedural_corpus
from export.training.options import TrainingOptions
from presets import StemwrightError

VOICES = {
    "string": lambda rng: String.random(rng, low=False),
    "bass string": lambda rng: String.random(rng, low=True),
    "subtractive": lambda rng: Subtractive.random(rng, low=False),
    "bass subtractive": lambda rng: Subtractive.random(rng, low=True),
    "modulated": FrequencyModulated.random,
    "hammered": Hammered.random,
    "picked": Picked.random,
}
NAMESPACE = ' xmlns="http://www.hydrogen-music.org/drumkit"'
KICK_HZ, SNARE_HZ, HAT_HZ = 60, 400, 5000


@pytest.fixture
def kits(tmp_path):
    """Two kits, one naming a namespace as newer ones do; every drum is a short tone."""
    time = np.arange(8820) / SAMPLE_RATE_HZ
    for folder, namespace in (("old", ""), ("new", NAMESPACE)):
        where = tmp_path / "kits" / folder
        where.mkdir(parents=True)
        instruments = ""
        for name, hz in (("Kick", KICK_HZ), ("Snare", SNARE_HZ), ("Closed HH", HAT_HZ)):
            layers = ""
            for layer in ("soft", "loud"):
                file = f"{name} {layer}.wav"
                audio = np.sin(2 * np.pi * hz * time) * np.exp(-time / 0.05)
                soundfile.write(where / file, audio, SAMPLE_RATE_HZ)
                layers += f"<layer><filename>{file}</filename></layer>"
            instruments += f"<instrument><name>{name}</name>{layers}</instrument>"
        (where / "drumkit.xml").write_text(
            f"<drumkit_info{namespace}><instrumentList>{instruments}</instrumentList></drumkit_info>"
        )
    return tmp_path / "kits"


@pytest.fixture
def recorded_alone(monkeypatch):
    """No drum of any kit is computed."""
    monkeypatch.setattr(drum_kits, "_COMPUTED_SHARES", (0.0,))


def spectrum_peak_hz(audio):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(audio.size)))
    return np.argmax(spectrum) * SAMPLE_RATE_HZ / audio.size


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", VOICES)
def test_a_voice_plays_the_note_that_is_written(kind, seed):
    """Its partials lie at multiples of the note, or of half of it (a sub-oscillator)."""
    voice = VOICES[kind](Random(seed))
    audio = voice.note(220.0, 1.5, 0.8, Random(seed))
    assert np.isfinite(audio).all()
    halves = spectrum_peak_hz(audio[4410:]) / 110.0
    assert abs(halves - round(halves)) < 0.06 * halves
    assert abs(audio[0]) < 1e-6
    assert abs(audio[-1]) < 1e-6


@pytest.mark.parametrize("instrument", [bass, guitar, piano, other])
def test_every_song_is_heard_and_has_an_instrument_of_its_own(instrument):
    score = compose(instrument.__name__, Random(1), 8.0)
    one, again, two = (instrument(score, Random(seed)) for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes()
    assert np.isfinite(one).all()
    assert np.sqrt(np.mean(one**2)) > 1e-3
    shapes = [np.abs(np.fft.rfft(song)) for song in (one, two)]
    alike = np.dot(*shapes) / np.prod([np.linalg.norm(s) for s in shapes])
    assert alike < 0.95


def level_db(audio, second):
    at = round(second * SAMPLE_RATE_HZ)
    return 10 * np.log10(np.mean(audio[at : at + 4410] ** 2) + 1e-20)


@pytest.mark.parametrize("seed", range(3))
def test_a_hammered_string_dies_away_sooner_when_it_is_high_and_is_brighter_when_hit_hard(seed):
    voice = Hammered.random(Random(seed))
    low, high = (voice.note(hz, 3.0, 0.7, Random(0)) for hz in (110.0, 1760.0))
    assert level_db(high, 0.2) - level_db(high, 2.0) > level_db(low, 0.2) - level_db(low, 2.0)

    def brightness(velocity):
        power = np.abs(np.fft.rfft(voice.note(262.0, 1.0, velocity, Random(0)))) ** 2
        hz = np.fft.rfftfreq(2 * power.size - 2, 1 / SAMPLE_RATE_HZ)
        return (power * hz).sum() / power.sum()

    assert brightness(1.0) > brightness(0.2)


def test_the_sustain_pedal_holds_a_piano_s_notes():
    notes = (Note(0.0, 0.5, 60, 100), Note(4.0, 0.5, 60, 100))
    pedal = (Control(0.1, 64, 127), Control(3.0, 64, 0), Control(3.1, 7, 80))
    score = Score(60.0, 8.0, (Track(0, notes, controls=pedal),))
    for seed in (1, 2, 5):
        audio = piano(score, Random(seed))
        held = level_db(audio, 2.0) - level_db(audio, 0.2)
        released = level_db(audio, 6.0) - level_db(audio, 4.2)
        assert held > released + 20


def test_most_bass_lines_leave_no_gaps():
    gaps = []
    for seed in range(20):
        (track,) = compose("bass", Random(seed), 8.0).tracks
        ends = [note.start + note.length for note in track.notes[:-1]]
        starts = [note.start for note in track.notes[1:]]
        gaps.append(np.mean(np.maximum(np.subtract(starts, ends), 0)))
    assert np.mean(np.array(gaps) < 0.06) == pytest.approx(0.6, abs=0.2)
    assert max(gaps) > 0.3


def test_what_lies_outside_a_song_is_left_out():
    out = np.zeros(100)
    tick = 1 / SAMPLE_RATE_HZ
    for second in (-1.0, 200 * tick):
        add_at(out, second, np.ones(50))
    assert not out.any()
    add_at(out, -20 * tick, np.ones(50))
    add_at(out, 80 * tick, np.ones(50))
    assert out.sum() == 30 + 20


@pytest.mark.usefixtures("recorded_alone")
def test_drums_sound_where_they_are_hit(kits):
    notes = (Note(0.0, 0.2, 36, 100), Note(1.0, 0.2, 38, 100), Note(2.0, 0.2, 42, 100))
    score = Score(60.0, 3.0, (Track(0, notes, is_drums=True),))
    audio = DrumKits(kits).play(score, Random(3))
    for second, hz in enumerate((KICK_HZ, SNARE_HZ, HAT_HZ)):
        at = second * SAMPLE_RATE_HZ
        # tuned by four semitones at most, and an equaliser or overdrive may favour a neighbour
        assert 0.7 < spectrum_peak_hz(audio[at : at + 8820]) / hz < 1.45
        assert (
            np.abs(audio[at : at + 8820]).max() > 5 * np.abs(audio[at + 30000 : at + 40000]).max()
        )


def test_kits_are_put_together_anew(kits):
    score = compose("drums", Random(0), 8.0)
    songs = {DrumKits(kits).play(score, Random(seed)).tobytes() for seed in (1, 2, 2)}
    assert len(songs) == 2


def test_a_folder_without_kits_is_told(tmp_path):
    with pytest.raises(StemwrightError, match="there is no kick, snare, hat") as caught:
        DrumKits(tmp_path)
    assert caught.value.code == "drum-kits-missing"


DRUMS = sorted({*drum_kits._DRUM_OF_PITCH.values()})


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("drum", DRUMS)
def test_a_computed_drum_is_struck_once_and_dies_away(drum, seed):
    audio = random_strike(Random(seed), drum, 45)(Random(seed))
    assert np.isfinite(audio).all()
    loud = np.abs(audio) > 0.1 * np.abs(audio).max()
    assert np.flatnonzero(loud)[0] < 0.06 * SAMPLE_RATE_HZ
    assert np.abs(audio[-100:]).max() < 0.05 * np.abs(audio).max()


def test_computed_drums_differ_from_song_to_song_and_toms_from_each_other():
    kicks = [random_strike(Random(seed), "kick", 36)(Random(0)) for seed in range(8)]
    assert len({kick.tobytes() for kick in kicks}) == 8
    assert all(spectrum_peak_hz(kick) < 300 for kick in kicks)
    low, high = (random_strike(Random(2), "tom", pitch)(Random(0)) for pitch in (41, 50))
    assert spectrum_peak_hz(high) / spectrum_peak_hz(low) == pytest.approx(2, rel=0.15)


def test_a_kit_can_be_computed_whole(monkeypatch, kits):
    monkeypatch.setattr(drum_kits, "_COMPUTED_SHARES", (1.0,))
    for kick in kits.glob("*/*.wav"):
        kick.write_bytes(b"not read")
    score = compose("drums", Random(0), 8.0)
    one, again, two = (DrumKits(kits).play(score, Random(seed)) for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes() != two.tobytes()
    assert np.sqrt(np.mean(one**2)) > 1e-3


def test_a_room_rings_on_and_leaves_what_was_there():
    click = np.zeros(SAMPLE_RATE_HZ)
    click[4410] = 1.0
    for seed in range(5):
        heard = in_a_room(click, Random(seed))
        assert heard.size == click.size
        assert not np.abs(heard[:4410]).max() > 1e-9
        added = heard - click
        ratio_db = 10 * np.log10((added**2).sum())
        assert -19 < ratio_db < 6
        assert (added[4410:8820] ** 2).sum() > 10 * (added[-4410:] ** 2).sum()


@pytest.mark.usefixtures("recorded_alone")
@pytest.mark.parametrize("name", ["drumkit.xml", "Kick loud.wav"])
def test_a_damaged_kit_is_named(kits, name):
    for folder in ("old", "new"):
        (kits / folder / name).write_bytes(b"<nothing")
    score = Score(60.0, 1.0, (Track(0, (Note(0.0, 0.2, 36, 127),), is_drums=True),))
    with pytest.raises(StemwrightError, match=name) as caught:
        DrumKits(kits).play(score, Random(0))
    assert caught.value.code == "drum-kit-damaged"


@pytest.mark.parametrize(
    ("stem", "message"),
    [("drums", "none are named"), ("flute", "drums, bass, guitar, piano, other")],
)
def test_what_cannot_be_played_is_told(stem, message, tmp_path):
    with pytest.raises(StemwrightError, match=message):
        procedural_corpus(tmp_path / "out", stem, 0.1, 0, None)
    assert not (tmp_path / "out").exists()


def test_files_are_named_and_long_enough(tmp_path, kits):
    words = ["prior", "render", tmp_path / "out", "--stem", "drums", "--minutes", "0.2"]
    done = CliRunner().invoke(
        stemwright.main, [*map(str, words), "--procedural", "--kits", str(kits)]
    )
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "out").iterdir())
    assert files[0].name == "procedural_drums_0_0000.flac"
    assert sum(soundfile.info(file).duration for file in files) >= 12.0
    audio, _ = soundfile.read(files[0])
    assert np.abs(audio).max() == pytest.approx(10 ** (-3 / 20), abs=1e-3)


def test_a_recipe_has_its_songs_played_once(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "catalogue: sources.yaml\n"
        "parts: {bass: ['*.wav']}\nprocedural: {bass: 0.1}\npriors: {bass: [bass]}\n"
    )
    (tmp_path / "sources.yaml").write_text("'*': {name: takes}\n")
    run = RecipeRun(
        tmp_path / "recipe.yaml", [tmp_path], [], None, None, TrainingOptions(tmp_path / "runs")
    )
    assert list(run.render()) == ["bass: 1 songs procedural"]
    (file,) = run.files("bass")
    made = file.read_bytes()
    assert list(run.render()) == []
    assert file.read_bytes() == made


def test_a_recipe_has_its_whole_songs_played_once(tmp_path, monkeypatch):
    monkeypatch.setattr("export.synthesis.song_form.SONG_S", (4.0, 5.0))
    (tmp_path / "recipe.yaml").write_text(
        "catalogue: sources.yaml\n"
        "parts: {bass: ['bass/*'], drums: ['drums/*']}\n"
        "priors: {bass: [bass], drums: [drums]}\n"
        "songs: 2\n"
    )
    run = RecipeRun(
        tmp_path / "recipe.yaml", [tmp_path], [], None, None, TrainingOptions(tmp_path / "runs")
    )
    (message,) = run.render()
    assert message.startswith("2 whole songs: ")
    names = {file.name for part in ("bass", "drums") for file in run.files(part)}
    assert names <= {"song_0_0000.flac", "song_0_0001.flac"}
    assert names
    assert list(run.render()) == []
