"""A bundle can be trained on: what its graphs hold is what torch had."""

import numpy as np
import pytest
import torch

from engine import Device, Prior, Source, read_bundle
from engine.separation.estimate import Estimate
from export import export_prior
from export.data.corpus import Clip, Corpus
from export.data.mixes import RandomMixes
from export.models.estimator import Encoder, EstimatorConfig, Head, emit_encoder, emit_head
from export.models.features import Features
from export.models.flow import Flow, FlowConfig
from export.models.flow_graphs import emit_graphs
from export.models.graph_reader import read_encoder, read_flow, read_head
from export.training.checkpoint import Checkpoint
from export.training.estimator_training import CHECKPOINT, EstimatorSettings, EstimatorTask
from export.training.flow_training import FlowTask, TrainSettings
from export.training.run import TrainingRun
from export.training.run_metadata import add_other_sources
from export.training.tuning import bundled_estimate, bundled_flow, encoder_name
from presets import StemwrightError
from prior_fixtures import BANDS


def same(one, two):
    """Whether two modules have the same weights by name."""
    first, second = one.state_dict(), two.state_dict()
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dilations", [(1,), (1, 2, 4, 8, 1, 4)])
def test_an_encoder_comes_back_from_its_graph(dilations):
    torch.manual_seed(1)
    config = EstimatorConfig(
        bands=10, channels=3, hidden=12, dilations=dilations, recurrent=5, head=96
    )
    encoder = Encoder(config)
    with torch.no_grad():
        encoder.scale.uniform_(0.5, 2)
        encoder.shift.uniform_(-1, 1)
    back = read_encoder(emit_encoder(encoder).SerializeToString())
    assert back.config == config
    same(back, encoder)


def test_a_head_comes_back_from_its_graph():
    torch.manual_seed(2)
    head = Head(EstimatorConfig(bands=10, hidden=12, head=7))
    same(read_head(emit_head(head).SerializeToString()), head)


def random_flow(**sizes):
    torch.manual_seed(3)
    flow = Flow(FlowConfig(bands=6, hidden=8, **sizes))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    flow(torch.randn(4, 6, 16))  # ActNorm takes its values
    return flow


@pytest.mark.parametrize("layers", [1, 3])
def test_a_flow_and_its_features_come_back_from_their_graph(layers, rng):
    flow = random_flow(blocks=3, layers=layers, kernel=3)
    mean, std = rng.random((2, 6)).astype(np.float32) + 0.5
    graph = emit_graphs(flow, Features(1 / 3, mean, std))["forward"].SerializeToString()
    back, *features = read_flow(graph, flow.config.to_dict())
    same(back, flow)
    assert np.array_equal(features, [mean, std])
    x = torch.randn(2, 6, 16)
    with torch.no_grad():
        torch.testing.assert_close(back.log_prob(x), flow.log_prob(x))


def test_a_flow_of_several_labels_is_told_to_be_gone_on_from_elsewhere():
    with pytest.raises(StemwrightError, match="in the folder of its run"):
        read_flow(b"", {"bands": 6, "hidden": 8, "labels": 2})


def test_no_graph_is_told():
    with pytest.raises(StemwrightError, match="no ONNX graph"):
        read_head(b"no graph")


class Hiss:
    def sample(self, rng, batch, frames):
        return torch.from_numpy(rng.random((batch, frames, BANDS), np.float32))


def test_bundles_are_gone_on_from(tiny_prior_folder):
    """A step on from a bundle is as likely as the bundle says; a new flow is not."""
    flow, features = bundled_flow(tiny_prior_folder / "low.prior")
    settings = TrainSettings(batch=4, frames=16, compression=features.compression)
    task = FlowTask(flow.config, settings, Hiss(), Hiss(), None, tuned=(flow, features))
    same(task.model, flow)
    assert task.features is features
    other = FlowConfig(bands=flow.config.bands, blocks=1)
    with pytest.raises(StemwrightError, match="Leave --begin-from out"):
        FlowTask(other, settings, Hiss(), Hiss(), None, tuned=(flow, features))
    encoder, heads = bundled_estimate(tiny_prior_folder)
    assert heads.keys() == {"low", "high"}
    cards = [read_bundle(tiny_prior_folder / f"{stem}.prior")[0] for stem in heads]
    assert {card.encoder_sha256 for card in cards} == {encoder_name(tiny_prior_folder)}
    assert encoder.config.bands == BANDS
    with pytest.raises(StemwrightError, match="read 0 encoders"):
        bundled_estimate(tiny_prior_folder / "nothing")


@pytest.mark.parametrize(
    ("identity", "tuned"), [({}, {}), ({"tuned from": "abc"}, {"tuned_from": "abc"})]
)
def test_a_card_says_from_which_weights_a_training_went_on(identity, tuned):
    metadata = {
        "settings": {"batch": 4, "steps": 9},
        "step": 9,
        "identity": identity | {"stem": "bass"},
    }
    training = Checkpoint(model={}, moments={}, arrays={}, metadata=metadata).training
    assert training == {"batch": 4, "steps": 9, "of": 9} | tuned


def test_a_former_size_is_read_where_the_network_is_the_same():
    stored = EstimatorConfig(bands=8, dilations=(1, 2)).to_dict() | {"dilations": [1, 2]}
    assert EstimatorConfig.of(stored | {"beside": False}) == EstimatorConfig.of(stored)
    with pytest.raises(StemwrightError, match="both halves of a pair"):
        EstimatorConfig.of(stored | {"beside": True})


def test_a_bundle_is_given_the_head_of_a_run_and_keeps_its_flow(tiny_prior_folder, tmp_path):
    config = EstimatorConfig(bands=BANDS, hidden=8, dilations=(1, 2), head=8)
    magnitudes = np.random.default_rng(0).uniform(0.5, 1, (200, BANDS)).astype(np.float16)
    takes = Corpus("low", (Clip("song", "takes", magnitudes, np.ones(200, bool)),))
    mixes = RandomMixes({"low": takes}, {"low": ("low",)}, np.ones(BANDS))
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
    known = {s.name for s in before.other_sources}
    assert {s.name for s in card.other_sources} == known | {"high: takes"}
    assert card.training["head"]["steps"] == 0
    prior = Prior(new, Device("cpu"))
    estimate = Estimate([prior], [new.parent], Device("cpu"))  # finds the encoder beside it
    assert estimate.magnitudes(np.ones((1, 8, BANDS), np.float32)).shape == (1, 1, 8, BANDS)
    export_prior(bundle, tmp_path / "again" / "low.prior", heads)
    assert (tmp_path / "again" / "low.prior").read_bytes() == new.read_bytes()
    with pytest.raises(StemwrightError, match="--heads"):
        export_prior(bundle, new, None)
