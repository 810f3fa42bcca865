"""The command `report`: pages to listen to published sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import click

from presets import PreviewDetail, say

from .arguments import FILE
from .endings import one_of_many


@click.command()
@click.argument("sets", nargs=-1, required=True, type=FILE, metavar="SET...")
@click.option(
    "--quality",
    type=click.Choice(get_args(PreviewDetail)),
    default="light",
    show_default=True,
    help="Of previews: 16 kHz mono, 24 kHz stereo, the mix's own rate.",
)
@click.option("--mix", type=FILE, help="The mix itself.  [the sum of the dry stems]")
def report(sets: tuple[Path, ...], quality: PreviewDetail, mix: Path | None) -> None:
    """Make a page to listen to each SET.

    A SET is its folder or its manifest.
    """
    from ..listening.page import write_report

    if mix and len(sets) > 1:
        raise click.UsageError("--mix belongs to one set, not to several.")
    worst = 0
    for folder in sets:
        with one_of_many(folder) as codes:
            say(str(write_report(folder, quality, mix)))
        worst = max([worst, *codes])
    sys.exit(worst)
