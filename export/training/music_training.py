"""The training of MusicGlow: one flow for several stems, told by a label which one is meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from engine import PERCENTS
from presets import STEM_PATTERN, StemwrightError

from ..data.corpus import Corpus
from ..data.labelled import Music
from .flow_training import CHECKPOINT, FlowTask, Run, flow_lines, load_run
from .options import TrainingOptions
from .run import TrainingRun, device_summary, training_device
from .run_metadata import add_measures, write_metadata
from .runs import (
    Size,
    corpus_summary,
    digests,
    named_places,
    read_corpus,
    sized,
)

MUSICGLOW = "musicglow"  # the card's stem: no instrument, but the lot


def train_music(places: Sequence[Path], options: TrainingOptions) -> Iterator[str]:
    """Train in the options' folder, yielding lines for the terminal; a folder with a checkpoint
    goes on.

    `places` are STEM=FOLDER of isolated recordings; stems may repeat. Their order is that of
    the labels. What leaks into a stem's excerpts in the contrastive term are the other stems.
    """
    device = training_device(options.device, options.threads)
    folders = named_places(places)
    labels = tuple(folders)
    chosen = sized(options)
    check_labels(labels)
    corpora = {
        stem: read_corpus(stem, recordings, chosen.front_end, options.out)
        for stem, recordings in folders.items()
    }
    for corpus in corpora.values():
        yield from corpus_summary(corpus)
    yield device_summary(device)
    yield from train_music_flow(chosen, corpora, options, device)


def train_music_flow(
    size: Size, corpora: Mapping[str, Corpus], options: TrainingOptions, device: torch.device
) -> Iterator[str]:
    """Train one flow for several stems and measure it on held-out songs."""
    view, config, settings = size
    out, labels = options.out, tuple(corpora)
    config = replace(config, labels=len(labels))
    # as many rows of every label
    settings = replace(settings, batch=-(-settings.batch // len(labels)) * len(labels))
    music = Music(list(corpora.values()), device)
    train, valid = music.split()
    identity = {
        "stem": MUSICGLOW,
        "labels in order": ", ".join(labels),
        "leaks": "recordings" if settings.contrast_weight else "none",
        **digests(view, corpora),
    }
    task = FlowTask(config, settings, train, valid, train.leak, identity, device)
    run = TrainingRun(out, CHECKPOINT, task, device, options.deadline)
    write_metadata(out, MUSICGLOW, view, music.sources, settings, labels)
    yield from flow_lines(run, labels)
    yield from _measured(load_run(out), valid, out)


def check_labels(labels: Sequence[str]) -> None:
    """Refuse what would fail after the training."""
    if len(labels) < 2:
        raise StemwrightError(
            "music-single",
            f"--music trains one flow for several stems and was given {', '.join(labels)} alone. "
            "Name more, or train a prior of its own with --stem.",
        )
    if wrong := [label for label in labels if not re.fullmatch(STEM_PATTERN, label)]:
        raise StemwrightError(
            "label-malformed",
            f"{', '.join(wrong)}: a stem's name begins with a small letter and has small "
            "letters, digits, - and _ only.",
        )


def _measured(run: Run, valid: Music, out: Path) -> Iterator[str]:
    """Measure held-out excerpts of every stem under its label."""
    percentiles, nats = {}, {}
    for label, corpus in enumerate(valid.corpora):
        heard = corpus.excerpts(run.settings.frames)
        if not heard:
            yield f"{corpus.stem}: too little is held out to say how likely it is"
            continue
        scores = run.scores(heard, label)
        percentiles[corpus.stem] = [float(p) for p in np.percentile(scores, PERCENTS)]
        nats[corpus.stem] = float(-scores.mean())
        yield f"{corpus.stem}: {nats[corpus.stem]:.3f} nats per dimension on held-out songs"
    add_measures(out, {"nats_per_dimension": nats}, of_labels=percentiles)
