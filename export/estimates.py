"""The training of first estimates, an encoder and a head per stem, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from engine import FrontEndCard
from presets import StemwrightError

from .data.augmentation import DRY
from .data.corpus import Corpus
from .data.mixes import IN_STEP, RandomMixes, bins_per_band
from .data.pack import packed_corpus, read_pack
from .models.estimator import NETWORKS
from .training.estimator_training import CHECKPOINT as HEADS_CHECKPOINT
from .training.estimator_training import EstimatorSettings, EstimatorTask
from .training.options import TrainingOptions
from .training.run import TrainingRun, device_summary, training_device
from .training.run_metadata import add_other_sources
from .training.runs import (
    corpus_summary,
    digests,
    named_places,
    read_corpus,
    sources_of,
    standard_front_end,
)
from .training.tuning import bundled_estimate, encoder_name, heard_before, unlike


@dataclass(frozen=True)
class EstimateOptions:
    """What a training of encoder and heads is told besides: the network's size, the share of sums
    in step and of sums compressed as a whole, and a pack of whole songs to validate with instead
    of a tenth of the songs."""

    network: str = "small"
    in_step: float = IN_STEP
    bus: float = 0.0
    validation: Path | None = None


def train_heads(
    parts: Sequence[Path],
    heads: Sequence[str],
    options: TrainingOptions,
    estimate: EstimateOptions = EstimateOptions(),
) -> Iterator[str]:
    """Train the shared encoder and a head per stem on random sums of isolated recordings.

    `parts` are PART=FOLDER; `heads` are HEAD=PART+PART for heads that stand for several parts.
    Every part has a head of its own name unless it is named in one of these.
    """
    card = standard_front_end()
    corpora = {
        name: read_corpus(name, places, card, options.out)
        for name, places in named_places(parts).items()
    }
    for corpus in corpora.values():
        yield from corpus_summary(corpus)
    wanted = {name: (name,) for name in corpora} | {
        name: tuple(made_of.split("+"))
        for name, _, made_of in (head.partition("=") for head in heads)
    }
    unknown = {part for made_of in wanted.values() for part in made_of} - corpora.keys()
    if unknown:
        raise StemwrightError(
            "head-malformed",
            f"--head names {', '.join(sorted(unknown))}, but the parts are {', '.join(corpora)}.",
        )
    yield from run_heads(corpora, wanted, options, estimate)


def run_heads(
    corpora: Mapping[str, Corpus],
    heads: Mapping[str, tuple[str, ...]],
    options: TrainingOptions,
    estimate: EstimateOptions = EstimateOptions(),
) -> Iterator[str]:
    """Train encoder and heads in the options' folder on corpora by part, yielding lines for the
    terminal."""
    card, device = standard_front_end(), training_device(options.device, options.threads)
    halves = {name: corpus.as_stems().split() for name, corpus in corpora.items()}
    bins = bins_per_band(card)
    train = RandomMixes(
        {name: half[0] for name, half in halves.items()},
        heads,
        bins,
        device,
        estimate.in_step,
        estimate.bus,
    )
    held = {name: half[1] for name, half in halves.items()}
    valid = RandomMixes(held, heads, bins, device, estimate.in_step)
    if estimate.validation:
        valid = _validation_songs(estimate.validation, heads, card, device)
    settings = replace(
        EstimatorSettings(steps=options.steps, seed=options.seed), **options.changes()
    )
    identity = digests(card, corpora) | {
        "sums in step": f"{estimate.in_step:g} of {train.songs}",
        "sums compressed": f"{estimate.bus:g}",
    }
    if options.begin_from:
        identity["tuned from"] = encoder_name(options.begin_from)
    tuned = bundled_estimate(options.begin_from) if options.begin_from else None
    task = EstimatorTask(
        NETWORKS[estimate.network], settings, train, valid, identity, device, tuned
    )
    run = TrainingRun(options.out, HEADS_CHECKPOINT, task, device, options.deadline)
    _, before = heard_before(
        sorted(options.begin_from.glob("*.prior")) if options.begin_from else []
    )
    add_other_sources(options.out, unlike(sources_of(corpora.values()), before))
    size = sum(p.numel() for p in task.model.parameters()) / 1e6
    parts = f"{train.songs} songs whose parts agree"
    yield f"{device_summary(device)}; {size:.2f} M parameters; {parts}"
    yield run.forecast()
    for p in run.run(run.every):
        losses = ", ".join(f"{name} {loss:.3f}" for name, loss in p.valid.items())
        yield f"step {p.step}/{p.steps}  train {p.train_loss:.3f}  validation {losses}  {p.left}"


def _validation_songs(
    pack: Path, heads: Mapping[str, tuple[str, ...]], card: FrontEndCard, device: torch.device
) -> RandomMixes:
    """Sums of a pack's songs in step, without treatment; heads that it has no part for rest."""
    there = read_pack(pack).parts
    parts = {
        part: replace(packed_corpus(pack, part, card), production=DRY)
        for part in dict.fromkeys(part for made_of in heads.values() for part in made_of)
        if part in there
    }
    wanted = {
        head: tuple(part for part in made_of if part in parts)
        for head, made_of in heads.items()
        if set(made_of) & parts.keys()
    }
    return RandomMixes(parts, wanted, bins_per_band(card), device, in_step=1.0)
