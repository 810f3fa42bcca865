"""Organs and string sections without samples, and players who remember what they played.

All audio is mono, 44.1 kHz, float64 (samples,).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np

from .computed_instruments import (
    HIGHEST_HZ,
    LONGEST_NOTE_S,
    Float64Audio,
    Voice,
    edges,
    times,
)

# lengths of an organ's pipes against the fundamental's: 16' to 1'
_DRAWBARS = (0.5, 1.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
_LAYERS = 5  # how many strengths a note is remembered in
_LENGTHS_S = (0.3, 0.8, 2.0, LONGEST_NOTE_S)


@dataclass(frozen=True)
class Organ:
    """Drawbars, a click of the contacts, and a rotating loudspeaker's tremolo."""

    drawbars: tuple[float, ...]
    click: float
    turning_hz: float
    depth: float
    overtone: float  # of a reed or a transistor, on top of the sines
    release_s: float = 0.03

    @classmethod
    def random(cls, rng: Random) -> Organ:
        """Any registration."""
        return cls(
            drawbars=(*(rng.choice((0.0, 0.3, 0.7, 1.0)) for _ in _DRAWBARS[1:]), 0.2),
            click=rng.choice((0.0, 0.05, 0.2)),
            turning_hz=rng.choice((0.8, 6.0, 6.6)),
            depth=rng.choice((0.0, 0.15, 0.3)),
            overtone=rng.choice((0.0, 0.0, 0.3)),
        )

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        """Play one note; an organ's loudness does not depend on the stroke."""
        time = times(seconds + self.release_s)
        sway = self.depth * np.sin(2 * np.pi * self.turning_hz * time + rng.uniform(0, 6.3))
        turn = 2 * np.pi * hz * time + 0.3 * sway
        played = np.zeros_like(time)
        for ratio, pull in zip(_DRAWBARS, self.drawbars, strict=True):
            if pull and ratio * hz < HIGHEST_HZ:
                played += pull * np.sin(ratio * turn + rng.uniform(0, 6.3))
        if self.overtone:
            played += self.overtone * np.tanh(4 * np.sin(turn))
        clicked = min(time.size, 200)
        played[:clicked] += self.click * np.array([rng.gauss(0, 1) for _ in range(clicked)])
        return 0.6 * played * (1 + sway) * edges(time.size, 0.004, self.release_s)


@dataclass(frozen=True)
class Bowed:
    """A string or brass section: players slightly apart, each with a vibrato of their own."""

    players: int
    slope: float
    body_hz: tuple[float, ...]
    attack_s: float
    release_s: float
    vibrato_cents: float
    apart_cents: float
    noise: float
    swell: float  # how much brighter loud notes and their middles are

    @classmethod
    def random(cls, rng: Random) -> Bowed:
        """From a solo fiddle to a full section, bowed or blown."""
        return cls(
            players=rng.choice((1, 1, 3, 5)),
            slope=rng.uniform(0.8, 2.0),
            body_hz=tuple(200 * 2 ** rng.uniform(0, 4) for _ in range(4)),
            attack_s=rng.uniform(0.02, 0.3),
            release_s=rng.uniform(0.05, 0.3),
            vibrato_cents=rng.uniform(0, 35),
            apart_cents=rng.uniform(2, 14),
            noise=rng.choice((0.0, 0.01, 0.05)),
            swell=rng.uniform(0.0, 0.8),
        )

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        """Play one note."""
        time = times(seconds + self.release_s)
        grown = np.clip(time / (2 * self.attack_s + 0.05), 0, 1)
        out = np.zeros_like(time)
        for _ in range(self.players):
            cents = rng.gauss(0, self.apart_cents) + self.vibrato_cents * grown * np.sin(
                2 * np.pi * rng.uniform(4.5, 6.5) * time + rng.uniform(0, 6.3)
            )
            turn = 2 * np.pi * np.cumsum(hz * 2 ** (cents / 1200)) * time[1]
            first = np.exp(1j * turn)
            partial = first.copy()
            for k in range(1, 36):
                if k * hz > HIGHEST_HZ:
                    break
                strength = k**-self.slope * self._body(k * hz)
                if strength > 3e-3:
                    slow = grown ** (self.swell * np.log2(k + 1)) if k > 1 else 1.0
                    out += strength * velocity ** (self.swell * np.log2(k)) * slow * partial.imag
                partial *= first
        if self.noise:
            hiss = np.random.default_rng(rng.getrandbits(32)).standard_normal(time.size)
            out += self.noise * self.players * hiss
        return velocity * out * edges(time.size, self.attack_s, self.release_s)

    def _body(self, hz: float) -> float:
        near = (np.exp(-0.5 * (np.log2(hz / body) / 0.3) ** 2) for body in self.body_hz)
        return float(0.4 + sum(near))


@dataclass
class Remembered:
    """A voice whose notes are played once for every key, strength, and rough length, `takes`
    times each: songs repeat themselves, and playing is what takes the time."""

    voice: Voice
    takes: int = 2
    release_s: float = 0.05
    _played: dict[tuple[float, int, float, int], Float64Audio] = field(default_factory=dict)

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        """Play one note, with its release; velocity is within 0 and 1."""
        layer = max(1, round(velocity * _LAYERS))
        longest = next((s for s in _LENGTHS_S if s >= seconds), LONGEST_NOTE_S)
        key = round(hz, 3), layer, longest, rng.randrange(self.takes)
        if key not in self._played:
            self._played[key] = self.voice.note(hz, longest, layer / _LAYERS, rng)
        kept = self._played[key][: times(min(seconds, longest) + self.release_s).size]
        return kept * velocity * _LAYERS / layer * edges(kept.size, 0.0005, self.release_s)
