"""Time left: what a render measured of itself, carried on to its end."""

import pytest

from engine.cli.terminal import left_text
from engine.pace import WET_BY_DECODING, WRITING_BY_DECODING, Pace


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize("wet", [False, True])
def test_time_left_is_right_when_the_pace_stays(wet):
    """Decoding 2 s, ten segments of 3 s, then writing as long as is usual."""
    clock = Clock()
    pace = Pace(wet=wet, clock=clock)
    writing = 2 * WRITING_BY_DECODING
    wet_s = 2 * WET_BY_DECODING if wet else 0
    assert pace.left_s("decoding", 0, 0) is None
    clock.now += 2
    pace.lap("decoding")
    assert pace.left_s("searching", 0, 10) is None
    for done in range(1, 11):
        clock.now += 3
        assert pace.left_s("searching", done, 10) == pytest.approx(
            3 * (10 - done) + writing + wet_s
        )
    pace.lap("searching")
    assert pace.left_s("writing", 0, 0) == writing + wet_s
    clock.now += writing / 4
    assert pace.left_s("writing", 25, 100) == pytest.approx(writing * 3 / 4 + wet_s)
    clock.now += writing * 3 / 4
    pace.lap("writing")
    assert pace.laps == {"decoding": 2, "searching": 30, "writing": writing}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00 left"), (59.6, "1:00 left"), (3725, "62:05 left")]
)
def test_time_left_in_words(seconds, text):
    assert left_text(seconds) == text
