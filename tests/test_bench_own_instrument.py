"""The bench of own instruments leaves songs out, bleeds as it says, prints what it measured."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

import bench_path  # noqa: F401
import own_instrument
import own_searches
from own_material import BLEED_DB, Set, cut, points, shortened
from own_networks import Network, oracle, with_song_spectra
from own_tables import MIXTURE, OWN, PROMISE, PROMISE_AT_LEVEL, SHIPPED, Score, page

RATE = 44_100


def noise(rng, level=0.1):
    return level * rng.standard_normal(2 * RATE).astype(np.float32)


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("songs"), np.random.default_rng(2)
    for name in ("a_1", "a_2", "b_1"):
        (folder / name).mkdir()
        for stem in ("drums", "guitar", "piano"):
            soundfile.write(folder / name / f"{stem}.wav", noise(rng), RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def parsed(songs):
    return Set.parse(f"mine=guitar:{songs}:a_*")


@pytest.fixture(scope="module")
def laid(songs, tmp_path_factory):
    """Three takes of a guitar, of no song."""
    folder, rng = tmp_path_factory.mktemp("takes"), np.random.default_rng(3)
    for name in ("x", "y", "z"):
        soundfile.write(folder / f"{name}.wav", noise(rng, 0.01), RATE, subtype="FLOAT")
    return Set.parse(f"laid=guitar:{folder}", [f"{songs}:a_*"])


def test_a_set_has_the_songs_of_its_pattern(parsed, songs):
    assert parsed.songs == ("a_1", "a_2")
    with pytest.raises(SystemExit, match="two are needed"):
        Set.parse(f"mine=guitar:{songs}:b_*")


@pytest.mark.parametrize("count", [0, 2, 9])
def test_nothing_of_a_song_stands_on_both_sides(parsed, laid, tmp_path, count):
    for each in (parsed, laid):
        folds = each.folds(count)
        assert sorted(song for fold in folds for song in fold) == list(each.songs)
        for fold in folds:
            heard = {clip.song for clip in each.takes(fold, tmp_path).clips}
            assert heard == set(each.songs) - set(fold)
            judged = {path for song in fold for path in each.tracks.songs[song][each.target]}
            assert judged.isdisjoint(each.take_files(fold))
            for corpus in each.band(fold, tmp_path).values():
                assert {clip.song for clip in corpus.clips} == set(each.songs) - set(fold)


def test_takes_of_a_set_of_their_own_leave_every_song_to_be_judged(songs, laid, tmp_path):
    takes = {"mine": (laid.tracks.songs["x"]["guitar"][0].parent,)}
    mine = Set.parse(f"mine=guitar:{songs}:b_*", (), takes)
    assert mine.folds(2) == [("b_1",)]
    assert {clip.song for clip in mine.takes(("b_1",), tmp_path).clips} == {"x", "y", "z"}


def test_takes_are_laid_into_songs_as_loud_as_their_stems(laid, songs):
    audio, rate = laid.audio("x")
    assert (rate, audio.keys()) == (RATE, {"drums", "piano", "guitar"})
    power = {stem: float(np.square(part).mean()) for stem, part in audio.items()}
    assert power["guitar"] == pytest.approx((power["drums"] + power["piano"]) / 2, rel=1e-3)
    with pytest.raises(SystemExit, match="--backing"):
        Set.parse(f"laid=guitar:{laid.tracks.songs['x']['guitar'][0].parent}")


def test_takes_are_shortened_and_points_are_those_that_differ(parsed, tmp_path):
    takes = parsed.takes(["a_1"], tmp_path)
    half = cut(takes.clips, 0.5)[0]
    assert half.playing.sum() == pytest.approx(takes.clips[0].playing.sum() / 2, abs=1)
    assert shortened(takes, 15) is takes
    assert points([0.5, 2, 5], 11) == [0.5, 2, 5]
    assert points([0.5, 2, 5], 3.5) == [0.5, 2, 5]
    assert points([0.5, 2, 5], 2.5) == [0.5, 2]
    assert points([0.5, 2, 5], 0.1) == [0.5]


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


def test_heads_are_asked_as_the_guard_of_a_tuning_asks_them(parsed):
    true = dict(parsed.views("a_1"))["whole"]
    shipped = Network.shipped()
    together = shipped.in_its_set(true)
    assert together.shape == true.own.shape
    assert np.allclose(together.sum(axis=0), 1, atol=1e-4)
    alone = shipped.alone(true, "guitar")
    assert not alone[true.stems.index("drums")].any()
    assert 0 <= alone.min() < alone.max() <= 1
    stand_in = shipped.with_stand_in("violin")
    assert stand_in.cards["violin"].against == shipped.cards["other"].against
    assert not shipped.with_head("violin", shipped.heads["other"]).cards["violin"].against


def scores_of(*rows):
    return [
        Score("mine", song, view, row, minutes, sdr, sdr, minutes, low, high)
        for song in ("a", "b")
        for view, row, minutes, sdr, low, high in rows
    ]


def test_the_page_says_gains_over_the_mixture_and_over_what_is_shipped():
    scores = scores_of(
        ("whole", MIXTURE, 0.0, 1.0, None, None),
        ("whole", "half of the mix", 0.0, 0.5, None, None),
        ("whole", SHIPPED, 0.0, 3.0, None, None),
        ("whole", "oracle", 0.0, 9.0, None, None),
        ("whole", OWN, 2.0, 4.0, None, None),
        ("whole", PROMISE, 2.0, 3.0, 2.0, 4.0),
        ("whole", PROMISE_AT_LEVEL, 2.0, 3.4, 2.0, 4.0),
    )
    text = "\n".join(page(scores, "python bench/own_instrument.py"))
    three, one, five = ("3.00 [3.00, 3.00]", "1.00 [1.00, 1.00]", "5.00 [5.00, 5.00]")
    assert f"| mine | whole | 2.0 | strangers | 2 | {three} | {one} | {five} |" in text
    promised = "| +3.0 | (+2.0 to +4.0) | 0.5 | +3.4 | 0.1 |"
    assert f"| mine | 2.0 | 2 {promised} 3.50 [3.50, 3.50] |" in text
    assert f"| own, rest unknown | 2.0 | 2 | 4.00 | {three} | 4.00 |" in text
    assert "## mine: whole, 2 songs" in text


def test_the_table_of_searches_says_what_both_gain_over_the_estimate():
    rows = [("rest unknown", own_searches.SHARE, 0.0, 1.0, None, None)]
    for who in ("own", "shipped"):
        for number, system in enumerate(own_searches.SYSTEMS):
            rows.append(("rest unknown", f"{who}: {system}", 0.0, 2.0 + number, None, None))
    text = "\n".join(own_searches.page(scores_of(*rows), "python bench"))
    expected = "own | 2 | 1.00 | 2.00 | 3.00 | 4.00 | 2.00 [2.00, 2.00] |"
    assert f"| mine | rest unknown | {expected}" in text


@pytest.mark.parametrize("name", ["own-instrument-bench", "own-instrument-searches"])
def test_the_pages_of_docs_are_what_their_commands_print(name, capsys, monkeypatch):
    root = Path(__file__).parents[1]
    printed = (root / "docs" / f"{name}.md").read_text(encoding="utf-8")
    command = printed.split("Printed by `")[1].split("`")[0]
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", shlex.split(command)[1:])
    own_instrument.main()
    assert capsys.readouterr().out == printed


def test_songs_are_measured_beside_other_recordings_alone(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", "--scores", "a.jsonl", "--set", "a=guitar:songs"])
    with pytest.raises(SystemExit):
        own_instrument.main()
    assert "--against" in capsys.readouterr().err
