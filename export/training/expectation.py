"""What a new instrument promises for mixes, and what would raise it most.

Takes that were held out are laid into sums with others that were held out, and what the head finds
in each is set against half of the sum, which knows nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

SAMPLES_COST_DB = 0.5  # of others that flows play, against recordings of them (docs/lab.md)
ENOUGH_MINUTES = 15.0
_DRAWS = 2000
_PERCENTS = (2.5, 97.5)


@dataclass(frozen=True)
class Expectation:
    """The mean gain over half of the mix in dB with its 95 % interval, on `excerpts` held-out
    sums; and on sums of takes that were trained on (`heard_db`)."""

    stem: str
    minutes: float
    gain_db: float
    low_db: float
    high_db: float
    heard_db: float
    excerpts: int
    recorded: tuple[str, ...]

    @classmethod
    def of(
        cls,
        stem: str,
        minutes: float,
        held_out_db: Float,
        heard_db: Float,
        recorded: Collection[str],
        seed: int = 0,
    ) -> Expectation:
        """From the gains of single excerpts, (excerpts,) each."""
        count = len(held_out_db)
        if not count:
            return cls(stem, minutes, 0.0, 0.0, 0.0, 0.0, 0, tuple(recorded))
        drawn = np.random.default_rng(seed).integers(count, size=(_DRAWS, count))
        low, high = np.percentile(held_out_db[drawn].mean(axis=1), _PERCENTS)
        heard = float(heard_db.mean()) if len(heard_db) else float(held_out_db.mean())
        return cls(
            stem,
            minutes,
            float(held_out_db.mean()),
            float(low),
            float(high),
            heard,
            count,
            tuple(recorded),
        )

    def lines(self) -> Iterator[str]:
        """The promise, and the advice that would raise it most."""
        if not self.excerpts:
            yield f"head: nothing can be said of mixes: too little {self.stem} is held out"
            return
        beside = ", ".join(self.recorded) if self.recorded else "samples of the installed priors"
        yield (
            f"head: expected in mixes: {self.gain_db:+.1f} dB over knowing nothing "
            f"(95 % {self.low_db:+.1f} to {self.high_db:+.1f}; {self.excerpts} held-out sums with "
            f"{beside})"
        )
        yield f"head: to raise it most, {self.advice}"

    @property
    def advice(self) -> str:
        """What costs most now: takes that were never heard, or others that are none."""
        unheard = self.heard_db - self.gain_db
        if not self.recorded and unheard < SAMPLES_COST_DB:
            return (
                "train against recordings: --against STEM=FOLDER of whatever plays beside "
                f"{self.stem}, also mixes without it (--against band=FOLDER)"
            )
        if self.minutes < ENOUGH_MINUTES:
            unlike_heard = f": takes it has heard gain {unheard:.1f} dB more than those it has not"
            return f"record more than these {self.minutes:.1f} minutes" + unlike_heard * (
                unheard > 0
            )
        if unheard >= SAMPLES_COST_DB:
            return (
                f"record {self.stem} in other rooms and with other settings: takes it has heard "
                f"gain {unheard:.1f} dB more than those it has not"
            )
        return f"tune a pack to whole songs with {self.stem} (docs/artist-pack.md)"
