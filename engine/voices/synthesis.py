"""The signal model of a voice: harmonics and noise through an all-pole filter, as magnitudes.

A voice is H(z) * [a * sum_k r(k f0) cos(k phi) + g * shaped noise]: harmonics of equal strength
with a fixed roll-off r of 6 dB per octave above 200 Hz, and noise, both through a filter H of
which the line spectral frequencies are known (Schulze-Forster et al., IEEE/ACM TASLP 31, 2023).
Filter and roll-off are smooth across a bin, so they are applied in the spectrum; harmonics and
their glides are synthesised as a waveform, so that vibrato smears them as it does a singer's.

Magnitudes are scaled so that a sinusoid of amplitude 1 has a peak of 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .pitches import PitchTracks

Float = NDArray[np.float32]

VOICE_RATE = 16000  # Hz; what networks hear
# Samples between frames of parameters; frame t stands at t * VOICE_HOP. The published network has
# 256; the windows of the masks are 2048 long and begin every 512.
VOICE_HOP = 512
FRAME_SECONDS = VOICE_HOP / VOICE_RATE
KNOT_SECONDS = 0.016  # between the pitches that harmonics glide along
GAIN_BANDS = 24  # by which a recording corrects a voice's spectrum
ROLL_OFF_HZ = 200.0
_NO_VOICE_HZ = 200.0  # phase of a voice that never sings
_LEAST = 1e-12


@dataclass(frozen=True)
class VoiceParameters:
    """What drives the synthesis, on frames FRAME_SECONDS apart.

    amplitude -- (voices, frames), of every harmonic before the roll-off
    noise_gain -- (voices, frames), standard deviation of the noise
    lsf -- (voices, frames, order), line spectral frequencies, ascending inside (0, pi)
    noise_shape -- (voices, frames, bands), gains of bands evenly spread from 0 to 8 kHz
    gains -- (voices, frames, bands), of the power of everything, in bands evenly spread over the
        mel scale; None where the recording has said nothing
    """

    amplitude: Float
    noise_gain: Float
    lsf: Float
    noise_shape: Float
    gains: Float | None = None

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return int(self.amplitude.shape[1])

    def at(self, times: NDArray[np.float64]) -> VoiceParameters:
        """Parameters between frames, at any times in seconds; held before and behind.

        Line spectral frequencies are mixed, which keeps their order and so the filter stable.
        """
        place = np.clip(times / FRAME_SECONDS, 0, self.frames - 1)
        low = np.floor(place).astype(np.intp)
        high = np.minimum(low + 1, self.frames - 1)
        share = (place - low).astype(np.float32)

        def between(values: Float) -> Float:
            weight = share.reshape(-1, *[1] * (values.ndim - 2))
            mixed = values[:, low] * (1 - weight) + values[:, high] * weight
            return np.asarray(mixed, np.float32)

        return VoiceParameters(
            amplitude=between(self.amplitude),
            noise_gain=between(self.noise_gain),
            lsf=between(self.lsf),
            noise_shape=between(self.noise_shape),
            gains=None if self.gains is None else between(self.gains),
        )


class Excitation:
    """The harmonics of every voice, all of amplitude 1, as waveforms at any sample rate.

    Pitch glides between frames, also through rests; a gate opens and closes within a knot.
    """

    def __init__(self, tracks: PitchTracks, seconds: float) -> None:
        knots = int(np.ceil(seconds / KNOT_SECONDS)) + 2
        hertz = tracks.at(np.arange(knots) * KNOT_SECONDS).astype(np.float64)
        self.gate = (hertz > 0).astype(np.float64)
        self.hertz = np.stack([_through_rests(one) for one in hertz])
        step = 0.5 * (self.hertz[:, 1:] + self.hertz[:, :-1]) * KNOT_SECONDS
        self.turns = np.pad(np.cumsum(step, axis=1), ((0, 0), (1, 0)))  # cycles at each knot

    def waveform(self, first: int, samples: int, rate: int) -> Float:
        """Samples first to first + samples at `rate`, (voices, samples); silent before 0."""
        seconds = (first + np.arange(samples)) / rate
        place = np.clip(seconds / KNOT_SECONDS, 0, self.hertz.shape[1] - 1.000001)
        low = place.astype(np.intp)
        share = place - low
        start, glide = self.hertz[:, low], self.hertz[:, low + 1] - self.hertz[:, low]
        turns = self.turns[:, low] + KNOT_SECONDS * share * (start + 0.5 * share * glide)
        count = np.floor(0.5 * rate / (start + share * glide))
        gate = self.gate[:, low] + share * (self.gate[:, low + 1] - self.gate[:, low])
        inside = (seconds >= 0) & (seconds <= (self.hertz.shape[1] - 1) * KNOT_SECONDS)
        return np.asarray(gate * inside * _harmonics(turns, count), np.float32)


def _harmonics(turns: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    """sum_{k=1}^{count} cos(2 pi k turns), in closed form (the kernel of Dirichlet)."""
    half = np.pi * (turns - np.round(turns))  # -pi/2 to pi/2
    below = np.sin(half)
    near = np.abs(below) < 1e-9
    kernel = np.sin((2 * count + 1) * half) / np.where(near, 1.0, below)
    return 0.5 * (np.where(near, 2 * count + 1, kernel) - 1)


def _through_rests(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """A track without gaps: straight lines through rests."""
    sung = np.flatnonzero(hertz > 0)
    if not sung.size:
        return np.full(len(hertz), _NO_VOICE_HZ)
    return np.interp(np.arange(len(hertz)), sung, hertz[sung])


@dataclass(frozen=True)
class VoiceBins:
    """The bins of a Hann window of `n_fft` samples at `rate`, and what voices do in them.

    Above 8 kHz, where no network has heard anything, filter and noise keep the value that they
    have there, and the roll-off goes on falling: the harmonics decide who sounds.
    """

    n_fft: int
    rate: int

    @cached_property
    def hertz(self) -> Float:
        """Shape (bins,)."""
        return np.fft.rfftfreq(self.n_fft, 1 / self.rate).astype(np.float32)

    @cached_property
    def _known_hertz(self) -> Float:
        return np.minimum(self.hertz, np.float32(VOICE_RATE / 2))

    @cached_property
    def window(self) -> Float:
        """Periodic Hann window, scaled so that a sinusoid's peak is its amplitude."""
        hann = 0.5 - 0.5 * np.cos(np.arange(self.n_fft) * (2 * np.pi / self.n_fft))
        return np.asarray(hann * 4 / self.n_fft, np.float32)

    @cached_property
    def cosines(self) -> NDArray[np.float64]:
        """cos(omega) of every bin on the scale of VOICE_RATE, (bins,)."""
        return np.cos(self._known_hertz.astype(np.float64) * (2 * np.pi / VOICE_RATE))

    @cached_property
    def roll_off(self) -> Float:
        """Gain of harmonics, (bins,)."""
        return np.asarray(np.minimum(1, ROLL_OFF_HZ / np.maximum(self.hertz, 1)), np.float32)

    @property
    def noise_level(self) -> float:
        """Root of the mean square of a bin for white noise of deviation 1."""
        return float(np.sqrt((self.window.astype(np.float64) ** 2).sum()))

    def noise_bands(self, bands: int) -> Float:
        """Weights (bands, bins) that draw straight lines through the gains of bands."""
        place = self._known_hertz * ((bands - 1) / (VOICE_RATE / 2))
        distance = np.abs(np.arange(bands, dtype=np.float32)[:, None] - place)
        return np.asarray(np.maximum(1 - distance, 0), np.float32)

    def gain_bands(self, bands: int) -> Float:
        """Weights (bands, bins) that draw straight lines between gains over the mel scale."""
        place = np.log1p(self._known_hertz / 700) / np.log1p(VOICE_RATE / 2 / 700) * (bands - 1)
        distance = np.abs(np.arange(bands)[:, None] - place)
        return np.asarray(np.maximum(1 - distance, 0), np.float32)

    def magnitudes(self, audio: Float, hop: int) -> Float:
        """|STFT| of audio (..., samples), frame t centred on sample t * hop: (..., frames, bins)
        with samples // hop + 1 frames."""
        half = self.n_fft // 2
        padded = np.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(half, half)])
        pieces = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft, axis=-1)
        pieces = pieces[..., : audio.shape[-1] // hop * hop + 1 : hop, :]
        spectrum = np.fft.rfft(pieces * self.window, axis=-1)
        return np.abs(spectrum).astype(np.float32, copy=False)


def filter_power(lsf: NDArray[np.floating], cosines: NDArray[np.floating]) -> NDArray[np.float64]:
    """|H|^2 of all-pole filters from their line spectral frequencies.

    Shape: (..., order), order even, and (bins,) -> (..., bins). With P and Q the symmetric and
    the antisymmetric polynomial, whose roots lie on the unit circle at the LSFs in turn,
    |A|^2 = (|P|^2 + |Q|^2) / 4 (Soong & Juang, ICASSP 1984).
    """
    place = 2 * np.cos(lsf.astype(np.float64))  # neighbours differ by little near 0 and pi
    twice = 2 * cosines.astype(np.float64)
    P, Q = np.ones((2, *lsf.shape[:-1], len(cosines)))
    for index in range(0, lsf.shape[-1], 2):
        P *= twice - place[..., index, None]
        Q *= twice - place[..., index + 1, None]
    power = (0.5 + 0.25 * twice) * P**2 + (0.5 - 0.25 * twice) * Q**2
    return np.asarray(1 / (power + _LEAST), np.float64)


def voice_magnitudes(parameters: VoiceParameters, excitation: Float, bins: VoiceBins) -> Float:
    """Magnitudes of every voice, (voices, frames, bins), from those of its excitation.

    Harmonics and noise are not in step, so their powers are added.
    """
    p = parameters
    harmonic = p.amplitude[..., None] * excitation * bins.roll_off
    shape = p.noise_shape @ bins.noise_bands(p.noise_shape.shape[-1])
    noise = (p.noise_gain * np.float32(bins.noise_level))[..., None] * shape
    power = filter_power(p.lsf, bins.cosines) * (harmonic**2 + noise**2)
    if p.gains is not None:
        power *= p.gains @ bins.gain_bands(p.gains.shape[-1])
    return np.asarray(np.sqrt(power), np.float32)
