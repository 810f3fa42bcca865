"""Samples from a prior as audio: latents drawn, magnitudes decoded, phases by Griffin-Lim.

A look at a prior by ear. What it draws has no phase and, in the wider bands, no fine structure,
so it sounds rough even where the prior is right.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from presets import StemwrightError

from ..model.prior import Prior
from ..model.spectrogram import FrontEnd, Stft

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]

ITERATIONS = 60
MOMENTUM = 0.99  # fast Griffin-Lim (Perraudin, Balazs & Søndergaard, WASPAA 2013)
PEAK = 0.5


def sample_audio(prior: Prior, seconds: float, temperature: float, seed: int) -> tuple[Float, int]:
    """Draw a recording: (1, samples) with a peak of PEAK, and its sample rate.

    `temperature` scales the latents: 0 is the mode, 1 the whole density, less is tamer.
    """
    front_end = prior.card.front_end.front_end()
    rate = front_end.sample_rate
    stft = front_end.stft(rate)
    frames = stft.frames(max(round(seconds * rate), 1)) // 2 * 2 + 2
    rng = np.random.default_rng([seed, 19])
    shape = (1, frames // 2, 2 * front_end.plan.bands)
    latents = np.asarray(temperature * rng.standard_normal(shape), np.float32)
    magnitudes = np.maximum(prior.inverse(latents)[0], 0)
    audio = griffin_lim(spread(magnitudes, front_end, rate), stft, rng)
    audio = audio[:, : round(seconds * rate)]
    return np.asarray(audio * (PEAK / max(float(np.abs(audio).max()), 1e-9)), np.float32), rate


def write_sample(prior: Prior, path: Path, seconds: float, temperature: float, seed: int) -> None:
    """The same as a 16-bit file."""
    container = path.suffix[1:].upper()
    if container not in ("WAV", "FLAC"):
        raise StemwrightError(
            "sample-format", f"{path}: expected a name that ends in .wav or .flac."
        )
    audio, rate = sample_audio(prior, seconds, temperature, seed)
    with path.open("wb") as file:  # libsndfile does not say why it cannot
        soundfile.write(file, audio.T, rate, format=container, subtype="PCM_16")


def spread(magnitudes: Float, front_end: FrontEnd, rate: int) -> Float:
    """Band magnitudes (frames, bands) to bins (frames, bins), each band's power evenly; the
    inverse of `FrontEnd.band_magnitudes` up to what the bands forget."""
    stft, band = front_end.stft(rate), front_end.band_of_bin(rate)
    inside = np.arange(stft.bins) * (rate / stft.n_fft) < front_end.plan.edges_hz[-1]
    width = np.bincount(band[inside], minlength=front_end.plan.bands)
    share = stft.window.sum() / np.sqrt(np.maximum(width, 1))
    return np.asarray((magnitudes * share)[:, band] * inside, np.float32)


def griffin_lim(magnitudes: Float, stft: Stft, rng: np.random.Generator) -> Float:
    """Audio (1, samples) whose STFT has nearly these magnitudes (frames, bins)."""
    samples = (len(magnitudes) - 3) * stft.hop + 1
    phase = np.exp(2j * np.pi * rng.random(magnitudes.shape))
    guess = np.asarray(magnitudes * phase, np.complex64)[None]
    before = np.zeros_like(guess)
    for _ in range(ITERATIONS):
        consistent = stft.forward(stft.inverse(guess, samples))
        moved = consistent + np.complex64(MOMENTUM) * (consistent - before)
        guess = np.asarray(magnitudes * moved / np.maximum(np.abs(moved), 1e-9), np.complex64)
        before = consistent
    return stft.inverse(guess, samples)
