"""Parts for everything else: strings, organ, brass, winds, synthesisers, mallets, harp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .harmony import Song, close_voicing, humanised, nearest
from .midi import Bend, Control, Note, Track

Player = Callable[[Song, Random, int], Track]


@dataclass(frozen=True)
class Family:
    """Instruments of a kind, how often they are picked, and the ways they are played."""

    programs: tuple[int, ...]
    weight: float
    players: tuple[Player, ...]


def ensemble_tracks(song: Song, rng: Random) -> tuple[Track, ...]:
    """One to three instruments of different families that share the song's chords."""
    count = rng.choices((1, 2, 3), (5, 4, 2))[0]
    tracks = []
    for family in _distinct_families(rng, count):
        player = rng.choice(family.players)
        tracks.append(player(song, rng, rng.choice(family.programs)))
    return tuple(tracks)


def _distinct_families(rng: Random, count: int) -> list[Family]:
    pool = list(FAMILIES)
    chosen = []
    for _ in range(count):
        family = rng.choices(pool, [f.weight for f in pool])[0]
        pool.remove(family)
        chosen.append(family)
    return chosen


def sustained(song: Song, rng: Random, program: int) -> Track:
    """Held chords with close voice leading, swelling by expression."""
    low = rng.choice((48, 52, 55, 60, 64))
    loudness = rng.randint(60, 100)
    bars_held = rng.choice((1, 1, 2))
    doubled = rng.random() < 0.35
    voicing: tuple[int, ...] = ()
    notes: list[Note] = []
    for bar in range(0, len(song.chords), bars_held):
        voicing = close_voicing(song.chords[bar], low, low + 17, voicing)
        length = song.beats_per_bar * min(bars_held, len(song.chords) - bar) * 0.98
        pitches = (voicing[0] - 12, *voicing) if doubled else voicing
        notes += [Note(song.beat_of(bar, 0), length, p, loudness) for p in pitches]
    notes = humanised(rng, notes, song.tempo_bpm, 0.008)
    return Track(program, tuple(notes), controls=_swells(song, rng))


def melody(song: Song, rng: Random, program: int) -> Track:
    """Phrases of two bars with breaths, small steps, chord tones on the strong beats."""
    octave = rng.choice((3, 4, 4, 5))
    place = rng.randrange(0, 7)
    legato = rng.uniform(0.6, 1.02)
    loudness = rng.randint(74, 108)
    notes: list[Note] = []
    bends: list[Bend] = []
    for bar, chord in enumerate(song.chords):
        step = 0
        while step < song.steps:
            length = min(rng.choice((1, 2, 2, 4, 4, 6, 8)), song.steps - step)
            place = min(max(place + rng.choice((-3, -2, -1, -1, 1, 1, 2, 3)), -2), 11)
            pitch = song.scale_pitch(place, octave)
            if step % 8 == 0:
                pitch = nearest(rng.choice(chord.pitch_classes), pitch, 40, 96)
            breathes = bar % 2 == 1 and step >= song.steps - 4
            if not breathes and rng.random() < 0.88:
                start = song.beat_of(bar, step)
                notes.append(Note(start, legato * length / 4, pitch, loudness))
                if length >= 6 and rng.random() < 0.5:
                    bends += _quiver(rng, start, length / 4)
            step += length
    notes = humanised(rng, notes, song.tempo_bpm, 0.006)
    return Track(program, tuple(notes), controls=_swells(song, rng), bends=tuple(bends))


def stabs(song: Song, rng: Random, program: int) -> Track:
    """Short chords on a syncopated pattern, as horn sections and comping organs play."""
    pattern = rng.choice(
        ("x.....x.........", "..x...x...x...x.", "x..x..x.........", "......x.......x.",
         "x...x...x...x...", "x.xx..x...x.....")
    )  # fmt: skip
    low = rng.choice((52, 57, 60))
    short = rng.uniform(0.2, 0.9)
    voicing: tuple[int, ...] = ()
    notes = []
    for bar, chord in enumerate(song.chords):
        voicing = close_voicing(chord, low, low + 17, voicing)
        for step, mark in enumerate(pattern[: song.steps]):
            if mark == "x":
                velocity = rng.randint(84, 116)
                start = song.beat_of(bar, step)
                notes += [Note(start, short * 0.5, p, velocity) for p in voicing]
    return Track(program, tuple(humanised(rng, notes, song.tempo_bpm, 0.005)))


def arpeggio(song: Song, rng: Random, program: int) -> Track:
    """Chord tones up, down or both, in eighths or sixteenths over one to two octaves."""
    stride = rng.choice((1, 2, 2, 3))
    low = rng.choice((48, 55, 60, 67))
    span = rng.choice((13, 20, 25))
    length = rng.uniform(0.5, 2.5) * stride / 4
    direction = rng.choice(("up", "down", "both"))
    notes = []
    for bar, chord in enumerate(song.chords):
        tones = [p for p in range(low, low + span) if p % 12 in chord.pitch_classes]
        path = {"up": tones, "down": tones[::-1], "both": tones + tones[-2:0:-1]}[direction]
        for count, step in enumerate(range(0, song.steps, stride)):
            velocity = 92 if count % 4 == 0 else 78
            pitch = path[count % len(path)]
            notes.append(Note(song.beat_of(bar, step), length, pitch, velocity))
    return Track(program, tuple(humanised(rng, notes, song.tempo_bpm, 0.003)))


def _swells(song: Song, rng: Random) -> tuple[Control, ...]:
    """Expression that rises and falls over two bars, or stays open."""
    if rng.random() < 0.5:
        return ()
    depth = rng.randint(15, 60)
    period = 2 * song.beats_per_bar
    beats = [b / 2 for b in range(int(song.beats * 2))]
    return tuple(
        Control(b, 11, round(127 - depth * abs(2 * (b % period) / period - 1))) for b in beats
    )


def _quiver(rng: Random, start: float, length: float) -> list[Bend]:
    """Vibrato that begins after a third of the note."""
    depth = rng.uniform(0.1, 0.35)
    wave = (0.0, 1.0, 0.0, -1.0)
    times = [start + length / 3 + 0.05 * i for i in range(int(length * 0.6 / 0.05))]
    bends = [Bend(t, depth * wave[i % 4]) for i, t in enumerate(times)]
    return [*bends, Bend(start + length, 0.0)]


# Voices (52-54, 85, 91) are left out: they belong to the vocals' prior.
FAMILIES = (
    Family((40, 41, 42, 44, 48, 48, 49, 50, 51), 4.0, (sustained, sustained, melody)),
    Family((45, 46, 46), 1.0, (arpeggio, melody)),
    Family((16, 16, 17, 18, 18, 19, 20), 3.0, (sustained, stabs, melody)),
    Family((21, 22, 23), 0.8, (melody, sustained)),
    Family((56, 57, 59, 60, 61, 61, 62, 63), 2.5, (stabs, stabs, melody, sustained)),
    Family((64, 65, 66, 67, 68, 69, 70, 71), 2.0, (melody, melody, stabs)),
    Family((72, 73, 73, 74, 75, 76, 78, 79), 1.2, (melody,)),
    Family((80, 81, 81, 82, 83, 84, 86, 87), 2.5, (melody, arpeggio, stabs)),
    Family((88, 89, 89, 90, 92, 93, 94, 95), 2.5, (sustained,)),
    Family((8, 9, 10, 11, 11, 12, 13, 14, 15), 1.5, (arpeggio, melody)),
)
