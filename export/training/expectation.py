"""What a new instrument promises for mixes, and what would raise it most.

Takes that were held out are laid into sums with others that were held out, and what the head
finds in each is set against half of the sum, which knows nothing. The louder an instrument is, the
nearer half of the sum comes to it, so the promise depends on its level (docs/lab.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

SAMPLES_COST_DB = 0.5  # of others that flows play, against recordings of them (docs/lab.md)
ENOUGH_MINUTES = 15.0
SONGS_OFF_DB = 3.5  # from what sums promised for them (docs/own-instrument-bench.md)
NEAR_DB = 6.0  # how far from all else instruments usually are
LEAST_FOR_INTERVAL = 3  # excerpts or songs, of which a spread and a slope can be told
_DRAWS = 2000
_PERCENTS = (2.5, 97.5)


@dataclass(frozen=True)
class Gains:
    """What single sums gain over half of the mix, and how loud the instrument is against all else
    there, both in dB, (excerpts,)."""

    levels_db: Float
    gains_db: Float

    @property
    def slope(self) -> float:
        """By how much a decibel of level changes the gain."""
        spread = self.levels_db - self.levels_db.mean()
        square = float((spread**2).sum())
        return float((spread * self.gains_db).sum()) / square if square > 0 else 0.0


@dataclass(frozen=True)
class Expectation:
    """The mean gain over half of the mix in dB with its 95 % interval, on `excerpts` held-out
    sums, or on `songs`; and on sums of takes that were trained on (`heard_db`). At another level
    than `level_db` of these it is `slope` times the difference more."""

    stem: str
    minutes: float
    gain_db: float
    low_db: float
    high_db: float
    heard_db: float
    excerpts: int
    recorded: tuple[str, ...]
    songs: int = 0
    level_db: float = 0.0
    slope: float = 0.0

    @classmethod
    def of(
        cls,
        stem: str,
        minutes: float,
        held_out: Gains,
        heard: Gains,
        recorded: Collection[str],
        songs: int = 0,
        seed: int = 0,
    ) -> Expectation:
        """From the gains of single excerpts."""
        gains = held_out.gains_db
        count = len(gains)
        if not count:
            return cls(stem, minutes, 0.0, 0.0, 0.0, 0.0, 0, tuple(recorded))
        drawn = np.random.default_rng(seed).integers(count, size=(_DRAWS, count))
        low, high = np.percentile(gains[drawn].mean(axis=1), _PERCENTS)
        heard_db = float((heard.gains_db if len(heard.gains_db) else gains).mean())
        return cls(
            stem,
            minutes,
            float(gains.mean()),
            float(low),
            float(high),
            heard_db,
            count,
            tuple(recorded),
            songs,
            float(held_out.levels_db.mean()),
            held_out.slope,
        )

    def gain_at(self, level_db: float) -> float:
        """What to expect where the instrument has this level against all else."""
        return self.gain_db + self.slope * (level_db - self.level_db)

    def lines(self) -> Iterator[str]:
        """The promise, and the advice that would raise it most."""
        if not self.excerpts:
            yield f"head: nothing can be said of mixes: too little {self.stem} is held out"
            return
        few = self.excerpts < LEAST_FOR_INTERVAL
        interval = "" if few else f"95 % {self.low_db:+.1f} to {self.high_db:+.1f}; "
        yield (
            f"head: expected in mixes: {self.gain_db:+.1f} dB over knowing nothing "
            f"({interval}{self._judges})"
        )
        if not few:
            softer, equal, louder = (self.gain_at(level) for level in (-NEAR_DB, 0.0, NEAR_DB))
            yield (
                f"head: where {self.stem} is as loud as all else {equal:+.1f} dB, "
                f"{NEAR_DB:g} dB softer {softer:+.1f}, {NEAR_DB:g} dB louder {louder:+.1f}"
            )
        if self.songs == 1:
            yield "head: one song that judges says little of others: name more with --judge"
        if not self.songs:
            yield f"head: real songs were {SONGS_OFF_DB:.1f} dB off such a promise on average"
        yield f"head: to raise it most, {self.advice}"

    @property
    def _judges(self) -> str:
        """What the promise is made on."""
        if self.songs:
            songs = "1 song" if self.songs == 1 else f"{self.songs} songs"
            return f"{songs} that chose these weights: expect less of others"
        beside = ", ".join(self.recorded) if self.recorded else "samples of the installed priors"
        return f"{self.excerpts} held-out sums with {beside}"

    @property
    def advice(self) -> str:
        """What costs most now: takes that were never heard, or others that are none."""
        # sums say nothing against songs
        unheard = 0.0 if self.songs else self.heard_db - self.gain_db
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
