"""The highest point between samples is found wherever it is, and passing over quiet blocks
changes nothing."""

import numpy as np
import pytest

from engine.audio import between_samples
from engine.audio.between_samples import PeakBetweenSamples

RATE = 44_100
SAME_DB = 0.02  # two interpolators, of a signal that ends 10 % below Nyquist


def measured(audio, piece=1000, rate=RATE):
    meter = PeakBetweenSamples(len(audio), rate)
    for at in range(0, audio.shape[1], piece):
        meter.add(audio[:, at : at + piece])
    meter.finish()
    return meter


def below_nyquist(rng, frames):
    """Noise up to 0.85 of Nyquist that is loud in one place and quiet elsewhere."""
    spectrum = np.fft.rfft(rng.standard_normal((2, frames)))
    spectrum[:, round(0.85 * spectrum.shape[1]) :] = 0
    return np.fft.irfft(spectrum, frames)


def interpolated_peak(audio, factor=4):
    """By a Fourier transform of all of it, between silence; its own points only."""
    padded = np.pad(audio, ((0, 0), (2048, 2048)))
    dense = np.fft.irfft(np.fft.rfft(padded), factor * padded.shape[1]) * factor
    return np.abs(dense).max()


@pytest.mark.parametrize("place", [0, 2500, 4800])
def test_the_peak_is_found_at_the_start_in_the_middle_and_at_the_end(rng, place):
    audio = 0.01 * below_nyquist(rng, 5000)
    audio[1, place : place + 200] += np.hanning(200) * below_nyquist(rng, 200)[0]
    error_db = 20 * np.log10(measured(audio).true_peak / interpolated_peak(audio))
    assert abs(error_db) < SAME_DB


def test_passing_over_blocks_that_cannot_reach_the_peak_changes_nothing(rng, monkeypatch):
    audio = below_nyquist(rng, 30_000) * np.linspace(0, 1, 30_000) ** 4
    quick = measured(audio)
    matrix, _ = between_samples._interpolator(4)
    monkeypatch.setattr(between_samples, "_interpolator", lambda factor: (matrix, 1e9))
    assert measured(audio).true_peak == pytest.approx(quick.true_peak, rel=1e-6)


@pytest.mark.parametrize("piece", [1, 23, 24, 997, 6000])
def test_the_cut_of_the_stream_does_not_matter(rng, piece):
    audio = below_nyquist(rng, 3000)
    whole, cut = measured(audio, 3000), measured(audio, piece)
    assert cut.true_peak == pytest.approx(whole.true_peak, rel=1e-6)
    assert cut.sample_peak == whole.sample_peak


def test_it_is_never_below_the_highest_sample(rng):
    audio = np.zeros((1, 100))
    audio[0, 99] = 0.7
    meter = measured(audio)
    assert meter.true_peak >= meter.sample_peak == np.float32(0.7)
    assert measured(np.zeros((2, 0))).true_peak == 0
