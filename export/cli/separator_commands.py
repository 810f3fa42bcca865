"""The commands of `separator` that make one: by training, or of the installed priors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from engine.cli import FILE, PRIORS, Renamed, output
from presets import StemwrightError, load_preset, say

from ..training.options import TrainingOptions
from .arguments import PUBLISHED, SONGS, training_options


@click.command("train", cls=Renamed, old_names={"--out": "--output"})
@click.argument("network", type=click.Choice(["demucs", "waveunet", "interleaved"]))
@SONGS
@output("Folder of the run; resumes there.  [runs/NETWORK]")
@PUBLISHED
@training_options(4000, "it learns")
def separator_train(
    network: Literal["demucs", "waveunet", "interleaved"],
    songs: tuple[Path, ...],
    output: Path | None,
    published: bool,
    options: TrainingOptions,
) -> None:
    """Train a separator of the literature on songs with stems.

    It is written with its card, as a foreign separator has one. SONGS are folders that hold a
    folder for each song: SONGS/<song>/vocals.wav, bass.wav, drums.wav; everything else there is
    part of other.
    """
    from ..separators import train_interleaved, train_separator

    run = output or Path("runs") / network
    options = replace(options, out=run)
    if network == "interleaved":
        if published:
            raise click.UsageError("--published: the paper of interleaved networks names no size")
        lines = train_interleaved(songs, options)
    else:
        lines = train_separator(network, songs, options, published)
    for line in lines:
        say(line)


@click.command("estimate")
@click.argument("stems", nargs=-1)
@output("The card, e.g. models/estimate.yaml; the model goes beside it.", kind=FILE, required=True)
@PRIORS
@click.option("--force", is_flag=True, help="Replace a card that is there.")
def separator_estimate(
    stems: tuple[str, ...], output: Path, priors: tuple[Path, ...], force: bool
) -> None:
    """Write the first estimate of installed priors as a separator.

    STEMS are those of the default preset if none are named. Encoder and heads of the priors become
    one ONNX file with a card, for recipes, ensembles, and to compare other separators with.
    """
    from ..separators import export_estimate

    if output.exists() and not force:
        raise StemwrightError("card-exists", f"{output} is there already. Give --force or -o.")
    if output.suffix != ".yaml":
        raise StemwrightError("card-name", f"{output}: a card's name ends in .yaml.")
    card = export_estimate(stems or load_preset("default").sources.searched, output, priors)
    say(f"{card}: written. Now: stemwright separator check {card} --music SONG")
