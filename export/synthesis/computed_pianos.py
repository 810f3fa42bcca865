"""Pianos without samples: hammers on strings, tines and reeds of random build.

A string that a hammer strikes sounds in two stages, as the strings of one key are tuned a little
apart and lose their energy to the soundboard at different speeds (Weinreich, JASA 62(6), 1977);
it is stiffer the shorter it is (Fletcher, JASA 36(1), 1964), and a harder blow is a brighter one.
In an electric piano a pickup bends what a tine or a reed plays, the more the harder it is struck.

All audio is mono, 44.1 kHz, float64 (samples,).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from .computed_instruments import (
    HIGHEST_HZ,
    LONGEST_NOTE_S,
    SAMPLE_RATE_HZ,
    Float64Audio,
    FrequencyModulated,
    String,
    Voice,
    amplified,
    coloured,
    edges,
    low_pass,
    play,
    ring,
    times,
)
from .midi import Note, Score, Track

_MIDDLE_HZ = 261.6
_FAINT = 1e-3  # partials below this share of the first are left out
_LAYERS = 6  # how many strengths a key is struck with
_PEDAL = 64  # the controller of the sustain pedal


@dataclass(frozen=True)
class Hammered:
    """An acoustic piano; a key that is struck twice sounds the same."""

    place: float  # of the hammer on the string
    slope: float
    brightness_hz: float  # of a middle blow in the middle
    hardening: float  # octaves that a full blow is brighter than a soft one
    stiffness: float  # of the middle C's string
    decay_s: float  # of middle C, by 60 dB
    damping: float  # how much sooner high partials die
    detune_cents: float
    aftersound: float  # share of the strings that ring on
    knock: float  # of hammer and key
    release_s: float
    rung: dict[tuple[float, int], Float64Audio] = field(
        default_factory=dict, compare=False, repr=False
    )

    @classmethod
    def random(cls, rng: Random) -> Hammered:
        """Any piano, from a dull upright to a bright grand."""
        return cls(
            place=rng.uniform(0.08, 0.15),
            slope=rng.uniform(0.3, 1.1),
            brightness_hz=10 ** rng.uniform(2.7, 3.5),
            hardening=rng.uniform(1.0, 3.5),
            stiffness=10 ** rng.uniform(-3.8, -3.1),
            decay_s=rng.uniform(3.0, 14.0),
            damping=10 ** rng.uniform(-7.0, -5.8),
            detune_cents=rng.choice((0.3, 0.8, 1.5, rng.uniform(3.0, 12.0))),
            aftersound=rng.uniform(0.05, 0.4),
            knock=rng.choice((0.0, 0.03, 0.1)) * rng.random(),
            release_s=rng.uniform(0.05, 0.3),
        )

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        key = hz, round(velocity * _LAYERS)
        if key not in self.rung:
            self.rung[key] = self._struck(hz, key[1] / _LAYERS)
        played = self.rung[key][: times(seconds + self.release_s).size]
        return velocity * played * edges(played.size, 0.001, self.release_s)

    def _struck(self, hz: float, velocity: float) -> Float64Audio:
        """One key with its damper up, as long as notes last."""
        own = Random(f"{hz:.2f}/{velocity}/{self.decay_s}")
        octaves = np.log2(hz / _MIDDLE_HZ)
        above_c3 = octaves + 1  # where strings are least stiff
        stiffness = self.stiffness * 2 ** (max(1.1 * above_c3, -0.4 * above_c3) - 1)
        brightness_hz = self.brightness_hz * 2 ** (
            self.hardening * (velocity - 0.5) + 0.5 * octaves
        )
        fall = 6.9 / self.decay_s * 2 ** (0.75 * octaves)
        time = times(LONGEST_NOTE_S + self.release_s)
        out = np.zeros_like(time)
        for share, slower in ((1.0, 1.0), (self.aftersound, 0.25)):
            bent = 2 ** (own.uniform(-self.detune_cents, self.detune_cents) / 1200)
            for k in range(1, 60):
                partial_hz = k * hz * bent * np.sqrt(1 + stiffness * k * k)
                if partial_hz > HIGHEST_HZ:
                    break
                strength = share * abs(np.sin(np.pi * k * self.place)) / k**self.slope
                strength /= 1 + (partial_hz / brightness_hz) ** 2
                if strength < _FAINT:
                    continue
                falls = slower * fall * (1 + self.damping * partial_hz**2 / fall)
                heard = min(time.size, round(6.9 / falls * SAMPLE_RATE_HZ) + 1)
                start = own.uniform(0, 2 * np.pi)
                out[:heard] += strength * ring(partial_hz, falls, start, heard)
        return out + self._knocked(own, out.size)

    def _knocked(self, own: Random, samples: int) -> Float64Audio:
        time = times(0.15)
        noise = np.random.default_rng(own.getrandbits(32)).standard_normal(time.size)
        dull = 5 * low_pass(noise * np.exp(-time / 0.02), own.uniform(150.0, 700.0), 1)
        return np.pad(self.knock * dull, (0, samples - time.size))


@dataclass(frozen=True)
class Picked:
    """An electric piano: a tine or a reed before a pickup, with a bell at its onset."""

    off_centre: float  # how far the pickup lies off the middle of the swing
    bend: float  # how strongly it bends what it hears
    bell: float
    bell_ratio: float
    bell_decay_s: float
    decay_s: float
    release_s: float

    @classmethod
    def random(cls, rng: Random) -> Picked:
        """Any make: tines ring long and have bells, reeds bark."""
        reed = rng.random() < 0.35
        return cls(
            off_centre=rng.uniform(0.1, 0.9),
            bend=rng.uniform(1.0, 4.0) if reed else rng.uniform(0.3, 2.0),
            bell=0.0 if reed else rng.uniform(0.0, 0.5),
            bell_ratio=rng.uniform(5.5, 9.0),
            bell_decay_s=rng.uniform(0.05, 0.4),
            decay_s=rng.uniform(1.0, 4.0) if reed else rng.uniform(2.0, 9.0),
            release_s=rng.uniform(0.03, 0.2),
        )

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        time = times(seconds + self.release_s)
        turn = 2 * np.pi * hz * time + rng.uniform(0, 2 * np.pi)
        swing = self.bend * velocity * np.exp(-6.9 / self.decay_s * time) * np.sin(turn)
        heard: Float64Audio = np.tanh(swing + self.off_centre) - np.tanh(self.off_centre)
        ringing = np.exp(-time / self.bell_decay_s) * np.sin(self.bell_ratio * turn)
        played: Float64Audio = heard / self.bend + self.bell * velocity * ringing
        return velocity * played * edges(time.size, 0.002, self.release_s)


def piano(score: Score, rng: Random) -> Float64Audio:
    """A piano: hammers on strings, tines and reeds, two operators, or plucked as in a
    harpsichord or a clavinet; electric ones often through an amplifier, a tremolo, or both."""
    kind = rng.choices(("hammered", "picked", "modulated", "plucked"), (7, 4, 1, 1))[0]
    voice: Voice
    if kind == "hammered":
        voice = Hammered.random(rng)
    elif kind == "picked":
        voice = Picked.random(rng)
    elif kind == "modulated":
        voice = FrequencyModulated.random(rng)
    else:
        voice = replace(String.random(rng, low=False), vibrato=0.0)
    held = replace(score, tracks=tuple(pedalled(track) for track in score.tracks))
    played = play(held, lambda: voice, rng)
    if kind != "hammered" and rng.random() < 0.4:
        played = amplified(played, rng, rng.uniform(0.0, 12.0))
    if kind == "picked" and rng.random() < 0.4:
        time = times(played.size / SAMPLE_RATE_HZ)
        swaying = np.sin(2 * np.pi * rng.uniform(2.0, 7.0) * time)
        played = played * (1 + rng.uniform(0.1, 0.6) * swaying)
    return coloured(played, rng, most_db=6.0)


def pedalled(track: Track) -> Track:
    """The track with every note as long as the sustain pedal holds it."""
    moves = [(c.beat, c.value >= 64) for c in track.controls if c.number == _PEDAL]

    def held(note: Note) -> Note:
        end = note.start + note.length
        if not any(down for _, down in [m for m in moves if m[0] <= end][-1:]):
            return note
        lifted = min((beat for beat, down in moves if beat > end and not down), default=end)
        return replace(note, length=lifted - note.start)

    return replace(track, notes=tuple(held(note) for note in track.notes))
