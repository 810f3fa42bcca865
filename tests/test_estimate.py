"""The first estimate: what the encoder is given, and what of a window counts."""

from types import SimpleNamespace

import numpy as np
import pytest

from engine import Device, Prior
from engine.separation.estimate import Estimate
from prior_fixtures import BANDS


@pytest.fixture
def estimate(tiny_prior_folder):
    priors = [Prior(tiny_prior_folder / f"{n}.prior", Device("cpu")) for n in ("low", "high")]
    return Estimate(priors, [tiny_prior_folder], Device("cpu"))


@pytest.fixture
def heard(estimate):
    """What the encoder is given."""
    inputs, encoder = [], estimate._encoder
    estimate._encoder = SimpleNamespace(
        run=lambda names, feeds: inputs.append(feeds["mix"]) or encoder.run(names, feeds)
    )
    return inputs


def test_frames_without_audio_do_not_make_a_window_louder(estimate, heard, rng):
    whole = rng.random((1, 16, BANDS), np.float32)
    padded = np.concatenate([whole, np.zeros((1, 48, BANDS), np.float32)], axis=1)
    weight = np.zeros_like(padded)
    weight[:, :16] = 1
    estimate.magnitudes(whole)
    estimate.magnitudes(padded, weight)
    np.testing.assert_allclose(heard[1][:, :16], heard[0], rtol=1e-6)
    assert np.mean(heard[0] ** 2, dtype=np.float64) == pytest.approx(1)


def test_a_full_window_is_the_same_bytes_with_weights_and_without(estimate, heard, rng):
    mix = rng.random((3, 16, BANDS), np.float32)
    found = [estimate.magnitudes(mix), estimate.magnitudes(mix, np.ones_like(mix))]
    power = np.mean(mix.astype(np.float64) ** 2, axis=(1, 2), keepdims=True)
    scaled = (mix / np.sqrt(power)).astype(np.float32)
    assert heard[0].tobytes() == heard[1].tobytes() == scaled.tobytes()
    assert found[0].tobytes() == found[1].tobytes()
