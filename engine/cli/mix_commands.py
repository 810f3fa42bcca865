"""The commands about one mix: `separate`, `null`, and `doctor`, which looks at the installation.

Each opens its modules when it is called: `--help` stays instant.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click

from presets import PreviewDetail, complain, duration_text, say, say_json

from .arguments import (
    COMMERCIAL_ONLY,
    DEADLINE,
    DEVICE,
    FILE,
    JSON,
    PRIORS,
    SEED,
    SEPARATORS,
    STRICT_DEVICE,
    THREADS,
    TIER,
    UNCHECKED,
    output,
)

if TYPE_CHECKING:
    from ..audio.null import NullReport
    from ..rendering import Renderer

REPORT = click.option(
    "--report",
    type=click.Choice(["none", *get_args(PreviewDetail)]),
    help="A page to listen to each set.  [as the preset says]",
)


@click.command()
@click.argument("mixes", nargs=-1, required=True, type=FILE)
@output("Folder of the sets.", default=Path("stems"))
@click.option("--preset", default="default", show_default=True, help="Name or YAML file.")
@click.option(
    "--only",
    multiple=True,
    metavar="STEM",
    help="Find this stem, leave the unknown rest to the residual; may repeat.",
)
@TIER
@DEVICE
@STRICT_DEVICE
@SEED
@THREADS
@PRIORS
@SEPARATORS
@UNCHECKED
@COMMERCIAL_ONLY
@DEADLINE
@REPORT
@click.option("--json", "as_json", is_flag=True, help="Print manifests as JSON lines.")
def separate(
    mixes: tuple[Path, ...],
    output: Path,
    preset: str,
    only: tuple[str, ...],
    tier: str | None,
    device: str,
    strict_device: bool,
    seed: int,
    threads: int,
    priors: tuple[Path, ...],
    separators: tuple[Path, ...],
    unchecked: Literal["refuse", "warn"],
    commercial_only: bool,
    deadline: float | None,
    report: str | None,
    as_json: bool,
) -> None:
    """Separate MIXES into sets of stems.

    Each set is a folder OUTPUT/<title> with dry and wet files and a manifest.
    """
    from presets import load_preset, only_stems

    from ..rendering import Renderer, RenderOptions

    options = RenderOptions(
        device=device,
        strict_device=strict_device,
        seed=seed,
        tier=tier,
        threads=threads,
        prior_folders=priors,
        separator_folders=separators,
        unchecked_separators=unchecked,
        commercial_only=commercial_only,
        deadline_s=deadline,
    )
    chosen = only_stems(load_preset(preset), only) if only else load_preset(preset)
    if report:
        output_settings = chosen.output.model_copy(update={"report": report})
        chosen = chosen.model_copy(update={"output": output_settings})
    renderer = Renderer(chosen, options)
    sys.exit(separate_each(mixes, output, renderer, as_json))


def separate_each(mixes: tuple[Path, ...], output: Path, renderer: Renderer, as_json: bool) -> int:
    """Separate and show one after the other; the exit code. One that fails stops no other."""
    from .endings import one_of_many
    from .terminal import Screen

    screen, worst = Screen(quiet=as_json), 0
    for mix in mixes:
        with one_of_many(mix) as codes:
            _tell_cost(mix, renderer)
            with screen.progress(mix) as progress:
                folder, manifest = renderer.render_into(mix, output, progress)
            if as_json:
                say_json({"folder": str(folder), **manifest.model_dump(mode="json")})
            else:
                screen.show(folder, manifest)
        worst = max([worst, *codes])
    return worst


def _tell_cost(mix: Path, renderer: Renderer) -> None:
    """How long separators of one's own will take, before they begin."""
    if renderer.opened.cards:
        from ..audio.reading import probe

        info = probe(mix)
        seconds = renderer.opened.separators_s(info.frames / info.sample_rate)
        if seconds:
            took, cards = duration_text(seconds), ", ".join(renderer.opened.cards)
            complain(f"{mix.name}: about {took} for {cards}")


@click.command()
@DEVICE
@output("Folder whose free space is told.", default=Path("stems"))
@JSON
def doctor(device: str, output: Path, as_json: bool) -> None:
    """Tell what is installed, and which device one really gets."""
    from ..doctor import examine

    facts = examine(device, output)
    if as_json:
        say_json(facts)
    else:
        from .terminal import Screen

        Screen().show_facts(facts)
    if facts["problems"]:
        sys.exit(1)


@click.command()
@click.argument("mix", type=FILE)
@click.argument("stems", nargs=-1, required=True, type=FILE)
@click.option(
    "--gain-db", default=0.0, help="Gain to undo first (undo_db of a set with a common gain)."
)
@click.option("--limit-dbfs", type=float, help="Exit with 1 when the difference peaks above this.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def null(
    mix: Path, stems: tuple[Path, ...], gain_db: float, limit_dbfs: float | None, as_json: bool
) -> None:
    """Say what STEMS, added up, leave of MIX.

    They may be ours or any other program's.
    """
    from ..audio.null import measure_null

    report = measure_null(mix, stems, gain_db)
    if as_json:
        say_json(_null_facts(report))
    else:
        for line in _null_lines(report, mix, len(stems)):
            say(line)
    if limit_dbfs is not None and report.null_dbfs > limit_dbfs:
        sys.exit(1)


def _null_facts(report: NullReport) -> dict[str, float | bool | None]:
    """For JSON, which has no -inf: null means "nothing left"."""
    return {
        "null_dbfs": report.null_dbfs if not report.exact else None,
        "rms_dbfs": report.rms_dbfs if not report.exact else None,
        "peak_frame": report.peak_frame,
        "frames": report.frames,
        "exact": report.exact,
        "exact_at_bits": report.exact_at_bits,
    }


def _null_lines(report: NullReport, mix: Path, stems: int) -> Iterator[str]:
    """What is left of the mix, in words."""
    if report.exact:
        yield f"exact: {stems} stems sum to {mix.name} in all {report.frames} frames"
        return
    yield (
        f"difference: peak {report.null_dbfs:.2f} dBFS at frame {report.peak_frame}, "
        f"rms {report.rms_dbfs:.2f} dBFS"
    )
    if report.exact_at_bits:
        yield f"exact at {report.exact_at_bits} bits: the sum is the mix rounded to that depth"
