"""From magnitudes to masks: levels, the first estimate, and how estimates are combined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

_ACTIVE = 1e-3  # frames within 30 dB of the loudest one count for the level
_HANN_SHARE = 0.75  # band power of a signal of RMS 1: (N/2)(3N/8) / (N/2)^2
_LEAST = np.float32(1e-7)
_MOST = 10.0  # raw masks: 20 dB over the mix is noise where the mix is silent


class Estimator(Protocol):
    """A source of first magnitudes without a search."""

    def magnitudes(self, mix: Float, weight: Float | None = None, /) -> Float:
        """(batch, frames, bands) -> (priors, batch, frames, bands); `weight`, of the mix's
        shape, is 0 where there is no audio."""


@dataclass(frozen=True)
class MaskPlan:
    """How magnitudes become masks.

    `masks`: m_k = s_k^power / sum_j s_j^power, where s_k is the geometric mean of the searched
    magnitude and the estimate's, the flow counting `flow_weight`. They sum to one. Before the
    search the estimate's masks, and after it these, are brought nearer to those of the song's own
    spectra (`song_masks`), which count `song_weight` in a geometric mean. What the estimate says
    of each stem alone counts `second_look` in its masks. With `spatial` pairs of channels are
    heard by their halves, and shared out by where each stem stands (`shared_out`).
    `raw`: m_k = s_k / X, the flow's own magnitude with the mix's phase, as in the paper; what
    the flows leave over goes to the residual. No bin is raised by more than 20 dB.
    """

    output: str = "masks"
    power: float = 1.0
    flow_weight: float = 1.0
    song_weight: float = 0.0
    second_look: float = 0.0
    spatial: bool = False


def level(magnitudes: Float) -> Float:
    """RMS of the audio behind each window's active frames.

    Shape: (batch, frames, bands) -> (batch, 1, 1). Priors are trained on stems of active
    RMS 1, so windows are divided by this before the search; masks do not change with level.
    """
    power = (magnitudes.astype(np.float64) ** 2).sum(axis=2, keepdims=True) / _HANN_SHARE
    active = power >= _ACTIVE * power.max(axis=1, keepdims=True)
    mean = (power * active).sum(axis=1, keepdims=True) / active.sum(axis=1, keepdims=True)
    return np.asarray(np.sqrt(mean), np.float32)


def combine(searched: Float, estimate: Float | None, mix: Float, plan: MaskPlan) -> Float:
    """Masks of every prior, shape (priors, batch, frames, bands)."""
    if plan.output == "raw":
        raised = searched / np.maximum(mix, _LEAST)
        return np.asarray(np.clip(raised, -_MOST, _MOST), np.float32)
    logs = np.log(np.maximum(np.abs(searched), _LEAST))
    if estimate is not None and plan.flow_weight < 1:
        other = np.log(np.maximum(estimate, _LEAST))
        logs = plan.flow_weight * logs + (1 - plan.flow_weight) * other
    logs *= plan.power
    logs -= logs.max(axis=0)
    masks = np.exp(logs)
    return np.asarray(masks / masks.sum(axis=0), np.float32)
