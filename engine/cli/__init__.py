"""What a user types: verbs, their arguments and their answers. This is the door by which the
commands of other rooms take the arguments that all verbs share."""

from .arguments import (
    DEADLINE,
    DEVICE,
    FILE,
    FOLDER,
    JSON,
    NATURAL,
    PRIORS,
    SEED,
    STRICT_DEVICE,
    THREADS,
    TIER,
    OldPlace,
    Renamed,
    output,
    the_output,
)

__all__ = [
    "DEADLINE",
    "DEVICE",
    "FILE",
    "FOLDER",
    "JSON",
    "NATURAL",
    "PRIORS",
    "SEED",
    "STRICT_DEVICE",
    "THREADS",
    "TIER",
    "OldPlace",
    "Renamed",
    "output",
    "the_output",
]
