"""What the bench of own instruments measures on: songs with stems, takes of the others, and takes
that are laid into the songs of a band.

A set is NAME=TARGET:FOLDER:PATTERN. FOLDER holds songs in a layout of `prior tune`, PATTERN
chooses among them; files that lie in FOLDER itself are takes of the target alone, and each of them
is laid into a song of the `backing`, as loud as its stems are on average. Songs fall into folds:
the takes for a fold are the target's stems of all songs in the other folds, so that nothing of a
song stands on both sides.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import AUDIO_SUFFIXES
from export.data.corpus import Clip, Corpus
from export.data.multitracks import Multitracks, find_multitracks
from export.data.true_mixes import TrueMix, read_stems, true_mix
from export.training.runs import read_corpus, standard_front_end

Float = NDArray[np.float32]
Files = Mapping[str, tuple[Path, ...]]

BLEED_DB = -10.0
BAND = ("vocals", "bass", "drums")  # what a foreign separator takes out before `other`
STEMS = (*BAND, "guitar", "piano", "other")
ACCOMPANIMENT = "accompaniment"  # a stem that no prior stands for


@dataclass(frozen=True)
class Set:
    """Songs of one player or artist and the stem that is the new instrument.

    `backing` is the song that the take of each song is laid into, for those that are takes
    alone; `takes` are places with takes that belong to no song, and then all songs are heard out.
    """

    name: str
    target: str
    tracks: Multitracks
    backing: Mapping[str, Files] = field(default_factory=dict)
    takes_from: tuple[Path, ...] = ()

    @classmethod
    def parse(
        cls,
        text: str,
        backing: Sequence[str] = (),
        takes: Mapping[str, tuple[Path, ...]] | None = None,
    ) -> Set:
        """A set as it is named; exits with a sentence where there is too little."""
        name, _, rest = text.partition("=")
        target, folder, *pattern = rest.split(":")
        wanted = pattern[0] if pattern else "*"
        alone = _takes_of(Path(folder), wanted)
        songs = (
            {path.stem: {target: (path,)} for path in alone}
            if alone
            else _songs_of(Path(folder), wanted, target)
        )
        mine = (takes or {}).get(name, ())
        if len(songs) < (1 if mine else 2):
            sys.exit(f"--set {text}: {len(songs)} songs with {target} and more; two are needed.")
        into = _laid_into(list(songs), backing, target) if alone else {}
        return cls(name, target, Multitracks(songs), into, mine)

    @property
    def songs(self) -> tuple[str, ...]:
        """The names of all songs."""
        return tuple(self.tracks.songs)

    def folds(self, count: int) -> list[tuple[str, ...]]:
        """Songs that are left out together; with a count of 0 each on its own."""
        if self.takes_from:
            return [self.songs]
        groups = min(count or len(self.songs), len(self.songs))
        return [self.songs[first::groups] for first in range(groups)]

    def audio(self, song: str) -> tuple[dict[str, Float], int]:
        """The stems of a song (channels, samples), and their rate."""
        if song not in self.backing:
            return read_stems(self.tracks.songs[song])
        audio, rate = read_stems({**self.backing[song], **self.tracks.songs[song]})
        behind = {stem: part for stem, part in audio.items() if stem != self.target}
        end = max(int(np.flatnonzero(part.any(axis=0))[-1]) + 1 for part in behind.values())
        audio = {stem: part[:, :end] for stem, part in audio.items()}
        level = np.mean([np.square(audio[stem]).mean() for stem in behind])
        own = np.square(audio[self.target]).mean()
        return {**audio, self.target: audio[self.target] * np.sqrt(level / own)}, rate

    def views(self, song: str) -> Iterator[tuple[str, TrueMix]]:
        """The whole mix, and a true `other` with everything else 10 dB below it."""
        front_end = standard_front_end().front_end()
        audio, rate = self.audio(song)
        yield "whole", true_mix(song, audio, rate, front_end)
        band = [part for stem, part in audio.items() if stem in (*BAND, ACCOMPANIMENT)]
        inside = {s: part for s, part in audio.items() if s not in (*BAND, ACCOMPANIMENT)}
        if band and inside:
            rest = np.sum(band, axis=0)
            other = np.sum(list(inside.values()), axis=0)
            gain = 10 ** (BLEED_DB / 20) * np.sqrt((other**2).sum() / (rest**2).sum())
            # what bleeds is one stem more, that nobody looks for
            yield "inside", true_mix(song, {**inside, "bleed": gain * rest}, rate, front_end)

    def take_files(self, without: Sequence[str]) -> list[Path]:
        """The files of all takes but those of some songs."""
        if self.takes_from:
            return list(self.takes_from)
        return [
            path
            for song, stems in self.tracks.songs.items()
            if song not in without
            for path in stems[self.target]
        ]

    def takes(self, without: Sequence[str], cache: Path) -> Corpus:
        """The target's stems of all songs but some, or the takes that are named."""
        if self.takes_from:
            return read_corpus(self.target, list(self.takes_from), standard_front_end(), cache)
        front_end = standard_front_end().front_end()
        mine = {
            song: {self.target: stems[self.target]} for song, stems in self.tracks.songs.items()
        }
        return Multitracks(mine).corpora(without, front_end, cache)[self.target]

    def band(self, without: Sequence[str], cache: Path) -> dict[str, Corpus]:
        """The other stems of all songs but some, by stem; nothing of songs that are laid into."""
        if self.backing or self.takes_from:
            return {}
        beside = {
            song: {stem: files for stem, files in stems.items() if stem != self.target}
            for song, stems in self.tracks.songs.items()
        }
        return Multitracks(beside).corpora(without, standard_front_end().front_end(), cache)


def minutes_of(takes: Corpus) -> float:
    """How long takes are."""
    return sum(source.minutes for source in takes.sources)


def shortened(takes: Corpus, minutes: float) -> Corpus:
    """So many minutes of takes at most, the beginnings of all of them."""
    share = minutes / minutes_of(takes)
    return takes if share >= 1 else replace(takes, clips=tuple(cut(takes.clips, share)))


def cut(clips: Sequence[Clip], share: float) -> list[Clip]:
    """The first part of every clip."""
    return [clip.cut(share)[0] for clip in clips]


def points(asked: Sequence[float], there: float) -> list[float]:
    """For how many minutes of takes to train, of those asked for: as many as there are, and all of
    them where that is half as much again as the last."""
    found = [minutes for minutes in asked if minutes <= there]
    more = [minutes for minutes in asked if minutes > there]
    if more and (not found or there >= 1.5 * found[-1]):
        found.append(more[0])
    return found


def _takes_of(folder: Path, pattern: str) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in AUDIO_SUFFIXES and fnmatch(path.stem, pattern)
    ]


def _songs_of(folder: Path, pattern: str, target: str) -> dict[str, Files]:
    """Songs of the target and more."""
    found = find_multitracks([folder], {*STEMS, target, ACCOMPANIMENT}).songs
    return {
        song: stems
        for song, stems in found.items()
        if fnmatch(song, pattern) and target in stems and len(stems) > 1
    }


def _laid_into(songs: Sequence[str], backing: Sequence[str], target: str) -> dict[str, Files]:
    """A song of the backing for each take, without a stem of the target's own name."""
    there: list[Files] = []
    for text in backing:
        folder, _, pattern = text.partition(":")
        for name, stems in find_multitracks([Path(folder)], {*STEMS, target}).songs.items():
            if fnmatch(name, pattern or "*"):
                there.append({stem: files for stem, files in stems.items() if stem != target})
    if not there:
        sys.exit("takes alone are laid into songs: name some with --backing FOLDER:PATTERN.")
    return {song: there[number % len(there)] for number, song in enumerate(songs)}
