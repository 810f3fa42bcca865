"""Adam on the card: latents, gradients and magnitudes stay in the device's memory.

A step sends it nothing but scalars (the guide's weight, the signs of the sums, Adam's rate and
correction for every prior) and fetches nothing. The arithmetic is that of `search.Adam` in two
small graphs beside this file, which `export.device_graphs` writes; rounding differs from NumPy's
in the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..model.sessions import BoundSession, Device, make_session

if TYPE_CHECKING:
    from onnxruntime import OrtValue

    from ..model.prior import Prior
    from .search_plan import SearchTask

Float = NDArray[np.float32]

GRAPHS = Path(__file__).parents[1] / "graphs"


def descend_on_device(
    priors: Sequence[Prior],
    latents: Sequence[Float],
    magnitudes: Float,
    task: SearchTask,
    steps: Iterable[int],
) -> list[Float]:
    """Move the latents downhill, as `search` does on the host with sums of the last step.

    Shape: latents (batch, frames / 2, 2 * bands) each, magnitudes (priors, batch, frames,
    bands).
    """
    gradients = [prior.bound("gradient") for prior in priors]
    card = _Card(gradients[0])
    own = [card.put(each) for each in magnitudes]
    fixed = {
        "mix": card.put(task.mix),
        "weight": card.put(task.weight),
        "prior_weight": card.put(task.plan.prior_weight),
    }
    guides = [card.put(each) for each in task.guide]
    movers = [_Mover(card, z, task.plan.learning_rate) for z in latents]
    for step in steps:
        fixed["guide_weight"] = card.put(task.plan.guidance(step))
        total = own[0]
        for each in own[1:]:
            total = card.scaled_sum(total, each, 1)
        for index, (mover, gradient) in enumerate(zip(movers, gradients, strict=True)):
            other_magnitudes = card.scaled_sum(total, own[index], -1)
            moving = {"latents": mover.latents, "others": other_magnitudes, "guide": guides[index]}
            found = gradient.run(moving | fixed)
            own[index] = found["own"]
            mover.move(found["gradient"], step + 1)
    return [mover.latents.numpy() for mover in movers]


class _Card:
    """The device of a session, and the sums that are made there."""

    def __init__(self, session: BoundSession) -> None:
        self.put = session.put
        self.adam = _helper("adam", session.device)
        self._sum = _helper("scaled_sum", session.device)

    def scaled_sum(self, a: OrtValue, b: OrtValue, scale: float) -> OrtValue:
        """a + scale * b."""
        return self._sum.run({"a": a, "b": b, "scale": self.put(scale)})["sum"]


class _Mover:
    """Adam's state of one prior's latents, on the card."""

    def __init__(self, card: _Card, latents: Float, learning_rate: float) -> None:
        self._card, self._learning_rate = card, learning_rate
        self.latents = card.put(latents)
        self._mean = self._square = card.put(np.zeros_like(latents))

    def move(self, gradient: OrtValue, step: int) -> None:
        found = self._card.adam.run(
            {
                "latents": self.latents,
                "gradient": gradient,
                "mean": self._mean,
                "square": self._square,
                "rate": self._card.put(self._learning_rate / (1 - 0.9**step)),
                "correction": self._card.put(1 - 0.999**step),
            }
        )
        self.latents, self._mean, self._square = (
            found["moved"],
            found["new_mean"],
            found["new_square"],
        )


@cache
def _helper(name: str, device: Device) -> BoundSession:
    """One of the small graphs, opened once per device."""
    blob = (GRAPHS / f"{name}.onnx").read_bytes()
    return BoundSession(make_session(blob, device)[0], device)
