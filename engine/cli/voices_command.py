"""`stemwright voices`: a choir into its singers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from presets import PitchSource

from .arguments import (
    DEVICE,
    FILE,
    PRIORS,
    SEED,
    SEPARATORS,
    STRICT_DEVICE,
    THREADS,
    UNCHECKED,
    output,
)
from .mix_commands import REPORT, separate_each

if TYPE_CHECKING:
    from presets import Preset

    from ..options import RenderOptions

FIT_MINUTES = 5


@click.command()
@click.argument("mix", type=FILE)
@output("Folder of the set.", default=Path("stems"))
@click.option(
    "--parts",
    metavar="NAME,NAME,...",
    help="The voices, from the highest down.  [the preset's, or soprano,alto,tenor,bass]",
)
@click.option("--midi", type=FILE, help="MIDI file of the parts.  [MIX's name with .mid]")
@click.option(
    "--f0",
    "tables",
    multiple=True,
    metavar="FILE",
    help="Table of pitches in Hz, of all voices or, as NAME=FILE, of one; may repeat.",
)
@click.option(
    "--pitches",
    type=click.Choice(get_args(PitchSource)),
    help="Where pitches come from.  [as the preset says, or auto]",
)
@click.option(
    "--fit",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=FIT_MINUTES,
    metavar="[MINUTES]",
    help=f"Fit the network to this recording first, needs torch; {FIT_MINUTES} if not said.",
)
@click.option("--preset", help="Preset with chains, or with voices of one of its stems.")
@DEVICE
@STRICT_DEVICE
@SEED
@THREADS
@PRIORS
@SEPARATORS
@UNCHECKED
@REPORT
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as a JSON line.")
def voices(
    mix: Path,
    output: Path,
    parts: str | None,
    midi: Path | None,
    tables: tuple[str, ...],
    pitches: str | None,
    fit: float | None,
    preset: str | None,
    report: str | None,
    as_json: bool,
    **shared: Any,  # noqa: ANN401 - what all renders share
) -> None:
    """Take the singers of MIX apart, by their pitches.

    The set is a folder OUTPUT/<title> like that of `separate`. Pitches come from a MIDI file or
    tables, else they are tracked; OUTPUT/<title>/voices shows them. An interrupted run that is
    started again goes on where it was.
    """
    from ..rendering import Renderer, RenderOptions

    if midi is not None and tables:
        raise click.UsageError("give --midi or --f0, not both: a score comes before tables")
    chosen = _preset(preset, parts, pitches, fit)
    options = RenderOptions(
        device=shared["device"],
        strict_device=shared["strict_device"],
        seed=shared["seed"],
        threads=shared["threads"],
        prior_folders=shared["priors"],
        separator_folders=shared["separators"],
        unchecked_separators=shared["unchecked"],
        score=midi,
        pitch_files=tables,
    )
    if report:
        settings = chosen.output.model_copy(update={"report": report})
        chosen = chosen.model_copy(update={"output": settings})
    workspace = output / ".voices" / _work_of(mix, chosen, options) / "work"
    kept = RenderOptions(**{**vars(options), "workspace": workspace})
    worst = separate_each((mix,), output, Renderer(chosen, kept), as_json)
    # an interrupt passes this by; what failed would fail again
    shutil.rmtree(workspace.parent, ignore_errors=True)
    with contextlib.suppress(OSError):  # others are at work there
        workspace.parents[1].rmdir()
        output.rmdir()
    sys.exit(worst)


def _preset(name: str | None, parts: str | None, pitches: str | None, fit: float | None) -> Preset:
    """The preset that was named, or one of voices alone, with what was said besides."""
    from presets import Preset, StemwrightError, load_preset

    said: dict[str, Any] = {}
    if parts is not None:
        said["parts"] = tuple(word.strip() for word in parts.split(",") if word.strip())
        if not said["parts"]:
            raise click.UsageError("--parts: no voice is named, as in soprano,alto,tenor,bass")
    if pitches is not None:
        said["pitches"] = pitches
    if fit is not None:
        said["fit_minutes"] = fit
    if name is None:
        data: dict[str, Any] = {"name": "voices", "voices": {"parts": DEFAULT_PARTS, **said}}
    else:
        base = load_preset(name)
        if base.voices is None:
            raise StemwrightError(
                "voices-preset",
                f"preset {base.name} has no voices. Add a section `voices: {{parts: [...]}}`, or "
                "use `separate`.",
            )
        data = base.model_dump(mode="json", by_alias=True)
        if parts is not None:  # chains of parts that are no more go with them
            for gone in set(base.sources.parts) - set(said["parts"]):
                del data["stems"][gone]
        data["voices"] |= said
    try:
        return Preset.model_validate(data)
    except ValueError as error:
        raise click.UsageError(_first_sentence(error)) from None


DEFAULT_PARTS = ("soprano", "alto", "tenor", "bass")


def _first_sentence(error: ValueError) -> str:
    """What pydantic says of the options, without its own words around it."""
    import pydantic

    if isinstance(error, pydantic.ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if "pattern" in first["type"]:
            return (
                f"--parts: {first['input']!r} is no name of a voice: letters a to z, digits, - "
                "and _, beginning with a letter"
            )
        text = first["msg"].removeprefix("Value error, ")
        return f"{where}: {text}" if where else text
    return str(error)


def _work_of(mix: Path, preset: Preset, options: RenderOptions) -> str:
    """A name for this work, under which an interrupted run is found again."""
    from presets import sha256_of

    from ..audio.reading import probe
    from ..voicing import network_hashes, pitch_request

    info = probe(mix)
    request = pitch_request(preset, options, info)
    parts = [sha256_of(mix), preset.digest(), request.hashes(), network_hashes(preset, options)]
    text = json.dumps([*parts, options.seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
