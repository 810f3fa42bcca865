"""The two everyday jobs: train a prior in a folder that can be resumed, export it as a bundle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import PERCENTS, STEM_PATTERN, Device, FrontEndCard, Prior, Source
from presets import StemwrightError

from .bundle import Facts, write_bundle
from .data.corpus import Corpus, Interference, Variant, load_corpus
from .models.estimator import EstimatorConfig, TrainedEncoder, TrainedHead
from .training.estimator_training import (
    EstimatorSettings,
    EstimatorTrainer,
    RandomMixes,
    bins_per_band,
    load_estimator,
)
from .training.flow_training import Run, Trainer, load_run
from .training.head_training import load_head
from .training.interferers import Interferers, train_head
from .training.runs import (
    Size,
    SizeName,
    add_metadata,
    add_others,
    corpus_summary,
    digests,
    named_places,
    read_corpus,
    read_metadata,
    sized,
    sources_of,
    standard_front_end,
    write_metadata,
)
from .verdict import Verdict, judge_run


def train_prior(
    stem: str,
    recordings: Sequence[Path],
    out: Path,
    against: Sequence[Path],
    steps: int,
    size: SizeName,
    seed: int,
    threads: int,
    head_steps: int,
) -> Iterator[str]:
    """Train in `out`, yielding lines for the terminal; a folder with checkpoints goes on, with
    the recordings it had and as many more steps as are asked for.

    First the flow, then `head_steps` steps (0: none) of a head on the installed encoder.
    `against` names other instruments' recordings as STEM=FOLDER; without them samples of the
    installed priors stand in. The verdict compares the flow with the installed priors.
    """
    if threads:
        torch.set_num_threads(threads)
    _check_name(stem)
    chosen = sized(size, steps, seed)
    view = chosen.front_end
    corpus = read_corpus(stem, recordings, view, out)
    places = named_places(against)
    if stem in places:
        raise StemwrightError(
            "against-itself",
            f"--against {stem}=...: that is the new instrument itself. Name other instruments, "
            f"and give recordings of {stem} without --against.",
        )
    recorded = {name: read_corpus(name, given, view, out) for name, given in places.items()}
    for each in (corpus, *recorded.values()):
        yield from corpus_summary(each)
    interferers = Interferers(stem, view, out, seed, recorded)
    yield interferers.summary(contrast=chosen.settings.contrast_weight > 0)
    yield from train_flow(out, stem, chosen, corpus, interferers.leak(), interferers.kind)
    own = _opened(out, stem)
    yield from _judged(own, interferers, recordings, out).lines()
    if head_steps:
        yield from train_head(interferers, corpus, own, head_steps)


def train_flow(
    out: Path, stem: str, size: Size, corpus: Corpus, leak: Interference | None, leaks: str
) -> Iterator[str]:
    """Train the flow of a prior in `out` and measure it on held-out songs.

    `leaks` says what leaks in: recordings, samples or none.
    """
    view, config, settings = size
    train, valid = corpus.split()
    leaking = leak.corpora if leak and settings.contrast_weight else ()
    given = {
        "stem": stem,
        "leaks": leaks if leaking else "none",
        **{f"leaks of {other.stem}": other.digest for other in leaking},
        **digests(view, {stem: corpus}),
    }
    trainer = Trainer(out, config, settings, train, valid, leak, given)
    # only now: the folder of another run keeps the card that belongs to its weights
    write_metadata(out, stem, view, corpus.sources, settings)
    add_others(out, sources_of(leaking))
    yield from trainer.lines()
    yield measure_held_out(load_run(out), valid, out)


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
    halves = {name: corpus.as_stems().split() for name, corpus in corpora.items()}
    train, valid = (
        RandomMixes({n: half[side] for n, half in halves.items()}, heads, bins_per_band(card))
        for side in (0, 1)
    )
    settings = EstimatorSettings(steps=steps, seed=seed)
    given = digests(card, corpora)
    trainer = EstimatorTrainer(out, EstimatorConfig(), settings, train, valid, given)
    add_others(out, sources_of(corpora.values()))
    for p in trainer.run():
        told = ", ".join(f"{name} {loss:.3f}" for name, loss in p.valid_loss.items())
        yield f"step {p.step}/{steps}  train {p.train_loss:.3f}  validation {told}"


def export_prior(folder: Path, out: Path, heads: Path | None) -> str:
    """Write the bundle of a run's last checkpoint; returns a line for the terminal.

    The head is the run's own, or from `heads`, a run of `train_heads` with a head for this stem,
    whose encoder is written beside.
    """
    metadata, run = read_metadata(folder), load_run(folder)
    if heads is not None:
        metadata["others"] = [*metadata.get("others", ()), *read_metadata(heads).get("others", ())]
    head, encoder = _first_estimate(folder, heads, metadata["stem"], run.settings.seed)
    facts = _facts(metadata, run)
    if head is not None:
        facts["training"] |= {"head": head.training}
    card = write_bundle(run, out, head=head, encoder=encoder, **facts)
    worst = max(card.validation["parity"].values())
    stems = ", ".join(card.labels or [card.stem])
    return (
        f"{out}: {stems}, {card.parameters / 1e6:.2f} M parameters, "
        f"{out.stat().st_size / 2**20:.1f} MiB; ONNX Runtime equals torch to {worst:.0e}"
    )


def _first_estimate(
    folder: Path, heads: Path | None, stem: str, seed: int
) -> tuple[TrainedHead | None, TrainedEncoder | None]:
    """The run's own head, whose encoder is installed already, or head and encoder of `heads`."""
    if heads is None:
        return load_head(folder, seed), None
    estimator = load_estimator(heads)
    if stem not in estimator.heads:
        raise StemwrightError(
            "head-missing",
            f"{heads} has heads for {', '.join(estimator.heads)}, none for {stem}.",
        )
    return estimator.head(stem, seed), estimator.trained_encoder(seed)


def _facts(metadata: dict[str, Any], run: Run) -> Facts:
    """What the card says, from `run.json` and the checkpoint."""
    # the run measures standardised features, a bundle's density is that of the features before
    log_std = float(np.log(run.features.std.astype(np.float64)).mean())
    trained = {"steps": run.step, "of": run.settings.steps}
    sources = tuple(Source.model_validate(source) for source in metadata["sources"])
    # once each: a run and its heads may have heard the same
    interferers = tuple(
        dict.fromkeys(Source.model_validate(s) for s in metadata.get("others", ()))
    )
    return {
        "stem": metadata["stem"],
        "labels": metadata.get("labels", ()),
        "licence": _licence([*sources, *interferers]),
        "front_end": FrontEndCard.model_validate(metadata["front_end"]),
        "sources": sources,
        "others": interferers,
        "validation": metadata.get("validation", {}),
        "training": asdict(run.settings) | trained | {"leaks": run.given.get("leaks", "unknown")},
        "percentiles": tuple(p - log_std for p in metadata.get("percentiles", ())),
        "percentiles_of_labels": {
            label: tuple(p - log_std for p in percentiles)
            for label, percentiles in metadata.get("percentiles_of_labels", {}).items()
        },
    }


def measure_held_out(run: Run, valid: Corpus, out: Path) -> str:
    """Measure held-out excerpts: likelihood percentiles for quality reports, and a sentence."""
    heard = valid.excerpts(run.settings.frames)
    if not heard:
        return "trained; too little is held out to say how likely it is"
    scores = run.scores(heard)
    percentiles = [float(p) for p in np.percentile(scores, PERCENTS)]
    validation = {"nats_per_dimension": float(-scores.mean())}
    add_metadata(out, percentiles=percentiles, validation=validation)
    return (
        f"trained: {-scores.mean():.3f} nats per dimension on held-out songs "
        f"(5 % to 95 %: {-percentiles[5]:.3f} to {-percentiles[1]:.3f})"
    )


def _check_name(stem: str) -> None:
    """Refuse a name that no card would take, before the training."""
    if not re.fullmatch(STEM_PATTERN, stem):
        raise StemwrightError(
            "stem-malformed",
            f"--stem {stem}: a stem's name begins with a small letter and has small letters, "
            "digits, - and _ only.",
        )


def _opened(folder: Path, stem: str) -> Prior:
    """The run's flow as a separation would use it."""
    with tempfile.TemporaryDirectory() as aside:
        bundle = Path(aside) / f"{stem}.prior"
        export_prior(folder, bundle, None)
        return Prior(bundle, Device("cpu"))


def _judged(
    own: Prior, interferers: Interferers, recordings: Sequence[Path], out: Path
) -> Verdict:
    """Compare with the installed priors on held-out songs as they were played."""
    plain = load_corpus(
        own.stem,
        recordings,
        own.card.front_end.front_end(),
        variants=(Variant(0.0),),
        cache=out / "magnitudes",
    )
    verdict = judge_run(
        own,
        interferers.installed,
        [clip.active.astype(np.float32) for clip in plain.split()[1].clips],
        sum(source.minutes for source in plain.sources),
        interferers.recorded,
    )
    add_metadata(out, validation=verdict.to_dict())
    return verdict


def _licence(sources: Sequence[Source]) -> str:
    return "; ".join(sorted({source.licence for source in sources}))
