"""Estimate, flow search, or both? Whole separations by the engine, with a prior of one's own and
with the shipped one, the rest of the song unknown or its neighbours named.

The own prior of a fold is trained by the command of docs/new-instrument.md on the takes of the
other folds: a flow that goes on from the shipped one, and a head. It is kept beside the scores.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import yaml
from numpy.typing import NDArray

from engine import RenderOptions, find_prior, separate
from export import TrainingOptions, export_prior, train_prior
from export.data.pack import read_pack
from own_material import BAND, Set
from own_tables import Key, Score, titled
from scores import Estimated, bootstrap, sdr_db

Float = NDArray[np.float32]

SECONDS = 5.9  # of every song, from its middle
ESTIMATE, FLOW, BOTH = "estimate", "flow search", "both"
SYSTEMS: Mapping[str, Mapping[str, object]] = MappingProxyType({
    ESTIMATE: {"tier": "standard"},
    FLOW: {"guided_steps": 0, "flow_weight": 1, "song_weight": 0, "start": "zero"},
    BOTH: {"tier": "search"},
})  # fmt: skip
UNKNOWN, NAMED = "rest unknown", "neighbours named"
SHARE = "a share of the mix"
NOTES = """\
SDR of the target in dB, mean over songs; whole separations of the middle {seconds:g} s of each.
*Estimate* is the tier `standard`; *flow search* knows no head and begins at z = 0, what an
instrument without a head would have; *both* is the tier `search`. A share is half of the mix, or
the mix divided by its stems where these are named. The last column has its 95 % bootstrap interval
over songs.
""".splitlines()


@dataclass(frozen=True)
class OwnTraining:
    """How own priors are trained: steps of the flow (0: none is) and of the head, beside the
    vocals, basses and drums of a pack, in folders of `place`."""

    place: Path
    against: Path
    flow_steps: int
    head_steps: int
    seed: int

    def prior(self, songs: Set, fold: Sequence[str]) -> str:
        """The name of the bundle of a fold in `place`; trained unless it is there."""
        of = (*fold, str(self.against), self.flow_steps, self.head_steps, self.seed)
        named = hashlib.sha256("\n".join(map(str, of)).encode()).hexdigest()[:8]
        name = f"own-{songs.name}-{named}"
        bundle = self.place / f"{name}.prior"
        if bundle.exists():
            return name
        run = self.place / "runs" / name
        takes = _linked(songs, fold, run.with_name(f"{name}-takes"))
        options = TrainingOptions(
            run, self.flow_steps, seed=self.seed, threads=1, device="cpu",
            begin_from=find_prior(_shipped(songs)),
        )  # fmt: skip
        parts = [part for part in BAND if part in read_pack(self.against).parts]
        beside = [Path(f"{part}={self.against}") for part in parts if part != songs.target]
        for line in train_prior(own_stem(songs), [takes], options, beside, self.head_steps):
            print(f"    {line}", file=sys.stderr, flush=True)
        export_prior(run, bundle, None)
        return name


def own_stem(songs: Set) -> str:
    """What the own instrument is called: `other` would be everything else, too."""
    return songs.name if songs.target == "other" else songs.target


def measured(
    songs: Set, fold: Sequence[str], training: OwnTraining, known: Mapping[Key, Score]
) -> Iterator[Score]:
    """The scores of a fold that are not known yet."""
    priors = {"shipped": _shipped(songs)}
    if training.flow_steps:
        priors["own"] = training.prior(songs, fold)
    for song in fold:
        truth, rate = _middle(songs, song)
        mix = np.sum(list(truth.values()), axis=0)
        for view, beside in _views(songs, truth):
            share = np.float32(1 / (1 + max(len(beside), 1)))
            if (songs.name, song, view, SHARE, 0.0) not in known:
                yield _score(songs, song, view, SHARE, truth, mix * share)
            for who, prior in priors.items():
                for system, search in SYSTEMS.items():
                    row = f"{who}: {system}"
                    if (songs.name, song, view, row, 0.0) in known:
                        continue
                    stems = {own_stem(songs): {"prior": prior}, **{stem: {} for stem in beside}}
                    if view == UNKNOWN:
                        search = {**search, "rest": "unknown"}
                    found = _found(mix, rate, stems, search, training)
                    yield _score(songs, song, view, row, truth, found)


def page(scores: Sequence[Score], command: str, notes: Sequence[str] = ()) -> Iterator[str]:
    """The page, line by line."""
    yield "# Estimate, flow search, or both, with an instrument of one's own?"
    yield ""
    yield f"Printed by `{command}`."
    yield ""
    yield from (line.format(seconds=SECONDS) for line in NOTES)
    yield from notes
    rows = []
    for data, view in dict.fromkeys((score.data, score.view) for score in scores):
        mine = [score for score in scores if (score.data, score.view) == (data, view)]
        by_row: dict[str, dict[str, float]] = {}
        for score in mine:
            by_row.setdefault(score.row, {})[score.song] = score.target_db
        share = f"{np.mean(list(by_row[SHARE].values())):.2f}"
        for who in ("shipped", "own"):
            if f"{who}: {ESTIMATE}" not in by_row:
                continue
            found = [by_row[f"{who}: {system}"] for system in SYSTEMS]
            means = [f"{np.mean(list(each.values())):.2f}" for each in found]
            songs = str(len(found[0]))
            rows.append([data, view, who, songs, share, *means, str(_over(found[2], found[0]))])
    head = ["set", "song", "prior", "songs", "share", *SYSTEMS, "both over estimate"]
    yield from titled("Table", head, rows)


def _over(found: Mapping[str, float], other: Mapping[str, float]) -> Estimated:
    return bootstrap(np.array([[found[song] - other[song]] for song in found]))


def _shipped(songs: Set) -> str:
    return songs.target if songs.target in (*BAND, "guitar", "piano") else "other"


def _views(songs: Set, truth: Mapping[str, Float]) -> Iterator[tuple[str, list[str]]]:
    """The rest of a song unknown, and its neighbours by name where a prior knows each."""
    yield UNKNOWN, []
    beside = [stem for stem in truth if stem != songs.target]
    if all(stem in (*BAND, "guitar", "piano") for stem in beside):
        yield NAMED, beside


def _middle(songs: Set, song: str) -> tuple[dict[str, Float], int]:
    """The middle of a song's stems."""
    audio, rate = songs.audio(song)
    frames = next(iter(audio.values())).shape[1]
    wanted = min(frames, round(SECONDS * rate))
    start = (frames - wanted) // 2
    return {stem: part[:, start : start + wanted] for stem, part in audio.items()}, rate


def _found(
    mix: Float,
    rate: int,
    stems: Mapping[str, Mapping[str, object]],
    search: Mapping[str, object],
    training: OwnTraining,
) -> Float:
    """The first stem as the engine finds it."""
    path = training.place / "bench.yaml"
    path.write_text(
        yaml.safe_dump({"stems": dict(stems), "search": dict(search)}, sort_keys=False)
    )
    options = RenderOptions(
        device="cpu", threads=1, seed=training.seed, prior_folders=(training.place,)
    )
    return separate(mix, rate, path, options)[next(iter(stems))].astype(np.float32)


def _score(
    songs: Set, song: str, view: str, row: str, truth: Mapping[str, Float], found: Float
) -> Score:
    return Score(songs.name, song, view, row, 0.0, sdr_db(truth[songs.target], found))


def _linked(songs: Set, fold: Sequence[str], folder: Path) -> Path:
    """The takes of a fold in a folder; stems of songs are finished."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        path
        for place in songs.take_files(fold)
        for path in (sorted(place.iterdir()) if place.is_dir() else [place])
    ]
    for number, path in enumerate(files):
        link = folder / f"{number}{path.suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
    finished = not (songs.backing or songs.takes_from)
    said = {"*": {"name": f"takes of {songs.name}", "finished": finished}}
    (folder / "SOURCES.yaml").write_text(yaml.safe_dump(said))
    return folder
