"""The comparison of voice models: its rivals, its mistakes of pitch, its decibels."""

import numpy as np
import pytest
import torch

import bench_path  # noqa: F401 - first, it finds the next ones
import voice_page
import voice_systems
import voice_unet
from choirs import RATE, Choir, tracks_of
from engine import Excitation
from voice_scores import judge
from voice_supervised import ChoirExcerpts


@pytest.fixture(scope="module")
def duet():
    """Two steady tones that share no harmonic, one of which rests in the third second."""
    frames = 4 * RATE // 256 + 1
    hertz = np.repeat(np.array([[233.0], [330.0]], np.float32), frames, axis=1)
    hertz[1, 2 * RATE // 256 - 2 : 3 * RATE // 256 + 2] = 0
    tracks = tracks_of(("alto", "tenor"), hertz)
    voices = 0.01 * Excitation(tracks, 4.0).waveform(0, 4 * RATE, RATE)
    return Choir("duet", voices, tracks)


@pytest.mark.parametrize("name", ["comb alone", "NMF, harmonic templates", "NMF, source-filter"])
def test_rivals_take_a_duet_apart(duet, name):
    mix = duet.mixture.mix
    found = voice_systems.NOTHING_LEARNED[name](mix, duet.tracks)
    assert np.nanmean(judge(duet, found).si_sdr) > 10
    inside = slice(RATE // 4, RATE)
    if name != "NMF, harmonic templates":  # where what lies between all harmonics is nobody's
        np.testing.assert_allclose(found.sum(axis=0)[inside], mix[inside], atol=1e-3)


def test_masks_of_the_true_powers_are_better_than_the_mix_shared_evenly(duet):
    ideal = judge(duet, voice_systems.ideal(duet)).si_sdr
    even = judge(duet, voice_systems.shared_evenly(duet.mixture.mix, duet.tracks)).si_sdr
    both = ~np.isnan(ideal).any(axis=1)
    assert (ideal[both] > even[both] + 10).all()


def test_a_second_of_rest_is_not_judged(duet):
    table = judge(duet, duet.voices).si_sdr
    assert np.isnan(table[2, 1])
    assert np.isfinite(table[:2]).all()


def test_wrong_pitches_are_wrong_by_what_was_asked_and_rest_where_the_right_ones_do(duet):
    right = duet.tracks.hertz
    wrong = voice_systems.wrong(duet.tracks, 23.0).hertz
    assert ((wrong > 0) == (right > 0)).all()
    np.testing.assert_allclose(np.abs(wrong - right)[right > 0], 23.0, atol=1e-3)
    octave = voice_systems.wrong(duet.tracks, ratio=2.0).hertz
    np.testing.assert_allclose(octave, 2 * right)


def test_the_unet_has_the_published_layers_and_its_masks_sum_to_one(duet):
    published = voice_unet.UNet(voice_unet.PUBLISHED)
    assert [layer[0].out_channels for layer in published.down] == [16, 32, 64, 128, 256, 512]
    torch.manual_seed(0)
    network = voice_unet.UNet(voice_unet.REDUCED).eval()
    mix = duet.mixture.mix
    shares = voice_unet.masks(network, mix, duet.tracks)
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-4)
    found = voice_systems.unet(network, mix, duet.tracks)
    inside = slice(RATE // 4, -RATE // 4)
    np.testing.assert_allclose(found.sum(axis=0)[inside], mix[inside], atol=1e-4)


def test_the_teacher_shows_each_voice_scaled_like_the_mix(duet):
    excerpt = ChoirExcerpts([duet], 16, 4).sample(np.random.default_rng(0), 2, 20)
    for mix, voices in zip(excerpt.mix, excerpt.voices, strict=True):
        assert voices.shape == (2, 2, *mix.shape[1:])
        assert (voices.sum(dim=1) - mix).min() > -1e-3, "magnitudes of a sum are no larger"


def test_the_page_has_a_row_for_every_system_that_was_judged(duet):
    judged = judge(duet, duet.voices)
    score = {
        "row": "all",
        "pitch": "exact",
        "choir": "quartet",
        "voices": 4,
        "si_sdr": judged.si_sdr.tolist(),
        "spectral": judged.spectral.tolist(),
        "cpu_s": 1.0,
        "seconds": 4.0,
    }
    written = voice_page.tables([score, score | {"pitch": "5 Hz"}])
    assert written.count(voice_page.WORDS["all"]) == 2
    assert "| 0.25 |" in written
