"""Prints docs/own-instrument-bench.md: an artist's pack and an own instrument on songs they have
not heard.

    python bench/own_instrument.py --scores build/own.jsonl --against more.pack \
        --set musicdelta=guitar:../shared/audio/test/real:mdb_* > docs/own-instrument-bench.md

A set is NAME=TARGET:FOLDER:PATTERN, the folder in a layout of `prior tune`, PATTERN choosing its
songs. Each song in turn is left out: the target's stems of the others are the takes, all their
stems the artist's multitracks. `--against` is a pack of recordings of other people, which stand
beside the takes in training. Scores are appended song by song; a run that was stopped goes on
there.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from engine import find_prior, give_way, prior_folders, read_bundle
from engine.separation.song_spectra import song_masks
from export.artist_pack import PackOptions, tune_pack
from export.data.corpus import Clip, Corpus
from export.data.mixes import RandomMixes, bins_per_band
from export.data.multitracks import Multitracks, find_multitracks
from export.data.pack import packed_corpus, read_pack
from export.data.true_mixes import TrueMix, read_stems, true_mix
from export.models.estimator import Encoder, Head
from export.training.estimator_training import EstimatorSettings
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
from presets import StemwrightError
from scores import bootstrap

Float = NDArray[np.float32]
Masks = Mapping[str, Float]

BLEED_DB = -10.0
BAND = ("vocals", "bass", "drums")  # what a foreign separator takes out before `other`
STEMS = ("vocals", "bass", "drums", "guitar", "piano", "other")
LOOK = 60  # steps of a head between two looks at held-out mixes
_LEAST = 1e-7
ABOUT = """\
Each song of a set is left out in turn; takes and packs come from the others. SDR in dB of the
target, gain over the mixture divided by the number of stems (inside: by two), mean over songs
with its 95 % bootstrap interval; the last column is the mean over all stems of the set. Masks
of the first estimate on the true mixes' spectra, without the stereo image. *Inside* is a true
`other` with all else 10 dB below it. *Rest unknown* knows the target's head and nothing else.
*As promised* is half of the mix and what the end of the head's training expects over it.
Minutes are those of the takes.
""".splitlines()


@dataclass(frozen=True)
class Score:
    """Signal to distortion in dB of one row on one song: of the target, and the mean over the set
    where the row has all stems. `view` is the whole mix, or `inside` a foreign stem."""

    data: str
    song: str
    view: str
    row: str
    minutes: float
    target_db: float
    mean_db: float | None = None


class Network:
    """An encoder and heads in torch, as a separation at `draft` uses them before the song's own
    spectra."""

    def __init__(self, encoder: Encoder, heads: Mapping[str, Head]) -> None:
        self.encoder, self.heads = encoder.eval(), heads

    @torch.no_grad()
    def masks(self, song: TrueMix, names: Sequence[str]) -> Float:
        """What heads say, each on its own: (names, windows, frames, bands)."""
        power = np.mean(np.square(song.magnitudes, dtype=np.float64), axis=(1, 2), keepdims=True)
        mix = np.asarray(song.magnitudes / np.sqrt(np.maximum(power, 1e-12)), np.float32)
        x = torch.from_numpy(mix).transpose(1, 2)
        features = self.encoder(x**self.encoder.config.compression)
        return np.stack([self.heads[name](features).transpose(1, 2).numpy() for name in names])


def in_its_set(network: Network, song: TrueMix, heads: Sequence[str]) -> Float:
    """Masks of the song's stems by a head each, which sum to one. An own head finds itself
    alone."""
    single = read_bundle(find_prior("guitar"))[0]
    cards = [
        single.model_copy(update={"stem": stem})
        if head == "own"
        else read_bundle(find_prior(head))[0]
        for stem, head in zip(song.stems, heads, strict=True)
    ]
    masks = give_way(network.masks(song, heads), cards) + _LEAST
    return np.asarray(masks / masks.sum(axis=0), np.float32)


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


@dataclass(frozen=True)
class Set:
    """An artist's songs and the stem that is the new instrument."""

    name: str
    target: str
    tracks: Multitracks
    folder: Path

    @classmethod
    def parse(cls, text: str) -> Set:
        name, _, rest = text.partition("=")
        target, folder, *pattern = rest.split(":")
        known = {*STEMS, target, "accompaniment"}
        tracks = find_multitracks([Path(folder)], known)
        songs = {
            song: stems
            for song, stems in tracks.songs.items()
            if fnmatch(song, pattern[0] if pattern else "*") and target in stems and len(stems) > 1
        }
        if len(songs) < 2:
            sys.exit(f"--set {text}: {len(songs)} songs with {target} and more; two are needed.")
        return cls(name, target, Multitracks(songs), Path(folder))

    def views(self, song: str) -> Iterator[tuple[str, TrueMix]]:
        """The whole mix, and a true `other` with everything else 10 dB below it."""
        front_end = standard_front_end().front_end()
        audio, rate = read_stems(self.tracks.songs[song])
        yield "whole", true_mix(song, audio, rate, front_end)
        inside = {stem: part for stem, part in audio.items() if stem not in BAND}
        band = [part for stem, part in audio.items() if stem in BAND]
        if band:
            rest = np.sum(band, axis=0)
            other = np.sum(list(inside.values()), axis=0)
            gain = 10 ** (BLEED_DB / 20) * np.sqrt((other**2).sum() / (rest**2).sum())
            # what bleeds is one stem more, that nobody looks for
            yield "inside", true_mix(song, {**inside, "bleed": gain * rest}, rate, front_end)

    def takes(self, without: str, minutes: float, cache: Path) -> Corpus:
        """The target's stems of all songs but one, so many minutes of their playing at most."""
        front_end = standard_front_end().front_end()
        mine = {
            song: {self.target: stems[self.target]} for song, stems in self.tracks.songs.items()
        }
        corpus = Multitracks(mine).corpora([without], front_end, cache)[self.target]
        there = sum(source.minutes for source in corpus.sources)
        return replace(corpus, clips=tuple(_cut(corpus.clips, minutes / there)))


def _cut(clips: Sequence[Clip], share: float) -> list[Clip]:
    return [clip.cut(share)[0] for clip in clips] if share < 1 else list(clips)


def own_head(
    takes: Corpus, against: Mapping[str, Corpus], steps: int, seed: int
) -> tuple[Head, float]:
    """A head for the takes as `prior train` trains it, on the shipped encoder, beside recordings
    of others; and what it promises over half of a mix, in dB."""
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
    return task.model.eval(), float(task.gains_db(valid).mean())


def tuned(
    songs: Set, without: str, steps: int, seed: int, against: Path, *, mix_heard: bool
) -> Network | None:
    """The pack that `prior tune` makes of all songs but one; None where it found nothing better.

    With `mix_heard` the mix of that one is named with `--mixes`, as a user would who wants it
    taken apart.
    """
    with tempfile.TemporaryDirectory() as aside:
        place = Path(aside) / "songs"
        for song, stems in songs.tracks.songs.items():
            for stem, files in stems.items():
                if song != without and stem != "accompaniment":
                    (place / song).mkdir(parents=True, exist_ok=True)
                    link = place / song / f"{stem}{files[0].suffix}"
                    link.symlink_to(files[0].resolve())
        if not place.exists():
            return None
        options = TrainingOptions(Path(aside) / "run", steps, seed=seed, threads=1, device="cpu")
        mixes: tuple[Path, ...] = ()
        if mix_heard:
            audio, rate = read_stems(songs.tracks.songs[without])
            mixes = (Path(aside) / f"{without}.wav",)
            whole = np.sum(list(audio.values()), axis=0)
            soundfile.write(mixes[0], whole.T, rate, subtype="FLOAT")
        asked = PackOptions(rehearse=(against,), mixes=mixes)
        try:
            for line in tune_pack([place], Path(aside) / "pack", options, asked):
                print(f"    {line}", file=sys.stderr)
        except StemwrightError as error:
            print(f"    {error}", file=sys.stderr)
            return None
        return Network(*bundled_estimate(Path(aside) / "pack"))


class Bench:
    """Measures what is not in the scores file yet."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.shipped = Network(*bundled_estimate(prior_folders()[-1]))
        self.against = {
            part: packed_corpus(arguments.against, part, standard_front_end())
            for part in read_pack(arguments.against).parts
        }
        lines = arguments.scores.read_text().splitlines() if arguments.scores.exists() else []
        self.scores = [Score(**json.loads(line)) for line in lines]

    def measure(self, songs: Set) -> None:
        """Every song of a set."""
        for song in songs.tracks.songs:
            if not any(fnmatch(song, pattern) for pattern in self.arguments.leave_out):
                continue
            views = dict(songs.views(song))
            for minutes in self.arguments.minutes:
                self._own(songs, song, minutes, views)
            if not self.arguments.no_packs:
                self._pack(songs, song, views)
            self._references(songs, song, views)

    def _references(self, songs: Set, song: str, views: Mapping[str, TrueMix]) -> None:
        for view, true in views.items():
            count = len(true.stems) if view == "whole" else 2
            even = np.full_like(true.own, 1 / count)
            self._keep(songs, true, view, "mixture / K", 0.0, partial(np.array, even))
            self._keep(songs, true, view, "oracle", 0.0, partial(oracle, true))
            shipped = self._alone(songs.target)
            if view == "whole" and self._known(songs, true):
                heads = [self._alone(stem) for stem in true.stems]
                together = partial(in_its_set, self.shipped, true, heads)
                self._keep(songs, true, view, "shipped, in its set", 0.0, together)
            unknown = self._unknown(self.shipped, true, shipped, songs.target)
            row = "shipped, rest unknown"
            self._keep(songs, true, view, row, 0.0, partial(np.array, unknown))

    def _alone(self, target: str) -> str:
        return target if target in self.shipped.heads else "other"

    def _known(self, songs: Set, true: TrueMix) -> bool:
        """Whether every stem but the target has a head."""
        return all(stem in {*self.shipped.heads, songs.target} for stem in true.stems)

    def _own(self, songs: Set, song: str, minutes: float, views: Mapping[str, TrueMix]) -> None:
        rows = ("own, rest unknown", "own, rest unknown, song's spectra", "own, in its set")
        if all(self._there(songs, song, view, rows[0], minutes) for view in views):
            return
        takes = songs.takes(song, minutes, self.arguments.scores.parent / "magnitudes")
        against = {k: v for k, v in self.against.items() if k != songs.target}
        if songs.target == "other":
            against = {k: v for k, v in against.items() if k in BAND}
        head, promised = own_head(takes, against, self.arguments.head_steps, self.arguments.seed)
        network = Network(self.shipped.encoder, {**self.shipped.heads, "own": head})
        for view, true in views.items():
            half = true.sdr_db(np.full_like(true.own, 0.5)).get(songs.target)
            if view == "whole" and half is not None:
                self._store(
                    Score(songs.name, song, view, "own, as promised", minutes, half + promised)
                )
            masks = self._unknown(network, true, "own", songs.target)
            self._keep(songs, true, view, rows[0], minutes, partial(np.array, masks))
            with_spectra = partial(self._unknown, network, true, "own", songs.target, spectra=True)
            self._keep(songs, true, view, rows[1], minutes, with_spectra)
            if view == "whole" and self._known(songs, true):
                names = ["own" if stem == songs.target else stem for stem in true.stems]
                together = partial(in_its_set, network, true, names)
                self._keep(songs, true, view, rows[2], minutes, together)

    def _pack(self, songs: Set, song: str, views: Mapping[str, TrueMix]) -> None:
        true = views["whole"]
        heard = self.arguments.pack_mixes
        row = "pack, the song's mix heard" if heard else "pack"
        if self._there(songs, song, "whole", row, 0.0) or not self._known(songs, true):
            return
        network = tuned(
            songs,
            song,
            self.arguments.tune_steps,
            self.arguments.seed,
            self.arguments.rehearse or self.arguments.against,
            mix_heard=heard,
        )
        used = network or self.shipped
        self._keep(
            songs,
            true,
            "whole",
            row,
            0.0,
            lambda: in_its_set(used, true, [self._alone(stem) for stem in true.stems]),
        )

    def _unknown(
        self, network: Network, true: TrueMix, head: str, target: str, *, spectra: bool = False
    ) -> Float:
        """The target's mask with nothing known of the rest; zeros for the other stems."""
        (mask,) = network.masks(true, [head])
        if spectra:
            mask = with_song_spectra(np.stack([mask, 1 - mask]), true)[0]
        masks = np.zeros_like(true.own)
        masks[true.stems.index(target)] = mask
        return masks

    def _there(self, songs: Set, song: str, view: str, row: str, minutes: float) -> bool:
        key = (songs.name, song, view, row, minutes)
        return any((s.data, s.song, s.view, s.row, s.minutes) == key for s in self.scores)

    def _keep(
        self,
        songs: Set,
        true: TrueMix,
        view: str,
        row: str,
        minutes: float,
        masks: Callable[[], Float],
    ) -> None:
        if self._there(songs, true.song, view, row, minutes):
            return
        found = true.sdr_db(masks())
        if songs.target not in found:
            return
        whole = view == "whole" and "unknown" not in row
        mean = float(np.mean(list(found.values()))) if whole else None
        self._store(Score(songs.name, true.song, view, row, minutes, found[songs.target], mean))

    def _store(self, score: Score) -> None:
        self.scores.append(score)
        with self.arguments.scores.open("a") as file:
            file.write(json.dumps(asdict(score)) + "\n")
        key = f"{score.data} {score.song} {score.view} {score.row} {score.minutes:g}"
        print(f"{key}: {score.target_db:.2f}", file=sys.stderr, flush=True)


def page(scores: Sequence[Score], command: str) -> Iterator[str]:
    """The page, line by line."""
    yield "# What is an own instrument worth on songs it has not heard?"
    yield ""
    yield f"Printed by `{command}`."
    yield ""
    yield from ABOUT
    for data in dict.fromkeys(score.data for score in scores):
        mine = [score for score in scores if score.data == data]
        for view in dict.fromkeys(score.view for score in mine):
            yield from _table(data, view, [score for score in mine if score.view == view])


def _table(data: str, view: str, scores: Sequence[Score]) -> Iterator[str]:
    songs = list(dict.fromkeys(score.song for score in scores))
    yield ""
    yield f"## {data}: {view}, {len(songs)} songs"
    yield ""
    yield "| row | minutes | songs | target | over mixture / K | all stems |"
    yield "| --- | --- | --- | --- | --- | --- |"
    floor = {score.song: score for score in scores if score.row == "mixture / K"}
    rows = sorted(dict.fromkeys((score.row, score.minutes) for score in scores))
    for row, minutes in rows:
        mine = {s.song: s for s in scores if (s.row, s.minutes) == (row, minutes)}
        gains = np.array([[mine[song].target_db - floor[song].target_db] for song in mine])
        target = np.mean([score.target_db for score in mine.values()])
        means = [score.mean_db for score in mine.values() if score.mean_db is not None]
        mean = f"{np.mean(means):.2f}" if means else ""
        length = f"{minutes:g}" if minutes else ""
        cells = (row, length, str(len(mine)), f"{target:.2f}", str(bootstrap(gains)), mean)
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, then print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", dest="sets", required=True)
    parser.add_argument("--against", type=Path, required=True, help="pack of other recordings")
    parser.add_argument("--minutes", nargs="*", type=float, default=[0.5, 2, 5, 15])
    parser.add_argument("--head-steps", type=int, default=300)
    parser.add_argument("--tune-steps", type=int, default=200)
    parser.add_argument("--leave-out", nargs="+", default=["*"], help="songs to measure on")
    parser.add_argument("--no-packs", action="store_true")
    parser.add_argument("--rehearse", type=Path, help="pack beside a tuning; else --against")
    parser.add_argument(
        "--pack-mixes", action="store_true", help="packs hear the song's mix, not its stems"
    )
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.scores.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments)
    sets = [Set.parse(text) for text in arguments.sets]
    for songs in sets:
        bench.measure(songs)
    names = {songs.name for songs in sets}
    wanted = [score for score in bench.scores if score.data in names]
    command = shlex.join(["python", "bench/own_instrument.py", *sys.argv[1:]])
    print("\n".join(page(wanted, command)))


if __name__ == "__main__":
    main()
