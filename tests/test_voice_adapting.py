"""What a recording corrects of a voice network's spectra."""

import numpy as np
import pytest

from engine import VOICE_HOP, VOICE_RATE, Excitation, PitchTracks
from engine.voices.adapting import band_gains
from engine.voices.features import FINE_BINS
from engine.voices.synthesis import VoiceBins, VoiceParameters, voice_magnitudes

FRAMES = 60


@pytest.fixture(scope="module")
def excitation():
    """Two steady voices whose lower harmonics stand apart: (voices, frames, bins)."""
    hertz = np.repeat(np.array([[207.0], [311.0]], np.float32), 2 * FRAMES + 4, axis=1)
    tracks = PitchTracks(("low", "high"), hertz, 0.016, np.ones_like(hertz), "file")
    samples = (FRAMES - 1) * VOICE_HOP
    waves = Excitation(tracks, samples / VOICE_RATE).waveform(0, samples, VOICE_RATE)
    return FINE_BINS.magnitudes(waves, VOICE_HOP)


def flat(*, gains=None):
    """Two voices of equal strength through filters that do nothing."""
    one = np.full((2, FRAMES), 0.1, np.float32)
    lsf = np.tile(np.pi * np.arange(1, 21) / 21, (2, FRAMES, 1)).astype(np.float32)
    return VoiceParameters(one, 0.01 * one, lsf, np.ones((2, FRAMES, 40), np.float32), gains)


def powers(excitation, gains=None):
    return voice_magnitudes(flat(gains=gains), excitation, FINE_BINS).astype(np.float64) ** 2


def decibels_off(found, true):
    """Mean distance of powers where the voice is loud, away from the ends."""
    inside = slice(10, -10)
    heard = true[inside] > 1e-2 * true.max()
    return float(np.abs(10 * np.log10(found[inside][heard] / true[inside][heard])).mean())


def test_a_mix_that_is_what_was_expected_changes_nothing(excitation):
    mix = np.sqrt(powers(excitation).sum(axis=0)).astype(np.float32)
    gains = band_gains(mix, flat(), excitation, FINE_BINS)
    np.testing.assert_allclose(gains, 1, atol=1e-3)


def test_voices_of_other_timbres_than_expected_are_found(excitation):
    """The low one is dark and the high one bright, where equal ones were expected."""
    tilt = 10 ** np.linspace(0.6, -0.6, 24)
    true = np.stack([tilt, 1 / tilt])[:, None].repeat(FRAMES, axis=1).astype(np.float32)
    sung = powers(excitation, true)
    mix = np.sqrt(sung.sum(axis=0)).astype(np.float32)
    gains = band_gains(mix, flat(), excitation, FINE_BINS)
    before, after = powers(excitation), powers(excitation, gains)
    for voice in range(2):
        assert decibels_off(after[voice], sung[voice]) < 0.5 * decibels_off(
            before[voice], sung[voice]
        )


def test_gains_do_not_depend_on_the_mix_s_level_where_the_parameters_follow_it(excitation):
    tilt = 10 ** np.linspace(0.5, -0.5, 24)
    true = np.stack([tilt, np.ones(24)])[:, None].repeat(FRAMES, axis=1).astype(np.float32)
    mix = np.sqrt(powers(excitation, true).sum(axis=0)).astype(np.float32)
    loud = flat()
    loud.amplitude[:] *= 8
    loud.noise_gain[:] *= 8
    np.testing.assert_allclose(
        band_gains(8 * mix, loud, excitation, FINE_BINS),
        band_gains(mix, flat(), excitation, FINE_BINS),
        rtol=1e-3,
    )


def test_gains_of_silence_are_finite(excitation):
    silent = np.zeros(excitation.shape[1:], np.float32)
    assert np.isfinite(band_gains(silent, flat(), 0 * excitation, FINE_BINS)).all()


@pytest.mark.parametrize("rate", [VOICE_RATE, 44100, 96000])
def test_gains_mean_the_same_hertz_at_every_rate(rate):
    rising = np.arange(24, dtype=np.float32)
    bins = VoiceBins(2048, rate)
    drawn = rising @ bins.gain_bands(24)
    assert (np.diff(drawn) >= 0).all()
    at_1k = np.interp(1000, bins.hertz, drawn)
    assert at_1k == pytest.approx(23 * np.log1p(1000 / 700) / np.log1p(8000 / 700), rel=0.01)
    np.testing.assert_allclose(drawn[bins.hertz >= 8000], 23, rtol=1e-5)
    np.testing.assert_allclose(bins.gain_bands(24).sum(axis=0), 1, rtol=1e-5)
