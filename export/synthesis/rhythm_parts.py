"""Bass lines and drum grooves for a song."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .harmony import Chord, Song, humanised, nearest
from .midi import Bend, Note, Track

BASS_LOW, BASS_HIGH = 28, 52  # E1..E3, the four-string's useful range
BASS_PROGRAMS = (32, 33, 33, 33, 34, 34, 35, 36, 37, 38, 38, 39, 39)
DRUM_KITS = (0, 0, 0, 8, 8, 16, 16, 24, 25, 32, 40)

# One character per sixteenth: R root, 3 third, 5 fifth, 8 octave, a approach to the next
# chord, s a step of the scale, - hold, . rest.
BASS_PATTERNS = (
    "R---------------",
    "R-------R-------",
    "R-----R-R-------",
    "R---R---R---R---",
    "R-R-R-R-R-R-R-R-",
    "R-8-R-8-R-8-R-8-",
    "R--R--R-R--R--a-",
    "R---5---8---5---",
    "R---3---5---a---",
    "R---s---5---a---",
    "R..R..R...5.8.a.",
    "R.R...8.R..R5.a.",
    "..R...R...R...R.",
    "R--5--8-----5-a-",
    "RR.RR.8.RR.RR.5.",
    "R.......R.s.5.a.",
    "R-----5-R---5-8-",
)

KICK, SNARE, RIM, CLAP, HAT, PEDAL, OPEN = 36, 38, 37, 39, 42, 44, 46
BACKBEATS = (SNARE, RIM, CLAP)
RIDE, BELL, CRASHES, TOMS = 51, 53, (49, 57), (50, 48, 47, 45, 43, 41)
TAMBOURINE, COWBELL, SHAKER, CONGAS = 54, 56, 70, (62, 63, 64)

Groove = tuple[str, str, str]  # kick, snare, timekeeper

# X accent, x plain, g ghost.
GROOVES_16: tuple[Groove, ...] = (
    ("x.......x.......", "....X.......X...", "x.x.x.x.x.x.x.x."),
    ("x.....x.x.......", "....X.......X...", "X.x.X.x.X.x.X.x."),
    ("x..x..x...x.....", "....X..g.g..X..g", "xxxxxxxxxxxxxxxx"),
    ("x...x...x...x...", "....X.......X...", "..x...x...x...x."),
    ("x...x...x...x...", "....X.......X...", "x.X.x.X.x.X.x.X."),
    ("x.x.......x.x...", "....X..g....X...", "X.x.X.x.X.x.X.x."),
    ("x.........x.....", "........X.......", "x.x.x.x.x.x.x.x."),
    ("x......xx......x", "....X.......X...", "x...x...x...x..."),
    ("x..x...xx..x...x", "g...X.g.g...X.gg", "X.xxX.xxX.xxX.xx"),
    ("x.....x...x.....", "....X.......X...", "X...X..xX...X..x"),
    ("X.X.X.X.X.X.X.X.", "....X.......X...", "X...X...X...X..."),
    ("x...............", "........x.......", "x...x...x...x..."),
)
GROOVES_12: tuple[Groove, ...] = (
    ("x...........", "....x...x...", "x.x.x.x.x.x."),
    ("x.......x...", "......X.....", "x.x.x.x.x.x."),
    ("x....x......", "......X..g..", "XxxxxxXxxxxx"),
    ("x...x.......", "........X...", "X...x...x..."),
)


def bass_tracks(song: Song, rng: Random, patterns: Sequence[str] = ()) -> tuple[Track, ...]:
    """One bass that keeps a pattern, varies it, and runs into every fourth or eighth bar.

    Without `patterns`, the usual one and the rarer, they are drawn.
    """
    patterns = patterns or [rng.choice(BASS_PATTERNS) for _ in range(2)]
    held = rng.uniform(0.45, 1.0)
    connected = rng.random() < 0.6
    loudness = rng.randint(72, 112)
    phrase = rng.choice((4, 8))
    reference = rng.randint(33, 43)
    notes: list[Note] = []
    for bar, chord in enumerate(song.chords):
        following = song.chords[(bar + 1) % len(song.chords)]
        pattern = patterns[0] if rng.random() < 0.8 else patterns[1]
        root = nearest(chord.root, reference, BASS_LOW, BASS_LOW + 17)
        if bar % phrase == phrase - 1 and rng.random() < 0.6:
            pattern = pattern[: song.steps // 2] + _run(rng, song.steps - song.steps // 2)
        bar_notes = _bass_bar(song, bar, pattern[: song.steps], root, chord, following, rng)
        notes += [
            Note(n.start, n.length * held, n.pitch, n.velocity + loudness) for n in bar_notes
        ]
    if connected:
        notes = legato(rng, notes)
    notes = humanised(rng, notes, song.tempo_bpm, 0.004)
    bends = _slides(rng, notes) if rng.random() < 0.3 else ()
    return (Track(rng.choice(BASS_PROGRAMS), tuple(notes), bends=bends),)


def drum_tracks(
    song: Song, rng: Random, pair: tuple[Groove, Groove] | None = None
) -> tuple[Track, ...]:
    """A kit that keeps a groove, fills at the ends of phrases and crashes after them.

    The two grooves that take turns are drawn where they are not given.
    """
    grooves = GROOVES_16 if song.steps == 16 else GROOVES_12
    groove, other = pair or (rng.choice(grooves), rng.choice(grooves))
    timekeeper = rng.choice((HAT, HAT, HAT, RIDE, PEDAL))
    backbeat = rng.choices(BACKBEATS, (8, 1, 1))[0]
    colour = rng.choice((None, None, TAMBOURINE, SHAKER, COWBELL))
    phrase = rng.choice((4, 8))
    loudness = rng.randint(-15, 10)
    notes: list[Note] = []
    for bar in range(len(song.chords)):
        kick, snare, hat = groove if (bar // phrase) % 2 == 0 else other
        fills = bar % phrase == phrase - 1 and rng.random() < 0.75
        end = song.steps - rng.choice((4, 8, song.steps)) if fills else song.steps
        lines = [(KICK, kick), (backbeat, snare), (timekeeper, hat)]
        if colour is not None:
            lines.append((colour, "x.x.x.x.x.x.x.x."))
        for pitch, line in lines:
            notes += _hits(song, bar, pitch, line[:end])
        if fills:
            notes += _fill(song, bar, end, rng)
        if bar % phrase == 0 and rng.random() < 0.7:
            notes.append(Note(song.beat_of(bar, 0), 1.0, rng.choice(CRASHES), 108))
    notes = [_opened(rng, n) if n.pitch == HAT else n for n in notes]
    notes = [Note(n.start, n.length, n.pitch, n.velocity + loudness) for n in notes]
    notes = humanised(rng, notes, song.tempo_bpm, 0.005)
    return (Track(rng.choice(DRUM_KITS), tuple(notes), is_drums=True),)


def _bass_bar(
    song: Song, bar: int, pattern: str, root: int, chord: Chord, following: Chord, rng: Random
) -> list[Note]:
    """The pattern's notes with lengths up to the next onset; velocities relative to 0."""
    third = chord.intervals[1]
    tones = {"R": 0, "3": third, "5": 7, "8": 12, "s": rng.choice((2, third, -2))}
    notes = []
    for step, symbol in enumerate(pattern):
        if symbol in "-.":
            continue
        length = 1
        while step + length < len(pattern) and pattern[step + length] == "-":
            length += 1
        target = nearest(following.root, root, BASS_LOW, BASS_LOW + 17)
        pitch = target + rng.choice((-1, 1, -2, 2)) if symbol == "a" else root + tones[symbol]
        pitch = min(max(pitch, BASS_LOW), BASS_HIGH)
        accent = 6 if step % 4 == 0 else -4
        notes.append(Note(song.beat_of(bar, step), length / 4, pitch, accent))
    return notes


def legato(rng: Random, notes: list[Note]) -> list[Note]:
    """Every note held until the next one, or nearly so: most bass lines leave no gaps."""
    ends = [note.start for note in notes[1:]] + [notes[-1].start + notes[-1].length]
    return [
        Note(n.start, (end - n.start) * rng.uniform(0.95, 1.05), n.pitch, n.velocity)
        for n, end in zip(notes, ends, strict=True)
    ]


def _run(rng: Random, steps: int) -> str:
    """A busy end of a bar: eighths or sixteenths over chord tones into the next chord."""
    gap = rng.choice(("", "-"))
    cell = "".join(rng.choice("R35s8") + gap for _ in range(steps))
    return cell[: steps - 2] + "a-"


def _slides(rng: Random, notes: list[Note]) -> tuple[Bend, ...]:
    """Slide up into some of the longer notes."""
    bends = []
    for note in notes:
        if note.length >= 0.7 and rng.random() < 0.25:
            bends += [Bend(note.start - 0.01, -2.0), Bend(note.start + 0.06, -0.8)]
            bends.append(Bend(note.start + 0.12, 0.0))
    return tuple(bends)


def _hits(song: Song, bar: int, pitch: int, line: str) -> list[Note]:
    velocity = {"X": 112, "x": 92, "g": 42}
    return [
        Note(song.beat_of(bar, step), 0.2, pitch, velocity[mark] - (12 if step % 4 else 0))
        for step, mark in enumerate(line)
        if mark in velocity
    ]


def _fill(song: Song, bar: int, begin: int, rng: Random) -> list[Note]:
    """A way down the toms from `begin` to the end of the bar, getting louder."""
    notes = []
    span = song.steps - begin
    density = rng.uniform(0.55, 1.0)
    for step in range(begin, song.steps):
        progress = (step - begin) / max(1, span)
        tom = TOMS[min(int(progress * len(TOMS)), len(TOMS) - 1)]
        drum = rng.choice((SNARE, tom, tom, tom))
        if rng.random() < density:
            notes.append(Note(song.beat_of(bar, step), 0.2, drum, round(78 + 36 * progress)))
        if step % 4 == 0:
            notes.append(Note(song.beat_of(bar, step), 0.2, KICK, 95))
    return notes


def _opened(rng: Random, note: Note) -> Note:
    """Open the hi-hat now and then."""
    return Note(note.start, 0.4, OPEN, note.velocity) if rng.random() < 0.06 else note
