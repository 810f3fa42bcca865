"""Supervised KL-NMF: a dictionary per stem from isolated recordings, activations from the mix.

The baseline of Lee & Seung's multiplicative updates on the same band magnitudes as the priors,
so that the comparison is one of models and not of transforms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine import FrontEnd

Float = NDArray[np.float32]

ATOMS = 64
ITERATIONS = 100
RECORDINGS = 24  # per stem, evenly over the folder
EXCERPT_S = 10.0
_LEAST = np.float32(1e-7)


def activations(X: Float, W: Float, seed: int = 0) -> Float:
    """Non-negative H (atoms, frames) for which W @ H explains X (bands, frames), W fixed."""
    H = _start((W.shape[1], X.shape[1]), seed)
    down = W.sum(axis=0)[:, None] + _LEAST
    for _ in range(ITERATIONS):
        H *= (W.T @ (X / (W @ H + _LEAST))) / down
    return H


def dictionary(X: Float, atoms: int = ATOMS, seed: int = 0) -> Float:
    """W (bands, atoms), columns of sum 1, learned from magnitudes X (bands, frames)."""
    W, H = _start((X.shape[0], atoms), seed), _start((atoms, X.shape[1]), seed + 1)
    for _ in range(ITERATIONS):
        W /= W.sum(axis=0) + _LEAST
        H *= (W.T @ (X / (W @ H + _LEAST))) / (W.sum(axis=0)[:, None] + _LEAST)
        W *= ((X / (W @ H + _LEAST)) @ H.T) / (H.sum(axis=1) + _LEAST)
    return np.asarray(W / (W.sum(axis=0) + _LEAST), np.float32)


def masks(X: Float, templates: Sequence[Float]) -> Float:
    """Ratio masks (stems, bands, frames) that sum to one."""
    H = np.split(activations(X, np.concatenate(templates, axis=1)), len(templates))
    parts = np.stack([W @ h + _LEAST for W, h in zip(templates, H, strict=True)])
    return np.asarray(parts / parts.sum(axis=0), np.float32)


def learn(files: Mapping[str, Sequence[Path]], front_end: FrontEnd) -> dict[str, Float]:
    """A dictionary per stem from excerpts of its recordings, levels made equal."""
    return {
        stem: dictionary(np.concatenate([_excerpt(f, front_end) for f in _spread(paths)], axis=1))
        for stem, paths in files.items()
    }


def _spread(paths: Sequence[Path]) -> list[Path]:
    step = max(len(paths) / RECORDINGS, 1)
    return [paths[int(i * step)] for i in range(min(len(paths), RECORDINGS))]


def _excerpt(file: Path, front_end: FrontEnd) -> Float:
    """Magnitudes (bands, frames) from the middle of a recording, brought to RMS 1."""
    with soundfile.SoundFile(file) as audio:
        frames = min(audio.frames, round(EXCERPT_S * audio.samplerate))
        audio.seek((audio.frames - frames) // 2)
        mono = audio.read(frames, dtype="float32", always_2d=True).mean(axis=1)
        rate = audio.samplerate
    mono /= max(float(np.sqrt((mono**2).mean())), 1e-4)
    return np.ascontiguousarray(front_end.magnitudes(mono[None], rate).T)


def _start(shape: tuple[int, int], seed: int) -> Float:
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)
