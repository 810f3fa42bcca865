"""What the bench of own instruments trains and asks: an own head, an artist's pack, and the masks
that they give on songs whose stems are known."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine import ModelCard, prior_folders, read_bundle
from engine.separation.song_spectra import song_masks
from export.artist_pack import PackOptions, tune_pack
from export.data.corpus import Corpus, joined
from export.data.mixes import RandomMixes, bins_per_band
from export.data.pack import packed_corpus, read_pack
from export.data.true_mixes import TrueMix
from export.models.estimator import Encoder, Head
from export.training.estimate_masks import masks_alone, masks_of
from export.training.estimator_training import EstimatorSettings
from export.training.expectation import Expectation
from export.training.head_training import (
    CHECKPOINT,
    FrozenEncoder,
    HeadTask,
    installed_heads,
)
from export.training.options import TrainingOptions
from export.training.run import TrainingRun
from export.training.runs import standard_front_end
from export.training.tuning import bundled_estimate, encoder_name
from own_material import ACCOMPANIMENT, BAND, Set, minutes_of
from presets import StemwrightError

Float = NDArray[np.float32]

LOOK = 50  # steps of a head between two looks at held-out mixes
_LEAST = np.float32(1e-7)


@dataclass(frozen=True)
class Network:
    """An encoder and heads by stem in torch, as a separation at `draft` uses them before the
    song's own spectra."""

    encoder: Encoder
    heads: Mapping[str, Head]
    cards: Mapping[str, ModelCard]

    @classmethod
    def of(cls, folder: Path) -> Network:
        """Encoder and heads of a folder of bundles."""
        encoder, heads = bundled_estimate(folder)
        cards = {stem: read_bundle(folder / f"{stem}.prior")[0] for stem in heads}
        return cls(encoder, heads, cards)

    @classmethod
    def shipped(cls) -> Network:
        """That of the shipped priors."""
        return cls.of(prior_folders()[-1])

    def with_head(self, stem: str, head: Head) -> Network:
        """The same with another head for one stem, which finds that one alone."""
        alone = self.cards["guitar"].model_copy(update={"stem": stem})
        return replace(self, heads={**self.heads, stem: head}, cards={**self.cards, stem: alone})

    def with_stand_in(self, stem: str) -> Network:
        """The same with a head for the stem: its own, or that of `other`, which stands for it."""
        if stem in self.heads:
            return self
        collective = self.cards["other"].model_copy(update={"stem": stem})
        return replace(
            self,
            heads={**self.heads, stem: self.heads["other"]},
            cards={**self.cards, stem: collective},
        )

    def knows(self, song: TrueMix) -> bool:
        """Whether every stem of the song has a head."""
        return all(stem in self.heads for stem in song.stems)

    def in_its_set(self, song: TrueMix) -> Float:
        """Masks of the song's stems by a head each, which sum to one."""
        return masks_of(song.halves, song.stems, self.encoder, self.heads, self.cards)

    def alone(self, song: TrueMix, stem: str, *, spectra: bool = False) -> Float:
        """The stem's mask with nothing known of the rest, and zeros for the other stems; with
        `spectra` drawn to the song's own, stem and rest alike."""
        (mask,) = masks_alone(song.halves, [stem], self.encoder, self.heads)
        if spectra:
            mask = with_song_spectra(np.stack([mask, 1 - mask]), song)[0]
        masks = np.zeros_like(song.own)
        masks[song.stems.index(stem)] = mask
        return masks


def with_song_spectra(masks: Float, song: TrueMix) -> Float:
    """Masks drawn to the song's own spectra, as far as a separation does."""
    anew = np.stack(
        [song_masks(masks[:, n], mix) for n, mix in enumerate(song.magnitudes)], axis=1
    )
    both = np.sqrt(np.maximum(masks, _LEAST) * np.maximum(anew, _LEAST))
    return np.asarray(both / both.sum(axis=0), np.float32)


def oracle(song: TrueMix) -> Float:
    """Ratio masks of the true stems' magnitudes."""
    own = np.sqrt(song.own) + _LEAST
    return np.asarray(own / own.sum(axis=0), np.float32)


def strangers(pack: Path, target: str) -> dict[str, Corpus]:
    """Recordings of other people by part, of all that the target is not."""
    parts = [part for part in read_pack(pack).parts if part != target]
    if target == "other":  # which the rest of them are part of
        parts = [part for part in parts if part in BAND]
    return {part: packed_corpus(pack, part, standard_front_end()) for part in parts}


def together(one: Mapping[str, Corpus], other: Mapping[str, Corpus]) -> dict[str, Corpus]:
    """The corpora of both by part."""
    return {
        part: joined([each[part] for each in (one, other) if part in each])
        for part in dict.fromkeys([*one, *other])
    }


def own_head(
    takes: Corpus, against: Mapping[str, Corpus], steps: int, seed: int
) -> tuple[Head, Expectation]:
    """A head for the takes as `prior train` trains it, on the shipped encoder, beside recordings
    of others; and what it promises over half of a mix."""
    folder = prior_folders()[-1]
    encoder = FrozenEncoder(folder / f"{encoder_name(folder)[:16]}.encoder.onnx")
    halves = {name: corpus.as_stems().split() for name, corpus in against.items()}
    mine = takes.as_stems().split()
    train, valid = (
        RandomMixes(
            {takes.stem: mine[side], **{name: half[side] for name, half in halves.items()}},
            {takes.stem: (takes.stem,)},
            bins_per_band(standard_front_end()),
        )
        for side in (0, 1)
    )
    settings = EstimatorSettings(steps=steps, seed=seed)
    task = HeadTask(takes.stem, encoder, settings, train, valid, begun=installed_heads(encoder))
    with tempfile.TemporaryDirectory() as run:
        for progress in TrainingRun(Path(run), CHECKPOINT, task).run(LOOK):
            task.kept.consider(progress.step, progress.valid)
    task.kept.take()
    gains = task.gains(valid), task.gains(train)
    return task.model.eval(), Expectation.of(
        takes.stem, minutes_of(takes), *gains, recorded=tuple(against)
    )


@dataclass(frozen=True)
class PackTraining:
    """How the bench tunes packs: so many steps, beside a pack of other recordings; with
    `mixes_heard` the songs that are left out are named with `--mixes`, as a user would who wants
    them taken apart."""

    steps: int
    seed: int
    rehearse: Path
    mixes_heard: bool

    def tuned(self, songs: Set, without: Sequence[str]) -> Network | None:
        """The pack that `prior tune` makes of all songs but some; None where it found nothing
        better."""
        with tempfile.TemporaryDirectory() as aside:
            place = Path(aside) / "songs"
            _link_songs(songs, without, place)
            if not place.exists():
                return None
            mixes = tuple(_mix_file(songs, song, Path(aside)) for song in without)
            asked = PackOptions(rehearse=(self.rehearse,), mixes=mixes if self.mixes_heard else ())
            options = TrainingOptions(
                Path(aside) / "run", self.steps, seed=self.seed, threads=1, device="cpu"
            )
            try:
                for line in tune_pack([place], Path(aside) / "pack", options, asked):
                    print(f"    {line}", file=sys.stderr)
            except StemwrightError as error:
                print(f"    {error}", file=sys.stderr)
                return None
            return Network.of(Path(aside) / "pack")


def _link_songs(songs: Set, without: Sequence[str], place: Path) -> None:
    """All songs but some, in folders of their own."""
    for song, stems in songs.tracks.songs.items():
        for stem, files in stems.items():
            if song not in without and stem != ACCOMPANIMENT:
                (place / song).mkdir(parents=True, exist_ok=True)
                link = place / song / f"{stem}{files[0].suffix}"
                link.symlink_to(files[0].resolve())


def _mix_file(songs: Set, song: str, folder: Path) -> Path:
    audio, rate = songs.audio(song)
    path = folder / f"{song}.wav"
    soundfile.write(path, np.sum(list(audio.values()), axis=0).T, rate, subtype="FLOAT")
    return path
