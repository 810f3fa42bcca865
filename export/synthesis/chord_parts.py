"""Guitar and piano parts for a song."""

from __future__ import annotations

from random import Random

from .harmony import PENTATONIC_STEPS, Chord, Song, close_voicing, humanised, nearest
from .midi import Bend, Control, Note, Track

OPEN_STRINGS = (40, 45, 50, 55, 59, 64)
CLEAN_GUITARS = (24, 24, 25, 25, 25, 26, 27, 27, 27, 28)
DRIVEN_GUITARS = (29, 29, 30, 30)
LEAD_GUITARS = (25, 26, 27, 29, 29, 30, 31)
PIANOS = (0, 0, 0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 7)

# D down-stroke, U up-stroke, - ring, . damped.
STRUMS = (
    "D---D---D---D---",
    "D---D-U---U-D-U-",
    "D-D-D-D-D-D-D-D-",
    "D---------------",
    "D--D--D---D-D-U-",
    "..D...D...D...D.",
    "D.U.D.U.D.U.D.U.",
    "D-UUD-UUD-UUD-UU",
    "....D.......D...",
)
CHUGS = ("xxxxxxxxxxxxxxxx", "x.x.x.x.x.x.x.x.", "x.xxx.xxx.xxx.xx", "x---..x-x---..x-")
FIGURES = (  # indices into the sounding strings, lowest first
    (0, 2, 3, 4, 3, 2, 3, 2),
    (0, 3, 2, 3, 1, 3, 2, 3),
    (0, 1, 2, 3, 4, 3, 2, 1),
    (0, 2, 1, 3, 2, 4, 3, 2),
)
COMPS = (
    "x---------------",
    "x-------x-------",
    "x---x---x---x---",
    "x-x-x-x-x-x-x-x-",
    "x--x--x---x--x--",
    "..x-..x-..x-..x-",
    "x-----x---x-----",
)


def guitar_tracks(song: Song, rng: Random) -> tuple[Track, ...]:
    """One or two guitars: strummed, picked, driven power chords, a riff or a lead line."""
    players = [strummed, picked, driven, riff]
    first = rng.choices(players, (4, 3, 3, 3))[0]
    tracks = [first(song, rng)]
    if rng.random() < 0.3:
        tracks.append(riff(song, rng))
    return tuple(tracks)


def piano_tracks(song: Song, rng: Random) -> tuple[Track, ...]:
    """Two hands: a bass or broken chords below, comping, arpeggios or a tune above."""
    left = rng.choice((_left_octaves, _left_broken, _left_octaves, None))
    right = rng.choice((_right_comp, _right_comp, _right_arpeggio, _right_tune))
    notes = right(song, rng) + (left(song, rng) if left else [])
    loudness = rng.randint(-22, 18)
    notes = [Note(n.start, n.length, n.pitch, n.velocity + loudness) for n in notes]
    notes = humanised(rng, notes, song.tempo_bpm, 0.006)
    pedal: list[Control] = []
    if rng.random() < 0.6:
        for bar in range(len(song.chords)):
            start = bar * song.beats_per_bar
            pedal += [Control(start, 64, 0), Control(start + 0.08, 64, 127)]
        pedal.append(Control(song.beats, 64, 0))
    return (Track(rng.choice(PIANOS), tuple(notes), controls=tuple(pedal)),)


def fretted(chord: Chord, position: int) -> tuple[int, ...]:
    """The lowest chord tone on each string at or above a fret: a playable shape."""
    shape = []
    for string in OPEN_STRINGS:
        reach = range(string + position, string + position + 6)
        options = [p for p in reach if p % 12 in chord.pitch_classes]
        if options:
            shape.append(options[0])
    while len(shape) > 3 and shape[0] % 12 != chord.root:
        shape.pop(0)  # the root sounds lowest
    return tuple(shape)


def strummed(song: Song, rng: Random) -> Track:
    pattern = rng.choice(STRUMS)
    position = rng.choice((0, 0, 0, 3, 5, 7))
    spread_s = rng.uniform(0.006, 0.022)
    loudness = rng.randint(68, 104)
    notes: list[Note] = []
    for bar, chord in enumerate(song.chords):
        shape = fretted(chord, position)
        line = pattern[: song.steps]
        for step, stroke in enumerate(line):
            if stroke not in "DU":
                continue
            length = 1 + len(line[step + 1 :]) - len(line[step + 1 :].lstrip("-"))
            strings = shape if stroke == "D" else tuple(reversed(shape[-4:]))
            velocity = loudness + (6 if step % 8 == 0 else 0) - (10 if stroke == "U" else 0)
            gap = spread_s * song.tempo_bpm / 60
            for order, pitch in enumerate(strings):
                start = song.beat_of(bar, step) + order * gap
                notes.append(Note(start, length / 4, pitch, velocity - 2 * order))
    played = humanised(rng, notes, song.tempo_bpm, 0.002)
    return Track(rng.choice(CLEAN_GUITARS), tuple(played))


def picked(song: Song, rng: Random) -> Track:
    figure = rng.choice(FIGURES)
    stride = rng.choice((1, 2, 2))
    position = rng.choice((0, 0, 2, 5, 7))
    ring = rng.uniform(0.4, 2.0)
    loudness = rng.randint(64, 100)
    notes = []
    for bar, chord in enumerate(song.chords):
        shape = fretted(chord, position)
        for count, step in enumerate(range(0, song.steps, stride)):
            pitch = shape[figure[count % len(figure)] % len(shape)]
            accent = 8 if count % 4 == 0 else 0
            notes.append(Note(song.beat_of(bar, step), ring, pitch, loudness + accent))
    return Track(rng.choice(CLEAN_GUITARS), tuple(humanised(rng, notes, song.tempo_bpm, 0.004)))


def driven(song: Song, rng: Random) -> Track:
    """Power chords, root, fifth and octave, chugged or held."""
    pattern = rng.choice(CHUGS)
    held = rng.uniform(0.5, 1.0)
    notes = []
    for bar, chord in enumerate(song.chords):
        root = nearest(chord.root, 45, 40, 52)
        line = pattern[: song.steps]
        for step, mark in enumerate(line):
            if mark != "x":
                continue
            length = 1 + len(line[step + 1 :]) - len(line[step + 1 :].lstrip("-"))
            for interval in (0, 7, 12):
                velocity = 104 if step % 4 == 0 else 88
                notes.append(
                    Note(song.beat_of(bar, step), held * length / 4, root + interval, velocity)
                )
    program = rng.choice((*DRIVEN_GUITARS, 28, 27))
    return Track(program, tuple(humanised(rng, notes, song.tempo_bpm, 0.003)))


def riff(song: Song, rng: Random) -> Track:
    """A two-bar pentatonic figure that returns, with bends on some long notes."""
    steps = PENTATONIC_STEPS[song.scale]
    octave = rng.choice((2, 3, 3, 4))
    place = rng.randrange(2, 6)
    figure: list[tuple[int, int, int]] = []
    at = 0
    while at < 2 * song.steps:
        length = rng.choice((1, 2, 2, 2, 4, 4, 6))
        place = min(max(place + rng.choice((-2, -1, -1, 0, 1, 1, 2)), 0), 8)
        if rng.random() < 0.8:
            degree = steps[place % 5] + 7 * (place // 5)
            figure.append((at, length, song.scale_pitch(degree, octave)))
        at += length
    notes: list[Note] = []
    bends: list[Bend] = []
    for bar in range(0, len(song.chords), 2):
        for step, length, pitch in figure:
            if rng.random() < 0.07:
                continue
            start = song.beat_of(bar, step)
            notes.append(Note(start, 0.9 * length / 4, pitch, rng.randint(80, 112)))
            if length >= 4 and rng.random() < 0.4:
                bends += _vibrato(start, length / 4)
    notes = [n for n in notes if n.start < song.beats]
    return Track(rng.choice(LEAD_GUITARS), tuple(notes), bends=tuple(bends))


def _vibrato(start: float, length: float) -> list[Bend]:
    """A string pushed up and down by a third of a semitone, released at the end."""
    wave = (0.0, 0.25, 0.35, 0.2, 0.0)
    times = [start + 0.3 * length + 0.06 * i for i in range(int(length / 0.1))]
    bends = [Bend(t, wave[i % len(wave)]) for i, t in enumerate(times)]
    return [*bends, Bend(start + length, 0.0)]


def _left_octaves(song: Song, rng: Random) -> list[Note]:
    pattern = rng.choice(COMPS[:5])
    doubled = rng.random() < 0.5
    notes = []
    for bar, chord in enumerate(song.chords):
        root = nearest(chord.root, 40, 31, 48)
        for step, length in _onsets(pattern[: song.steps]):
            start = song.beat_of(bar, step)
            notes.append(Note(start, length, root, 78))
            if doubled:
                notes.append(Note(start, length, root + 12, 72))
    return notes


def _left_broken(song: Song, rng: Random) -> list[Note]:
    stride = rng.choice((2, 2, 4))
    order = rng.choice(((0, 2, 1, 2), (0, 1, 2, 1), (0, 2, 3, 2)))
    notes = []
    for bar, chord in enumerate(song.chords):
        root = nearest(chord.root, 43, 36, 50)
        tones = [root + i for i in (*chord.intervals[:3], 12)]
        for count, step in enumerate(range(0, song.steps, stride)):
            pitch = tones[order[count % len(order)]]
            notes.append(Note(song.beat_of(bar, step), stride / 4, pitch, 70))
    return notes


def _right_comp(song: Song, rng: Random) -> list[Note]:
    pattern = rng.choice(COMPS)
    low = rng.choice((52, 55, 60, 64))
    voicing: tuple[int, ...] = ()
    notes = []
    for bar, chord in enumerate(song.chords):
        voicing = close_voicing(chord, low, low + 17, voicing)
        for step, length in _onsets(pattern[: song.steps]):
            velocity = 86 if step % 4 == 0 else 76
            notes += [Note(song.beat_of(bar, step), length, p, velocity) for p in voicing]
    return notes


def _right_arpeggio(song: Song, rng: Random) -> list[Note]:
    stride = rng.choice((1, 2, 2))
    low = rng.choice((52, 60, 67))
    notes = []
    for bar, chord in enumerate(song.chords):
        tones = [p for p in range(low, low + 25) if p % 12 in chord.pitch_classes]
        path = tones + tones[-2:0:-1]
        for count, step in enumerate(range(0, song.steps, stride)):
            pitch = path[count % len(path)]
            notes.append(Note(song.beat_of(bar, step), stride / 4, pitch, 78))
    return notes


def _right_tune(song: Song, rng: Random) -> list[Note]:
    """A tune that prefers small steps and lands on chord tones at the beginning of bars."""
    place = rng.randrange(0, 8)
    notes = []
    for bar, chord in enumerate(song.chords):
        step = 0
        while step < song.steps:
            length = min(rng.choice((2, 2, 4, 4, 8)), song.steps - step)
            place = min(max(place + rng.choice((-2, -1, -1, 0, 1, 1, 2)), -3), 12)
            pitch = song.scale_pitch(place, 4)
            if step == 0:
                pitch = nearest(rng.choice(chord.pitch_classes), pitch, 55, 90)
            if rng.random() < 0.85:
                notes.append(Note(song.beat_of(bar, step), 0.95 * length / 4, pitch, 92))
            step += length
    return notes


def _onsets(line: str) -> list[tuple[int, float]]:
    """(step, length in beats) of every x with the dashes after it."""
    found = []
    for step, mark in enumerate(line):
        if mark == "x":
            rest = line[step + 1 :]
            found.append((step, (1 + len(rest) - len(rest.lstrip("-"))) / 4))
    return found
