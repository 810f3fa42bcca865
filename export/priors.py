"""The two everyday jobs: train a prior in a folder that can be resumed, export it as a bundle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from engine import (
    PERCENTS,
    Device,
    FrontEndCard,
    ModelCard,
    Prior,
    Source,
    read_bundle,
)
from presets import STEM_PATTERN, StemwrightError, sha256_of

from .bundle import Facts, write_bundle, write_with_head
from .data.corpus import Corpus, Variant
from .data.pack import write_pack
from .data.sampling import Interference, Sampler
from .models.estimator import TrainedEncoder, TrainedHead
from .training.checkpoint import begun_from
from .training.estimator_training import load_estimator
from .training.flow_training import CHECKPOINT as FLOW_CHECKPOINT
from .training.flow_training import FlowTask, Run, flow_lines, load_run
from .training.head_training import load_head
from .training.interferers import Interferers, train_head
from .training.judges import read_judges
from .training.options import TrainingOptions
from .training.run import TrainingRun, device_summary, training_device
from .training.run_metadata import (
    RunMetadata,
    add_measures,
    add_other_sources,
    read_metadata,
    write_metadata,
)
from .training.runs import (
    Size,
    corpus_summary,
    digests,
    named_places,
    read_corpus,
    sized,
    sources_of,
    standard_front_end,
)
from .training.tuning import (
    bundled_flow,
    heard_before,
    unlike,
)
from .verdict import Verdict, judge_run


def train_prior(
    stem: str,
    recordings: Sequence[Path],
    options: TrainingOptions,
    against: Sequence[Path] = (),
    head_steps: int = 3000,
    judges: Sequence[Path] = (),
) -> Iterator[str]:
    """Train in the options' folder, yielding lines for the terminal; a folder with checkpoints
    goes on, with the recordings it had and as many more steps as are asked for.

    First the flow, then `head_steps` steps (0: none) of a head on the installed encoder.
    `against` names other instruments' recordings as STEM=FOLDER; without them samples of the
    installed priors stand in. The verdict compares the flow with the installed priors. `judges`
    are places with songs that hold the stem and others, as `prior tune` takes them: they decide
    which weights of the head are the best.
    """
    device = training_device(options.device, options.threads)
    _check_name(stem)
    chosen = sized(options)
    view, out = chosen.front_end, options.out
    places = named_places(against)
    if stem in places:
        raise StemwrightError(
            "against-itself",
            f"--against {stem}=...: that is the new instrument itself. Name other instruments, "
            f"and give recordings of {stem} without --against.",
        )
    songs = read_judges(stem, judges, recordings, view)
    corpus = read_corpus(stem, recordings, view, out)
    recorded = {name: read_corpus(name, folders, view, out) for name, folders in places.items()}
    for each in (corpus, *recorded.values()):
        yield from corpus_summary(each)
    interferers = Interferers(stem, view, out, options.seed, recorded, device, songs)
    yield interferers.summary(contrast=chosen.settings.contrast_weight > 0)
    yield device_summary(device)
    leak, kind = interferers.leak(), interferers.kind
    yield from train_flow(stem, chosen, corpus, leak, kind, options, device)
    own = _opened(out, stem)
    yield from _judged(own, interferers, recordings, out).lines()
    if head_steps:
        yield from train_head(interferers, corpus, own, head_steps)


def train_flow(
    stem: str,
    size: Size,
    corpus: Corpus,
    leak: Interference | None,
    leaks: str,
    options: TrainingOptions,
    device: torch.device,
) -> Iterator[str]:
    """Train the flow of a prior in the options' folder and measure it on held-out songs.

    `leaks` says what leaks in: recordings, samples or none.
    """
    view, config, settings = size
    out = options.out
    train, valid = corpus.split()
    leaking = leak.corpora if leak and settings.contrast_weight else ()
    identity = {
        "stem": stem,
        "leaks": leaks if leaking else "none",
        **{f"leaks of {other.stem}": other.digest for other in leaking},
        **digests(view, {stem: corpus}),
        **({"tuned from": sha256_of(options.begin_from)} if options.begin_from else {}),
    }
    task = FlowTask(
        config,
        settings,
        Sampler([train], device),
        Sampler([valid], device),
        leak,
        identity,
        device,
        bundled_flow(options.begin_from) if options.begin_from else None,
    )
    run = TrainingRun(out, FLOW_CHECKPOINT, task, device, options.deadline)
    # only now: the folder of another run keeps the card that belongs to its weights
    before, other_sources = heard_before([options.begin_from] if options.begin_from else [])
    write_metadata(out, stem, view, unlike(corpus.sources, before), settings)
    other_sources = tuple(
        other for other in other_sources if not other.name.startswith(f"{stem}: ")
    )
    add_other_sources(out, unlike(sources_of(leaking), other_sources))
    yield from flow_lines(run)
    yield measure_held_out(load_run(out), valid, out)


def pack_recordings(
    recordings: Sequence[Path], out: Path, catalogue: Path | None, step_db: float
) -> Iterator[str]:
    """Write a pack for trainings of our size, yielding lines for the terminal.

    `recordings` are PART=FOLDER, or folders that hold a folder for each part.
    """
    places: dict[str, list[Path]] = {}
    for place in recordings:
        if "=" in str(place):
            for part, folders in named_places([place]).items():
                places.setdefault(part, []).extend(folders)
            continue
        inside = (
            sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
        )
        if not inside:
            raise StemwrightError(
                "place-malformed",
                f"{place} is no folder that holds a folder for each part. Name such a folder, or "
                "one part's as PART=FOLDER, for example drums=takes/drums.",
            )
        for folder in inside:
            places.setdefault(folder.name, []).append(folder)
    yield from write_pack(places, out, standard_front_end(), catalogue, step_db)


def export_prior(folder: Path, out: Path, heads: Path | None) -> str:
    """Write the bundle of a run's last checkpoint; returns a line for the terminal.

    The head is the run's own, or from `heads`, a run of `train_heads` with a head for this stem,
    whose encoder is written beside. In the place of a run's folder may stand a bundle, whose flow
    stays as it is.
    """
    if folder.is_file():
        return _written(out, _with_head_of(heads, folder, out))
    metadata = read_metadata(folder)
    front_end = metadata.front_end
    if front_end is None:
        raise StemwrightError(
            "run-without-flow",
            f"{folder} is no run of a flow: it has heads alone. Name the run of a flow, and this "
            "one by --heads.",
        )
    run = load_run(folder)
    if heads is not None:
        heard = (*metadata.other_sources, *read_metadata(heads).other_sources)
        metadata = metadata.model_copy(update={"other_sources": heard})
    head, encoder = _first_estimate(folder, heads, metadata.stem, run.settings.seed)
    facts = _facts(metadata, front_end, run)
    if head is not None:
        facts["training"] |= {"head": head.training}
    return _written(out, write_bundle(run, out, head=head, encoder=encoder, **facts))


def _with_head_of(heads: Path | None, bundle: Path, out: Path) -> ModelCard:
    """Write a bundle with the head that a run has for its stem."""
    if heads is None:
        raise StemwrightError(
            "heads-not-named",
            f"{bundle} is a bundle already. Name a run of stemwright prior heads with --heads to "
            "give it another head, or a run's folder to make a bundle of.",
        )
    card, _, _ = read_bundle(bundle)
    head, encoder = _head_of_run(heads, card.stem, seed=0)
    heard = read_metadata(heads).other_sources
    new = [source for source in heard if not source.name.startswith(f"{card.stem}: ")]
    return write_with_head(bundle, out, head, encoder, new)


def _written(out: Path, card: ModelCard) -> str:
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
    return (load_head(folder, seed), None) if heads is None else _head_of_run(heads, stem, seed)


def _head_of_run(heads: Path, stem: str, seed: int) -> tuple[TrainedHead, TrainedEncoder]:
    estimator = load_estimator(heads)
    if stem not in estimator.heads:
        raise StemwrightError(
            "head-missing",
            f"{heads} has heads for {', '.join(estimator.heads)}, none for {stem}.",
        )
    return estimator.head(stem, seed), estimator.trained_encoder(seed)


def _facts(metadata: RunMetadata, front_end: FrontEndCard, run: Run) -> Facts:
    """What the card says, from `run.json` and the checkpoint."""
    # the run measures standardised features, a bundle's density is that of the features before
    log_std = float(np.log(run.features.std.astype(np.float64)).mean())
    trained = {"steps": run.step, "of": run.budget or run.settings.steps}
    # once each: a run and its heads may have heard the same
    other_sources = tuple(dict.fromkeys(metadata.other_sources))
    return {
        "stem": metadata.stem,
        "labels": metadata.labels,
        "licence": _licence([*metadata.sources, *other_sources]),
        "front_end": front_end,
        "sources": metadata.sources,
        "other_sources": other_sources,
        "validation": metadata.validation,
        "training": asdict(run.settings)
        | trained
        | {"leaks": run.identity.get("leaks", "unknown")}
        | begun_from(run.identity),
        "percentiles": tuple(p - log_std for p in metadata.percentiles),
        "percentiles_of_labels": {
            label: tuple(p - log_std for p in percentiles)
            for label, percentiles in metadata.percentiles_of_labels.items()
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
    add_measures(out, validation, percentiles)
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
    plain = read_corpus(own.stem, recordings, own.card.front_end, out, variants=(Variant(0.0),))
    verdict = judge_run(
        own,
        interferers.installed,
        [clip.active.astype(np.float32) for clip in plain.split()[1].clips],
        sum(source.minutes for source in plain.sources),
        interferers.recorded,
    )
    add_measures(out, verdict.to_dict())
    return verdict


def _licence(sources: Sequence[Source]) -> str:
    return "; ".join(sorted({source.licence for source in sources}))
