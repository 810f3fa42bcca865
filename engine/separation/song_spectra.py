"""Masks that agree with the song's own spectra.

A bar comes back, a snare is hit a hundred times, and each time an estimate errs a little
differently. So each stem's share of a window is summed up in a few spectra by KL-NMF (Lee & Seung,
NIPS 2000: multiplicative updates), and then the spectra of all stems together are fitted to the
mix for a few steps: what a stem repeats it claims back from the others. No recording is needed and
nothing is trained; it starts from the masks and must stop early, for any split explains the mix in
the end. How many spectra a stem has nobody knows, so several numbers are tried and averaged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

ATOMS = (5, 6, 8, 12, 16)  # spectra per stem; each number is one trial
OWN_UPDATES = 40  # of each stem's spectra, to its share
JOINT_UPDATES = 15  # of all of them, to the mix
COMPRESSION = 0.4  # of magnitudes: quiet partials count, too
_LEAST = np.float32(1e-7)


def song_masks(masks: Float, mix: Float) -> Float:
    """Masks of one window anew, from few spectra per stem; they sum to one.

    Shape: masks (priors, frames, bands), mix (frames, bands); any level.
    """
    level = np.sqrt(np.mean(np.square(mix, dtype=np.float64))) + 1e-12
    whole = (mix / np.float32(level)) ** np.float32(COMPRESSION) + _LEAST
    shares = whole * masks ** np.float32(COMPRESSION) + _LEAST
    trials = [_from_spectra(shares, whole, atoms) for atoms in ATOMS]
    return np.asarray(np.mean(trials, axis=0), np.float32)


def _from_spectra(shares: Float, whole: Float, atoms: int) -> Float:
    """Masks of `atoms` spectra per stem; shares (priors, frames, bands) and their sum's stand-in,
    the whole mix (frames, bands), are compressed."""
    stems, frames, bands = shares.shape
    rng = np.random.default_rng(atoms)
    spectra = (rng.random((stems, atoms, bands), np.float32) + np.float32(0.1)) * shares.mean()
    gains = rng.random((stems, frames, atoms), np.float32) + np.float32(0.1)
    for _ in range(OWN_UPDATES):
        _update(shares, spectra, gains)
    # one factorisation whose atoms stand stem by stem
    every_gain = np.ascontiguousarray(gains.transpose(1, 0, 2)).reshape(frames, -1)
    every_spectrum = spectra.reshape(-1, bands)
    for _ in range(JOINT_UPDATES):
        _update(whole, every_spectrum, every_gain)
    gains = every_gain.reshape(frames, stems, atoms).transpose(1, 0, 2)
    played = gains @ every_spectrum.reshape(stems, atoms, bands) + _LEAST
    played **= np.float32(1 / COMPRESSION)
    return np.asarray(played / played.sum(axis=0), np.float32)


def _update(target: Float, spectra: Float, gains: Float) -> None:
    """One multiplicative update of gains, then spectra, in place: target ~ gains @ spectra."""
    missing = np.empty_like(target)  # one array for all that has its shape: it stays in the cache
    _leave_ratio(target, spectra, gains, missing)
    gains *= missing @ spectra.swapaxes(-1, -2) / (spectra.sum(axis=-1)[..., None, :] + _LEAST)
    _leave_ratio(target, spectra, gains, missing)
    spectra *= gains.swapaxes(-1, -2) @ missing / (gains.sum(axis=-2)[..., :, None] + _LEAST)


def _leave_ratio(target: Float, spectra: Float, gains: Float, ratio: Float) -> None:
    """Leave the ratio of the target to what gains and spectra make of it."""
    np.matmul(gains, spectra, out=ratio)
    ratio += _LEAST
    np.divide(target, ratio, out=ratio)
