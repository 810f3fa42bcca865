"""Tiers: one that is asked for is taken whole or refused, and no search bears a false name."""

import json

import pytest
from click.testing import CliRunner

import stemwright
from hotfolder.catalogue.listing import read_catalogue
from hotfolder_fixtures import make_mix
from presets import SearchSettings, StemwrightError, explain, load_preset
from presets.search import TIERS


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_that_is_asked_for_is_taken_whole(tier):
    values = SearchSettings(learning_rate=0.02).resolved(tier)
    assert {name: getattr(values, name) for name in TIERS[tier]} == TIERS[tier]
    assert (values.tier, values.learning_rate) == (tier, 0.02)


def test_a_preset_with_values_of_its_own_refuses_tiers_and_bears_no_ones_name():
    search = load_preset("faithful").search
    with pytest.raises(StemwrightError, match=r"states steps 150 \(of best: 300\)") as caught:
        search.resolved("best")
    assert caught.value.code == "preset-tier"
    values = search.resolved()
    assert (values.tier, values.steps, values.guided_steps) == (None, 150, 0)


def test_values_that_are_the_tiers_own_contradict_nothing():
    search = SearchSettings(steps=300)
    assert search.resolved("best").tier == "best"
    assert search.resolved().tier is None  # standard has 100
    assert SearchSettings(tier="best", steps=300).resolved().tier == "best"


def test_manifests_keep_the_values_and_their_order():
    lines = json.dumps(SearchSettings().resolved().as_json())
    assert lines == (
        '{"start": "zero", "learning_rate": 0.01, "prior_weight": 0.0, "guide_weight": 1.0, '
        '"exact_gradient": false, "output": "masks", "mask_power": 1.0, "song_weight": 0.5, '
        '"spatial": true, "inside": null, "guide": null, "steps": 100, "guided_steps": 30, '
        '"flow_weight": 0.7, "method": "gradient", "tier": "standard"}'
    )


def test_explain_tells_a_search_without_a_tier():
    assert "search: standard" in explain(load_preset("rock"))
    told = explain(load_preset("faithful"))
    assert "search: steps 150, guided_steps 0, flow_weight 1 (no tier)" in told


def test_separate_says_which_values_stand_against_the_tier(tmp_path):
    make_mix(tmp_path / "mix.wav", 0)
    words = [tmp_path / "mix.wav", "-o", tmp_path / "o", "--preset", "faithful", "--tier", "best"]
    done = CliRunner().invoke(stemwright.main, ["separate", *map(str, words)])
    assert done.exit_code == 1
    assert "guided_steps 0 (of best: 60), " in done.output
    assert "flow_weight 1.0 (of best: 0.7). Leave the tier out" in done.output
    assert not (tmp_path / "o").exists()


def test_rows_whose_presets_refuse_the_tier_are_told_before_any_work(tmp_path):
    for seed, name in enumerate(("one", "two")):
        make_mix(tmp_path / f"{name}.wav", seed)
    rows = [{"path": "one.wav"}, {"path": "two.wav", "preset": "faithful"}]
    listed = tmp_path / "list.jsonl"
    listed.write_text("\n".join(map(json.dumps, rows)))
    read = read_catalogue(listed, "default", "best")
    assert [row.path.name for row in read.rows] == ["one.wav"]
    [problem] = read.problems
    assert problem.code == "preset-tier"
    assert problem.reason.startswith("preset faithful: tier best was asked for")
    assert len(read_catalogue(listed).rows) == 2
