"""The exported graphs agree with torch, and their gradient with finite differences."""

import numpy as np
import onnx
import pytest

from engine import Device, make_session
from export.bundle import parity, self_test_vectors, torch_reference
from export.models.features import Features
from export.models.flow import FlowConfig
from export.models.flow_graphs import emit_graphs
from prior_fixtures import make_features, make_vectors, random_flow

PARITY = 1e-4  # relative
FINITE_DIFFERENCE = 1e-2  # relative, single precision

CONFIGS = [
    FlowConfig(bands=4, blocks=1, hidden=4, layers=1, kernel=3),
    FlowConfig(bands=8, blocks=3, hidden=8, layers=3, kernel=5),
]


@pytest.mark.parametrize("compression", [1 / 3, 0.5, 1.0])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize(("batch", "frames"), [(1, 2), (3, 10)])
def test_onnx_equals_torch(rng, config, compression, batch, frames):
    flow, features = random_flow(4, config), make_features(rng, config, compression)
    graphs = {n: m.SerializeToString() for n, m in emit_graphs(flow, features).items()}
    vectors = make_vectors(rng, config, batch, frames)
    vectors |= torch_reference(flow, features, vectors)
    errors = parity(graphs, vectors)
    assert max(errors.values()) < PARITY, errors


@pytest.mark.parametrize("labels", [0, 2])
def test_self_test_keeps_away_from_the_poles_of_linear_magnitudes(labels):
    config = FlowConfig(bands=512, labels=labels)
    around_zero = Features(1.0, np.zeros(512, np.float32), np.ones(512, np.float32))
    flow = random_flow(8, config, spread=0.02)
    graphs = {n: m.SerializeToString() for n, m in emit_graphs(flow, around_zero).items()}
    for seed in range(3):
        vectors = self_test_vectors(flow, around_zero, seed)
        errors = parity(graphs, vectors, labels)
        assert max(errors.values()) < PARITY, errors
        assert np.abs(vectors["gradient"]).max() > 0


@pytest.mark.parametrize("compression", [1 / 3, 1.0])
def test_exported_gradient_equals_finite_differences(rng, compression):
    config = CONFIGS[1]
    flow, features = random_flow(5, config), make_features(rng, config, compression)
    model = emit_graphs(flow, features)["gradient"].SerializeToString()
    session, _ = make_session(model, Device("cpu"))
    v = make_vectors(rng, config, 1, 8)
    weight = rng.random(v["others"].shape).astype(np.float32)

    def run(z):
        inputs = {
            "latents": z,
            "mix": v["magnitudes"],
            "others": v["others"],
            "guide": v["guide"],
            "weight": weight,
            "prior_weight": np.array(0.3, np.float32),
            "guide_weight": np.array(0.7, np.float32),
        }
        return session.run(["loss", "gradient"], inputs)

    _, gradient = run(v["z"])
    for _ in range(5):
        direction = rng.standard_normal(v["z"].shape).astype(np.float32)
        step = np.float32(3e-3)
        difference = run(v["z"] + step * direction)[0] - run(v["z"] - step * direction)[0]
        slope = float((gradient * direction).sum())
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction) / np.sqrt(direction.size)
        assert abs(float(difference[0]) / (2 * step) - slope) < FINITE_DIFFERENCE * scale


def test_graphs_use_standard_operators_only(rng):
    graphs = emit_graphs(random_flow(6), make_features(rng, FlowConfig(bands=16), 1 / 3))
    for model in graphs.values():
        onnx.checker.check_model(model, full_check=True)
        assert [opset.domain for opset in model.opset_import] == [""]
        assert all(node.domain == "" for node in model.graph.node)
        assert not any(t.external_data for t in model.graph.initializer)


def test_forward_of_inverse_is_identity(rng):
    config = CONFIGS[1]
    flow, features = random_flow(7, config), make_features(rng, config, 1 / 3)
    graphs = emit_graphs(flow, features)
    forward, _ = make_session(graphs["forward"].SerializeToString(), Device("cpu"))
    inverse, _ = make_session(graphs["inverse"].SerializeToString(), Device("cpu"))
    magnitudes = rng.random((2, 12, config.bands)).astype(np.float32) + 0.05
    (latents,) = forward.run(["latents"], {"magnitudes": magnitudes})
    (back,) = inverse.run(["magnitudes"], {"latents": latents})
    assert np.abs(back - magnitudes).max() < 1e-3
