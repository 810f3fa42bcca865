"""Separation with GAN priors, for the comparison of `bench/systems.py` alone: search the latents
of every generator until the sum of what they play resembles the mix, a second at a time, as in
Narayanaswamy et al. (Interspeech 2020).

The published program means to confine latents to a box and does not: what it clips is never
assigned back. Here they are projected after every step. Windows overlap by half and are added with
a fade, and each is scaled to a peak of one, as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np
import soxr
from numpy.typing import NDArray

from ..model.gan_prior import GanPrior
from .search import Adam, SearchResult

Float = NDArray[np.float32]

STEPS, LEARNING_RATE = 1000, 0.05  # as published
BATCH = 16  # windows searched together
_SILENCE = 1e-5  # peak up to which a window needs no search


def search_gan(
    priors: Sequence[GanPrior],
    mix: Float,
    steps: int,
    learning_rate: float,
    pool: Executor,
    go_on: Callable[[], bool] = lambda: True,
) -> SearchResult:
    """Search the latents that explain `mix` (batch, samples) from zero on.

    Returns waveforms (priors, batch, samples) in the place of magnitudes. Every prior's step
    sees the others as they were after the last one, so the result does not depend on the pool.
    """
    latents = [np.zeros((len(mix), p.card.latent), np.float32) for p in priors]
    optimisers = [Adam(z.shape, learning_rate) for z in latents]
    played = np.stack(list(pool.map(lambda p, z: p.inverse(z), priors, latents)))
    silence = np.zeros((len(mix), 1, mix.shape[1]), np.float32)
    losses: list[float] = []

    def move(index: int) -> tuple[Float, Float, Float]:
        other_waveforms = np.delete(played, index, axis=0).swapaxes(0, 1)
        rivals = np.ascontiguousarray(other_waveforms) if len(priors) > 1 else silence
        loss, own, slope = priors[index].gradient(latents[index], mix, rivals)
        moved = priors[index].within(latents[index] + optimisers[index].move(slope))
        return loss, own, moved

    while len(losses) < steps and go_on():
        found = list(pool.map(move, range(len(priors))))
        losses.append(float(np.mean([loss.mean() for loss, _, _ in found])))
        latents = [moved for _, _, moved in found]
        played = np.stack(list(pool.map(lambda p, z: p.inverse(z), priors, latents)))
    first, last = (losses[0], losses[-1]) if losses else (np.inf, np.inf)
    return SearchResult(played, first, last, len(losses))


def separate_with_gans(
    priors: Sequence[GanPrior],
    audio: Float,
    sample_rate: int,
    pool: Executor,
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
) -> Float:
    """Stems of a recording (samples,): (priors, samples) at its own rate.

    They are what the generators play, at most up to half their rate; nothing makes them add up
    to the mix.
    """
    card = priors[0].card
    mix = soxr.resample(audio, sample_rate, card.sample_rate).astype(np.float32)
    size, hop = card.samples, card.samples // 2
    count = -(-(mix.size + hop) // hop)
    padded = np.zeros((count + 1) * hop, np.float32)
    padded[hop : hop + mix.size] = mix
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    fade = np.hanning(size + 1)[:-1].astype(np.float32)  # halves that overlap sum to one
    out = np.zeros((len(priors), padded.size), np.float32)
    peaks = np.abs(windows).max(axis=1)
    heard = np.flatnonzero(peaks > _SILENCE)
    for first in range(0, heard.size, BATCH):
        rows = heard[first : first + BATCH]
        scaled = windows[rows] / peaks[rows, None]
        found = search_gan(priors, scaled, steps, learning_rate, pool).magnitudes
        for row, played in zip(rows, found.swapaxes(0, 1), strict=True):
            out[:, row * hop : row * hop + size] += played * fade * peaks[row]
    stems = out[:, hop : hop + mix.size]
    back = soxr.resample(stems.T, card.sample_rate, sample_rate).T
    whole = np.zeros((len(priors), audio.size), np.float32)
    kept = min(back.shape[1], audio.size)
    whole[:, :kept] = back[:, :kept]
    return whole
