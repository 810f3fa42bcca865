"""Voice models against their rivals: `train` the rows' networks, `score` them, print the `page`.

    python bench/voices.py train all --shared AUDIO       # one network of a row; resumes
    python bench/voices.py score --shared AUDIO           # judges every row that is trained
    python bench/voices.py page                           # the table of docs/voices.md

AUDIO holds `stems/vocals/choral_*` and `test/real/choral_ninodios_q3`. Everything is kept below
--runs (build/voices).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

import choirs
import voice_page
import voice_supervised
import voice_systems
import voice_unet
from engine import PitchTracks, Source
from export.data.mixtures import Mixture
from export.network_bundle import NetworkFacts
from export.training.voice_training import VoiceSettings
from export.voices import export_voices, fit_voices
from voice_scores import judge

STEPS = 1200
TAUGHT = ("all-taught", "short-taught")
UNETS = ("all-unet", "short-unet")
DESCRIPTION = "Choirs of two to four voices; learned from mixtures and pitches alone."
LICENCE = "CC BY 4.0"
LEARNED = ("all", "short", *TAUGHT)
PITCHES = ("exact", "tracker", "5 Hz", "23 Hz", "octave")
MISTAKEN = ("all", "comb alone", "NMF, harmonic templates", "NMF, source-filter", *UNETS)
FITTED = "all, fitted"  # it learns anew for every choir
ALL_PITCHES = ("quartet", "barbershop")  # judged with wrong pitches, too, and fitted to
FIT = VoiceSettings.fit(300)
VALIDATION_PAIRS = (("soprano", "tenor"), ("alto", "bass"))
CREDIT = "Choral Singing Dataset (H. Cuesta, E. Gomez, A. Martorell, F. Loaiciga; CC BY 4.0)"


def material(shared: Path, short: bool) -> list[choirs.Choir]:
    """What the rows learn from: everything, or one quartet of 84 seconds."""
    span = (0.0, choirs.LEARNED_S)
    if short:
        return [choirs.recorded(shared, (0, 0, 0, 0), span)]
    rendered = [choirs.chorale(name, 0) for name in choirs.CHORALES]
    pairs = [rendered[i].some(which) for i, which in enumerate(((0, 1), (0, 3), (1, 2), (2, 3)))]
    return [*choirs.quartets(shared, span), *choirs.duets(shared, span), *rendered, *pairs]


def sources(heard: Sequence[choirs.Choir], short: bool) -> tuple[Source, ...]:
    """For the card: what was heard, not counting a singer twice."""
    real = Source(
        name="choral singers",
        origin="https://zenodo.org/records/1286485",
        licence="CC BY 4.0",
        credit=CREDIT,
        files=4 if short else 8,
        minutes=round((4 if short else 8) * choirs.LEARNED_S / 60, 1),
    )
    if short:
        return (real,)
    rendered = Source(
        name="Bach chorales, rendered",
        origin="music21 corpus, sung by stemwright's own throats",
        licence="public domain",
        credit="J. S. Bach; music21 (M. S. Cuthbert)",
        files=len(choirs.CHORALES),
        minutes=round(len(choirs.CHORALES) * 24 / 60, 1),
    )
    return (real, rendered)


@click.group()
def main() -> None:
    """Voice models and their rivals."""


@main.command()
@click.argument("row", type=click.Choice(["all", "short", *TAUGHT, *UNETS]))
@click.option("--shared", type=click.Path(path_type=Path), required=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("build/voices"))
@click.option("--steps", default=STEPS)
@click.option("--seed", default=0, help="Another training of a row, kept below other --runs.")
def train(row: str, shared: Path, runs: Path, steps: int, seed: int) -> None:
    """Train one row's network."""
    short = row.startswith("short")
    heard = material(shared, short)
    settings = replace(VoiceSettings(), steps=steps, seed=seed)
    torch.set_num_threads(1)
    bundle = runs / f"{row}.voices"
    if row in UNETS:
        network = voice_unet.train(heard, voice_unet.REDUCED, steps, seed=seed)
        voice_unet.save(network, runs / f"{row}.npz")
    elif row in TAUGHT:
        facts: NetworkFacts = {
            "sources": sources(heard, short),
            "licence": LICENCE,
            "validation": {},
            "description": "Learned from isolated voices.",
        }
        for line in voice_supervised.train(heard, runs / row, bundle, settings, facts):
            print(line, flush=True)
    else:
        mixtures: list[Mixture] = [one.mixture for one in heard]
        training = fit_voices(
            mixtures,
            runs / row,
            bundle,
            settings=settings,
            every=50,
            threads=1,
            sources=sources(heard, short),
            licence=LICENCE,
            description=DESCRIPTION,
        )
        for p in training:
            print(f"step {p.step}/{p.steps}  loss {p.loss:.4f}  {p.left}", flush=True)


@main.command()
@click.option("--shared", type=click.Path(path_type=Path), required=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("build/voices"))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def ship(shared: Path, runs: Path, output: Path) -> None:
    """Write the network of the row `all` as the program's own, judged on the validation split."""
    span = (choirs.LEARNED_S, 200.0)
    four = [choirs.recorded(shared, (number,) * 4, span) for number in (0, 1)]
    two = [choirs.recorded(shared, (0, 1), span, pair) for pair in VALIDATION_PAIRS]
    system = voice_systems.of_bundle(runs / "all.voices")
    found: dict[str, float] = {
        f"SI-SDR of {words}, dB": round(
            float(
                np.mean(
                    [
                        np.nanmean(judge(one, system(one.mixture.mix, one.tracks)).si_sdr)
                        for one in held
                    ]
                )
            ),
            2,
        )
        for words, held in (("four voices", four), ("two voices", two))
    }
    print(found)
    facts: NetworkFacts = {
        "sources": sources(material(shared, False), False),
        "licence": LICENCE,
        "description": DESCRIPTION,
        "validation": found | {"on": "the last 20 s of the training's singers, exact pitches"},
    }
    export_voices(runs / "all", output, facts)


@main.command()
@click.option("--shared", type=click.Path(path_type=Path), required=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("build/voices"))
@click.option("--only", multiple=True, help="Rows to judge; all of them else.")
def score(shared: Path, runs: Path, only: tuple[str, ...]) -> None:
    """Judge the rows whose networks are trained; what was judged is not judged again."""
    torch.set_num_threads(1)
    store = runs / "scores.jsonl"
    done = {(one["row"], one["pitch"], one["choir"]) for one in read_scores(store)}
    tests = [*choirs_of_test(shared)]
    for name, system in systems(runs, tests):
        if only and name not in only:
            continue
        for pitch in PITCHES if name in MISTAKEN else ("exact",):
            for test in tests:
                known = (name, pitch, test.name) in done
                alone = pitch != "exact" or name == FITTED
                if known or (alone and test.name not in ALL_PITCHES):
                    continue
                tracks = pitches(test, pitch)
                started = time.process_time()
                found = system(test.mixture.mix, tracks)
                took = time.process_time() - started
                judged = judge(test, found)
                line = {
                    "row": name,
                    "pitch": pitch,
                    "choir": test.name,
                    "voices": len(test.voices),
                    "si_sdr": judged.si_sdr.tolist(),
                    "spectral": judged.spectral.tolist(),
                    "cpu_s": took,
                    "seconds": test.voices.shape[1] / choirs.RATE,
                }
                with store.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"{name}, {pitch}, {test.name}: {np.nanmean(judged.si_sdr):.2f} dB")


@main.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("build/voices"))
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs/voices.md"))
def page(runs: Path, docs: Path) -> None:
    """Print the scores between the marks of the page."""
    text = docs.read_text("utf-8")
    before, _, rest = text.partition(voice_page.BEGIN)
    _, _, after = rest.partition(voice_page.END)
    written = voice_page.tables(read_scores(runs / "scores.jsonl"))
    docs.write_text(f"{before}{voice_page.BEGIN}\n\n{written}\n{voice_page.END}{after}", "utf-8")


def choirs_of_test(shared: Path) -> Iterator[choirs.Choir]:
    """The real quartet and its pairs, unfamiliar chorales and two pairs of each, a barbershop."""
    quartet = choirs.test_quartet(shared)
    yield quartet
    yield from quartet.subsets(2)
    for name in choirs.UNFAMILIAR:
        sung = choirs.chorale(name, seed=99, seconds=16.0)
        yield sung
        yield from (sung.some(which) for which in ((0, 3), (1, 2)))
    yield choirs.barbershop()


def systems(
    runs: Path, tests: Sequence[choirs.Choir]
) -> Iterator[tuple[str, voice_systems.System]]:
    """Everything that can be judged now, the learned ones where they are trained."""
    yield from voice_systems.NOTHING_LEARNED.items()
    truth = {one.mixture.mix.tobytes(): one for one in tests}
    yield "ideal masks", lambda mix, _: voice_systems.ideal(truth[mix.tobytes()])
    for row in LEARNED:
        if (bundle := runs / f"{row}.voices").exists():
            yield row, voice_systems.of_bundle(bundle)
    if (runs / "all.voices").exists():
        yield FITTED, partial(fitted, runs / "all.voices")
    for row in UNETS:
        if (path := runs / f"{row}.npz").exists():
            network = voice_unet.load(path, voice_unet.REDUCED)
            yield row, partial(voice_systems.unet, network)


def fitted(bundle: Path, mix: choirs.Float, tracks: PitchTracks) -> choirs.Float:
    """Go on learning from the mix itself, as `--fit` does."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.voices"
        mixture = Mixture("recording", mix, tracks)
        for _ in fit_voices([mixture], Path(folder), own, start_from=bundle, settings=FIT):
            pass
        return voice_systems.network(own, mix, tracks)


def pitches(test: choirs.Choir, kind: str) -> PitchTracks:
    """What a system is told of a choir's pitches."""
    exact = test.tracks
    if kind == "tracker":
        return voice_systems.tracked(test.mixture.mix, exact.names)
    if kind == "octave":
        return voice_systems.wrong(exact, ratio=2.0)
    return exact if kind == "exact" else voice_systems.wrong(exact, float(kind.split()[0]))


def read_scores(store: Path) -> list[voice_page.Score]:
    """What has been judged so far."""
    if not store.exists():
        return []
    return [json.loads(line) for line in store.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    sys.exit(main())
