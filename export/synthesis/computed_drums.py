"""Drums without samples: struck skins, wires, metal and noise of random build.

A drum machine's kick and a rock kit's differ in how far their pitch falls, how long they ring and
how hard the beater is; all of it is drawn anew for every drum of a song. The basses of a mix lie
where its kicks do, so kicks of every kind are worth having.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

import numpy as np

from .computed_instruments import (
    SAMPLE_RATE_HZ,
    Float64Audio,
    add_at,
    high_pass,
    low_pass,
    peak_normalised,
    silence,
    times,
)
from .midi import Score

_SILENT_AFTER = 7.0  # times the decay's constant: -60 dB
_LONGEST_S = 4.0


@dataclass(frozen=True)
class Skin:
    """A kick or a tom: a mode whose pitch falls to `hz`, a second one, and the beater's click."""

    hz: float
    fall: float  # how far above `hz` it starts, as a ratio
    fall_s: float
    decay_s: float
    overtone: float  # the second mode against the first
    overtone_ratio: float
    click: float
    click_hz: float
    drive: float

    @classmethod
    def kick(cls, rng: Random) -> Skin:
        """Any kick, from a damped one to the long sine of a drum machine."""
        return cls(
            hz=rng.uniform(38.0, 72.0),
            fall=rng.choice((0.3, 1.0, 3.0, 8.0)) * rng.uniform(0.5, 1.5),
            fall_s=10 ** rng.uniform(-2.2, -1.2),
            decay_s=10 ** rng.uniform(-1.5, -0.5),
            overtone=rng.uniform(0.0, 0.5),
            overtone_ratio=rng.uniform(1.4, 2.4),
            click=rng.uniform(0.0, 0.8),
            click_hz=rng.uniform(800.0, 6000.0),
            drive=rng.choice((0.0, 0.0, 1.0, 3.0)),
        )

    @classmethod
    def tom(cls, rng: Random, pitch: int) -> Skin:
        """A tom, tuned by its pitch in General MIDI's kit (41 to 50)."""
        return cls(
            hz=rng.uniform(70.0, 105.0) * 2 ** ((pitch - 41) / 9),
            fall=rng.uniform(0.0, 0.6),
            fall_s=rng.uniform(0.02, 0.1),
            decay_s=10 ** rng.uniform(-1.2, -0.4),
            overtone=rng.uniform(0.1, 0.6),
            overtone_ratio=rng.uniform(1.45, 1.75),
            click=rng.uniform(0.0, 0.5),
            click_hz=rng.uniform(1500.0, 6000.0),
            drive=0.0,
        )

    def hit(self, rng: Random) -> Float64Audio:
        """One stroke."""
        time = _times(self.decay_s)
        hz = self.hz * (1 + self.fall * np.exp(-time / self.fall_s))
        phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ
        played = np.sin(phase) * np.exp(-time / self.decay_s)
        faster = np.exp(-time / (0.4 * self.decay_s))
        played += self.overtone * np.sin(self.overtone_ratio * phase) * faster
        burst = low_pass(_noise(rng, time.size), self.click_hz, 1) * np.exp(-time / 0.004)
        played += self.click * peak_normalised(burst)
        return np.asarray(np.tanh(self.drive * played) if self.drive else played)


@dataclass(frozen=True)
class Snare:
    """Two modes of a skin, and wires that rattle."""

    hz: float
    ring_s: float
    tone: float
    wires_s: float
    low_hz: float
    high_hz: float

    @classmethod
    def random(cls, rng: Random) -> Snare:
        """Any snare, from a drum machine's hiss to a deep wooden one."""
        return cls(
            hz=rng.uniform(140.0, 300.0),
            ring_s=10 ** rng.uniform(-1.6, -0.9),
            tone=rng.uniform(0.1, 1.0),
            wires_s=10 ** rng.uniform(-1.5, -0.7),
            low_hz=rng.uniform(200.0, 2500.0),
            high_hz=rng.uniform(5000.0, 16_000.0),
        )

    def hit(self, rng: Random) -> Float64Audio:
        """One stroke."""
        time = _times(max(self.ring_s, self.wires_s))
        ring = np.exp(-time / self.ring_s)
        ring *= np.sin(2 * np.pi * self.hz * time) + 0.6 * np.sin(3.2 * np.pi * self.hz * time)
        hiss = low_pass(high_pass(_noise(rng, time.size), self.low_hz, 1), self.high_hz, 1)
        hiss = peak_normalised(hiss * np.exp(-time / self.wires_s))
        return self.tone * peak_normalised(ring) + hiss


@dataclass(frozen=True)
class Metal:
    """Hats and cymbals: many partials without order, and hiss."""

    partials_hz: tuple[float, ...]
    clang: float
    low_hz: float
    decay_s: float
    attack_s: float

    @classmethod
    def random(cls, rng: Random, shortest_s: float, longest_s: float) -> Metal:
        """Any plate that rings so long."""
        count = rng.choice((6, 12, 40))
        lowest = rng.uniform(300.0, 2500.0)
        return cls(
            partials_hz=tuple(lowest * 2 ** rng.uniform(0.0, 3.0) for _ in range(count)),
            clang=rng.uniform(0.0, 0.8),
            low_hz=rng.uniform(1500.0, 8000.0),
            decay_s=np.exp(rng.uniform(np.log(shortest_s), np.log(longest_s))),
            attack_s=rng.choice((0.0005, 0.002, 0.005)),
        )

    def hit(self, rng: Random) -> Float64Audio:
        """One stroke."""
        time = _times(self.decay_s)
        clang = np.zeros_like(time)
        for hz in self.partials_hz:
            clang += np.sin(2 * np.pi * hz * time + rng.uniform(0, 2 * np.pi))
        hiss = high_pass(_noise(rng, time.size), self.low_hz, 2)
        loud = np.exp(-time / self.decay_s) * (1 - np.exp(-time / self.attack_s))
        played: Float64Audio = loud * (self.clang * peak_normalised(clang) + peak_normalised(hiss))
        return played


@dataclass(frozen=True)
class Noise:
    """Claps, rims and shakers: bursts of noise in one region."""

    centre_hz: float
    decay_s: float
    bursts: int

    @classmethod
    def random(cls, rng: Random, bursts: int) -> Noise:
        """Any burst; a clap has several."""
        decay_s = 10 ** rng.uniform(-2.0, -0.9)
        return cls(10 ** rng.uniform(2.9, 3.9), decay_s, bursts)

    def hit(self, rng: Random) -> Float64Audio:
        """One stroke."""
        time = _times(self.decay_s)
        loud = np.zeros_like(time)
        for burst in range(self.bursts):
            since = time - burst * rng.uniform(0.008, 0.014)
            shorter = self.decay_s if burst == self.bursts - 1 else 0.004
            loud += np.where(since >= 0, np.exp(-np.maximum(since, 0) / shorter), 0)
        region = high_pass(_noise(rng, time.size), 0.6 * self.centre_hz, 2)
        return low_pass(region, 1.7 * self.centre_hz, 1) * loud


Strike = Callable[[Random], Float64Audio]

_BUILDERS: Mapping[str, Callable[[Random], Strike]] = MappingProxyType(
    {
        "kick": lambda rng: Skin.kick(rng).hit,
        "snare": lambda rng: Snare.random(rng).hit,
        "hat": lambda rng: Metal.random(rng, 0.015, 0.08).hit,
        "pedal hat": lambda rng: Metal.random(rng, 0.02, 0.1).hit,
        "open hat": lambda rng: Metal.random(rng, 0.1, 0.5).hit,
        "crash": lambda rng: Metal.random(rng, 0.3, 1.2).hit,
        "ride": lambda rng: Metal.random(rng, 0.2, 0.9).hit,
        "rim": lambda rng: Noise.random(rng, 1).hit,
        "clap": lambda rng: Noise.random(rng, rng.choice((3, 4))).hit,
        "tambourine": lambda rng: Metal.random(rng, 0.03, 0.15).hit,
        "shaker": lambda rng: Noise.random(rng, 1).hit,
    }
)


def random_strike(rng: Random, drum: str, pitch: int) -> Strike:
    """A drum of random build, by its name ("kick", "tom"...); toms are tuned by `pitch`."""
    if drum == "tom":
        return Skin.tom(rng, pitch).hit
    return _BUILDERS[drum](rng)


def computed_kit(score: Score, drum_of_pitch: Callable[[int], str], rng: Random) -> Float64Audio:
    """A drum score on computed drums alone, (samples,)."""
    kit: dict[int, Float64Audio] = {}
    out = silence(score)
    for note in (note for track in score.tracks for note in track.notes):
        if note.pitch not in kit:
            strike = random_strike(rng, drum_of_pitch(note.pitch), note.pitch)
            kit[note.pitch] = peak_normalised(strike(rng))
        velocity = min(max(note.velocity / 127, 0.05), 1.0) ** 1.3
        add_at(out, note.start * 60 / score.tempo_bpm, velocity * kit[note.pitch])
    return out


def _times(decay_s: float) -> Float64Audio:
    return times(min(_SILENT_AFTER * decay_s, _LONGEST_S))


def _noise(rng: Random, samples: int) -> Float64Audio:
    return np.random.default_rng(rng.getrandbits(32)).standard_normal(samples)
