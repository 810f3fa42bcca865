"""What a user types: verbs, their arguments and their answers. This is the door by which the
commands of other rooms take the arguments that all verbs share."""

from .arguments import (
    DEADLINE,
    FILE,
    FOLDER,
    NATURAL,
    PRIORS,
    SEED,
    STRICT_DEVICE,
    THREADS,
    TIER,
)

__all__ = [
    "DEADLINE",
    "FILE",
    "FOLDER",
    "NATURAL",
    "PRIORS",
    "SEED",
    "STRICT_DEVICE",
    "THREADS",
    "TIER",
]
