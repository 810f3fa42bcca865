"""The scaled STFT: exact inverse at every length and rate, one view for all sample rates."""

import numpy as np
import pytest

from engine import FrontEnd, log_band_plan
from engine.model.frames import Synthesis, stream_frames
from engine.model.spectrogram import Stft

ROUND_TRIP = 1e-6  # full scale

HOP = 64
PLAN = log_band_plan(16, bin_hz=44100 / 1024, low_hz=200, high_hz=20000, first_hz=44100 / 2048)
VIEW = FrontEnd(44100, 256, PLAN)


class Samples:
    """A reader of an array, as `stream_frames` wants it."""

    def __init__(self, audio):
        self.left = audio

    def read(self, frames):
        block, self.left = self.left[:, :frames], self.left[:, frames:]
        return type("Block", (), {"audio": block})


@pytest.mark.parametrize("samples", [1, 2, HOP - 1, HOP, HOP + 1, 4 * HOP, 7919])
@pytest.mark.parametrize("channels", [1, 2])
def test_inverse_of_forward_is_identity(rng, samples, channels):
    stft = Stft(HOP)
    audio = rng.standard_normal((channels, samples)).astype(np.float32)
    assert np.abs(stft.inverse(stft.forward(audio), samples) - audio).max() < ROUND_TRIP


@pytest.mark.parametrize("samples", [1, HOP, HOP + 1, 7919])
@pytest.mark.parametrize("block", [1, 7, 500])
def test_streaming_gives_the_samples_of_the_whole(rng, samples, block):
    stft = Stft(HOP)
    audio = rng.standard_normal((2, samples)).astype(np.float32)
    blocks = list(stream_frames(Samples(audio), stft, 2, samples, block))
    assert np.array_equal(np.concatenate(blocks, axis=1), stft.forward(audio))
    synthesis = Synthesis(stft, samples)
    pieces = [synthesis.add(b, last=b is blocks[-1]) for b in blocks]
    rebuilt = np.concatenate(pieces, axis=1)
    assert rebuilt.shape == audio.shape
    assert np.abs(rebuilt - audio).max() < ROUND_TRIP


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 32000, 48000, 88200, 96000, 192000])
def test_window_keeps_its_duration_at_every_rate(rate):
    stft = VIEW.stft(rate)
    assert stft.hop / rate == pytest.approx(256 / 44100, rel=0.05)


def test_a_tone_looks_the_same_at_every_sample_rate():
    seen = []
    for rate in (44100, 48000, 88200, 96000):
        tone = np.sin(2 * np.pi * 1500 * np.arange(rate) / rate)[None].astype(np.float32)
        seen.append(VIEW.magnitudes(tone, rate)[20:-20].mean(axis=0))
    for other in seen[1:]:
        assert np.abs(other - seen[0]).max() < 0.05 * seen[0].max()


def test_bands_hold_all_power_of_their_range(rng):
    audio = rng.standard_normal((1, 44100)).astype(np.float32)
    stft = VIEW.stft(44100)
    spectrogram = stft.forward(audio)
    below = np.arange(stft.bins) * 44100 / stft.n_fft < PLAN.edges_hz[-1]
    power = (np.abs(spectrogram[0, :, below]) ** 2).sum() / stft.window.sum() ** 2
    assert (VIEW.band_magnitudes(spectrogram, 44100) ** 2).sum() == pytest.approx(power, rel=1e-4)


def test_bins_above_the_plan_follow_the_highest_band():
    band = VIEW.band_of_bin(96000)
    assert band[-1] == PLAN.bands - 1
    assert np.all(np.diff(band) >= 0)
