"""Prints the quality page: every system on songs whose stems are known, in two columns.

    python bench/quality.py --scores build/quality.jsonl > docs/quality.md

Without `--set` the songs are those of `../shared/audio`. Whoever has the data sets measures on
them with `--set COLUMN=LAYOUT:FOLDER`, for example

    --set musdb18=musdb18hq:/data/musdb18hq --set slakh=slakh2100:/data/slakh2100 --seconds 0

Scores are appended to `--scores` song by song; a run that was stopped goes on there. Rows of
other priors are added with `--musicglow PATH.prior` and `--priors NAME=FOLDER`; more stems are
measured with, for example, `--stems vocals bass drums guitar piano other`.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

import nmf
from engine import (
    FrontEnd,
    Prior,
    Renderer,
    RenderOptions,
    channel_groups,
    open_priors,
    probe,
    read_bundle,
)
from engine.audio.signal import MixFile
from engine.model.hooks import SearchHooks
from engine.model.sessions import Device
from engine.separation.batch_search import SeparationPlan
from engine.separation.estimate import Estimate, encoder_path
from engine.separation.separator import Separator
from multitracks import HELD_OUT_DIGIT, LAYOUTS, Song
from presets import Preset, SearchSettings, load_preset
from quality_page import Inside, Score, page
from scores import sdr_db, si_sdr_db

Audio = NDArray[np.float32]
Stems = dict[str, Audio]

PRESET = "dry"  # the shipped search
FOUR = ("vocals", "bass", "drums", "other")
FAITHFUL = "faithful InstGlow search"
AUDIO = Path(__file__).parent.parent.parent / "shared" / "audio"
SETS = (
    f"familiar=held-out:{AUDIO / 'stems'}",
    f"unfamiliar=stems:{AUDIO / 'test' / 'rendered'}",
    f"unfamiliar=stems:{AUDIO / 'test' / 'real'}",
)
NMF_PARTS = {"other": ("other", "guitar", "piano")}  # folders that make up a stem
LEAST_POWER = 1.5e-5  # a reference below -48 dBFS is not scored, as in the paper's evaluation
_LEAST = 1e-9


@dataclass(frozen=True)
class Mix:
    """One song ready to be separated: the file for the engine, the truth for the score."""

    path: Path
    audio: Audio
    rate: int
    truth: Stems


System = Callable[[Mix], Stems]


@dataclass(frozen=True)
class Row:
    """A line of the table: the system, how many parameters it has for given stems, and what its
    scores depend on (priors and search), so that older ones are not taken for them."""

    system: System
    parameters: int
    identity: str = ""


def even_shares(mix: Mix) -> Stems:
    """The mix divided by the number of stems: what knowing nothing gives."""
    return {stem: mix.audio / np.float32(len(mix.truth)) for stem in mix.truth}


def oracle(front_end: FrontEnd) -> System:
    """Ratio masks of the true stems' band magnitudes: the ceiling of every mask on this view."""

    def separate(mix: Mix) -> Stems:
        parts = [_bands(front_end, audio, mix.rate) for audio in mix.truth.values()]
        own = np.stack(parts) + _LEAST
        return _masked(front_end, mix, own / own.sum(axis=0))

    return separate


def supervised_nmf(front_end: FrontEnd, templates: dict[str, Audio]) -> System:
    """KL-NMF with templates of isolated recordings."""

    def separate(mix: Mix) -> Stems:
        X = np.ascontiguousarray(_bands(front_end, mix.audio, mix.rate).T)
        masks = nmf.masks(X, [templates[stem] for stem in mix.truth])
        return _masked(front_end, mix, masks.transpose(0, 2, 1))

    return separate


def _bands(front_end: FrontEnd, audio: Audio, rate: int) -> Audio:
    return front_end.magnitudes(audio, rate)


def _masked(front_end: FrontEnd, mix: Mix, masks: Audio) -> Stems:
    """Apply masks (stems, frames, bands) to every channel."""
    stft, band = front_end.stft(mix.rate), front_end.band_of_bin(mix.rate)
    spectrogram = stft.forward(mix.audio)
    return {
        stem: stft.inverse((mask[:, band] * spectrogram).astype(np.complex64), mix.audio.shape[1])
        for stem, mask in zip(mix.truth, masks, strict=True)
    }


class Engine:
    """The engine's own two passes over a file, with the priors of the stems that are there: the
    shipped ones, or those of a folder."""

    def __init__(
        self, threads: int, folder: Path | None = None, stems: Sequence[str] = FOUR
    ) -> None:
        self.threads = threads
        self.folders = (folder,) if folder else ()
        wanted = {stem: (_bundle(stem, folder), "") for stem in stems}
        self.priors = open_priors(wanted, (), Device("cpu"))

    @property
    def front_end(self) -> FrontEnd:
        """The view of the mix that the priors share."""
        return next(iter(self.priors.values())).card.front_end.front_end()

    def row(self, preset: Preset, tier: str | None = None, musicglow: Path | None = None) -> Row:
        """A preset's search as a system, with the flow of a `musicglow` bundle if one is named."""
        priors = self.priors
        if musicglow is not None:
            wanted = {stem: (str(musicglow), stem) for stem in priors}
            priors = open_priors(wanted, (), Device("cpu"))
        plan = Renderer(preset, RenderOptions(device="cpu", tier=tier)).opened.plan
        estimate = plan.needs_estimate
        flows = plan.search.steps > 0
        made_of = [repr(plan), *(f"{stem} {prior.sha256}" for stem, prior in priors.items())]
        return Row(
            lambda mix: self._separate(mix, plan, estimate, priors),
            flows * sum({p.sha256: p.card.parameters for p in priors.values()}.values())
            + (self._estimate_parameters() if estimate else 0),
            hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16],
        )

    def _separate(
        self, mix: Mix, plan: SeparationPlan, estimate: bool, opened: dict[str, Prior]
    ) -> Stems:
        priors = {stem: opened[stem] for stem in mix.truth}
        first = None
        if estimate:
            first = Estimate(list(priors.values()), self.folders, Device("cpu"))
        separator = Separator(priors, plan, self.threads, first)
        info = probe(mix.path)
        blocks: list[Mapping[str, Audio]] = []
        signal = MixFile(mix.path, info)
        groups = channel_groups(info.channels, info.channel_mask)
        with tempfile.TemporaryDirectory() as folder:
            separator.search(signal, groups, Path(folder), SearchHooks())
            separator.write(signal, groups, Path(folder), blocks.append)
        return {stem: np.concatenate([b[stem] for b in blocks], axis=1) for stem in priors}

    @property
    def has_heads(self) -> bool:
        """Whether there can be a first estimate."""
        return all(prior.card.encoder_sha256 for prior in self.priors.values())

    def _estimate_parameters(self) -> int:
        """Weights of the shared encoder and the heads, counted in their graphs."""
        import onnx

        priors = list(self.priors.values())
        encoder = encoder_path(str(priors[0].card.encoder_sha256), self.folders)
        assert encoder is not None
        heads = (read_bundle(prior.path)[1]["head.onnx"] for prior in priors)
        graphs = [encoder.read_bytes(), *heads]
        return sum(
            int(np.prod(weights.dims))
            for graph in graphs
            for weights in onnx.load_model_from_string(graph).graph.initializer
            if weights.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        )


def _bundle(stem: str, folder: Path | None) -> str:
    return str(folder / f"{stem}.prior") if folder else stem


def systems(
    engine: Engine,
    recordings: Path,
    musicglow: Path | None = None,
    further: Mapping[str, Engine] | None = None,
) -> dict[str, Row]:
    """Every line of the table, in its order: MusicGlow's if there is a bundle of it, and what
    `further`, engines with other priors, do: ours if they have heads, else the paper's search."""
    faithful, ours = load_preset("faithful"), load_preset(PRESET)
    view = engine.front_end
    flows_alone = _searching(guided_steps=0, flow_weight=1, song_weight=0, spatial=False)
    estimate_alone = _searching(tier="draft", song_weight=0, spatial=False)
    shared = " ".join(engine.priors)
    rows = {"mixture / K": Row(even_shares, 0, shared)}
    files = _nmf_files(recordings, list(engine.priors))
    if all(files.values()):
        templates = nmf.learn(files, view)
        atoms = sum(W.size for W in templates.values())
        heard = " ".join(
            f"{file.name} {file.stat().st_size}" for f in files.values() for file in f
        )
        made_of = hashlib.sha256(f"{shared} {heard}".encode()).hexdigest()[:16]
        rows["supervised KL-NMF"] = Row(supervised_nmf(view, templates), atoms, made_of)
    rows[FAITHFUL] = engine.row(faithful)
    if musicglow:
        rows["faithful MusicGlow search"] = engine.row(faithful, musicglow=musicglow)
    rows |= {
        "flows alone": engine.row(flows_alone),
        "first estimate alone": engine.row(estimate_alone),
        "draft": engine.row(ours, "draft"),
        "standard": engine.row(ours, "standard"),
        "best": engine.row(ours, "best"),
        "search": engine.row(ours, "search"),
    }
    for name, other in (further or {}).items():
        if other.has_heads:
            rows[f"first estimate alone, {name}"] = other.row(estimate_alone)
            rows[f"standard, {name}"] = other.row(ours, "standard")
        else:
            rows[f"{FAITHFUL}, {name}"] = other.row(faithful)
    return rows | {"oracle ratio mask": Row(oracle(view), 0, shared)}


def _searching(**settings: Any) -> Preset:  # noqa: ANN401 - what SearchSettings takes
    """Our preset with another search."""
    return load_preset(PRESET).model_copy(update={"search": SearchSettings(**settings)})


def _nmf_files(root: Path, stems: Sequence[str]) -> dict[str, list[Path]]:
    """Training recordings of every stem; songs that are held out stay out."""
    return {
        stem: [
            file
            for part in NMF_PARTS.get(stem, (stem,))
            if part == stem or part not in stems
            for file in sorted((root / part).glob("*"))
            if not (file.stem.startswith("rendered_") and file.stem.endswith(HELD_OUT_DIGIT))
        ]
        for stem in stems
    }


def songs_of(spec: str, stems: Sequence[str]) -> tuple[str, list[Song], int]:
    """COLUMN=LAYOUT:FOLDER as column, songs, and how many had stems without a place."""
    column, _, rest = spec.partition("=")
    layout, _, folder = rest.partition(":")
    if layout not in LAYOUTS or not Path(folder).is_dir():
        sys.exit(
            f"--set {spec}: expected COLUMN=LAYOUT:FOLDER with a folder that is there and one of "
            f"the layouts {', '.join(LAYOUTS)}."
        )
    try:
        found = LAYOUTS[layout](Path(folder))
    except FileNotFoundError as error:
        sys.exit(f"--set {spec}: no {layout} here, {error.filename} is missing.")
    if not found:
        sys.exit(f"--set {spec}: no song of the layout {layout} in {folder}.")
    songs = [folded for song in found if (folded := song.folded(stems)) is not None]
    return column, songs, len(found) - len(songs)


class Readable(Protocol):
    """A song whose stems can be read."""

    @property
    def name(self) -> str:
        """The song's."""

    def read(self, seconds: float) -> tuple[Stems, int]:
        """The stems (channels, samples) and their rate."""


def measure(song: Readable, column: str, name: str, row: Row, seconds: float) -> Score:
    """Separate one song with one system and compare with the truth."""
    truth, rate = song.read(seconds)
    audio = np.sum(list(truth.values()), axis=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mix.wav"
        soundfile.write(path, audio.T, rate, subtype="FLOAT")
        started = time.process_time()
        found = row.system(Mix(path, audio, rate, truth))
        cpu_s = time.process_time() - started
    decibels = {
        stem: (
            sdr_db(reference, found[stem]),
            si_sdr_db(reference, found[stem]),
            sdr_db(reference, found[stem]) - sdr_db(reference, audio),
        )
        for stem, reference in truth.items()
        if float((reference**2).mean()) >= LEAST_POWER
    }
    audio_s = audio.shape[1] / rate
    made_of = identity(row, seconds)
    return Score(column, song.name, name, row.parameters, decibels, cpu_s, audio_s, made_of)


def identity(row: Row, seconds: float) -> str:
    """What a score depends on besides song and system."""
    return f"{row.identity}/{seconds:g}"


def main() -> None:
    """Measure what is not in the scores file yet, then print the page."""
    arguments = _arguments()
    engine = Engine(arguments.threads, stems=arguments.stems)
    further = {
        name: Engine(arguments.threads, Path(folder), arguments.stems)
        for name, _, folder in (item.partition("=") for item in arguments.priors)
    }
    rows = systems(engine, arguments.recordings, arguments.musicglow, further)
    rows = {
        name: row for name, row in rows.items() if not arguments.only or name in arguments.only
    }
    arguments.scores.parent.mkdir(parents=True, exist_ok=True)
    known = arguments.scores.read_text().splitlines() if arguments.scores.exists() else []
    old = {s.key: s for s in (Score.parse(line) for line in known)}
    scores, left_out = [], 0
    for spec in arguments.sets or SETS:
        column, songs, without = songs_of(spec, arguments.stems)
        left_out += without
        for song in songs[:: -(-len(songs) // arguments.songs) if arguments.songs else 1]:
            for name, row in rows.items():
                score = old.get((column, song.name, name, identity(row, arguments.seconds)))
                if score is None:
                    score = measure(song, column, name, row, arguments.seconds)
                    with arguments.scores.open("a") as file:
                        file.write(score.line() + "\n")
                    print(f"{column} {song.name} {name}: {score.cpu_s:.1f} s", file=sys.stderr)
                scores.append(score)
    lines = arguments.inside.read_text().splitlines() if arguments.inside else []
    inside = [Inside.parse(line) for line in lines]
    print(page(scores, list(rows), arguments.seconds, left_out, _command(), inside), end="")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", dest="sets", metavar="COLUMN=LAYOUT:FOLDER")
    parser.add_argument("--stems", nargs="+", default=list(FOUR), help="what songs are cut into")
    parser.add_argument("--only", action="append", metavar="ROW", help="may repeat")
    parser.add_argument("--recordings", type=Path, default=AUDIO / "stems", help="for NMF")
    parser.add_argument("--musicglow", type=Path, metavar="PATH.prior", help="adds its row")
    parser.add_argument(
        "--priors",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="adds the rows of other priors, made by stemwright prior make",
    )
    parser.add_argument("--seconds", type=float, default=11.5, help="of every song; 0 is all")
    parser.add_argument("--songs", type=int, default=0, help="most of every set; 0 is all")
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--inside", type=Path, help="scores of bench/inside_other.py: a section")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _command() -> str:
    return shlex.join(["python", "bench/quality.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
