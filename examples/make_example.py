"""The recipe of the example song: composed here, played by a SoundFont, mixed to one file.

    python examples/make_example.py --soundfont /usr/share/sounds/sf2/FluidR3_GM.sf2

writes `examples/mix.flac`; `--stems FOLDER` also writes the five parts that were added up.
Needs the `fluidsynth` program (Debian: `fluidsynth`, `fluid-soundfont-gm`).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import soundfile
from numpy.typing import NDArray

from export.synthesis.harmony import humanised
from export.synthesis.midi import Bend, Control, Note, Score, Track
from export.synthesis.rendering import SAMPLE_RATE_HZ, synthesise

TEMPO_BPM = 102.0
BARS = 9  # a bar of drums and guitar, four of verse, four of chorus; the last chord rings on
RING_BEATS = 3.0
PEAK_DBFS = -1.0

# Level of each stem, and its place from 0 (left) to 127 (right), 64 being the middle.
LEVEL_DB = {"vocals": -19.0, "drums": -19.5, "bass": -20.5, "guitar": -24.0, "organ": -26.0}
PAN = {"bass": 64, "drums": 64, "guitar": 98, "organ": 30, "vocals": 64}

KICK, SNARE, HAT, OPEN_HAT, CRASH, TOMS = 36, 38, 42, 46, 49, (48, 45, 43)

# Root of the bass and the organ's voicing, bar by bar: A minor 7 and D 9 in the verse, then
# F major 7, G, E minor 7, A minor 7; the last row is the chord at the end.
CHORDS = (
    (33, (60, 64, 67)),
    (33, (60, 64, 67)),
    (38, (60, 64, 66)),
    (33, (60, 64, 67)),
    (38, (60, 64, 66)),
    (29, (60, 64, 69)),
    (31, (59, 62, 67)),
    (28, (59, 62, 67)),
    (33, (60, 64, 67)),
    (33, (57, 60, 64)),
)

# The tune: bar, sixteenth, length in sixteenths, pitch.
TUNE = (
    (1, 0, 3, 69), (1, 3, 3, 72), (1, 6, 6, 74), (1, 12, 2, 72), (1, 14, 2, 69),
    (2, 0, 6, 71), (2, 6, 2, 69), (2, 8, 5, 66),
    (3, 0, 3, 69), (3, 3, 3, 72), (3, 6, 4, 76), (3, 10, 3, 74), (3, 13, 3, 72),
    (4, 0, 8, 74), (4, 10, 2, 72), (4, 12, 2, 74), (4, 14, 2, 76),
    (5, 0, 7, 77), (5, 8, 4, 76), (5, 12, 4, 72),
    (6, 0, 7, 74), (6, 8, 4, 72), (6, 12, 4, 71),
    (7, 0, 4, 71), (7, 4, 4, 74), (7, 8, 8, 79),
    (8, 0, 6, 76), (8, 6, 2, 74), (8, 8, 4, 72), (8, 12, 4, 71),
    (9, 0, 10, 69),
)  # fmt: skip
# Second voice of the chorus, a third or a fourth below.
HARMONY = (
    (5, 0, 7, 72), (5, 8, 4, 72), (5, 12, 4, 69),
    (6, 0, 7, 71), (6, 8, 4, 67), (6, 12, 4, 67),
    (7, 0, 4, 67), (7, 4, 4, 71), (7, 8, 8, 74),
    (8, 0, 6, 72), (8, 6, 2, 71), (8, 8, 4, 69), (8, 12, 4, 67),
    (9, 0, 10, 64),
)  # fmt: skip


def main() -> None:
    """Render the stems, mix them and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soundfont", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("mix.flac"))
    parser.add_argument("--stems", type=Path, help="folder for the parts, 24-bit FLAC")
    arguments = parser.parse_args()

    stems = render_stems(arguments.soundfont)
    mix = np.sum(list(stems.values()), axis=0)
    soundfile.write(arguments.out, mix.T, SAMPLE_RATE_HZ, subtype="PCM_16")
    if arguments.stems is not None:
        arguments.stems.mkdir(parents=True, exist_ok=True)
        for name, audio in stems.items():
            path = arguments.stems / f"{name}.flac"
            soundfile.write(path, audio.T, SAMPLE_RATE_HZ, subtype="PCM_24")


def render_stems(soundfont: Path) -> dict[str, NDArray[np.float64]]:
    """Each part (2, samples), levelled; their sum peaks at PEAK_DBFS."""
    rng = Random(2024)
    parts = {
        "vocals": _vocals(rng),
        "drums": _drums(rng),
        "bass": _bass(rng),
        "guitar": _guitar(rng),
        "organ": _organ(rng),
    }
    stems = {}
    for name, tracks in parts.items():
        placed = tuple(_in_the_room(track, name) for track in tracks)
        score = Score(TEMPO_BPM, BARS * 4 + RING_BEATS, placed)
        audio = synthesise(score, soundfont, reverb=True, chorus=False).astype(np.float64)
        stems[name] = audio * (10 ** (LEVEL_DB[name] / 20) / np.sqrt(np.mean(audio**2)))
    peak = np.abs(np.sum(list(stems.values()), axis=0)).max()
    return {n: _faded(a * (10 ** (PEAK_DBFS / 20) / peak)) for n, a in stems.items()}


def _drums(rng: Random) -> tuple[Track, ...]:
    verse = {KICK: "x.....x.x..x....", SNARE: "....X..g.g..X..g", HAT: "x.xxx.xxx.xxx.x."}
    chorus = {KICK: "x..x..x.x..x..x.", SNARE: "....X..g....X.g.", OPEN_HAT: "x...x...x...x..."}
    notes = [Note(BARS * 4, 2.0, CRASH, 112), Note(BARS * 4, 0.3, KICK, 112)]
    for bar in range(BARS):
        groove = chorus if bar >= 5 else verse
        fills = bar in (0, 4, 8)
        for pitch, line in groove.items():
            notes += _line(bar, pitch, line[: 12 if fills else 16])
        if fills:
            for step in range(12, 16):
                drum = (SNARE, *TOMS)[step - 12]
                notes += [Note(_beat(bar, step), 0.2, drum, 92 + 6 * (step - 12))]
            notes.append(Note(_beat(bar, 12), 0.2, KICK, 100))
        if bar in (1, 5):
            notes.append(Note(_beat(bar, 0), 2.0, CRASH, 108))
    return (Track(0, tuple(humanised(rng, notes, TEMPO_BPM, 0.003)), is_drums=True),)


def _bass(rng: Random) -> tuple[Track, ...]:
    verse = ((0, 3, 0), (3, 1, 0), (6, 2, 12), (8, 2, 0), (11, 1, 7), (12, 2, 10), (14, 2, 12))
    chorus = tuple((step, 2, 0 if step % 8 < 6 else 7) for step in range(0, 16, 2))
    notes = [Note(BARS * 4, RING_BEATS, CHORDS[BARS][0], 104)]
    for bar in range(1, BARS):
        root = CHORDS[bar][0]
        for step, length, interval in chorus if bar >= 5 else verse:
            accent = 108 if step % 4 == 0 else 94
            notes.append(Note(_beat(bar, step), 0.9 * length / 4, root + interval, accent))
    return (Track(33, tuple(humanised(rng, notes, TEMPO_BPM, 0.004))),)


def _guitar(rng: Random) -> tuple[Track, ...]:
    """Muted chops in the verse, driven power chords in the chorus: two pick-ups, one player."""
    chops = "..x.x..x..x.x.xx"
    clean, driven = [], []
    for bar in range(BARS + 1):
        root, voicing = CHORDS[bar]
        if bar >= 5:
            hits = ((0, 12),) if bar == BARS else ((0, 6), (6, 2), (8, 4), (12, 4))
            for step, length in hits:
                driven += [
                    Note(_beat(bar, step), 0.95 * length / 4, root + i, 98) for i in (12, 19, 24)
                ]
        else:
            for step, mark in enumerate(chops):
                if mark == "x":
                    clean += [
                        Note(_beat(bar, step) + 0.012 * i, 0.16, p + 12 if p < 64 else p, 100)
                        for i, p in enumerate(voicing)
                    ]
    return (
        Track(27, tuple(humanised(rng, clean, TEMPO_BPM, 0.003))),
        Track(29, tuple(humanised(rng, driven, TEMPO_BPM, 0.003)), controls=(Control(0, 7, 74),)),
    )


def _organ(rng: Random) -> tuple[Track, ...]:
    notes = []
    for bar in range(1, BARS + 1):
        _, voicing = CHORDS[bar]
        length = RING_BEATS if bar == BARS else 3.95
        pitches = voicing if bar < 5 else (*voicing, voicing[0] + 12)
        notes += [Note(_beat(bar, 0), length, p, 84) for p in pitches]
        if bar % 2 == 0 and bar < BARS:
            notes += [Note(_beat(bar, 14), 0.4, voicing[-1] + 12, 92)]
    swell = tuple(Control(b, 11, 88 + round(39 * (b % 8) / 8)) for b in range(4, BARS * 4))
    return (Track(18, tuple(humanised(rng, notes, TEMPO_BPM, 0.005)), controls=swell),)


def _vocals(rng: Random) -> tuple[Track, ...]:
    """The tune on voice oohs and choir aahs together, a second voice in the chorus."""
    tune = humanised(rng, _sung(TUNE, 106), TEMPO_BPM, 0.006)
    second = humanised(rng, _sung(HARMONY, 88), TEMPO_BPM, 0.008)
    bends = tuple(bend for note in tune for bend in _scoop(note))
    vibrato = (Control(0, 1, 24),)
    softer = (Control(0, 7, 70), *vibrato)
    return (
        Track(53, tuple(tune), controls=vibrato, bends=bends),
        Track(52, tuple(tune), controls=softer, bends=bends),
        Track(52, tuple(second), controls=softer),
    )


def _sung(lines: tuple[tuple[int, int, int, int], ...], velocity: int) -> list[Note]:
    return [Note(_beat(bar, step), 0.98 * n / 4, pitch, velocity) for bar, step, n, pitch in lines]


def _scoop(note: Note) -> list[Bend]:
    """Singers reach a note from a little below."""
    return [
        Bend(max(0.0, note.start - 0.01), -0.7),
        Bend(note.start + 0.07, -0.3),
        Bend(note.start + 0.13, 0.0),
    ]


def _line(bar: int, pitch: int, marks: str) -> list[Note]:
    velocity = {"X": 112, "x": 90, "g": 45}
    return [
        Note(_beat(bar, step), 0.2, pitch, velocity[mark] - (14 if step % 2 else 0))
        for step, mark in enumerate(marks)
        if mark in velocity
    ]


def _beat(bar: int, step: int) -> float:
    return bar * 4 + step / 4


def _in_the_room(track: Track, stem: str) -> Track:
    room = (Control(0, 7, 100), Control(0, 10, PAN[stem]), Control(0, 91, 40))
    return replace(track, controls=room + track.controls)


def _faded(audio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let the last half second die away."""
    length = SAMPLE_RATE_HZ // 2
    audio[:, -length:] *= 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, length))
    return audio


if __name__ == "__main__":
    main()
