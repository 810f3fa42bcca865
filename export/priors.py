"""The two everyday jobs: train a prior in a folder that can be resumed, export it as a bundle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import FrontEndCard, Source, log_band_plan
from presets import StemwrightError

from .bundle import write_bundle
from .dataset import Corpus, Interference, load_corpus
from .estimator import EstimatorConfig
from .estimator_train import EstimatorSettings, EstimatorTrainer, RandomMixes, load_estimator
from .flow import FlowConfig
from .train import Run, Trainer, TrainSettings, load_run

STANDARD_RATE, STANDARD_HOP = 44_100, 1024  # window 93 ms: long enough for bass
PAPER_RATE, PAPER_HOP, PAPER_BINS = 22_050, 256, 512
CATALOGUE = Path(__file__).with_name("shipped_sources.yaml")


def standard_front_end() -> FrontEndCard:
    """128 bands at 44.1 kHz: every bin up to 400 Hz, then equal ratios to 20 kHz.

    An oracle ratio mask on these bands loses 0.3 dB against one on all 2049 bins
    (docs/lab.md), and a band costs what a bin costs.
    """
    bin_hz = STANDARD_RATE / (4 * STANDARD_HOP)
    plan = log_band_plan(128, bin_hz=bin_hz, low_hz=400, high_hz=20_000, first_hz=bin_hz / 2)
    return FrontEndCard(sample_rate=STANDARD_RATE, hop=STANDARD_HOP, edges_hz=plan.edges_hz)


def paper_front_end() -> FrontEndCard:
    """The paper's: 22.05 kHz, window 1024, hop 256, linear magnitudes; 512 bins without DC."""
    bin_hz = PAPER_RATE / (4 * PAPER_HOP)
    edges = tuple((k + 0.5) * bin_hz for k in range(PAPER_BINS + 1))
    return FrontEndCard(sample_rate=PAPER_RATE, hop=PAPER_HOP, edges_hz=edges)


def train_prior(
    stem: str,
    recordings: Sequence[Path],
    out: Path,
    against: Sequence[Path],
    steps: int,
    size: str,
    seed: int,
    threads: int,
) -> Iterator[str]:
    """Train in `out`, yielding lines for the terminal; a folder with a checkpoint goes on.

    `against` names other instruments' recordings as STEM=FOLDER; without them the contrastive
    term is left out, and the verdict cannot say what the prior tells apart.
    """
    if threads:
        torch.set_num_threads(threads)
    card = standard_front_end() if size == "cpu" else paper_front_end()
    config = FlowConfig() if size == "cpu" else FlowConfig.paper()
    settings = TrainSettings(steps=steps, seed=seed)
    if size == "paper":  # Zhu et al.: linear magnitudes, Adam 1e-4, likelihood alone
        settings = TrainSettings(
            steps=steps, seed=seed, compression=1.0, learning_rate=1e-4, contrast_weight=0.0
        )
    corpus = _corpus(stem, recordings, card, out)
    yield from _told_corpus(corpus)
    others = [_corpus(name, folders, card, out) for name, folders in _against(against).items()]
    train, valid = corpus.split()
    leak = Interference(stem, others) if others else None
    _write_about(out, stem, card, corpus.sources, steps, seed)
    trainer = Trainer(out, config, settings, train, valid, leak)
    if trainer.step:
        yield f"resuming at step {trainer.step} of {steps}"
    for p in trainer.run():
        told = "" if p.told_apart is None else f"  tells leaks apart {p.told_apart:.0%}"
        left = p.seconds / max(p.step - trainer.started_at, 1) * (p.steps - p.step)
        yield (
            f"step {p.step}/{p.steps}  nats per dimension: train {p.train_nll:.3f}, "
            f"validation {p.valid_nll:.3f}{told}  {left / 60:.1f} min left"
        )
    yield _verdict(load_run(out), valid, out)


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
    corpora = {name: _corpus(name, places, card, out) for name, places in _against(parts).items()}
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
    halves = {name: corpus.split() for name, corpus in corpora.items()}
    edges = np.diff(card.edges_hz) / (card.sample_rate / (4 * card.hop))
    train, valid = (
        RandomMixes({n: half[side] for n, half in halves.items()}, wanted, np.maximum(edges, 1))
        for side in (0, 1)
    )
    settings = EstimatorSettings(steps=steps, seed=seed)
    trainer = EstimatorTrainer(out, EstimatorConfig(), settings, train, valid)
    for p in trainer.run():
        told = ", ".join(f"{name} {loss:.3f}" for name, loss in p.valid_loss.items())
        yield f"step {p.step}/{steps}  train {p.train_loss:.3f}  validation {told}"


def export_prior(folder: Path, out: Path, heads: Path | None) -> str:
    """Write the bundle of a run's last checkpoint; returns a line for the terminal.

    `heads` is a run of `train_heads` with a head for this stem; its encoder is written beside.
    """
    about = _about(folder)
    run = load_run(folder)
    head = None
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
    card = write_bundle(
        run,
        out,
        stem=about["stem"],
        front_end=FrontEndCard.model_validate(about["front_end"]),
        sources=tuple(Source.model_validate(source) for source in about["sources"]),
        validation=about.get("validation", {}),
        training={"steps": run.step, "of": run.settings.steps, "seed": run.settings.seed},
        percentiles=tuple(about.get("percentiles", ())),
        licence=_licence(about["sources"]),
        head=head,
    )
    worst = max(card.validation["parity"].values())
    return (
        f"{out}: {card.stem}, {card.parameters / 1e6:.2f} M parameters, "
        f"{out.stat().st_size / 2**20:.1f} MiB; ONNX Runtime equals torch to {worst:.0e}"
    )


def _corpus(stem: str, places: Sequence[Path], card: FrontEndCard, out: Path) -> Corpus:
    return load_corpus(
        stem, places, card.front_end(), catalogue=CATALOGUE, cache=out / "magnitudes"
    )


def _told_corpus(corpus: Corpus) -> Iterator[str]:
    for refusal in corpus.refused:
        yield f"left out: {refusal.path.name}: {refusal.reason}"
    minutes = sum(source.minutes for source in corpus.sources)
    files = sum(source.files for source in corpus.sources)
    yield f"{corpus.stem}: {files} recordings, {minutes:.1f} minutes"


def _against(given: Sequence[Path]) -> dict[str, list[Path]]:
    """Parse STEM=FOLDER."""
    folders: dict[str, list[Path]] = {}
    for item in given:
        stem, separator, folder = str(item).partition("=")
        if not separator or not stem or not folder:
            raise StemwrightError(
                "against-malformed",
                f"--against {item}: expected STEM=FOLDER, for example drums=takes/drums.",
            )
        folders.setdefault(stem, []).append(Path(folder))
    return folders


def _write_about(
    out: Path, stem: str, card: FrontEndCard, sources: Sequence[Source], steps: int, seed: int
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "stem": stem,
        "front_end": card.model_dump(mode="json"),
        "sources": [source.model_dump(mode="json") for source in sources],
        "steps": steps,
        "seed": seed,
    }
    (out / "run.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def _about(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise StemwrightError(
            "run-not-found",
            f"{folder}: no training run here (run.json: {error.strerror}). Train one with "
            "stemwright prior train.",
        ) from error
    return about


def _verdict(run: Run, valid: Corpus, out: Path) -> str:
    """Measure held-out excerpts: likelihood percentiles for quality reports, and a sentence."""
    rng = np.random.default_rng([run.settings.seed, 5])
    with torch.no_grad():
        scores = torch.cat(
            [run.flow.log_prob(run.features.apply(valid.sample(rng, 16, 128))) for _ in range(6)]
        ).numpy()
    percentiles = [float(p) for p in np.percentile(scores, (1, 5, 25, 50, 75, 95, 99))]
    about = _about(out) | {
        "percentiles": percentiles,
        "validation": {"nats_per_dimension": float(-scores.mean())},
    }
    (out / "run.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    return (
        f"trained: {-scores.mean():.3f} nats per dimension on held-out songs "
        f"(5 % to 95 %: {-percentiles[5]:.3f} to {-percentiles[1]:.3f})"
    )


def _licence(sources: Sequence[dict[str, Any]]) -> str:
    return "; ".join(sorted({source["licence"] for source in sources}))
