"""The pitches of the voices as one class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.voices.pitches import PitchTracks
from presets import StemwrightError


def tracks(*rows, step=0.01, names=None):
    hertz = np.array(rows, np.float32)
    names = names or tuple(f"voice{n}" for n in range(len(rows)))
    return PitchTracks(names, hertz, step, np.ones_like(hertz), "test")


@given(st.lists(st.one_of(st.just(0.0), st.floats(60, 1500)), min_size=1, max_size=40))
def test_at_its_own_times_a_track_is_itself(row):
    one = tracks(row)
    assert np.allclose(one.at(one.times), one.hertz, rtol=1e-5)


@given(
    st.lists(st.floats(60, 1500), min_size=2, max_size=20),
    st.lists(st.floats(-1, 2, allow_subnormal=False), max_size=30),
)
def test_between_frames_a_pitch_stays_between_them(row, times):
    found = tracks(row).at(times)
    assert np.all((found == 0) | ((found > min(row) * 0.9999) & (found < max(row) * 1.0001)))


def test_a_glide_is_even_in_cents_and_a_rest_is_never_glided_into():
    one = tracks([200, 400, 0, 300])
    assert one.at([0.005])[0, 0] == pytest.approx(200 * 2**0.5, rel=1e-5)
    assert one.at([0.012, 0.018, 0.022, 0.03])[0] == pytest.approx([400, 0, 0, 300])
    assert list(one.at([-0.1, 1.0])[0]) == [0, 0]


def test_sureness_is_of_sung_frames_alone():
    hertz = np.array([[200, 0, 200, 0], [0, 0, 0, 0]], np.float32)
    one = PitchTracks(("a", "b"), hertz, 0.5, np.array([[1, 0, 0.5, 0.2], [1, 1, 1, 1]]), "test")
    assert list(one.sureness()) == [0.75, 0]
    assert list(one.voiced()) == [1.0, 0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"names": ("a", "a")}, "different names"),
        ({"names": ("a",)}, "1 voices, but pitches of shape (2, 3)"),
        ({"confidence": np.ones((2, 2))}, "confidence of shape"),
        ({"frame_seconds": 0.0}, "0.0 s apart"),
        ({"hertz": np.full((2, 3), 5000)}, "5000 to 5000 Hz"),
        ({"hertz": np.full((2, 3), np.nan)}, "not finite"),
    ],
)
def test_what_is_no_pitch_is_refused(change, says):
    good = {"names": ("a", "b"), "hertz": np.full((2, 3), 220), "frame_seconds": 0.01,
            "confidence": np.ones((2, 3)), "origin": "test"}  # fmt: skip
    with pytest.raises(StemwrightError) as caught:
        PitchTracks(**good | change)
    assert says in str(caught.value)
