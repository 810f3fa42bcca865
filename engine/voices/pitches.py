"""The pitches of the voices: one track of fundamental frequencies for each, with how sure it is.

Everything that finds pitches gives this class, and everything that needs them takes it, so that
the separation does not know whether a score, a file or a tracker has told them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

Float = NDArray[np.float32]

LOWEST_HZ = 40.0  # below every bass
HIGHEST_HZ = 2000.0  # above every soprano and most of a violin


@dataclass(frozen=True)
class PitchTracks:
    """Fundamental frequencies of all voices on one grid of frames; frame 0 stands at 0 s.

    names -- the voices, highest first where that is known
    hertz -- (voices, frames); 0 where a voice rests
    frame_seconds -- distance of two frames
    confidence -- (voices, frames), 0 to 1: how sure the pitch, or the rest, is
    origin -- where the pitches come from, in words: `midi`, `file`, `tracker`, ...

    Raises StemwrightError where shapes or values are none of these.
    """

    names: tuple[str, ...]
    hertz: Float
    frame_seconds: float
    confidence: Float
    origin: str

    def __post_init__(self) -> None:
        """Check what others rely on."""
        for name in ("hertz", "confidence"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), np.float32))
        problem = self._problem()
        if problem:
            raise StemwrightError("voices-pitches", f"pitches from {self.origin}: {problem}.")

    def _problem(self) -> str | None:
        if len(set(self.names)) != len(self.names) or not self.names:
            return f"the voices need different names, got {', '.join(self.names) or 'none'}"
        if self.hertz.ndim != 2 or len(self.hertz) != len(self.names):
            return f"{len(self.names)} voices, but pitches of shape {self.hertz.shape}"
        if self.confidence.shape != self.hertz.shape:
            return f"confidence of shape {self.confidence.shape}, pitches {self.hertz.shape}"
        if not np.isfinite(self.frame_seconds) or self.frame_seconds <= 0:
            return f"frames {self.frame_seconds} s apart"
        if not (np.isfinite(self.hertz).all() and np.isfinite(self.confidence).all()):
            return "some are not finite"
        voiced = self.hertz[self.hertz != 0]
        if voiced.size and (voiced.min() < LOWEST_HZ or voiced.max() > HIGHEST_HZ):
            return (
                f"from {voiced.min():g} to {voiced.max():g} Hz, but voices have "
                f"{LOWEST_HZ:g} to {HIGHEST_HZ:g} Hz, and 0 stands for a rest"
            )
        return None

    @property
    def frames(self) -> int:
        """How many frames every voice has."""
        return int(self.hertz.shape[1])

    @property
    def seconds(self) -> float:
        """Where the last frame ends."""
        return self.frames * self.frame_seconds

    @property
    def times(self) -> NDArray[np.float64]:
        """Seconds of every frame."""
        return np.arange(self.frames, dtype=np.float64) * self.frame_seconds

    def at(self, times: NDArray[np.floating] | Sequence[float]) -> Float:
        """Pitches in Hz at any times in seconds, (voices, times); 0 where a voice rests.

        Between two sung frames the pitch glides (in cents); beside a rest the nearer one counts,
        and outside of all frames nobody sings.
        """
        place = np.asarray(times, np.float64) / self.frame_seconds
        low = np.clip(np.floor(place).astype(np.int64), 0, max(self.frames - 1, 0))
        high = np.minimum(low + 1, max(self.frames - 1, 0))
        if not self.frames:
            return np.zeros((len(self.names), len(place)), np.float32)
        share = np.round(np.clip(place - low, 0, 1), 6)  # a frame's own time is its own pitch
        left, right = self.hertz[:, low], self.hertz[:, high]
        nearest = np.where(share < 0.5, left, right)
        both = (left > 0) & (right > 0)
        safe = np.where(both, left, 1), np.where(both, right, 1)
        glide = np.exp2((1 - share) * np.log2(safe[0]) + share * np.log2(safe[1]))
        inside = (place > -0.5) & (place < self.frames - 0.5)
        return np.where(inside, np.where(both, glide, nearest), 0).astype(np.float32)

    def voiced(self) -> NDArray[np.float64]:
        """For how many seconds each voice sings, (voices,)."""
        sung: NDArray[np.float64] = np.count_nonzero(self.hertz, axis=1) * self.frame_seconds
        return sung

    def sureness(self) -> NDArray[np.float64]:
        """Mean confidence of each voice where it sings, (voices,); 0 where it never does."""
        sung = self.hertz > 0
        total = np.where(sung, self.confidence, 0).sum(axis=1, dtype=np.float64)
        mean: NDArray[np.float64] = total / np.maximum(sung.sum(axis=1), 1)
        return mean
