"""Two factorisations that are told the pitches and learn nothing beforehand.

`harmonic_templates`: every voice sounds through one template per tenth of a semitone, zero away
from its harmonics (after Ewert & Mueller, ICASSP 2012). `source_filter`: every voice is a comb of
harmonics at its pitch through a mixture of smooth filters (after Durrieu, Richard, David &
Fevotte, IEEE TASLP 18(3), 2010). Both return the voices' parts of the mix's power, up to a
factor; masks are made of them as of any other model's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine import Excitation, PitchTracks, VoiceBins

Float = NDArray[np.float32]

RATE = 16000
ITERATIONS = 15  # more are worse on the validation split
STEPS_PER_OCTAVE = 120
HALF_WIDTH_HZ = 24.0  # of a harmonic's place in a template: the main lobe and a little vibrato
ATOMS, SHAPES = 30, 12  # smooth bands, and filters made of them
_LEAST = 1e-9


def harmonic_templates(mix: Float, tracks: PitchTracks, times: NDArray[np.float64]) -> Float:
    """Magnitudes of the mix (frames, bins) -> powers of the voices (voices, frames, bins).

    Kullback-Leibler divergence on magnitudes, as the method's authors use it.
    """
    hertz = tracks.at(times)
    bins = np.linspace(0, RATE / 2, mix.shape[1])
    voices = [_Templates(track, bins) for track in hertz]
    for _ in range(ITERATIONS):
        for own in voices:
            own.update_gains(mix / _total(voices))
        for own in voices:
            own.update_templates(mix / _total(voices))
    return np.stack([one.model() for one in voices]).astype(np.float32) ** 2


class _Templates:
    """One voice: a template for every pitch it sings, a gain for every frame."""

    def __init__(self, hertz: Float, bins: NDArray[np.float64]) -> None:
        sung = hertz > 0
        place = np.round(STEPS_PER_OCTAVE * np.log2(np.where(sung, hertz, 55) / 55)).astype(int)
        used, self.which = np.unique(place, return_inverse=True)
        self.templates = np.stack([_comb(55 * 2 ** (p / STEPS_PER_OCTAVE), bins) for p in used])
        self.gains = sung.astype(np.float64)

    def model(self) -> NDArray[np.float64]:
        return np.asarray(self.gains[:, None] * self.templates[self.which])

    def update_gains(self, ratio: NDArray[np.float64]) -> None:
        chosen = self.templates[self.which]
        self.gains *= (chosen * ratio).sum(axis=1) / (chosen.sum(axis=1) + _LEAST)

    def update_templates(self, ratio: NDArray[np.float64]) -> None:
        up, down = np.zeros_like(self.templates), np.zeros(len(self.templates))
        np.add.at(up, self.which, self.gains[:, None] * ratio)
        np.add.at(down, self.which, self.gains)
        self.templates *= up / (down[:, None] + _LEAST)


def _total(voices: Sequence[_Templates]) -> NDArray[np.float64]:
    """What all voices play together, never zero: (frames, bins)."""
    return np.asarray(sum(voice.model() for voice in voices) + _LEAST)


def _comb(hertz: float, bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equal lobes around all harmonics that fall by 6 dB per octave."""
    number = np.maximum(np.round(bins / hertz), 1)
    away = np.abs(bins - number * hertz) / HALF_WIDTH_HZ
    return np.asarray(np.where(away < 1, 0.5 + 0.5 * np.cos(np.pi * away), 0) / number)


def source_filter(mix: Float, tracks: PitchTracks, n_fft: int, hop: int) -> Float:
    """As `harmonic_templates`, from |STFT| whose frame t is centred on sample (t - 1) * hop.

    Itakura-Saito divergence on powers. Smooth bands make SHAPES filters that all voices share;
    every voice mixes them anew in every frame.
    """
    frames, width = mix.shape
    power = mix.astype(np.float64) ** 2 + _LEAST
    bins = VoiceBins(n_fft, RATE)
    driving = Excitation(tracks, frames * hop / RATE)
    waves = driving.waveform(-hop - n_fft // 2, (frames - 1) * hop + n_fft, RATE)
    pieces = np.lib.stride_tricks.sliding_window_view(waves, n_fft, axis=-1)[:, ::hop]
    combs = np.abs(np.fft.rfft(pieces * bins.window, axis=-1)) ** 2 * bins.roll_off**2
    rng = np.random.default_rng(0)
    bands = _smooth_bands(width)
    shapes = rng.uniform(0.5, 1.5, (SHAPES, ATOMS))
    gains = rng.uniform(0.5, 1.5, (len(combs), frames, SHAPES)) * power.mean()

    def filters() -> NDArray[np.float64]:
        return np.asarray(gains @ (shapes @ bands))

    for _ in range(ITERATIONS):
        for update in ("gains", "shapes"):
            total = (combs * filters()).sum(axis=0) + _LEAST
            up, down = combs * (power / total**2), combs / total
            if update == "gains":
                filter_bands = (shapes @ bands).T
                gains *= (up @ filter_bands) / (down @ filter_bands + _LEAST)
            else:
                weigh = gains.reshape(-1, SHAPES).T
                above = weigh @ (up.reshape(-1, width) @ bands.T)
                below = weigh @ (down.reshape(-1, width) @ bands.T)
                shapes *= above / (below + _LEAST)
    return np.asarray(combs * filters(), np.float32)


def _smooth_bands(width: int) -> NDArray[np.float64]:
    """Overlapping Hann bumps over all bins, (ATOMS, bins)."""
    centres = np.linspace(0, width - 1, ATOMS)
    away = np.abs(np.arange(width) - centres[:, None]) / (2 * centres[1])
    return np.asarray(np.where(away < 1, 0.5 + 0.5 * np.cos(np.pi * away), 0))
