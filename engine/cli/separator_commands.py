"""The commands of `separator`: cards of one's own ONNX models, written, looked at and checked."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from presets import StemwrightError, say, say_json

from .arguments import FILE, JSON, SEPARATORS, THREADS
from .card_questions import asked_draft, stem_names


@click.group()
def separator() -> None:
    """Bring your own separation model, or train one.

    A model is an ONNX file and a card that describes it.
    """


@separator.command("init")
@click.argument("models", nargs=-1, required=True, type=FILE, metavar="MODEL.onnx...")
@click.option("--name", help="By which presets will call it.  [the file's name]")
@click.option("--licence", help="Of the weights, as their author states it.")
@click.option(
    "--stems", help="Names in the order of the outputs, such as drums,bass,other,vocals."
)
@click.option("--n-fft", type=click.IntRange(16), help="Length of the model's transform.")
@click.option("--hop", type=click.IntRange(1), help="Samples from frame to frame.")
@click.option("--segment", type=click.IntRange(256), help="Samples of one call.")
@click.option("--sample-rate", type=click.IntRange(8000), help="Of the model.  [44100]")
@click.option(
    "--tensor",
    "tensors",
    multiple=True,
    metavar="'NAME ROLE AXES'",
    help="What a tensor holds, such as 'mix wave b c n', if it is not known; may repeat.",
)
@click.option("--uvr-table", type=FILE, help="UVR's model_data.json, in which the model is found.")
@click.option("--force", is_flag=True, help="Replace a card that is there.")
def separator_init(
    models: tuple[Path, ...],
    name: str | None,
    licence: str | None,
    stems: str | None,
    n_fft: int | None,
    hop: int | None,
    segment: int | None,
    sample_rate: int | None,
    tensors: tuple[str, ...],
    uvr_table: Path | None,
    force: bool,
) -> None:
    """Write the card of MODEL.onnx beside it.

    It is made of what the file tells and of what you know.

    Several files are run side by side, one stem each. What nobody can tell is asked for on a
    terminal; elsewhere it is named, with exit code 1: give it as an option or write it into the
    card.
    """
    from ..separators.drafting import DraftOptions, card_text, draft_card
    from ..separators.loading import load_card

    options = DraftOptions(
        name,
        licence,
        stem_names(stems or ""),
        n_fft,
        hop,
        uvr_table,
        segment,
        sample_rate,
        tensors,
    )
    draft = draft_card(models, options)
    path = models[0].with_name(f"{draft.keys['name']}.yaml")
    if path.exists() and not force:
        raise StemwrightError("card-exists", f"{path} is there already. Give --force or --name.")
    if sys.stdin.isatty():
        draft = asked_draft(models, options, draft)
    path.write_text(card_text(draft), encoding="utf-8")
    if draft.missing:
        for key, what in draft.missing.items():
            say(f"missing {key}: {what}")
        say(f"{path}: fill in what is missing, then: stemwright separator check {path}")
        sys.exit(1)
    load_card(path)
    say(f"{path}: complete. Now: stemwright separator check {path} --music SONG")


@separator.command("list")
@SEPARATORS
@JSON
def separator_list(separators: tuple[Path, ...], as_json: bool) -> None:
    """List every separator that presets can name."""
    from ..separators.loading import list_cards, load_card
    from ..separators.lock import lock_path, read_lock

    for name, path in list_cards(separators).items():
        try:
            loaded = load_card(path)
        except StemwrightError as error:
            state, card = f"unusable: {error.sentence}", None
        else:
            card, lock = loaded.card, read_lock(loaded)
            changed = "changed since its check" if lock_path(path).is_file() else "not checked"
            state = "checked" if lock else changed
        stems = list(card.used) if card else []
        if as_json:
            say_json({"name": name, "path": str(path), "state": state, "stems": stems})
        else:
            say(f"{name:24} {', '.join(stems):32} {state}  {path}")


@separator.command("show")
@click.argument("name")
@SEPARATORS
def separator_show(name: str, separators: tuple[Path, ...]) -> None:
    """Print a card with every default, hashes, and its check."""
    from ..separators.loading import find_card
    from ..separators.lock import read_lock

    loaded = find_card(name, separators)
    lock = read_lock(loaded)
    say_json(
        {
            "path": str(loaded.path),
            "digest": loaded.digest,
            "card": loaded.card.model_dump(mode="json"),
            "check": lock.model_dump(mode="json") if lock else None,
        }
    )


@separator.command("check")
@click.argument("name")
@click.option("--music", type=FILE, help="A song of yours in which all of its stems play.")
@click.option(
    "--seconds",
    type=click.FloatRange(2, 600),
    default=24.0,
    show_default=True,
    help="How much of the music.",
)
@click.option("--device", default="cpu", show_default=True, help="Where it is run.")
@click.option("--accept", is_flag=True, help="Trust the card whatever was found.")
@SEPARATORS
@THREADS
@JSON
def separator_check(
    name: str,
    music: Path | None,
    seconds: float,
    device: str,
    accept: bool,
    separators: tuple[Path, ...],
    threads: int,
    as_json: bool,
) -> None:
    """Run a separator on music and look for a wrong card.

    One that passes gets its lock.

    Without the lock no job uses the card. Exits with 1, and writes none, when something is found
    that a right card does not do; --accept writes it all the same.
    """
    from ..model.sessions import Device, usable_cores
    from ..separators.loading import find_card
    from ..separators.lock import write_lock
    from ..separators.trial import check_card

    loaded = find_card(name, separators)
    trial = check_card(loaded, music, Device.parse(device), threads or usable_cores(), seconds)
    lock = trial.lock
    trusted = accept or not trial.refused
    if as_json:
        say_json({**lock.model_dump(mode="json"), "trusted": trusted})
    else:
        say("stem                  gain   lag  energy dB  shift dB  centroid Hz")
        for stem, found in lock.stems.items():
            values = (found.gain, found.lag, found.energy_db, found.shift_db, found.centroid_hz)
            gain, lag, energy, shift, centroid = ("-" if v is None else f"{v:g}" for v in values)
            say(f"{stem:20} {gain:>6} {lag:>5} {energy:>10} {shift:>9} {centroid:>12}")
        if lock.level is not None:
            alike = f"{lock.level.alike_db:g} dB alike with both values"
            own = lock.level.summary(loaded.card.normalise)
            say(f"normalise {own} ({alike})" if lock.level.matters else f"normalise: {alike}")
        above = _above(loaded.card.above_cut)
        say(f"band up to {lock.band_hz:.0f} Hz; what lies above goes {above}")
        say(
            f"{lock.seconds_per_minute:.1f} s for each minute of audio on {lock.device} with "
            f"{lock.threads} threads, {lock.peak_mib:.0f} MiB at most"
        )
        for finding in trial.findings:
            say(f"{'wrong' if finding.refused else 'look'}: {finding.text}")
    if not trusted:
        say("no lock is written. Mend the card, or give --accept if this is what the model does")
        sys.exit(1)
    path = write_lock(loaded, lock)
    if not as_json:
        say(f"{path}: written; presets may use separator: {loaded.name}")


@separator.command("remove")
@click.argument("name")
@SEPARATORS
@click.option("--files", is_flag=True, help="The model's files, too.")
def separator_remove(name: str, separators: tuple[Path, ...], files: bool) -> None:
    """Delete a card and its lock.

    The model stays unless --files is given.
    """
    from ..separators.loading import find_card
    from ..separators.lock import lock_path

    loaded = find_card(name, separators)
    gone = [loaded.path, lock_path(loaded.path)]
    gone += [loaded.path_of(file) for file in loaded.card.files] if files else []
    for path in gone:
        if path.is_file():
            path.unlink()
            say(f"{path}: removed")


def _above(policy: str) -> str:
    return "to the rest" if policy == "rest" else "where the highest band goes"
