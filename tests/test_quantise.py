"""Quantising: to the nearest without offset, and dither that does what dither is for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audio.quantise import full_scale, quantise


# audio libraries switch subnormal floats off for the whole process, so none are drawn
@given(st.sampled_from([8, 16, 24, 32]), st.floats(-1, 1, allow_subnormal=False))
def test_the_error_is_half_a_step_at_most(bits, value):
    quantised = quantise(np.array([[value]]), bits)[0, 0]
    assert abs(quantised - value * 2 ** (bits - 1)) <= 0.5


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_integers_survive_a_round_trip_through_float32(bits):
    low, high = full_scale(bits)
    integers = np.unique(np.linspace(low, high, 70_000).astype(np.int64))
    audio = (integers / 2.0 ** (bits - 1)).astype(np.float32)
    np.testing.assert_array_equal(quantise(audio, bits), integers)


def test_rounding_has_no_offset():
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 200_000))
    error = quantise(audio, 16) - audio * 32768
    assert abs(error.mean()) < 0.005  # a library's floor would give -0.5


def test_nothing_is_clipped():
    assert quantise(np.array([[2.0, -3.0]]), 16).tolist() == [[65536, -98304]]


def test_dither_keeps_a_tone_below_one_step():
    time = np.arange(48000)
    tone = 0.3 / 32768 * np.sin(2 * np.pi * 1000 * time / 48000)[None]
    assert not quantise(tone, 16).any()
    dithered = quantise(tone, 16, np.random.default_rng(0))[0]
    spectrum = np.abs(np.fft.rfft(dithered)) / 24000
    assert spectrum[1000] == pytest.approx(0.3, rel=0.1)
    assert np.median(spectrum) < 0.02


def test_dither_error_does_not_depend_on_the_signal():
    levels = np.linspace(-0.5, 0.5, 21) / 32768  # all positions between two steps
    errors = [
        quantise(np.full((1, 40_000), level), 16, np.random.default_rng(1)) - level * 32768
        for level in levels
    ]
    assert max(abs(error.mean()) for error in errors) < 0.02
    assert np.ptp([error.var() for error in errors]) < 0.02  # 1/4 LSB^2 everywhere


def test_dither_is_seeded():
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 100))
    one, two, other = (quantise(audio, 8, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (one == two).all()
    assert (one != other).any()
