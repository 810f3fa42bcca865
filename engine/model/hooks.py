"""How the caller looks into long work: progress, whether to stop, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


class Interrupted(Exception):  # noqa: N818 - it is no error, like StopIteration
    """The caller asked to stop; everything searched so far is in the workspace."""


@dataclass
class SearchHooks:
    """How the caller looks in: (segments done, all) after each batch, and whether to stop.

    `entering` is told the name of each part of the work as it begins, such as a separator's.
    `deadline` on `clock` ends the search early, every segment with its share of the time.
    """

    progress: Callable[[int, int], None] = lambda done, total: None
    should_stop: Callable[[], bool] = lambda: False
    entering: Callable[[str], None] = lambda name: None
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic

    def patience(self, segments: int, left: int) -> Callable[[], bool]:
        """Whether there is time for one more step of a batch: it has the share of its
        `segments` in the `left` ones."""
        if self.deadline is None:
            return lambda: True
        now = self.clock()
        end = now + (self.deadline - now) * segments / left
        return lambda: self.clock() < end
