"""Vocal lines for a song: leads in phrases with breaths, doubles, harmonies and held backings."""

from __future__ import annotations

from random import Random

from .harmony import Song, close_voicing, humanised, nearest
from .midi import Note, Track

# sixteenths of two bars at which syllables begin; the second bar's end is left to breathe
RHYTHMS = (
    (0, 4, 8, 12, 16, 20),
    (0, 2, 4, 6, 8, 12, 16, 18, 20),
    (2, 4, 6, 8, 12, 14, 16, 20),
    (0, 3, 6, 8, 11, 14, 16, 19, 22),
    (4, 6, 8, 10, 12, 16, 20, 22),
    (0, 6, 8, 14, 16),
    (0, 1, 2, 4, 6, 7, 8, 10, 12, 14, 16, 18, 20, 22),
    (0, 8, 16),
)


def lead(song: Song, rng: Random, low: int, *, lifted: bool) -> Track:
    """A line of two-bar phrases within a tenth above `low`; a `lifted` one lies higher, as in a
    chorus, and holds longer notes."""
    rhythm = rng.choice(RHYTHMS)
    tune = [rng.choice((-2, -1, -1, 0, 0, 1, 1, 2)) for _ in rhythm]
    held = rng.uniform(0.92, 1.03) if lifted else rng.uniform(0.8, 1.03)
    centre = low + (9 if lifted else 5)
    degrees = [d for d in range(-20, 60) if low <= song.scale_pitch(d, 3) <= low + 17]
    place = min(range(len(degrees)), key=lambda i: abs(song.scale_pitch(degrees[i], 3) - centre))
    notes: list[Note] = []
    for bar in range(0, len(song.chords), 2):
        if rng.random() < 0.06:
            continue  # a phrase of silence
        for index, step in enumerate(rhythm):
            following = rhythm[index + 1] if index + 1 < len(rhythm) else step + rng.choice((4, 6))
            at_bar, at_step = bar + step // song.steps, step % song.steps
            if at_bar >= len(song.chords):
                break
            move = tune[index] if rng.random() < 0.85 else rng.choice((-2, -1, 1, 2))
            place = min(max(place + move, 0), len(degrees) - 1)
            pitch = song.scale_pitch(degrees[place], 3)
            if step % 8 == 0:
                pitch = nearest(
                    rng.choice(song.chords[at_bar].pitch_classes[:3]), pitch, low - 2, low + 19
                )
            length = held * (following - step) / 4
            velocity = rng.randint(82, 112) + (6 if lifted else 0)
            notes.append(Note(song.beat_of(at_bar, at_step), length, pitch, velocity))
    return Track(0, tuple(humanised(rng, notes, song.tempo_bpm, 0.012)))


def harmony(song: Song, line: Track, rng: Random, steps: int) -> Track:
    """The same words `steps` degrees of the scale away."""
    classes = sorted({(song.key + s) % 12 for s in song.scale})
    scale = [p for p in range(128) if p % 12 in classes]

    def moved(note: Note) -> Note:
        at = min(range(len(scale)), key=lambda i: abs(scale[i] - note.pitch))
        pitch = scale[min(max(at + steps, 0), len(scale) - 1)]
        return Note(note.start, note.length, pitch, note.velocity)

    return Track(0, tuple(humanised(rng, [moved(n) for n in line.notes], song.tempo_bpm, 0.015)))


def backing(song: Song, rng: Random, low: int, voice: int) -> Track:
    """One voice of held chords."""
    voicing: tuple[int, ...] = ()
    notes = []
    for bar, chord in enumerate(song.chords):
        voicing = close_voicing(chord, low, low + 17, voicing)
        pitch = voicing[voice % len(voicing)]
        notes.append(Note(song.beat_of(bar, 0), 0.97 * song.beats_per_bar, pitch, 80))
    return Track(0, tuple(humanised(rng, notes, song.tempo_bpm, 0.02)))
