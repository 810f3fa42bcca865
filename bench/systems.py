"""Prints docs/systems.md: the systems of the paper's poster, trained and judged on the same songs.

    python bench/systems.py --scores build/systems.jsonl --card "Demucs v2=build/demucs.yaml" \\
        --card Wave-U-Net=build/waveunet.yaml --gans build/gans > docs/systems.md

Every mix is mono at 22.05 kHz, as in the paper's evaluation. Rows of separators are given by
their cards, GAN priors as a folder of bundles, priors of the paper's view as `--instglow FOLDER`
and `--musicglow FILE`. `--judged FILE` adds rows that were measured where they were trained
(lines of JSON: column, song, system, parameters, sdr, si_sdr, mix, seconds). Songs, scores and
`--set` are those of bench/quality.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

import nmf
from engine import channel_groups, probe
from engine.audio.signal import MixFile
from engine.model.bundle import FLOW, read_card
from engine.model.gan_prior import KIND as GAN
from engine.model.gan_prior import GanPrior
from engine.model.hooks import SearchHooks
from engine.model.sessions import Device
from engine.model.spectrogram import Stft
from engine.separation.gan_search import separate_with_gans
from engine.separators.estimating import CardSeparation
from engine.separators.loading import load_card
from multitracks import HELD_OUT_DIGIT, Song
from presets import load_preset
from quality import (
    AUDIO,
    FOUR,
    PRESET,
    SETS,
    Engine,
    Mix,
    Row,
    Stems,
    even_shares,
    identity,
    measure,
    oracle,
    songs_of,
    supervised_nmf,
)
from quality_page import Score
from systems_page import Trained, systems_page

Audio = NDArray[np.float32]

RATE, PAPER_HOP = 22_050, 256  # of the paper's evaluation, mono
CPU = Device("cpu")


@dataclass(frozen=True)
class PaperSong:
    """A song as the paper judges it: one channel at RATE."""

    song: Song

    @property
    def name(self) -> str:
        """The song's."""
        return self.song.name

    def read(self, seconds: float) -> tuple[Stems, int]:
        """The stems (1, samples) and their rate."""
        stems, rate = self.song.read(seconds)
        mono = {
            stem: soxr.resample(audio.mean(axis=0), rate, RATE).astype(np.float32)[None]
            for stem, audio in stems.items()
        }
        return mono, RATE


def card_row(path: Path, threads: int) -> Row:
    """A separator by its card, run as the program runs it."""
    loaded = load_card(path)

    def separate(mix: Mix) -> Stems:
        signal = MixFile(mix.path, probe(mix.path))
        groups = channel_groups(signal.info.channels, signal.info.channel_mask)
        separation = CardSeparation(loaded, CPU, threads)
        with tempfile.TemporaryDirectory() as folder:
            separation.search(signal, groups, Path(folder), SearchHooks())
            found = np.concatenate(list(separation.stems_of(signal, groups, Path(folder))), axis=2)
        by_name = dict(zip(separation.stems, found, strict=True))
        return {stem: by_name[stem] for stem in mix.truth}

    return Row(separate, graph_parameters(path), loaded.digest)


def graph_parameters(card: Path) -> int:
    """Weights in the graphs of a card."""
    import onnx

    loaded = load_card(card)
    return sum(
        int(np.prod(weights.dims))
        for file in loaded.card.graphs
        for weights in onnx.load_model(str(loaded.path_of(file))).graph.initializer
        if weights.data_type == onnx.TensorProto.FLOAT16  # constants are in single precision
    )


def gan_rows(folder: Path, steps: int, threads: int) -> dict[str, Row]:
    """The search of a folder's GAN priors, once for a mix: the waveforms that the generators play
    (Narayanaswamy et al.), and their magnitudes with the mix's phase (the poster's)."""
    priors = {stem: GanPrior(folder / f"{stem}.gan", CPU) for stem in FOUR}
    found: dict[bytes, Stems] = {}  # of the last mix

    def waveforms(mix: Mix) -> Stems:
        name = hashlib.sha256(mix.audio.tobytes()).digest()
        if name not in found:
            own = [priors[stem] for stem in mix.truth]
            with ThreadPoolExecutor(threads) as pool:
                played = separate_with_gans(own, mix.audio[0], mix.rate, pool, steps)
            found.clear()
            found[name] = {stem: x[None] for stem, x in zip(mix.truth, played, strict=True)}
        return found[name]

    def with_phase_of_mix(mix: Mix) -> Stems:
        return {stem: phased(audio, mix.audio) for stem, audio in waveforms(mix).items()}

    made_of = " ".join([str(steps), *(prior.sha256 for prior in priors.values())])
    identity = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    sizes = sum(prior.card.parameters for prior in priors.values())
    return {
        "GAN prior": Row(waveforms, sizes, identity),
        "GAN prior, mix's phase": Row(with_phase_of_mix, sizes, f"{identity} phased"),
    }


def phased(played: Audio, mix: Audio) -> Audio:
    """The magnitudes of one signal with the phase of another, both (1, samples)."""
    stft = Stft(PAPER_HOP)
    turned = np.exp(1j * np.angle(stft.forward(mix)))
    both = (np.abs(stft.forward(played)) * turned).astype(np.complex64)
    return stft.inverse(both, mix.shape[1])


def rows_of(arguments: argparse.Namespace) -> tuple[dict[str, Row], list[Trained]]:
    """Every line of the table in its order, and how each was trained."""
    engine, faithful, ours = (
        Engine(arguments.threads),
        load_preset("faithful"),
        load_preset(PRESET),
    )
    view = engine.front_end
    rows = {"mixture / K": Row(even_shares, 0, "")}
    trained = []
    files = _nmf_files(arguments.recordings)
    if all(files.values()) and (not arguments.only or "KL-NMF" in arguments.only):
        atoms = nmf.learn(files, view)
        rows["KL-NMF"] = Row(
            supervised_nmf(view, atoms), sum(W.size for W in atoms.values()), "same songs"
        )
        trained.append(Trained("KL-NMF", "64 atoms a stem, learned in a minute"))
    if arguments.gans:
        rows |= gan_rows(arguments.gans, arguments.gan_steps, arguments.threads)
        trained.append(
            Trained("GAN prior", steps_of([arguments.gans / f"{stem}.gan" for stem in FOUR], GAN))
        )
    if arguments.musicglow:
        rows["MusicGlow"] = engine.row(faithful, musicglow=arguments.musicglow)
        trained.append(Trained("MusicGlow", steps_of([arguments.musicglow])))
    if arguments.instglow:
        rows["InstGlow"] = Engine(arguments.threads, arguments.instglow).row(faithful)
        trained.append(
            Trained("InstGlow", steps_of([arguments.instglow / f"{stem}.prior" for stem in FOUR]))
        )
    for item in arguments.cards:
        name, _, path = item.partition("=")
        rows[name] = card_row(Path(path), arguments.threads)
        trained.append(Trained(name, load_card(Path(path)).card.source))
    for tier in ("draft", "standard", "best", "search"):
        rows[f"Stemwright, {tier}"] = engine.row(ours, tier)
    rows["oracle ratio mask"] = Row(oracle(view), 0, "")
    return rows, trained


def steps_of(bundles: Sequence[Path], kind: str = FLOW) -> str:
    """How long the networks of bundles learned, by their cards."""
    cards = [read_card(path, kind)[0] for path in bundles]
    each = (f"{card['training']['steps']} ({card['stem']})" for card in cards)
    batches = sorted({card["training"]["batch"] for card in cards})
    return f"{', '.join(each)} steps of {' or '.join(map(str, batches))} excerpts"


def _nmf_files(recordings: Path) -> dict[str, list[Path]]:
    """Training songs of every stem, by instrument; what is held out stays out."""
    return {
        stem: [
            file
            for part in (("guitar", "piano") if stem == "other" else (stem,))
            for file in sorted((recordings / part).glob("rendered_*"))
            if not file.stem.endswith(HELD_OUT_DIGIT)
        ]
        for stem in FOUR
    }


def judged(path: Path | None) -> Iterator[Score]:
    """Scores that were measured before or elsewhere."""
    for line in path.read_text(encoding="utf-8").splitlines() if path else ():
        row = json.loads(line)
        if "decibels" in row:
            yield Score.parse(line)
            continue
        decibels = {
            stem: (sdr, row["si_sdr"][stem], sdr - row["mix"][stem])
            for stem, sdr in row["sdr"].items()
        }
        yield Score(
            row["column"],
            row["song"],
            row["system"],
            row["parameters"],
            decibels,
            row["seconds"],
            row["audio_s"],
            "judged",
        )


def songs_by_column(arguments: argparse.Namespace) -> Iterator[tuple[str, PaperSong]]:
    """Every song that is judged; of the sets behind the first, every `--every`th."""
    for number, spec in enumerate(arguments.sets or SETS):
        column, songs, _ = songs_of(spec, FOUR)
        for song in songs[:: arguments.every if number else 1]:
            yield column, PaperSong(song)


def scores_of(arguments: argparse.Namespace, rows: Mapping[str, Row]) -> Iterator[Score]:
    """Measure what is not in the scores file yet."""
    arguments.scores.parent.mkdir(parents=True, exist_ok=True)
    known = arguments.scores.read_text().splitlines() if arguments.scores.exists() else []
    old = {score.key: score for score in map(Score.parse, known)}
    for column, song in songs_by_column(arguments):
        for name, row in rows.items():
            score = old.get((column, song.name, name, identity(row, arguments.seconds)))
            if score is None and arguments.known:
                continue
            if score is None:
                score = measure(song, column, name, row, arguments.seconds)
                with arguments.scores.open("a") as file:
                    file.write(score.line() + "\n")
                print(f"{column} {song.name} {name}: {score.cpu_s:.1f} s", file=sys.stderr)
            yield score


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    scores: list[Score] = []
    trained: list[Trained] = []
    if arguments.scores:
        rows, trained = rows_of(arguments)
        if arguments.only:
            rows = {name: row for name, row in rows.items() if name in arguments.only}
        scores += scores_of(arguments, rows)
    each = {(s.column, s.song, s.system): s for s in judged(arguments.judged)}
    each |= {(s.column, s.song, s.system): s for s in scores}  # one of each: what is measured wins
    notes = arguments.notes.read_text(encoding="utf-8") if arguments.notes else ""
    command = shlex.join(["python", "bench/systems.py", *sys.argv[1:]])
    minutes = dict(item.split("=", 1) for item in arguments.minutes)
    page = systems_page(list(each.values()), trained, minutes, notes, arguments.seconds, command)
    print(page, end="")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", dest="sets", metavar="COLUMN=LAYOUT:FOLDER")
    parser.add_argument("--card", action="append", dest="cards", default=[], metavar="NAME=CARD")
    parser.add_argument("--gans", type=Path, metavar="FOLDER", help="with STEM.gan of four stems")
    parser.add_argument("--gan-steps", type=int, default=1000)
    parser.add_argument("--instglow", type=Path, metavar="FOLDER")
    parser.add_argument("--musicglow", type=Path, metavar="PATH.prior")
    parser.add_argument("--judged", type=Path, metavar="FILE")
    parser.add_argument(
        "--minutes",
        action="append",
        default=[],
        metavar="ROW=MINUTES",
        help="of a row's training, for the tables; may repeat",
    )
    parser.add_argument("--notes", type=Path, help="what the heading says of the trainings")
    parser.add_argument("--recordings", type=Path, default=AUDIO / "stems", help="for NMF")
    parser.add_argument("--known", action="store_true", help="print what is measured, no more")
    parser.add_argument("--only", action="append", metavar="ROW", help="may repeat")
    parser.add_argument("--every", type=int, default=1, help="of the unfamiliar songs")
    parser.add_argument("--seconds", type=float, default=11.5, help="of every song; 0 is all")
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.scores and not arguments.judged:
        parser.error("name --scores, where measurements are kept, or --judged, to print from")
    if wrong := [item for item in arguments.minutes if "=" not in item]:
        parser.error(f"--minutes {wrong[0]}: expected ROW=MINUTES, for example 'Demucs v2=60'")
    return arguments


if __name__ == "__main__":
    main()
