"""Devices: what was asked for and what was got, and a search whose arrays stay on the device."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

import stemwright
from engine import Device, Prior
from engine.separation.device_adam import GRAPHS, descend_on_device
from engine.separation.search import Adam
from engine.separation.search_plan import SearchTask
from export.models.device_graphs import device_graphs
from hotfolder.settings import WorkerSettings
from presets import StemwrightError
from prior_fixtures import search_plan

EXAMPLE = Path(__file__).parent.parent / "examples" / "mix.flac"
STEPS = 12
SAME = 1e-4  # largest difference of latents: two orders of rounding in 12 steps of 0.03


@pytest.fixture(scope="module")
def priors(tiny_prior_folder):
    return [Prior(tiny_prior_folder / f"{stem}.prior", Device("cpu")) for stem in ("low", "high")]


def descend_on_host(priors, latents, magnitudes, task):
    movers = [Adam(z.shape, task.plan.learning_rate) for z in latents]
    own = list(magnitudes)
    for step in range(STEPS):
        total = sum(own)
        for index, prior in enumerate(priors):
            remainder = total - own[index]
            _, own[index], gradient = prior.gradient(
                latents[index], task.mix, remainder, task.guide[index], task.weight,
                prior_weight=task.plan.prior_weight, guide_weight=task.plan.guidance(step),
            )  # fmt: skip
            latents[index] = latents[index] + movers[index].move(gradient)
    return latents


@pytest.mark.parametrize(("prior_weight", "guided_steps"), [(0.0, 0), (0.5, 0), (0.0, 2)])
def test_arrays_that_stay_on_the_device_take_the_same_steps(
    priors, rng, prior_weight, guided_steps
):
    """The path of a graphics card, on the device that every machine has."""
    mix = rng.random((2, 12, 16)).astype(np.float32)
    weight = np.ones_like(mix)
    latents = [0.1 * rng.standard_normal((2, 6, 32)).astype(np.float32) for _ in priors]
    magnitudes = np.stack([p.inverse(z) for p, z in zip(priors, latents, strict=True)])
    plan = search_plan(learning_rate=0.03, prior_weight=prior_weight, guided_steps=guided_steps)
    task = SearchTask(mix, weight, rng.random(magnitudes.shape).astype(np.float32), plan)
    moved = descend_on_device(priors, latents, magnitudes, task, range(STEPS))
    expected = descend_on_host(priors, list(latents), magnitudes, task)
    for got, wanted, start in zip(moved, expected, latents, strict=True):
        assert np.abs(got - wanted).max() < SAME
        assert np.abs(got - start).max() > 0.1  # they did move


def test_the_shipped_graphs_are_those_of_the_exporter():
    for name, model in device_graphs().items():
        assert onnx.load(GRAPHS / f"{name}.onnx").graph == model.graph
    assert {path.stem for path in GRAPHS.iterdir()} == set(device_graphs())


def test_adam_is_kingma_and_bas(rng):
    adam, mean, square = Adam((5,), 0.1), np.zeros(5), np.zeros(5)
    for step in range(1, 6):
        gradient = rng.standard_normal(5).astype(np.float32)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        moved = -0.1 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(adam.move(gradient), moved, rtol=1e-4)


def absent_devices():
    import onnxruntime

    compiled_in = onnxruntime.get_available_providers()
    names = {"cuda": "CUDA", "coreml": "CoreML", "directml": "Dml"}
    return [n for n, p in names.items() if f"{p}ExecutionProvider" not in compiled_in]


@pytest.mark.parametrize("device", absent_devices())
def test_strict_refuses_another_device_and_otherwise_the_manifest_tells(
    tiny_prior_folder, tmp_path, rng, device
):
    bundle = tiny_prior_folder / "low.prior"
    latents = np.zeros((1, 2, 32), np.float32)
    with pytest.raises(StemwrightError, match=f"device {device} was asked for") as caught:
        Prior(bundle, Device.parse(device, strict=True)).inverse(latents)
    assert caught.value.code == "device-unavailable"
    lenient = Prior(bundle, Device.parse(device))
    lenient.inverse(latents)
    assert lenient.got == "cpu"


def test_strict_device_is_an_error_of_the_command(tmp_path, rng):
    absent = absent_devices()
    if not absent:
        pytest.skip("every device is compiled in")
    args = ["separate", str(EXAMPLE), "-o", str(tmp_path), "--tier", "draft", "--strict-device"]
    result = CliRunner().invoke(stemwright.main, [*args, "--device", absent[0]])
    assert result.exit_code == 1
    assert not any(tmp_path.iterdir())


def test_strict_is_refused_where_no_device_is_named(tmp_path):
    with pytest.raises(StemwrightError, match="Name one, such as --device cuda") as caught:
        Device.parse("auto", strict=True)
    assert caught.value.code == "device-unnamed"
    for words in (["separate", str(EXAMPLE)], ["batch", str(EXAMPLE.parent)]):
        arguments = [*words, "-o", str(tmp_path / "out"), "--strict-device"]
        done = CliRunner().invoke(stemwright.main, arguments)
        assert (done.exit_code, "none is named" in done.output) == (1, True)
    with pytest.raises(ValidationError, match="strict_device needs a device by name"):
        WorkerSettings(strict_device=True)
    assert WorkerSettings(strict_device=True, device="cpu").strict_device


@pytest.mark.parametrize("text", ["gpu", "cuda:x", "cpu:1", "cuda:-1", ""])
def test_unknown_devices_are_refused(text):
    with pytest.raises(StemwrightError, match="expected auto, cpu, cuda"):
        Device.parse(text)
