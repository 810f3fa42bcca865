"""The best weights of a training that goes on from others, and never worse ones.

What held-out material likes best is kept, whichever step it was, and mixtures of the trained
weights with those at the beginning are tried as well (Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022): where nothing is better, the beginning itself is the best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from presets import StemwrightError

from .checkpoint import Checkpoint

Float = NDArray[np.float32]
Weights = Mapping[str, Tensor]
Score = TypeVar("Score")

SHARES = (0.25, 0.5, 0.75)  # of the trained weights against those at the beginning
_BEST = "best/"


@dataclass(frozen=True)
class Best(Generic[Score]):
    """At which step, how much of its weights, and what held-out material says of them."""

    step: int
    share: float
    score: Score
    weights: Weights


class BestWeights(Generic[Score]):
    """The best weights of `model` so far; now, those it begins with.

    `look` says what held-out material thinks of the model as it is, `worth` how good that is.
    """

    def __init__(
        self, model: nn.Module, look: Callable[[], Score], worth: Callable[[Score], float]
    ) -> None:
        self._model, self._look, self._worth = model, look, worth
        self._begun = _copied(model)
        self.before = look()
        self.best = Best(0, 0.0, self.before, self._begun)

    def consider(self, step: int, score: Score) -> None:
        """Keep the weights as they are if they are better than any before, and mixtures with
        those at the beginning likewise. `score` is of the weights as they are."""
        now = _copied(self._model)
        self._keep(step, 1.0, score, now)
        for share in SHARES:
            between = {
                name: torch.lerp(self._begun[name].to(value), value, share)
                for name, value in now.items()
            }
            with self._lent(between):
                self._keep(step, share, self._look(), between)

    def take(self) -> None:
        """Put the best weights into the model, to stay."""
        self._model.load_state_dict(self.best.weights)

    def arrays(self) -> dict[str, Float]:
        """The best weights, for a checkpoint."""
        return {f"{_BEST}{name}": value.cpu().numpy() for name, value in self.best.weights.items()}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take them back; a checkpoint from before any were kept has none.

        Raises StemwrightError where they are of another network.
        """
        kept = best_of(checkpoint)
        if kept is None:
            return
        if kept.keys() != self._begun.keys():
            raise StemwrightError(
                "run-differs",
                "the folder of the run holds a training of other heads. Train in another folder, "
                "or remove that one to begin anew.",
            )
        with self._lent(kept):
            score = self._look()
        metadata = checkpoint.metadata
        self.best = Best(int(metadata["best step"]), float(metadata["best share"]), score, kept)

    def _keep(self, step: int, share: float, score: Score, weights: Weights) -> None:
        if self._worth(score) > self._worth(self.best.score):
            self.best = Best(step, share, score, weights)

    @contextmanager
    def _lent(self, weights: Weights) -> Iterator[None]:
        """The model with other weights for a while."""
        own = _copied(self._model)
        self._model.load_state_dict(weights)
        try:
            yield
        finally:
            self._model.load_state_dict(own)


def best_of(checkpoint: Checkpoint) -> Weights | None:
    """The best weights that a checkpoint keeps, or None where it keeps its last ones alone."""
    kept = {
        name.removeprefix(_BEST): torch.from_numpy(values)
        for name, values in checkpoint.arrays.items()
        if name.startswith(_BEST)
    }
    return kept or None


def _copied(model: nn.Module) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}
