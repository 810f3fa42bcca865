"""The level at which a network works: whether a card's `normalise` is right, as far as it shows.

A network that is asked at the level it was trained for gives nearly the same stems, scaled, when
the song is a little softer or louder, and stems at the song's own level; asked at another level
it does so less. So a passage is run a little softer and a little louder, once at the song's own
level and once with a deviation of one, which is what `track-mean-std` feeds. Many networks scale
what they hear by themselves: for these `normalise` makes no difference, and that is told, too.
Where neither level is better by much, or the music is strange at both, nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ..model.sessions import Device
from .card import Normalise
from .excerpt import separated_excerpt
from .loading import LoadedCard
from .lock import LevelFindings, LevelFit
from .windows import WindowGrid

Float = NDArray[np.float32]

PASSAGE_S = 8.0
STEP = 2**0.5  # 3 dB to both sides
LOUDER = 8.0  # 18 dB above a deviation of one, where no network was trained
# of steadiness minus distance from the mix's level. A Wave-U-Net trained on songs as they are, and
# the same one scaled as if they had been normalised, differ by 5 to 12 dB on songs of bands; on a
# choir, whose voices are all 11 dB off at either level, by 5 dB in the wrong direction
_CLEAR_DB, _STRANGE_DB, _PEAK_DB = 4.0, 9.0, 1.0


@dataclass(frozen=True)
class _Answers:
    """Stems of a passage at one level, asked softer and louder, as for the level it has."""

    soft: Float
    loud: Float

    @property
    def stems(self) -> Float:
        """In between, (stems, channels, samples)."""
        return np.float32(0.5) * (self.soft + self.loud)

    def fit(self, passage: Float) -> LevelFit:
        """How steady the stems are, and how far from the passage's own level."""
        return LevelFit(
            steady_db=_alike_db(self.soft, self.loud), off_db=_off_db(self.stems, passage)
        )


def try_levels(loaded: LoadedCard, mix: Float, device: Device, threads: int) -> LevelFindings:
    """Run a card's network on the loudest passage of a mix (2, samples) at both levels."""
    most = round(PASSAGE_S * loaded.card.sample_rate)
    passage = _loudest(mix, min(most, mix.shape[1] // 3))
    average = mix.mean(axis=0, dtype=np.float64)
    centre, deviation = float(average.mean()), max(float(average.std(ddof=1)), 1e-8)
    even = ((passage - centre) / deviation).astype(np.float32)
    raw = loaded.with_card(loaded.card.model_copy(update={"normalise": "none"}))

    def asked(*feeds: tuple[Float, float]) -> list[_Answers]:
        """Feeds, and what each has to be multiplied with to have the passage's level."""
        fed = [part for feed, _ in feeds for part in (feed / STEP, feed * STEP)]
        found = iter(_in_one_run(raw, [np.asarray(f, np.float32) for f in fed], device, threads))
        return [
            _Answers(next(found) * np.float32(s * STEP), next(found) * np.float32(s / STEP))
            for _, s in feeds
        ]

    none, track = asked((passage, 1.0), (even, deviation))
    levels = LevelFindings(
        alike_db=_alike_db(none.stems, track.stems),
        none=none.fit(passage),
        track_mean_std=track.fit(passage),
    )
    if not levels.matters or better_level(levels) != "track-mean-std":
        return levels
    [louder] = asked((even * np.float32(LOUDER), deviation / LOUDER))
    return levels.model_copy(update={"louder": louder.fit(passage)})


def better_level(found: LevelFindings) -> Normalise | None:
    """What `normalise` should be; None where the stems do not tell."""
    heard: list[tuple[float, Normalise]] = []
    for normalise in get_args(Normalise):
        fit = found.of(normalise)
        if fit.off_db is not None:
            heard.append((fit.steady_db - fit.off_db, normalise))
    if not heard:
        return None
    (best, normalise), *worse = sorted(heard, reverse=True)
    off_db = found.of(normalise).off_db
    if off_db is None or off_db > _STRANGE_DB or (worse and best - worse[0][0] < _CLEAR_DB):
        return None
    if normalise == "track-mean-std" and found.louder is not None:
        # what is steadier still far above has a threshold that loud songs pass, and no level
        risen = found.louder.steady_db - found.track_mean_std.steady_db
        return normalise if risen < -_PEAK_DB else None
    return normalise


def _in_one_run(
    loaded: LoadedCard, passages: list[Float], device: Device, threads: int
) -> list[Float]:
    """Stems of every passage. They follow each other in one signal, so that the network is loaded
    once, with silence between and each at the same place of the grid of segments."""
    grid, samples = WindowGrid.of(loaded.card), passages[0].shape[1]
    place = -(-(samples + grid.length) // grid.hop) * grid.hop
    line = np.zeros((passages[0].shape[0], place * len(passages)), np.float32)
    for number, passage in enumerate(passages):
        line[:, number * place : number * place + samples] = passage
    stems, _ = separated_excerpt(loaded, line, device, threads)
    starts = [number * place for number in range(len(passages))]
    return [stems[..., start : start + samples] for start in starts]


def _loudest(mix: Float, samples: int) -> Float:
    if mix.shape[1] <= samples:
        return mix
    power = np.square(mix, dtype=np.float64).sum(axis=0)
    sums = np.cumsum(np.concatenate([[0.0], power]))
    start = int((sums[samples:] - sums[:-samples]).argmax())
    return mix[:, start : start + samples]


def _alike_db(one: Float, other: Float) -> float:
    """How much louder stems are than their difference, 60 at most."""
    both = 0.5 * float(np.square(one, dtype=np.float64).sum() + np.square(other).sum())
    apart = float(np.square(one - other, dtype=np.float64).sum())
    return round(float(10 * np.log10(np.clip(both / max(apart, 1e-30), 1e-6, 1e6))), 1)


def _off_db(stems: Float, passage: Float) -> float | None:
    """How far a stem is from its level in the passage: the gain that would fit it, in dB without
    sign, mean of the stems by their energy. None where all are silent."""
    energy = np.square(stems, dtype=np.float64).sum(axis=(1, 2))
    if not energy.sum() > 1e-6 * float(np.square(passage, dtype=np.float64).sum()):
        return None
    heard = energy > 0
    gains = np.abs((stems.astype(np.float64) * passage).sum(axis=(1, 2))[heard] / energy[heard])
    off = np.abs(20 * np.log10(np.clip(gains, 1e-3, 1e3)))
    return round(float((off * energy[heard]).sum() / energy.sum()), 2)
