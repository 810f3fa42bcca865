"""The quality bench's decibels: closed forms, and intervals over songs."""

import numpy as np
import pytest

import bench_path  # noqa: F401 - first, it finds the next ones
from scores import LIMIT_DB, bootstrap, over_stems, sdr_db, si_sdr_db

EXACT_DB = 1e-4  # float32 audio


@pytest.fixture
def stem(rng):
    return rng.standard_normal((2, 4000)).astype(np.float32)


def orthogonal(rng, to):
    """Noise of the same energy as `to` and at a right angle to it."""
    other = rng.standard_normal(to.shape)
    other -= to * (other * to).sum() / (to**2).sum()
    return (other * np.sqrt((to**2).sum() / (other**2).sum())).astype(np.float32)


@pytest.mark.parametrize("ratio_db", [-10.0, 0.0, 6.0, 40.0])
def test_orthogonal_noise_gives_its_ratio_in_both_measures(rng, stem, ratio_db):
    noisy = stem + orthogonal(rng, stem) * np.float32(10 ** (-ratio_db / 20))
    assert sdr_db(stem, noisy) == pytest.approx(ratio_db, abs=EXACT_DB)
    assert si_sdr_db(stem, noisy) == pytest.approx(ratio_db, abs=EXACT_DB)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_mixture_over_k_of_equal_unrelated_stems(rng, stem, k):
    """e = (s + rest) / K with |rest|^2 = (K - 1) |s|^2 leaves (K - 1) / K of the energy."""
    mix = stem + orthogonal(rng, stem) * np.float32(np.sqrt(k - 1))
    assert sdr_db(stem, mix / k) == pytest.approx(10 * np.log10(k / (k - 1)), abs=EXACT_DB)


def test_gain_matters_to_sdr_and_not_to_si_sdr(rng, stem):
    noisy = stem + 0.3 * orthogonal(rng, stem)
    assert si_sdr_db(stem, 0.1 * noisy) == pytest.approx(si_sdr_db(stem, noisy), abs=EXACT_DB)
    assert sdr_db(stem, np.float32(0.1) * noisy) < sdr_db(stem, noisy) - 5
    assert sdr_db(stem, stem / 2) == pytest.approx(20 * np.log10(2), abs=EXACT_DB)


def test_silence_and_perfection_are_finite(stem):
    silence = np.zeros_like(stem)
    assert sdr_db(stem, silence) == pytest.approx(0, abs=EXACT_DB)
    assert si_sdr_db(stem, silence) == -LIMIT_DB
    assert sdr_db(stem, stem) == pytest.approx(LIMIT_DB)
    assert si_sdr_db(stem, stem) > 60


def test_stems_weigh_the_same_however_many_songs_have_them():
    table = np.array([[1.0, 10.0], [1.0, np.nan], [1.0, np.nan]])
    assert over_stems(table) == 5.5


def test_interval_of_equal_songs_has_no_width():
    found = bootstrap(np.full((5, 3), 2.5))
    assert (found.mean, found.low, found.high) == (2.5, 2.5, 2.5)


def test_interval_is_as_wide_as_theory_says(rng):
    """For many songs the bootstrap meets the normal approximation, 1.96 s / sqrt(n)."""
    table = rng.standard_normal((400, 1))
    found = bootstrap(table)
    half = 1.96 * table.std() / 20
    assert found.mean == pytest.approx(table.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_stems_of_a_song_are_drawn_together(rng):
    """Fully dependent stems carry no more information than one of them."""
    one = rng.standard_normal((50, 1))
    alone, together = bootstrap(one), bootstrap(np.repeat(one, 4, axis=1))
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))


def test_a_stem_missing_from_a_draw_is_no_trouble():
    found = bootstrap(np.array([[1.0, np.nan], [3.0, 3.0]]))
    assert 1 <= found.low <= found.high <= 3
