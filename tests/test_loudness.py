"""Loudness: the signals of EBU Tech 3341 and 3342, and streams cut anyhow."""

import numpy as np
import pytest

from engine.audio.loudness import LoudnessMeter
from fidelity_fixtures import sine

TOLERANCE_LU = 0.1
RANGE_TOLERANCE_LU = 1.0
PEAK_TOLERANCE_DB = (-0.4, 0.2)


def measure(audio, rate=48000, mask=None, piece=100_000):
    meter = LoudnessMeter(audio.shape[0], rate, mask)
    for start in range(0, audio.shape[1], piece):
        meter.add(audio[:, start : start + piece])
    return meter.result()


def stereo(*parts, rate=48000):
    mono = np.concatenate([sine(level, seconds, rate=rate) for level, seconds in parts])
    return np.stack([mono, mono])


@pytest.mark.parametrize(
    ("parts", "expected_lufs"),
    [
        ([(-23, 20)], -23),
        ([(-33, 20)], -33),
        ([(-36, 10), (-23, 60), (-36, 10)], -23),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23),
    ],
    ids=["3341-1", "3341-2", "3341-3", "3341-4", "3341-5"],
)
def test_integrated_loudness(parts, expected_lufs):
    assert measure(stereo(*parts)).integrated_lufs == pytest.approx(
        expected_lufs, abs=TOLERANCE_LU
    )


def test_integrated_loudness_of_surround_3341_6():
    levels = (-28, -28, -24, -30, -30)  # L R C Ls Rs
    audio = np.stack([sine(level, 20) for level in levels])
    assert measure(audio).integrated_lufs == pytest.approx(-23, abs=TOLERANCE_LU)
    with_lfe = np.insert(audio, 3, sine(0, 20, 60), axis=0)
    assert measure(with_lfe).integrated_lufs == pytest.approx(-23, abs=TOLERANCE_LU)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 96000, 192000])
def test_integrated_loudness_is_the_same_at_any_rate(rate):
    audio = stereo((-23, 5), rate=rate)
    assert measure(audio, rate).integrated_lufs == pytest.approx(-23, abs=TOLERANCE_LU)


def test_short_term_loudness_3341_9():
    audio = stereo(*[(-20, 1.34), (-30, 1.66)] * 5)
    assert measure(audio).max_short_term_lufs == pytest.approx(-23, abs=TOLERANCE_LU)


def test_momentary_loudness_3341_12():
    audio = stereo(*[(-20, 0.18), (-30, 0.22)] * 25)
    assert measure(audio).max_momentary_lufs == pytest.approx(-23, abs=TOLERANCE_LU)


@pytest.mark.parametrize(
    ("divisor", "degrees", "amplitude", "expected_dbtp"),
    [(4, 0, 0.5, -6), (4, 45, 0.5, -6), (6, 60, 0.5, -6), (8, 67.5, 0.5, -6), (4, 45, 1.41, 3)],
    ids=["3341-15", "3341-16", "3341-17", "3341-18", "3341-19"],
)
def test_true_peak(divisor, degrees, amplitude, expected_dbtp):
    phase = 2 * np.pi * np.arange(48000) / divisor + np.radians(degrees)
    fade = np.minimum(1, np.minimum(np.arange(48000), np.arange(48000)[::-1]) / 4800)
    tone = amplitude * fade * np.sin(phase)
    low, high = PEAK_TOLERANCE_DB
    assert low <= measure(np.stack([tone, tone])).true_peak_dbtp - expected_dbtp <= high


@pytest.mark.parametrize(
    ("levels", "expected_lu"),
    [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20), ((-50, -35, -20, -35, -50), 15)],
    ids=["3342-1", "3342-2", "3342-3", "3342-4"],
)
def test_loudness_range(levels, expected_lu):
    measured = measure(stereo(*[(level, 20) for level in levels])).range_lu
    assert measured == pytest.approx(expected_lu, abs=RANGE_TOLERANCE_LU)


@pytest.mark.parametrize("piece", [997, 48000, 300_000])
def test_the_cut_of_the_stream_does_not_matter(piece):
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 300_000))
    whole, cut = measure(audio, piece=300_000), measure(audio, piece=piece)
    assert cut.integrated_lufs == pytest.approx(whole.integrated_lufs, abs=1e-4)
    assert cut.true_peak_dbtp == pytest.approx(whole.true_peak_dbtp, abs=1e-3)
    assert cut.sample_peak_dbfs == whole.sample_peak_dbfs


def test_silence_and_what_is_too_short_are_minus_infinity():
    silence = measure(np.zeros((2, 96_000)))
    assert silence.integrated_lufs == silence.true_peak_dbtp == -np.inf
    assert silence.range_lu == 0
    short = measure(np.full((1, 100), 0.5))
    assert short.integrated_lufs == -np.inf
    assert short.sample_peak_dbfs == pytest.approx(-6.02, abs=0.01)


def test_a_gain_shifts_all_levels():
    measured = measure(stereo((-23, 4)))
    shifted = measured.shifted(-6.0)
    assert shifted.integrated_lufs == pytest.approx(measured.integrated_lufs - 6)
    assert shifted.range_lu == measured.range_lu
