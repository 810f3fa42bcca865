"""What the arguments of several commands have in common."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)
NATURAL = click.IntRange(min=0)
TIER = click.Choice(["draft", "standard", "best"])

PRIORS = click.option("--priors", multiple=True, type=FOLDER, help="Another folder with priors.")
THREADS = click.option("--threads", type=NATURAL, default=0, help="0 is all cores.")
SEED = click.option("--seed", type=NATURAL, default=0, show_default=True)
STRICT_DEVICE = click.option(
    "--strict-device", is_flag=True, help="Fail rather than fall back to the CPU."
)
DEADLINE = click.option(
    "--deadline",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Per mix: the best by then, marked degraded.",
)
