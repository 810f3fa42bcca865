"""Excerpts of an artist's songs as they were mixed, and what each head should find in them.

Random sums of stems have neither the balance nor the beat of the artist's songs. Here an excerpt
is the song itself: the magnitudes of its mix, phases and all, and of each stem in it. Of a song
without stems the parts are what priors find in it (self-training); its mix is real all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import FrontEnd

from .sampling import CPU
from .true_mixes import WINDOW, halves_of, read_stems

Float = NDArray[np.float32]
Rng = np.random.Generator
# of halves (1 or 2, windows, WINDOW, bands), by part
Masks = Callable[[Float], Mapping[str, Float]]

_SIDES = 0.25  # of the excerpts of stereo songs: the side is asked about
_STEP = 16  # frames between two places where an excerpt may begin
_LEAST = 1e-3  # of a song's mean power: fainter excerpts teach nothing


@dataclass(frozen=True)
class Look:
    """A half of a song as an encoder hears it, or all of a mono one: the magnitudes of its mix
    and of every part, (windows, WINDOW, bands) each."""

    mix: Float
    parts: Mapping[str, Float]


@dataclass(frozen=True)
class MixedSong:
    """A song's looks: its middle and its side, or the only channel."""

    name: str
    looks: tuple[Look, ...]


def read_song(
    name: str, files: Mapping[str, Sequence[Path]], front_end: FrontEnd
) -> MixedSong | None:
    """A song from the files of its parts; None where nothing plays."""
    audio, rate = read_stems(files)
    if not audio:
        return None
    mix = halves_of(np.sum(list(audio.values()), axis=0), rate, front_end)
    return _song(name, mix, {p: halves_of(stem, rate, front_end) for p, stem in audio.items()})


def read_mix(path: Path, front_end: FrontEnd, masks: Masks) -> MixedSong | None:
    """A song without stems: `masks` say what its parts are, in both halves alike."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if not audio.any():
        return None
    mix = halves_of(audio.T, rate, front_end)
    return _song(path.stem, mix, {part: mask * mix for part, mask in masks(mix).items()})


def _song(name: str, mix: Float, parts: Mapping[str, Float]) -> MixedSong:
    """From halves, (1 or 2, windows, WINDOW, bands) each."""
    looks = (
        Look(half, {part: each[index] for part, each in parts.items()})
        for index, half in enumerate(mix)
    )
    return MixedSong(name, tuple(looks))


class SongSums:
    """Draws excerpts of songs; `heads` names the parts that each head stands for."""

    def __init__(
        self,
        songs: Sequence[MixedSong],
        heads: Mapping[str, Sequence[str]],
        device: torch.device = CPU,
    ) -> None:
        self.songs, self.heads, self.device = tuple(songs), dict(heads), device
        self._places = cache(self._loud_places)

    def sample(self, rng: Rng, batch: int, frames: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return excerpts, scaled to mean square 1, and every head's target on that scale.

        Shape: all (batch, frames, bands).
        """
        rows = [self._excerpt(rng, frames) for _ in range(batch)]
        mix = np.stack([excerpt for excerpt, _ in rows])
        scale = 1 / np.sqrt(np.mean(np.square(mix), axis=(1, 2), keepdims=True) + 1e-12)
        targets = {
            head: self._tensor(
                scale * np.stack([self._target(parts, made_of, mix[0]) for _, parts in rows])
            )
            for head, made_of in self.heads.items()
        }
        return self._tensor(mix * scale), targets

    def _excerpt(self, rng: Rng, frames: int) -> tuple[Float, dict[str, Float]]:
        """The mix and its parts, (frames, bands) each."""
        song = int(rng.integers(len(self.songs)))
        looks = self.songs[song].looks
        index = int(len(looks) > 1 and rng.random() < _SIDES)
        if index and not len(self._places(song, index, frames)):
            index = 0  # nothing is at the side
        places = self._places(song, index, frames)
        window, start = places[rng.integers(len(places))]
        cut = (window, slice(start, start + frames))
        look = looks[index]
        return look.mix[cut], {part: each[cut] for part, each in look.parts.items()}

    def _loud_places(self, song: int, index: int, frames: int) -> NDArray[np.int64]:
        """Window and first frame of every excerpt in which something plays, (places, 2)."""
        power = np.square(self.songs[song].looks[index].mix, dtype=np.float64).mean(axis=2)
        whole = np.square(self.songs[song].looks[0].mix, dtype=np.float64).mean()
        return np.array(
            [
                (window, start)
                for window in range(len(power))
                for start in range(0, WINDOW - frames + 1, _STEP)
                if power[window, start : start + frames].mean() > _LEAST * whole
            ],
            np.int64,
        ).reshape(-1, 2)

    @staticmethod
    def _target(parts: Mapping[str, Float], made_of: Sequence[str], like: Float) -> Float:
        """Powers of a head's parts add up; who has none in a song is silent there."""
        power = np.zeros_like(like)
        for part in made_of:
            if part in parts:
                power += np.square(parts[part])
        return np.sqrt(power)

    def _tensor(self, values: Float) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.device)
