"""The command line of Stemwright: exit codes, and the commands of all rooms under one name.

The rooms bring their own commands, which open modules when they are called and not before. Only
those of `export` stand here, because that room's door loads torch.

Exit codes: 0 done, 1 something the user can mend (one sentence says what), 2 wrong usage,
130 interrupted, 3 a bug of ours (a log is written).
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, Literal

import click

from engine import ENGINE_VERSION, FILE, FOLDER, SEED, THREADS
from engine.cli.mix_commands import doctor, null, separate
from engine.cli.preset_commands import plugin, preset, process
from engine.cli.prior_commands import prior
from engine.cli.session_command import session
from hotfolder.commands import (
    batch,
    explain,
    forget,
    pause,
    resume,
    retry,
    status,
    verify,
    watch,
)
from presets import StemwrightError

KITS = click.option(
    "--kits", type=FOLDER, help="Of Hydrogen drum kits, for computed songs of drums."
)


class Program(click.Group):
    """Turns exceptions into sentences and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except StemwrightError as error:
            click.echo(f"stemwright: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("stemwright: interrupted", err=True)
            ctx.exit(130)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.filename is not None:
                logging.getLogger(__name__).info("in full:", exc_info=True)
                click.echo(f"stemwright: {_of_the_disk(error)}", err=True)
                ctx.exit(1)
            log = _bug_report()
            click.echo(
                f"stemwright: a bug of ours: {type(error).__name__}: {error}. Nothing was "
                f"published; please report it with {log}.",
                err=True,
            )
            ctx.exit(3)


def _of_the_disk(error: OSError) -> str:
    """What the system says of a file or folder: one that is not there, or not ours to change."""
    return (
        f"{os.fsdecode(error.filename)}: {error.strerror}. Does its folder exist, and may "
        "you read and write there?"
    )


def _bug_report() -> Path:
    """Leave the traceback where it can be pasted from."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="stemwright-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"stemwright {ENGINE_VERSION}\n{sys.argv!r}\n{traceback.format_exc()}")
    return Path(file.name)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ENGINE_VERSION, prog_name="stemwright")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens.")
def main(verbose: bool) -> None:
    """Separate finished mixes into stems with priors learned from isolated recordings."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING)


for command in (
    *(separate, null, doctor, process, session, preset, plugin, prior),
    *(watch, status, explain, retry, forget, pause, resume, batch, verify),
):
    main.add_command(command)


@prior.command("train")
@click.option("--stem", help="The instrument's name.")
@click.option("--music", is_flag=True, help="One flow for several stems, given as STEM=FOLDER.")
@click.argument("recordings", nargs=-1, required=True, type=FILE)
@click.option("--out", type=FOLDER, help="Folder of the run; resumes there.  [runs/STEM]")
@click.option("--against", multiple=True, type=FILE, help="STEM=FOLDER of other instruments.")
@click.option("--head/--no-head", default=True, help="Train a head for first estimates, too.")
@click.option("--head-steps", type=click.IntRange(1), default=3000, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=4000, show_default=True)
@click.option(
    "--size", type=click.Choice(["cpu", "paper", "paper-small"]), default="cpu", show_default=True
)
@SEED
@THREADS
def prior_train(
    stem: str | None,
    music: bool,
    recordings: tuple[Path, ...],
    out: Path | None,
    against: tuple[Path, ...],
    head: bool,
    head_steps: int,
    steps: int,
    size: Literal["cpu", "paper", "paper-small"],
    seed: int,
    threads: int,
) -> None:
    """Train a prior from RECORDINGS (files or folders) of one instrument alone.

    First its flow, then its head for first estimates on the encoder that the installed priors
    share; between them the verdict: which installed priors it tells itself from. Where no
    recordings of other instruments are given, samples of the installed priors stand in.

    With --music one flow learns several stems, each by its label (MusicGlow): RECORDINGS are
    STEM=FOLDER then, every stem is trained against the others, and there is no head.
    """
    from export import train_music, train_prior

    if music == (stem is not None) or (music and against):
        raise click.UsageError("give --stem NAME, or --music with STEM=FOLDER of every stem")
    name = stem or "musicglow"
    run = out or Path("runs") / name
    if stem is None:
        lines = train_music(recordings, run, steps, size, seed, threads)
    else:
        last = head_steps if head else 0
        lines = train_prior(stem, recordings, run, against, steps, size, seed, threads, last)
    for line in lines:
        click.echo(line)
    click.echo(f"now: stemwright prior export {run} --out PRIORS/{name}.prior")


@prior.command("export")
@click.argument("run", type=FOLDER)
@click.option("--out", required=True, type=FILE, help="The bundle, e.g. bass.prior.")
@click.option("--heads", type=FOLDER, help="Run of `prior heads` with a head for this stem.")
def prior_export(run: Path, out: Path, heads: Path | None) -> None:
    """Write a run's last checkpoint as a bundle, after comparing ONNX Runtime with torch."""
    from export import export_prior

    click.echo(export_prior(run, out, heads))


@prior.command("heads")
@click.argument("parts", nargs=-1, required=True, type=FILE)
@click.option("--head", "heads", multiple=True, help="HEAD=PART+PART, e.g. other=guitar+piano.")
@click.option("--out", required=True, type=FOLDER, help="Folder of the run; resumes there.")
@click.option("--steps", type=click.IntRange(1), default=5000, show_default=True)
@SEED
@THREADS
def prior_heads(
    parts: tuple[Path, ...],
    heads: tuple[str, ...],
    out: Path,
    steps: int,
    seed: int,
    threads: int,
) -> None:
    """Train first estimates from PART=FOLDER of isolated recordings: encoder and heads."""
    from export import train_heads

    for line in train_heads(parts, heads, out, steps, seed, threads):
        click.echo(line)


@prior.command("make")
@click.argument("recipe", type=FILE)
@click.option("--recordings", multiple=True, required=True, type=FOLDER, help="May repeat.")
@click.option("--soundfont", "soundfonts", multiple=True, type=FILE, help="To render through.")
@KITS
@click.option("--out", required=True, type=FOLDER, help="Folder of all runs; resumes there.")
@click.option("--priors", required=True, type=FOLDER, help="Where the bundles go.")
@THREADS
def prior_make(
    recipe: Path,
    recordings: tuple[Path, ...],
    soundfonts: tuple[Path, ...],
    kits: Path | None,
    out: Path,
    priors: Path,
    threads: int,
) -> None:
    """Make the whole set of priors of RECIPE: render, train, export, judge."""
    from export import make_priors

    for line in make_priors(recipe, recordings, soundfonts, kits, out, priors, threads):
        click.echo(line)


@prior.command("render")
@click.argument("out", type=FOLDER)
@click.option("--stem", required=True, help="bass, drums, guitar, piano or other.")
@click.option("--minutes", type=click.FloatRange(min=0.1), required=True)
@SEED
@click.option("--soundfont", "soundfonts", type=FILE, multiple=True, help="May repeat.")
@click.option("--procedural", is_flag=True, help="Play on computed instruments instead.")
@KITS
def prior_render(
    out: Path,
    stem: str,
    minutes: float,
    seed: int,
    soundfonts: tuple[Path, ...],
    procedural: bool,
    kits: Path | None,
) -> None:
    """Compose parts at random and play them, through SoundFonts or on computed instruments:
    training recordings in OUT."""
    from export.synthesis.rendering import procedural_corpus, render_corpus

    if procedural:
        written = procedural_corpus(out, stem, minutes, seed, kits)
    else:
        written = render_corpus(out, stem, minutes, seed, soundfonts)
    click.echo(f"{len(written)} recordings in {out}")


if __name__ == "__main__":
    main(prog_name="stemwright")
