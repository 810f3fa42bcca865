"""The song that a part is written for: key, tempo, metre and one chord per bar, at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from .midi import Note

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
PENTATONIC_STEPS: dict[tuple[int, ...], tuple[int, ...]] = {
    MAJOR: (0, 1, 2, 4, 5),
    MINOR: (0, 2, 3, 4, 6),
}

# Degrees of the scale, counted from 0, one per bar; common-practice and pop turns.
PROGRESSIONS: tuple[tuple[int, ...], ...] = (
    (0, 4, 5, 3),
    (0, 5, 3, 4),
    (5, 3, 0, 4),
    (0, 3, 4, 3),
    (0, 3, 0, 4),
    (1, 4, 0, 0),
    (1, 4, 0, 5),
    (0, 2, 3, 4),
    (0, 6, 3, 0),
    (0, 6, 5, 4),
    (0, 0, 3, 0, 4, 3, 0, 4),
    (0, 4, 5, 2, 3, 0, 3, 4),
    (0, 5, 1, 4),
    (3, 4, 2, 5),
)


@dataclass(frozen=True)
class Chord:
    """A root and the intervals above it, in semitones."""

    root: int
    intervals: tuple[int, ...]

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        return tuple((self.root + i) % 12 for i in self.intervals)


@dataclass(frozen=True)
class Song:
    """What all parts of one song agree on; `steps` sixteenths make a bar."""

    key: int
    scale: tuple[int, ...]
    tempo_bpm: float
    steps: int
    swing: float
    chords: tuple[Chord, ...]

    @property
    def beats_per_bar(self) -> float:
        return self.steps / 4

    @property
    def beats(self) -> float:
        return self.beats_per_bar * len(self.chords)

    def beat_of(self, bar: int, step: float) -> float:
        """Beat of a sixteenth in a bar; swing delays every second one."""
        late = self.swing / 4 if int(step) % 2 else 0.0
        return bar * self.beats_per_bar + step / 4 + late

    def scale_pitch(self, degree: int, octave: int) -> int:
        """MIDI pitch of a scale degree (any integer) with the key note in that octave."""
        octaves, index = divmod(degree, len(self.scale))
        return 12 * (octave + 1 + octaves) + self.key + self.scale[index]


def random_song(rng: Random, seconds: float) -> Song:
    """A song of about `seconds` in a random key, mode, tempo, metre and progression."""
    scale = rng.choice((MAJOR, MAJOR, MINOR))
    tempo_bpm = rng.triangular(62, 176, 112)
    steps = 16 if rng.random() < 0.8 else 12
    swing = rng.uniform(0.15, 0.33) if rng.random() < 0.25 else 0.0
    bars = max(2, round(seconds * tempo_bpm / 60 / (steps / 4)))
    key = rng.randrange(12)
    turns = [rng.choice(PROGRESSIONS), rng.choice(PROGRESSIONS)]
    richness = rng.random()
    degrees: list[int] = []
    while len(degrees) < bars:
        degrees += turns[0] if rng.random() < 0.6 else turns[1]
    chords = tuple(diatonic(rng, key, scale, degree, richness) for degree in degrees[:bars])
    return Song(key, scale, tempo_bpm, steps, swing, chords)


def diatonic(rng: Random, key: int, scale: tuple[int, ...], degree: int, richness: float) -> Chord:
    """Stack thirds of the scale on a degree; `richness` is the chance of a colour tone."""
    steps = [0, 2, 4]
    if rng.random() < richness * 0.6:
        steps.append(6)
    if rng.random() < richness * 0.25:
        steps.append(8)
    if rng.random() < 0.08:
        steps[1] = rng.choice((1, 3))  # suspended
    absolute = []
    for step in steps:
        octaves, index = divmod(degree + step, len(scale))
        absolute.append(12 * octaves + scale[index])
    intervals = tuple(a - absolute[0] for a in absolute)
    return Chord((key + absolute[0]) % 12, intervals)


def close_voicing(chord: Chord, low: int, high: int, previous: Sequence[int]) -> tuple[int, ...]:
    """The chord's tones near the previous voicing's centre, so that voices move little."""
    centre = sum(previous) / len(previous) if previous else (low + high) / 2
    voiced = []
    for pitch_class in chord.pitch_classes:
        options = [p for p in range(low, high + 1) if p % 12 == pitch_class]
        voiced.append(min(options, key=lambda p: abs(p - centre)))
    return tuple(sorted(set(voiced)))


def nearest(pitch_class: int, reference: float, low: int, high: int) -> int:
    """The pitch of that class nearest to `reference` within a range of an octave or more."""
    options = [p for p in range(low, high + 1) if p % 12 == pitch_class % 12]
    return min(options, key=lambda p: abs(p - reference))


def humanised(rng: Random, notes: Sequence[Note], tempo_bpm: float, late_s: float) -> list[Note]:
    """Scatter starts by a spread of `late_s` and velocities by a few units, as hands do."""
    spread = late_s * tempo_bpm / 60
    return [
        Note(
            max(0.0, note.start + rng.gauss(0.0, spread)),
            note.length,
            note.pitch,
            min(127, max(8, round(note.velocity + rng.gauss(0.0, 5.0)))),
        )
        for note in notes
    ]
