"""One stem, and nothing known of what else plays: the sum stays the mix, the residual is the
rest."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import separator_toys as toys
from engine import Device, Prior, RenderOptions, measure_null, render, separate
from engine.mix_render import _Levels
from engine.separation.search import divergence, search
from engine.separation.unknown_rest import RestSpectra, left_over
from presets import StemwrightError, explain, load_preset, only_stems
from prior_fixtures import search_plan
from stemwright import main

RATE = 44_100


@pytest.fixture
def options(tiny_prior_folder):
    return RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu", threads=1)


@pytest.fixture
def mix(tmp_path, rng):
    time = np.arange(12_011)[:, None] / RATE
    tones = sum(np.sin(2 * np.pi * f * time) for f in (440, 3000))
    audio = 0.1 * tones + 0.05 * rng.standard_normal((len(time), 2))
    soundfile.write(tmp_path / "mix.wav", audio, RATE)
    return tmp_path / "mix.wav"


def preset(folder, stems, **search):
    path = folder / "mine.yaml"
    path.write_text(json.dumps({"stems": stems, "search": search}))
    return load_preset(path)


def digests(folder):
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (folder / "dry").iterdir()
    }


# what is left over


def test_what_is_left_of_one_stem_is_the_mix_without_it(rng):
    mix = rng.random((2, 5, 8), np.float32)
    found = mix * rng.random((1, 2, 5, 8), np.float32)
    assert np.allclose(left_over(found, mix), mix - found[0], atol=1e-6)


def test_what_is_left_does_not_depend_on_the_order_and_is_never_more_than_before(rng):
    mix = rng.random((2, 5, 8), np.float32)
    mix[0] = 0
    found = mix * rng.random((3, 2, 5, 8), np.float32)
    left = left_over(found, mix)
    for order in permutations(range(3)):
        assert np.allclose(left_over(found[list(order)], mix), left, atol=1e-6)
    assert np.all((left >= 0) & (left <= left_over(found[:2], mix) + 1e-7))
    assert np.all(left_over(2 * mix[None], mix) == 0)  # a stem claims no more than there is


def test_spectra_of_the_rest_explain_what_others_leave_better_each_time(rng):
    mix = rng.random((2, 40, 16), np.float32)
    mix[1, 20:] = 0
    known = 0.3 * mix * rng.random(mix.shape, np.float32)
    rest = RestSpectra(mix, None, seed=0)
    losses = []
    for _ in range(8):
        losses.append(divergence(mix, rest.magnitudes + known, np.ones_like(mix)))
        rest.fit(known)
    assert losses == sorted(losses, reverse=True)
    assert np.all(np.isfinite(rest.magnitudes))
    assert np.all(rest.magnitudes >= 0)


@pytest.mark.parametrize("method", ["gradient", "finite-difference"])
def test_a_search_with_an_unknown_rest_explains_the_mix(method, tiny_prior_folder, rng):
    prior = Prior(tiny_prior_folder / "low.prior", Device("cpu"))
    drawn = prior.inverse(rng.standard_normal((1, 6, 32)).astype(np.float32))
    drawn[:, :, 8:] += rng.random((1, 12, 8), np.float32)
    plan, weight = search_plan(steps=20, method=method), np.ones_like(drawn)
    found = []
    for threads in (1, 3):
        rest = RestSpectra(drawn, None, seed=0)
        with ThreadPoolExecutor(threads) as pool:
            found.append(search([prior], drawn, weight, None, None, plan, 0, pool, rest=rest))
    assert found[0].magnitudes.shape == (2, *drawn.shape)
    assert found[0].last_loss < found[0].first_loss
    assert found[0].magnitudes.tobytes() == found[1].magnitudes.tobytes()


# sets


@pytest.mark.parametrize(
    ("tier", "stems"),
    [("draft", ["low"]), ("standard", ["low", "high"]), ("best", ["low"]), ("search", ["low"])],
)
def test_stems_and_residual_are_the_mix_and_come_again(tier, stems, mix, tmp_path, options):
    chosen = preset(tmp_path, {stem: {} for stem in stems}, tier=tier, rest="unknown")
    for name, threads in (("one", 1), ("two", 3)):
        chosen_options = RenderOptions(**{**options.__dict__, "threads": threads})
        manifest = render(mix, tmp_path / name, chosen, chosen_options)
        files = [tmp_path / name / file.path for file in manifest.files if "dry" in file.path]
        assert measure_null(mix, files).exact
        assert manifest.search["rest"] == "unknown"
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(list((tmp_path / "one" / "dry").iterdir())) >= len(stems) + 1


def test_raw_magnitudes_of_one_flow_are_as_exact(mix, tmp_path, options):
    chosen = preset(
        tmp_path, {"low": {}}, rest="unknown", output="raw", steps=3, guided_steps=0, flow_weight=1
    )
    render(mix, tmp_path / "out", chosen, options)
    assert measure_null(mix, sorted((tmp_path / "out" / "dry").iterdir())).exact


def test_one_stem_alone_is_not_given_the_whole_mix(mix, tmp_path, options):
    audio, rate = soundfile.read(mix)
    stem, rest = separate(
        audio.T, rate, preset(tmp_path, {"low": {}}, rest="unknown"), options
    ).values()
    assert (stem**2).sum() < 0.9 * (audio**2).sum()
    assert (rest**2).sum() > 0.01 * (audio**2).sum()


def test_known_neighbours_are_another_search_than_an_unknown_rest(mix, tmp_path, options):
    audio, rate = soundfile.read(mix)
    named, unknown = (
        separate(audio.T, rate, preset(tmp_path, {"low": {}, "high": {}}, **search), options)
        for search in ({"rest": "named"}, {"rest": "unknown"})
    )
    left = [(found["residual"] ** 2).sum() for found in (named, unknown)]
    assert left[0] < 1e-6 * left[1]  # named stems share out all of it


def test_shipped_priors_find_a_bass_under_noise_that_nobody_knows(tmp_path, rng):
    """A low tone that decays, and hiss: the tone is found better than by half of the mix."""
    time = np.arange(4 * RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 55 * n * time) / n**2 for n in (1, 2, 3, 4))
    bass = 0.2 * tone * np.exp(-3 * (time % 0.5))
    hiss = 0.05 * np.diff(rng.standard_normal(len(time) + 1)) * (np.sin(9 * time) > 0)
    found = separate((bass + hiss)[None], RATE, only_stems(load_preset("default"), ["bass"]))
    wrong = ((bass - found["bass"][0]) ** 2).sum()
    assert 10 * np.log10((bass**2).sum() / wrong) > 12
    assert found.keys() == {"bass", "residual"}


def test_the_report_counts_what_the_rest_shares_as_leakage(mix, tmp_path, options):
    chosen = preset(tmp_path, {"low": {}}, rest="unknown")
    manifest = render(mix, tmp_path / "out", chosen, options)
    assert -30 < manifest.quality.stems["low"].leakage_db < 0


def test_a_lone_stem_that_does_not_play_is_absent_by_the_level_of_the_mix():
    levels = _Levels()
    levels.add({"sax": np.full((1, 8), 1e-4, np.float32)})
    assert levels.absent() == ()
    levels.add_mix(np.full((1, 8), 0.1))
    assert levels.absent() == ("sax",)


def test_one_prior_searches_inside_a_foreign_stem(mix, tmp_path, options):
    folder = tmp_path / "separators"
    folder.mkdir()
    toys.echo(folder, name="half", gain=0.5)
    chosen = preset(
        tmp_path,
        {"all": {"separator": "half"}, "mine": {"prior": "low"}},
        rest="unknown",
    )
    chosen_options = RenderOptions(
        **{
            **options.__dict__,
            "separator_folders": (folder,),
            "unchecked_separators": "warn",
        }
    )
    render(mix, tmp_path / "out", chosen, chosen_options)
    files = sorted((tmp_path / "out" / "dry").iterdir())
    assert {"mix_all.wav", "mix_mine.wav", "mix_residual.wav"} <= {file.name for file in files}
    assert measure_null(mix, files).exact


# presets


def test_a_preset_that_does_not_ask_has_the_digest_and_values_of_before(tmp_path):
    plain = preset(tmp_path, {"low": {}, "high": {}})
    asked = preset(tmp_path, {"low": {}, "high": {}}, rest="unknown")
    assert plain.digest() != asked.digest()
    assert '"rest"' not in json.dumps(plain.search.resolved().as_json())
    assert asked.search.resolved().as_json()["rest"] == "unknown"
    assert "search: standard, the rest unknown" in explain(asked)


@pytest.mark.parametrize(
    ("stems", "search", "words"),
    [
        ({"all": {"separator": "half"}}, {"rest": "unknown"}, "no stem is found by a prior"),
        ({"low": {}}, {"rest": "whatever"}, "search.rest"),
    ],
)
def test_mistakes_are_told(stems, search, words, tmp_path):
    with pytest.raises(StemwrightError, match=words):
        preset(tmp_path, stems, **search)


def test_only_keeps_what_the_preset_says_of_a_stem(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "priors: band\nresidual: {into: other}\nsearch: {tier: best}\n"
        "stems: {vocals: {prior: lead, gain_db: -3}, other: {}}\n"
    )
    whole = load_preset(path)
    one = only_stems(whole, ["vocals", "sax"])
    assert one.stems["vocals"] == whole.stems["vocals"]
    assert one.stems["sax"].prior == "band/sax"
    assert (one.search.rest, one.search.tier, one.residual.into) == ("unknown", "best", None)
    assert only_stems(whole, ["other"]).residual.into == "other"
    assert whole.search.rest is None


@pytest.mark.parametrize("name", ["Sax", "residual", "a b"])
def test_only_refuses_what_is_no_name(name):
    with pytest.raises(StemwrightError, match=name):
        only_stems(load_preset("default"), [name])


def test_only_refuses_stems_of_separators_and_voices(tmp_path):
    for text in ("stems: {all: {separator: half}}", "voices: {parts: [alto, tenor]}"):
        (tmp_path / "p.yaml").write_text(text)
        with pytest.raises(StemwrightError, match="rest: unknown"):
            only_stems(load_preset(tmp_path / "p.yaml"), ["all"])


def test_the_command_finds_one_stem(mix, tmp_path, tiny_prior_folder):
    def run(*words):
        folders = ["--priors", str(tiny_prior_folder), "-o", str(tmp_path / "sets")]
        return CliRunner().invoke(main, ["separate", str(mix), *folders, *words])

    done = run("--only", "low", "--json")
    assert done.exit_code == 0, done.output
    manifest = json.loads(done.output)
    assert {file["stem"] for file in manifest["files"]} >= {"low", "residual"}
    bad = run("--only", "kazoo")
    assert bad.exit_code != 0
    assert "kazoo" in bad.output
