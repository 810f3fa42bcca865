"""Masks anew from the song's own spectra."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine.separation.masks import MaskPlan, combine
from engine.separation.song_spectra import song_masks

FRAMES, BANDS = 120, 40


@pytest.fixture
def song(rng):
    """Two stems that repeat a few spectra each, (2, frames, bands)."""
    spectra = rng.random((2, 3, BANDS)) ** 6
    gains = rng.random((2, FRAMES, 3)) * (rng.random((2, FRAMES, 3)) < 0.4)
    return (gains @ spectra).astype(np.float32)


def true_masks(song):
    return (song + 1e-6) / (song + 1e-6).sum(axis=0)


def wavering(rng, masks):
    """Masks that err in every frame anew."""
    logits = np.log(masks / (1 - masks)) * 0.3 + rng.normal(0, 1.5, masks.shape[1:])[None] * [
        [[1]],
        [[-1]],
    ]
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def sdr_db(song, masks):
    wrong = song - masks * song.sum(axis=0)
    return 10 * np.log10((song**2).sum(axis=(1, 2)) / (wrong**2).sum(axis=(1, 2)))


def test_errors_that_do_not_repeat_are_taken_back(song, rng):
    masks = wavering(rng, true_masks(song))
    mix = song.sum(axis=0)
    anew = combine(song_masks(masks, mix), masks, mix, MaskPlan(flow_weight=0.6))
    assert np.all(sdr_db(song, anew) > sdr_db(song, masks) + 1)


@pytest.mark.parametrize("stems", [1, 2, 6])
def test_they_sum_to_one_and_are_positive(stems, rng):
    masks = rng.dirichlet(np.ones(stems), (FRAMES, BANDS)).astype(np.float32)
    masks = masks.transpose(2, 0, 1)
    anew = song_masks(masks, rng.random((FRAMES, BANDS), np.float32))
    assert anew.shape == masks.shape
    assert anew.dtype == np.float32
    assert anew.min() >= 0
    np.testing.assert_allclose(anew.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("loudness", [1e-6, 1e4])
def test_the_level_of_the_mix_does_not_matter(loudness, song, rng):
    masks, mix = wavering(rng, true_masks(song)), song.sum(axis=0)
    quiet = song_masks(masks, mix * np.float32(loudness))
    np.testing.assert_allclose(quiet, song_masks(masks, mix), atol=2e-3)


@pytest.mark.parametrize("frames", [slice(0, 0), slice(30, 60), slice(0, FRAMES)])
def test_silence_anywhere_gives_finite_masks(frames, song, rng):
    masks, mix = wavering(rng, true_masks(song)), song.sum(axis=0)
    mix[frames] = 0
    anew = song_masks(masks, mix)
    assert np.isfinite(anew).all()
    np.testing.assert_allclose(anew.sum(axis=0), 1, atol=1e-5)


def test_same_bytes_again_and_on_another_thread(song, rng):
    masks, mix = wavering(rng, true_masks(song)), song.sum(axis=0)
    here = song_masks(masks, mix)
    with ThreadPoolExecutor(3) as pool:
        there = list(pool.map(song_masks, [masks] * 3, [mix] * 3))
    assert {each.tobytes() for each in there} == {here.tobytes()}


def test_a_share_of_nothing_changes_nothing(rng):
    masks, other_masks = (
        rng.dirichlet(np.ones(3), (FRAMES, BANDS)).astype(np.float32).transpose(2, 0, 1)
        for _ in range(2)
    )
    mix = np.ones((FRAMES, BANDS), np.float32)
    for share, expected in ((0, masks), (1, other_masks)):
        blended = combine(other_masks, masks, mix, MaskPlan(flow_weight=share))
        np.testing.assert_allclose(blended, expected, atol=1e-6)
