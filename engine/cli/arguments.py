"""What the arguments of several commands have in common, and how old spellings live on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from presets import Tier, complain

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(path_type=Path)
NATURAL = click.IntRange(min=0)
TIER_NAMES = click.Choice(get_args(Tier))

Verb = TypeVar("Verb", bound=Callable[..., Any])

TIER = click.option("--tier", type=TIER_NAMES, help="Search effort.  [as the preset says]")
# a folder that is not there would be searched in vain, and without a word
_THERE = click.Path(exists=True, file_okay=False, path_type=Path)

PRIORS = click.option(
    "--priors", multiple=True, type=_THERE, help="Another folder with priors; may repeat."
)
SEPARATORS = click.option(
    "--separators",
    multiple=True,
    type=FOLDER,
    help="Another folder with separator cards; may repeat.",
)
UNCHECKED = click.option(
    "--unchecked",
    type=click.Choice(["refuse", "warn"]),
    default="refuse",
    show_default=True,
    help="What to do with a separator whose card has no lock of its check.",
)
COMMERCIAL_ONLY = click.option(
    "--commercial-only",
    is_flag=True,
    help="Refuse separators whose commercial use is not allowed or unknown.",
)
THREADS = click.option("--threads", type=NATURAL, default=0, help="0 is all cores.")
SEED = click.option("--seed", type=NATURAL, default=0, show_default=True, help="Of all chance.")
DEVICE = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda[:N], ..."
)
STRICT_DEVICE = click.option(
    "--strict-device", is_flag=True, help="Fail rather than fall back to the CPU."
)
DEADLINE = click.option(
    "--deadline",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Per mix: the best by then, marked degraded.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def output(
    says: str,
    *,
    kind: click.Path = FOLDER,
    default: Path | None = None,
    required: bool = False,
) -> Callable[[Verb], Verb]:
    """`-o/--output`: where a verb puts what it makes, the same for every verb."""
    option = partial(click.option, "-o", "--output", type=kind, required=required, help=says)
    # a default of None would be a value to click, and the option never missing
    return option() if default is None else option(default=default, show_default=True)


class Renamed(click.Command):
    """A verb whose options had other names: these work for one release more, with a hint.

    `old_names` says for each old spelling which one it is now.
    """

    def __init__(self, *args: Any, old_names: Mapping[str, str], **attributes: Any) -> None:  # noqa: ANN401 - click's own signature
        super().__init__(*args, **attributes)
        self.old_names = dict(old_names)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what was typed, in today's spelling."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*map(self._today, args[:end]), *args[end:]])

    def _today(self, word: str) -> str:
        name, equals, value = word.partition("=")
        if name not in self.old_names:
            return word
        complain(
            f"stemwright: {name} is {self.old_names[name]} now; the old spelling works until "
            "the next release."
        )
        return self.old_names[name] + equals + value


class OldPlace(click.Argument):
    """What was an argument and is `--output` now; it works for one release more, unmentioned."""

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The usage line knows the option alone."""
        return []


def the_output(output: Path | None, old_place: Path | None) -> Path:
    """Where to write, wherever it was said."""
    if output is not None and old_place is None:
        return output
    if old_place is None or output is not None:
        raise click.UsageError("say once where to write: -o FOLDER")
    complain(
        f"stemwright: the folder is named by an option now: -o {old_place}; the old way works "
        "until the next release."
    )
    return old_place
