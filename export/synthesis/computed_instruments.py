"""Instruments without samples: strings, synthesizers and amplifiers of random build.

SoundFonts hold a few instruments each; songs are played on others. Here every song gets an
instrument of its own: a string's partials, decay and stiffness, a synthesizer's filter and
envelopes, an amplifier's overdrive and loudspeaker are drawn at random, so that no two songs share
a timbre.

All audio is mono, 44.1 kHz, float64 (samples,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .midi import Score

Float64Audio = NDArray[np.float64]

SAMPLE_RATE_HZ = 44_100
TAIL_S = 1.0
LONGEST_NOTE_S = 6.0
HIGHEST_HZ = 16_000.0  # partials above are left out
_FAINT = 2e-3  # partials below this share of the first are, too
_LEAST = 1e-9


class Voice(Protocol):
    """One instrument as it is built; `note` plays it."""

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        """Play one note, with its release; velocity is within 0 and 1."""


@dataclass(frozen=True)
class String:
    """A plucked or struck string as a sum of partials.

    Their strengths follow the place of the pluck and a slope, their frequencies the stiffness
    (f_k = k f sqrt(1 + B k^2)), and high ones die away sooner.
    """

    place: float
    slope: float
    stiffness: float
    decay_s: float  # of the first partial, by 60 dB
    damping: float
    release_s: float
    partials: int
    vibrato: float
    noise: float  # of the finger or the plectrum
    attack_s: float

    @classmethod
    def random(cls, rng: Random, *, low: bool) -> String:
        """Any string; a bass's sounds darker."""
        return cls(
            place=rng.uniform(0.05, 0.4),
            slope=rng.uniform(0.6, 2.2 if low else 1.6),
            stiffness=10 ** rng.uniform(-5.0, -3.3),
            decay_s=10 ** rng.uniform(0.2, 1.3) if low else rng.uniform(0.8, 9.0),
            damping=10 ** rng.uniform(-3.0, -1.0),
            release_s=rng.uniform(0.02, 0.12),
            partials=rng.randint(12, 40),
            vibrato=rng.uniform(0.0, 0.004),
            noise=rng.choice((0.0, 0.02, 0.1)) * rng.random(),
            attack_s=rng.choice((0.001, 0.01, 0.03)) if low else 0.001,
        )

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        time = times(seconds + self.release_s)
        played = np.zeros_like(time)
        depth = self.vibrato * np.minimum(time / 0.3, 1.0) if seconds > 0.4 else 0.0 * time
        phase = 2 * np.pi * np.cumsum(1 + depth * np.sin(2 * np.pi * 5 * time)) / SAMPLE_RATE_HZ
        start, slope = rng.uniform(0, 2 * np.pi), self.slope + 0.6 * (1 - velocity)
        for k in range(1, self.partials):
            partial_hz = k * hz * np.sqrt(1 + self.stiffness * k * k)
            strength = abs(np.sin(np.pi * k * self.place)) / k**slope
            if partial_hz > HIGHEST_HZ:
                break
            if strength > _FAINT:
                fall = 6.9 / self.decay_s * (1 + self.damping * k * k)
                played += strength * np.exp(-fall * time) * np.sin(partial_hz * phase + k * start)
        touched = min(time.size, round(0.03 * SAMPLE_RATE_HZ))
        scratch = np.random.default_rng(rng.getrandbits(32)).standard_normal(touched)
        played[:touched] += self.noise * scratch * np.linspace(1, 0, touched) ** 2
        return velocity * played * edges(time.size, self.attack_s, self.release_s)


@dataclass(frozen=True)
class Subtractive:
    """Detuned saws or squares through a low-pass filter with an envelope and a slow wobble."""

    odd_only: bool
    cutoff_hz: float
    sweep: float
    decay_s: float
    order: int
    sub: float  # a sine an octave below
    attack_s: float
    release_s: float
    sustain: float
    detune_cents: float
    oscillators: int
    wobble: float
    wobble_hz: float

    @classmethod
    def random(cls, rng: Random, *, low: bool) -> Subtractive:
        """Any patch; a bass's speaks at once and has fewer oscillators."""
        detune = rng.choice((0.0, 0.0, 3.0, 8.0, 15.0) if low else (0.0, 6.0, 12.0, 20.0))
        many = rng.choice((2, 3) if low else (2, 3, 5))
        return cls(
            odd_only=rng.random() < 0.35,
            cutoff_hz=10 ** rng.uniform(2.2, 3.6 if low else 3.9),
            sweep=rng.uniform(0.0, 4.0),
            decay_s=rng.uniform(0.05, 1.0),
            order=rng.choice((1, 2)),
            sub=rng.uniform(0.0, 1.0) if low else 0.0,
            attack_s=rng.choice((0.002, 0.01, 0.05) if low else (0.002, 0.02, 0.2, 0.5)),
            release_s=rng.uniform(0.03, 0.1 if low else 0.6),
            sustain=rng.uniform(0.3, 1.0),
            detune_cents=detune,
            oscillators=many if detune else 1,
            wobble=rng.choice((0.0, 0.0, 0.5)) * rng.random(),
            wobble_hz=rng.uniform(0.3, 7.0),
        )

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        time = times(seconds + self.release_s)
        fading = np.exp(-time / self.decay_s)
        wobble = 1 + self.wobble * np.sin(2 * np.pi * self.wobble_hz * time)
        cutoff_hz = self.cutoff_hz * (1 + self.sweep * fading) * wobble * (0.5 + velocity)
        played = self.sub * np.sin(np.pi * hz * time)
        for _ in range(self.oscillators):
            cents = rng.uniform(-self.detune_cents, self.detune_cents)
            played += self._oscillator(hz * 2 ** (cents / 1200), time, cutoff_hz, rng)
        loudness = self.sustain + (1 - self.sustain) * fading
        return velocity * played * loudness * edges(time.size, self.attack_s, self.release_s)

    def _oscillator(
        self, hz: float, time: Float64Audio, cutoff_hz: Float64Audio, rng: Random
    ) -> Float64Audio:
        steepness = 2 * self.order
        above = (hz / cutoff_hz) ** steepness  # of the first partial
        turn = np.exp(1j * (2 * np.pi * hz * time + rng.uniform(0, 2 * np.pi)))
        step = 2 if self.odd_only else 1
        wave, partial, next_one = np.zeros_like(time), turn, turn**step  # partial k is turn^k
        for k in range(1, 40, step):
            passed = 1 / (k + k ** (steepness + 1) * above)
            if k * hz > HIGHEST_HZ or passed.max() < _FAINT:
                break
            wave += passed * partial.imag
            partial = partial * next_one
        return wave


@dataclass(frozen=True)
class FrequencyModulated:
    """Two operators: electric pianos, bells, plucked and blown tones of the eighties."""

    ratio: float
    index: float
    index_decay_s: float
    decay_s: float
    attack_s: float
    release_s: float

    @classmethod
    def random(cls, rng: Random) -> FrequencyModulated:
        """Any patch."""
        return cls(
            ratio=rng.choice((1.0, 1.0, 2.0, 3.0, 0.5, 7.0)),
            index=rng.uniform(0.3, 5.0),
            index_decay_s=rng.uniform(0.05, 1.5),
            decay_s=rng.uniform(0.3, 4.0),
            attack_s=rng.choice((0.002, 0.002, 0.03)),
            release_s=rng.uniform(0.03, 0.3),
        )

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        time = times(seconds + self.release_s)
        index = self.index * velocity * np.exp(-time / self.index_decay_s)
        angle = 2 * np.pi * hz * time + rng.uniform(0, 2 * np.pi)
        played = np.sin(angle + index * np.sin(self.ratio * angle)) * np.exp(-time / self.decay_s)
        return velocity * played * edges(time.size, self.attack_s, self.release_s)


def play(score: Score, voice_of_track: Callable[[], Voice], rng: Random) -> Float64Audio:
    """Play a score, every track on a voice of its own and about as loud as the others."""
    out, beat_s = silence(score), 60 / score.tempo_bpm
    for track in score.tracks:
        voice, played = voice_of_track(), silence(score)
        for note in track.notes:
            hz = 440 * 2 ** ((note.pitch - 69) / 12)
            velocity = min(max(note.velocity / 127, 0.05), 1.0)
            seconds = min(note.length * beat_s, LONGEST_NOTE_S)
            add_at(played, note.start * beat_s, voice.note(hz, seconds, velocity, rng))
        out += rng.uniform(0.5, 1.0) * played / (np.sqrt(np.mean(played**2)) + _LEAST)
    return out


def bass(score: Score, rng: Random) -> Float64Audio:
    """A bass: strings or a synthesizer, through an amplifier, a duller one, or neither."""
    kind = rng.choices(("string", "subtractive", "modulated"), (6, 4, 1))[0]
    voice: Voice
    if kind == "string":
        voice = String.random(rng, low=True)
    elif kind == "subtractive":
        voice = Subtractive.random(rng, low=True)
    else:
        voice = FrequencyModulated.random(rng)
    played = play(score, lambda: voice, rng)
    treatment = rng.choices(("amplified", "dull", "as it is"), (4, 4, 2))[0]
    if treatment == "amplified":
        clean = low_pass(peak_normalised(played), 200.0, 1)
        played = 0.7 * amplified(played, rng, rng.uniform(3.0, 20.0)) + 0.5 * clean
    elif treatment == "dull":
        played = low_pass(played, rng.uniform(700.0, 5000.0), 1)
    return coloured(played, rng)


def guitar(score: Score, rng: Random) -> Float64Audio:
    """A guitar through an amplifier, from hardly driven to saturated."""
    voice = String.random(rng, low=False)
    played = play(score, lambda: voice, rng)
    return coloured(amplified(played, rng, rng.choice((3.0, 12.0, 20.0, 30.0, 40.0))), rng)


def other(score: Score, rng: Random) -> Float64Audio:
    """Synthesizers, electric pianos and plucked strings, a voice for every track."""

    def any_voice() -> Voice:
        kind = rng.choices(("subtractive", "modulated", "string"), (6, 2, 2))[0]
        if kind == "subtractive":
            return Subtractive.random(rng, low=False)
        if kind == "modulated":
            return FrequencyModulated.random(rng)
        return String.random(rng, low=False)

    return coloured(play(score, any_voice, rng), rng)


def amplified(audio: Float64Audio, rng: Random, drive_db: float) -> Float64Audio:
    """Through a valve, softly or hard, and a loudspeaker that ends at a few kilohertz."""
    driven = high_pass(peak_normalised(audio), rng.uniform(60.0, 250.0), 1) * 10 ** (drive_db / 20)
    driven = np.tanh(driven + rng.uniform(0.0, 0.3))
    if rng.random() < 0.5:
        driven = np.clip(1.5 * driven, -1.0, 1.0)
    heard = high_pass(driven, rng.uniform(50.0, 110.0), 2)
    return low_pass(heard, rng.uniform(3000.0, 6000.0), rng.choice((2, 3, 4)))


def coloured(
    audio: Float64Audio, rng: Random, bells: int = 3, most_db: float = 8.0
) -> Float64Audio:
    """Through a random equaliser: a tilt and some bells."""
    hz = _frequencies(audio)
    octaves = np.log2((hz + 1) / 40) / 9  # 0 at 40 Hz, 1 at 20 kHz
    gain_db = 0.5 * rng.uniform(-most_db, most_db) * (2 * octaves - 1)
    for _ in range(bells):
        centre, width = rng.uniform(0.0, 1.0), rng.uniform(0.04, 0.25)
        gain_db += rng.uniform(-most_db, most_db) * np.exp(-(((octaves - centre) / width) ** 2))
    return _filtered(audio, 10 ** (gain_db / 20))


def low_pass(audio: Float64Audio, cutoff_hz: float, order: int) -> Float64Audio:
    """Butterworth magnitudes without phase."""
    return _filtered(audio, 1 / np.sqrt(1 + (_frequencies(audio) / cutoff_hz) ** (2 * order)))


def high_pass(audio: Float64Audio, cutoff_hz: float, order: int) -> Float64Audio:
    """Butterworth magnitudes without phase."""
    ratio = _frequencies(audio) / cutoff_hz
    return _filtered(audio, ratio**order / np.sqrt(1 + ratio ** (2 * order)))


def peak_normalised(audio: Float64Audio) -> Float64Audio:
    """With a peak of 1."""
    return np.asarray(audio / (np.abs(audio).max() + _LEAST), np.float64)


def add_at(out: Float64Audio, second: float, audio: Float64Audio) -> None:
    """Add audio from a time on, in place; what lies outside is left out."""
    first = round(second * SAMPLE_RATE_HZ)
    audio = audio[max(-first, 0) : max(out.size - first, 0)]
    first = max(first, 0)
    out[first : first + audio.size] += audio


def silence(score: Score) -> Float64Audio:
    """As long as the score and what rings on."""
    return np.zeros(round((score.seconds + TAIL_S) * SAMPLE_RATE_HZ))


def times(seconds: float) -> Float64Audio:
    """The time of every sample."""
    return np.arange(max(round(seconds * SAMPLE_RATE_HZ), 2)) / SAMPLE_RATE_HZ


def ring(hz: float, fall: float, start: float, samples: int) -> Float64Audio:
    """exp(-fall t) sin(2 pi hz t + start), as powers of one number: a third of the time."""
    block = 512
    turn = complex(-fall, 2 * np.pi * hz) / SAMPLE_RATE_HZ
    within = np.exp(turn * np.arange(block))
    begins = np.exp(turn * block * np.arange(-(-samples // block)) + 1j * start)
    return np.asarray(np.outer(begins, within).imag.ravel()[:samples], np.float64)


def edges(samples: int, attack_s: float, release_s: float) -> Float64Audio:
    """Ramps at both ends."""
    shape = np.ones(samples)
    rise, fall = (min(round(s * SAMPLE_RATE_HZ), samples // 2) + 1 for s in (attack_s, release_s))
    shape[:rise] = np.linspace(0, 1, rise)
    shape[-fall:] *= np.linspace(1, 0, fall)
    return shape


def fft_size(samples: int) -> int:
    """The length to pad to: at most an eighth longer and without large prime factors, on which a
    transform takes ten times as long."""
    step = 1 << max(samples.bit_length() - 4, 0)
    return -(-samples // step) * step


def _frequencies(audio: Float64Audio) -> Float64Audio:
    return np.asarray(np.fft.rfftfreq(fft_size(audio.size), 1 / SAMPLE_RATE_HZ), np.float64)


def _filtered(audio: Float64Audio, gain: Float64Audio) -> Float64Audio:
    size = fft_size(audio.size)  # single precision: half the time, errors 130 dB down
    spectrum = np.fft.rfft(audio.astype(np.float32), size) * gain.astype(np.float32)
    return np.fft.irfft(spectrum, size)[: audio.size].astype(np.float64)
