"""What a user types: verbs, their arguments and their answers. This is the door by which the
commands of other rooms take the arguments that all verbs share."""

from .arguments import (
    COMMERCIAL_ONLY,
    DEADLINE,
    DEVICE,
    FILE,
    FOLDER,
    JSON,
    NATURAL,
    PRIORS,
    SEED,
    SEPARATORS,
    STRICT_DEVICE,
    THREADS,
    TIER,
    UNCHECKED,
    OldPlace,
    Renamed,
    output,
    the_output,
)

__all__ = [
    "COMMERCIAL_ONLY",
    "DEADLINE",
    "DEVICE",
    "FILE",
    "FOLDER",
    "JSON",
    "NATURAL",
    "PRIORS",
    "SEED",
    "SEPARATORS",
    "STRICT_DEVICE",
    "THREADS",
    "TIER",
    "UNCHECKED",
    "OldPlace",
    "Renamed",
    "output",
    "the_output",
]
