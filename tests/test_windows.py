"""What is looked at of a mix: windows of its groups, and of the middle and side of its pairs."""

import numpy as np
import pytest

from engine import FrontEnd, RenderOptions, channel_groups, log_band_plan, separate
from engine.separation.windows import Looks, Windows, first_look, second_look
from presets import load_preset

BANDS, RATE = 16, 44100
PLAN = log_band_plan(BANDS, bin_hz=RATE / 1024, low_hz=200, high_hz=20000, first_hz=RATE / 2048)
VIEW = FrontEnd(RATE, 256, PLAN)


def spectrogram(rng, channels, frames=40):
    return VIEW.stft(RATE).forward(rng.standard_normal((channels, 256 * frames), np.float32))


class Ear:
    """Hears one stem in everything that it is given first, the other in what comes next."""

    def __init__(self, *masks):
        self.masks = list(masks)

    def magnitudes(self, mix, weight=None):
        mask = self.masks.pop(0)
        return np.stack([mask * mix, (1 - mask) * mix])


def pairs(halves):
    """Windows of pairs with these halves, (2, batch, frames, bands)."""
    mix = np.sqrt(np.square(halves).sum(axis=0) / 2)
    return Windows(mix, np.ones_like(mix), halves, np.ones(len(mix), bool))


def alone(mix):
    """Windows of single channels."""
    nothing = np.zeros((2, 0, *mix.shape[1:]), np.float32)
    return Windows(mix, np.ones_like(mix), nothing, np.zeros(len(mix), bool))


def test_middle_and_side_have_the_power_of_a_pair(rng):
    looks = Looks(VIEW, RATE, channel_groups(2), halves=True)
    both, middle, side = looks.view(spectrogram(rng, 2)).astype(np.float64)
    np.testing.assert_allclose(middle**2 + side**2, 2 * both**2, rtol=1e-4)


def test_channels_in_phase_are_all_middle_and_in_antiphase_all_side(rng):
    looks, mono = Looks(VIEW, RATE, channel_groups(2), halves=True), spectrogram(rng, 1)
    both, middle, side = looks.view(np.concatenate([mono, mono]))
    assert not side.any()
    np.testing.assert_allclose(middle, both * np.sqrt(2), rtol=1e-5)
    assert not looks.view(np.concatenate([mono, -mono]))[1].any()


def test_every_pair_of_a_surround_mix_has_its_halves(rng):
    groups = channel_groups(6)
    looks = Looks(VIEW, RATE, groups, halves=True)
    rows = looks.view(spectrogram(rng, 6))
    assert len(rows) == looks.shape[0] == len(groups.groups) + 4
    halves = rows[len(groups.groups) :].reshape(2, 2, *rows.shape[1:])
    assert looks.paired(1).tolist() == [len(group) == 2 for group in groups.groups]
    for place, number in enumerate(looks.pairs):
        power = (halves[:, place] ** 2).sum(axis=0)
        np.testing.assert_allclose(power, 2 * rows[number] ** 2, rtol=1e-3)


def test_each_half_counts_by_its_power(rng):
    halves = rng.random((2, 3, 8, BANDS), np.float32) + np.float32(0.1)
    windows = pairs(halves)
    masks = first_look(Ear(1.0, 0.0), windows) / windows.mix  # one in the middle, one at the side
    power = halves.astype(np.float64) ** 2
    np.testing.assert_allclose(masks, power / power.sum(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [1e-4, 1.0, 1e3])
def test_shares_of_pairs_sum_to_one_at_any_level_and_beside_silence(level, rng):
    halves = np.float32(level) * rng.random((2, 2, 8, BANDS), np.float32)
    halves[:, 0] = 0
    halves[1, 1, :4] = 0
    windows = pairs(halves)
    masks = first_look(Ear(0.2, 0.9), windows)[:, 1] / windows.mix[1]
    np.testing.assert_allclose(masks.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(masks[0, :4], 0.2, rtol=1e-4)  # what only the middle has


class TrueEar:
    """Hears the first stem in the lower bands and the other in the upper ones."""

    def magnitudes(self, mix, weight=None):
        low = np.arange(BANDS) < BANDS // 2
        return np.stack([low * mix, ~low * mix]).astype(np.float32)


@pytest.mark.parametrize("windows_of", [pairs, alone])
def test_a_second_look_gives_what_was_taken_for_another_stem_back(windows_of, rng):
    mix = rng.random((2, 3, 8, BANDS), np.float32) + np.float32(0.1)
    windows = windows_of(mix if windows_of is pairs else mix[0])
    wrong = rng.dirichlet((1, 1), windows.mix.shape).astype(np.float32)
    masks = second_look(TrueEar(), windows, np.moveaxis(wrong, -1, 0))
    right = (np.arange(BANDS) < BANDS // 2) * np.ones_like(windows.mix)
    np.testing.assert_allclose(masks, np.stack([right, 1 - right]), atol=1e-4)


def test_a_second_look_at_what_is_silent_shares_it_out(rng):
    mix = np.zeros((1, 8, BANDS), np.float32)
    masks = second_look(TrueEar(), alone(mix), np.full((2, *mix.shape), 0.5, np.float32))
    np.testing.assert_allclose(masks.sum(axis=0), 1, rtol=1e-5)


def preset(tmp_path, spatial):
    path = tmp_path / f"{spatial}.yaml"
    path.write_text(
        "stems: {low: {}, high: {}}\n"
        f"search: {{tier: draft, song_weight: 0, spatial: {str(spatial).lower()}}}\n"
    )
    return load_preset(path)


@pytest.mark.parametrize("gains", [(1,), (1, 1), (1, -1), (0, 1)], ids=str)
def test_one_signal_is_heard_as_in_mono_wherever_it_stands(
    gains, tiny_prior_folder, tmp_path, rng
):
    mono = 0.1 * rng.standard_normal(RATE)
    options = RenderOptions(device="cpu", threads=1, prior_folders=(tiny_prior_folder,))
    mix = np.outer(gains, mono)
    ever = separate(mono[None], RATE, preset(tmp_path, False), options)
    now = separate(mix, RATE, preset(tmp_path, True), options)
    for stem, audio in ever.items():
        np.testing.assert_allclose(now[stem], np.outer(gains, audio), atol=1e-3)


def test_swapping_left_and_right_swaps_them_in_every_stem(tiny_prior_folder, tmp_path, rng):
    mix = 0.1 * rng.standard_normal((2, RATE))
    options = RenderOptions(device="cpu", threads=1, prior_folders=(tiny_prior_folder,))
    found, swapped = (separate(m, RATE, preset(tmp_path, True), options) for m in (mix, mix[::-1]))
    for stem, audio in found.items():
        np.testing.assert_allclose(swapped[stem][::-1], audio, atol=1e-4)
