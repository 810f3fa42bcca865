"""The commands of `prior` that train: priors, heads, packs, networks, and their bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from engine.cli import FILE, FOLDER, THREADS, Renamed, output
from presets import say

from ..training.options import DeviceName, SizeName, TrainingOptions
from .arguments import DEVICE, INSTRUMENTS, KITS, PUBLISHED, SONGS, SOUNDFONTS, training_options


@click.command("train", cls=Renamed, old_names={"--out": "--output", "--tune": "--begin-from"})
@click.option("--stem", help="The instrument's name.")
@click.option("--music", is_flag=True, help="One flow for several stems, given as STEM=FOLDER.")
@click.argument("recordings", nargs=-1, required=True, type=FILE)
@output("Folder of the run; resumes there.  [runs/STEM]")
@click.option(
    "--against", multiple=True, type=FILE, help="STEM=FOLDER of other instruments; may repeat."
)
@click.option(
    "--judge",
    "judges",
    multiple=True,
    type=FOLDER,
    help="Folder of songs with stems that choose the head's best weights; may repeat.",
)
@click.option("--head/--no-head", default=True, help="Train a head for first estimates, too.")
@click.option(
    "--head-steps",
    type=click.IntRange(1),
    default=3000,
    show_default=True,
    help="How long the head learns.",
)
@click.option(
    "--size",
    type=click.Choice(["cpu", "paper", "paper-small"]),
    default="cpu",
    show_default=True,
    help="Of the flow; paper: as published.",
)
@click.option("--begin-from", type=FILE, help="Go on from this bundle's flow.")
@training_options(4000, "the flow learns")
def prior_train(
    stem: str | None,
    music: bool,
    recordings: tuple[Path, ...],
    output: Path | None,
    against: tuple[Path, ...],
    judges: tuple[Path, ...],
    head: bool,
    head_steps: int,
    size: SizeName,
    begin_from: Path | None,
    options: TrainingOptions,
) -> None:
    """Train a prior from RECORDINGS of one instrument alone.

    These are files or folders. First its flow, then its head for first estimates on the encoder
    that the installed priors share; between them the verdict: which installed priors it tells
    itself from. Where no recordings of other instruments are given, samples of the installed
    priors stand in. The head's best weights are those that held-out sums like best, or the songs
    of --judge, SONGS/<song>/<stem>.wav, none of which may be among RECORDINGS.

    With --music one flow learns several stems, each by its label (MusicGlow): RECORDINGS are
    STEM=FOLDER then, every stem is trained against the others, and there is no head.
    """
    from ..priors import train_prior
    from ..training.music_training import train_music

    if music == (stem is not None) or (music and (against or judges)):
        raise click.UsageError("give --stem NAME, or --music with STEM=FOLDER of every stem")
    name = stem or "musicglow"
    run = output or Path("runs") / name
    options = replace(options, out=run, size=size, begin_from=begin_from)
    if stem is None:
        lines = train_music(recordings, options)
    else:
        steps = head_steps if head else 0
        lines = train_prior(stem, recordings, options, against, steps, judges)
    for line in lines:
        say(line)
    say(f"now: stemwright prior export {run} -o PRIORS/{name}.prior")


@click.command("export", cls=Renamed, old_names={"--out": "--output"})
@click.argument("run", type=click.Path(path_type=Path))
@output("The bundle, e.g. bass.prior.", kind=FILE, required=True)
@click.option("--heads", type=FOLDER, help="Run of `prior heads` with a head for this stem.")
def prior_export(run: Path, output: Path, heads: Path | None) -> None:
    """Write a run's last checkpoint as a bundle.

    Nothing is written where ONNX Runtime does not say what torch says. With --heads RUN may be a
    bundle, whose flow stays.
    """
    from ..priors import export_prior

    say(export_prior(run, output, heads))


@click.command("heads", cls=Renamed, old_names={"--out": "--output", "--tune": "--begin-from"})
@click.argument("parts", nargs=-1, required=True, type=FILE)
@click.option(
    "--head", "heads", multiple=True, help="HEAD=PART+PART, e.g. other=guitar+piano; may repeat."
)
@output("Folder of the run; resumes there.", required=True)
@click.option(
    "--network",
    type=click.Choice(["small", "medium", "large"]),
    default="small",
    show_default=True,
    help="Size of encoder and heads.",
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
@click.option(
    "--begin-from", type=FOLDER, help="Go on from the encoder and heads of these bundles."
)
@training_options(5000, "they learn")
def prior_heads(
    parts: tuple[Path, ...],
    heads: tuple[str, ...],
    output: Path,
    network: str,
    in_step: float,
    bus: float,
    validation: Path | None,
    begin_from: Path | None,
    options: TrainingOptions,
) -> None:
    """Train first estimates: encoder and heads.

    Each part is given as PART=FOLDER of isolated recordings.
    """
    from ..estimates import EstimateOptions, train_heads

    options = replace(options, out=output, begin_from=begin_from)
    estimate = EstimateOptions(network, in_step, bus, validation)
    for line in train_heads(parts, heads, options, estimate):
        say(line)


@click.command("tune")
@click.argument("songs", nargs=-1, required=True, type=FILE)
@output("Folder of the pack, e.g. PRIORS/my-band.", kind=FOLDER, required=True)
@click.option("--run", type=FOLDER, help="Folder of the run; resumes there.  [runs/PACK]")
@click.option(
    "--begin-from", type=FOLDER, help="Go on from the priors of this folder.  [the shipped ones]"
)
@click.option("--hold-out", multiple=True, help="Song to judge with; may repeat.  [a fifth]")
@click.option(
    "--rehearse",
    multiple=True,
    type=FILE,
    help="Pack, folder of parts or PART=FOLDER that keeps what was known; may repeat.",
)
@click.option(
    "--mixes",
    multiple=True,
    type=FILE,
    help="Songs of the artist without stems, to learn from, too; may repeat.",
)
@training_options(800, "it learns at most")
def prior_tune(
    songs: tuple[Path, ...],
    output: Path,
    run: Path | None,
    begin_from: Path | None,
    hold_out: tuple[str, ...],
    rehearse: tuple[Path, ...],
    mixes: tuple[Path, ...],
    options: TrainingOptions,
) -> None:
    """Tune all priors together: an artist pack.

    SONGS are folders of multitracks, SONGS/<song>/<stem>.wav or SONGS/<stem>/<song>.wav, with
    whatever stems there are; STEM=FOLDER are takes of one stem. Held-out songs decide when to
    stop, and what is not better than before is not written. Name with --mixes the songs that are
    to be taken apart: what the priors find in them is learned from, too.
    """
    from ..artist_pack import PackOptions, tune_pack

    asked = PackOptions(begin_from, hold_out, rehearse, mixes)
    options = replace(options, out=run or Path("runs") / output.name)
    for line in tune_pack(songs, output, options, asked):
        say(line)


@click.command("make", cls=Renamed, old_names={"--out": "--output", "--priors": "--into"})
@click.argument("recipe", type=FILE)
@click.option(
    "--recordings", multiple=True, required=True, type=FILE, help="Folder or pack; may repeat."
)
@SOUNDFONTS
@KITS
@INSTRUMENTS
@output("Folder of all runs; resumes there.", required=True)
@click.option("--into", required=True, type=FOLDER, help="Where the bundles go.")
@DEVICE
@THREADS
def prior_make(
    recipe: Path,
    recordings: tuple[Path, ...],
    soundfonts: tuple[Path, ...],
    kits: Path | None,
    instruments: Path | None,
    output: Path,
    into: Path,
    device: DeviceName,
    threads: int,
) -> None:
    """Make the whole set of priors of a RECIPE.

    It renders, trains, exports and judges, and goes on where it was stopped.
    """
    from ..recipe import make_priors

    options = TrainingOptions(output, threads=threads, device=device)
    for line in make_priors(recipe, recordings, soundfonts, kits, instruments, options, into):
        say(line)


@click.command("gan", cls=Renamed, old_names={"--out": "--output"})
@SONGS
@click.option("--stem", required=True, help="Whose sound is learned.")
@output("Folder of the run; resumes there.  [runs/gan-STEM]")
@PUBLISHED
@training_options(30_000, "it learns")
def prior_gan(
    songs: tuple[Path, ...],
    stem: str,
    output: Path | None,
    published: bool,
    options: TrainingOptions,
) -> None:
    """Train a GAN prior of one stem, for comparison (docs/systems.md).

    SONGS are folders that hold a folder of stems for each song, as `separator train` takes them.
    """
    from ..gan_bundle import train_gan

    run = output or Path("runs") / f"gan-{stem}"
    options = replace(options, out=run)
    for line in train_gan(stem, songs, options, published):
        say(line)


@click.command("voices", cls=Renamed, old_names={"--tune": "--begin-from"})
@click.argument("mixtures", nargs=-1, required=True, type=FILE)
@click.option(
    "--parts",
    required=True,
    metavar="NAME,NAME,...",
    help="The voices, from the highest down.",
)
@output("The network, e.g. PRIORS/barbershop.voices.", kind=FILE, required=True)
@click.option("--run", type=FOLDER, help="Folder of the run; resumes there.  [runs/NETWORK]")
@click.option("--begin-from", type=FILE, help="Go on from this network.")
@training_options(1200, "it learns")
def prior_voices(
    mixtures: tuple[Path, ...],
    parts: str,
    output: Path,
    run: Path | None,
    begin_from: Path | None,
    options: TrainingOptions,
) -> None:
    """Train a network for `voices` on mixtures alone.

    MIXTURES are recordings of the same parts; pitches come from a MIDI file or a table beside
    each (song.mid, song.f0.csv), else from the tracker. Under three minutes are enough.
    """
    from ..voices import train_voices

    options = replace(options, out=run or Path("runs") / output.stem, begin_from=begin_from)
    for line in train_voices(mixtures, tuple(parts.split(",")), output, options):
        say(line)
