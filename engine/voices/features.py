"""What a voice network is told: the mix in mel bands, and the mix at the harmonics of each pitch.

Used in training as well as at work, so that the two cannot drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .pitches import PitchTracks
from .synthesis import FRAME_SECONDS, VOICE_HOP, VOICE_RATE, Excitation, VoiceBins

Float = NDArray[np.float32]

MEL_BINS = VoiceBins(512, VOICE_RATE)
FINE_BINS = VoiceBins(2048, VOICE_RATE)
_QUIETEST = 1e-4  # magnitudes below -80 dB of the mix's level tell nothing
SILENCE = 1e-7
_LOWEST_SHARE = 1e-3


@dataclass(frozen=True)
class VoiceFeatures:
    """The input of a network for one stretch of a mix.

    mel -- (frames, mels), logarithms of band magnitudes
    pitch -- (voices, frames), MIDI pitch / 127; 0 where a voice rests
    harmonics -- (voices, frames, 2 * harmonics): logarithm of the mix's magnitude at each
        harmonic, then of the voice's share there if all voices were equally strong
    level -- what the mix was divided by
    """

    mel: Float
    pitch: Float
    harmonics: Float
    level: float


def frames_of(samples: int) -> int:
    """Frames of a stretch of `samples` samples at VOICE_RATE."""
    return samples // VOICE_HOP + 1


def mix_level(mix: Float) -> float:
    """RMS of what is within 30 dB of the loudest tenth of a second; 0 for silence."""
    length = VOICE_RATE // 10
    blocks = np.pad(mix, (0, -len(mix) % length)).reshape(-1, length).astype(np.float64)
    power = (blocks**2).mean(axis=1)
    return float(np.sqrt(power[power >= 1e-3 * power.max()].mean()))


def voice_features(
    mix: Float,
    hertz: Float,
    excitation: Float,
    mels: int,
    harmonics: int,
    level: float | None = None,
    fine: tuple[Float, Float] | None = None,
) -> VoiceFeatures:
    """Features of a mono mix (samples,) at VOICE_RATE, with pitches (voices, frames) in Hz and the
    excitation (voices, samples) that belongs to them.

    `fine` are the magnitudes of the scaled mix and of the excitation in FINE_BINS, where they are
    known already.
    """
    level = mix_level(mix) if level is None else level
    scaled = mix / np.float32(max(level, SILENCE))
    mel = np.log(MEL_BINS.magnitudes(scaled, VOICE_HOP) @ mel_weights(mels) + _QUIETEST)
    pitch = np.where(hertz > 0, (69 + 12 * np.log2(np.maximum(hertz, 1) / 440)) / 127, 0)
    at_harmonics = np.zeros((*hertz.shape, 2 * harmonics), np.float32)
    if harmonics:
        if fine is None:
            own, driven = (FINE_BINS.magnitudes(one, VOICE_HOP) for one in (scaled, excitation))
            fine = own, driven
        at_harmonics = _at_harmonics(*fine, hertz, harmonics)
    return VoiceFeatures(
        mel.astype(np.float32), pitch.astype(np.float32), at_harmonics, float(level)
    )


def _at_harmonics(mix: Float, driven: Float, hertz: Float, count: int) -> Float:
    """The mix (frames, bins) and each voice's share (voices, frames, bins) at its harmonics."""
    spacing = VOICE_RATE / FINE_BINS.n_fft
    place = hertz[..., None] * np.arange(1, count + 1, dtype=np.float32) / spacing
    there = (place > 0) & (place < FINE_BINS.n_fft // 2)
    nearest = np.where(there, np.round(place), 0).astype(np.intp)
    frames = np.arange(hertz.shape[1])[:, None]
    found = np.log(mix[frames, nearest] + _QUIETEST)
    power = driven**2
    share = power / (power.sum(axis=0) + _QUIETEST**2)
    voices = np.arange(len(hertz))[:, None, None]
    shares = np.log(share[voices, frames, nearest] + _LOWEST_SHARE)
    lowest = np.log(_QUIETEST), np.log(_LOWEST_SHARE)
    parts = [
        np.where(there, values, low) for values, low in zip((found, shares), lowest, strict=True)
    ]
    return np.concatenate(parts, axis=-1).astype(np.float32)


@lru_cache
def mel_weights(mels: int) -> Float:
    """Triangles on the mel scale (O'Shaughnessy), (bins, mels), each with a sum of 1."""

    def mel(hertz: NDArray[np.floating] | float) -> NDArray[np.float64]:
        return np.asarray(1127 * np.log1p(np.asarray(hertz, np.float64) / 700))

    place = mel(MEL_BINS.hertz)
    edges = np.linspace(mel(40.0), mel(VOICE_RATE / 2), mels + 2)
    rise = (place[:, None] - edges[:-2]) / np.diff(edges[:-1])
    fall = (edges[2:] - place[:, None]) / np.diff(edges[1:])
    weights = np.maximum(np.minimum(rise, fall), 0)
    narrow = weights.sum(axis=0) < 0.5  # a band between two bins takes the nearest
    nearest = np.abs(place[:, None] - edges[1:-1]).argmin(axis=0)
    weights[nearest[narrow], np.flatnonzero(narrow)] = 1
    return np.asarray(weights / weights.sum(axis=0), np.float32)


def stretch(
    mix: Float, tracks: PitchTracks, driving: Excitation, first: int, frames: int
) -> tuple[Float, Float, Float]:
    """Mix, pitches and excitation of `frames` frames from frame `first` on.

    Returns (samples,), (voices, frames), (voices, samples), where samples = (frames - 1) *
    VOICE_HOP; silence stands behind the end of the mix.
    """
    samples = (frames - 1) * VOICE_HOP
    cut = mix[first * VOICE_HOP : first * VOICE_HOP + samples]
    hertz = tracks.at((first + np.arange(frames)) * FRAME_SECONDS)
    cut = np.pad(cut, (0, samples - len(cut)))
    return cut, hertz, driving.waveform(first * VOICE_HOP, samples, VOICE_RATE)
