"""The latent search: it explains the mix, repeats itself, and does not depend on threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine import Device, Prior
from engine.separation.masks import MaskPlan, combine, level
from engine.separation.search import divergence, search
from engine.separation.search_plan import SearchPlan
from prior_fixtures import search_plan

FAITHFUL = search_plan(steps=150, learning_rate=0.01, exact=True)


@pytest.fixture(scope="module")
def priors(tiny_prior_folder):
    return [Prior(tiny_prior_folder / f"{stem}.prior", Device("cpu")) for stem in ("low", "high")]


@pytest.fixture(scope="module")
def parts(priors):
    """Magnitudes that the priors themselves drew."""
    rng = np.random.default_rng(3)
    drawn = [p.inverse(rng.standard_normal((2, 6, 32)).astype(np.float32)) for p in priors]
    return np.stack(drawn)


@pytest.fixture(scope="module")
def mix(parts):
    return parts.sum(axis=0)


def run(priors, mix, plan, threads=2, seed=0, start=None, guide=None):
    with ThreadPoolExecutor(threads) as pool:
        return search(priors, mix, np.ones_like(mix), start, guide, plan, seed, pool)


def test_a_search_has_no_values_of_its_own():
    with pytest.raises(TypeError, match="learning_rate"):
        SearchPlan(method="gradient", steps=1)


def test_faithful_search_lowers_the_divergence_by_nine_tenths(priors, mix):
    result = run(priors, mix, search_plan(steps=150, learning_rate=0.05, exact=True))
    assert result.last_loss < 0.1 * result.first_loss


def test_papers_step_size_descends_at_every_look(priors, mix):
    losses = [
        run(priors, mix, search_plan(steps=n, learning_rate=0.01, exact=True)).last_loss
        for n in (0, 10, 50, 150)
    ]
    assert losses == sorted(losses, reverse=True)


def test_sum_of_the_last_step_serves_as_well_as_the_exact_one(priors, mix):
    plan = search_plan(steps=100, learning_rate=0.03)
    late = run(priors, mix, plan).last_loss
    exact = run(priors, mix, search_plan(steps=100, learning_rate=0.03, exact=True)).last_loss
    assert late < 2 * exact + 1e-3


def test_a_guide_draws_every_prior_towards_its_own_part(priors, parts, mix):
    ones = np.ones_like(mix)

    def away(**plan):
        found = run(priors, mix, search_plan(steps=100, **plan), guide=parts).magnitudes
        return sum(divergence(p, m, ones) for p, m in zip(parts, found, strict=True))

    assert away(guided_steps=100) < 0.2 * away()
    assert away(guided_steps=100) < away(guided_steps=20) < away()
    spsa = {"method": "finite-difference", "learning_rate": 0.05}
    assert away(guided_steps=100, **spsa) < away(**spsa)


def test_a_guide_without_guided_steps_changes_nothing(priors, parts, mix):
    plan = search_plan(steps=5)
    unguided, idle = (run(priors, mix, plan, guide=guide).magnitudes for guide in (None, parts))
    assert np.array_equal(unguided, idle)


def test_a_prior_weight_keeps_the_latents_near_the_mode(priors, mix):
    free = run(priors, mix, search_plan(steps=60, learning_rate=0.05))
    held = run(priors, mix, search_plan(steps=60, learning_rate=0.05, prior_weight=1.0))

    def energy(result):
        return sum(
            float((p.forward(m)[0] ** 2).mean())
            for p, m in zip(priors, np.maximum(result.magnitudes, 1e-4), strict=True)
        )

    assert energy(held) < energy(free)


def test_start_at_the_truth_stays_there(priors, mix):
    rng = np.random.default_rng(3)
    truth = np.stack(
        [p.inverse(rng.standard_normal((2, 6, 32)).astype(np.float32)) for p in priors]
    )
    result = run(priors, mix, search_plan(steps=0), start=truth)
    assert result.first_loss < 1e-6


@pytest.mark.parametrize("method", ["gradient", "finite-difference"])
def test_same_bytes_again_and_on_any_number_of_threads(priors, mix, method):
    plan = search_plan(method=method, steps=12, learning_rate=0.03)
    first = run(priors, mix, plan, threads=1).magnitudes
    assert np.array_equal(first, run(priors, mix, plan, threads=1).magnitudes)
    assert np.array_equal(first, run(priors, mix, plan, threads=3).magnitudes)


def test_finite_differences_reach_the_gradients_objective(priors, mix):
    """One window of a tiny prior: 2 x 192 latents, and thousands of inverse passes."""
    small = mix[:1]
    goal = run(priors, small, search_plan(steps=40, learning_rate=0.03)).last_loss
    plan = search_plan(method="finite-difference", steps=3000, learning_rate=0.03)
    assert run(priors, small, plan).last_loss < 1.1 * goal


def test_frames_without_weight_change_nothing(priors, mix):
    plan = search_plan(steps=10, learning_rate=0.03)
    weight = np.ones_like(mix)
    weight[:, 8:] = 0
    with ThreadPoolExecutor(1) as pool:
        one = search(priors, mix, weight, None, None, plan, 0, pool)
        loud = mix.copy()
        loud[:, 8:] *= 9
        other = search(priors, loud, weight, None, None, plan, 0, pool)
    assert np.array_equal(one.magnitudes, other.magnitudes)


def test_masks_sum_to_one_and_follow_the_magnitudes(rng):
    mix = rng.random((1, 4, 3)).astype(np.float32)
    searched = rng.random((3, 1, 4, 3)).astype(np.float32)
    estimate = rng.random((3, 1, 4, 3)).astype(np.float32)
    masks = combine(searched, estimate, mix, MaskPlan(power=2.0, flow_weight=0.5))
    assert np.abs(masks.sum(axis=0) - 1).max() < 1e-6
    alone = combine(searched, None, mix, MaskPlan())
    assert np.allclose(alone, searched / searched.sum(axis=0), atol=1e-5)


def test_raw_output_is_the_flows_own_magnitude(rng):
    mix = rng.random((1, 4, 3)).astype(np.float32) + 0.1
    searched = rng.random((2, 1, 4, 3)).astype(np.float32)
    assert np.allclose(combine(searched, None, mix, MaskPlan(output="raw")) * mix, searched)


def test_raw_masks_stay_finite_where_the_mix_is_silent(rng):
    searched = rng.random((2, 1, 4, 3)).astype(np.float32)
    masks = combine(searched, None, np.zeros((1, 4, 3), np.float32), MaskPlan(output="raw"))
    assert np.abs(masks).max() <= 10


def test_level_ignores_pauses_and_scales_with_the_audio(rng):
    magnitudes = rng.random((1, 40, 3)).astype(np.float32)
    paused = np.concatenate([magnitudes, np.zeros((1, 60, 3), np.float32)], axis=1)
    assert level(paused)[0, 0, 0] == pytest.approx(float(level(magnitudes)[0, 0, 0]), rel=1e-5)
    assert level(5 * magnitudes)[0, 0, 0] == pytest.approx(5 * float(level(magnitudes)[0, 0, 0]))
