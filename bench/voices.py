"""Voice models against their rivals: `train` the rows' networks, `score` them, print the `page`.

    python bench/voices.py train all --shared AUDIO       # one network of a row; resumes
    python bench/voices.py score --shared AUDIO           # judges every row that is trained
    python bench/voices.py page                           # the table of docs/voices.md

AUDIO holds `stems/vocals/choral_*` and `test/real/choral_ninodios_q3`. Everything is kept below
--runs (build/voices).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

import choirs
import voice_supervised
import voice_systems
import voice_unet
from engine import Source
from export.data.mixtures import Mixture
from export.training.voice_training import VoiceSettings
from export.voices import export_voices, fit_voices
from voice_scores import judge

STEPS = 1200
TAUGHT = ("all-taught", "short-taught")
UNETS = ("all-unet", "short-unet")
DESCRIPTION = "Choirs of two to four voices; learned from mixtures and pitches alone."
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
def train(row: str, shared: Path, runs: Path, steps: int) -> None:
    """Train one row's network."""
    short = row.startswith("short")
    heard = material(shared, short)
    about = {
        "sources": sources(heard, short),
        "licence": "CC BY 4.0",
        "description": DESCRIPTION,
    }
    settings = replace(VoiceSettings(), steps=steps)
    torch.set_num_threads(1)
    bundle = runs / f"{row}.voices"
    if row in UNETS:
        network = voice_unet.train(heard, voice_unet.REDUCED, steps)
        voice_unet.save(network, runs / f"{row}.npz")
    elif row in TAUGHT:
        told = about | {"validation": {}, "description": "Learned from isolated voices."}
        for line in voice_supervised.train(heard, runs / row, bundle, settings, told):
            print(line, flush=True)
    else:
        mixtures: list[Mixture] = [one.mixture for one in heard]
        for p in fit_voices(
            mixtures, runs / row, bundle, settings=settings, every=50, threads=1, **about
        ):
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
    found = {
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
    about = {
        "sources": sources(material(shared, False), False),
        "licence": "CC BY 4.0",
        "description": DESCRIPTION,
        "validation": found | {"on": "the last 20 s of the training's singers, exact pitches"},
    }
    export_voices(runs / "all", output, about)


if __name__ == "__main__":
    sys.exit(main())
