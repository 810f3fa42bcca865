"""Notes of MIDI files: tempo maps, parts, layers, names; and what is refused."""

import itertools
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.voices.score import ScoreNote, read_score
from presets import StemwrightError

SATB = ("soprano", "alto", "tenor", "bass")


def midi(path, tracks, *, tempos=((0, 500_000),), ticks=480, kind=1):
    """Tracks of (name, [(begin tick, end tick, number[, channel])])."""
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    clock = mido.MidiTrack()
    now = 0
    for tick, tempo in tempos:
        clock.append(mido.MetaMessage("set_tempo", tempo=tempo, time=tick - now))
        now = tick
    file.tracks.append(clock)
    for name, notes in tracks:
        track = mido.MidiTrack()
        track.append(mido.MetaMessage("track_name", name=name))
        events = []
        for begin, end, number, *channel in notes:
            events += [(begin, 1, number, *channel), (end, 0, number, *channel)]
        now = 0
        for tick, on, number, *channel in sorted(events, key=lambda e: (e[0], e[1])):
            track.append(
                mido.Message("note_on", note=number, velocity=80 * on, time=tick - now,
                             channel=channel[0] if channel else 0)
            )  # fmt: skip
            now = tick
        file.tracks.append(track)
    file.save(path)
    return path


def one(number, at=0, length=480):
    return [(at, at + length, number)]


@settings(max_examples=40, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(1, 5000), st.integers(200_000, 1_500_000)),
        max_size=5, unique_by=lambda c: c[0],
    ),
    begin=st.integers(0, 8000),
    length=st.integers(100, 4000),
    ticks=st.sampled_from([96, 480, 960]),
)  # fmt: skip
def test_a_note_sounds_when_mido_says_that_its_ticks_are(tmp_path_factory, changes, begin,
                                                         length, ticks):  # fmt: skip
    tempos = ((0, 600_000), *sorted(changes))
    path = tmp_path_factory.mktemp("score") / "a.mid"
    midi(path, [("alto", [(begin, begin + length, 60)])], tempos=tempos, ticks=ticks)
    note = read_score(path, ["alto"]).parts["alto"][0]
    # mido's own player adds up the same file's seconds message by message
    now, heard = 0.0, []
    for message in mido.MidiFile(path):
        now += message.time
        if message.type == "note_on":
            heard.append(now)
    assert (note.begin_s, note.end_s) == pytest.approx(tuple(heard), abs=1e-6)


def test_parts_are_told_by_the_names_of_tracks_in_any_order(tmp_path):
    tracks = [("Bass", one(45)), ("S.", one(72)), ("Tenor voice", one(52)), ("alt", one(64))]
    score = read_score(midi(tmp_path / "a.mid", tracks), SATB)
    assert score.matched_by == "names"
    assert [score.parts[name][0].number for name in SATB] == [72, 64, 52, 45]


def test_an_accompaniment_is_left_out_where_all_parts_are_named(tmp_path):
    tracks = [("Piano", [(0, 480, 40), (0, 480, 47)]), ("soprano", one(72)), ("alto", one(64))]
    score = read_score(midi(tmp_path / "a.mid", tracks), ["soprano", "alto"])
    assert [notes[0].number for notes in score.parts.values()] == [72, 64]


def test_numbered_parts_keep_their_numbers(tmp_path):
    tracks = [("Tenor 2", one(50)), ("Tenor 1", one(57))]
    score = read_score(midi(tmp_path / "a.mid", tracks), ["tenor1", "tenor2"])
    assert [notes[0].number for notes in score.parts.values()] == [57, 50]


def test_parts_without_names_are_told_by_their_mean_pitch(tmp_path):
    tracks = [("x", one(45)), ("y", one(72)), ("z", one(52)), ("", one(64))]
    score = read_score(midi(tmp_path / "a.mid", tracks), SATB)
    assert score.matched_by == "pitch"
    assert [score.parts[name][0].number for name in SATB] == [72, 64, 52, 45]


def test_a_stave_of_two_voices_is_two_parts_in_order_also_through_rests(tmp_path):
    upper = [(0, 480, 72), (0, 480, 64), (480, 960, 65), (960, 1440, 71), (960, 1440, 62)]
    score = read_score(midi(tmp_path / "a.mid", [("women", upper)]), ["soprano", "alto"])
    numbers = {name: [note.number for note in notes] for name, notes in score.parts.items()}
    assert numbers == {"soprano": [72, 71], "alto": [64, 65, 62]}


def test_channels_of_one_track_are_parts_and_drums_are_none(tmp_path):
    notes = [(0, 480, 72, 0), (0, 480, 60, 1), (0, 480, 36, 9)]
    score = read_score(midi(tmp_path / "a.mid", [("", notes)], kind=1), ["soprano", "alto"])
    assert [notes[0].number for notes in score.parts.values()] == [72, 60]


def test_notes_of_one_singer_never_overlap(tmp_path):
    legato = [(0, 490, 60), (480, 970, 62), (960, 1440, 64)]
    notes = read_score(midi(tmp_path / "a.mid", [("alto", legato)]), ["alto"]).parts["alto"]
    assert [note.number for note in notes] == [60, 62, 64]
    assert all(a.end_s <= b.begin_s for a, b in itertools.pairwise(notes))


def test_numbers_at_any_time_are_the_notes_and_nan_in_rests(tmp_path):
    score = read_score(midi(tmp_path / "a.mid", [("alto", [(480, 960, 60)])]), ["alto"])
    assert score.parts["alto"] == (ScoreNote(0.5, 1.0, 60),)
    found = score.numbers_at(np.array([0.49, 0.5, 0.99, 1.0]))[0]
    assert list(np.isnan(found)) == [True, False, False, True]


def write(path: Path, blob: bytes) -> Path:
    path.write_bytes(blob)
    return path


@pytest.mark.parametrize(
    ("make", "names", "says"),
    [
        (lambda p: midi(p, [("a", one(60))]), SATB, "1 parts (a (1 notes)), fewer than the 4"),
        (lambda p: midi(p, [("a", one(60)), ("b", one(50))]), ["lead"], "2 parts"),
        (lambda p: midi(p, [("a", [])]), ["alto"], "no note"),
        (lambda p: midi(p, [("a", one(60))], kind=2), ["alto"], "type 2"),
        (lambda p: write(p, b"RIFF no midi"), ["alto"], "no Standard MIDI File"),
        (lambda p: write(p, b""), ["alto"], "no Standard MIDI File"),
        (lambda p: p, ["alto"], "No such file"),
    ],
)
def test_what_is_no_score_of_these_parts_is_refused(tmp_path, make, names, says):
    with pytest.raises(StemwrightError) as caught:
        read_score(make(tmp_path / "a.mid"), names)
    assert says in str(caught.value)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_score_or_a_sentence(tmp_path_factory, tail):
    path = tmp_path_factory.mktemp("fuzz") / "a.mid"
    midi(path, [("alto", [(0, 100, 60), (100, 300, 62)])])
    whole = path.read_bytes()
    path.write_bytes(whole[: max(1, len(whole) - len(tail))] + tail)
    try:
        read_score(path, ["alto"])
    except StemwrightError as error:
        assert "a.mid" in str(error)
