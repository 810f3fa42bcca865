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
    Device,
    FrontEndCard,
    Heard,
    ModelCard,
    PackCard,
    Prior,
    hashes_of,
    prior_folders,
    read_bundle,
    write_artist_pack,
)
from presets import StemwrightError

from .bundle import write_with_head
from .data.corpus import Corpus
from .data.mixes import RandomMixes, bins_per_band
from .data.multitracks import Multitracks, find_multitracks
from .data.pack import packed_corpus, read_pack
from .data.prior_samples import sampled_corpus
from .models.estimator import TrainedEstimator
from .training.artist_tuning import CHECKPOINT, ArtistTask, HeldOutSongs, Scores
from .training.estimator_training import EstimatorSettings
from .training.options import TrainingOptions
from .training.run import TrainingRun, device_summary, training_device
from .training.runs import (
    digests,
    named_places,
    read_corpus,
    sources_of,
)
from .training.tuning import bundled_estimate, encoder_name

EVERY = 50  # steps between two looks at the held-out songs
PATIENCE = 4  # looks without anything better, after which it ends
STEPS, BATCH, RATE = 800, 16, 2e-4
REHEARSED = 0.25  # of a batch: sums of other material


@dataclass(frozen=True)
class PackOptions:
    """What a tuning is told besides how to train: the bundles it begins with (None: the shipped
    ones), songs to judge with, and other material (packs, folders of parts, STEM=FOLDER) that
    keeps what was known."""

    begun_from: Path | None = None
    hold_out: tuple[str, ...] = ()
    rehearse: tuple[Path, ...] = ()


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
    folder = asked.begun_from or prior_folders()[-1]
    begun = _Begun.read(folder)
    tracks = find_multitracks(places, begun.cards)
    held_out = tracks.held_out(asked.hold_out)
    view, front_end = begun.view, begun.view.front_end()
    corpora = tracks.corpora(held_out, front_end, options.out / "magnitudes")
    judges = HeldOutSongs(
        tracks.true_mixes(held_out, {stem: begun.place(stem) for stem in tracks.stems}, front_end),
        begun.cards,
    )
    yield from _told(tracks, corpora, held_out, begun)
    rehearsal = _rehearsal(asked.rehearse, begun, options)
    settings = replace(
        EstimatorSettings(
            steps=options.steps, batch=BATCH, learning_rate=RATE, warm_up=50, seed=options.seed
        ),
        **options.changes(),
    )
    other = round(REHEARSED * settings.batch)
    task = ArtistTask(
        bundled_estimate(folder),
        settings,
        [
            (begun.mixes(corpora, device), settings.batch - other),
            (begun.mixes(rehearsal, device), other),
        ],
        judges,
        {
            **digests(view, corpora),
            **{f"rehearsal of {name}": corpus.digest for name, corpus in rehearsal.items()},
            "held out": ", ".join(held_out),
            "tuned from": begun.encoder,
        },
        device,
    )
    run = TrainingRun(options.out, CHECKPOINT, task, device, options.deadline)
    yield f"held-out songs before: {_line(task.kept.before)}"
    if run.step:
        yield f"resuming at step {run.step}"
        task.kept.consider(run.step, run.validate())  # what the checkpoint had not seen yet
    yield device_summary(device)
    yield f"{run.forecast()} at most"
    yield from _tuned(task, run)
    yield from _written(task, out, begun, tracks, corpora, rehearsal, held_out)


@dataclass(frozen=True)
class _Begun:
    """The set of bundles that a tuning begins with."""

    folder: Path
    encoder: str
    cards: Mapping[str, ModelCard]

    @classmethod
    def read(cls, folder: Path) -> _Begun:
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


def _told(
    tracks: Multitracks, corpora: Mapping[str, Corpus], held_out: Sequence[str], begun: _Begun
) -> Iterator[str]:
    """What is heard, and what is kept to judge with."""
    for stem, corpus in corpora.items():
        for refusal in corpus.refused:
            yield f"left out: {refusal.path.name}: {refusal.reason}"
        minutes = sum(source.minutes for source in corpus.sources)
        place = begun.place(stem)
        as_what = "" if place == stem else f" (part of {place})"
        yield f"{stem}: {minutes:.1f} minutes{as_what}"
    kept = len(tracks.songs) - len(held_out)
    yield f"{kept} songs to learn from; held out to judge with: {', '.join(held_out)}"


def _rehearsal(
    given: Sequence[Path], begun: _Begun, options: TrainingOptions
) -> dict[str, Corpus]:
    """Other material by part: packs, folders that hold a folder for each part, PART=FOLDER; else
    what the flows of the set play."""
    places = named_places([place for place in given if "=" in str(place)])
    found: dict[str, Corpus] = {}
    view = begun.view
    for place in given:
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
    told = ", ".join(f"{stem} {decibels:.2f}" for stem, decibels in scores.by_stem.items())
    return f"{scores.mean:.2f} dB ({told})"


def _written(
    task: ArtistTask,
    out: Path,
    begun: _Begun,
    tracks: Multitracks,
    corpora: Mapping[str, Corpus],
    rehearsal: Mapping[str, Corpus],
    held_out: Sequence[str],
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
    encoder, heads = task.chosen()
    settings = task.settings
    training = {
        "batch": settings.batch,
        "learning_rate": settings.learning_rate,
        "seed": settings.seed,
        "steps": best.step,
        "share": best.share,
        "begun from": begun.encoder,
    }
    estimator = TrainedEstimator(encoder.config, encoder, heads, {}, training)
    trained = estimator.trained_encoder(settings.seed)
    heard = sources_of([*corpora.values(), *rehearsal.values()])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as aside:
        folder = Path(aside) / out.name
        folder.mkdir()
        for stem in begun.cards:
            write_with_head(
                begun.folder / f"{stem}.prior",
                folder / f"{stem}.prior",
                estimator.head(stem, settings.seed),
                trained,
                heard,
            )
        gains = tuple(
            float(np.mean([after[s] - before.of_songs[song][s] for s in after]))
            for song, after in best.score.of_songs.items()
        )
        was, now = before.by_stem, best.score.by_stem
        minutes = {
            stem: sum(
                source.minutes
                for part, corpus in corpora.items()
                if begun.place(part) == stem
                for source in corpus.sources
            )
            for stem in begun.cards
        }
        card = PackCard(
            begun_from=begun.encoder,
            stems={
                stem: Heard(
                    minutes=round(minutes[stem], 2),
                    before_db=was.get(stem),
                    after_db=now.get(stem),
                )
                for stem in begun.cards
            },
            songs=tuple(name for name in tracks.songs if name not in held_out),
            held_out=tuple(held_out),
            before_db=before.mean,
            after_db=best.score.mean,
            gains_db=gains,
            step=best.step,
            share=best.share,
            files=hashes_of(folder),
        )
        write_artist_pack(folder, card)
        if out.exists():
            out.rmdir()  # empty: looked at before the training
        folder.rename(out)
    share = "" if best.share == 1 else f", {best.share:.0%} of the way from the old weights"
    songs = zip(best.score.of_songs, gains, strict=True)
    told = ", ".join(f"{song} {gain:+.2f}" for song, gain in songs)
    yield (
        f"{out}: {best.score.mean:.2f} dB on the held-out songs, {before.mean:.2f} dB before "
        f"({told}); weights of step {best.step}{share}"
    )
    if len(gains) == 1:
        yield "one held-out song says little of others: keep more back with --hold-out"
    yield f"now: priors: {out.name} in a preset, or stemwright separate SONG --priors {out}"
