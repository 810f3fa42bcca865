"""A new instrument joins: samples stand in for others, its head learns, nobody else changes."""

import hashlib
from dataclasses import asdict

import numpy as np
import pytest
import soundfile
import torch

import export
import export.priors
import export.training.runs
from engine import Device, Prior, read_bundle
from engine.separation.estimate import Estimate, give_way
from export import TrainingOptions, export_prior
from export.bundle import TOLERANCE, write_bundle
from export.data.mixes import RandomMixes
from export.data.pack import write_pack
from export.data.prior_samples import POOL, installed_priors, sampled_corpora, sampled_corpus
from export.data.sampling import Interference
from export.models.estimator import Encoder, EstimatorConfig, Head, TrainedEstimator, against
from export.models.graph_reader import read_head
from export.training.estimator_training import CHECKPOINT as ESTIMATOR
from export.training.estimator_training import EstimatorSettings, EstimatorTask, load_estimator
from export.training.expectation import Expectation, Gains
from export.training.flow_training import TrainSettings
from export.training.head_training import CHECKPOINT as HEAD
from export.training.head_training import FrozenEncoder, HeadTask, installed_encoder, load_head
from export.training.interferers import Interferers
from export.training.judges import read_judges
from export.training.run import TrainingRun
from export.training.runs import corpus_summary, read_corpus
from export.verdict import GOOD, judge_run
from presets import StemwrightError
from prior_fixtures import BANDS, CONFIG, tiny_front_end, tiny_priors, tiny_run

RATE = 44_100


def open_all(folder):
    return {name: Prior(folder / f"{name}.prior", Device("cpu")) for name in ("low", "high")}


@pytest.fixture(scope="module")
def priors(tiny_prior_folder):
    return open_all(tiny_prior_folder)


@pytest.fixture(scope="module")
def encoder(tiny_prior_folder):
    return FrozenEncoder(next(tiny_prior_folder.glob("*.encoder.onnx")))


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


# samples of priors


def test_a_prior_plays_its_own_instrument_at_the_level_of_recordings(priors):
    corpora = sampled_corpora(priors, seed=0)
    share = {}
    for name, corpus in corpora.items():
        clips = np.stack([clip.active for clip in corpus.clips]).astype(np.float32)
        assert clips.shape == (POOL, 128, BANDS)
        assert np.allclose((clips**2).sum(axis=2).mean(axis=1), 1, atol=0.01)
        share[name] = (clips[..., : BANDS // 2] ** 2).sum() / (clips**2).sum()
    assert share["low"] > 0.7 > 0.3 > share["high"]


def test_samples_follow_the_seed_and_are_kept(priors, tmp_path):
    drawn, again, other = (
        sampled_corpus("low", priors["low"], seed, tmp_path).clips[3].active for seed in (0, 0, 1)
    )
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, other)
    assert len(list(tmp_path.iterdir())) == 2


def test_samples_serve_as_leaks_and_are_held_out_like_songs(priors, rng):
    train, valid = sampled_corpus("low", priors["low"], 0).split()
    assert {c.song for c in train.clips}.isdisjoint(c.song for c in valid.clips)
    leak = Interference("mid", list(sampled_corpora(priors, 0).values()))
    assert leak(rng, 3, 16).shape == (3, 16, BANDS)


def test_installed_priors_are_those_of_the_same_view_without_the_stem(
    tiny_prior_folder, monkeypatch
):
    monkeypatch.setenv("STEMWRIGHT_PRIORS", str(tiny_prior_folder))
    assert installed_priors("low", tiny_front_end()).keys() == {"high"}
    assert installed_priors("mid", tiny_front_end()).keys() == {"low", "high"}


# the verdict


def held_out(priors, name):
    return [c.active.astype(np.float32) for c in sampled_corpus(name, priors[name], 5).clips[:6]]


def test_a_prior_that_knows_its_instrument_is_good(priors):
    verdict = judge_run(priors["low"], {"high": priors["high"]}, held_out(priors, "low"), 12, ())
    assert verdict.good
    assert verdict.separability["high"] >= GOOD
    first, *_, last = verdict.lines()
    assert first.startswith("tells low from high in ")
    assert last == "low: good"


def test_a_prior_that_does_not_is_told_what_to_do(priors):
    verdict = judge_run(priors["high"], {"low": priors["low"]}, held_out(priors, "low"), 3, ())
    assert not verdict.good
    (*_, last) = verdict.lines()
    assert "NOT GOOD" in last
    assert "3.0 minutes" in last
    assert "--against low=FOLDER" in last


def test_without_rivals_or_recordings_the_verdict_says_so(priors):
    (alone,) = judge_run(priors["low"], {}, held_out(priors, "low"), 12, ()).lines()
    assert "no other prior" in alone
    nothing = judge_run(priors["low"], {"high": priors["high"]}, [], 12, ())
    assert not nothing.good
    assert "too little" in list(nothing.lines())[-1]


def test_a_collective_rival_does_not_count(priors, monkeypatch):
    card = priors["low"].card.model_copy(update={"stem": "rest", "against": ("vocals",)})
    monkeypatch.setattr(priors["low"], "card", card)
    verdict = judge_run(priors["high"], {"rest": priors["low"]}, held_out(priors, "low"), 12, ())
    assert verdict.separability["rest"] < GOOD
    assert verdict.good


# stems within stems


def cards(priors, **against):
    """Cards of the stems named; those with a list are collective."""
    card = priors["low"].card
    return [card.model_copy(update={"stem": s, "against": a}) for s, a in against.items()]


def test_other_gives_way_to_a_part_of_it(priors, rng):
    masks = rng.random((3, 1, 4, BANDS), np.float32)
    members = cards(priors, vocals=(), guitar=(), other=("vocals",))
    masks[1] = 1
    assert not give_way(masks, members)[2].any()
    masks[1] = 0
    assert give_way(masks, members).tobytes() == masks.tobytes()


def test_a_set_without_parts_of_other_keeps_its_bytes(priors, rng):
    masks = rng.random((3, 1, 4, BANDS), np.float32)
    for rest in (("vocals", "bass"), ()):
        members = cards(priors, vocals=(), bass=(), other=rest)
        assert give_way(masks, members).tobytes() == masks.tobytes()


def test_several_parts_are_taken_out_of_other_one_by_one(priors, rng):
    masks = rng.random((3, 1, 4, BANDS), np.float32)
    left = give_way(masks, cards(priors, other=("vocals",), guitar=(), piano=()))
    assert np.allclose(left[0], masks[0] * (1 - masks[1]) * (1 - masks[2]))
    assert np.array_equal(left[1:], masks[1:])


def test_estimate_applies_it_to_the_mix(tiny_prior_folder, priors, rng, monkeypatch):
    mix = rng.random((1, 8, BANDS), np.float32)
    plain = Estimate(list(priors.values()), [tiny_prior_folder], Device("cpu")).magnitudes(mix)
    card = priors["low"].card.model_copy(update={"against": ("vocals",)})
    monkeypatch.setattr(priors["low"], "card", card)
    nested = Estimate(list(priors.values()), [tiny_prior_folder], Device("cpu")).magnitudes(mix)
    assert np.allclose(nested[0], plain[0] * (1 - plain[1] / mix), atol=1e-6)
    assert np.array_equal(nested[1], plain[1])


def test_heads_of_several_parts_know_what_they_are_against():
    heads = {
        "vocals": ("vocals",),
        "bass": ("bass",),
        "guitar": ("guitar",),
        "strings": ("strings",),
        "other": ("guitar", "strings"),
        "band": ("bass", "guitar"),
    }
    assert against("other", heads) == ("vocals", "bass")
    assert against("band", heads) == ("vocals", "strings")
    assert against("guitar", heads) == ()


def test_a_collective_bundle_carries_what_its_head_is_against(priors, tmp_path):
    corpora = sampled_corpora({"a": priors["low"], "b": priors["high"], "c": priors["high"]}, 0)
    mixes = RandomMixes(corpora, {"a": ("a",), "rest": ("b", "c")}, np.ones(BANDS))
    config = EstimatorConfig(bands=BANDS, hidden=8, dilations=(1,), head=8)
    settings = EstimatorSettings(steps=1, batch=2, frames=16)
    task = EstimatorTask(config, settings, mixes, mixes)
    list(TrainingRun(tmp_path, ESTIMATOR, task).run())
    for stem, expected in (("rest", ("a",)), ("a", ())):
        write_bundle(
            tiny_run(np.full(BANDS, 0.3), 0),
            tmp_path / f"{stem}.prior",
            stem=stem,
            front_end=tiny_front_end(),
            sources=(),
            validation={},
            training={},
            head=load_estimator(tmp_path).head(stem, 0),
        )
        assert read_bundle(tmp_path / f"{stem}.prior")[0].against == expected


def train_prior(stem, takes, run, against, steps, size, seed, threads, head_steps):
    options = TrainingOptions(run, steps, size, seed, threads, device="cpu")
    return export.train_prior(stem, takes, options, against, head_steps)


# the head


@pytest.fixture(scope="module")
def mixes(priors):
    return RandomMixes(sampled_corpora(priors, 0), {"low": ("low",)}, np.ones(BANDS))


def head_run(folder, mixes, encoder, steps, upto=None):
    settings = EstimatorSettings(steps, batch=4, frames=16, warm_up=2, learning_rate=1e-2)
    run = TrainingRun(folder, HEAD, HeadTask("low", encoder, settings, mixes, mixes))
    reports = []
    for progress in run.run(every=10):
        reports.append(progress)
        if upto is not None and progress.step >= upto:
            break
    return run, reports


def test_head_learns_on_the_frozen_encoder_and_resumes_exactly(mixes, encoder, tmp_path):
    for folder in ("whole", "halves"):
        (tmp_path / folder).mkdir()
    run, reports = head_run(tmp_path / "whole", mixes, encoder, 40)
    head_run(tmp_path / "halves", mixes, encoder, 40, upto=20)
    resumed, _ = head_run(tmp_path / "halves", mixes, encoder, 40)
    assert resumed.started_at == 20
    assert torch.equal(run.task.model.last.weight, resumed.task.model.last.weight)
    untrained = HeadTask("low", encoder, run.task.settings, mixes, mixes)
    assert reports[-1].valid < 0.9 * untrained.validate()
    found, before = run.task.measure()
    assert found > before


def test_a_head_is_never_worse_than_the_one_that_it_began_as(mixes, encoder, tmp_path):
    begun = head_run(tmp_path / "begun", mixes, encoder, 40)[0].task.model
    settings = EstimatorSettings(20, batch=4, frames=16, warm_up=1, learning_rate=30)  # too much
    task = HeadTask("low", encoder, settings, mixes, mixes, begun={"old": begun})
    run = TrainingRun(tmp_path, HEAD, task)
    for progress in run.run(every=10):
        assert progress.valid > task.kept.before
        task.kept.consider(progress.step, progress.valid)
    run.save()
    task.kept.take()
    assert task.validate() <= task.kept.before
    exported, kept = load_head(tmp_path, 0), dict(task.model.named_parameters())
    again = HeadTask("low", encoder, settings, mixes, mixes, begun={"old": begun})
    TrainingRun(tmp_path, HEAD, again)  # goes on with the best of before
    assert again.kept.best.score == pytest.approx(task.kept.best.score)
    assert exported.training["best step"] == task.kept.best.step
    read = read_head(exported.graph.SerializeToString())
    assert torch.allclose(read.last.weight, kept["last.weight"], atol=1e-3)


def test_a_head_of_another_encoder_is_not_trained_on(mixes, encoder, tmp_path, monkeypatch):
    head_run(tmp_path, mixes, encoder, 20)
    monkeypatch.setattr(encoder, "sha256", "0" * 64)
    with pytest.raises(StemwrightError, match="Remove the file") as caught:
        head_run(tmp_path, mixes, encoder, 20)
    assert caught.value.code == "encoder-changed"


def test_without_heads_there_is_no_encoder(priors):
    assert installed_encoder({}) is None


# from takes to a set


@pytest.fixture
def takes(tmp_path):
    """Twelve files of noise in the middle of the spectrum, with a pulse."""
    folder = tmp_path / "takes"
    folder.mkdir()
    hz = np.fft.rfftfreq(2 * RATE, 1 / RATE)
    for n in range(12):
        rng = np.random.default_rng(n)
        spectrum = np.fft.rfft(rng.standard_normal(2 * RATE)) * ((hz > 1500) & (hz < 4000))
        pulse = 1 + np.sin(2 * np.pi * (1 + n) * np.arange(2 * RATE) / RATE)
        audio = np.fft.irfft(spectrum) * pulse
        soundfile.write(folder / f"{n}.wav", 0.3 * audio / np.abs(audio).max(), RATE)
    return folder


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The command at the tiny priors' size, with these installed."""
    folder = tmp_path / "priors"
    folder.mkdir()
    tiny_priors(folder)
    monkeypatch.setenv("STEMWRIGHT_PRIORS", str(folder))
    monkeypatch.setattr(export.training.runs, "standard_front_end", tiny_front_end)
    monkeypatch.setattr(export.training.runs, "FlowConfig", lambda: CONFIG)
    return folder


def test_a_new_instrument_leaves_every_other_bundle_as_it_is(installed, takes, tmp_path):
    before = hashes(installed)
    lines = list(train_prior("mid", [takes], tmp_path / "run", (), 6, "cpu", 0, 1, 4))
    assert any("samples of the installed priors high, low" in line for line in lines)
    assert any(line.startswith("tells mid from high in ") for line in lines)
    assert any(line.startswith("head: step 4/4") for line in lines)
    export_prior(tmp_path / "run", installed / "mid.prior", None)
    after = hashes(installed)
    assert after.pop("mid.prior")
    assert after == before
    card, _, _ = read_bundle(installed / "mid.prior")
    assert card.validation["told_apart"].keys() == {"high", "low"}
    assert {s.name for s in card.other_sources} == {"high: samples of high", "low: samples of low"}
    members = {**open_all(installed), "mid": Prior(installed / "mid.prior", Device("cpu"))}
    members["mid"].verify()
    estimate = Estimate(list(members.values()), [installed], Device("cpu"))
    assert estimate.magnitudes(np.ones((1, 8, BANDS), np.float32)).shape == (3, 1, 8, BANDS)


def test_the_command_goes_on_where_it_was(installed, takes, tmp_path):
    run = tmp_path / "run"
    first = list(train_prior("mid", [takes], run, (), 4, "cpu", 0, 1, 0))
    assert not any(line.startswith("head:") for line in first)
    assert load_head(run, 0) is None
    again = list(train_prior("mid", [takes], run, (), 4, "cpu", 0, 1, 4))
    assert not any(line.startswith("step ") for line in again)
    assert any(line.startswith("head: step 4/4") for line in again)


def test_other_takes_are_another_run_and_the_card_stays(installed, takes, tmp_path):
    run = tmp_path / "run"
    list(train_prior("mid", [takes], run, (), 2, "cpu", 0, 1, 0))
    metadata = (run / "run.json").read_bytes()
    (takes / "0.wav").rename(takes / "eleventh.wav")
    for words, sentence in (
        (("mid", [takes], run, (), 4, "cpu", 0, 1, 0), "recordings of mid: "),
        (("lead", [takes], run, (), 4, "cpu", 0, 1, 0), "stem: mid there, lead here"),
        (("mid", [takes], run, [f"low={takes}"], 4, "cpu", 0, 1, 0), "leaks: samples there"),
    ):
        with pytest.raises(StemwrightError, match=sentence) as caught:
            list(train_prior(*words))
        assert caught.value.code == "run-differs"
        assert (run / "run.json").read_bytes() == metadata
    (takes / "eleventh.wav").rename(takes / "0.wav")
    again = list(train_prior("mid", [takes], run, (), 4, "cpu", 0, 1, 0))
    assert any(line.startswith("resuming at step 2 of 4") for line in again)


def test_other_leaks_and_mixes_are_another_run(installed, takes, tmp_path):
    low = tmp_path / "low"
    low.mkdir()
    for name in ("0", "1"):
        (low / f"{name}.wav").write_bytes((takes / f"{name}.wav").read_bytes())
    (low / "SOURCES.yaml").write_text("'*': {name: theirs, licence: academic use only}\n")
    words = ("mid", [takes], tmp_path / "run", [f"low={low}"], 2, "cpu", 0, 1, 2)
    list(train_prior(*words))
    again = list(train_prior(*words))
    assert not [line for line in again if line.startswith(("step", "head: step"))]
    list(train_prior(*words[:-1], 0))  # again without a head: the old one stays, and its sources
    export_prior(tmp_path / "run", installed / "mid.prior", None)
    card, _, _ = read_bundle(installed / "mid.prior")
    assert {source.name for source in card.other_sources} == {
        "low: theirs",
        "high: samples of high",
    }
    assert (card.training["steps"], card.training["head"]["steps"]) == (2, 2)
    assert "academic use only" in card.licence  # what the weights have heard binds them
    (low / "0.wav").unlink()
    with pytest.raises(StemwrightError, match="leaks of low: ") as caught:
        list(train_prior(*words))
    assert caught.value.code == "run-differs"
    (tmp_path / "run" / "checkpoint.npz").unlink()
    with pytest.raises(StemwrightError, match="mixes with low: "):
        list(train_prior(*words))


def test_takes_against_themselves_are_told(installed, takes, tmp_path):
    with pytest.raises(StemwrightError, match="the new instrument itself"):
        list(train_prior("mid", [takes], tmp_path / "run", [f"mid={takes}"], 2, "cpu", 0, 1, 0))


def test_takes_belong_to_whoever_made_them(tmp_path, takes):
    """Named as our own renders are, and in a folder like ours."""
    mine = tmp_path / "stems" / "guitar"
    mine.mkdir(parents=True)
    for name in ("guitar_01", "rendered_mix_03", "rendered_mix_04", "kept"):
        (mine / f"{name}.wav").write_bytes((takes / "0.wav").read_bytes())
    (mine / "SOURCES.yaml").write_text(
        "kept*: {name: for judging, held_out: true}\n'*': {name: mine, licence: CC0-1.0}\n"
    )
    corpus = read_corpus("guitar", [mine], tiny_front_end(), tmp_path / "run")
    assert [(s.name, s.licence, s.files) for s in corpus.sources] == [("mine", "CC0-1.0", 3)]
    assert list(corpus_summary(corpus))[-1].endswith(
        "3 recordings, 0.1 minutes; kept for judging: 1"
    )
    (mine / "SOURCES.yaml").unlink()
    corpus = read_corpus("guitar", [mine], tiny_front_end(), tmp_path / "run")
    assert [(s.name, s.licence, s.files) for s in corpus.sources] == [("guitar", "unknown", 4)]


def test_takes_of_other_instruments_are_told_too(installed, takes, tmp_path):
    (takes / "SOURCES.yaml").write_text("'1*': {name: a, held_out: true}\n'*': {name: b}\n")
    words = ("mid", [takes / "2.wav"], tmp_path / "run", [f"low={takes}"], 2, "cpu", 0, 1, 0)
    assert "low: 9 recordings, 0.3 minutes; kept for judging: 3" in list(train_prior(*words))


def test_a_flow_taught_by_likelihood_alone_is_not_said_to_hear_leaks(takes, tmp_path, monkeypatch):
    settings = TrainSettings(steps=1, batch=2, contrast_weight=0.0)
    tiny = export.training.runs.Size(tiny_front_end(), CONFIG, settings)
    monkeypatch.setattr(export.priors, "sized", lambda *_: tiny)
    words = ("mid", [takes], tmp_path / "run", [f"low={takes}"], 1, "paper", 0, 1, 0)
    output = "\n".join(train_prior(*words))
    assert "leaks come from" not in output
    assert "likelihood alone" in output
    export_prior(tmp_path / "run", tmp_path / "mid.prior", None)
    training = read_bundle(tmp_path / "mid.prior")[0].training
    assert training["contrast_weight"] == 0
    assert training["leaks"] == "none"


def test_the_card_says_how_the_flow_was_taught(installed, takes, tmp_path):
    for kind, recorded in (("samples", ()), ("recordings", [f"low={takes}"])):
        run = tmp_path / kind
        list(train_prior("mid", [takes], run, recorded, 2, "cpu", 3, 1, 0))
        export_prior(run, run / "mid.prior", None)
        training = read_bundle(run / "mid.prior")[0].training
        settings = asdict(TrainSettings(steps=2, seed=3))
        assert training == settings | {"steps": 2, "of": 2, "leaks": kind}


def test_a_bundle_goes_where_no_folder_is_yet(installed, takes, tmp_path):
    list(train_prior("mid", [takes], tmp_path / "run", (), 2, "cpu", 0, 1, 0))
    out = tmp_path / "share" / "stemwright" / "priors" / "mid.prior"
    export_prior(tmp_path / "run", out, None)
    assert [path.name for path in out.parent.iterdir()] == ["mid.prior"]
    assert read_bundle(out)[0].stem == "mid"


def tiny_estimator():
    torch.manual_seed(7)
    config = EstimatorConfig(bands=BANDS, hidden=8, dilations=(1, 2), head=8)
    return TrainedEstimator(config, Encoder(config), {"low": Head(config)})


def tiny_bundle(out, **parts):
    run = tiny_run(np.full(BANDS, 0.3), 0)
    fields = {"stem": "low", "front_end": tiny_front_end(), "sources": (), "validation": {}}
    return write_bundle(run, out, **fields, training={}, **parts)


def test_head_and_encoder_are_compared_with_torch_and_written_together(tmp_path):
    estimator = tiny_estimator()
    head, encoder = estimator.head("low", 0), estimator.trained_encoder(0)
    card = tiny_bundle(tmp_path / "low.prior", head=head, encoder=encoder)
    assert {"mask", "features", "latents", "gradient"} <= card.validation["parity"].keys()
    assert max(card.validation["parity"].values()) < TOLERANCE
    (path,) = tmp_path.glob("*.encoder.onnx")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card.encoder_sha256
    assert path.name.startswith(card.encoder_sha256[:16])


@pytest.mark.parametrize("part", ["mask", "features"])
def test_nothing_is_written_when_head_or_encoder_differ_from_torch(tmp_path, part):
    estimator = tiny_estimator()
    head, encoder = estimator.head("low", 0), estimator.trained_encoder(0)
    wrong = head if part == "mask" else encoder
    wrong.vectors[part][0, 3, 2] += 0.01
    with pytest.raises(StemwrightError, match=f"low: {part} differs from torch") as caught:
        tiny_bundle(tmp_path / "low.prior", head=head, encoder=encoder)
    assert caught.value.code == "export-parity"
    assert not list(tmp_path.iterdir())


def test_an_answer_that_is_no_number_is_a_difference(tmp_path):
    estimator = tiny_estimator()
    head = estimator.head("low", 0)
    head.vectors["mask"][0, 3, 2] = np.nan
    with pytest.raises(StemwrightError, match="mask differs"):
        tiny_bundle(tmp_path / "low.prior", head=head)


def test_a_name_that_no_card_takes_is_refused_before_the_training(takes, tmp_path):
    with pytest.raises(StemwrightError, match="small letter"):
        next(train_prior("Mid Range", [takes], tmp_path / "run", (), 4, "cpu", 0, 1, 0))


def test_nothing_installed_is_told_and_works(takes, tmp_path, monkeypatch):
    monkeypatch.setattr(export.training.runs, "standard_front_end", tiny_front_end)
    monkeypatch.setattr(export.training.runs, "FlowConfig", lambda: CONFIG)
    lines = list(train_prior("mid", [takes], tmp_path / "run", (), 2, "cpu", 0, 1, 2))
    assert any("no installed priors" in line for line in lines)
    assert any("no other prior is installed" in line for line in lines)
    assert any(line.startswith("no head for first estimates") for line in lines)
    export_prior(tmp_path / "run", tmp_path / "mid.prior", None)
    assert read_bundle(tmp_path / "mid.prior")[0].encoder_sha256 is None


def test_recordings_are_preferred_to_samples(installed, takes, tmp_path):
    recorded = {"low": read_corpus("low", [takes], tiny_front_end(), tmp_path / "run")}
    interferers = Interferers("mid", tiny_front_end(), tmp_path / "run", 0, recorded)
    assert "recordings of low" in interferers.summary(contrast=True)
    assert interferers.kind == "recordings"
    assert not (tmp_path / "run" / "samples").exists()
    own = Prior(installed / "high.prior", Device("cpu"))
    run = interferers.head_run(
        interferers.encoder, recorded["low"], own, EstimatorSettings(steps=1)
    )
    parts = run.task.train_mixes.parts
    assert parts.keys() == {"mid", "low", "high"}
    assert {clip.source for clip in parts["high"].clips} == {"samples of high"}
    assert {clip.source for clip in parts["low"].clips}.isdisjoint({"samples of low"})


# what a head begins as, and what it promises


def test_a_head_begins_as_the_installed_one_that_finds_the_instrument_best(mixes, encoder):
    settings = EstimatorSettings(steps=10, batch=4, frames=16)
    config = EstimatorConfig(bands=BANDS, hidden=encoder.hidden, head=8)
    torch.manual_seed(0)
    deaf, keen = Head(config), Head(config)
    with torch.no_grad():
        deaf.last.bias.fill_(-20.0)  # says nothing
    begun = {"deaf": deaf, "keen": keen}
    task = HeadTask("low", encoder, settings, mixes, mixes, begun=begun)
    losses = {}
    for name, head in begun.items():
        task.model = head
        losses[name] = task.validate(batches=2)
    assert task.begins_as == min(losses, key=losses.__getitem__)
    assert HeadTask("low", encoder, settings, mixes, mixes).begins_as == ""


def test_gains_are_against_half_of_the_mix(mixes, encoder):
    settings = EstimatorSettings(steps=10, batch=8, frames=16)
    task = HeadTask("low", encoder, settings, mixes, mixes)
    with torch.no_grad():  # a mask of one half everywhere
        task.model.last.weight.zero_()
        task.model.last.bias.zero_()
    gains = task.gains(mixes, batches=2)
    assert len(gains.gains_db) == len(gains.levels_db) > 0
    assert np.allclose(gains.gains_db, 0, atol=1e-4)
    assert np.abs(gains.levels_db).max() < 30.1  # who is fainter does not play


@pytest.mark.parametrize(
    ("minutes", "heard", "recorded", "advice"),
    [
        (20, 2.1, (), "--against STEM=FOLDER"),
        (3, 5.0, (), "record more than these 3.0 minutes"),
        (3, 2.1, ("drums",), "record more than these 3.0 minutes"),
        (20, 5.0, ("drums",), "in other rooms"),
        (20, 2.1, ("drums",), "tune a pack"),
    ],
)
def test_the_promise_has_an_interval_and_names_what_would_raise_it_most(
    minutes, heard, recorded, advice
):
    gains = np.array([1.0, 2.0, 3.0] * 10, np.float32)
    held_out = Gains(-2 * gains, gains)  # half a decibel for each that it is softer
    of_heard = Gains(np.zeros(9, np.float32), np.full(9, heard, np.float32))
    promise = Expectation.of("sax", minutes, held_out, of_heard, recorded)
    assert promise.gain_db == pytest.approx(2.0)
    assert promise.low_db < 2.0 < promise.high_db
    assert promise.gain_at(-4.0) == pytest.approx(2.0)
    assert promise.gain_at(2.0) == pytest.approx(-1.0)
    text = "\n".join(promise.lines())
    assert "+2.0 dB over knowing nothing" in text
    assert advice in text


def test_nothing_is_promised_where_nothing_was_held_out():
    nothing = np.zeros(0, np.float32)
    (line,) = Expectation.of(
        "sax", 1, Gains(nothing, nothing), Gains(nothing, nothing), ()
    ).lines()
    assert "too little sax" in line


# songs that judge


@pytest.fixture(scope="module")
def judging(tmp_path_factory):
    """Two songs of a low and a high stem, which are noise of other bands."""
    folder, rng = tmp_path_factory.mktemp("judging"), np.random.default_rng(6)
    hz = np.fft.rfftfreq(3 * RATE, 1 / RATE)
    for name in ("one", "two"):
        (folder / name).mkdir()
        for stem, (low, high) in {"low": (300, 1500), "high": (4000, 9000)}.items():
            noise = np.fft.rfft(rng.standard_normal(3 * RATE)) * ((hz > low) & (hz < high))
            audio = np.fft.irfft(noise).astype(np.float32)
            soundfile.write(folder / name / f"{stem}.wav", 0.1 * audio / audio.std(), RATE)
    return folder


def test_songs_as_mixed_decide_and_a_head_is_never_worse_on_them(
    mixes, encoder, judging, tmp_path
):
    songs = read_judges("low", [judging], [], tiny_front_end())
    assert [song.song for song in songs] == ["one", "two"]
    begun = head_run(tmp_path, mixes, encoder, 10)[0].task.model
    for rate in (1e-2, 30):  # what may help, and what cannot
        settings = EstimatorSettings(20, batch=4, frames=16, warm_up=1, learning_rate=rate)
        task = HeadTask("low", encoder, settings, mixes, mixes, begun={"old": begun}, songs=songs)
        before = [task.song_db(song) for song in songs]
        (tmp_path / f"{rate}").mkdir()
        for progress in TrainingRun(tmp_path / f"{rate}", HEAD, task).run(every=10):
            assert progress.valid == pytest.approx(task.validate())
            task.kept.consider(progress.step, progress.valid)
        task.kept.take()
        after = [task.song_db(song) for song in songs]
        assert np.mean(after) >= np.mean(before) - 1e-6
        assert np.mean(after) == pytest.approx(-task.kept.best.score, abs=1e-4)
    gains = task.song_gains()
    assert gains.levels_db == pytest.approx([0, 0], abs=1.0)  # both stems are as loud
    assert len(gains.gains_db) == 2


def test_where_a_head_begins_is_for_sums_to_say(mixes, encoder, judging, monkeypatch):
    songs = read_judges("low", [judging], [], tiny_front_end())
    settings = EstimatorSettings(steps=10, batch=4, frames=16)
    config = EstimatorConfig(bands=BANDS, hidden=encoder.hidden, head=8)
    begun = {"one": Head(config), "other": Head(config)}
    liked = HeadTask("low", encoder, settings, mixes, mixes, begun=begun).begins_as
    (disliked,) = begun.keys() - {liked}
    # the songs like the other one
    bias = begun[disliked].last.bias
    monkeypatch.setattr(
        HeadTask, "song_db", lambda task, song: float(torch.equal(task.model.last.bias, bias))
    )
    task = HeadTask("low", encoder, settings, mixes, mixes, begun=begun, songs=songs)
    assert task.begins_as == liked


def test_a_song_that_judges_must_not_be_learned_from(judging, tmp_path):
    (tmp_path / "take.wav").write_bytes((judging / "two" / "low.wav").read_bytes())
    with pytest.raises(StemwrightError, match=r"take\.wav among the recordings") as caught:
        read_judges("low", [judging], [tmp_path], tiny_front_end())
    assert caught.value.code == "judged-on-takes"
    with pytest.raises(StemwrightError, match="in no song of"):
        read_judges("mid", [judging], [tmp_path], tiny_front_end())


def test_a_song_that_judges_must_not_lie_in_a_pack_either(judging, tmp_path):
    view = tiny_front_end()
    packs = {name: tmp_path / f"{name}.pack" for name in ("one", "three")}
    for name, pack in packs.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "low.wav").write_bytes((judging / "one" / "low.wav").read_bytes())
        list(write_pack({"low": [folder]}, pack, view))
    for place in (packs["one"], packs["one"] / "low"):
        with pytest.raises(StemwrightError, match=r"one\.pack among the recordings"):
            read_judges("low", [judging], [place], view)
    assert len(read_judges("low", [judging], [packs["three"] / "low"], view)) == 2


def test_the_promise_of_songs_that_chose_says_so():
    levels, found = np.array([-3.0, 3.0, 0.0], np.float32), np.array([4.0, 1.0, 2.5], np.float32)
    gains = Gains(levels, found)
    promise = Expectation.of("sax", 2, gains, gains, ("drums",), songs=3)
    text = "\n".join(promise.lines())
    assert "+2.5 dB over knowing nothing (95 % " in text
    assert "3 songs that chose these weights: expect less of others" in text
    assert "6 dB softer +5.5, 6 dB louder -0.5" in text
    assert "off such a promise" not in text
    assert "off such a promise" in "\n".join(Expectation.of("sax", 2, gains, gains, ()).lines())


def test_of_one_song_no_interval_and_no_slope_is_told():
    gains = Gains(np.array([-3.0], np.float32), np.array([4.0], np.float32))
    text = "\n".join(Expectation.of("sax", 2, gains, gains, ("drums",), songs=1).lines())
    assert "+4.0 dB over knowing nothing (1 song that chose these weights" in text
    assert "name more with --judge" in text
    assert "95 %" not in text
    assert "softer" not in text
