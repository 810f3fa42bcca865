"""The singers of a song: a lead, its doubles and harmonies, and held backings.

Audio is (2, samples), 44.1 kHz, float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from . import vocal_parts
from .harmony import Song
from .midi import Note, Track
from .mixing_desk import Stereo, effected, placed
from .singing import Throat, sing, syllables
from .song_form import Plan, SongSection, in_sections
from .studio import late, seconds_of, summed, widened

_DOUBLED = 0.4  # how often a lead is doubled, and in how many of them throughout
_HARMONISED = 0.45
_BACKED = 0.25
_HARMONIES = (2, 2, -2, -3, 5)  # degrees of the scale


def lead_line(plan: Plan) -> tuple[Track, ...]:
    """What the lead sings, or nothing."""
    low = _lead_throat(plan).low

    def lead(song: Song, rng: Random, section: SongSection) -> Track:
        return vocal_parts.lead(song, rng, low, lifted=section.name == "chorus")

    return in_sections(plan, "vocals", "lead", lead)


def vocals(plan: Plan, lines: Sequence[Track]) -> Stereo | None:
    """The lead line and whoever sings with it."""
    if not lines:
        return None
    rng, throat = plan.rng("voices"), _lead_throat(plan)
    melisma = rng.choice((0.05, 0.2, 0.5))
    lead = list(lines[0].notes)
    chorus = _notes_in(plan, lead, "chorus")
    parts = [_sung(plan, lead, throat, melisma, rng, rng.uniform(-0.1, 0.1))]
    if rng.random() < _DOUBLED:
        doubled = [late(n, rng) for n in (lead if rng.random() < _DOUBLED else chorus)]
        for pan in (-0.6, 0.6) if rng.random() < 0.4 else (rng.uniform(-0.3, 0.3),):
            if doubled:
                voice = _sung(plan, doubled, throat.twin(rng), melisma, rng, pan)
                parts.append(rng.uniform(0.3, 0.7) * voice)
    if chorus and rng.random() < _HARMONISED:
        steps = rng.choice(_HARMONIES)
        line = vocal_parts.harmony(plan.song, Track(0, tuple(chorus)), rng, steps)
        other = throat.twin(rng) if rng.random() < 0.5 else Throat.random(rng)
        voice = _sung(plan, line.notes, other, melisma, rng, rng.uniform(-0.7, 0.7))
        parts.append(rng.uniform(0.3, 0.7) * voice)
    if rng.random() < _BACKED:
        parts += _held_backing(plan, rng)
    sung = summed([effected(part, "vocals", plan.song.tempo_bpm, rng) for part in parts])
    return None if sung is None else widened(sung, rng, rng.uniform(0.0, 0.6))


def _lead_throat(plan: Plan) -> Throat:
    return Throat.random(plan.rng("throat"))


def _sung(
    plan: Plan, notes: Sequence[Note], throat: Throat, melisma: float, rng: Random, pan: float
) -> Stereo:
    """The song's words on some notes: the same words wherever the notes are the lead's."""
    words = syllables(notes, plan.song.tempo_bpm, plan.rng("words"), words=True, melisma=melisma)
    return placed(sing(words, throat, seconds_of(plan), rng), pan)


def _held_backing(plan: Plan, rng: Random) -> list[Stereo]:
    """Two or three voices on one vowel, spread over the stereo field."""
    parts, count = [], rng.choice((2, 3))
    for voice in range(count):
        throat = Throat.random(rng)

        def backing(
            song: Song, own: Random, _: SongSection, v: int = voice, t: Throat = throat
        ) -> Track:
            return vocal_parts.backing(song, own, t.low + 3, v)

        for track in in_sections(plan, "vocals", "backing", backing):
            held = _notes_in(plan, track.notes, "chorus") or list(track.notes)
            vowel = plan.rng("vowel")
            sung = syllables(held, plan.song.tempo_bpm, vowel, words=False, melisma=0.7)
            pan = 0.8 * (2 * voice / (count - 1) - 1)
            audio = sing(sung, throat, seconds_of(plan), rng)
            parts.append(rng.uniform(0.2, 0.45) * placed(audio, pan))
    return parts


def _notes_in(plan: Plan, notes: Sequence[Note], name: str) -> list[Note]:
    """Those notes that begin in sections of that name."""
    bar = plan.song.beats_per_bar
    spans = [
        (s.first_bar * bar, (s.first_bar + s.bars) * bar) for s in plan.sections if s.name == name
    ]
    return [n for n in notes if any(a <= n.start < b for a, b in spans)]
