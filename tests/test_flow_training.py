"""Training resumes exactly, and the contrast teaches what likelihood alone does not."""

import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import Device, FrontEndCard, make_session
from export.data.augmentation import DRY
from export.data.corpus import Clip, Corpus
from export.data.mixes import RandomMixes, bins_per_band
from export.models.estimator import Encoder, EstimatorConfig, emit_encoder
from export.models.flow import FlowConfig
from export.training.estimator_training import CHECKPOINT as ESTIMATOR
from export.training.estimator_training import EstimatorSettings, EstimatorTask, load_estimator
from export.training.flow_training import CHECKPOINT, FlowTask, TrainSettings, load_run
from export.training.run import TrainingRun, learning_rate, training_device
from export.training.runs import paper_front_end
from presets import StemwrightError

BANDS = 8
CONFIG = FlowConfig(bands=BANDS, blocks=2, hidden=8, layers=1)


class Tones:
    """A corpus of one steady spectrum with some noise."""

    stem = "tone"

    def __init__(self, peak):
        self.shape = np.exp(-((np.arange(BANDS) - peak) ** 2)).astype(np.float32)

    def sample(self, rng, batch, frames):
        noise = 0.3 * rng.random((batch, frames, BANDS)).astype(np.float32)
        return torch.from_numpy(self.shape * (1 + noise))


def tones(stem, peak, level=1.0, **corpus):
    """Recordings of a steady spectrum, ready for mixes."""
    magnitudes = Tones(peak).sample(np.random.default_rng(peak), 1, 200)[0].numpy()
    clip = Clip(
        f"{stem} alone", "takes", (level * magnitudes).astype(np.float16), np.ones(200, bool)
    )
    return Corpus(stem, [clip], production=DRY, **corpus)


def leak(rng, batch, frames):
    return Tones(6).sample(rng, batch, frames)


def train(folder, steps, upto=None, identity=(), config=CONFIG, **settings):
    settings = TrainSettings(steps=steps, batch=4, frames=16, warm_up=2, **settings)
    task = FlowTask(config, settings, Tones(2), Tones(2), leak, dict(identity))
    run = TrainingRun(folder, CHECKPOINT, task)
    for progress in run.run(every=5):
        if upto is not None and progress.step >= upto:
            break
    return run


def weights(folder):
    return torch.cat([p.flatten() for p in load_run(folder).flow.parameters()]).detach()


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    train(tmp_path / "whole", 20)
    train(tmp_path / "halves", 20, upto=10)
    assert load_run(tmp_path / "halves").step == 10
    train(tmp_path / "halves", 20)
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "halves"))


def test_likelihood_grows(tmp_path):
    run = train(tmp_path, 150, contrast_weight=0.0)
    before = FlowTask(CONFIG, run.task.settings, Tones(2), Tones(2), None)
    with torch.no_grad():
        before.model.log_prob(
            before.features.apply(Tones(2).sample(np.random.default_rng(0), 4, 16))
        )
    assert run.validate()[0] < before.validate()[0]


def test_a_leak_is_told_from_the_clean_excerpt(tmp_path):
    separability = train(tmp_path, 60).validate().separability
    assert separability > 0.9


IDENTITY = {"stem": "tone", "recordings of tone": "0123", "leaks": "samples"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"config": replace(CONFIG, blocks=3)}, "blocks: 2 there, 3 here"),
        ({"contrast_weight": 0.0}, "contrast_weight: 1.0 there, 0.0 here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"identity": IDENTITY | {"stem": "noise"}}, "stem: tone there, noise here"),
        (
            {"identity": IDENTITY | {"recordings of tone": "9"}},
            "recordings of tone: 0123 there, 9 here",
        ),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path, change, sentence):
    train(tmp_path, 5, identity=IDENTITY)
    with pytest.raises(StemwrightError, match=re.escape(f"({sentence})")) as caught:
        train(tmp_path, 5, **{"identity": IDENTITY} | change)
    assert caught.value.code == "run-differs"
    assert "--output" in str(caught.value)


def test_more_steps_of_the_same_run_are_welcome(tmp_path):
    train(tmp_path, 5, identity=IDENTITY)
    assert train(tmp_path, 10, identity=IDENTITY).step == 10
    assert load_run(tmp_path).identity == IDENTITY


def test_a_checkpoint_that_says_less_is_taken_for_the_same_run(tmp_path):
    """What was saved before runs said what they were given."""
    train(tmp_path, 5, identity=IDENTITY)
    path = tmp_path / CHECKPOINT
    with np.load(path) as stored:
        arrays = dict(stored)
    metadata = json.loads(str(arrays.pop("metadata")))
    metadata["given"] = metadata.pop("identity")  # as both were called
    np.savez(path, about=np.array(json.dumps(metadata)), **arrays)
    assert load_run(tmp_path).identity == IDENTITY
    del metadata["given"], metadata["settings"]["margin"]
    np.savez(path, about=np.array(json.dumps(metadata)), **arrays)
    assert load_run(tmp_path).identity == {}
    assert train(tmp_path, 10, identity=IDENTITY).step == 10
    assert load_run(tmp_path).identity == IDENTITY


def test_both_trainings_share_one_schedule():
    for settings in (TrainSettings(steps=1000), EstimatorSettings(steps=1000)):
        rates = np.array([learning_rate(settings, step) for step in range(1001)])
        assert rates[0] == pytest.approx(settings.learning_rate / settings.warm_up, rel=0.01)
        assert rates.argmax() == settings.warm_up - 1
        assert rates[-1] == pytest.approx(0.01 * settings.learning_rate)


def mixes():
    parts = {"a": tones("a", 1), "b": tones("b", 5), "c": tones("c", 6)}
    return RandomMixes(parts, {"a": ["a"], "rest": ["b", "c"]}, np.ones(BANDS))


def test_random_mixes_have_unit_level_and_targets_on_the_same_scale():
    mix, targets = mixes().sample(np.random.default_rng(0), 64, 10)
    mix, targets = mix.numpy(), {name: target.numpy() for name, target in targets.items()}
    power = (mix**2).mean(axis=(1, 2))
    assert np.allclose(power[power > 0.6], 1, atol=1e-3)  # less: nobody plays
    assert targets.keys() == {"a", "rest"}
    # random phases: powers add on average, not in every point
    heard = power > 0.5
    total = sum(t**2 for t in targets.values())[heard].mean()
    assert total == pytest.approx((mix[heard] ** 2).mean(), rel=0.15)


def test_estimator_resumes_and_learns(tmp_path):
    config = EstimatorConfig(bands=BANDS, hidden=8, dilations=(1, 2), head=8)

    def run(folder, steps, upto=None):
        settings = EstimatorSettings(steps=steps, batch=8, frames=16, warm_up=2)
        task = EstimatorTask(config, settings, mixes(), mixes())
        reports = []
        for progress in TrainingRun(folder, ESTIMATOR, task).run(every=10):
            reports.append(progress)
            if upto is not None and progress.step >= upto:
                break
        return reports

    whole = run(tmp_path / "whole", 60)
    run(tmp_path / "halves", 60, upto=30)
    run(tmp_path / "halves", 60)
    one, two = load_estimator(tmp_path / "whole"), load_estimator(tmp_path / "halves")
    assert torch.equal(one.encoder.start.weight, two.encoder.start.weight)
    assert whole[-1].valid["a"] < whole[0].valid["a"]


@pytest.mark.parametrize("frames", [1, 2, 37])
@pytest.mark.parametrize("bands", [7, 8])
def test_an_encoder_under_onnx_says_what_torch_says(bands, frames):
    torch.manual_seed(frames)
    config = EstimatorConfig(bands=bands, channels=3, hidden=8, dilations=(1, 4), recurrent=5)
    encoder = Encoder(config).eval()
    session, _ = make_session(emit_encoder(encoder).SerializeToString(), Device("cpu"))
    mix = np.random.default_rng(frames).random((3, frames, bands)).astype(np.float32)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(mix**config.compression).transpose(1, 2))
    (got,) = session.run(["features"], {"mix": mix})
    np.testing.assert_allclose(got, expected.transpose(1, 2).numpy(), atol=1e-5)


def test_an_encoder_hears_the_whole_excerpt():
    """The convolutions reach two frames each way here, the recurrent layer to both ends."""
    torch.manual_seed(0)
    encoder = Encoder(EstimatorConfig(bands=BANDS, channels=2, hidden=8, dilations=(1,))).eval()
    quiet = torch.zeros(1, BANDS, 60)
    loud = quiet.clone()
    loud[:, :, 30] = 1
    with torch.no_grad():
        changed = (encoder(loud) - encoder(quiet)).abs().amax(dim=(0, 1))
    assert changed[0] > 0
    assert changed[-1] > 0


def test_a_folder_of_other_heads_is_refused(tmp_path):
    config = EstimatorConfig(bands=BANDS, hidden=8, dilations=(1,), head=8)
    settings = EstimatorSettings(steps=2, batch=2, frames=16)

    def run(mixes, identity):
        task = EstimatorTask(config, settings, mixes, mixes, identity)
        list(TrainingRun(tmp_path, ESTIMATOR, task).run())

    run(mixes(), {"recordings of a": "0123"})
    other = RandomMixes(mixes().parts, {"a": ["a"], "b": ["b"], "rest": ["c"]}, np.ones(BANDS))
    with pytest.raises(StemwrightError, match="heads: a=a, rest=b"):
        run(other, {"recordings of a": "0123"})
    with pytest.raises(StemwrightError, match="recordings of a: 0123 there, 9 here"):
        run(mixes(), {"recordings of a": "9"})


def test_the_papers_bands_are_its_bins_and_dc_joins_the_lowest():
    assert paper_front_end().front_end().band_of_bin(22_050).tolist() == [0, *range(512)]


def test_bins_per_band_are_those_of_the_view():
    bin_hz = 44_100 / 4096
    edges = tuple(bin_hz * np.array([0.5, 1.0, 3.5, 11.5]))
    view = FrontEndCard(sample_rate=44_100, hop=1024, edges_hz=edges)
    assert bins_per_band(view) == pytest.approx([1, 2.5, 8])  # at least one


def test_seats_of_a_mix_are_balanced_whatever_the_takes_levels_were():
    parts = {"a": tones("a", 1, level=30.0), "b": tones("b", 5), "c": tones("c", 6)}
    loud = RandomMixes(parts, {"a": ["a"], "rest": ["b", "c"]}, np.ones(BANDS))
    _, targets = loud.sample(np.random.default_rng(1), 200, 10)
    levels = {
        name: 10 * np.log10((target.numpy() ** 2).mean(axis=(1, 2)) + 1e-9)
        for name, target in targets.items()
    }
    both = (levels["a"] > -30) & (levels["rest"] > -30)
    difference_db = levels["a"][both] - levels["rest"][both]
    assert both.mean() > 0.4
    assert abs(np.median(difference_db)) < 2
    assert 3 < difference_db.std() < 9


def test_a_run_of_minutes_ends_by_the_clock_and_says_so(tmp_path):
    task = FlowTask(CONFIG, TrainSettings(batch=4, frames=16), Tones(2), Tones(2), None)
    run = TrainingRun(tmp_path, CHECKPOINT, task, deadline=time.monotonic() + 0.6)
    last = list(run.run(every=1000))[-1]
    assert 0.5 <= last.seconds < 20
    assert last.left_s == 0
    assert last.step == last.steps == load_run(tmp_path).step
    assert 0 < run.optimiser.param_groups[0]["lr"] < 0.05 * task.settings.learning_rate


def test_a_card_that_is_not_there_is_told():
    if torch.cuda.is_available():
        assert training_device().type == training_device("cuda").type == "cuda"
        return
    assert training_device().type == "cpu"
    with pytest.raises(StemwrightError, match="finds no CUDA card") as caught:
        training_device("cuda")
    assert "--device cpu" in str(caught.value)


def in_tune(stem, peak, other):
    """A song whose parts say in every frame where in it they are, and a take that does not."""
    place = np.arange(1, 401, dtype=np.float16)[:, None] / 400
    song = Clip("song", "songs", place * np.ones(BANDS, np.float16), np.ones(400, bool))
    take = Clip(f"{stem} {other}", "takes", np.ones((9, BANDS), np.float16), np.ones(9, bool))
    return Corpus(stem, [song, take], production=DRY, in_step={"songs"})


def test_parts_of_a_song_are_drawn_at_the_same_place():
    parts = {stem: in_tune(stem, 0, n) for n, stem in enumerate(("a", "b", "c"))}
    together = RandomMixes(parts, {s: (s,) for s in parts}, np.ones(BANDS), in_step=1.0)
    assert together.songs == 1
    _, targets = together.sample(np.random.default_rng(0), 64, 10)
    slopes = {
        stem: (target[:, 1:] / target[:, :1])
        .mean(dim=2)
        .numpy()  # which place it is, at any level
        for stem, target in targets.items()
    }
    heard = np.all([np.isfinite(slope).all(axis=1) for slope in slopes.values()], axis=0)
    assert heard.mean() > 0.4
    for stem in ("b", "c"):
        np.testing.assert_allclose(slopes[stem][heard], slopes["a"][heard], rtol=1e-2)
    assert len(np.unique(slopes["a"][heard][:, -1].round(4))) > 10
    apart = RandomMixes(parts, {s: (s,) for s in parts}, np.ones(BANDS), in_step=0.0)
    _, targets = apart.sample(np.random.default_rng(0), 64, 10)
    assert not torch.allclose(targets["a"][:, 1:] / targets["a"][:, :1], torch.tensor(1.01))


def test_a_compressed_sum_swings_less_and_its_shares_stay():
    """The bus holds all parts down together: what a mask is asked for is the same."""
    rng = np.random.default_rng(3)
    swings = np.exp(np.cumsum(rng.standard_normal((300, 1)), axis=0) / 3)
    loud = {
        stem: Corpus(
            stem,
            [
                Clip(
                    stem, "takes", (swings * np.ones(BANDS)).astype(np.float16), np.ones(300, bool)
                )
            ],
            production=DRY,
        )
        for stem in ("a", "b")
    }
    spread = []
    for bus in (0.0, 1.0):
        mixes = RandomMixes(loud, {s: (s,) for s in loud}, np.ones(BANDS), bus=bus)
        mix, targets = mixes.sample(np.random.default_rng(0), 64, 32)
        level_db = 10 * torch.log10((mix**2).mean(dim=2) + 1e-6)
        spread.append(float(level_db.std(dim=1).median()))
        assert torch.isfinite(targets["a"]).all()
    assert spread[1] < 0.95 * spread[0]
