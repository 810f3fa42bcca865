"""What the songs of one rendering share: SoundFonts, drum kits, recorded instruments.

Audio is (2, samples), 44.1 kHz, float32; parts are levelled, the desk sets them in proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np

from .computed_instruments import SAMPLE_RATE_HZ, TAIL_S
from .drum_kits import DrumKits
from .midi import Note, Score, Track
from .mixing_desk import Stereo
from .rendering import synthesise
from .sampled_instruments import SampledInstrument, instruments_in
from .song_form import Plan


@dataclass(frozen=True)
class Studio:
    """What songs are played on besides what is computed."""

    soundfonts: Sequence[Path] = ()
    kits: DrumKits | None = None
    instruments: Path | None = None  # SFZ files in a folder for each stem

    def sampled(self, stem: str, rng: Random) -> SampledInstrument | None:
        """A recorded instrument for a stem, where there is one."""
        files = instruments_in(self.instruments / stem) if self.instruments else []
        return SampledInstrument(rng.choice(files), rng.uniform(0.06, 0.25)) if files else None

    def through_soundfont(self, plan: Plan, track: Track, program: int, rng: Random) -> Stereo:
        """A track on a program of one of the SoundFonts."""
        score = score_of(plan, (replace(track, program=program),))
        reverb, chorus = rng.random() < 0.3, rng.random() < 0.2
        audio = synthesise(score, rng.choice(list(self.soundfonts)), reverb=reverb, chorus=chorus)
        wanted = round(seconds_of(plan) * SAMPLE_RATE_HZ)
        audio = np.pad(audio, ((0, 0), (0, max(wanted - audio.shape[1], 0))))[:, :wanted]
        return audio / np.float32(np.sqrt(np.mean(audio**2)) + 1e-9)


def score_of(plan: Plan, tracks: tuple[Track, ...]) -> Score:
    """Tracks of a song as a score that ends with it."""
    return Score(plan.song.tempo_bpm, plan.song.beats, tracks)


def seconds_of(plan: Plan) -> float:
    """How long every stem of a song is."""
    return score_of(plan, ()).seconds + TAIL_S


def summed(parts: Sequence[Stereo]) -> Stereo | None:
    """All parts together, or nothing where there are none."""
    return np.asarray(sum(parts), np.float32) if parts else None


def widened(part: Stereo, rng: Random, width: float) -> Stereo:
    """With a delayed copy in the side, so that the mono sum stays as it was."""
    delay = rng.randrange(300, 1200)  # samples
    side = np.float32(0.5 * width) * np.pad(part.mean(axis=0), (delay, 0))[: part.shape[1]]
    return np.stack([part[0] + side, part[1] - side])


def late(note: Note, rng: Random) -> Note:
    """The note as a second player plays it: not quite at the same time."""
    return replace(note, start=max(0.0, note.start + rng.gauss(0.01, 0.03)))
