"""What the tuning of an artist pack begins with and what it hears: a set of bundles, the artist's
multitracks, and other material that keeps what was known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine import (
    AUDIO_SUFFIXES,
    Device,
    FrontEndCard,
    ModelCard,
    Prior,
    read_bundle,
    song_masks,
)
from presets import StemwrightError, sha256_of

from .data.corpus import Corpus
from .data.mixes import RandomMixes, bins_per_band
from .data.multitracks import Multitracks, find_multitracks
from .data.pack import packed_corpus, read_pack
from .data.prior_samples import sampled_corpus
from .data.song_sums import SongSums, read_mix, read_song
from .training.artist_tuning import HeldOutSongs
from .training.estimate_masks import masks_of
from .training.options import TrainingOptions
from .training.runs import (
    digests,
    named_places,
    read_corpus,
)
from .training.tuning import bundled_estimate, encoder_name

Float = NDArray[np.float32]

_LEAST = np.float32(1e-14)


@dataclass(frozen=True)
class BegunSet:
    """The set of bundles that a tuning begins with."""

    folder: Path
    encoder: str
    cards: Mapping[str, ModelCard]

    @classmethod
    def read(cls, folder: Path) -> BegunSet:
        cards = {}
        for path in sorted(folder.glob("*.prior")):
            card = read_bundle(path)[0]
            if card.encoder_sha256 is not None:
                cards[card.stem] = card
        return cls(folder, encoder_name(folder), cards)

    @property
    def view(self) -> FrontEndCard:
        """The spectrogram that all of them see."""
        return next(iter(self.cards.values())).front_end

    @property
    def collective(self) -> str | None:
        """The stem that stands for all that has no head of its own."""
        return next((stem for stem, card in self.cards.items() if card.against), None)

    def place(self, stem: str) -> str:
        """In whose stem a stem of a song belongs."""
        place = stem if stem in self.cards else self.collective
        if place is None:
            raise StemwrightError(
                "stem-without-place",
                f"{stem} is none of the stems {', '.join(self.cards)} of {self.folder}, and no "
                "prior there stands for all others. Train one for it first "
                "(docs/new-instrument.md).",
            )
        return place

    def mixes(self, corpora: Mapping[str, Corpus], device: torch.device) -> RandomMixes:
        """Sums of some parts, with a target for every head; whoever has no part is silent."""
        return RandomMixes(
            {name: corpus.as_stems() for name, corpus in corpora.items()},
            self.heads(corpora),
            bins_per_band(self.view),
            device,
        )

    def heads(self, parts: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The parts that each head stands for."""
        there = tuple(parts)
        return {
            stem: tuple(part for part in there if self._stands_for(card, part))
            for stem, card in self.cards.items()
        }

    def _stands_for(self, card: ModelCard, part: str) -> bool:
        return part not in card.against if card.against else part == card.stem


@dataclass(frozen=True)
class ArtistMaterial:
    """What a tuning hears: the artist's stems, other material that keeps what was known, and the
    songs that are held out to judge with."""

    tracks: Multitracks
    held_out: Sequence[str]
    corpora: Mapping[str, Corpus]
    mixes: Sequence[Path] = ()
    rehearsal: Mapping[str, Corpus] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        places: Sequence[Path],
        hold_out: Sequence[str],
        mixes: Sequence[Path],
        begun: BegunSet,
        run: Path,
    ) -> ArtistMaterial:
        tracks = find_multitracks(places, begun.cards)
        held_out = tracks.held_out(hold_out)
        corpora = tracks.corpora(held_out, begun.view.front_end(), run / "magnitudes")
        return cls(tracks, held_out, corpora, find_mixes(mixes))

    def songs(self, begun: BegunSet, device: torch.device) -> SongSums | None:
        """Excerpts of the songs that are not held out, and of those without stems, in which the
        set itself says what plays; None where there is no such song."""
        encoder, heads = bundled_estimate(begun.folder)
        front_end = begun.view.front_end()
        stems = tuple(dict.fromkeys(begun.place(stem) for stem in self.tracks.stems))

        def found(halves: Float) -> dict[str, Float]:
            """As `standard` finds them: half of it by the song's own spectra."""
            masks = masks_of(halves, stems, encoder, heads, begun.cards)
            whole = np.sqrt(np.square(halves).sum(axis=0))
            anew = np.stack(
                [song_masks(m, w) for m, w in zip(masks.swapaxes(0, 1), whole, strict=True)],
                axis=1,
            )
            both = np.sqrt(np.maximum(masks * anew, _LEAST))
            return dict(zip(stems, both / both.sum(axis=0), strict=True))

        read = [
            read_song(name, files, front_end)
            for name, files in self.tracks.songs.items()
            if name not in self.held_out and len(files) > 1
        ]
        read += [read_mix(path, front_end, found) for path in self.mixes]
        songs = [song for song in read if song is not None]
        parts = dict.fromkeys((*self.tracks.stems, *stems))
        return SongSums(songs, begun.heads(parts), device) if songs else None

    def judges(self, begun: BegunSet) -> HeldOutSongs:
        """The held-out songs with the stems that the set has a place for."""
        places = {stem: begun.place(stem) for stem in self.tracks.stems}
        mixes = self.tracks.true_mixes(self.held_out, places, begun.view.front_end())
        return HeldOutSongs(mixes, begun.cards)

    def identity(self, begun: BegunSet) -> dict[str, str]:
        """What the run is of: it goes on with the same alone."""
        return {
            **digests(begun.view, self.corpora),
            **{f"rehearsal of {name}": corpus.digest for name, corpus in self.rehearsal.items()},
            **{f"mix {path.name}": sha256_of(path) for path in self.mixes},
            "held out": ", ".join(self.held_out),
            "tuned from": begun.encoder,
        }

    def minutes(self, begun: BegunSet, stem: str) -> float:
        """How much of the artist's belongs in a stem of the set."""
        return sum(
            source.minutes
            for part, corpus in self.corpora.items()
            if begun.place(part) == stem
            for source in corpus.sources
        )

    def summary(self, begun: BegunSet) -> Iterator[str]:
        """What is heard, and what is kept to judge with; for the terminal."""
        for stem, corpus in self.corpora.items():
            for refusal in corpus.refused:
                yield f"left out: {refusal.path.name}: {refusal.reason}"
            minutes = sum(source.minutes for source in corpus.sources)
            place = begun.place(stem)
            as_what = "" if place == stem else f" (part of {place})"
            yield f"{stem}: {minutes:.1f} minutes{as_what}"
        kept = len(self.tracks.songs) - len(self.held_out)
        held_out = ", ".join(self.held_out)
        unlabelled = f", and {len(self.mixes)} without stems" if self.mixes else ""
        yield f"{kept} songs to learn from{unlabelled}; held out to judge with: {held_out}"


def find_mixes(places: Sequence[Path]) -> tuple[Path, ...]:
    """The audio files in some folders and files.

    Raises StemwrightError where there is none in one of them.
    """
    found: dict[Path, None] = {}
    for place in places:
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        audio = [p for p in inside if p.is_file() and p.suffix.lower() in AUDIO_SUFFIXES]
        if not audio:
            raise StemwrightError(
                "mixes-missing",
                f"--mixes {place}: no audio file is there. Name songs of the artist, or a folder "
                "of them, whose stems you do not have.",
            )
        found |= dict.fromkeys(audio)
    return tuple(found)


def read_rehearsal(
    material: Sequence[Path], begun: BegunSet, options: TrainingOptions
) -> dict[str, Corpus]:
    """Other material by part: packs, folders that hold a folder for each part, PART=FOLDER; else
    what the flows of the set play."""
    places = named_places([place for place in material if "=" in str(place)])
    found: dict[str, Corpus] = {}
    view = begun.view
    for place in material:
        if "=" in str(place):
            continue
        if place.suffix == ".pack":
            found |= {part: packed_corpus(place, part, view) for part in read_pack(place).parts}
        else:
            for folder in sorted(path for path in place.iterdir() if path.is_dir()):
                places.setdefault(folder.name, []).append(folder)
    found |= {part: read_corpus(part, where, view, options.out) for part, where in places.items()}
    if found:
        return found
    return {
        stem: sampled_corpus(
            stem,
            Prior(begun.folder / f"{stem}.prior", Device("cpu")),
            options.seed,
            options.out / "samples",
        )
        for stem in begun.cards
        if not begun.cards[stem].against
    }
