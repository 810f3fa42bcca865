"""One command makes a whole set of priors: rendered, trained, with heads, exported and judged."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

import export
import export.estimates
import export.priors
import export.training.runs
from engine import read_bundle
from engine.evaluation.cross_likelihood import Judgement
from export import TrainingOptions
from export.models.estimator import EstimatorConfig
from export.models.flow import FlowConfig
from export.recipe import make_priors, read_recipe
from export.training.flow_training import load_run
from presets import StemwrightError
from prior_fixtures import BANDS, CONFIG, tiny_front_end

ROOT = Path(__file__).parent.parent
RECIPE = """
catalogue: sources.yaml
parts: {low: ["takes/low/*"], high: ["takes/high/*"], noise: ["takes/noise/*"]}
priors: {low: [low], rest: [high, noise]}
flow_steps: 2
head_steps: 2
"""
SOURCES = """
"*/kept_*": {name: kept for judging, held_out: true}
"*": {name: takes, licence: CC0-1.0}
"""


@pytest.fixture
def run(tmp_path):
    rng, rate = np.random.default_rng(0), 22_050
    t = np.arange(4 * rate) / rate
    for part, make in (
        ("low", lambda: np.sin(2 * np.pi * rng.uniform(60, 90) * t)),
        ("high", lambda: np.sin(2 * np.pi * rng.uniform(900, 2000) * t)),
        ("noise", lambda: rng.standard_normal(t.size)),
    ):
        folder = tmp_path / "audio" / "takes" / part
        folder.mkdir(parents=True)
        for name in ("one", "two", "kept_three"):
            audio = (0.2 * make()).clip(-0.9, 0.9)
            soundfile.write(folder / f"{name}.wav", audio, rate, subtype="PCM_16")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "sources.yaml").write_text(SOURCES)
    return tmp_path


def make(folder, priors="priors"):
    return list(
        make_priors(
            folder / "recipe.yaml",
            [folder / "audio"],
            [],
            None,
            None,
            TrainingOptions(folder / "runs", threads=1, device="cpu"),
            folder / priors,
        )
    )


@pytest.fixture
def small(monkeypatch):
    """The recipe's standard size at the tiny priors' size."""
    for module in (export.training.runs, export.priors, export.estimates):
        monkeypatch.setattr(module, "standard_front_end", tiny_front_end)
    monkeypatch.setattr(export.training.runs, "FlowConfig", lambda: CONFIG)
    heads = EstimatorConfig(bands=BANDS, hidden=8, dilations=(1, 2), head=8)
    monkeypatch.setattr(export.estimates, "NETWORKS", {"small": heads})


@pytest.fixture
def judged_good(monkeypatch):
    """Two steps teach nothing, and what happens to a set that is good is looked at here."""
    monkeypatch.setattr(Judgement, "good", lambda self, stem: True)


@pytest.mark.usefixtures("small", "judged_good")
def test_a_recipe_becomes_bundles_and_goes_on_where_it_stopped(run):
    lines = make(run)

    cards = {stem: read_bundle(run / f"priors/{stem}.prior")[0] for stem in ("low", "rest")}
    assert any(line.startswith("low: step 2/2") for line in lines)
    assert cards["low"].encoder_sha256 == cards["rest"].encoder_sha256
    assert cards["low"].encoder_sha256
    assert cards["low"].percentiles
    # what is kept for judging is in no training, and judged
    assert [(s.name, s.files) for s in cards["low"].sources] == [("takes", 2)]
    assert [(s.name, s.files) for s in cards["rest"].sources] == [("takes", 4)]
    assert cards["low"].validation["judged"]["recordings"] == 1
    assert cards["low"].training["head"]["steps"] == cards["low"].training["head"]["of"] == 2
    # and who leaked in, or played along when the heads learned, is told too
    assert {source.name for source in cards["low"].other_sources} == {
        f"{part}: takes" for part in ("low", "high", "noise")
    }

    again = make(run, "again")
    assert not any("step" in line and "heads" in line for line in again)
    for name in sorted(path.name for path in (run / "priors").iterdir()):
        one, two = (hashlib.sha256((run / f / name).read_bytes()).hexdigest()
                    for f in ("priors", "again"))  # fmt: skip
        assert one == two


@pytest.mark.usefixtures("small", "judged_good")
def test_a_recipe_may_ask_for_likelihood_alone_and_no_estimate(run):
    recipe = RECIPE.replace("head_steps: 2", "head_steps: 0")
    (run / "recipe.yaml").write_text(recipe)
    make(run)
    taught = load_run(run / "runs/low").settings
    (run / "recipe.yaml").write_text(f"{recipe}contrast: false\n")
    shutil.rmtree(run / "runs")
    make(run, "plain")
    assert taught.contrast_weight > 0
    assert load_run(run / "runs/low").settings.contrast_weight == 0
    for folder in ("priors", "plain"):
        assert not list((run / folder).glob("*.onnx"))
        assert read_bundle(run / folder / "low.prior")[0].encoder_sha256 is None


def test_a_recipe_may_ask_for_the_published_view(run):
    recipe = RECIPE.replace("head_steps: 2", "head_steps: 0")
    (run / "recipe.yaml").write_text(f"{recipe}size: paper-small\n")
    make(run)
    card, run = read_bundle(run / "priors/low.prior")[0], load_run(run / "runs/low")
    assert (card.front_end.sample_rate, card.front_end.hop) == (22_050, 256)
    assert len(card.front_end.edges_hz) == 513
    assert (run.config.bands, run.config.hidden) == (512, FlowConfig().hidden)
    assert (run.settings.compression, run.settings.contrast_weight) == (1.0, 0.0)


def test_a_recipe_that_keeps_nothing_for_judging_is_refused_before_the_training(run):
    sources = SOURCES.replace("*/kept_*", "high/kept_*")
    (run / "sources.yaml").write_text(sources)
    with pytest.raises(StemwrightError, match=r"low: no recording of low is kept") as caught:
        make(run)
    assert caught.value.code == "nothing-held-out"
    assert "held_out: true" in str(caught.value)
    assert not (run / "runs").exists()


@pytest.mark.usefixtures("small")
def test_priors_that_are_not_good_leave_the_old_ones_as_they_are(run, monkeypatch):
    (run / "recipe.yaml").write_text(RECIPE.replace("head_steps: 2", "head_steps: 0"))
    (run / "priors").mkdir()
    (run / "priors/low.prior").write_bytes(b"the old one")
    monkeypatch.setattr(Judgement, "good", lambda self, stem: stem != "rest")
    with pytest.raises(StemwrightError, match=r"^rest: not good") as caught:
        make(run)
    assert caught.value.code == "prior-not-good"
    new = run / "runs/bundles.new"
    assert str(new) in str(caught.value)
    assert sorted(path.name for path in new.iterdir()) == ["low.prior", "rest.prior"]
    assert read_bundle(new / "rest.prior")[0].validation["judged"]["good"] is False
    assert [path.name for path in (run / "priors").iterdir()] == ["low.prior"]
    assert (run / "priors/low.prior").read_bytes() == b"the old one"

    monkeypatch.setattr(Judgement, "good", lambda self, stem: True)
    make(run)
    assert read_bundle(run / "priors/low.prior")[0].validation["judged"]["good"]
    assert not new.exists()


@pytest.mark.usefixtures("small")
def test_a_recipe_may_ask_for_one_flow_that_is_told_the_stem(run, monkeypatch):
    monkeypatch.setattr(Judgement, "good", lambda self, stem: False)
    recipe = f"{RECIPE.replace('head_steps: 2', 'head_steps: 0')}music: true\n"
    (run / "recipe.yaml").write_text(recipe)
    with pytest.raises(StemwrightError, match="not good"):
        make(run)
    assert not (run / "priors").exists()
    card, *_ = read_bundle(run / "runs/bundles.new/musicglow.prior")
    assert card.labels == ("low", "rest")
    assert card.encoder_sha256 is None
    assert set(card.percentiles_of_labels) == {"low", "rest"}
    assert card.validation["judged"]["rest"]["recordings"] == 2
    assert sum(source.files for source in card.sources) == 6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("priors: {low: [lwo]}", "lwo is used"),
        ("priors: {low: []}", "priors.low"),
        ("steps: 3", "Extra inputs"),
        ("music: true", "has no heads"),
        ("size: paper", "size paper has no heads"),
        ("size: huge", "Input should be"),
        ("head_steps: 0\nsize: paper\ncontrast: true", "likelihood alone, as published"),
    ],
)
def test_a_wrong_recipe_is_told(run, change, sentence):
    key = change.partition(":")[0]
    lines = [line for line in RECIPE.splitlines() if not line.startswith(f"{key}:")]
    (run / "recipe.yaml").write_text("\n".join([*lines, change]))
    with pytest.raises(StemwrightError, match=sentence):
        read_recipe(run / "recipe.yaml")


def test_a_part_without_recordings_is_told(run):
    for path in (run / "audio/takes/noise").iterdir():
        path.unlink()
    with pytest.raises(StemwrightError, match="noise: no recording matches"):
        make(run)


def test_shipped_recipe_takes_nothing_for_academic_use():
    def patterns(name):
        parts = read_recipe(folder / name).parts
        return [pattern for patterns_of_part in parts.values() for pattern in patterns_of_part]

    folder = Path(export.__file__).parent
    sources = yaml.safe_load((folder / "shipped_sources.yaml").read_text())
    academic = [
        name for name, source in sources.items() if "academic" in source.get("licence", "")
    ]
    assert academic == ["musdb18_excerpts/train/*/*.ogg"]
    assert not any("musdb" in pattern for pattern in patterns("shipped.yaml"))
    assert any("musdb" in pattern for pattern in patterns("research.yaml"))


def test_the_page_names_every_source_of_the_shipped_priors():
    page = (ROOT / "docs/priors.md").read_text()
    sources = yaml.safe_load((ROOT / "export/shipped_sources.yaml").read_text())
    for pattern, source in sources.items():
        assert source["name"] in page or source.get("held_out"), pattern


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_priors_says_what_it_needs():
    def dry_run(*words):
        command = ["make", "-n", "-C", ROOT, "priors", *words]
        return subprocess.run(command, capture_output=True, text=True)

    refused = dry_run()
    assert refused.returncode != 0
    assert "RECORDINGS=folder" in refused.stderr
    done = dry_run("RECORDINGS=takes")
    assert done.returncode == 0
    assert "--recordings takes" in done.stdout
