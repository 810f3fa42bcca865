"""What is looked at of a mix: windows of band magnitudes, of every group of channels and of the
two halves of a pair, middle and side.

Voice, bass and kick stand in the middle of most mixes, so the side is a mix of the others, and
the middle is one in which what is panned is quieter. The first estimate listens to both, and
the power that it finds for a stem in the two is the stem's share of the pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio.layout import ChannelGroups
from ..audio.reading import SourceInfo
from ..model.frames import Reader, stream_frames
from ..model.spectrogram import FrontEnd, Stft, middle_and_side
from .masks import Estimator, MaskPlan, combine

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]
View = Callable[[Complex], Float]  # (channels, frames, bins) -> (rows, frames, bands)

CORE = 256  # frames of a segment that are its own: 5.9 s
FADE = 32  # frames of context on each side, cross-faded with the neighbours
WINDOW = CORE + 2 * FADE

_LEAST = 1e-12  # of a window's mean power: what no look has is shared out as all say
_TINY = np.float32(1e-30)


def segments_of(stft: Stft, info: SourceInfo) -> int:
    """How many segments a mix is searched in."""
    return -(-stft.frames(info.frames) // CORE)


def windows_of(
    reader: Reader, info: SourceInfo, stft: Stft, view: View, shape: tuple[int, int]
) -> Iterator[Float]:
    """Yield the view of every segment with its context, (rows, WINDOW, bands), `shape` being
    rows and bands; zeros stand before the start and behind the end."""
    rows, bands = shape
    held = np.zeros((rows, FADE, bands), np.float32)
    blocks = stream_frames(reader, stft, info.channels, info.frames, CORE)
    for _ in range(segments_of(stft, info)):
        while (missing := WINDOW - held.shape[1]) > 0:
            block = next(blocks, None)
            new = np.zeros((rows, missing, bands), np.float32) if block is None else view(block)
            held = np.concatenate([held, new], axis=1)
        yield held[:, :WINDOW]
        held = held[:, CORE:]


@dataclass(frozen=True)
class Windows:
    """Some windows of a mix, all at one level: `mix` (batch, WINDOW, bands), `weight` of its
    shape, 0 where there is no audio, and of those that are `paired` (batch,) the halves,
    (2, pairs, WINDOW, bands), first the middles, then the sides."""

    mix: Float
    weight: Float
    halves: Float
    paired: NDArray[np.bool_]


class Looks:
    """How a mix of one layout and rate is looked at; without `halves` by its groups alone."""

    def __init__(
        self, front_end: FrontEnd, sample_rate: int, groups: ChannelGroups, *, halves: bool
    ) -> None:
        self._front_end, self._rate, self.groups = front_end, sample_rate, groups.groups
        self.pairs = tuple(n for n, g in enumerate(self.groups) if halves and len(g) == 2)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and bands of a view: the groups, then the middles of the pairs, then the sides."""
        return len(self.groups) + 2 * len(self.pairs), self._front_end.plan.bands

    def view(self, spectrogram: Complex) -> Float:
        """Band magnitudes, (channels, frames, bins) -> (rows, frames, bands)."""
        rows = [self._magnitudes(spectrogram[list(group)]) for group in self.groups]
        sides = []
        for number in self.pairs:
            middle, side = middle_and_side(spectrogram[list(self.groups[number])])
            rows.append(self._magnitudes(middle[None]))
            sides.append(self._magnitudes(side[None]))
        return np.stack([*rows, *sides])

    def _magnitudes(self, channels: Complex) -> Float:
        """Of one group; its channels' mean power, so mono and stereo agree."""
        magnitudes = self._front_end.band_magnitudes(channels, self._rate)
        return magnitudes / np.float32(np.sqrt(len(channels)))

    def paired(self, segments: int) -> NDArray[np.bool_]:
        """Whether a window has halves, (groups * segments,), group by group."""
        return np.repeat(np.isin(np.arange(len(self.groups)), self.pairs), segments)


def first_look(estimator: Estimator, windows: Windows) -> Float:
    """First magnitudes, (priors, batch, frames, bands); those of pairs from both halves."""
    alone, paired = ~windows.paired, windows.paired
    mix, weight = windows.mix, windows.weight
    if not paired.any():
        return estimator.magnitudes(mix, weight)
    of_pairs = _by_power(
        (_masks(estimator, half, weight[paired]), half) for half in windows.halves
    )
    found = np.empty((len(of_pairs), *mix.shape), np.float32)
    found[:, paired] = of_pairs * mix[paired]
    if alone.any():
        found[:, alone] = estimator.magnitudes(mix[alone], weight[alone])
    return found


def second_look(estimator: Estimator, windows: Windows, masks: Float) -> Float:
    """Masks from what the estimator says of each stem alone, as `masks` (priors, batch, frames,
    bands) give it: what it takes for another stem goes there."""
    found = np.empty_like(masks)
    for chosen, looks in (
        (~windows.paired, windows.mix[None, ~windows.paired]),
        (windows.paired, windows.halves),
    ):
        if chosen.any():
            weight, of_stems = windows.weight[chosen], masks[:, chosen]
            found[:, chosen] = _by_power(
                (_masks(estimator, mask * look, weight), mask * look)
                for look in looks
                for mask in of_stems
            )
    return found


def _masks(estimator: Estimator, look: Float, weight: Float) -> Float:
    return combine(estimator.magnitudes(look, weight), None, look, MaskPlan())


def _by_power(looks: Iterable[tuple[Float, Float]]) -> Float:
    """The mean of the masks of several looks, (priors, batch, frames, bands) and (batch, frames,
    bands), each counting as much as it has of the power, point by point."""
    (masks, power), *further = ((masks, _counted(look)) for masks, look in looks)
    found, total = masks * power, power.copy()
    for masks, power in further:
        found += masks * power
        total += power
    return np.asarray(found / total, np.float32)


def _counted(look: Float) -> Float:
    """What each point of a look counts, above zero."""
    power = np.square(look)
    power += _LEAST * power.mean(axis=(1, 2), keepdims=True) + _TINY
    return power
