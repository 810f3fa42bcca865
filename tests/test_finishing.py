"""Takes become what finished mixes are made of."""

import numpy as np
import pytest
import torch

from export.data.finishing import FINISHED_DB, finish

FRAMES, BANDS = 60, 128


def finish_all(rng, batch, stem):
    """In place, as a tensor of the same memory."""
    finish(rng, torch.from_numpy(batch), len(batch) * [stem])


def excerpts(rng, batch=12, bands=BANDS):
    """Noise that falls by 32 dB from the first band to the last, (batch, frames, bands)."""
    loud = (rng.random((batch, FRAMES, 1)) + 0.1) * 10 ** (-32 / 20 * np.arange(bands) / bands)
    return (loud * rng.random((batch, FRAMES, bands))).astype(np.float32)


def spectrum_db(excerpt):
    power = (excerpt.astype(np.float64) ** 2).mean(axis=0).reshape(16, -1).sum(axis=1)
    return 10 * np.log10(power / power.sum())


def distance_db(excerpt, stem):
    wanted = np.array(FINISHED_DB[stem], float)
    heard = np.minimum(spectrum_db(excerpt), 0)
    return np.abs(heard - wanted)[wanted > -25].mean()


@pytest.mark.parametrize("stem", FINISHED_DB)
def test_spectra_come_nearer_and_none_goes_away(stem, rng):
    before = excerpts(rng, batch=40)
    after = before.copy()
    finish_all(rng, after, stem)
    changes = [
        distance_db(a, stem) - distance_db(b, stem) for a, b in zip(after, before, strict=True)
    ]
    assert max(changes) < 0.1  # a bass is also evened out, which moves its spectrum a little
    assert np.median(changes) < -1
    assert len({round(change, 3) for change in changes}) > 6  # by shares of their own


def test_a_bass_of_flat_spectrum_is_darkened(rng):
    """What the bright ones have too much is taken away, however much of them it is."""
    flat = np.ones((12, FRAMES, BANDS), np.float32)
    finish_all(rng, flat, "bass")
    darker = [spectrum_db(excerpt)[0] - spectrum_db(excerpt)[6] for excerpt in flat]
    assert max(darker) > 20
    assert np.median(darker) > 4


def test_most_basses_are_evened_out_and_their_onsets_too(rng):
    """From frame to frame a finished bass rises by fewer decibels than a plucked one."""
    plucked = np.exp(-np.arange(FRAMES) % 15 / 5)[None, :, None] * excerpts(rng)[:, :1]
    finished = plucked.astype(np.float32)
    finish_all(rng, finished, "bass")

    def rises(magnitudes):
        level_db = 20 * np.log10(np.linalg.norm(magnitudes, axis=2))
        return np.percentile(np.diff(level_db, axis=1), 97, axis=1)

    assert np.median(rises(finished) / rises(plucked)) < 0.7
    assert rises(finished).max() < rises(plucked).max() + 0.1


@pytest.mark.parametrize("stem", ["flute", "guitar", "piano", "other"])
def test_a_stem_of_which_nothing_is_known_stays(stem, rng):
    before = excerpts(rng)
    after = before.copy()
    finish_all(rng, after, stem)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("stem", FINISHED_DB)
def test_what_is_not_there_is_not_raised_out_of_the_noise(stem, rng):
    before = excerpts(rng)
    before[:, :, 40:] *= 1e-6
    after = before.copy()
    finish_all(np.random.default_rng(1), after, stem)
    raised = 20 * np.log10(np.median(after / before, axis=1))
    assert raised.max() < 9.0 + (3.0 if stem == "bass" else 0.01)


@pytest.mark.parametrize("bands", [8, 20, 128])
def test_silence_and_any_number_of_bands_are_finite(bands, rng):
    for stem in FINISHED_DB:
        silent = np.zeros((4, FRAMES, bands), np.float32)
        finish_all(rng, silent, stem)
        assert not silent.any()
        noisy = excerpts(rng, bands=bands)
        finish_all(rng, noisy, stem)
        assert np.isfinite(noisy).all()


def test_the_same_seed_finishes_alike():
    clean = excerpts(np.random.default_rng(0))
    finished = [clean.copy() for _ in range(3)]
    for seed, each in zip((4, 4, 5), finished, strict=True):
        finish_all(np.random.default_rng(seed), each, "drums")
    np.testing.assert_array_equal(finished[0], finished[1])
    assert not np.array_equal(finished[0], finished[2])
