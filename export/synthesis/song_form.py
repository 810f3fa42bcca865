"""The plan of a whole song: style, sections, harmony, groove, and who plays in which section.

A section that returns sounds as it did: everything in it is drawn from the song's name and the
section's, so that the second chorus is the first one again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType

from .harmony import MAJOR, MINOR, PROGRESSIONS, Chord, Song, diatonic
from .midi import Bend, Control, Note, Track
from .rhythm_parts import BASS_PATTERNS, GROOVES_12, GROOVES_16, Groove

SONG_S = (40.0, 60.0)
FORMS = (
    ("intro", "verse", "chorus", "verse", "chorus", "break", "chorus"),
    ("verse", "chorus", "break", "verse", "chorus"),
    ("intro", "verse", "verse", "chorus", "break", "chorus"),
    ("chorus", "verse", "chorus", "break", "chorus"),
)
_BARS = MappingProxyType({"intro": (2, 4), "verse": (4, 8), "chorus": (4, 8), "break": (2, 4)})
# how often a part plays in a section, where the song has it at all
_PLAYS = MappingProxyType(
    {
        "vocals": {"intro": 0.15, "verse": 0.95, "chorus": 1.0, "break": 0.4},
        "bass": {"intro": 0.6, "verse": 0.9, "chorus": 1.0, "break": 0.6},
        "drums": {"intro": 0.6, "verse": 0.95, "chorus": 1.0, "break": 0.6},
        "guitar": {"intro": 0.8, "verse": 0.8, "chorus": 0.95, "break": 0.7},
        "piano": {"intro": 0.8, "verse": 0.8, "chorus": 0.9, "break": 0.8},
        "other": {"intro": 0.8, "verse": 0.7, "chorus": 0.95, "break": 0.8},
    }
)
_LOCKED = 0.5  # how often the bass plays with the kick


@dataclass(frozen=True)
class Style:
    """What songs of a kind have in common; `chances` is how often they have each stem."""

    tempo_bpm: tuple[float, float]
    grooves: tuple[int, ...]  # of GROOVES_16
    chances: Mapping[str, float]
    driven: float = 0.3  # how often a guitar is distorted
    synthetic: float = 0.5  # how often basses, drums and other are synthesizers
    pumping: float = 0.1  # how often the kick ducks the rest
    waltz: float = 0.1
    swing: float = 0.1


def _chances(*shares: float) -> Mapping[str, float]:
    stems = ("vocals", "bass", "drums", "guitar", "piano", "other")
    return MappingProxyType(dict(zip(stems, shares, strict=True)))


STYLES: Mapping[str, Style] = MappingProxyType(
    {
        "rock": Style(
            (92, 168), (0, 1, 4, 5, 10), _chances(0.9, 1, 1, 1, 0.3, 0.5), 0.7, 0.15, 0.0
        ),
        "metal": Style((96, 190), (1, 4, 9, 10), _chances(0.85, 1, 1, 1, 0.1, 0.4), 1.0, 0.1, 0),
        "pop": Style((84, 132), (0, 1, 3, 4, 7), _chances(0.95, 1, 1, 0.7, 0.7, 0.9), 0.2, 0.5),
        "electronic": Style(
            (100, 142), (3, 3, 4, 7), _chances(0.85, 1, 1, 0.25, 0.4, 1), 0.2, 0.95, 0.5, 0
        ),
        "soul": Style(
            (72, 118), (2, 5, 7, 8), _chances(0.9, 1, 1, 0.8, 0.8, 0.8), 0.1, 0.3, 0, 0.2, 0.4
        ),
        "ballad": Style(
            (60, 92), (6, 11, 0), _chances(0.95, 0.9, 0.8, 0.7, 0.9, 0.8), 0.1, 0.3, 0, 0.3
        ),
        "hip hop": Style(
            (74, 104), (2, 6, 7, 8), _chances(0.9, 1, 1, 0.3, 0.6, 0.9), 0.1, 0.7, 0.15, 0, 0.4
        ),
        "folk": Style(
            (76, 140), (0, 1, 11), _chances(0.95, 0.9, 0.6, 1, 0.4, 0.6), 0.0, 0.1, 0, 0.3, 0.2
        ),
    }
)


@dataclass(frozen=True)
class SongSection:
    """Bars of a song under one name."""

    name: str
    first_bar: int
    bars: int


@dataclass(frozen=True)
class Plan:
    """A song before its parts are written."""

    name: str
    style: Style
    song: Song
    sections: tuple[SongSection, ...]
    grooves: Mapping[str, Groove]  # of the sections, by name
    bass_patterns: Mapping[str, tuple[str, str]]
    playing: Mapping[str, frozenset[str]]  # stem: names of the sections it plays in

    @property
    def stems(self) -> tuple[str, ...]:
        """Stems that the song has."""
        return tuple(stem for stem, names in self.playing.items() if names)

    def rng(self, *words: str) -> Random:
        """The dice of one thing in this song."""
        return Random("/".join((self.name, *words)))


def random_plan(name: str) -> Plan:
    """The plan of the song of that name; every name has its own."""
    rng = Random(f"{name}/plan")
    style = STYLES[rng.choice(tuple(STYLES))]
    tempo_bpm = rng.uniform(*style.tempo_bpm)
    steps = 12 if rng.random() < style.waltz else 16
    swing = rng.uniform(0.15, 0.33) if rng.random() < style.swing else 0.0
    sections = _sections(rng, tempo_bpm, steps)
    key, scale = rng.randrange(12), rng.choice((MAJOR, MAJOR, MINOR))
    song = Song(key, scale, tempo_bpm, steps, swing, _harmony(rng, key, scale, sections))
    names = list(dict.fromkeys(section.name for section in sections))
    grooves = {section: _groove(rng, style, steps) for section in names}
    if rng.random() < 0.5:
        grooves = dict.fromkeys(names, grooves[names[0]])
    patterns = {section: _bass_patterns(rng, grooves[section][0]) for section in names}
    playing = {
        stem: frozenset(n for n in names if rng.random() < _PLAYS[stem][n])
        for stem, chance in style.chances.items()
        if rng.random() < chance
    }
    return Plan(name, style, song, sections, grooves, patterns, playing)


def in_sections(
    plan: Plan, stem: str, part: str, player: Callable[[Song, Random, SongSection], Track]
) -> tuple[Track, ...]:
    """What `player` writes for every section in which the stem plays, as one track, or none."""
    notes: list[Note] = []
    bends: list[Bend] = []
    controls: list[Control] = []
    program, is_drums = 0, False
    for section in plan.sections:
        if section.name not in plan.playing.get(stem, ()):
            continue
        bars = plan.song.chords[section.first_bar : section.first_bar + section.bars]
        begin = section.first_bar * plan.song.beats_per_bar
        end = begin + section.bars * plan.song.beats_per_bar
        track = player(replace(plan.song, chords=bars), plan.rng(part, section.name), section)
        program, is_drums = track.program, track.is_drums
        notes += [replace(n, start=n.start + begin) for n in track.notes if n.start + begin < end]
        bends += [replace(b, beat=b.beat + begin) for b in track.bends]
        controls += [replace(c, beat=c.beat + begin) for c in track.controls]
        if any(c.number == 64 for c in track.controls):
            controls.append(Control(end, 64, 0))
    if not notes:
        return ()
    return (Track(program, tuple(notes), is_drums, tuple(controls), tuple(bends)),)


def locked_to(kick: str, rng: Random, density: float) -> str:
    """A bass pattern with a note at every stroke of the kick and, `density` of the time, at
    eighths between them; notes are held to the next one or short."""
    line = ["R" if mark in "Xx" else "." for mark in kick]
    line[0] = "R"
    for step in range(2, len(line), 2):
        if line[step] == "." and rng.random() < density:
            line[step] = rng.choice("RRR583s")
    if rng.random() < 0.5:
        line[-2] = rng.choice(("a", line[-2]))
    if rng.random() < 0.75:
        for step in range(1, len(line)):
            if line[step] == ".":
                line[step] = "-"
    return "".join(line)


def _sections(rng: Random, tempo_bpm: float, steps: int) -> tuple[SongSection, ...]:
    """Sections of a form, up to the song's length; what returns is as long as it was."""
    bars_wanted = max(2, round(rng.uniform(*SONG_S) * tempo_bpm / 60 / (steps / 4)))
    lengths = {name: rng.choice(bars) for name, bars in _BARS.items()}
    sections: list[SongSection] = []
    bar, form = 0, rng.choice(FORMS)
    while bar < bars_wanted:
        name = form[len(sections) % len(form)]
        bars = min(lengths[name], bars_wanted - bar)
        sections.append(SongSection(name, bar, bars))
        bar += bars
    return tuple(sections)


def _harmony(
    rng: Random, key: int, scale: tuple[int, ...], sections: Sequence[SongSection]
) -> tuple[Chord, ...]:
    """One chord per bar, the same whenever a section returns."""
    richness = rng.random()
    turns = {name: rng.choice(PROGRESSIONS) for name in _BARS}
    voiced: dict[tuple[str, int], Chord] = {}
    chords = []
    for section in sections:
        turn = turns[section.name]
        for bar in range(section.bars):
            place = section.name, bar % len(turn)
            if place not in voiced:
                voiced[place] = diatonic(rng, key, scale, turn[place[1]], richness)
            chords.append(voiced[place])
    return tuple(chords)


def _groove(rng: Random, style: Style, steps: int) -> Groove:
    return GROOVES_16[rng.choice(style.grooves)] if steps == 16 else rng.choice(GROOVES_12)


def _bass_patterns(rng: Random, kick: str) -> tuple[str, str]:
    density = rng.choice((0.0, 0.15, 0.4, 0.8))
    if rng.random() < _LOCKED:
        return locked_to(kick, rng, density), locked_to(kick, rng, density)
    return rng.choice(BASS_PATTERNS), rng.choice(BASS_PATTERNS)
