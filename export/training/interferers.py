"""The other instruments that a new one is trained against: recordings of them, or stand-ins.

What the likelihood sees is the new instrument alone; leaks and random mixes need others. They
are the recordings that the user names, and where there are none, samples of installed priors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from engine import FrontEndCard, Prior

from ..data.corpus import Corpus
from ..data.mixes import RandomMixes, bins_per_band
from ..data.prior_samples import installed_priors, sampled_corpora, sampled_corpus
from ..data.sampling import CPU, Interference
from ..data.true_mixes import TrueMix
from .estimator_training import EstimatorSettings
from .expectation import Expectation
from .head_training import CHECKPOINT, FrozenEncoder, HeadTask, installed_encoder, installed_heads
from .run import TrainingRun
from .run_metadata import add_other_sources
from .runs import sources_of

SAMPLES = "samples"  # folder in the run


@dataclass(frozen=True)
class Interferers:
    """Everyone but `stem`: `recorded` corpora by name, and installed priors of the same view;
    `songs` with the stem and others are what a head is judged on."""

    stem: str
    front_end: FrontEndCard
    folder: Path
    seed: int
    recorded: dict[str, Corpus]
    device: torch.device = CPU
    songs: Sequence[TrueMix] = ()

    @cached_property
    def installed(self) -> dict[str, Prior]:
        """Installed priors by name."""
        return installed_priors(self.stem, self.front_end)

    def leak(self) -> Interference | None:
        """What the contrastive term leaks in: recordings if there are any, or else samples."""
        corpora = self.recorded or self._sampled
        if not corpora:
            return None
        return Interference(self.stem, list(corpora.values()), self.device)

    @property
    def kind(self) -> str:
        """What stands for other instruments: recordings, samples or none."""
        if self.recorded:
            return "recordings"
        return "samples" if self.installed else "none"

    def summary(self, contrast: bool) -> str:
        """One sentence about where the leaks come from, if the flow has a contrast at all."""
        if not contrast:
            return (
                "likelihood alone, as published: nothing leaks into the training, and other "
                "instruments only serve to measure what the flow tells apart"
            )
        if self.recorded:
            return f"leaks come from recordings of {', '.join(self.recorded)}"
        if self.installed:
            return (
                f"leaks come from samples of the installed priors {', '.join(self.installed)}; "
                "recordings given with --against teach more"
            )
        return (
            "no recordings of other instruments (--against) and no installed priors: the prior "
            "learns its own instrument only, not what to tell it from"
        )

    @property
    def encoder(self) -> FrozenEncoder | None:
        """The encoder that installed bundles share."""
        return installed_encoder(self.installed)

    def head_run(
        self, encoder: FrozenEncoder, corpus: Corpus, own: Prior, settings: EstimatorSettings
    ) -> TrainingRun[float]:
        """A run that trains the new stem's head on its recordings, against everyone else.

        A mix can hold every instrument, so samples stand in for all that were not recorded.
        Samples of the new prior itself join its recordings: otherwise the head would learn to
        tell recordings from samples.
        """
        cut = sampled_corpus(self.stem, own, self.seed, self.folder / SAMPLES)
        sides = zip(corpus.split(), cut.split(), strict=True)
        view = self.front_end
        mine = [
            replace(real, clips=(*real.clips, *drawn.clips)).as_stems() for real, drawn in sides
        ]
        halves_beside = {name: beside.as_stems().split() for name, beside in self._beside.items()}
        train, valid = (
            RandomMixes(
                {
                    self.stem: mine[side],
                    **{name: halves[side] for name, halves in halves_beside.items()},
                },
                {self.stem: (self.stem,)},
                bins_per_band(view),
                self.device,
            )
            for side in (0, 1)
        )
        identity = {f"mixes with {name}": corpus.digest for name, corpus in self._beside.items()}
        identity |= {"takes": corpus.digest}
        identity |= (
            {"judged on": ", ".join(song.song for song in self.songs)} if self.songs else {}
        )
        task = HeadTask(
            self.stem,
            encoder,
            settings,
            train,
            valid,
            identity,
            self.device,
            installed_heads(encoder),
            self.songs,
        )
        run = TrainingRun(self.folder, CHECKPOINT, task, self.device)
        # only now: a head of other mixes was refused, and its card stays as it is
        add_other_sources(self.folder, sources_of(self._beside.values()))
        return run

    @property
    def _beside(self) -> dict[str, Corpus]:
        """Everyone else in a mix: recordings, and samples of those who were not recorded."""
        return self._sampled | self.recorded

    @cached_property
    def _sampled(self) -> dict[str, Corpus]:
        return sampled_corpora(self.installed, self.seed, self.folder / SAMPLES)


def train_head(interferers: Interferers, corpus: Corpus, own: Prior, steps: int) -> Iterator[str]:
    """Train the head in the run's folder, yielding lines for the terminal."""
    encoder, stem = interferers.encoder, interferers.stem
    if encoder is None:
        yield (
            "no head for first estimates: no installed prior of the same spectrogram has one "
            "whose encoder could be used. The prior works in presets with search: "
            "{start: zero, guided_steps: 0, flow_weight: 1}"
        )
        return
    settings = EstimatorSettings(steps=steps, seed=interferers.seed)
    run = interferers.head_run(encoder, corpus, own, settings)
    task = run.task
    assert isinstance(task, HeadTask)
    yield (
        f"head: on the installed encoder {encoder.sha256[:12]}, which stays as it is; in mixes "
        f"with {', '.join(name for name in task.train_mixes.parts if name != stem)}"
    )
    if task.begins_as:
        yield f"head: begins as that of {task.begins_as}, which finds {stem} best so far"
    if run.step:
        yield f"head: resuming at step {run.step} of {steps}"
        task.kept.consider(run.step, run.validate())  # what the checkpoint had not seen yet
    yield f"head: {run.forecast()}"
    for p in run.run(run.every):
        task.kept.consider(p.step, p.valid)
        judged = f"on songs {-p.valid:.2f} dB" if task.songs else f"validation {p.valid:.3f}"
        yield f"head: step {p.step}/{p.steps}  loss: train {p.train_loss:.3f}, {judged}  {p.left}"
    run.save()
    task.kept.take()
    yield f"head: {_taken(task)}"
    found, before = task.measure()
    yield (
        f"head: finds {stem} in held-out random mixes with {found:.1f} dB SDR, where the "
        f"mix itself has {before:.1f} dB"
    )
    yield from expected(
        task, interferers, sum(source.minutes for source in corpus.sources)
    ).lines()


def _taken(task: HeadTask) -> str:
    """Which weights the head ends with."""
    best = task.kept.best
    if not best.step:
        begun = f"the head of {task.begins_as}" if task.begins_as else "a new head"
        judges = "the songs that judge it" if task.songs else "held-out mixes"
        return f"no step was better than {begun} on {judges}: it stays as that is"
    share = "" if best.share == 1 else f", {best.share:.0%} of the way from the head it began as"
    return f"weights of step {best.step}{share}"


def expected(task: HeadTask, interferers: Interferers, minutes: float) -> Expectation:
    """What a trained head promises for mixes, from songs to judge it on, or else from sums of
    held-out takes and held-out others."""
    heard = task.gains(task.train_mixes)
    held_out = task.song_gains() if task.songs else task.gains(task.valid_mixes)
    return Expectation.of(
        interferers.stem, minutes, held_out, heard, interferers.recorded, len(task.songs)
    )
