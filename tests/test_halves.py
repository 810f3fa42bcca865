"""Estimates that hear both halves of a pair: what they learn from, and what they are asked."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from engine import Device, Prior, Source, read_bundle
from engine.separation.estimate import Estimate
from export import export_prior
from export.data.corpus import Clip, Corpus, Variant, load_corpus
from export.data.mixes import RandomMixes
from export.data.pack import packed_corpus, write_pack
from export.data.sampling import Sampler
from export.models.estimator import Encoder, EstimatorConfig, emit_encoder, widened
from export.training.estimator_training import CHECKPOINT, EstimatorSettings, EstimatorTask
from export.training.run import TrainingRun
from export.training.run_metadata import add_other_sources
from export.training.runs import standard_front_end
from presets import StemwrightError
from prior_fixtures import BANDS

RATE = 44100
CONFIG = EstimatorConfig(bands=BANDS, channels=2, hidden=8, dilations=(1,), recurrent=4, head=8)


def panned(stem, width, seed=0, frames=200):
    """A corpus of one recording whose side has `width` of the middle; None: a mono one."""
    magnitudes = np.random.default_rng(seed).uniform(0.5, 1, (frames, BANDS)).astype(np.float16)
    sides = None if width is None else (width * magnitudes).astype(np.float16)
    playing = np.ones(frames, bool)
    clip = Clip(f"{stem} song", f"{stem} takes", magnitudes, playing, f"{stem}{seed}", sides=sides)
    return Corpus(stem, (clip,), finished=frozenset({f"{stem} takes"}))


def beside_of(parts, count=400):
    """Halves of random sums, as arrays."""
    mixes = RandomMixes(parts, {stem: (stem,) for stem in parts}, np.ones(BANDS), in_step=0.0)
    mix, beside, targets = mixes.halves(np.random.default_rng(0), count, 8)
    return mix.numpy(), beside.numpy(), {name: t.numpy() for name, t in targets.items()}


def test_a_stem_alone_is_as_wide_as_its_recording():
    mix, beside, targets = beside_of({"a": panned("a", 0.5)})
    heard = targets["a"].max(axis=(1, 2)) > 0  # else nobody plays
    np.testing.assert_allclose(targets["a"][heard], mix[heard], rtol=1e-3)
    seen = beside[heard].mean(axis=(1, 2)) / mix[heard].mean(axis=(1, 2))
    for half in (0, 0.5, 2):  # of mono sums, of middles, of sides
        assert np.isclose(seen, half, rtol=0.01, atol=1e-3).mean() > 0.1
    assert np.isclose(seen[:, None], [0, 0.5, 2], rtol=0.01, atol=1e-3).any(axis=1).all()


def test_what_stands_in_the_middle_is_not_in_the_side():
    mix, beside, targets = beside_of({"a": panned("a", 0.0), "b": panned("b", 1.0, 1)})
    power = {name: np.square(t).mean(axis=(1, 2)) for name, t in targets.items()}
    both = (np.square(mix).mean(axis=(1, 2)) > 0.5) & (power["b"] > 1e-3)
    asked_side = both & (power["a"] == 0) & (np.square(beside).mean(axis=(1, 2)) > 1.001)
    assert asked_side.sum() > 20
    np.testing.assert_allclose(targets["b"][asked_side], mix[asked_side], rtol=1e-3)


def test_both_halves_have_the_power_of_their_parts():
    """Powers add on average: of the sides with the widths of the recordings."""
    mix, beside, targets = beside_of({"a": panned("a", 0.7), "b": panned("b", 0.7, 1)})
    heard = sum(t.max(axis=(1, 2)) for t in targets.values()) > 0
    total = sum(np.square(t[heard]) for t in targets.values()).mean()
    assert total == pytest.approx(np.square(mix[heard]).mean(), rel=0.1)
    ratio = np.sqrt(np.square(beside).mean(axis=(1, 2)) / np.square(mix).mean(axis=(1, 2)))
    pairs = ratio[heard & (ratio > 0)]
    narrow = pairs[pairs < 1]
    assert np.median(narrow) == pytest.approx(0.7, rel=0.15)


def test_a_mono_take_stands_where_another_recording_of_its_stem_does():
    pair, mono = panned("a", 0.25), panned("a", None, 1)
    corpus = replace(pair, clips=(*pair.clips, *mono.clips))
    sampler = Sampler([corpus])
    heard, width = sampler.pairs(np.random.default_rng(0), np.zeros(50, np.int64), 8)
    playing = heard.amax(dim=(1, 2)) > 0
    np.testing.assert_allclose(width[playing].numpy(), 0.25, rtol=0.01)


def test_stems_without_any_pair_stay_in_the_middle():
    sampler = Sampler([panned("a", None)])
    heard, width = sampler.pairs(np.random.default_rng(0), np.zeros(20, np.int64), 8)
    assert heard.amax() > 0
    assert width.amax() == 0


@pytest.fixture
def recordings(tmp_path):
    """A folder of one pair, whose left is 6 dB above its right, and one mono take."""
    folder, rng = tmp_path / "bass", np.random.default_rng(4)
    folder.mkdir()
    for name, gains in {"pair": (1.0, 0.5), "mono": (1.0,)}.items():
        audio = 0.1 * rng.standard_normal(3 * RATE)
        soundfile.write(folder / f"{name}.wav", np.outer(audio, gains), RATE, subtype="FLOAT")
    return folder


def test_folders_and_packs_say_how_wide_recordings_are(recordings, tmp_path):
    view = standard_front_end()
    list(write_pack({"bass": [recordings]}, tmp_path / "all.pack", view))
    here = packed_corpus(tmp_path / "all.pack", "bass", view)
    there = load_corpus(
        "bass", [recordings], view.front_end(), variants=(Variant(0), Variant(2)),
        cache=tmp_path / "cache",
    )  # fmt: skip
    for corpus in (here, there):
        wide = [clip for clip in corpus.clips if clip.song == "pair"]
        assert all(clip.sides is None for clip in corpus.clips if clip.song == "mono")
        for clip in wide:
            ratio = clip.sides.astype(float).sum() / clip.magnitudes.astype(float).sum()
            assert 20 * np.log10(ratio) == pytest.approx(20 * np.log10(1 / 3), abs=1.1)
    again = load_corpus(
        "bass", [recordings], view.front_end(), variants=(Variant(0), Variant(2)),
        cache=tmp_path / "cache",
    )  # fmt: skip
    for one, two in zip(there.clips, again.clips, strict=True):
        assert (one.sides is None) == (two.sides is None)
        if one.sides is not None:
            np.testing.assert_array_equal(one.sides, two.sides)


def test_a_wider_ear_says_the_same_until_it_learns(rng):
    torch.manual_seed(0)
    encoder = Encoder(CONFIG)
    with torch.no_grad():
        encoder.scale.uniform_(0.5, 2)
        encoder.shift.uniform_(-1, 1)
    mix, beside = (torch.from_numpy(rng.random((2, BANDS, 20), np.float32)) for _ in range(2))
    wide = widened(encoder)
    for heard in (mix, torch.cat([mix, beside], dim=1)):
        torch.testing.assert_close(wide(heard), encoder(mix), rtol=1e-5, atol=1e-5)


def test_it_goes_on_from_an_encoder_that_heard_one_half_and_learns_to_hear_the_other():
    torch.manual_seed(0)
    encoder, config = Encoder(CONFIG), replace(CONFIG, beside=True)
    parts = {"a": panned("a", 0.0), "b": panned("b", 0.9, 1)}
    mixes = RandomMixes(parts, {s: (s,) for s in parts}, np.ones(BANDS), in_step=0.0)
    settings = EstimatorSettings(steps=80, batch=8, frames=16, learning_rate=0.01)
    task = EstimatorTask(config, settings, mixes, mixes, tuned=(encoder, {}))
    before = task.validate()
    optimiser = torch.optim.Adam(task.model.parameters(), 0.01)
    for step in range(80):
        optimiser.zero_grad()
        task.loss(step, 0.0)[0].backward()
        optimiser.step()
    assert sum(task.validate().values()) < 0.6 * sum(before.values())
    assert task.encoder.patterns.first.weight[:, 1].abs().max() > 0.01
    other = mixes.halves(np.random.default_rng(7), 32, 16)
    deaf = task._losses(torch.cat([other.mix, 0 * other.beside], dim=2), other.targets)
    heard = task._losses(torch.cat([other.mix, other.beside], dim=2), other.targets)
    assert sum(heard.values()) < sum(deaf.values())  # it listens to it


def test_the_program_gives_an_encoder_the_half_beside(tiny_prior_folder, monkeypatch, rng):
    torch.manual_seed(0)
    priors = [Prior(tiny_prior_folder / f"{n}.prior", Device("cpu")) for n in ("low", "high")]
    wide = Encoder(EstimatorConfig(bands=BANDS, hidden=8, dilations=(1, 2), beside=True))
    graph = emit_encoder(wide).SerializeToString()
    monkeypatch.setattr("engine.separation.estimate._encoder_bytes", lambda *_: graph)
    estimate = Estimate(priors, [tiny_prior_folder], Device("cpu"))
    mix, beside = (rng.random((2, 20, BANDS), np.float32) for _ in range(2))
    nothing = estimate.magnitudes(mix, None, np.zeros_like(mix))
    np.testing.assert_array_equal(estimate.magnitudes(mix), nothing)  # mono
    with_it = estimate.magnitudes(mix, None, beside)
    assert not np.allclose(with_it, nothing)
    # all on one scale: louder mixes are no others
    np.testing.assert_allclose(
        estimate.magnitudes(4 * mix, None, 4 * beside), 4 * with_it, rtol=1e-4
    )


def test_a_bundle_is_given_the_head_of_a_run_and_keeps_its_flow(tiny_prior_folder, tmp_path):
    config = EstimatorConfig(bands=BANDS, hidden=8, dilations=(1, 2), head=8, beside=True)
    mixes = RandomMixes({"low": panned("low", 0.5)}, {"low": ("low",)}, np.ones(BANDS))
    task = EstimatorTask(config, EstimatorSettings(steps=1), mixes, mixes)
    heads = tmp_path / "heads"
    TrainingRun(heads, CHECKPOINT, task).save()
    heard = [Source(name=f"{part}: takes", files=1, minutes=2) for part in ("low", "high")]
    add_other_sources(heads, heard)
    bundle, new = tiny_prior_folder / "low.prior", tmp_path / "new" / "low.prior"
    export_prior(bundle, new, heads)
    (before, files, _), (card, now, _) = read_bundle(bundle), read_bundle(new)
    assert now["forward.onnx"] == files["forward.onnx"]
    assert now["head.onnx"] != files["head.onnx"]
    assert {s.name for s in card.others} == {s.name for s in before.others} | {"high: takes"}
    assert card.training["head"]["steps"] == 0
    prior = Prior(new, Device("cpu"))
    estimate = Estimate([prior], [new.parent], Device("cpu"))  # finds the encoder beside it
    assert estimate.magnitudes(np.ones((1, 8, BANDS), np.float32)).shape == (1, 1, 8, BANDS)
    export_prior(bundle, tmp_path / "again" / "low.prior", heads)
    assert (tmp_path / "again" / "low.prior").read_bytes() == new.read_bytes()
    with pytest.raises(StemwrightError, match="--heads"):
        export_prior(bundle, new, None)
