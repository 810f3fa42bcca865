"""What a latent search is to do, and what every way of descending works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """One search, fully stated: what the manifest records and the result depends on."""

    method: str
    steps: int
    learning_rate: float
    prior_weight: float
    exact: bool  # sum of the others from this step, not from the last one
    guided_steps: int  # how many steps, at first, draw every prior to its own estimate
    guide_weight: float  # and how much

    def guidance(self, step: int) -> float:
        """Weight of the guide in this step."""
        return self.guide_weight if step < self.guided_steps else 0.0


@dataclass(frozen=True)
class SearchTask:
    """What every way of descending needs: targets and weights, shaped as in `search`."""

    mix: Float
    weight: Float
    guide: Float
    plan: SearchPlan
