"""Whole songs: stems in step from one score, sections that return, throats, recorded notes."""

from random import Random

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bench_path  # noqa: F401 - first, it finds the next one
from export.synthesis import song_form
from export.synthesis.band import drum_track
from export.synthesis.computed_ensembles import Bowed, Organ, Remembered
from export.synthesis.computed_instruments import SAMPLE_RATE_HZ, String
from export.synthesis.midi import Note, Track
from export.synthesis.mixing_desk import Desk, duck_curve
from export.synthesis.rhythm_parts import KICK
from export.synthesis.sampled_instruments import SampledInstrument, instruments_in, read_sfz
from export.synthesis.singers import lead_line
from export.synthesis.singing import Syllable, Throat, sing, syllables
from export.synthesis.song_form import in_sections, locked_to, random_plan
from export.synthesis.song_rendering import open_studio, perform, render_songs
from export.synthesis.studio import Studio
from presets import StemwrightError
from realism import EDGES_HZ, excerpt, in_common, of_stem, rows
from stemwright import main

unhurried = settings(deadline=None, max_examples=30)
names = st.integers(0, 10_000).map("song_{}".format)


def pitch_hz(audio, low=60, high=1000):
    """The fundamental by autocorrelation, between two frequencies in Hz."""
    likeness = np.fft.irfft(np.abs(np.fft.rfft(audio, 2 * audio.size)) ** 2)
    lags = np.arange(int(SAMPLE_RATE_HZ // high), int(SAMPLE_RATE_HZ // low))
    return SAMPLE_RATE_HZ / lags[np.argmax(likeness[lags])]


@pytest.fixture
def short_songs(monkeypatch):
    monkeypatch.setattr(song_form, "SONG_S", (4.0, 5.0))


@unhurried
@given(names)
def test_sections_cover_the_song_and_every_bar_has_a_chord(name):
    plan = random_plan(name)
    bar = 0
    for section in plan.sections:
        assert section.first_bar == bar
        bar += section.bars
    assert bar == len(plan.song.chords)
    low, high = song_form.SONG_S
    assert low - 4 < plan.song.beats * 60 / plan.song.tempo_bpm < high + 4


@unhurried
@given(names)
def test_a_section_that_returns_sounds_as_it_did(name):
    plan = random_plan(name)
    first = {}
    for section in plan.sections:
        begin = section.first_bar * plan.song.beats_per_bar
        end = begin + section.bars * plan.song.beats_per_bar
        for track in (*drum_track(plan), *lead_line(plan)):
            heard = [
                (round(n.start - begin, 6), n.pitch) for n in track.notes if begin <= n.start < end
            ]
            if section.bars == next(s.bars for s in plan.sections if s.name == section.name):
                # a stroke before the beat may fall into the section before
                inner = [h for h in heard if 0.5 < h[0] < end - begin - 0.5]
                assert first.setdefault((section.name, track.is_drums), inner) == inner


@unhurried
@given(names)
def test_nobody_plays_where_the_plan_says_rest(name):
    plan = random_plan(name)
    stroke = Track(0, (Note(0.0, 1.0, 60, 90),))
    for stem, played_in in plan.playing.items():
        starts = [
            s.first_bar * plan.song.beats_per_bar for s in plan.sections if s.name in played_in
        ]
        tracks = in_sections(plan, stem, "stroke", lambda s, r, _: stroke)
        assert [n.start for track in tracks for n in track.notes] == starts


@unhurried
@given(
    st.text("xX.", min_size=12, max_size=16),
    st.integers(0, 99),
    st.floats(0, 1, allow_subnormal=False),
)
def test_a_locked_bass_plays_with_every_kick(kick, seed, density):
    line = locked_to(kick, Random(seed), density)
    assert len(line) == len(kick)
    assert all(line[i] not in "-." for i, mark in enumerate(kick[:-2]) if mark in "xX")


def test_stems_of_a_song_are_in_step_and_their_sum_does_not_clip(short_songs, tmp_path):
    studio = open_studio((), None, None)
    (files,) = render_songs(tmp_path, 1, 3, studio)
    again = next(iter(render_songs(tmp_path / "again", 1, 3, studio)))
    assert {p.name for p in files} == {"song_3_0000.flac"}
    assert len({p.parent.name for p in files}) == len(files) >= 2
    audio = [soundfile.read(p, always_2d=True)[0] for p in files]
    assert len({a.shape for a in audio}) == 1
    assert audio[0].shape[1] == 2
    assert np.abs(sum(audio)).max() <= 0.71
    assert all(np.abs(a).max() > 1e-3 for a in audio)
    assert [p.read_bytes() for p in files] == [p.read_bytes() for p in again]
    assert not list(tmp_path.rglob("*.part"))


def test_another_seed_is_another_song(short_songs):
    assert random_plan("song_0_0000").song != random_plan("song_1_0000").song


def test_the_kick_of_the_score_is_heard_in_the_drums(short_songs):
    plans = (random_plan(f"kick{i}") for i in range(99))
    plan, strokes = next(
        (plan, kicks)
        for plan in plans
        for track in drum_track(plan)
        if (kicks := [n.start for n in track.notes if n.pitch == KICK])
    )
    drums = perform(plan, Studio())["drums"].mean(axis=0)
    low = np.abs(np.fft.irfft(np.fft.rfft(drums)[: drums.size // 400], drums.size))
    at = [round(s * 60 / plan.song.tempo_bpm * SAMPLE_RATE_HZ) for s in strokes]
    near = np.mean([low[max(a, 0) : a + 3000].max() for a in at])
    assert near > 2 * np.median(low)


@settings(deadline=None, max_examples=8)
@example(47, 160)
@example(47, 466)
@given(st.integers(45, 64), st.integers(0, 999))
def test_a_throat_sings_the_pitch_it_is_told(pitch, seed):
    throat = Throat.random(Random(seed))
    word = Syllable(0.1, 0.9, pitch, 0.9, vowel=0, onset="", tied=False)
    sung = sing([word], throat, 1.1, Random(seed))
    asked_hz = 440 * 2 ** ((pitch - 69) / 12)
    # a quarter of an octave to both sides: formants far away are the autocorrelation's affair
    heard = pitch_hz(sung[20_000:40_000], asked_hz * 2**-0.25, asked_hz * 2**0.25)
    assert abs(1200 * np.log2(heard / asked_hz)) < 80


def test_nobody_sings_in_a_rest_and_consonants_hiss():
    throat = Throat.random(Random(1))
    words = [
        Syllable(0.2, 0.4, 57, 0.9, vowel=0, onset="hiss", tied=False),
        Syllable(1.5, 0.4, 57, 0.9, vowel=1, onset="", tied=False),
    ]
    sung = sing(words, throat, 2.2, Random(0))
    rate = SAMPLE_RATE_HZ
    voice = np.sqrt(np.mean(sung[int(0.35 * rate) : int(0.55 * rate)] ** 2))
    rest = np.sqrt(np.mean(sung[int(0.8 * rate) : int(1.2 * rate)] ** 2))
    assert rest < 0.01 * voice
    before = sung[int(0.12 * rate) : int(0.2 * rate)]
    spectrum = np.abs(np.fft.rfft(before)) ** 2
    assert spectrum[spectrum.size // 9 :].sum() > 0.5 * spectrum.sum()  # above 2.4 kHz


@unhurried
@given(st.integers(0, 999), st.floats(0, 1, allow_subnormal=False))
def test_every_note_is_sung_once(seed, melisma):
    notes = [Note(0.5 * i, 0.5, 60 + i % 5, 90) for i in range(12)]
    sung = syllables(notes, 120.0, Random(seed), words=True, melisma=melisma)
    assert [s.pitch for s in sung] == [n.pitch for n in notes]
    assert not any(s.tied and s.onset for s in sung)
    assert not sung[0].tied


@pytest.mark.parametrize(
    "build", [Organ.random, Bowed.random, lambda r: String.random(r, low=False)]
)
def test_what_is_remembered_sounds_the_same_pitch(build):
    rng = Random(4)
    voice = Remembered(build(rng))
    long, short = voice.note(220.0, 1.5, 0.8, rng), voice.note(220.0, 0.2, 0.8, rng)
    assert long.size > short.size
    cents = 1200 * np.log2(pitch_hz(long[5000:45_000]) / 220.0)
    assert abs((cents + 600) % 1200 - 600) < 60


# --- recorded notes -----------------------------------------------------------------------------


def instrument(folder, text, hz=(220.0,)):
    folder.mkdir(parents=True, exist_ok=True)
    time = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    for index, frequency in enumerate(hz):
        tone = sum(np.sin(2 * np.pi * k * frequency * time) / k for k in range(1, 6))
        soundfile.write(folder / f"n{index}.wav", 0.2 * tone, SAMPLE_RATE_HZ)
    (folder / "some.sfz").write_text(text)
    return folder / "some.sfz"


def test_regions_inherit_and_velocities_choose(tmp_path):
    path = instrument(
        tmp_path,
        """// a comment with sample=none.wav
        #define $LOW 40
        <global> pitch_keycenter=57 <group> lokey=$LOW hikey=60 hivel=63
        <region> sample=n0.wav
        <group> lokey=40 hikey=60 lovel=64 <region> sample=n1.wav pitch_keycenter=a3
        <region> sample=missing.wav
        <region> trigger=release sample=n0.wav""",
        (220.0, 220.5),
    )
    soft, loud = read_sfz(path)
    assert (soft.low, soft.high, soft.centre, soft.softest, soft.loudest) == (40, 60, 57, 0, 63)
    assert (loud.centre, loud.softest, loud.path.name) == (57, 64, "n1.wav")


def test_a_recorded_note_is_bent_to_its_key(tmp_path):
    path = instrument(tmp_path, "<region> sample=n0.wav lokey=0 hikey=127 pitch_keycenter=57")
    note = SampledInstrument(path).note(330.0, 0.5, 0.9, Random(0))
    assert pitch_hz(note[2000:]) == pytest.approx(330.0, rel=0.01)


def test_an_instrument_written_an_octave_high_sounds_where_it_is_told(tmp_path):
    path = instrument(tmp_path, "<region> sample=n0.wav lokey=0 hikey=127 pitch_keycenter=69")
    note = SampledInstrument(path).note(220.0, 0.5, 0.9, Random(0))
    assert pitch_hz(note[2000:]) == pytest.approx(220.0, rel=0.01)


def test_parts_of_instruments_are_no_instruments(tmp_path):
    whole = instrument(tmp_path, '#include "parts/map.sfz"')
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/map.sfz").write_text("<region> sample=n0.wav key=57")
    assert instruments_in(tmp_path) == [whole]
    assert len(read_sfz(whole)) == 1


def test_an_instrument_without_samples_says_so(tmp_path):
    path = instrument(tmp_path, "<region> sample=gone.wav key=57")
    with pytest.raises(StemwrightError, match=r"no region of it has a sample"):
        SampledInstrument(path)


# --- the desk -----------------------------------------------------------------------------------


def noise(seed, seconds=3):
    shape = 2, seconds * SAMPLE_RATE_HZ
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("stem", ["vocals", "bass", "drums", "guitar", "other"])
def test_a_desk_draws_white_noise_towards_finished_stems(stem):
    plan = random_plan("desk")
    desk = Desk.random(plan)
    finished = desk.finish(stem, noise(0), Random(1))
    assert finished.shape == noise(0).shape
    found = of_stem(finished, 1.0)
    assert found["power above 16.5 kHz, dB"] < -8  # white noise has -6
    raw = of_stem(noise(0), 1.0)
    if stem == "bass":
        low, high = (f"power {EDGES_HZ[i]}-{EDGES_HZ[i + 1]} Hz, dB" for i in (0, 5))
        assert found[low] - found[high] > raw[low] - raw[high] + 10


def test_a_limiter_holds_the_sum_down_and_stems_share_its_gain():
    plan = random_plan("limiter")
    desk = Desk(Desk.random(plan).room, {}, 2e4, limiting=6.0, pumping=0.0, pump_s=0.1)
    quiet, loud = noise(0), noise(1)
    loud[:, 60_000:61_000] *= 8
    stems = {"vocals": quiet, "drums": loud}
    kick = np.zeros(quiet.shape[1], np.float32)
    out = desk.balanced(stems, kick, Random(0))
    free = Desk(desk.room, {}, 2e4, 0.0, 0.0, 0.1).balanced(stems, kick, Random(0))

    def crest(parts):
        mix = sum(parts.values())
        return np.abs(mix).max() / np.sqrt(np.mean(mix**2))

    assert crest(out) < 0.7 * crest(free)
    gain = out["vocals"] / quiet
    assert gain[:, 60_500].mean() < 0.7 * gain[:, 20_000].mean()
    assert np.allclose(
        gain[0, ::97],
        (out["drums"] / loud)[0, ::97] * gain[0, 97] / (out["drums"] / loud)[0, 97],
        rtol=1e-3,
    )


def test_a_kick_ducks_at_its_strokes_alone():
    curve = duck_curve([0.5], 0.2, SAMPLE_RATE_HZ)
    assert curve[: SAMPLE_RATE_HZ // 2].max() == 0
    assert curve.max() > 0.9
    assert curve[int(0.71 * SAMPLE_RATE_HZ) :].max() == 0


# --- the command and the bench ------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [[], ["--songs", "1", "--stem", "bass"], ["--stem", "bass"], ["--songs", "1", "--procedural"]],
)
def test_render_says_what_it_needs(tmp_path, words):
    done = CliRunner().invoke(main, ["prior", "render", str(tmp_path / "out"), *words])
    assert done.exit_code != 0
    assert not (tmp_path / "out").exists()


def test_missing_instruments_are_named(tmp_path):
    with pytest.raises(StemwrightError, match=r"bass/, guitar/"):
        open_studio((), None, tmp_path / "none")


def test_onsets_in_step_have_more_in_common_than_at_random():
    rng = np.random.default_rng(0)
    first = rng.random(600)
    assert in_common(first, first + 0.3 * rng.random(600)) > 0.8
    assert abs(in_common(first, rng.random(600))) < 0.3


def test_the_excerpt_is_where_everybody_plays():
    rate = SAMPLE_RATE_HZ
    voice, drums = noise(0, 12), noise(1, 12)
    voice[:, : 6 * rate] = 0
    drums[:, 10 * rate :] = 0
    cut = excerpt({"vocals": voice, "drums": drums}, 4.0)
    assert np.array_equal(cut["vocals"], voice[:, 6 * rate : 10 * rate])
    assert np.array_equal(cut["drums"], drums[:, 6 * rate : 10 * rate])


def test_equal_material_is_not_apart():
    songs = [of_stem(noise(seed) * (1 + seed), 1.0) for seed in range(4)]
    table = rows({"drums": songs}, {"drums": songs})
    assert max(row[0] for row in table) == 0
    louder = [of_stem(3 * noise(seed) * (1 + seed), 1.0) for seed in range(4)]
    (level,) = [r for r in rows({"drums": songs}, {"drums": louder}) if "level, dB of mix" in r[2]]
    assert level[5] - level[3] == pytest.approx(20 * np.log10(3), abs=0.1)


def test_songs_are_written_where_recordings_are_read(short_songs, tmp_path):
    from export.data.recordings import find_recordings, songs_of

    list(render_songs(tmp_path, 1, 5, Studio()))
    for folder in tmp_path.iterdir():
        files = find_recordings([folder])
        assert set(songs_of(files, folder.name).values()) == {"song_5_0000"}
