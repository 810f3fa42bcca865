"""What the tuning of an artist pack begins with and what it hears: a set of bundles, the artist's
multitracks, and other material that keeps what was known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from engine import (
    Device,
    FrontEndCard,
    ModelCard,
    Prior,
    read_bundle,
)
from presets import StemwrightError

from .data.corpus import Corpus
from .data.mixes import RandomMixes, bins_per_band
from .data.multitracks import Multitracks, find_multitracks
from .data.pack import packed_corpus, read_pack
from .data.prior_samples import sampled_corpus
from .training.artist_tuning import HeldOutSongs
from .training.options import TrainingOptions
from .training.runs import (
    digests,
    named_places,
    read_corpus,
)
from .training.tuning import encoder_name


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
        heads = {
            stem: tuple(part for part in corpora if self._stands_for(card, part))
            for stem, card in self.cards.items()
        }
        return RandomMixes(
            {name: corpus.as_stems() for name, corpus in corpora.items()},
            heads,
            bins_per_band(self.view),
            device,
        )

    def _stands_for(self, card: ModelCard, part: str) -> bool:
        return part not in card.against if card.against else part == card.stem


@dataclass(frozen=True)
class ArtistMaterial:
    """What a tuning hears: the artist's stems, other material that keeps what was known, and the
    songs that are held out to judge with."""

    tracks: Multitracks
    held_out: Sequence[str]
    corpora: Mapping[str, Corpus]
    rehearsal: Mapping[str, Corpus] = field(default_factory=dict)

    @classmethod
    def read(
        cls, places: Sequence[Path], hold_out: Sequence[str], begun: BegunSet, run: Path
    ) -> ArtistMaterial:
        tracks = find_multitracks(places, begun.cards)
        held_out = tracks.held_out(hold_out)
        corpora = tracks.corpora(held_out, begun.view.front_end(), run / "magnitudes")
        return cls(tracks, held_out, corpora)

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
        yield f"{kept} songs to learn from; held out to judge with: {held_out}"


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
