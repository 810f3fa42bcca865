"""The network of pitches that the tracker asks: `train` it, `ship` it, judged on held-out seconds.

    python bench/voice_tracker.py train --shared AUDIO
    python bench/voice_tracker.py ship --shared AUDIO -o engine/priors/choir.pitches

It hears sums of the singers of the Choral Singing Dataset, their first 84 s, whose pitches were
measured on each by himself, and of rendered chorales, whose pitches are computed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

import choirs
from engine import Source
from engine.voices.pitch_network import PitchNetwork
from engine.voices.salience import PitchFrames
from engine.voices.sources import tracked
from export.data.sung_sums import Singers
from export.network_bundle import NetworkFacts
from export.salience import export_salience, train_salience
from export.training.salience_training import SalienceSettings

NEAR_HZ = 23.0
THROATS = (0, 1)  # seeds: every chorale is sung by two quartets
QUARTETS = ((0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 1, 0))
VALIDATION = ("bwv117.4", "bwv120.6")  # rendered chorales that choose settings, and teach nothing


def material(shared: Path) -> list[Singers]:
    """All that is learned from: 5.6 minutes of recorded quartets, 8 of rendered ones."""
    span = (0.0, choirs.LEARNED_S)
    sung = [choirs.recorded(shared, which, span) for which in QUARTETS]
    sung += [choirs.chorale(name, seed) for name in choirs.CHORALES for seed in THROATS]
    return [Singers(one.voices, one.tracks) for one in sung]


def sources() -> tuple[Source, ...]:
    """For the card."""
    real = Source(
        name="choral singers",
        origin="https://zenodo.org/records/1286485",
        licence="CC BY 4.0",
        credit="Choral Singing Dataset (H. Cuesta, E. Gomez, A. Martorell, F. Loaiciga)",
        files=8,
        minutes=round(8 * choirs.LEARNED_S / 60, 1),
    )
    rendered = Source(
        name="Bach chorales, rendered",
        origin="music21 corpus, sung by stemwright's own throats",
        licence="public domain",
        credit="J. S. Bach; music21 (M. S. Cuthbert)",
        files=len(choirs.CHORALES) * len(THROATS),
        minutes=round(len(choirs.CHORALES) * len(THROATS) * 24 / 60, 1),
    )
    return (real, rendered)


def held_out(shared: Path) -> list[choirs.Choir]:
    """What settings are chosen on: the training's singers later in their song, other chorales."""
    span = (choirs.LEARNED_S, 200.0)
    real = [choirs.recorded(shared, (number,) * 4, span) for number in (0, 1)]
    return real + [choirs.chorale(name, seed=50, seconds=14.0) for name in VALIDATION]


def found_share(network: PitchNetwork, choir: choirs.Choir) -> float:
    """The share of sung frames in which a voice's pitch is no farther off than NEAR_HZ."""
    names, true = choir.tracks.names, choir.tracks.hertz
    found = tracked(PitchFrames(choir.mixture.mix), names, network).hertz
    frames = min(found.shape[1], true.shape[1])
    found, true = found[:, :frames], true[:, :frames]
    return float((np.abs(found - true)[true > 0] < NEAR_HZ).mean())


@click.group()
def main() -> None:
    """The network of pitches."""


@main.command()
@click.option("--shared", type=click.Path(path_type=Path), required=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("build/voices/tracker"))
@click.option("--steps", default=SalienceSettings.steps)
def train(shared: Path, runs: Path, steps: int) -> None:
    """Train; an interrupted training goes on."""
    torch.set_num_threads(1)
    settings = replace(SalienceSettings(), steps=steps)
    for p in train_salience(material(shared), runs, settings):
        print(f"step {p.step}/{p.steps}  loss {p.train_loss:.4f}  {p.left}", flush=True)


@main.command()
@click.option("--shared", type=click.Path(path_type=Path), required=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("build/voices/tracker"))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
def ship(shared: Path, runs: Path, output: Path) -> None:
    """Write the program's own, with what it finds in choirs that did not teach it."""
    facts: NetworkFacts = {
        "sources": sources(),
        "licence": "CC BY 4.0",
        "description": "Pitches in choirs; learned from sums of singers whose pitches are known.",
        "validation": {},
    }
    export_salience(runs, output, facts)
    network = PitchNetwork.load(output)
    found = {one.name: round(found_share(network, one), 3) for one in held_out(shared)}
    print(found)
    facts["validation"] = {f"found within 23 Hz, {name}": share for name, share in found.items()}
    export_salience(runs, output, facts)


if __name__ == "__main__":
    sys.exit(main())
