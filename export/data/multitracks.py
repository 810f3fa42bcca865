"""An artist's multitracks: songs with whatever stems exist of them, as corpora and as true mixes.

Two layouts are taken. A folder for each song, `SONGS/<song>/<stem>.wav`; or one for each stem,
`SONGS/<stem>/<song>.wav`, where files of one name are one song. Stems of songs are finished and
sound together unless a `SOURCES.yaml` beside them says otherwise. STEM=FOLDER names takes of one
stem, which belong to no song.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine import AUDIO_SUFFIXES, FrontEnd
from presets import StemwrightError

from .corpus import Clip, Corpus, Variant, joined, load_corpus
from .songs import MIXES
from .true_mixes import TrueMix, read_true_mix

LAST_SHARE = 0.2  # of songs that are held out


@dataclass(frozen=True)
class Multitracks:
    """The files of every song by stem, and takes by stem."""

    songs: Mapping[str, Mapping[str, tuple[Path, ...]]]
    takes: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def stems(self) -> tuple[str, ...]:
        """Every stem that there is anything of."""
        names = [stem for song in self.songs.values() for stem in song]
        return tuple(dict.fromkeys([*sorted(set(names)), *self.takes]))

    def held_out(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Songs to judge with: those wanted, else a fifth of them, at least one, by their names'
        hashes.

        Raises StemwrightError when none would be left to train on.
        """
        whole = [name for name, stems in self.songs.items() if len(stems) > 1]
        if unknown := [name for name in wanted if name not in whole]:
            raise StemwrightError(
                "song-unknown",
                f"--hold-out {unknown[0]}: no song of that name has two stems; there are "
                f"{', '.join(whole) or 'none'}.",
            )
        order = sorted(whole, key=lambda name: hashlib.sha256(name.encode()).digest())
        chosen = tuple(wanted) or tuple(order[: max(1, round(LAST_SHARE * len(order)))])
        if not chosen or not (set(self.songs) - set(chosen) or self.takes):
            raise StemwrightError(
                "songs-too-few",
                f"{len(whole)} songs with two stems or more: one is needed to judge with and "
                "another, or takes as STEM=FOLDER, to learn from. Give FOLDER/<song>/<stem>.wav "
                "of at least two songs.",
            )
        return chosen

    def corpora(
        self, without: Iterable[str], front_end: FrontEnd, cache: Path
    ) -> dict[str, Corpus]:
        """A corpus for each stem of the songs but some, and of the takes."""
        out = set(without)
        found = {}
        for stem in self.stems:
            paths = [
                path
                for name, stems in self.songs.items()
                if name not in out
                for path in stems.get(stem, ())
            ]
            corpora = [_of_songs(stem, paths, front_end, cache)] if paths else []
            if stem in self.takes:
                corpora.append(_alone(load_corpus(
                    stem, self.takes[stem], front_end, variants=(Variant(0.0),), cache=cache
                )))  # fmt: skip
            if corpora:
                found[stem] = joined(corpora)
        return found

    def true_mixes(
        self, names: Iterable[str], places: Mapping[str, str], front_end: FrontEnd
    ) -> list[TrueMix]:
        """Songs as they were mixed; `places` says in which stem of the set each stem is."""
        found = []
        for name in names:
            files: dict[str, tuple[Path, ...]] = {}
            for stem, paths in self.songs[name].items():
                place = places[stem]
                files[place] = files.get(place, ()) + paths
            mix = read_true_mix(name, files, front_end)
            if mix is not None:
                found.append(mix)
        return found


def find_multitracks(places: Sequence[Path], known: Iterable[str]) -> Multitracks:
    """The songs and takes in some places; `known` are names of stems, by which layouts are told
    apart.

    Raises StemwrightError where a place has neither.
    """
    songs: dict[str, dict[str, tuple[Path, ...]]] = {}
    takes: dict[str, tuple[Path, ...]] = {}
    names = set(known)
    for place in places:
        stem, separator, folder = str(place).partition("=")
        if separator:
            takes[stem] = (*takes.get(stem, ()), Path(folder))
            continue
        if not place.is_dir():
            raise StemwrightError(
                "songs-missing",
                f"{place} is not a folder. Give one that holds a folder for each song "
                "(SONGS/<song>/<stem>.wav) or for each stem (SONGS/<stem>/<song>.wav).",
            )
        for name, stem, path in _files(place, names):
            here = songs.setdefault(name, {})
            here[stem] = (*here.get(stem, ()), path)
    if not songs and not takes:
        raise StemwrightError(
            "no-songs",
            f"No stem in {', '.join(map(str, places))}: expected SONGS/<song>/<stem>.wav or "
            "SONGS/<stem>/<song>.wav.",
        )
    return Multitracks(dict(sorted(songs.items())), takes)


def _files(place: Path, known: set[str]) -> list[tuple[str, str, Path]]:
    """Song, stem and path of every audio file of a folder."""
    inside = [
        path
        for folder in sorted(place.iterdir())
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in AUDIO_SUFFIXES
    ]
    by_stem = {path.parent.name.lower() for path in inside} <= known
    return [
        (path.stem, path.parent.name.lower(), path)
        if by_stem
        else (path.parent.name, path.stem.lower(), path)
        for path in inside
        if path.stem.lower() not in MIXES
    ]


def _of_songs(stem: str, paths: Sequence[Path], front_end: FrontEnd, cache: Path) -> Corpus:
    """One stem of several songs: finished, in step."""
    read = _alone(load_corpus(stem, paths, front_end, variants=(Variant(0.0),), cache=cache))
    sources = frozenset(source.name for source in read.sources)
    return replace(read, finished=read.finished | sources, in_step=read.in_step | sources)


def _alone(corpus: Corpus) -> Corpus:
    """The same at one speed, to be drawn at others."""
    clips: list[Clip] = [replace(clip, alone=True) for clip in corpus.clips]
    return replace(corpus, clips=tuple(clips))
