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
    with pytest.raises(StemwrightError, match=r"states steps 150 \(of best: 0\)") as caught:
        search.resolved("best")
    assert caught.value.code == "preset-tier"
    values = search.resolved()
    assert (values.tier, values.steps, values.guided_steps) == (None, 150, 0)


def test_values_that_are_the_tiers_own_contradict_nothing():
    search = SearchSettings(steps=100)
    assert search.resolved("search").tier == search.resolved().tier == "search"
    assert SearchSettings(steps=0, guided_steps=0, flow_weight=0).resolved().tier == "standard"
    assert SearchSettings(tier="best", steps=0).resolved().tier == "best"
    assert SearchSettings(steps=300).resolved().tier is None


@pytest.mark.parametrize("tier", [None, "draft", "standard", "best", "search"])
@pytest.mark.parametrize("stated", [{"steps": 50}, {"guided_steps": 7}, {"flow_weight": 0.3},
                                    {"guide": "mine"}])  # fmt: skip
def test_flows_that_a_preset_moves_have_a_say(tier, stated):
    """Whoever states a part of a search gets the rest of one, whatever tier the preset names."""
    values = SearchSettings(tier=tier, **stated).resolved()
    expected = {name: TIERS["search"][name] for name in ("steps", "guided_steps", "flow_weight")}
    assert {name: getattr(values, name) for name in expected | stated} == expected | stated


@pytest.mark.parametrize("tier", ["draft", "standard", "best"])
def test_every_tier_but_search_leaves_the_flows_alone(tier):
    values = SearchSettings(tier=tier).resolved()
    assert (values.steps, values.flow_weight, values.tier) == (0, 0, tier)


def test_what_a_preset_says_of_the_estimate_holds_in_every_tier():
    search = SearchSettings(song_weight=0.2, second_look=0.1, spatial=False)
    for tier in TIERS:
        values = search.resolved(tier)
        assert (values.song_weight, values.second_look, values.spatial) == (0.2, 0.1, False)
        assert values.tier == tier


def test_manifests_keep_the_values_and_their_order():
    lines = json.dumps(SearchSettings().resolved().as_json())
    assert lines == (
        '{"start": "zero", "learning_rate": 0.01, "prior_weight": 0.0, "guide_weight": 1.0, '
        '"exact_gradient": false, "output": "masks", "mask_power": 1.0, "song_weight": 0.5, '
        '"second_look": 0.0, "spatial": true, "inside": null, "guide": null, "steps": 0, '
        '"guided_steps": 0, "flow_weight": 0.0, "method": "gradient", "tier": "standard"}'
    )


def test_explain_tells_a_search_without_a_tier():
    assert "search: standard" in explain(load_preset("rock"))
    explanation = explain(load_preset("faithful"))
    assert "search: steps 150, guided_steps 0, flow_weight 1 (no tier)" in explanation


def test_separate_says_which_values_stand_against_the_tier(tmp_path):
    make_mix(tmp_path / "mix.wav", 0)
    words = [tmp_path / "mix.wav", "-o", tmp_path / "o", "--preset", "faithful", "--tier", "best"]
    done = CliRunner().invoke(stemwright.main, ["separate", *map(str, words)])
    assert done.exit_code == 1
    assert "states steps 150 (of best: 0), " in done.output
    assert "flow_weight 1.0 (of best: 0.0). Leave the tier out" in done.output
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
