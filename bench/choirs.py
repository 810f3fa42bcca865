"""The choirs that voice models learn from and are judged on, with the pitches that were sung.

Real singers: the solo tracks of the Choral Singing Dataset, summed. Their pitches are measured on
the isolated tracks (Praat's autocorrelation method), which is what "exact" means here. Rendered
singers: Bach chorales from music21's corpus, sung by the program's own throats, whose pitches are
known to the sample. Needs `praat-parselmouth` and `music21` (dependency group `bench`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from engine import PitchTracks
from export.data.mixtures import Mixture
from export.synthesis.computed_instruments import SAMPLE_RATE_HZ
from export.synthesis.midi import Note
from export.synthesis.singing import FRAME_SECONDS as SUNG_SECONDS
from export.synthesis.singing import Throat, perform, syllables

Float = NDArray[np.float32]

RATE = 16000
STEP = 256  # samples between pitches
FRAME_SECONDS = STEP / RATE
PARTS = ("soprano", "alto", "tenor", "bass")
RANGES_HZ = {"soprano": (160, 1000), "alto": (120, 700), "tenor": (90, 520), "bass": (60, 380)}
# of each part two singers; frames by which their track begins later than the basses'
SINGERS = {
    "soprano": (("choral_nino_Soprano_105", "choral_nino_Soprano_205"), 12),
    "alto": (("choral_nino_ContraAlt_107", "choral_nino_ContraAlt_207"), 12),
    "tenor": (("choral_nino_tenor1-06-2", "choral_nino_tenor2-06-2"), 0),
    "bass": (("choral_nino_Bajos_104", "choral_nino_Bajos_204"), 0),
}
LEARNED_S = 84.0  # of the training tracks; what follows is the validation split
CHORALES = ("bwv1.6", "bwv10.7", "bwv101.7", "bwv102.7", "bwv103.6", "bwv108.6", "bwv110.7",
            "bwv113.8", "bwv114.7", "bwv116.6")  # fmt: skip
UNFAMILIAR = ("bwv66.6", "bwv245.3")  # and throats that no training heard
TEMPO_BPM = 84.0
# A tag in four close voices, no chorale: MIDI's numbers of tenor, lead, baritone and bass, beats.
BARBERSHOP = ("tenor", "lead", "baritone", "bass")
BARBERSHOP_BPM = 72.0
_TAG = (
    (65, 62, 58, 46, 2), (65, 62, 58, 50, 1), (66, 62, 59, 47, 1), (67, 61, 59, 55, 2),
    (67, 64, 61, 43, 1), (65, 63, 58, 48, 1), (66, 60, 58, 48, 2), (64, 60, 58, 48, 2),
    (63, 60, 57, 53, 2), (65, 60, 57, 51, 1), (63, 57, 53, 45, 1), (65, 62, 58, 46, 2),
    (68, 62, 58, 46, 1), (67, 63, 58, 51, 2), (66, 63, 58, 51, 1), (65, 62, 58, 53, 2),
    (63, 60, 57, 53, 2), (65, 62, 58, 46, 4),
)  # fmt: skip


@dataclass(frozen=True)
class Choir:
    """Voices by themselves, (voices, samples) at RATE, and what they sing."""

    name: str
    voices: Float
    tracks: PitchTracks

    @property
    def mixture(self) -> Mixture:
        """What a voice model is given."""
        return Mixture(self.name, self.voices.sum(axis=0), self.tracks)

    def some(self, which: Sequence[int]) -> Choir:
        """Some of the voices."""
        t, chosen = self.tracks, list(which)
        names = tuple(t.names[i] for i in which)
        return Choir(
            f"{self.name}: {'+'.join(names)}",
            self.voices[chosen],
            PitchTracks(names, t.hertz[chosen], t.frame_seconds, t.confidence[chosen], t.origin),
        )

    def subsets(self, count: int) -> Iterator[Choir]:
        """All choices of `count` voices."""
        for which in combinations(range(len(self.voices)), count):
            yield self.some(which)


def tracks_of(names: Sequence[str], hertz: Sequence[Float]) -> PitchTracks:
    """Pitches that are as sure as can be."""
    stacked = np.stack(hertz).astype(np.float32)
    stacked[stacked < 40] = 0
    sure = np.ones_like(stacked)
    return PitchTracks(tuple(names), stacked, FRAME_SECONDS, sure, "isolated voices")


def measured_pitch(audio: Float, part: str) -> Float:
    """Pitch of one isolated singer every STEP samples, 0 where nobody sings."""
    import parselmouth

    low, high = RANGES_HZ[part]
    margin = 4096
    pitch = parselmouth.Sound(np.pad(audio.astype(np.float64), margin), RATE).to_pitch_ac(
        time_step=FRAME_SECONDS,
        pitch_floor=low,
        pitch_ceiling=high,
        silence_threshold=0.02,
        voicing_threshold=0.35,
        octave_cost=0.02,
        octave_jump_cost=0.6,
    )
    times = np.arange(len(audio) // STEP + 1) * FRAME_SECONDS + margin / RATE
    found = np.array([pitch.get_value_at_time(time) for time in times])
    return np.asarray(np.nan_to_num(found), np.float32)


@lru_cache
def _singer(folder: Path, part: str, number: int) -> tuple[Float, Float]:
    names, late = SINGERS[part]
    audio, rate = soundfile.read(folder / f"{names[number]}.ogg", dtype="float32")
    assert rate == RATE
    audio = audio[late * STEP :]
    return audio, measured_pitch(audio, part)


def recorded(
    shared: Path, which: Sequence[int], span: tuple[float, float], parts: Sequence[str] = PARTS
) -> Choir:
    """Singers of the training tracks, summed: `which` of the two of each part, from and to
    seconds."""
    folder = shared / "stems" / "vocals"
    sung = [_singer(folder, part, number) for part, number in zip(parts, which, strict=True)]
    end = min(int(span[1] * RATE), *(len(audio) for audio, _ in sung)) // STEP
    first = int(span[0] * RATE) // STEP
    voices = np.stack([audio[first * STEP : end * STEP] for audio, _ in sung])
    hertz = [track[first : end + 1] for _, track in sung]
    name = "".join(f"{part[0]}{number + 1}" for part, number in zip(parts, which, strict=True))
    return Choir(name, voices, tracks_of(parts, hertz))


def quartets(shared: Path, span: tuple[float, float]) -> list[Choir]:
    """All choices of one singer for each part."""
    return [recorded(shared, which, span) for which in product((0, 1), repeat=4)]


def duets(shared: Path, span: tuple[float, float]) -> list[Choir]:
    """Every pair of parts, with both their first and both their second singers."""
    return [
        recorded(shared, (number, number), span, pair)
        for pair in combinations(PARTS, 2)
        for number in (0, 1)
    ]


def test_quartet(shared: Path) -> Choir:
    """The real quartet that nothing is tuned on: other singers and an excerpt of the song that
    the training's singers sing, too."""
    folder = shared / "test" / "real" / "choral_ninodios_q3"
    files = {part: "bassvoice" if part == "bass" else part for part in PARTS}
    voices = [
        soundfile.read(folder / f"{name}.ogg", dtype="float32")[0] for name in files.values()
    ]
    hertz = [measured_pitch(audio, part) for audio, part in zip(voices, PARTS, strict=True)]
    return Choir("quartet", np.stack(voices), tracks_of(PARTS, hertz))


def chorale(name: str, seed: int, seconds: float = 24.0) -> Choir:
    """The beginning of a Bach chorale, sung by four throats of the seed's choosing."""
    from music21 import corpus

    score = corpus.parse(f"bach/{name}")
    rng = Random(f"{name} {seed}")
    parts = list(score.parts)[:4]
    sung = [
        _sung_part(part, place, rng, seconds)
        for part, place in zip(parts, (17, 10, 5, 0), strict=True)
    ]
    voices = np.stack([audio for audio, _ in sung])
    return Choir(f"{name} (rendered)", voices, tracks_of(PARTS, [hertz for _, hertz in sung]))


def barbershop(seed: int = 7) -> Choir:
    """A barbershop tag of sevenths, sung by four throats of the seed's choosing."""
    rng = Random(f"barbershop {seed}")
    beats = np.cumsum([0, *(chord[4] for chord in _TAG)])
    seconds = float(beats[-1]) * 60 / BARBERSHOP_BPM + 1
    sung = []
    for voice, height in enumerate((12, 8, 4, -2)):
        notes = [
            Note(float(begin), float(chord[4]), chord[voice], 80)
            for begin, chord in zip(beats, _TAG, strict=False)
        ]
        sung.append(_sung(notes, BARBERSHOP_BPM, height, rng, seconds, words=False))
    voices = np.stack([audio for audio, _ in sung])
    return Choir("barbershop", voices, tracks_of(BARBERSHOP, [hertz for _, hertz in sung]))


def _sung_part(part: object, height: int, rng: Random, seconds: float) -> tuple[Float, Float]:
    """One part of a score, with words."""
    notes = [
        Note(float(note.offset), float(note.quarterLength), int(note.pitch.midi), 80)
        for note in part.flatten().notes  # type: ignore[attr-defined]
        if not note.isChord and float(note.offset) * 60 / TEMPO_BPM < seconds - 1
    ]
    return _sung(notes, TEMPO_BPM, height, rng, seconds, words=True)


def _sung(
    notes: Sequence[Note], bpm: float, height: int, rng: Random, seconds: float, *, words: bool
) -> tuple[Float, Float]:
    """A line in a throat for its height: audio at RATE, and its pitches every STEP samples."""
    throat = Throat.random(rng)
    for _ in range(50):
        if abs(throat.low - (44 + height)) <= 3:
            break
        throat = Throat.random(rng)
    sung = syllables(notes, bpm, rng, words=words, melisma=0.3)
    done = perform(sung, throat, seconds, rng)
    audio = soxr.resample(done.audio, SAMPLE_RATE_HZ, RATE).astype(np.float32)
    audio *= rng.uniform(0.03, 0.06)
    times = np.arange(len(audio) // STEP + 1) * FRAME_SECONDS
    place = np.clip(np.round(times / SUNG_SECONDS).astype(int), 0, len(done.hertz) - 1)
    return audio, done.hertz[place].astype(np.float32)
