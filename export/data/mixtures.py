"""What voice models learn from: mixtures and the pitches of their voices, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import (
    VOICE_HOP,
    VOICE_RATE,
    Excitation,
    PitchTracks,
    VoiceBins,
    beside,
    find_pitches,
    frames_of,
    mix_level,
    stretch,
    voice_features,
)
from presets import StemwrightError

Float = NDArray[np.float32]

WINDOWS = (2048, 512)  # of the multi-resolution loss: harmonics apart, then formants alone
_QUIET = 0.03  # of the mixture's level: excerpts below are not learned from


@dataclass(frozen=True)
class Mixture:
    """A mono mixture (samples,) at 16 kHz and the pitches of its voices."""

    name: str
    mix: Float
    tracks: PitchTracks

    @property
    def voices(self) -> int:
        """How many sing."""
        return len(self.tracks.names)

    @property
    def minutes(self) -> float:
        """How long it is."""
        return len(self.mix) / VOICE_RATE / 60

    @cached_property
    def level(self) -> float:
        """RMS where it is loud."""
        return mix_level(self.mix)

    @cached_property
    def driving(self) -> Excitation:
        """The harmonics of its voices."""
        return Excitation(self.tracks, len(self.mix) / VOICE_RATE)


@dataclass(frozen=True)
class Excerpts:
    """Excerpts of mixtures with equally many voices: what the network is told, and what the sum
    of its voices is held against.

    mel (batch, frames, mels), pitch (batch, voices, frames), harmonics (batch, voices, frames,
    2 * harmonics); for each window of WINDOWS magnitudes of the mix (batch, frames, bins) and of
    the voices' excitation (batch, voices, frames, bins).
    """

    mel: Tensor
    pitch: Tensor
    harmonics: Tensor
    mix: tuple[Tensor, ...]
    excitation: tuple[Tensor, ...]


def read_mixture(path: Path, parts: Sequence[str]) -> Mixture:
    """Read a mixture and the pitches of its parts: from the MIDI file or the table of pitches
    that lies beside it and has its name, else from the tracker.

    Raises StemwrightError for what cannot be read.
    """
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise StemwrightError(
            "mixture-unreadable",
            f"{path}: cannot be read as audio ({error}). Give mixtures as WAV, FLAC or Ogg.",
        ) from error
    mono = audio.mean(axis=1)
    if rate != VOICE_RATE:
        mono = soxr.resample(mono, rate, VOICE_RATE)
    mono = np.ascontiguousarray(mono, np.float32)
    return Mixture(path.stem, mono, find_pitches(mono, beside(path, parts)).tracks)


class MixtureExcerpts:
    """Random excerpts of mixtures. It holds no isolated voice, and can be given none."""

    def __init__(self, mixtures: Sequence[Mixture], mels: int, harmonics: int) -> None:
        self.mixtures = tuple(mixtures)
        self.mels, self.harmonics = mels, harmonics
        self.bins = [VoiceBins(window, VOICE_RATE) for window in WINDOWS]
        self._sizes = np.array([len(one.mix) for one in self.mixtures], np.float64)

    @property
    def minutes(self) -> float:
        """How much there is."""
        return sum(one.minutes for one in self.mixtures)

    def sample(self, rng: np.random.Generator, batch: int, frames: int) -> Excerpts:
        """Draw excerpts, long mixtures more often; all have the first one's number of voices."""
        first = rng.choice(len(self.mixtures), p=self._sizes / self._sizes.sum())
        voices = self.mixtures[first].voices
        alike = [i for i, one in enumerate(self.mixtures) if one.voices == voices]
        sizes = self._sizes[alike]
        further = rng.choice(alike, batch - 1, p=sizes / sizes.sum())
        return self._together([self._excerpt(rng, int(i), frames) for i in (first, *further)])

    def _excerpt(self, rng: np.random.Generator, index: int, frames: int) -> Excerpts:
        """One with something in it, unless eight were empty."""
        mixture = self.mixtures[index]
        last = max(frames_of(len(mixture.mix)) - frames, 0)
        for _ in range(8):
            first = int(rng.integers(last + 1))
            cut = mixture.mix[first * VOICE_HOP : (first + frames) * VOICE_HOP]
            if np.sqrt(np.mean(cut**2)) > _QUIET * mixture.level:
                break
        return self.excerpt(mixture, first, frames)

    def excerpt(self, mixture: Mixture, first: int, frames: int) -> Excerpts:
        """`frames` frames of a mixture from frame `first` on, as a batch of one."""
        mix, hertz, driving = stretch(mixture.mix, mixture.tracks, mixture.driving, first, frames)
        level = mixture.level
        scaled = mix / np.float32(max(level, 1e-7))
        sums = [bins.magnitudes(scaled, VOICE_HOP) for bins in self.bins]
        driven = [bins.magnitudes(driving, VOICE_HOP) for bins in self.bins]
        fine = sums[0], driven[0]
        features = voice_features(mix, hertz, driving, self.mels, self.harmonics, level, fine)
        return Excerpts(
            torch.from_numpy(features.mel)[None],
            torch.from_numpy(features.pitch)[None],
            torch.from_numpy(features.harmonics)[None],
            tuple(torch.from_numpy(values)[None] for values in sums),
            tuple(torch.from_numpy(values)[None] for values in driven),
        )

    @staticmethod
    def _together(excerpts: Sequence[Excerpts]) -> Excerpts:
        def all_windows(each: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
            return tuple(torch.cat(alike) for alike in zip(*each, strict=True))

        return Excerpts(
            torch.cat([one.mel for one in excerpts]),
            torch.cat([one.pitch for one in excerpts]),
            torch.cat([one.harmonics for one in excerpts]),
            all_windows([one.mix for one in excerpts]),
            all_windows([one.excitation for one in excerpts]),
        )
