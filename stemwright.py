"""The command line of Stemwright: exit codes, and the commands of all rooms under one name.

The rooms bring their own commands, which open modules when they are called and not before. Only
those of `export` stand here, because that room's door loads torch.

Exit codes: 0 done, 1 something the user can mend (one sentence says what), 2 wrong usage,
130 interrupted, 3 a bug of ours (a log is written).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import click

from engine import ENGINE_VERSION
from engine.cli import FILE, FOLDER, SEED, THREADS
from engine.cli.endings import MENDABLE, tell_ending
from engine.cli.mix_commands import doctor, null, separate
from engine.cli.preset_commands import plugin, preset, process
from engine.cli.prior_commands import prior
from engine.cli.report_command import report
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
from presets import PrintableLines, is_loss, printable, say, speaking

DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train; auto takes a graphics card where torch finds one.",
)
MINUTES = click.option(
    "--minutes", type=click.FloatRange(min=0), default=0.0, help="End after so long, not by steps."
)
BATCH = click.option("--batch", type=click.IntRange(0), default=0, help="Excerpts a step.")
RATE = click.option(
    "--learning-rate", type=click.FloatRange(min=0), default=0.0, help="The largest one."
)
KITS = click.option(
    "--kits", type=FOLDER, help="Of Hydrogen drum kits, for computed songs of drums."
)
INSTRUMENTS = click.option(
    "--instruments", type=FOLDER, help="SFZ files in a folder for each stem, for whole songs."
)


# Their work is on the disk, and their exit code says how it went: a report that nobody could read
# takes nothing from it. What all others do is to print.
WORKING = ("separate", "process", "report", "session", "watch", "batch", "prior", "separator")


@contextlib.contextmanager
def _printable_usage() -> Iterator[None]:
    """What click says of wrong words repeats them."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # that is the help text, of many lines
        raise
    except click.UsageError as error:
        raise click.UsageError(printable(error.format_message()), error.ctx) from error


class Program(click.Group):
    """Turns exceptions into sentences and exit codes."""

    verb = ""

    def main(self, *args: Any, **given: Any) -> Any:  # noqa: ANN401 - click's own signature
        """Run the program with outputs that cannot fail it."""
        with speaking() as results:
            try:
                return super().main(*args, **given)
            except SystemExit as ended:
                if not ended.code and is_loss(results) and self.verb not in WORKING:
                    raise SystemExit(MENDABLE) from None
                raise

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run a verb."""
        try:
            with _printable_usage():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            ctx.exit(tell_ending(error))

    def make_context(self, *args: Any, **given: Any) -> click.Context:  # noqa: ANN401 - click's
        """Parse the words before the verb."""
        with _printable_usage():
            return super().make_context(*args, **given)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb, remembered."""
        found = super().resolve_command(ctx, args)
        self.verb = found[0] or ""
        return found


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ENGINE_VERSION, prog_name="stemwright")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens.")
def main(verbose: bool) -> None:
    """Separate finished mixes into stems with priors learned from isolated recordings."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableLines(logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


@click.group()
def separator() -> None:
    """Separators of mixes whose stems are known, beside the priors."""


for command in (
    *(separator, separate, null, doctor, process, report, session, preset, plugin, prior),
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
@click.option("--tune", type=FILE, help="Begin from this bundle's flow.")
@MINUTES
@BATCH
@RATE
@DEVICE
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
    tune: Path | None,
    minutes: float,
    batch: int,
    learning_rate: float,
    device: Literal["auto", "cpu", "cuda"],
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
    from export import TrainingOptions, train_music, train_prior

    if music == (stem is not None) or (music and against):
        raise click.UsageError("give --stem NAME, or --music with STEM=FOLDER of every stem")
    name = stem or "musicglow"
    run = out or Path("runs") / name
    options = TrainingOptions(
        run, steps, size, seed, threads, device, minutes, batch, learning_rate, tune
    )
    if stem is None:
        lines = train_music(recordings, options)
    else:
        lines = train_prior(stem, recordings, options, against, head_steps if head else 0)
    for line in lines:
        say(line)
    say(f"now: stemwright prior export {run} --out PRIORS/{name}.prior")


@prior.command("export")
@click.argument("run", type=FOLDER)
@click.option("--out", required=True, type=FILE, help="The bundle, e.g. bass.prior.")
@click.option("--heads", type=FOLDER, help="Run of `prior heads` with a head for this stem.")
def prior_export(run: Path, out: Path, heads: Path | None) -> None:
    """Write a run's last checkpoint as a bundle, after comparing ONNX Runtime with torch."""
    from export import export_prior

    say(export_prior(run, out, heads))


@prior.command("heads")
@click.argument("parts", nargs=-1, required=True, type=FILE)
@click.option("--head", "heads", multiple=True, help="HEAD=PART+PART, e.g. other=guitar+piano.")
@click.option("--out", required=True, type=FOLDER, help="Folder of the run; resumes there.")
@click.option("--steps", type=click.IntRange(1), default=5000, show_default=True)
@click.option(
    "--network",
    type=click.Choice(["small", "medium", "large"]),
    default="small",
    show_default=True,
)
@click.option(
    "--in-step",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share of the sums that are parts of one song at one place.",
)
@click.option(
    "--bus",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the sums that are compressed as a whole.",
)
@click.option("--validation", type=FILE, help="Pack of whole songs to validate with.")
@click.option("--tune", type=FOLDER, help="Begin from the encoder and heads of these bundles.")
@MINUTES
@BATCH
@RATE
@DEVICE
@SEED
@THREADS
def prior_heads(
    parts: tuple[Path, ...],
    heads: tuple[str, ...],
    out: Path,
    steps: int,
    network: str,
    in_step: float,
    bus: float,
    validation: Path | None,
    tune: Path | None,
    minutes: float,
    batch: int,
    learning_rate: float,
    device: Literal["auto", "cpu", "cuda"],
    seed: int,
    threads: int,
) -> None:
    """Train first estimates from PART=FOLDER of isolated recordings: encoder and heads."""
    from export import EstimateOptions, TrainingOptions, train_heads

    options = TrainingOptions(
        out, steps, "cpu", seed, threads, device, minutes, batch, learning_rate, tune
    )
    estimate = EstimateOptions(network, in_step, bus, validation)
    for line in train_heads(parts, heads, options, estimate):
        say(line)


@prior.command("gan")
@click.argument("songs", nargs=-1, required=True, type=FOLDER)
@click.option("--stem", required=True, help="Whose sound is learned.")
@click.option("--out", type=FOLDER, help="Folder of the run; resumes there.  [runs/gan-STEM]")
@click.option("--steps", type=click.IntRange(1), default=30_000, show_default=True)
@click.option("--published", is_flag=True, help="The paper's size, for a graphics card.")
@MINUTES
@BATCH
@RATE
@DEVICE
@SEED
@THREADS
def prior_gan(
    songs: tuple[Path, ...],
    stem: str,
    out: Path | None,
    steps: int,
    published: bool,
    minutes: float,
    batch: int,
    learning_rate: float,
    device: Literal["auto", "cpu", "cuda"],
    seed: int,
    threads: int,
) -> None:
    """Train a GAN prior of one stem, for comparison (docs/systems.md).

    SONGS are folders that hold a folder of stems for each song, as `separator train` takes them.
    """
    from export import TrainingOptions, train_gan

    run = out or Path("runs") / f"gan-{stem}"
    options = TrainingOptions(
        run, steps, "cpu", seed, threads, device, minutes, batch, learning_rate
    )
    for line in train_gan(stem, songs, options, published):
        say(line)


@separator.command("train")
@click.argument("network", type=click.Choice(["demucs", "waveunet"]))
@click.argument("songs", nargs=-1, required=True, type=FOLDER)
@click.option("--out", type=FOLDER, help="Folder of the run; resumes there.  [runs/NETWORK]")
@click.option("--steps", type=click.IntRange(1), default=4000, show_default=True)
@click.option("--published", is_flag=True, help="The paper's size, for a graphics card.")
@MINUTES
@BATCH
@RATE
@DEVICE
@SEED
@THREADS
def separator_train(
    network: Literal["demucs", "waveunet"],
    songs: tuple[Path, ...],
    out: Path | None,
    steps: int,
    published: bool,
    minutes: float,
    batch: int,
    learning_rate: float,
    device: Literal["auto", "cpu", "cuda"],
    seed: int,
    threads: int,
) -> None:
    """Train a separator of the literature on songs with stems, and write it with a card.

    SONGS are folders that hold a folder for each song: SONGS/<song>/vocals.wav, bass.wav,
    drums.wav; everything else there is part of other.
    """
    from export import TrainingOptions, train_separator

    run = out or Path("runs") / network
    options = TrainingOptions(
        run, steps, "cpu", seed, threads, device, minutes, batch, learning_rate
    )
    for line in train_separator(network, songs, options, published):
        say(line)


@prior.command("pack")
@click.argument("recordings", nargs=-1, required=True, type=FILE)
@click.option("-o", "--output", "--out", "out", required=True, type=FILE, help="E.g. all.pack.")
@click.option("--catalogue", type=FILE, help="Of sources, as recipes have; before SOURCES.yaml.")
@click.option(
    "--step-db",
    type=click.FloatRange(0.1, 3.0),
    default=0.75,
    show_default=True,
    help="How fine magnitudes are kept.",
)
def prior_pack(
    recordings: tuple[Path, ...], out: Path, catalogue: Path | None, step_db: float
) -> None:
    """Pack RECORDINGS into one file that every training takes in a folder's place.

    RECORDINGS are PART=FOLDER, or folders with a folder for each part.
    """
    from export import pack_recordings

    for line in pack_recordings(recordings, out, catalogue, step_db):
        say(line)


@prior.command("make")
@click.argument("recipe", type=FILE)
@click.option(
    "--recordings", multiple=True, required=True, type=FILE, help="Folder or pack; may repeat."
)
@click.option("--soundfont", "soundfonts", multiple=True, type=FILE, help="To render through.")
@KITS
@INSTRUMENTS
@click.option("--out", required=True, type=FOLDER, help="Folder of all runs; resumes there.")
@click.option("--priors", required=True, type=FOLDER, help="Where the bundles go.")
@DEVICE
@THREADS
def prior_make(
    recipe: Path,
    recordings: tuple[Path, ...],
    soundfonts: tuple[Path, ...],
    kits: Path | None,
    instruments: Path | None,
    out: Path,
    priors: Path,
    device: Literal["auto", "cpu", "cuda"],
    threads: int,
) -> None:
    """Make the whole set of priors of RECIPE: render, train, export, judge."""
    from export import TrainingOptions, make_priors

    options = TrainingOptions(out, threads=threads, device=device)
    for line in make_priors(recipe, recordings, soundfonts, kits, instruments, options, priors):
        say(line)


@prior.command("render")
@click.argument("out", type=FOLDER)
@click.option("--stem", help="bass, drums, guitar, piano or other; with --minutes.")
@click.option("--minutes", type=click.FloatRange(min=0.1))
@click.option(
    "--songs", type=click.IntRange(min=1), help="Whole songs instead, every stem from one score."
)
@SEED
@click.option("--soundfont", "soundfonts", type=FILE, multiple=True, help="May repeat.")
@click.option("--procedural", is_flag=True, help="Play on computed instruments instead.")
@KITS
@INSTRUMENTS
def prior_render(
    out: Path,
    stem: str | None,
    minutes: float | None,
    songs: int | None,
    seed: int,
    soundfonts: tuple[Path, ...],
    procedural: bool,
    kits: Path | None,
    instruments: Path | None,
) -> None:
    """Compose at random and play it, through SoundFonts or on computed instruments: training
    recordings in OUT, of one stem (--stem, --minutes) or whole songs in step (--songs)."""
    from export.synthesis.rendering import procedural_corpus, render_corpus
    from export.synthesis.song_rendering import open_studio, render_songs

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


if __name__ == "__main__":
    main(prog_name="stemwright")
