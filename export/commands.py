"""The commands of `prior` that make priors: train, export, pack, render.

Each opens its modules when it is called, because they load torch: `--help` needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import click

from engine.cli import FILE, FOLDER, PRIORS, SEED, THREADS, OldPlace, Renamed, output, the_output
from presets import StemwrightError, load_preset, say

from .training.options import DeviceName, SizeName, TrainingOptions

Verb = TypeVar("Verb", bound=Callable[..., Any])

DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train; auto takes a graphics card where torch finds one.",
)
SONGS = click.argument("songs", nargs=-1, required=True, type=FOLDER)
PUBLISHED = click.option(
    "--published", is_flag=True, help="The paper's size, for a graphics card."
)
KITS = click.option(
    "--kits", type=FOLDER, help="Of Hydrogen drum kits, for computed songs of drums."
)
INSTRUMENTS = click.option(
    "--instruments", type=FOLDER, help="SFZ files in a folder for each stem, for whole songs."
)


def training_options(steps: int, who: str) -> Callable[[Verb], Verb]:
    """Give a verb what every training is told, as one value `options: TrainingOptions`.

    `steps` is how long `who` learns if nothing is said. The run's folder is the verb's to add.
    """
    table = (
        click.option(
            "--steps",
            type=click.IntRange(1),
            default=steps,
            show_default=True,
            help=f"How long {who}.",
        ),
        click.option(
            "--minutes",
            type=click.FloatRange(min=0),
            default=0.0,
            help="End after so long, not by steps.",
        ),
        click.option("--batch", type=click.IntRange(0), default=0, help="Excerpts a step."),
        click.option(
            "--learning-rate", type=click.FloatRange(min=0), default=0.0, help="The largest one."
        ),
        DEVICE,
        SEED,
        THREADS,
    )
    names = ("steps", "minutes", "batch", "learning_rate", "device", "seed", "threads")

    def decorate(verb: Verb) -> Verb:
        @wraps(verb)
        def with_options(**values: Any) -> None:  # noqa: ANN401 - click calls by the options' names
            options = TrainingOptions(**{name: values.pop(name) for name in names})
            verb(options=options, **values)

        decorated: Callable[..., None] = with_options
        for option in reversed(table):
            decorated = option(decorated)
        return cast(Verb, decorated)

    return decorate


@click.command("train", cls=Renamed, old_names={"--out": "--output"})
@click.option("--stem", help="The instrument's name.")
@click.option("--music", is_flag=True, help="One flow for several stems, given as STEM=FOLDER.")
@click.argument("recordings", nargs=-1, required=True, type=FILE)
@output("Folder of the run; resumes there.  [runs/STEM]")
@click.option("--against", multiple=True, type=FILE, help="STEM=FOLDER of other instruments.")
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
@click.option("--tune", type=FILE, help="Begin from this bundle's flow.")
@training_options(4000, "the flow learns")
def prior_train(
    stem: str | None,
    music: bool,
    recordings: tuple[Path, ...],
    output: Path | None,
    against: tuple[Path, ...],
    head: bool,
    head_steps: int,
    size: SizeName,
    tune: Path | None,
    options: TrainingOptions,
) -> None:
    """Train a prior from RECORDINGS of one instrument alone.

    These are files or folders. First its flow, then its head for first estimates on the encoder
    that the installed priors share; between them the verdict: which installed priors it tells
    itself from. Where no recordings of other instruments are given, samples of the installed
    priors stand in.

    With --music one flow learns several stems, each by its label (MusicGlow): RECORDINGS are
    STEM=FOLDER then, every stem is trained against the others, and there is no head.
    """
    from .priors import train_prior
    from .training.music_training import train_music

    if music == (stem is not None) or (music and against):
        raise click.UsageError("give --stem NAME, or --music with STEM=FOLDER of every stem")
    name = stem or "musicglow"
    run = output or Path("runs") / name
    options = replace(options, out=run, size=size, tune=tune)
    if stem is None:
        lines = train_music(recordings, options)
    else:
        lines = train_prior(stem, recordings, options, against, head_steps if head else 0)
    for line in lines:
        say(line)
    say(f"now: stemwright prior export {run} -o PRIORS/{name}.prior")


@click.command("export", cls=Renamed, old_names={"--out": "--output"})
@click.argument("run", type=FOLDER)
@output("The bundle, e.g. bass.prior.", kind=FILE, required=True)
@click.option("--heads", type=FOLDER, help="Run of `prior heads` with a head for this stem.")
def prior_export(run: Path, output: Path, heads: Path | None) -> None:
    """Write a run's last checkpoint as a bundle.

    ONNX Runtime is compared with torch before.
    """
    from .priors import export_prior

    say(export_prior(run, output, heads))


@click.command("heads", cls=Renamed, old_names={"--out": "--output"})
@click.argument("parts", nargs=-1, required=True, type=FILE)
@click.option("--head", "heads", multiple=True, help="HEAD=PART+PART, e.g. other=guitar+piano.")
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
@click.option("--tune", type=FOLDER, help="Begin from the encoder and heads of these bundles.")
@training_options(5000, "they learn")
def prior_heads(
    parts: tuple[Path, ...],
    heads: tuple[str, ...],
    output: Path,
    network: str,
    in_step: float,
    bus: float,
    validation: Path | None,
    tune: Path | None,
    options: TrainingOptions,
) -> None:
    """Train first estimates: encoder and heads.

    Each part is given as PART=FOLDER of isolated recordings.
    """
    from .priors import EstimateOptions, train_heads

    options = replace(options, out=output, tune=tune)
    estimate = EstimateOptions(network, in_step, bus, validation)
    for line in train_heads(parts, heads, options, estimate):
        say(line)


@click.command("tune")
@click.argument("songs", nargs=-1, required=True, type=FILE)
@output("Folder of the pack, e.g. PRIORS/my-band.", kind=FOLDER, required=True)
@click.option("--run", type=FOLDER, help="Folder of the run; resumes there.  [runs/PACK]")
@click.option(
    "--begin-from", type=FOLDER, help="Folder of the priors to begin with.  [the shipped ones]"
)
@click.option("--hold-out", multiple=True, help="Song to judge with; may repeat.  [a fifth]")
@click.option(
    "--rehearse",
    multiple=True,
    type=FILE,
    help="Pack, folder of parts or PART=FOLDER that keeps what was known; may repeat.",
)
@training_options(800, "it learns at most")
def prior_tune(
    songs: tuple[Path, ...],
    output: Path,
    run: Path | None,
    begin_from: Path | None,
    hold_out: tuple[str, ...],
    rehearse: tuple[Path, ...],
    options: TrainingOptions,
) -> None:
    """Tune all priors together: an artist pack.

    SONGS are folders of multitracks, SONGS/<song>/<stem>.wav or SONGS/<stem>/<song>.wav, with
    whatever stems there are; STEM=FOLDER are takes of one stem. Held-out songs decide when to
    stop, and what is not better than before is not written.
    """
    from .artist_pack import PackOptions, tune_pack

    asked = PackOptions(begin_from, hold_out, rehearse)
    options = replace(options, out=run or Path("runs") / output.name)
    for line in tune_pack(songs, output, options, asked):
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
    from .gan_bundle import train_gan

    run = output or Path("runs") / f"gan-{stem}"
    options = replace(options, out=run)
    for line in train_gan(stem, songs, options, published):
        say(line)


@click.command("voices")
@click.argument("mixtures", nargs=-1, required=True, type=FILE)
@click.option("--parts", required=True, help="NAME,NAME,...: the voices, highest first.")
@output("The network, e.g. PRIORS/barbershop.voices.", kind=FILE, required=True)
@click.option("--run", type=FOLDER, help="Folder of the run; resumes there.  [runs/NETWORK]")
@click.option("--tune", type=FILE, help="Begin from this network.")
@training_options(1200, "it learns")
def prior_voices(
    mixtures: tuple[Path, ...],
    parts: str,
    output: Path,
    run: Path | None,
    tune: Path | None,
    options: TrainingOptions,
) -> None:
    """Train a network for `voices` on mixtures alone.

    MIXTURES are recordings of the same parts; pitches come from a MIDI file or a table beside
    each (song.mid, song.f0.csv), else from the tracker. Under three minutes are enough.
    """
    from .voices import train_voices

    options = replace(options, out=run or Path("runs") / output.stem, tune=tune)
    for line in train_voices(mixtures, tuple(parts.split(",")), output, options):
        say(line)


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

    It is written with a card.

    SONGS are folders that hold a folder for each song: SONGS/<song>/vocals.wav, bass.wav,
    drums.wav; everything else there is part of other.
    """
    from .separators import train_interleaved, train_separator

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
    from .separators import export_estimate

    if output.exists() and not force:
        raise StemwrightError("card-exists", f"{output} is there already. Give --force or -o.")
    if output.suffix != ".yaml":
        raise StemwrightError("card-name", f"{output}: a card's name ends in .yaml.")
    card = export_estimate(stems or load_preset("default").sources.searched, output, priors)
    say(f"{card}: written. Now: stemwright separator check {card} --music SONG")


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
    from .priors import pack_recordings

    for line in pack_recordings(recordings, output, catalogue, step_db):
        say(line)


@click.command("make", cls=Renamed, old_names={"--out": "--output", "--priors": "--into"})
@click.argument("recipe", type=FILE)
@click.option(
    "--recordings", multiple=True, required=True, type=FILE, help="Folder or pack; may repeat."
)
@click.option("--soundfont", "soundfonts", multiple=True, type=FILE, help="To render through.")
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

    Render, train, export, judge.
    """
    from .recipe import make_priors

    options = TrainingOptions(output, threads=threads, device=device)
    for line in make_priors(recipe, recordings, soundfonts, kits, instruments, options, into):
        say(line)


@click.command("render")
@click.argument("folder", required=False, type=FOLDER, cls=OldPlace)
@output("Folder of the recordings.")
@click.option("--stem", help="bass, drums, guitar, piano or other; with --minutes.")
@click.option("--minutes", type=click.FloatRange(min=0.1), help="How much to render.")
@click.option(
    "--songs", type=click.IntRange(min=1), help="Whole songs instead, every stem from one score."
)
@SEED
@click.option(
    "--soundfont", "soundfonts", type=FILE, multiple=True, help="To play on; may repeat."
)
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
    from .synthesis.rendering import procedural_corpus, render_corpus
    from .synthesis.song_rendering import open_studio, render_songs

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


TRAINING = (
    prior_train,
    prior_export,
    prior_heads,
    prior_tune,
    prior_gan,
    prior_voices,
    prior_pack,
    prior_make,
    prior_render,
)
