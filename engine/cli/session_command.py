"""The command `session`: published sets as files that a workstation opens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import click

from presets import SessionFormat, say

from .arguments import FILE
from .endings import one_of_many


@click.command()
@click.argument("sets", nargs=-1, required=True, type=FILE, metavar="SET...")
@click.option(
    "--format",
    "kind",
    type=click.Choice(get_args(SessionFormat)),
    default="dawproject",
    show_default=True,
    help="DAWproject: Bitwig, Studio One, Cubase. REAPER: a .RPP beside its audio.",
)
@click.option("-o", "--output", type=FILE, help="File to write, for one set.  [in the set]")
@click.option("--mix", type=FILE, help="The mix as reference.  [the sum of the dry stems]")
@click.option("--dry", is_flag=True, help="Dry stems, even where there are wet ones.")
@click.option("--live", is_flag=True, help="Plug-ins live on dry stems (DAWproject only).")
def session(
    sets: tuple[Path, ...],
    kind: SessionFormat,
    output: Path | None,
    mix: Path | None,
    dry: bool,
    live: bool,
) -> None:
    """Make a DAW session of each SET.

    A SET is its folder or its manifest.
    """
    from ..daw.writing import write_session

    if (output or mix) and len(sets) > 1:
        raise click.UsageError("--output and --mix belong to one set, not to several.")
    if live and kind != "dawproject":
        raise click.UsageError("--live needs --format dawproject: REAPER's own is undocumented.")
    worst = 0
    for folder in sets:
        with one_of_many(folder) as codes:
            say(str(write_session(folder, kind, output, mix=mix, dry=dry, live=live)))
        worst = max([worst, *codes])
    sys.exit(worst)
