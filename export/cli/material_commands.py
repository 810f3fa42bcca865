"""The commands of `prior` that make what trainings hear: rendered songs, packs."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import FILE, FOLDER, SEED, OldPlace, Renamed, output, the_output
from presets import say

from .arguments import INSTRUMENTS, KITS, SOUNDFONTS


@click.command("render")
@click.argument("folder", required=False, type=FOLDER, cls=OldPlace)
@output("Folder of the recordings.")
@click.option("--stem", help="bass, drums, guitar, piano or other; with --minutes.")
@click.option("--minutes", type=click.FloatRange(min=0.1), help="How much to render.")
@click.option(
    "--songs", type=click.IntRange(min=1), help="Whole songs instead, every stem from one score."
)
@SEED
@SOUNDFONTS
@click.option("--procedural", is_flag=True, help="Play on computed instruments instead.")
@KITS
@INSTRUMENTS
def prior_render(
    folder: Path | None,
    output: Path | None,
    stem: str | None,
    minutes: float | None,
    songs: int | None,
    seed: int,
    soundfonts: tuple[Path, ...],
    procedural: bool,
    kits: Path | None,
    instruments: Path | None,
) -> None:
    """Compose training recordings at random, and play them.

    Through SoundFonts or on computed instruments; parts of one stem (--stem, --minutes) or
    whole songs in step (--songs).
    """
    out = the_output(output, folder)
    from ..synthesis.rendering import procedural_corpus, render_corpus
    from ..synthesis.song_rendering import open_studio, render_songs

    if songs is not None and stem is None and minutes is None and not procedural:
        studio = open_studio(soundfonts, kits, instruments)
        for done, files in enumerate(render_songs(out, songs, seed, studio), 1):
            stems = ", ".join(path.parent.name for path in files)
            say(f"{done} of {songs}: {files[0].stem} ({stems})")
        return
    if songs is not None or stem is None or minutes is None:
        raise click.UsageError(
            "Name what to render: --stem and --minutes for parts of one instrument, or --songs "
            "alone for whole songs (which choose their instruments themselves)."
        )
    if procedural:
        written = procedural_corpus(out, stem, minutes, seed, kits)
    else:
        written = render_corpus(out, stem, minutes, seed, soundfonts)
    say(f"{len(written)} recordings in {out}")


@click.command("pack", cls=Renamed, old_names={"--out": "--output"})
@click.argument("recordings", nargs=-1, required=True, type=FILE)
@output("The pack, e.g. all.pack.", kind=FILE, required=True)
@click.option("--catalogue", type=FILE, help="Of sources, as recipes have; before SOURCES.yaml.")
@click.option(
    "--step-db",
    type=click.FloatRange(0.1, 3.0),
    default=0.75,
    show_default=True,
    help="How fine magnitudes are kept.",
)
def prior_pack(
    recordings: tuple[Path, ...], output: Path, catalogue: Path | None, step_db: float
) -> None:
    """Pack RECORDINGS into one file for many trainings.

    Every training takes it in a folder's place. RECORDINGS are PART=FOLDER, or folders with a
    folder for each part.
    """
    from ..priors import pack_recordings

    for line in pack_recordings(recordings, output, catalogue, step_db):
        say(line)
