"""The GAN prior's graphs: torch's autograd and finite differences are the referees."""

import numpy as np
import onnxruntime
import pytest
import torch

from export.gan_bundle import objective
from export.models.gan_graphs import emit_gan
from export.models.graph_writer import GraphWriter
from export.models.reverse import Reverse
from export.models.wavegan import GanConfig, Generator

CONFIG = GanConfig(width=2, layers=4, latent=6)  # 4096 samples


@pytest.fixture(scope="module")
def generator():
    made = Generator(CONFIG).eval()
    torch.manual_seed(3)
    for layer in (made.foot, *made.convs):
        layer.reset_parameters()  # with biases, as a trained one has
    with torch.no_grad():  # loud enough for differences to stand above rounding
        for weights in made.parameters():
            weights *= 3
    return made


@pytest.fixture(scope="module")
def sessions(generator):
    graphs = emit_gan(generator)
    return {n: onnxruntime.InferenceSession(m.SerializeToString()) for n, m in graphs.items()}


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return {
        "latents": rng.uniform(-0.5, 0.5, (2, CONFIG.latent)).astype(np.float32),
        "mix": (0.3 * rng.standard_normal((2, CONFIG.samples))).astype(np.float32),
        "others": (0.1 * rng.standard_normal((2, 3, CONFIG.samples))).astype(np.float32),
    }


def test_waveforms_are_torchs(generator, sessions, inputs):
    (found,) = sessions["inverse"].run(None, {"latents": inputs["latents"]})
    with torch.no_grad():
        expected = generator(torch.from_numpy(inputs["latents"])).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_loss_and_gradient_are_torchs(generator, sessions, inputs):
    loss, own, gradient = sessions["gradient"].run(["loss", "own", "gradient"], inputs)
    double = Generator(CONFIG).double()
    double.load_state_dict({k: v.double() for k, v in generator.state_dict().items()})
    z = torch.from_numpy(inputs["latents"]).double().requires_grad_()
    made = double(z)
    mix, rivals = (torch.from_numpy(inputs[name]).double() for name in ("mix", "others"))
    expected = objective(made, mix, rivals)
    expected.sum().backward()
    assert np.allclose(own, made.detach().numpy(), atol=1e-5)
    assert np.allclose(loss, expected.detach().numpy(), rtol=1e-5)
    assert np.abs(gradient - z.grad.numpy()).max() < 1e-3 * np.abs(z.grad.numpy()).max()


def test_gradient_is_what_finite_differences_say(sessions, inputs):
    """Along random directions, from the loss that ONNX Runtime itself computes."""
    rng = np.random.default_rng(1)
    run = sessions["gradient"].run
    (gradient,) = run(["gradient"], inputs)
    step = 3e-3
    for _ in range(5):
        way = rng.standard_normal(gradient.shape).astype(np.float32)
        ends = [
            run(["loss"], inputs | {"latents": inputs["latents"] + sign * step * way})[0]
            for sign in (1, -1)
        ]
        slope = (ends[0].astype(np.float64) - ends[1]) / (2 * step)
        longest = np.linalg.norm(gradient, axis=1) * np.linalg.norm(way, axis=1)
        error = np.abs(slope - (gradient * way).sum(axis=1))
        assert (error < 0.02 * longest).all()  # absolute values have kinks, single precision ends


def test_a_search_step_against_the_gradient_lowers_the_loss(sessions, inputs):
    run = sessions["gradient"].run
    loss, gradient = run(["loss", "gradient"], inputs)
    size = 1e-3 / np.abs(gradient).max()
    (after,) = run(["loss"], inputs | {"latents": inputs["latents"] - size * gradient})
    assert (after < loss).all()


OPS = {
    "products": lambda g, x: g.op("Mul", g.op("Add", x, g.number(2.0)), g.op("Mul", x, x)),
    "quotients": lambda g, x: g.op("Div", x, g.op("Add", g.op("Mul", x, x), g.number(1.0))),
    "roots of logs": lambda g, x: g.op(
        "Sqrt", g.op("Log", g.op("Add", g.op("Mul", x, x), g.number(2.0)))
    ),
    "kinks": lambda g, x: g.op("Add", g.op("Relu", x), g.op("Neg", g.op("Abs", x))),
    "slices": lambda g, x: g.op("Sub", g.slice(x, 1, 6, 1), g.slice(x, 0, -1, 1)),
    "means": lambda g, x: g.op("Mul", x, g.op("ReduceMean", x, g.ints(1), keepdims=1)),
    "bounds": lambda g, x: g.op("Tanh", g.op("Reshape", x, g.ints(-1, 6))),
}


@pytest.mark.parametrize("name", OPS)
def test_every_rule_of_the_reverse_mode(name):
    g, inputs = GraphWriter(), {"x": ("batch", 6)}
    y = OPS[name](g, "x")
    loss = g.op("ReduceSum", y, g.ints(1), keepdims=0)
    g.name(Reverse(g, inputs).gradient(loss, "x"), "gradient")
    g.name(loss, "loss")
    model = g.model(inputs, {"loss": ("batch",), "gradient": ("batch", 6)})
    run = onnxruntime.InferenceSession(model.SerializeToString()).run
    x = np.random.default_rng(2).uniform(0.2, 1.0, (3, 6)).astype(np.float32)
    x[1] *= -1
    (gradient,) = run(["gradient"], {"x": x})
    for index in range(6):
        step = np.zeros_like(x)
        step[:, index] = 1e-2
        up, down = (run(["loss"], {"x": x + sign * step})[0] for sign in (1, -1))
        assert (up - down) / 2e-2 == pytest.approx(gradient[:, index], abs=2e-2, rel=2e-2)


def test_an_operator_without_a_rule_is_named():
    g = GraphWriter()
    y = g.op("ReduceSum", g.op("Erf", "x"), g.ints(1), keepdims=0)
    with pytest.raises(NotImplementedError, match="Erf"):
        Reverse(g, {"x": ("batch", 2)}).gradient(y, "x")
