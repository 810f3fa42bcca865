"""An artist pack: the installed priors' encoder and heads tuned together to an artist's
multitracks.

The flows stay as they are; every bundle gets the new encoder's hash and its own new head, in a
folder of their own, so that nobody else's file changes (docs/artist-pack.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from engine import (
    Heard,
    PackCard,
    hashes_of,
    prior_folders,
    write_artist_pack,
)
from presets import StemwrightError

from .artist_material import ArtistMaterial, BegunSet, read_rehearsal
from .bundle import write_with_head
from .models.estimator import TrainedEstimator
from .training.artist_tuning import CHECKPOINT, ArtistTask, Scores, Sums
from .training.estimator_training import EstimatorSettings
from .training.options import TrainingOptions
from .training.run import TrainingRun, device_summary, training_device
from .training.runs import (
    sources_of,
)
from .training.tuning import bundled_estimate

EVERY = 50  # steps between two looks at the held-out songs
PATIENCE = 4  # looks without anything better, after which it ends
STEPS, BATCH, RATE = 800, 16, 1e-4
REHEARSED = 0.5  # of a batch: sums of other material (docs/lab.md)
AS_MIXED = 0.6  # of the artist's: excerpts of songs as they were mixed


@dataclass(frozen=True)
class PackOptions:
    """What a tuning is told besides how to train: the bundles it begins with (None: the shipped
    ones), songs to judge with, other material (packs, folders of parts, STEM=FOLDER) that
    keeps what was known, and songs of the artist without stems."""

    begun_from: Path | None = None
    hold_out: tuple[str, ...] = ()
    rehearse: tuple[Path, ...] = ()
    mixes: tuple[Path, ...] = ()


def tune_pack(
    places: Sequence[Path], out: Path, options: TrainingOptions, asked: PackOptions
) -> Iterator[str]:
    """Tune a set of priors to an artist's stems and write it to `out`, yielding lines for the
    terminal.

    `options.out` is the run's folder, where it resumes. Raises StemwrightError when nothing
    better than the bundles it began with was found; nothing is written then.
    """
    if out.exists() and any(out.iterdir()):
        raise StemwrightError(
            "pack-exists", f"{out} is there already. Name another folder, or remove that pack."
        )
    device = training_device(options.device, options.threads)
    begun = BegunSet.read(asked.begun_from or prior_folders()[-1])
    material = ArtistMaterial.read(places, asked.hold_out, asked.mixes, begun, options.out)
    yield from material.summary(begun)
    material = replace(material, rehearsal=read_rehearsal(asked.rehearse, begun, options))
    task = _task(material, begun, options, device)
    run = TrainingRun(options.out, CHECKPOINT, task, device, options.deadline)
    yield f"held-out songs before: {_line(task.kept.before)}"
    if run.step:
        yield f"resuming at step {run.step}"
        task.kept.consider(run.step, run.validate())  # what the checkpoint had not seen yet
    yield device_summary(device)
    yield f"{run.forecast()} at most"
    yield from _tuned(task, run)
    yield from _written(task, out, begun, material)


def _task(
    material: ArtistMaterial, begun: BegunSet, options: TrainingOptions, device: torch.device
) -> ArtistTask:
    """Encoder and heads of the set, and the sums that they go on with."""
    settings = replace(
        EstimatorSettings(
            steps=options.steps, batch=BATCH, learning_rate=RATE, warm_up=50, seed=options.seed
        ),
        **options.changes(),
    )
    rehearsed = round(REHEARSED * settings.batch)
    songs = material.songs(begun, device)
    as_mixed = round(AS_MIXED * (settings.batch - rehearsed)) if songs else 0
    mixes: list[tuple[Sums, int]] = [
        (begun.mixes(material.corpora, device), settings.batch - rehearsed - as_mixed),
        (begun.mixes(material.rehearsal, device), rehearsed),
    ]
    if songs:
        mixes.append((songs, as_mixed))
    return ArtistTask(
        bundled_estimate(begun.folder),
        settings,
        mixes,
        material.judges(begun),
        material.identity(begun),
        device,
    )


def _tuned(task: ArtistTask, run: TrainingRun[Scores]) -> Iterator[str]:
    """Train until held-out songs have not gained for a while."""
    for progress in run.run(EVERY):
        task.kept.consider(progress.step, progress.valid)
        yield (
            f"step {progress.step}/{progress.steps}  train {progress.train_loss:.3f}  "
            f"held out {_line(progress.valid)}  {progress.left}"
        )
        if progress.step - task.kept.best.step >= PATIENCE * EVERY:
            yield f"nothing better for {PATIENCE * EVERY} steps: ended"
            break
    run.save()


def _line(scores: Scores) -> str:
    of_stems = ", ".join(f"{stem} {decibels:.2f}" for stem, decibels in scores.by_stem.items())
    return f"{scores.mean:.2f} dB ({of_stems})"


def _written(
    task: ArtistTask, out: Path, begun: BegunSet, material: ArtistMaterial
) -> Iterator[str]:
    """Write the best as a pack, unless it is what the tuning began with."""
    best, before = task.kept.best, task.kept.before
    if not best.step:
        raise StemwrightError(
            "pack-not-better",
            f"nothing that the tuning found is better on the held-out songs than {begun.folder} "
            f"({before.mean:.2f} dB): nothing was written, and the priors stay as they are. "
            "More songs, or a smaller --learning-rate, may help.",
        )
    gains = {
        song: float(np.mean([after[s] - before.of_songs[song][s] for s in after]))
        for song, after in best.score.of_songs.items()
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as aside:
        folder = Path(aside) / out.name
        folder.mkdir()
        _write_bundles(folder, task, begun, material)
        write_artist_pack(folder, _card(folder, task, begun, material, gains))
        if out.exists():
            out.rmdir()  # empty: looked at before the training
        folder.rename(out)
    share = "" if best.share == 1 else f", {best.share:.0%} of the way from the old weights"
    gained = ", ".join(f"{song} {gain:+.2f}" for song, gain in gains.items())
    yield (
        f"{out}: {best.score.mean:.2f} dB on the held-out songs, {before.mean:.2f} dB before "
        f"({gained}); weights of step {best.step}{share}"
    )
    if len(gains) == 1:
        yield "one held-out song says little of others: keep more back with --hold-out"
    yield f"now: {use_of(out)}"


def use_of(pack: Path) -> str:
    """How a pack is used from where it lies: presets name what is in a folder of priors."""
    folders = prior_folders()
    if pack.parent.resolve() in [folder.resolve() for folder in folders]:
        return f"priors: {pack.name} in a preset, or stemwright separate SONG --priors {pack}"
    return (
        f"stemwright separate SONG --priors {pack}; presets find it by its name when it lies in "
        f"{folders[0]}"
    )


def _write_bundles(
    folder: Path, task: ArtistTask, begun: BegunSet, material: ArtistMaterial
) -> None:
    """Every bundle of the set with the encoder and its own head of the best weights."""
    encoder, heads = task.chosen()
    settings = task.settings
    training = {
        "batch": settings.batch,
        "learning_rate": settings.learning_rate,
        "seed": settings.seed,
        "steps": task.kept.best.step,
        "share": task.kept.best.share,
        "begun from": begun.encoder,
    }
    estimator = TrainedEstimator(encoder.config, encoder, heads, {}, training)
    trained = estimator.trained_encoder(settings.seed)
    heard = sources_of([*material.corpora.values(), *material.rehearsal.values()])
    for stem in begun.cards:
        write_with_head(
            begun.folder / f"{stem}.prior",
            folder / f"{stem}.prior",
            estimator.head(stem, settings.seed),
            trained,
            heard,
        )


def _card(
    folder: Path,
    task: ArtistTask,
    begun: BegunSet,
    material: ArtistMaterial,
    gains: Mapping[str, float],
) -> PackCard:
    """What the pack says of itself; `gains` are those of the held-out songs, in dB."""
    best, before = task.kept.best, task.kept.before
    before_db, after_db = before.by_stem, best.score.by_stem
    return PackCard(
        begun_from=begun.encoder,
        stems={
            stem: Heard(
                minutes=round(material.minutes(begun, stem), 2),
                before_db=before_db.get(stem),
                after_db=after_db.get(stem),
            )
            for stem in begun.cards
        },
        songs=tuple(name for name in material.tracks.songs if name not in material.held_out),
        held_out=tuple(material.held_out),
        mixes=tuple(path.name for path in material.mixes),
        before_db=before.mean,
        after_db=best.score.mean,
        gains_db=tuple(gains.values()),
        step=best.step,
        share=best.share,
        files=hashes_of(folder),
    )
