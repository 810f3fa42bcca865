"""The two everyday jobs: train a prior in a folder that can be resumed, export it as a bundle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import PERCENTS, STEM_PATTERN, Device, FrontEndCard, Prior, Source
from presets import StemwrightError

from .bundle import write_bundle
from .dataset import Corpus, Variant, load_corpus
from .estimator import EstimatorConfig
from .estimator_train import EstimatorSettings, EstimatorTrainer, RandomMixes, load_estimator
from .head_train import load_head
from .others import Others, train_head
from .runs import (
    CATALOGUE,
    add_about,
    named_places,
    read_about,
    read_corpus,
    sized,
    standard_front_end,
    told_corpus,
    write_about,
)
from .train import Run, Trainer, load_run
from .verdict import Verdict, judge_run


def train_prior(
    stem: str,
    recordings: Sequence[Path],
    out: Path,
    against: Sequence[Path],
    steps: int,
    size: str,
    seed: int,
    threads: int,
    head_steps: int,
) -> Iterator[str]:
    """Train in `out`, yielding lines for the terminal; a folder with checkpoints goes on.

    First the flow, then `head_steps` steps (0: none) of a head on the installed encoder.
    `against` names other instruments' recordings as STEM=FOLDER; without them samples of the
    installed priors stand in. The verdict compares the flow with the installed priors.
    """
    if threads:
        torch.set_num_threads(threads)
    if not re.fullmatch(STEM_PATTERN, stem):
        raise StemwrightError(
            "stem-malformed",
            f"--stem {stem}: a stem's name begins with a small letter and has small letters, "
            "digits, - and _ only.",
        )
    card, config, settings = sized(size, steps, seed)
    corpus = read_corpus(stem, recordings, card, out)
    yield from told_corpus(corpus)
    recorded = {
        name: read_corpus(name, given, card, out) for name, given in named_places(against).items()
    }
    others = Others(stem, card, out, seed, recorded)
    yield others.told()
    train, valid = corpus.split()
    leak = others.leak()
    write_about(out, stem, card, corpus.sources, settings)
    yield from Trainer(out, config, settings, train, valid, leak).lines()
    yield measure_held_out(load_run(out), valid, out)
    own = _opened(out, stem)
    yield from _judged(own, others, recordings, out).lines()
    if head_steps:
        yield from train_head(others, corpus, own, head_steps)


def train_heads(
    parts: Sequence[Path], heads: Sequence[str], out: Path, steps: int, seed: int, threads: int
) -> Iterator[str]:
    """Train the shared encoder and a head per stem on random sums of isolated recordings.

    `parts` are PART=FOLDER; `heads` are HEAD=PART+PART for heads that stand for several parts.
    Every part has a head of its own name unless it is named in one of these.
    """
    if threads:
        torch.set_num_threads(threads)
    card = standard_front_end()
    corpora = {
        name: read_corpus(name, places, card, out) for name, places in named_places(parts).items()
    }
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
    yield from run_heads(corpora, wanted, out, steps, seed)


def run_heads(
    corpora: Mapping[str, Corpus],
    heads: Mapping[str, tuple[str, ...]],
    out: Path,
    steps: int,
    seed: int,
) -> Iterator[str]:
    """Train encoder and heads in `out` on corpora by part, yielding lines for the terminal."""
    card = standard_front_end()
    halves = {name: corpus.split() for name, corpus in corpora.items()}
    edges = np.diff(card.edges_hz) / (card.sample_rate / (4 * card.hop))
    train, valid = (
        RandomMixes({n: half[side] for n, half in halves.items()}, heads, np.maximum(edges, 1))
        for side in (0, 1)
    )
    settings = EstimatorSettings(steps=steps, seed=seed)
    trainer = EstimatorTrainer(out, EstimatorConfig(), settings, train, valid)
    for p in trainer.run():
        told = ", ".join(f"{name} {loss:.3f}" for name, loss in p.valid_loss.items())
        yield f"step {p.step}/{steps}  train {p.train_loss:.3f}  validation {told}"


def export_prior(folder: Path, out: Path, heads: Path | None) -> str:
    """Write the bundle of a run's last checkpoint; returns a line for the terminal.

    The head is the run's own, or from `heads`, a run of `train_heads` with a head for this stem,
    whose encoder is written beside.
    """
    about = read_about(folder)
    run = load_run(folder)
    head = load_head(folder, run.settings.seed)
    if heads is not None:
        estimator = load_estimator(heads)
        if about["stem"] not in estimator.heads:
            raise StemwrightError(
                "head-missing",
                f"{heads} has heads for {', '.join(estimator.heads)}, none for {about['stem']}.",
            )
        head = estimator.head(about["stem"], run.settings.seed)
        encoder = estimator.encoder_bytes()
        (out.parent / f"{head.encoder_sha256[:16]}.encoder.onnx").write_bytes(encoder)
    # the run measures standardised features, a bundle's density is that of the features before
    log_std = float(np.log(run.features.std.astype(np.float64)).mean())
    card = write_bundle(
        run,
        out,
        stem=about["stem"],
        front_end=FrontEndCard.model_validate(about["front_end"]),
        sources=tuple(Source.model_validate(source) for source in about["sources"]),
        validation=about.get("validation", {}),
        training={"steps": run.step, "of": run.settings.steps, "seed": run.settings.seed},
        percentiles=tuple(p - log_std for p in about.get("percentiles", ())),
        percentiles_of_labels={
            label: tuple(p - log_std for p in percentiles)
            for label, percentiles in about.get("percentiles_of_labels", {}).items()
        },
        labels=about.get("labels", ()),
        licence=_licence(about["sources"]),
        head=head,
    )
    worst = max(card.validation["parity"].values())
    stems = ", ".join(card.labels or [card.stem])
    return (
        f"{out}: {stems}, {card.parameters / 1e6:.2f} M parameters, "
        f"{out.stat().st_size / 2**20:.1f} MiB; ONNX Runtime equals torch to {worst:.0e}"
    )


def measure_held_out(run: Run, valid: Corpus, out: Path) -> str:
    """Measure held-out excerpts: likelihood percentiles for quality reports, and a sentence."""
    heard = valid.excerpts(run.settings.frames)
    if not heard:
        return "trained; too little is held out to say how likely it is"
    scores = run.scores(heard)
    percentiles = [float(p) for p in np.percentile(scores, PERCENTS)]
    validation = {"nats_per_dimension": float(-scores.mean())}
    add_about(out, percentiles=percentiles, validation=validation)
    return (
        f"trained: {-scores.mean():.3f} nats per dimension on held-out songs "
        f"(5 % to 95 %: {-percentiles[5]:.3f} to {-percentiles[1]:.3f})"
    )


def _opened(folder: Path, stem: str) -> Prior:
    """The run's flow as a separation would use it."""
    with tempfile.TemporaryDirectory() as aside:
        bundle = Path(aside) / f"{stem}.prior"
        export_prior(folder, bundle, None)
        return Prior(bundle, Device("cpu"))


def _judged(own: Prior, others: Others, recordings: Sequence[Path], out: Path) -> Verdict:
    """Compare with the installed priors on held-out songs as they were played."""
    plain = load_corpus(
        own.stem,
        recordings,
        own.card.front_end.front_end(),
        variants=(Variant(0.0),),
        catalogue=CATALOGUE,
        cache=out / "magnitudes",
    )
    verdict = judge_run(
        own,
        others.installed,
        [clip.active.astype(np.float32) for clip in plain.split()[1].clips],
        sum(source.minutes for source in plain.sources),
        others.recorded,
    )
    add_about(out, validation=verdict.to_dict())
    return verdict


def _licence(sources: Sequence[dict[str, Any]]) -> str:
    return "; ".join(sorted({source["licence"] for source in sources}))
