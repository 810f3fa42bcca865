"""Excerpts of songs as they were mixed, and what each head should find in them."""

import numpy as np
import pytest
import soundfile

from export.data.song_sums import SongSums, read_mix, read_song
from export.data.true_mixes import WINDOW
from prior_fixtures import BANDS, tiny_front_end

RATE, FRAMES = 44_100, 64
HEADS = {"low": ("low",), "high": ("high",), "both": ("low", "high"), "none": ("sax",)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two stems that never play at once: the first on the left, the second in the middle."""
    folder, rng = tmp_path_factory.mktemp("song"), np.random.default_rng(2)
    count = (2 * WINDOW + 50) * tiny_front_end().hop
    plays = np.sin(np.arange(count) / 20_000) > 0
    sound = 0.1 * rng.standard_normal((2, count))
    stems = {
        "low": np.stack([sound[0] * plays, np.zeros(count)], axis=1),
        "high": np.repeat((sound[1] * ~plays)[:, None], 2, axis=1),
    }
    for name, audio in {**stems, "mix": sum(stems.values())}.items():
        soundfile.write(folder / f"{name}.wav", audio, RATE, subtype="FLOAT")
    return {name: [folder / f"{name}.wav"] for name in ("low", "high", "mix")}


@pytest.fixture(scope="module")
def song(files):
    stems = {name: files[name] for name in ("low", "high")}
    return read_song("Blue", stems, tiny_front_end().front_end())


def draw(sums, seed=0, batch=24):
    mix, targets = sums.sample(np.random.default_rng(seed), batch, FRAMES)
    return mix.numpy(), {head: each.numpy() for head, each in targets.items()}


def test_the_mix_is_real_and_the_targets_are_its_stems(song):
    mix, targets = draw(SongSums([song], HEADS))
    assert mix.shape == (24, FRAMES, BANDS)
    assert np.allclose((mix**2).mean(axis=(1, 2)), 1, atol=1e-4)
    assert not targets["none"].any()
    power = targets["low"] ** 2 + targets["high"] ** 2
    assert np.allclose(targets["both"] ** 2, power, rtol=1e-4, atol=1e-6)
    assert np.median(np.abs(power - mix**2)) < 1e-3  # the stems never meet but at the seams


def test_at_the_side_is_only_who_does_not_stand_in_the_middle(files):
    stems = {name: files[name] for name in ("low", "high")}
    middle, side = read_song("Blue", stems, tiny_front_end().front_end()).looks
    assert np.allclose(side.mix, side.parts["low"], atol=1e-4)
    assert side.parts["high"].max() < 1e-4 < middle.parts["high"].max()


def test_draws_follow_the_seed(song):
    sums = SongSums([song], HEADS)
    first, again, other = (draw(sums, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_song_without_stems_has_the_parts_that_masks_give_it(files):
    def masks(magnitudes):
        return {"low": np.full_like(magnitudes, 0.25), "high": np.full_like(magnitudes, 0.75)}

    song = read_mix(files["mix"][0], tiny_front_end().front_end(), masks)
    mix, targets = draw(SongSums([song], HEADS))
    assert np.allclose(targets["low"], 0.25 * mix, atol=1e-5)
    assert np.allclose(targets["high"], 0.75 * mix, atol=1e-5)


def test_silence_is_no_song(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((9000, 1)), RATE)
    front_end = tiny_front_end().front_end()
    assert read_song("a", {"low": [tmp_path / "a.wav"]}, front_end) is None
    assert read_mix(tmp_path / "a.wav", front_end, lambda m: {"low": m}) is None
