"""How fast a render goes: the seconds of its stages so far, and what is left of it."""

from __future__ import annotations

import time
from collections.abc import Callable

# What comes after the search, as multiples of the time that decoding took (docs/speed.md)
WRITING_BY_DECODING, WET_BY_DECODING = 8.0, 8.0


class Pace:
    """Stopwatch of one render.

    Until a stage runs, its length is guessed from those before it; once it runs, from itself.
    """

    def __init__(self, *, wet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._wet = clock, wet
        self.started = self._last = clock()
        self.laps: dict[str, float] = {}

    def lap(self, stage: str, took_s: float | None = None) -> None:
        """End a stage, which took as long as it ran here unless `took_s` says otherwise."""
        now = self._clock()
        self.laps[stage] = now - self._last if took_s is None else took_s
        self._last = now

    def after_search_s(self) -> float:
        """What writing and processing will take, guessed from decoding, which arrays need not."""
        share = WRITING_BY_DECODING + (WET_BY_DECODING if self._wet else 0.0)
        return share * self.laps.get("decoding", 0.0)

    def left_s(self, stage: str, done: int, total: int) -> float | None:
        """Seconds until the set is there; None while there is nothing to guess from.

        `done` of `total` parts of the running stage lie behind.
        """
        rest = None
        if 0 < done <= total:
            rest = (self._clock() - self._last) * (total - done) / done
        if stage == "searching":
            return None if rest is None else rest + self.after_search_s()
        if stage == "writing":
            wet = WET_BY_DECODING * self.laps.get("decoding", 0.0) if self._wet else 0.0
            return self.after_search_s() if rest is None else rest + wet
        return None
