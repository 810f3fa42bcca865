"""Prints docs/own-instrument-bench.md: an artist's pack and an own instrument on songs they have
not heard.

    python bench/own_instrument.py --scores build/own.jsonl --against others.pack \
        --set musicdelta=guitar:../shared/audio/test/real:mdb_* > docs/own-instrument-bench.md

`own_material` says what a set is. `--against` is a pack of recordings of other people, which stand
beside the takes in training. Scores are appended song by song; a run that was stopped goes on
there. With `--searches` whole separations are measured instead: estimate, flow search and both.
Without `--set` nothing is measured and what a scores file holds is printed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

import own_searches
from export.data.true_mixes import TrueMix
from export.training.expectation import Expectation
from own_material import Set, minutes_of, points, shortened
from own_networks import Float, Network, PackTraining, oracle, own_head, strangers, together
from own_searches import OwnTraining
from own_tables import (
    BESIDE_BAND,
    HALF,
    MIXTURE,
    OWN,
    PROMISE,
    PROMISE_AT_LEVEL,
    SHIPPED,
    Score,
    page,
)

Views = Mapping[str, TrueMix]


class Bench:
    """Measures what is not in the scores file yet."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.shipped = Network.shipped()
        path = arguments.scores
        self.scores = {score.key: score for score in (_kept(path) if path.exists() else [])}

    def measure(self, songs: Set) -> None:
        """Every song of a set."""
        for fold in songs.folds(self.arguments.folds):
            views = {song: dict(songs.views(song)) for song in fold}
            for song, seen in views.items():
                self._references(songs, song, seen)
            for minutes in self._points(songs, fold):
                self._own(songs, fold, minutes, views)
            if self.arguments.tune_steps:
                self._pack(songs, fold, views)

    def search(self, songs: Set) -> None:
        """Every song of a set, by whole separations."""
        folder = Path(self.arguments.scores.parent) / "priors"
        training = OwnTraining(
            folder,
            self.arguments.against,
            self.arguments.flow_steps,
            self.arguments.head_steps,
            self.arguments.seed,
        )
        for fold in songs.folds(self.arguments.folds):
            for score in own_searches.measured(songs, fold, training, self.scores):
                self._store(score)

    def _references(self, songs: Set, song: str, views: Views) -> None:
        network = self.shipped.with_stand_in(songs.target)
        for view, true in views.items():
            keep = partial(self._keep, songs, true, view, minutes=0.0)
            count = len(true.stems) if view == "whole" else 2
            keep(row=MIXTURE, masks=partial(np.full_like, true.own, 1 / count))
            keep(row=HALF, masks=partial(np.full_like, true.own, 0.5))
            keep(row="oracle", masks=partial(oracle, true))
            if view == "whole" and network.knows(true):
                keep(row="shipped, in its set", masks=partial(network.in_its_set, true))
            keep(row=SHIPPED, masks=partial(network.alone, true, songs.target))

    def _points(self, songs: Set, fold: Sequence[str]) -> list[float]:
        there = minutes_of(songs.takes(fold, self._cache))
        return points(self.arguments.minutes, there)

    @property
    def _cache(self) -> Path:
        return Path(self.arguments.scores.parent) / "magnitudes"

    def _own(
        self, songs: Set, fold: Sequence[str], minutes: float, views: Mapping[str, Views]
    ) -> None:
        """An own head beside strangers, and one beside the other stems of its songs, too."""
        band = songs.band(fold, self._cache) if self.arguments.band else {}
        for beside in (OWN, BESIDE_BAND) if band else (OWN,):
            if all(
                (songs.name, song, view, beside, minutes) in self.scores
                for song in fold
                for view in views[song]
            ):
                continue
            unrelated = strangers(self.arguments.against, songs.target)
            takes = songs.takes(fold, self._cache)
            heard = min(minutes, minutes_of(takes))
            head, promise = own_head(
                shortened(takes, minutes),
                together(unrelated, band) if beside == BESIDE_BAND else unrelated,
                self.arguments.head_steps,
                self.arguments.seed,
            )
            network = self.shipped.with_head(songs.target, head)
            for song in fold:
                if beside == OWN:
                    self._promised(songs, views[song]["whole"], promise, minutes, heard)
                for view, true in views[song].items():
                    keep = partial(self._keep, songs, true, view, minutes=minutes, heard=heard)
                    alone = partial(network.alone, true, songs.target)
                    keep(row=beside, masks=alone)
                    keep(row=f"{beside}, song's spectra", masks=partial(alone, spectra=True))
                    if view == "whole" and network.knows(true):
                        row = beside.replace("rest unknown", "in its set")
                        keep(row=row, masks=partial(network.in_its_set, true))

    def _promised(
        self, songs: Set, true: TrueMix, promise: Expectation, minutes: float, heard: float
    ) -> None:
        """What the end of a training said of a song."""
        at_level = promise.gain_at(true.level_db(songs.target))
        for row, gain in ((PROMISE, promise.gain_db), (PROMISE_AT_LEVEL, at_level)):
            ends = promise.low_db, promise.high_db
            self._store(
                Score(songs.name, true.song, "whole", row, minutes, gain, None, heard, *ends)
            )

    def _pack(self, songs: Set, fold: Sequence[str], views: Mapping[str, Views]) -> None:
        training = PackTraining(
            self.arguments.tune_steps,
            self.arguments.seed,
            self.arguments.rehearse or self.arguments.against,
            self.arguments.pack_mixes,
        )
        row = "pack, the songs' mixes heard" if training.mixes_heard else "pack"
        network = self.shipped.with_stand_in(songs.target)
        known = [song for song in fold if network.knows(views[song]["whole"])]
        if all((songs.name, song, "whole", row, 0.0) in self.scores for song in known):
            return
        tuned = training.tuned(songs, fold)
        used = network if tuned is None else tuned.with_stand_in(songs.target)
        for song in known:
            true = views[song]["whole"]
            self._keep(
                songs, true, "whole", row=row, minutes=0.0, masks=partial(used.in_its_set, true)
            )

    def _keep(
        self,
        songs: Set,
        true: TrueMix,
        view: str,
        *,
        row: str,
        minutes: float,
        masks: Callable[[], Float],
        heard: float = 0.0,
    ) -> None:
        if (songs.name, true.song, view, row, minutes) in self.scores:
            return
        found = true.sdr_db(masks())
        if songs.target not in found:
            return
        whole = view == "whole" and "unknown" not in row
        mean = float(np.mean(list(found.values()))) if whole else None
        self._store(
            Score(songs.name, true.song, view, row, minutes, found[songs.target], mean, heard)
        )

    def _store(self, score: Score) -> None:
        self.scores[score.key] = score
        with self.arguments.scores.open("a") as file:
            file.write(json.dumps(asdict(score)) + "\n")
        key = " ".join(map(str, score.key))
        print(f"{key}: {score.target_db:.2f}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", dest="sets", default=[])
    parser.add_argument("--against", type=Path, help="pack of other recordings")
    parser.add_argument("--notes", type=Path, help="Markdown that stands before the tables")
    parser.add_argument("--backing", action="append", default=[], help="FOLDER:PATTERN of songs")
    parser.add_argument(
        "--takes", action="append", default=[], help="SET=FOLDER of takes that belong to no song"
    )
    parser.add_argument("--folds", type=int, default=2, help="0 leaves each song out on its own")
    parser.add_argument("--minutes", nargs="*", type=float, default=[0.5, 2, 5, 15])
    parser.add_argument("--band", action="store_true", help="also beside the songs' other stems")
    parser.add_argument("--head-steps", type=int, default=150)
    parser.add_argument("--searches", action="store_true", help="measure whole separations")
    parser.add_argument("--flow-steps", type=int, default=150, help="of own flows in searches")
    parser.add_argument("--tune-steps", type=int, default=0, help="of packs; 0 tunes none")
    parser.add_argument("--rehearse", type=Path, help="pack beside a tuning; else --against")
    parser.add_argument(
        "--pack-mixes", action="store_true", help="packs hear the songs' mixes, not their stems"
    )
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.sets and arguments.against is None:
        parser.error("--set wants --against: a pack of other recordings")
    return arguments


def main() -> None:
    """Measure, then print the page."""
    arguments = _arguments()
    scores = _measured(arguments) if arguments.sets else _kept(arguments.scores)
    command = shlex.join(["python", "bench/own_instrument.py", *sys.argv[1:]])
    notes = arguments.notes.read_text("utf-8").splitlines() if arguments.notes else []
    print("\n".join((own_searches.page if arguments.searches else page)(scores, command, notes)))


def _measured(arguments: argparse.Namespace) -> list[Score]:
    arguments.scores.parent.mkdir(parents=True, exist_ok=True)
    takes: dict[str, tuple[Path, ...]] = {}
    for text in arguments.takes:
        name, _, folder = text.partition("=")
        takes[name] = (*takes.get(name, ()), Path(folder))
    sets = [Set.parse(text, arguments.backing, takes) for text in arguments.sets]
    bench = Bench(arguments)
    for songs in sets:
        (bench.search if arguments.searches else bench.measure)(songs)
    names = {songs.name for songs in sets}
    return [score for score in bench.scores.values() if score.data in names]


def _kept(path: Path) -> list[Score]:
    """The scores of a file; of one that was measured twice the last."""
    scores = map(Score.parse, path.read_text("utf-8").splitlines())
    return list({score.key: score for score in scores}.values())


if __name__ == "__main__":
    main()
