"""Other instruments without recordings of them: what the installed priors play themselves.

A flow is a generative model: latents drawn from its Gaussian and decoded are new excerpts of its
instrument. They stand in for recordings of other instruments wherever a training needs some, in
the contrastive term's leaks and in a head's random mixes. They are rougher than recordings,
which are preferred where there are any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import Device, FrontEndCard, Prior, Source, find_prior, list_priors, read_bundle

from .corpus import Clip, Corpus

Float = NDArray[np.float32]

POOL = 128  # excerpts per prior
FRAMES = 128  # as long as training's excerpts
TEMPERATURE = 1.0  # the whole density: stand-ins should vary as recordings do
_BATCH = 16
_LEAST = 1e-6


def installed_priors(stem: str, front_end: FrontEndCard) -> dict[str, Prior]:
    """Every installed prior by name that sees this spectrogram, without those of `stem` itself."""
    views = {name: read_bundle(path)[0] for name, path in list_priors().items()}
    return {
        name: Prior(find_prior(name), Device("cpu"))
        for name, card in views.items()
        if card.front_end == front_end and card.stem != stem and not card.labels
    }


def sampled_corpora(
    priors: Mapping[str, Prior], seed: int, cache: Path | None = None
) -> dict[str, Corpus]:
    """A corpus of POOL drawn excerpts per prior, for `Interference` and `RandomMixes`."""
    return {name: sampled_corpus(name, prior, seed, cache) for name, prior in priors.items()}


def sampled_corpus(name: str, prior: Prior, seed: int, cache: Path | None = None) -> Corpus:
    """Excerpts that a prior plays, at the level of recordings; kept in `cache` by its sha256."""
    stored = None if cache is None else cache / f"{prior.sha256[:16]}-{seed}.npy"
    if stored is not None and stored.exists():
        excerpts = np.load(stored, allow_pickle=False)
    else:
        excerpts = np.concatenate(list(_draw(prior, seed)))
        if stored is not None:
            stored.parent.mkdir(parents=True, exist_ok=True)
            aside = stored.with_suffix(".part.npy")
            np.save(aside, excerpts)
            aside.replace(stored)
    playing = np.ones(excerpts.shape[1], bool)
    frame_s = prior.card.front_end.hop / prior.card.front_end.sample_rate
    source = Source(
        name=f"samples of {name}",
        origin=f"drawn from the prior {prior.sha256[:16]}",
        licence=prior.card.licence,
        files=len(excerpts),
        minutes=round(excerpts.shape[0] * excerpts.shape[1] * frame_s / 60, 2),
    )
    clips = [
        Clip(f"{name} {n}", source.name, excerpt, playing, f"{prior.sha256} {seed} {n}")
        for n, excerpt in enumerate(excerpts)
    ]
    return Corpus(name, clips, [source], frame_s=frame_s)


def _draw(prior: Prior, seed: int) -> Iterator[NDArray[np.float16]]:
    """Batches of excerpts (batch, frames, bands) with a mean power of 1 per frame."""
    rng = np.random.default_rng([seed, 23])
    bands = len(prior.card.front_end.edges_hz) - 1
    for _ in range(0, POOL, _BATCH):
        latents = TEMPERATURE * rng.standard_normal((_BATCH, FRAMES // 2, 2 * bands))
        magnitudes = np.maximum(prior.inverse(latents.astype(np.float32)), 0)
        power = (magnitudes.astype(np.float64) ** 2).sum(axis=2).mean(axis=1)
        level = np.sqrt(np.maximum(power, _LEAST))[:, None, None]
        yield (magnitudes / level).astype(np.float16)
