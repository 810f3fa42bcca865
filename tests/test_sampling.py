"""Samples of a prior as audio: bands and bins agree, Griffin-Lim finds phases, seeds repeat."""

import numpy as np
import pytest
import soundfile

from engine import Device, FrontEnd, Prior, log_band_plan
from engine.evaluation.sampling import PEAK, griffin_lim, sample_audio, spread, write_sample

RATE = 44_100
VIEW = FrontEnd(
    RATE,
    256,
    log_band_plan(40, bin_hz=RATE / 1024, low_hz=400, high_hz=20000, first_hz=RATE / 2048),
)


@pytest.fixture
def low(tiny_prior_folder):
    return Prior(tiny_prior_folder / "low.prior", Device("cpu"))


def test_spreading_over_bins_keeps_every_bands_power(rng):
    magnitudes = rng.random((9, VIEW.plan.bands)).astype(np.float32)
    bins = spread(magnitudes, VIEW, RATE)
    gathered = VIEW.band_magnitudes(bins[None].astype(np.complex64), RATE)
    has_bins = np.isin(np.arange(VIEW.plan.bands), VIEW.band_of_bin(RATE))
    assert np.abs(gathered - magnitudes)[:, has_bins].max() < 1e-5


def test_griffin_lim_meets_the_magnitudes_of_a_tone(rng):
    stft = VIEW.stft(RATE)
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * time)[None].astype(np.float32)
    wanted = np.abs(stft.forward(tone))[0]
    got = np.abs(stft.forward(griffin_lim(wanted, stft, rng)))[0][: len(wanted)]
    error = np.linalg.norm(got - wanted[: len(got)]) / np.linalg.norm(wanted)
    assert error < 0.1  # spectral convergence; random phases alone give about 0.6


def test_sample_repeats_with_its_seed_and_only_then(low):
    one, rate = sample_audio(low, 0.5, 0.7, 1)
    assert rate == RATE
    assert one.shape == (1, RATE // 2)
    assert np.abs(one).max() == pytest.approx(PEAK)
    assert np.array_equal(one, sample_audio(low, 0.5, 0.7, 1)[0])
    assert not np.array_equal(one, sample_audio(low, 0.5, 0.7, 2)[0])


def test_sample_sounds_where_its_prior_expects_sound(tiny_prior_folder):
    centroids = []
    for name in ("low", "high"):
        prior = Prior(tiny_prior_folder / f"{name}.prior", Device("cpu"))
        audio, _ = sample_audio(prior, 1.0, 0.3, 0)
        power = np.abs(np.fft.rfft(audio[0])) ** 2
        centroids.append((power * np.fft.rfftfreq(audio.shape[1], 1 / RATE)).sum() / power.sum())
    assert centroids[0] < centroids[1]


@pytest.mark.parametrize("name", ["x.wav", "x.flac"])
def test_file_is_written(low, tmp_path, name):
    write_sample(low, tmp_path / name, 0.3, 0.7, 0)
    info = soundfile.info(tmp_path / name)
    assert (info.samplerate, info.channels, info.frames) == (RATE, 1, round(0.3 * RATE))
