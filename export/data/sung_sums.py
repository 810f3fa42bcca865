"""What the network of pitches learns from: random sums of singers whose pitches are known.

Here isolated voices are needed, not for how they sound but for where they are: a sum's pitches
are known to a few cents only where each voice was measured, or computed, by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import PITCH_STRIDE, PitchFrames, PitchTracks, at_multiples, level_of, pitch_grid

Float = NDArray[np.float32]

RATE = 16000
STEP = 512  # samples from one frame to the next
SEMITONE = 5  # candidates
COUNTS = (1, 2, 3, 4, 4, 4)  # how many sing, one as often as the other
TOGETHER = 0.6  # of sums: voices of one piece at one moment; else of any
TRANSPOSED = 5.0  # semitones up and down, at most
LEVEL_DB, EQUALISED_DB, LOUDER_DB = 5.0, 4.0, 4.0  # deviations, of voices, bands and sums
ROOMS = 0.5  # of sums
BLUR = 1.0  # candidates: how exact a pitch is meant to be


@dataclass(frozen=True)
class Singers:
    """Voices that sing together, (voices, samples) at RATE, and their pitches."""

    voices: Float
    tracks: PitchTracks

    @property
    def seconds(self) -> float:
        """How long they sing."""
        return float(self.voices.shape[1] / RATE)


class SungSums:
    """Draws excerpts: what the network is shown, and which pitches are sung there."""

    def __init__(self, pieces: Sequence[Singers], seconds: float) -> None:
        self.pieces = tuple(pieces)
        self.samples = round(seconds * RATE) // STEP * STEP
        long = np.array([one.seconds for one in pieces])
        self._shares = long / long.sum()

    def sample(self, rng: np.random.Generator, batch: int) -> tuple[Tensor, Tensor]:
        """Heard (batch, multiples, frames, candidates), sung (batch, frames, candidates)."""
        drawn = [self._excerpt(rng) for _ in range(batch)]
        heard, sung = (np.stack(part) for part in zip(*drawn, strict=True))
        return torch.from_numpy(heard), torch.from_numpy(sung)

    def _excerpt(self, rng: np.random.Generator) -> tuple[Float, Float]:
        parts = self._voices(rng)
        levels = 10 ** (rng.normal(0, LEVEL_DB, len(parts)) / 20)
        mix = np.zeros(self.samples, np.float32)
        for (voice, _), level in zip(parts, levels, strict=True):
            mix += voice * np.float32(level / (np.sqrt(np.mean(voice**2)) + 1e-6))
        mix = _recorded(mix, rng)
        frames = PitchFrames(mix)
        which = slice(0, self.samples // STEP * PITCH_STRIDE, PITCH_STRIDE)
        level = level_of(frames.strongest[which]) * 10 ** (rng.normal(0, LOUDER_DB) / 20)
        return at_multiples(frames.magnitudes(which), level), _blurred(
            [hertz for _, hertz in parts]
        )

    def _voices(self, rng: np.random.Generator) -> list[tuple[Float, Float]]:
        """One to four voices, (samples,), and their pitches at every STEP."""
        together = rng.random() < TOGETHER
        piece, first, ratio = self._place(rng)
        count = min(int(rng.choice(COUNTS)), len(piece.voices))
        found = []
        for voice in rng.permutation(len(piece.voices))[:count]:
            if not together:
                piece, first, ratio = self._place(rng)
                voice = rng.integers(len(piece.voices))
            found.append(_transposed(piece, int(voice), first, self.samples, ratio))
        return found

    def _place(self, rng: np.random.Generator) -> tuple[Singers, int, float]:
        """A piece, where in it, and how much faster and higher."""
        piece = self.pieces[int(rng.choice(len(self.pieces), p=self._shares))]
        ratio = float(2 ** (rng.uniform(-TRANSPOSED, TRANSPOSED) / 12))
        last = piece.voices.shape[1] - self.samples * ratio
        return piece, int(rng.integers(max(int(last), 1))), ratio


def _transposed(
    piece: Singers, voice: int, first: int, samples: int, ratio: float
) -> tuple[Float, Float]:
    """A voice from sample `first` on, `ratio` times as high and as fast."""
    cut = piece.voices[voice, first : first + round(samples * ratio) + STEP]
    cut = soxr.resample(cut, RATE * ratio, RATE, quality="LQ")[:samples]
    times = first / RATE + ratio * np.arange(samples // STEP) * STEP / RATE
    hertz = piece.tracks.at(times)[voice] * np.float32(ratio)
    return np.pad(cut, (0, samples - len(cut))).astype(np.float32), hertz


def _recorded(mix: Float, rng: np.random.Generator) -> Float:
    """A sum as a room, a microphone and their noise make it."""
    spectrum = np.fft.rfft(mix, 2 * len(mix))
    if rng.random() < ROOMS:
        spectrum *= np.fft.rfft(_room(rng), 2 * len(mix))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(2 * len(mix), 1 / RATE), 60) / 60) / 1.5
    bands = rng.normal(0, EQUALISED_DB, int(octaves.max()) + 2)
    spectrum *= 10 ** (np.interp(octaves, np.arange(len(bands)), bands) / 20)
    heard = np.fft.irfft(spectrum)[: len(mix)]
    hiss = heard.std() * 10 ** (rng.uniform(-60, -25) / 20)
    return np.asarray(heard + rng.normal(0, hiss, len(mix)), np.float32)


def _room(rng: np.random.Generator) -> NDArray[np.float64]:
    """The direct sound, and noise that dies away in 0.15 to 0.9 s, 2 to 14 dB below it."""
    times = np.arange(int(0.6 * RATE)) / RATE
    tail = rng.normal(size=len(times)) * 10 ** (-3 * times / rng.uniform(0.15, 0.9))
    tail *= 10 ** (rng.uniform(-14, -2) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return np.asarray(tail)


def _blurred(hertz: Sequence[Float]) -> Float:
    """Pitches of all voices as hills on `grid()`, (frames, candidates)."""
    grid = pitch_grid()
    sung = np.zeros((len(hertz[0]), len(grid)), np.float32)
    for track in hertz:
        place = 12 * SEMITONE * np.log2(np.maximum(track, 1)[:, None] / grid[0])
        hill = np.exp(-0.5 * ((np.arange(len(grid)) - place) / BLUR) ** 2)
        sung = np.maximum(sung, np.where(track[:, None] > 0, hill, 0), dtype=np.float32)
    return sung
