"""One flow for several stems: a bijection under every label, and each label another prior."""

import hashlib
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

import export.training.runs
import stemwright
from engine import Device, Prior, make_session, open_priors, read_bundle
from engine.separation.device_adam import descend_on_device
from engine.separation.search import search
from engine.separation.search_plan import SearchTask
from export.bundle import parity, torch_reference
from export.data.augmentation import DRY
from export.data.corpus import Clip, Corpus
from export.data.labelled import Music, labels_of_rows
from export.models.flow import Flow, FlowConfig
from export.models.flow_graphs import emit_graphs
from export.training.flow_training import CHECKPOINT, FlowTask, TrainSettings, load_run
from export.training.run import TrainingRun
from presets import StemwrightError, load_preset
from prior_fixtures import (
    BANDS,
    CONFIG,
    labelled_prior,
    make_features,
    make_vectors,
    random_flow,
    search_plan,
    tiny_front_end,
)

INVERSE_ERROR = 1e-3  # single precision
LOG_DET_ERROR = 1e-3  # relative, double precision
PARITY = 1e-4  # relative
FINITE_DIFFERENCE = 1e-2  # relative, single precision
SAME = 1e-4  # largest difference of latents: rounding in 12 steps of 0.03
RATE = 44_100

LABELLED = [
    FlowConfig(bands=4, blocks=1, hidden=4, layers=1, kernel=3, labels=2),
    FlowConfig(bands=8, blocks=3, hidden=8, layers=3, kernel=5, labels=3),
]


# the flow


@pytest.mark.parametrize("config", LABELLED, ids=str)
def test_inverse_of_forward_is_identity_under_every_label(config):
    flow = random_flow(0, config)
    x = torch.randn(1, config.bands, 6).expand(config.labels, -1, -1)
    labels = torch.arange(config.labels)
    z, _ = flow(x, labels)
    assert (flow.inverse(z, labels) - x).abs().max() < INVERSE_ERROR
    assert (z[0] - z[1]).abs().max() > 0.01  # another label, another density


@pytest.mark.parametrize("config", LABELLED, ids=str)
def test_log_determinant_is_the_jacobians_under_every_label(config):
    flow = random_flow(1, config).double()
    x = torch.randn(1, config.bands, 4, dtype=torch.float64)
    for label in range(config.labels):
        labels = torch.tensor([label])
        jacobian = torch.autograd.functional.jacobian(lambda v, k=labels: flow(v, k)[0], x)
        expected = float(torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel()))[1])
        log_det = float(flow(x, labels)[1].detach()[0])
        assert abs(log_det - expected) < LOG_DET_ERROR * max(1.0, abs(expected))


def test_every_row_of_a_batch_follows_its_own_label():
    flow, x = random_flow(2, LABELLED[1]), torch.randn(3, 8, 6)
    together, _ = flow(x, torch.tensor([2, 0, 1]))
    for row, label in enumerate((2, 0, 1)):
        alone, _ = flow(x[row : row + 1], torch.tensor([label]))
        assert torch.allclose(together[row], alone[0], atol=1e-5)


def test_gradients_reach_every_parameter():
    flow = random_flow(2, LABELLED[1])
    flow.log_prob(torch.randn(3, 8, 8), torch.arange(3)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in flow.parameters())


def test_labels_are_asked_for_where_there_are_some_and_refused_where_there_are_none():
    x = torch.randn(1, 8, 4)
    with pytest.raises(ValueError, match="3 labels"):
        random_flow(0, LABELLED[1])(x)
    with pytest.raises(ValueError, match="0 labels"):
        random_flow(0, replace(LABELLED[1], labels=0))(x, torch.tensor([0]))


def test_paper_size_has_the_papers_parameters():
    flow = Flow(replace(FlowConfig.paper(), labels=4))
    # published: 14,865,744 and an embedding of 256 per label, with two channels of padding
    published = 14_865_744 + 4 * 256
    assert abs(sum(p.numel() for p in flow.parameters()) - published) < 0.005 * published


# the graphs


@pytest.mark.parametrize("compression", [1 / 3, 1.0])
@pytest.mark.parametrize("config", LABELLED, ids=str)
def test_onnx_equals_torch_for_every_label(rng, config, compression):
    flow, features = random_flow(4, config), make_features(rng, config, compression)
    graphs = {n: m.SerializeToString() for n, m in emit_graphs(flow, features).items()}
    v = make_vectors(rng, config, 3, 10)
    v |= torch_reference(flow, features, v)
    assert v["gradient"].shape == (config.labels, *v["z"].shape)
    errors = parity(graphs, v, config.labels)
    assert max(errors.values()) < PARITY, errors
    exchanged = v | {"inverse": v["inverse"][::-1]}
    assert parity(graphs, exchanged, config.labels)["inverse"] > PARITY


def test_exported_gradient_equals_finite_differences_under_every_label(rng):
    config = LABELLED[1]
    flow, features = random_flow(5, config), make_features(rng, config, 1 / 3)
    session, _ = make_session(
        emit_graphs(flow, features)["gradient"].SerializeToString(), Device("cpu")
    )
    v = make_vectors(rng, config, 1, 8)
    weight = rng.random(v["others"].shape).astype(np.float32)
    fixed = {
        "mix": v["magnitudes"],
        "others": v["others"],
        "guide": v["guide"],
        "weight": weight,
        "prior_weight": np.array(0.3, np.float32),
        "guide_weight": np.array(0.7, np.float32),
    }
    for label in range(config.labels):
        asked = {"label": np.array(label), **fixed}

        def run(z, asked=asked):
            return session.run(["loss", "gradient"], {"latents": z, **asked})

        _, gradient = run(v["z"])
        for _ in range(3):
            direction = rng.standard_normal(v["z"].shape).astype(np.float32)
            step = np.float32(3e-3)
            difference = run(v["z"] + step * direction)[0] - run(v["z"] - step * direction)[0]
            slope = float((gradient * direction).sum())
            scale = np.linalg.norm(gradient) * np.linalg.norm(direction) / np.sqrt(direction.size)
            assert abs(float(difference[0]) / (2 * step) - slope) < FINITE_DIFFERENCE * scale


# the training


def corpus(stem, low, high):
    """Recordings that play in the bands from `low` to `high` alone, and pause in between."""
    rng = np.random.default_rng(low)
    clips = []
    for song in range(12):
        active = np.zeros((60, 8), np.float16)
        active[:, low:high] = 0.2 + rng.random((60, high - low))
        silent = np.zeros((4, 8), np.float16)
        playing = np.arange(64) < 60
        clips.append(Clip(f"song {song}", "made", np.concatenate([active, silent]), playing))
    return Corpus(stem, clips, production=DRY)


STEMS = {"low": (0, 3), "mid": (3, 5), "high": (5, 8)}
SMALL = FlowConfig(bands=8, blocks=2, hidden=8, layers=1, labels=3)


def music():
    return Music([corpus(stem, *bands) for stem, bands in STEMS.items()])


def stems_heard(row):
    """Which stems' bands hold anything."""
    return {stem for stem, (low, high) in STEMS.items() if np.abs(row[:, low:high]).max() > 1e-3}


def train(folder, steps, upto=None, corpora=None, **settings):
    train, valid = (corpora or music()).split()
    train_settings = TrainSettings(steps=steps, batch=6, frames=16, warm_up=2, **settings)
    task = FlowTask(SMALL, train_settings, train, valid, train.leak)
    run = TrainingRun(folder, CHECKPOINT, task)
    for progress in run.run(every=10):
        if upto is not None and progress.step >= upto:
            break
    return run


def test_every_excerpt_is_one_stems_and_its_leak_the_others(rng):
    drawn, leaked = music().sample(rng, 30, 16).numpy(), music().leak(rng, 30, 16).numpy()
    for row, leak, label in zip(drawn, leaked, labels_of_rows(30, 3), strict=True):
        own = list(STEMS)[label]
        assert stems_heard(row) <= {own}
        assert own not in stems_heard(leak)
    assert sum(bool(stems_heard(row)) for row in drawn) > 20


def test_the_likelihood_never_sees_two_stems_in_one_excerpt(tmp_path):
    """What really reaches the flow, with its labels: the first call of every step."""
    split, valid = music().split()
    settings = TrainSettings(steps=8, batch=6, frames=16, sigma=0.0)
    task = FlowTask(SMALL, settings, split, valid, split.leak)
    trainer = TrainingRun(tmp_path, CHECKPOINT, task)
    log_prob, seen = task.model.log_prob, []
    task.model.log_prob = lambda x, labels: seen.append((x, labels)) or log_prob(x, labels)
    mean, std = task.features.mean, task.features.std
    contrasted = 0
    for step in range(settings.steps):
        trainer.step = step
        seen.clear()
        trainer.train_step()
        x, labels = seen[0]
        magnitudes = (x.numpy().transpose(0, 2, 1) * std + mean).clip(0) ** 3
        for row, label in zip(magnitudes, labels.tolist(), strict=True):
            assert stems_heard(row) <= {list(STEMS)[label]}
        contrasted += len(seen) == 3
    assert contrasted == 4  # leaks and other labels in the second half


def test_training_makes_the_labels_differ(tmp_path):
    trainer = train(tmp_path, 1)
    x, zeros = torch.randn(1, 8, 16), torch.zeros(1, 16, 8)
    with torch.no_grad():
        fresh = Flow(SMALL)
        assert torch.equal(fresh.log_prob(x, torch.tensor([0])),
                           fresh.log_prob(x, torch.tensor([1])))  # fmt: skip
        for step in range(20):
            trainer.step = step
            with torch.enable_grad():
                trainer.train_step()
        modes = [trainer.task.model.inverse(zeros, torch.tensor([k])) for k in range(3)]
    assert (modes[0] - modes[1]).abs().max() > 1e-3
    assert (modes[1] - modes[2]).abs().max() > 1e-3


def test_labels_are_learned_and_measured_one_by_one(tmp_path):
    valid = train(tmp_path, 100, learning_rate=1e-2).validate()
    assert valid.recognised > 0.9
    assert valid.separability > 0.9
    assert np.mean(valid.nll_of_labels) == pytest.approx(valid.nll, abs=1e-4)
    summary = valid.summary(list(STEMS))
    assert all(f"{stem} " in summary for stem in STEMS) and "recognises labels" in summary


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    train(tmp_path / "whole", 40)
    train(tmp_path / "halves", 40, upto=30)  # within the contrast
    assert load_run(tmp_path / "halves").step == 30
    train(tmp_path / "halves", 40)
    one, two = (load_run(tmp_path / name).flow.state_dict() for name in ("whole", "halves"))
    assert all(torch.equal(one[name], two[name]) for name in one)


# the bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return labelled_prior(tmp_path_factory.mktemp("labelled") / "both.prior")


def test_every_label_is_a_prior_of_its_own(bundle, rng):
    prior = Prior(bundle, Device("cpu"))
    assert read_bundle(bundle)[0].labels == ("low", "high")
    prior.verify()
    low, high = prior.labels()
    assert (low.stem, high.stem) == ("low", "high")
    magnitudes = rng.random((2, 12, BANDS)).astype(np.float32) + 0.05
    for each in (low, high):
        assert np.abs(each.inverse(each.forward(magnitudes)[0]) - magnitudes).max() < INVERSE_ERROR
    assert np.abs(low.log_likelihood(magnitudes) - high.log_likelihood(magnitudes)).min() > 1e-3
    assert low._session("forward") is high._session("forward")
    assert low.percentiles == tuple(range(7)) and high.percentiles == ()


def test_self_test_covers_every_label(bundle, tmp_path):
    """A bundle whose second label answers as the first one is refused."""
    with zipfile.ZipFile(bundle) as source:
        files = {name: source.read(name) for name in source.namelist()}
    with np.load(io.BytesIO(files["selftest.npz"])) as stored:
        arrays = dict(stored)
    arrays["inverse"][1] = arrays["inverse"][0]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    files["selftest.npz"] = buffer.getvalue()
    card = json.loads(files["card.json"])
    card["files"]["selftest.npz"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    files["card.json"] = json.dumps(card).encode()
    with zipfile.ZipFile(tmp_path / "bad.prior", "w") as target:
        for name, blob in files.items():
            target.writestr(name, blob)
    prior = Prior(tmp_path / "bad.prior", Device("cpu"))
    for label in ("low", "high"):  # what one label was refused, the other is refused too
        with pytest.raises(StemwrightError, match=r"bad\.prior.*inverse"):
            prior.labelled(label).inverse(np.zeros((1, 2, 2 * BANDS), np.float32))


def test_labels_that_do_not_fit_are_told(bundle, tiny_prior_folder):
    with pytest.raises(StemwrightError, match=r"both\.prior has no label 'mid'; it has low, high"):
        Prior(bundle, Device("cpu"), "mid")
    alone = tiny_prior_folder / "low.prior"
    with pytest.raises(StemwrightError, match=r"low\.prior is a prior of low alone") as caught:
        Prior(alone, Device("cpu"), "low")
    assert caught.value.code == "label-unknown"
    with pytest.raises(StemwrightError, match="low, high") as caught:
        Prior(bundle, Device("cpu")).inverse(np.zeros((1, 2, 2 * BANDS), np.float32))
    assert caught.value.code == "label-missing"


def test_a_label_is_the_stems_name_unless_it_is_given(bundle):
    wanted = {"low": (str(bundle), ""), "lead": (str(bundle), "high")}
    priors = open_priors(wanted, (), Device("cpu"))
    assert [prior.label for prior in priors.values()] == ["low", "high"]
    with pytest.raises(StemwrightError, match="no label 'lead'"):
        open_priors({"lead": (str(bundle), "")}, (), Device("cpu"))


def test_search_over_labels_finds_a_mix_of_both_on_host_and_device(bundle, rng):
    priors = list(Prior(bundle, Device("cpu")).labels())
    latents = [0.5 * rng.standard_normal((1, 6, 2 * BANDS)).astype(np.float32) for _ in priors]
    true = np.stack([p.inverse(z) for p, z in zip(priors, latents, strict=True)])
    mix = true.sum(axis=0)
    weight, plan = np.ones_like(mix), search_plan(steps=12, learning_rate=0.03)
    with ThreadPoolExecutor(2) as pool:
        found = search(priors, mix, weight, None, None, plan, 0, pool)
    assert found.last_loss < 0.5 * found.first_loss
    start = [np.zeros_like(z) for z in latents]
    first = np.stack([p.inverse(z) for p, z in zip(priors, start, strict=True)])
    task = SearchTask(mix, weight, np.zeros_like(first), plan)
    moved = descend_on_device(priors, start, first, task, range(12))
    ours = np.stack([p.inverse(z) for p, z in zip(priors, moved, strict=True)])
    assert np.abs(ours - found.magnitudes).max() < SAME


# the program


def test_the_preset_is_the_faithful_one_with_one_bundle():
    preset, faithful = load_preset("musicglow"), load_preset("faithful")
    assert preset.search == faithful.search
    assert {spec.prior for spec in preset.stems.values()} == {"musicglow"}
    assert list(preset.stems) == list(faithful.stems)


@pytest.fixture
def places(tmp_path):
    """Noise in the lower and in the upper bands: four recordings of each."""
    rng, hz = np.random.default_rng(4), np.fft.rfftfreq(2 * RATE, 1 / RATE)
    for stem, (low, high) in {"low": (100, 1500), "high": (6000, 16_000)}.items():
        (tmp_path / stem).mkdir()
        for n in range(4):
            spectrum = np.fft.rfft(rng.standard_normal(2 * RATE)) * ((hz > low) & (hz < high))
            audio = np.fft.irfft(spectrum)
            soundfile.write(tmp_path / stem / f"{n}.wav", 0.3 * audio / np.abs(audio).max(), RATE)
    return [f"{stem}={tmp_path / stem}" for stem in ("low", "high")]


def command(*words, code=0):
    done = CliRunner().invoke(stemwright.main, [str(word) for word in words])
    assert code is None or done.exit_code == code, done.output
    return done.output


@pytest.fixture
def tiny(monkeypatch):
    """`--size cpu` at the tiny priors' size."""
    monkeypatch.setattr(export.training.runs, "standard_front_end", tiny_front_end)
    monkeypatch.setattr(export.training.runs, "FlowConfig", lambda: CONFIG)


def test_trained_resumed_exported_and_used(tiny, places, tmp_path, monkeypatch):
    run, priors = tmp_path / "run", tmp_path / "priors"
    words = ("prior", "train", "--music", *places, "--output", run, "--threads", 1)
    output = command(*words, "--steps", 2)
    assert "low: 4 recordings" in output and "high: 4 recordings" in output
    assert "recognises labels" in output
    assert "resuming at step 2 of 4" in command(*words, "--steps", 4)
    command("prior", "train", "--music", *places[::-1], "--output", run, code=1)
    priors.mkdir()
    bundle = priors / "both.prior"
    output = command("prior", "export", run, "--output", bundle)
    assert "both.prior: low, high, " in output and "equals torch" in output
    monkeypatch.setenv("STEMWRIGHT_PRIORS", str(priors))
    assert "(low, high)" in command("prior", "list")
    card = json.loads(command("prior", "show", "both"))
    assert card["labels"] == ["low", "high"]
    assert card["validation"]["nats_per_dimension"].keys() == {"low", "high"}
    assert "pass for low, high on cpu" in command("prior", "verify", "both")

    sample = ("prior", "sample", "both", "-o", tmp_path / "s.wav", "--seconds", 0.5)
    assert "low, high" in command(*sample, code=1)
    assert "0.5 s of high" in command(*sample, "--label", "high")

    table = command("prior", "judge", *places, "--bundle", "both", "--json", "--store", code=None)
    rows = json.loads(table)
    assert rows.keys() == {"low", "high"}
    assert read_bundle(bundle)[0].validation["judged"].keys() == {"low", "high"}

    preset = tmp_path / "faithful-tiny.yaml"
    preset.write_text(
        "extends: musicglow\nstems:\n  vocals: null\n  bass: null\n  drums: null\n  other: null\n"
        "  low: {prior: both}\n  top: {prior: both, label: high}\nsearch: {steps: 3}\n"
    )
    mix = tmp_path / "mix.wav"
    parts = [soundfile.read(place.partition("=")[2] + "/0.wav")[0] for place in places]
    soundfile.write(mix, 0.5 * np.sum(parts, axis=0), RATE, subtype="PCM_16")
    manifest = json.loads(
        command("separate", mix, "-o", tmp_path / "out", "--preset", preset, "--json")
    )
    assert manifest["null_dbfs"] is None
    assert [p["label"] for p in manifest["priors"].values()] == ["low", "high"]
    assert len({p["sha256"] for p in manifest["priors"].values()}) == 1
    assert manifest["divergence"]["after"] < manifest["divergence"]["before"]
    preset.write_text(preset.read_text().replace("label: high", "label: bass"))
    output = command("separate", mix, "-o", tmp_path / "no", "--preset", preset, code=1)
    assert "both.prior has no label 'bass'; it has low, high" in output


def test_wrong_words_for_training_are_told(places, tmp_path):
    command("prior", "train", *places, code=2)
    command("prior", "train", "--music", "--stem", "x", *places, code=2)
    command("prior", "train", "--music", "--against", places[0], places[1], code=2)
    run = ("--output", tmp_path / "run")
    assert "was given low alone" in command("prior", "train", "--music", places[0], *run, code=1)
    odd = places[0].replace("low=", "Low=")
    assert "Low: a stem's name" in command(
        "prior", "train", "--music", odd, places[1], *run, code=1
    )
    assert "STEM=FOLDER" in command("prior", "train", "--music", "x", *run, code=1)
