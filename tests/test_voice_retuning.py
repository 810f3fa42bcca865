"""Given pitches beside what is sung: moved where the recording tells it, else left as they are."""

import json

import numpy as np
import pytest

from engine.voices.retuning import MOST_HZ, retune
from engine.voices.salience import FRAME_S, PitchFrames
from engine.voices.sources import PitchRequest, find_pitches, notes_on
from voice_fixtures import MELODIES, choir

SAB = ("soprano", "alto", "bass")


@pytest.fixture(scope="module")
def sab():
    """A choir's frames, and its pitches at each of them."""
    audio, hertz = choir()
    frames = PitchFrames(audio)
    return audio, frames, hertz[:, : len(frames)].astype(np.float32)


def notes_off(hertz, by):
    """Every second note higher, the others lower, as voices are in tables of notes."""
    signs = np.array([1, -1] * 4, np.float32)
    every = signs[np.minimum((np.arange(hertz.shape[1]) * FRAME_S).astype(int), 7)]
    return np.where(hertz > 0, hertz + by * every, 0).astype(np.float32)


def far(found, hertz):
    return np.abs(found - hertz)[hertz > 0]


def test_right_pitches_stay_as_they_are_to_the_last_bit(sab):
    _, frames, hertz = sab
    found = retune(frames, hertz)
    assert np.array_equal(found.hertz, hertz)
    assert not found.moved_hz.any()


@pytest.mark.parametrize("by", [3.0, 5.0, -5.0])
def test_wrong_notes_are_moved_to_what_is_sung(sab, by):
    _, frames, hertz = sab
    found = retune(frames, notes_off(hertz, by))
    assert np.median(far(found.hertz, hertz)) < 0.2 * abs(by)
    assert (far(found.hertz, hertz) < 2).mean() > 0.8
    assert found.moved_hz == pytest.approx(abs(by), abs=1)


def test_only_the_voice_that_is_off_is_moved(sab):
    _, frames, hertz = sab
    table = hertz.copy()
    table[1] = notes_off(hertz, 5.0)[1]
    found = retune(frames, table)
    assert list(found.moved_hz > 0) == [False, True, False]
    assert np.array_equal(found.hertz[[0, 2]], hertz[[0, 2]])


def test_no_pitch_is_moved_farther_than_that_and_rests_stay_rests(sab):
    _, frames, hertz = sab
    table = notes_off(hertz, 23.0)
    found = retune(frames, table)
    assert np.abs(found.hertz - table).max() <= MOST_HZ + 0.5
    assert np.array_equal(found.hertz > 0, table > 0)
    assert not retune(frames, np.zeros_like(hertz)).hertz.any()


def test_a_table_that_was_moved_is_told(sab, tmp_path):
    audio, _, hertz = sab
    rows = {name: row.tolist() for name, row in zip(MELODIES, notes_off(hertz, 5.0), strict=True)}
    path = tmp_path / "a.f0.json"
    path.write_text(json.dumps({"frame_seconds": FRAME_S, "voices": rows}))
    found = find_pitches(audio, PitchRequest(SAB, files=(str(path),)))
    assert set(found.report["moved_hz"]) == set(SAB)
    assert any("alto: the given pitches were" in note for note in notes_on(found.report))
    assert np.median(far(found.tracks.hertz, hertz)) < 1
