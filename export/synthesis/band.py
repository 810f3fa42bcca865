"""The band: who plays drums, bass, guitars, pianos and everything else of a song, and on what.

Every player returns (2, samples), 44.1 kHz, float32, or nothing where the stem rests throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from . import chord_parts, ensemble_parts
from .computed_drums import computed_kit
from .computed_ensembles import Bowed, Organ, Remembered
from .computed_instruments import (
    Float64Audio,
    FrequencyModulated,
    String,
    Subtractive,
    Voice,
    amplified,
    low_pass,
    peak_normalised,
    play,
)
from .computed_pianos import Hammered, Picked, pedalled
from .drum_kits import drum_of_pitch
from .harmony import Song
from .midi import Note, Track
from .mixing_desk import Stereo, effected, placed
from .rhythm_parts import BACKBEATS, KICK, bass_tracks, drum_tracks, legato
from .song_form import Plan, SongSection, in_sections
from .studio import Studio, late, score_of, summed, widened

_KIT_PROGRAMS = (0, 0, 8, 8, 16, 24, 25, 32)
_FINGERED = (32, 33, 34, 35, 36, 37)  # General MIDI's basses with strings
_HELD = 0.65  # how often a bass line leaves no gaps
_APART_S = 0.010  # how far a bass is from the drums on average, and from note to note
_SECOND_GUITAR = 0.35

Player = Callable[[Song, Random], Track]


def drum_track(plan: Plan) -> tuple[Track, ...]:
    """What the drummer plays: the section's groove, sometimes another section's now and then;
    in intros and breaks sometimes without kick or backbeat."""

    def player(song: Song, rng: Random, section: SongSection) -> Track:
        groove = plan.grooves[section.name]
        busier = groove if rng.random() < 0.6 else rng.choice(tuple(plan.grooves.values()))
        (track,) = drum_tracks(song, rng, (groove, busier))
        if section.name in ("break", "intro") and rng.random() < 0.3:
            dropped = (KICK,) if rng.random() < 0.5 else BACKBEATS
            track = replace(track, notes=tuple(n for n in track.notes if n.pitch not in dropped))
        return track

    return in_sections(plan, "drums", "drums", player)


def drums(plan: Plan, studio: Studio) -> Stereo | None:
    """Drums on recorded kits taken apart, a SoundFont's or computed ones."""
    tracks, rng = drum_track(plan), plan.rng("kit")
    if not tracks:
        return None
    if studio.soundfonts and (studio.kits is None or rng.random() < 0.2):
        return studio.through_soundfont(plan, tracks[0], rng.choice(_KIT_PROGRAMS), rng)
    score = score_of(plan, tracks)
    if studio.kits is None:
        mono = computed_kit(score, drum_of_pitch, rng)
    else:
        mono = studio.kits.play(score, rng)
    return widened(placed(mono, 0.0), rng, rng.uniform(0.2, 0.9))


def bass(plan: Plan, studio: Studio) -> Stereo | None:
    """A bass, mostly with the kick: strings, recorded ones, or a synthesizer."""
    held, rng = plan.rng("bass hand").random() < _HELD, plan.rng("bass player")

    def player(song: Song, own: Random, section: SongSection) -> Track:
        (track,) = bass_tracks(song, own, plan.bass_patterns[section.name])
        return replace(track, notes=tuple(legato(own, list(track.notes)))) if held else track

    tracks = in_sections(plan, "bass", "bass", player)
    if not tracks:
        return None
    tracks = (_beside_the_beat(tracks[0], plan.song.tempo_bpm, plan.rng("bass feel")),)
    synthetic = rng.random() < plan.style.synthetic
    if not synthetic and studio.soundfonts and rng.random() < 0.25:
        return studio.through_soundfont(plan, tracks[0], rng.choice(_FINGERED), rng)
    voice = _bass_synthesizer(rng) if synthetic else _bass_strings(studio, rng)
    played = play(score_of(plan, tracks), lambda: voice, rng)
    kind = rng.choices(("amplified", "dull", "as it is"), (4, 4, 2))[0]
    if kind == "amplified":
        clean = low_pass(peak_normalised(played), 200.0, 1)
        played = 0.6 * amplified(played, rng, rng.uniform(3.0, 22.0)) + 0.6 * clean
    elif kind == "dull":
        played = low_pass(played, rng.uniform(700.0, 5000.0), 1)
    return placed(played, 0.0)


def _beside_the_beat(track: Track, tempo_bpm: float, rng: Random) -> Track:
    """The part as somebody plays it who drags or rushes a little."""
    beats = _APART_S * tempo_bpm / 60
    drag = rng.gauss(0, beats)
    notes = (replace(n, start=max(0.0, n.start + drag + rng.gauss(0, beats))) for n in track.notes)
    return replace(track, notes=tuple(notes))


def _bass_synthesizer(rng: Random) -> Voice:
    modulated = rng.random() < 0.15
    return Remembered(
        FrequencyModulated.random(rng) if modulated else Subtractive.random(rng, low=True)
    )


def _bass_strings(studio: Studio, rng: Random) -> Voice:
    sampled = studio.sampled("bass", rng) if rng.random() < 0.5 else None
    return sampled or Remembered(String.random(rng, low=True))


@dataclass(frozen=True)
class Rig:
    """What the guitars of a song are played on."""

    strings: Voice
    sampled: bool
    driven: bool
    drive_db: float | None  # without an amplifier where there is none
    width: float

    @classmethod
    def random(cls, plan: Plan, studio: Studio, rng: Random) -> Rig:
        """The style says how often guitars are distorted."""
        driven = rng.random() < plan.style.driven
        sampled = studio.sampled("guitar", rng) if rng.random() < 0.5 else None
        return cls(
            sampled or Remembered(String.random(rng, low=False)),
            sampled is not None,
            driven,
            rng.uniform(22.0, 44.0) if driven else rng.choice((None, 0.0, 6.0, 14.0)),
            rng.uniform(0.4, 1.0),
        )

    def play(self, plan: Plan, studio: Studio, track: Track, pan: float, rng: Random) -> Stereo:
        """One track through the rig, or instead of it through a SoundFont."""
        if not self.sampled and studio.soundfonts and rng.random() < 0.3:
            programs = chord_parts.DRIVEN_GUITARS if self.driven else chord_parts.CLEAN_GUITARS
            return studio.through_soundfont(plan, track, rng.choice(programs), rng)
        mono = play(score_of(plan, (track,)), lambda: self.strings, rng)
        if self.drive_db is not None:
            mono = amplified(mono, rng, self.drive_db + rng.uniform(-4, 8))
        return placed(mono, pan)


def guitar(plan: Plan, studio: Studio) -> Stereo | None:
    """A rhythm guitar, often doubled left and right where it is distorted, and now and then a
    second one beside it."""
    rng = plan.rng("guitars")
    rig = Rig.random(plan, studio, rng)
    clean = (chord_parts.strummed, chord_parts.picked)
    driven = (chord_parts.driven, chord_parts.driven, chord_parts.riff)
    rhythm = _written(plan, "rhythm", rng.choice(driven if rig.driven else clean))
    pans = (-rig.width, rig.width) if rng.random() < (0.7 if rig.driven else 0.3) else (0.0,)
    parts = [(track, pan) for track in rhythm for pan in pans]
    if rng.random() < _SECOND_GUITAR:
        second = chord_parts.riff if rng.random() < 0.6 else rng.choice(clean)
        parts += [(t, rng.uniform(-0.6, 0.6)) for t in _written(plan, "second", second)]
    out = []
    for take, (track, pan) in enumerate(parts):
        own = plan.rng("guitar", str(take))
        again = replace(track, notes=tuple(late(n, own) for n in track.notes)) if take else track
        part = rig.play(plan, studio, again, pan, own)
        out.append(own.uniform(0.6, 1.0) * effected(part, "guitar", plan.song.tempo_bpm, own))
    return summed(out)


def _written(plan: Plan, part: str, player: Player) -> tuple[Track, ...]:
    return in_sections(plan, "guitar", part, lambda song, rng, _: player(song, rng))


def piano(plan: Plan, studio: Studio) -> Stereo | None:
    """A piano: hammers, tines and reeds, recorded notes, or a SoundFont's."""
    rng = plan.rng("piano")
    tracks = in_sections(
        plan, "piano", "piano", lambda song, own, _: chord_parts.piano_tracks(song, own)[0]
    )
    if not tracks:
        return None
    kind = rng.choices(("hammered", "picked", "sampled", "soundfont"), (4, 3, 4, 2))[0]
    if kind == "soundfont" and studio.soundfonts:
        part = studio.through_soundfont(plan, tracks[0], rng.choice(chord_parts.PIANOS[:-2]), rng)
        return effected(part, "piano", plan.song.tempo_bpm, rng)
    voice: Voice | None = studio.sampled("piano", rng) if kind == "sampled" else None
    if voice is None:
        voice = Remembered(Picked.random(rng)) if kind == "picked" else Hammered.random(rng)
    mono = play(score_of(plan, tuple(pedalled(t) for t in tracks)), lambda: voice, rng)
    if kind == "picked" and rng.random() < 0.5:
        mono = amplified(mono, rng, rng.uniform(0.0, 14.0))
    part = widened(placed(mono, rng.uniform(-0.3, 0.3)), rng, rng.uniform(0.2, 0.9))
    return effected(part, "piano", plan.song.tempo_bpm, rng)


def other(plan: Plan, studio: Studio, sung: Sequence[Note]) -> Stereo | None:
    """One to four parts of everything else; leads and solos answer what is `sung`."""
    rng = plan.rng("others")
    names = rng.sample(tuple(_ROLES), rng.choice((1, 2, 2, 3, 4)))
    parts = []
    for name in names:
        role, own = _ROLES[name], plan.rng("other", name)
        program = own.choice(role.programs)

        def player(
            song: Song, dice: Random, _: SongSection, r: Role = role, p: int = program
        ) -> Track:
            return r.player(song, dice, p)

        tracks = in_sections(plan, "other", name, player)
        if role.answers and tracks:
            tracks = _in_the_gaps(tracks[0], sung)
        if tracks:
            part = role.play(plan, studio, tracks[0], program, own)
            parts.append(own.uniform(0.4, 1.0) * effected(part, "other", plan.song.tempo_bpm, own))
    return summed(parts)


@dataclass(frozen=True)
class Role:
    """A part of `other`: who writes it, its General MIDI programs, how its instrument is built."""

    player: ensemble_parts.Player
    programs: tuple[int, ...]
    build: Callable[[Random], Voice]
    wide: bool = False
    answers: bool = False  # plays where nobody sings
    sampled: bool = False  # recorded instruments may play it

    def play(self, plan: Plan, studio: Studio, track: Track, program: int, rng: Random) -> Stereo:
        """The part on a synthesizer, a recorded instrument or a SoundFont's."""
        synthetic = rng.random() < 0.35 + 0.6 * plan.style.synthetic
        voice: Voice | None = None
        if self.sampled and not synthetic:
            voice = studio.sampled("other", rng)
        if voice is None and not synthetic and studio.soundfonts:
            return studio.through_soundfont(plan, track, program, rng)
        if voice is None:
            voice = Remembered(self.build(rng), release_s=rng.uniform(0.03, 0.4))
        mono: Float64Audio = play(score_of(plan, (track,)), lambda: voice, rng)
        if rng.random() < 0.15:
            mono = amplified(mono, rng, rng.uniform(3.0, 25.0))
        part = placed(mono, rng.uniform(-0.8, 0.8))
        return widened(part, rng, rng.uniform(0.3, 1.2) if self.wide else 0.4)


def _pad(rng: Random) -> Voice:
    patch = Subtractive.random(rng, low=False)
    return replace(patch, attack_s=rng.uniform(0.05, 0.8), sustain=rng.uniform(0.7, 1.0))


def _pluck(rng: Random) -> Voice:
    kind = rng.randrange(3)
    if kind == 0:
        return FrequencyModulated.random(rng)
    if kind == 1:
        return String.random(rng, low=False)
    patch = Subtractive.random(rng, low=False)
    decay_s, sustain = rng.uniform(0.05, 0.4), rng.uniform(0, 0.3)
    return replace(patch, attack_s=0.002, decay_s=decay_s, sustain=sustain)


def _lead(rng: Random) -> Voice:
    patch = Subtractive.random(rng, low=False)
    return replace(patch, attack_s=rng.uniform(0.002, 0.05), cutoff_hz=10 ** rng.uniform(2.8, 4.0))


def _brass(rng: Random) -> Voice:
    section = Bowed.random(rng)
    attack_s, slope = rng.uniform(0.01, 0.06), rng.uniform(0.6, 1.3)
    return replace(section, attack_s=attack_s, slope=slope, swell=rng.uniform(0.3, 1.2))


_ROLES = {
    "pad": Role(ensemble_parts.sustained, (88, 89, 90, 92, 93, 94, 95), _pad, wide=True),
    "strings": Role(ensemble_parts.sustained, (44, 48, 49, 50, 51), Bowed.random, wide=True),
    "organ": Role(ensemble_parts.sustained, (16, 17, 18, 19, 20), Organ.random),
    "stabs": Role(ensemble_parts.stabs, (16, 18, 61, 62, 63, 81), _pluck),
    "brass": Role(ensemble_parts.stabs, (56, 57, 61, 61, 62), _brass),
    "pluck": Role(ensemble_parts.arpeggio, (8, 10, 11, 12, 45, 46, 80, 87), _pluck),
    "lead": Role(ensemble_parts.melody, (80, 81, 82, 84, 87), _lead, answers=True),
    "solo": Role(
        ensemble_parts.melody, (40, 42, 64, 65, 66, 68, 71, 73, 56), Bowed.random,
        answers=True, sampled=True,
    ),
}  # fmt: skip


def _in_the_gaps(track: Track, sung: Sequence[Note]) -> tuple[Track, ...]:
    """What answers the voice: notes that begin where nobody sings."""
    spans = [(n.start - 0.25, n.start + n.length) for n in sung]
    kept = tuple(n for n in track.notes if not any(a < n.start < b for a, b in spans))
    return (replace(track, notes=kept),) if kept else ()
