"""The verdict at the end of a training: which installed instruments does the new prior know from
its own?

Held-out seconds of the new instrument are scored under its own prior and under every installed
one that sees the same spectrogram, all of them by ONNX Runtime as in a separation. The new prior
tells itself from a rival in the share of seconds that it finds likelier.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine import Prior, cut_excerpts

Float = NDArray[np.float32]

GOOD = 0.9  # told from every rival in this share of held-out seconds
EXCERPT_S = 1.0
ENOUGH_MINUTES = 10.0


@dataclass(frozen=True)
class Verdict:
    """`separability[rival]` is the share of `seconds` in which the new prior is ahead of a rival.

    `collective` rivals stand for the new stem too (other: everything that has no name), so that
    they may be as likely; they do not count.
    """

    stem: str
    minutes: float
    seconds: int
    separability: dict[str, float]
    collective: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether every rival that counts is told apart."""
        return self.seconds > 0 and not self._poor

    @property
    def _poor(self) -> list[str]:
        counted = {k: v for k, v in self.separability.items() if k not in self.collective}
        return sorted((k for k, v in counted.items() if v < GOOD), key=counted.__getitem__)

    def to_dict(self) -> Mapping[str, object]:
        """For the card."""
        return {"told_apart": self.separability, "held_out_seconds": self.seconds}

    def lines(self) -> Iterator[str]:
        """One line per rival, the verdict, and what to do when it is poor."""
        for rival, share in self.separability.items():
            note = f" ({rival} stands for {self.stem} too)" if rival in self.collective else ""
            yield (
                f"tells {self.stem} from {rival} in {share:.0%} of {self.seconds} "
                f"held-out seconds{note}"
            )
        if not self.seconds:
            yield f"{self.stem}: cannot be judged: too little is held out. Record more."
        elif not self.separability:
            yield f"{self.stem}: no other prior is installed that it could be compared with."
        elif self.good:
            yield f"{self.stem}: good"
        else:
            yield f"{self.stem}: NOT GOOD yet. {self._advice()}"

    def _advice(self) -> str:
        """What helps, the most likely first."""
        steps = []
        if self.minutes < ENOUGH_MINUTES:
            steps.append(
                f"record more than these {self.minutes:.1f} minutes, "
                f"{ENOUGH_MINUTES:.0f} or more, played in different ways"
            )
        if unheard := [rival for rival in self._poor if rival not in self.recorded]:
            named = " ".join(f"--against {rival}=FOLDER" for rival in unheard)
            steps.append(f"give recordings of what it is taken for in a new run: {named}")
        return "To mend it, " + "; or ".join(
            steps or [f"record more {self.stem}, played in different ways"]
        )


def judge_run(
    prior: Prior,
    rivals: Mapping[str, Prior],
    recordings: Sequence[Float],
    minutes: float,
    recorded: Collection[str],
) -> Verdict:
    """Compare a new prior with installed ones on held-out magnitudes (frames, bands) of its stem.

    `recorded` are the instruments whose recordings the training was given.
    """
    view = prior.card.front_end
    frames = round(EXCERPT_S * view.sample_rate / view.hop) // 2 * 2
    pieces = [piece for recording in recordings for piece in cut_excerpts(recording, frames)]
    comparable = {
        name: rival
        for name, rival in rivals.items()
        if (rival.card.front_end, rival.card.compression) == (view, prior.card.compression)
    }
    own = _scores(prior, pieces)
    separability = {
        name: float((own > _scores(rival, pieces)).mean())
        for name, rival in comparable.items()
        if pieces
    }
    collective = tuple(
        name
        for name, rival in comparable.items()
        if rival.card.against and prior.stem not in rival.card.against
    )
    return Verdict(prior.stem, minutes, len(pieces), separability, collective, tuple(recorded))


def _scores(prior: Prior, pieces: Sequence[Float]) -> Float:
    """log p per dimension of every excerpt."""
    return np.array([float(prior.log_likelihood(piece)[0]) for piece in pieces], np.float32)
