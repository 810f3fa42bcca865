"""What the arguments of several training verbs have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import click

from engine.cli import FILE, FOLDER, SEED, THREADS

from ..training.options import TrainingOptions

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
SOUNDFONTS = click.option(
    "--soundfont", "soundfonts", multiple=True, type=FILE, help="To play on; may repeat."
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
        click.option(
            "--batch",
            type=click.IntRange(0),
            default=0,
            help="Excerpts a step.  [what the size has]",
        ),
        click.option(
            "--learning-rate",
            type=click.FloatRange(min=0),
            default=0.0,
            help="The largest one.  [what the size has]",
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
