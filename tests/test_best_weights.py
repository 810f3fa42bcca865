"""What held-out material likes best is kept: a step, a mixture with the beginning, or the
beginning itself."""

import numpy as np
import pytest
import torch
from torch import nn

from export.training.best_weights import SHARES, BestWeights, best_of
from export.training.checkpoint import load_checkpoint, save_checkpoint
from presets import StemwrightError


def model_at(value):
    model = nn.Linear(1, 1, bias=False)
    return put(model, value)


def put(model, value):
    nn.init.constant_(model.weight, value)
    return model


def judged(model, ideal):
    """Weights as good as they are near to `ideal`; the score is the distance."""
    return BestWeights(model, lambda: abs(model.weight.item() - ideal), lambda far: -far)


@pytest.mark.parametrize("steps", [[3.0, 8.0, 5.0], [-1.0, -2.0], [0.5]])
@pytest.mark.parametrize("ideal", [-2.0, 0.0, 2.0, 6.0])
def test_the_best_is_no_worse_than_the_beginning_any_step_and_any_mixture(steps, ideal):
    model = model_at(0.0)
    kept = judged(model, ideal)
    for number, value in enumerate(steps, 1):
        put(model, value)
        kept.consider(number, abs(value - ideal))
        assert model.weight.item() == value  # training goes on from what it had
    kept.take()
    tried = [0.0, *(share * value for value in steps for share in (*SHARES, 1))]
    assert abs(model.weight.item() - ideal) == pytest.approx(min(abs(t - ideal) for t in tried))
    assert kept.best.score == pytest.approx(abs(model.weight.item() - ideal))
    assert (kept.best.step == 0) == (kept.best.share == 0)


def test_a_run_that_goes_on_has_the_best_of_before(tmp_path):
    model = model_at(0.0)
    kept = judged(model, 2.0)
    kept.consider(7, abs(put(model, 2.5).weight.item() - 2.0))
    put(model, 9.0)
    optimiser = torch.optim.Adam(model.parameters())
    best = kept.best
    metadata = {"step": 8, "best step": best.step, "best share": best.share}
    save_checkpoint(tmp_path / "c.npz", model, optimiser, metadata, **kept.arrays())
    checkpoint = load_checkpoint(tmp_path / "c.npz")
    again = judged(model_at(0.0), 2.0)
    again.resume(checkpoint)
    assert (again.best.step, again.best.share) == (best.step, best.share)
    assert again.best.score == best.score
    assert np.array_equal(best_of(checkpoint)["weight"], best.weights["weight"])
    with pytest.raises(StemwrightError, match="another folder"):
        BestWeights(nn.Linear(1, 1), lambda: 0.0, float).resume(checkpoint)
