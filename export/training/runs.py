"""What every training run begins with: the view and the size, and recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from engine import FrontEndCard, Source, log_band_plan
from presets import StemwrightError

from ..data.corpus import VARIANTS, Corpus, Variant, joined, load_corpus
from ..data.pack import SUFFIX, packed_corpus
from ..models.flow import FlowConfig
from .flow_training import TrainSettings
from .options import TrainingOptions

STANDARD_RATE, STANDARD_HOP = 44_100, 1024  # window 93 ms: long enough for bass
PAPER_RATE, PAPER_HOP, PAPER_BINS = 22_050, 256, 512


class Size(NamedTuple):
    """View, flow and training of a size."""

    front_end: FrontEndCard
    flow: FlowConfig
    settings: TrainSettings


def standard_front_end() -> FrontEndCard:
    """128 bands at 44.1 kHz: every bin up to 400 Hz, then equal ratios to 20 kHz.

    An oracle ratio mask on these bands loses 0.3 dB against one on all 2049 bins
    (docs/lab.md), and a band costs what a bin costs.
    """
    bin_hz = STANDARD_RATE / (4 * STANDARD_HOP)
    plan = log_band_plan(128, bin_hz=bin_hz, low_hz=400, high_hz=20_000, first_hz=bin_hz / 2)
    return FrontEndCard(sample_rate=STANDARD_RATE, hop=STANDARD_HOP, edges_hz=plan.edges_hz)


def paper_front_end() -> FrontEndCard:
    """The paper's: 22.05 kHz, window 1024, hop 256, linear magnitudes.

    A window has 513 bins and the flow needs an even number: band k is bin k + 1, and DC joins
    the lowest.
    """
    bin_hz = PAPER_RATE / (4 * PAPER_HOP)
    edges = tuple((k + 0.5) * bin_hz for k in range(PAPER_BINS + 1))
    return FrontEndCard(sample_rate=PAPER_RATE, hop=PAPER_HOP, edges_hz=edges)


def sized(options: TrainingOptions) -> Size:
    """Ours (`cpu`), the published one (`paper`), or the published view, features and objective
    with a network of our size (`paper-small`), which two cores can train and search."""
    ours = TrainSettings(steps=options.steps, seed=options.seed)
    view, flow, settings = standard_front_end(), FlowConfig(), ours
    if options.size != "cpu":
        # Zhu et al.: linear magnitudes, likelihood alone
        settings = replace(ours, compression=1.0, contrast_weight=0.0)
        view, flow = paper_front_end(), FlowConfig(bands=PAPER_BINS)
    if options.size == "paper":
        flow, settings = FlowConfig.paper(), replace(settings, learning_rate=1e-4)
    return Size(view, flow, replace(settings, **options.flow_changes()))


def read_corpus(
    stem: str,
    places: Sequence[Path],
    card: FrontEndCard,
    out: Path,
    variants: Sequence[Variant] = VARIANTS,
) -> Corpus:
    """The user's recordings of a stem, folders, files and packs; the magnitudes of what is audio
    are kept in the run's folder."""
    audio, packs = by_kind(places)
    corpora = [packed_corpus(pack, part or stem, card) for pack, part in packs]
    if audio or not packs:
        view, cache = card.front_end(), out / "magnitudes"
        corpora.insert(0, load_corpus(stem, audio, view, variants=variants, cache=cache))
    return replace(joined(corpora), stem=stem)


def by_kind(places: Sequence[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Audio files and folders; and packs with the part that is meant, where one is named as if
    the pack were a folder: all.pack/guitar."""
    packs = [(place, "") for place in places if place.suffix == SUFFIX]
    packs += [(p.parent, p.name) for p in places if p.parent.suffix == SUFFIX and not p.exists()]
    audio = [p for p in places if p.suffix != SUFFIX and (p.exists() or p.parent.suffix != SUFFIX)]
    return audio, packs


def corpus_summary(corpus: Corpus) -> Iterator[str]:
    """What was read and what was left out, for the terminal."""
    for refusal in corpus.refused:
        yield f"left out: {refusal.path.name}: {refusal.reason}"
    minutes = sum(source.minutes for source in corpus.sources)
    files = sum(source.files for source in corpus.sources)
    kept = f"; kept for judging: {corpus.held_out}" if corpus.held_out else ""
    yield f"{corpus.stem}: {files} recordings, {minutes:.1f} minutes{kept}"


def named_places(places: Sequence[Path]) -> dict[str, list[Path]]:
    """Parse STEM=FOLDER."""
    folders: dict[str, list[Path]] = {}
    for item in places:
        stem, separator, folder = str(item).partition("=")
        if not separator or not stem or not folder:
            raise StemwrightError(
                "place-malformed",
                f"{item}: expected STEM=FOLDER, for example drums=takes/drums.",
            )
        folders.setdefault(stem, []).append(Path(folder))
    return folders


def digests(card: FrontEndCard, corpora: Mapping[str, Corpus]) -> dict[str, str]:
    """Short names of the spectrogram and of every corpus: a run goes on with the same alone."""
    recordings = {f"recordings of {name}": corpus.digest for name, corpus in corpora.items()}
    return {"front end": card.front_end().digest(), **recordings}


def sources_of(corpora: Iterable[Corpus]) -> tuple[Source, ...]:
    """Every body of recordings in some corpora, named with what plays in it."""
    return tuple(
        source.model_copy(update={"name": f"{corpus.stem}: {source.name}"})
        for corpus in corpora
        for source in corpus.sources
    )
