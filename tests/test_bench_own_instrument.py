"""The bench of own instruments leaves songs out, bleeds as it says, prints what it measured."""

import numpy as np
import pytest
import soundfile

import bench_path  # noqa: F401
from own_instrument import BLEED_DB, Score, Set, _cut, oracle, page, with_song_spectra

RATE = 44_100


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("songs"), np.random.default_rng(2)
    for name in ("a_1", "a_2", "b_1"):
        (folder / name).mkdir()
        for stem in ("drums", "guitar", "piano"):
            audio = 0.1 * rng.standard_normal(2 * RATE).astype(np.float32)
            soundfile.write(folder / name / f"{stem}.wav", audio, RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def parsed(songs):
    return Set.parse(f"mine=guitar:{songs}:a_*")


def test_a_set_has_the_songs_of_its_pattern(parsed):
    assert list(parsed.tracks.songs) == ["a_1", "a_2"]
    with pytest.raises(SystemExit, match="two are needed"):
        Set.parse(f"mine=guitar:{parsed.folder}:b_*")


def test_takes_are_those_of_the_other_songs(parsed, tmp_path):
    takes = parsed.takes("a_1", 15, tmp_path)
    assert {clip.song for clip in takes.clips} == {"a_2"}
    half = _cut(takes.clips, 0.5)[0]
    assert half.playing.sum() == pytest.approx(takes.clips[0].playing.sum() / 2, abs=1)


def test_the_band_bleeds_into_other_by_ten_decibels(parsed):
    views = dict(parsed.views("a_1"))
    assert views["whole"].stems == ("drums", "guitar", "piano")
    inside = views["inside"]
    assert inside.stems == ("guitar", "piano", "bleed")
    own = inside.own.sum(axis=(1, 2, 3), dtype=np.float64)
    assert 10 * np.log10(own[2] / (own[0] + own[1])) == pytest.approx(BLEED_DB, abs=0.5)


def test_the_oracle_is_above_even_shares_and_masks_sum_to_one(parsed):
    true = dict(parsed.views("a_1"))["whole"]
    even = np.full_like(true.own, 1 / 3)
    best, nothing = true.sdr_db(oracle(true)), true.sdr_db(even)
    assert all(best[stem] > nothing[stem] for stem in true.stems)
    assert np.allclose(with_song_spectra(even, true).sum(axis=0), 1, atol=1e-4)


def test_the_page_says_gains_over_the_mixture():
    scores = [
        Score("mine", song, "whole", row, 0, sdr, sdr)
        for song in ("a", "b")
        for row, sdr in (("mixture / K", 1.0), ("pack", 4.0))
    ]
    text = "\n".join(page(scores, "python bench/own_instrument.py"))
    assert "| pack |  | 2 | 4.00 | 3.00 [3.00, 3.00] | 4.00 |" in text
    assert "## mine: whole, 2 songs" in text
