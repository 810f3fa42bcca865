"""Latent search: find the latents of several priors whose sum explains the mix.

"Music Source Separation with Generative Flow" (Zhu et al., IEEE SPL 2022): freeze the priors,
start from z = 0 (their modes), and descend the generalised Kullback-Leibler divergence between
the mix's magnitudes and the sum of the priors' with Adam. MAP adds |z|^2 / 2. Since a flow can
explain anything, start, step size and number of steps are part of the method, not accuracy
settings. Ours may begin guided: for some steps each prior is drawn towards a first estimate of its
stem, then it goes on from what of the estimate its instrument could have played (docs/lab.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from ..model.prior import Prior
from .device_adam import descend_on_device
from .search_plan import SearchPlan, SearchTask
from .unknown_rest import RestSpectra

Float = NDArray[np.float32]


@dataclass(frozen=True)
class SearchResult:
    """Magnitudes per prior, shape (priors, batch, frames, bands), those of an unknown rest
    behind them, and how the loss fell.

    `steps` were taken; fewer than planned when the clock ran out.
    """

    magnitudes: Float
    first_loss: float
    last_loss: float
    steps: int


class Adam:
    """Kingma & Ba 2015 for one latent array; betas and epsilon are the paper's defaults."""

    def __init__(self, shape: tuple[int, ...], learning_rate: float) -> None:
        self.learning_rate, self.step = learning_rate, 0
        self.mean = np.zeros(shape, np.float32)
        self.square = np.zeros(shape, np.float32)
        self._move, self._root = np.empty(shape, np.float32), np.empty(shape, np.float32)

    def move(self, gradient: Float) -> Float:
        """Return the step to add to the latents; the next call overwrites it.

        In place throughout: fresh arrays for every term cost a third more (docs/speed.md).
        """
        self.step += 1
        move, root = self._move, self._root
        np.subtract(gradient, self.mean, out=move)
        move *= 0.1
        self.mean += move
        np.multiply(gradient, gradient, out=root)
        root -= self.square
        root *= 0.001
        self.square += root
        np.divide(self.square, 1 - 0.999**self.step, out=root)
        np.sqrt(root, out=root)
        root += 1e-8
        np.divide(self.mean, 1 - 0.9**self.step, out=move)
        move *= -self.learning_rate
        move /= root
        return move


def divergence(mix: Float, total: Float, weight: Float) -> float:
    """Generalised Kullback-Leibler divergence, weighted mean over the points that count."""
    return float((_points(mix, total) * weight).sum() / max(weight.sum(), 1.0))


def _points(target: Float, model: Float) -> Float:
    """The divergence of every point."""
    s = np.abs(model) + 1e-8
    return np.asarray(target * np.log((target + 1e-8) / s) - target + s, np.float32)


def search(
    priors: Sequence[Prior],
    mix: Float,
    weight: Float,
    start: Float | None,
    guide: Float | None,
    plan: SearchPlan,
    seed: int,
    pool: Executor,
    go_on: Callable[[], bool] = lambda: True,
    rest: RestSpectra | None = None,
) -> SearchResult:
    """Search the latents that explain `mix`.

    Shape: mix and weight (batch, frames, bands), frames even; start (priors, batch, frames,
    bands) are first magnitudes, or None for z = 0. `weight` is 0 where there is no audio.
    `guide`, shaped like `start`, draws every prior towards its first estimate: in the first
    `plan.guided_steps` steps the objective gains `plan.guide_weight` times the divergence of
    each prior's magnitudes from its guide.
    `rest` stands for what no prior knows; its spectra are fitted between the steps.
    The result does not depend on the pool's size. `go_on` is asked before every step; once it
    says no, the search ends with what it has.
    """
    latents = _start_latents(priors, mix, start, pool)
    magnitudes = _invert(priors, latents, pool)
    first = divergence(mix, _total(magnitudes, rest), weight)
    steps = _Steps(plan.steps, go_on)
    if guide is None:
        plan, guide = replace(plan, guided_steps=0), np.zeros_like(magnitudes)
    task = SearchTask(mix, weight, guide, plan)
    if plan.method == "finite-difference":
        latents = _spsa(priors, latents, task, seed, pool, steps, rest)
    elif all(prior.got == "cuda" for prior in priors) and not plan.exact and rest is None:
        latents = descend_on_device(priors, latents, magnitudes, task, steps)
    else:
        latents = _adam(priors, latents, magnitudes, task, pool, steps, rest)
    if steps.taken:
        magnitudes = _invert(priors, latents, pool)
    last = divergence(mix, _total(magnitudes, rest), weight)
    if rest is not None:
        magnitudes = np.concatenate([magnitudes, rest.magnitudes[None]])
    return SearchResult(magnitudes, first, last, steps.taken)


class _Steps:
    """Counts steps until all are taken or the caller says stop."""

    def __init__(self, planned: int, go_on: Callable[[], bool]) -> None:
        self._planned, self._go_on, self.taken = planned, go_on, 0

    def __iter__(self) -> Iterator[int]:
        while self.taken < self._planned and self._go_on():
            yield self.taken
            self.taken += 1


def _start_latents(
    priors: Sequence[Prior], mix: Float, start: Float | None, pool: Executor
) -> list[Float]:
    if start is not None:
        return list(pool.map(lambda prior, m: prior.forward(m)[0], priors, start))
    batch, frames, bands = mix.shape
    return [np.zeros((batch, frames // 2, 2 * bands), np.float32) for _ in priors]


def _invert(priors: Sequence[Prior], latents: Sequence[Float], pool: Executor) -> Float:
    return np.stack(list(pool.map(lambda prior, z: prior.inverse(z), priors, latents)))


def _total(magnitudes: Float, rest: RestSpectra | None) -> Float:
    """What all priors (priors, ...) and the rest play together."""
    known: Float = magnitudes.sum(axis=0)
    return known if rest is None else known + rest.magnitudes


def _adam(
    priors: Sequence[Prior],
    latents: list[Float],
    magnitudes: Float,
    task: SearchTask,
    pool: Executor,
    steps: Iterable[int],
    rest: RestSpectra | None,
) -> list[Float]:
    """Descend with the exported gradient.

    The others' magnitudes are one step old unless `plan.exact`: then each step begins with
    an inverse pass of all priors, as the paper's joint gradient does, for a third more work.
    """
    plan = task.plan
    optimisers = [Adam(z.shape, plan.learning_rate) for z in latents]

    def move(index: int, step: int) -> tuple[Float, Float]:
        other_magnitudes = total - magnitudes[index]
        _, own, gradient = priors[index].gradient(
            latents[index],
            task.mix,
            other_magnitudes,
            task.guide[index],
            task.weight,
            prior_weight=plan.prior_weight,
            guide_weight=plan.guidance(step),
        )
        return own, latents[index] + optimisers[index].move(gradient)

    for step in steps:
        if plan.exact:
            magnitudes = _invert(priors, latents, pool)
        total = _total(magnitudes, rest)
        results = list(pool.map(move, range(len(priors)), repeat(step)))
        magnitudes = np.stack([own for own, _ in results])
        latents = [moved for _, moved in results]
        if rest is not None:
            rest.fit(magnitudes.sum(axis=0))
    return latents


# Spall's standard exponents for gain sequences (IEEE TAC 1998)
_GAIN_DECAY, _PROBE_DECAY = 0.602, 0.101
_PROBE = 0.05


def _spsa(
    priors: Sequence[Prior],
    latents: list[Float],
    task: SearchTask,
    seed: int,
    pool: Executor,
    steps: Iterable[int],
    rest: RestSpectra | None,
) -> list[Float]:
    """Descend without a gradient graph: simultaneous perturbation (Spall, IEEE TAC 1992).

    Two inverse passes give the slope along one random direction of all latents. With 10^4
    latents a second of audio it creeps: usable for tiny priors and as a check, no more.
    """
    rng, plan, weight = np.random.default_rng([seed, 7]), task.plan, task.weight
    optimisers = [Adam(z.shape, plan.learning_rate) for z in latents]

    def objective(candidate: Sequence[Float], step: int) -> Float:
        magnitudes = _invert(priors, candidate, pool)
        point = _points(task.mix, _total(magnitudes, rest))
        if guidance := plan.guidance(step):
            point += guidance * _points(task.guide, magnitudes).sum(axis=0)
        rec = (point * weight).sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1.0)
        reg = np.sum([0.5 * (z * z).mean(axis=(1, 2)) for z in candidate], axis=0)
        return np.asarray(rec + plan.prior_weight * reg, np.float32)

    for step in steps:
        reach = np.float32(_PROBE / (step + 1) ** _PROBE_DECAY)
        gain = np.float32(1 / (1 + step / 100) ** _GAIN_DECAY)
        signs = [rng.choice(np.array([-1, 1], np.float32), size=z.shape) for z in latents]
        probes = [np.asarray(reach * d, np.float32) for d in signs]
        up = objective([z + p for z, p in zip(latents, probes, strict=True)], step)
        down = objective([z - p for z, p in zip(latents, probes, strict=True)], step)
        slope = ((up - down) / (2 * reach))[:, None, None]
        latents = [
            np.asarray(z + gain * optimiser.move(slope * d), np.float32)
            for z, d, optimiser in zip(latents, signs, optimisers, strict=True)
        ]
        if rest is not None:
            rest.fit(_invert(priors, latents, pool).sum(axis=0))
    return latents
