"""The picture of pitches: every voice is named, and lies where it sings."""

import numpy as np
import pytest

from engine.evaluation.voice_picture import _COLOURS, _LEFT, _TOP, _row, draw
from engine.voices.pitches import PitchTracks
from engine.voices.salience import FRAME_S, RATE

NAMES = ("soprano", "alto", "tenor", "bass", "fifth", "sixth", "seventh", "eighth")


@pytest.mark.parametrize("voices", [1, 4, 8])
@pytest.mark.parametrize("seconds", [1, 8, 30])
def test_every_voice_is_named_however_short_the_mix(voices, seconds):
    frames = round(seconds / FRAME_S)
    hertz = np.repeat(110.0 * 1.3 ** np.arange(voices)[:, None], frames, 1).astype(np.float32)
    tracks = PitchTracks(NAMES[:voices], hertz, FRAME_S, np.ones_like(hertz), "file")
    noise = np.random.default_rng(0).standard_normal(seconds * RATE).astype(np.float32)
    picture = draw(noise, tracks)
    for voice in range(voices):
        is_its = (picture == np.array(_COLOURS[voice], np.uint8)).all(axis=2)
        rows, columns = np.nonzero(is_its[:_TOP])
        assert rows.size == 12 * 12, "a whole square"
        name = picture[:_TOP, columns.max() + 1 : columns.max() + 139]
        assert name.any(), "and its name"
        row = _TOP + _row(hertz[voice, :1])[0]
        assert is_its[row, _LEFT + 1 : -1].mean() > 0.9
