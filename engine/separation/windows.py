"""What is looked at of a mix: windows of band magnitudes, of every group of channels and of the
two halves of a pair, middle and side.

Voice, bass and kick stand in the middle of most mixes, so the side is a mix of the others, and
the middle is one in which what is panned is quieter. The first estimate listens to both, and
the power that it finds for a stem in the two is the stem's share of the pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio.layout import ChannelGroups
from ..audio.reading import SourceInfo
from ..model.frames import Reader, stream_frames
from ..model.spectrogram import FrontEnd, Stft
from .masks import Estimator, MaskPlan, combine

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]
View = Callable[[Complex], Float]  # (channels, frames, bins) -> (rows, frames, bands)

CORE = 256  # frames of a segment that are its own: 5.9 s
FADE = 32  # frames of context on each side, cross-faded with the neighbours
WINDOW = CORE + 2 * FADE

_HALF = np.float32(np.sqrt(0.5))  # middle and side have the pair's power together
_LEAST = 1e-12  # of a window's mean power: what no half has is shared out as both say


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
    """Some segments of a mix: the groups, (groups, segments, WINDOW, bands), and of those that
    are pairs the halves, (2, pairs, segments, WINDOW, bands), first the middle, then the side."""

    groups: Float
    halves: Float
    pairs: tuple[int, ...]  # the groups' numbers

    @property
    def paired(self) -> NDArray[np.bool_]:
        """Whether a window has halves, (groups * segments,), as the groups' lie one by one."""
        one = np.isin(np.arange(len(self.groups)), self.pairs)
        return np.repeat(one, self.groups.shape[1])


class Looks:
    """How a mix of one layout and rate is looked at; without `halves` by its groups alone."""

    def __init__(
        self, front_end: FrontEnd, sample_rate: int, groups: ChannelGroups, *, halves: bool
    ) -> None:
        self._front_end, self._rate, self._groups = front_end, sample_rate, groups.groups
        self.pairs = tuple(n for n, g in enumerate(self._groups) if halves and len(g) == 2)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and bands of a view: the groups, then the middles of the pairs, then the sides."""
        return len(self._groups) + 2 * len(self.pairs), self._front_end.plan.bands

    def view(self, spectrogram: Complex) -> Float:
        """Band magnitudes, (channels, frames, bins) -> (rows, frames, bands)."""
        rows = [self._magnitudes(spectrogram[list(group)]) for group in self._groups]
        sides = []
        for number in self.pairs:
            left, right = spectrogram[list(self._groups[number])]
            rows.append(self._magnitudes((left + right)[None] * _HALF))
            sides.append(self._magnitudes((left - right)[None] * _HALF))
        return np.stack([*rows, *sides])

    def _magnitudes(self, channels: Complex) -> Float:
        """Of one group; its channels' mean power, so mono and stereo agree."""
        magnitudes = self._front_end.band_magnitudes(channels, self._rate)
        return magnitudes / np.float32(np.sqrt(len(channels)))

    def windows(self, rows: Float) -> Windows:
        """Rows of some segments, (rows, segments, WINDOW, bands), as what they are."""
        count = len(self._groups)
        halves = rows[count:].reshape(2, len(self.pairs), *rows.shape[1:])
        return Windows(rows[:count], halves, self.pairs)


def masks_of_pairs(estimator: Estimator, halves: Float, weight: Float) -> Float:
    """The first masks of pairs, from what the estimator says of their middles and sides.

    Shape: halves (2, batch, frames, bands), weight (batch, frames, bands) -> (priors, batch,
    frames, bands). Each half counts as much as it has of the power, point by point.
    """
    powers = np.square(halves)
    powers += _LEAST * powers.mean(axis=(0, 2, 3), keepdims=True) + np.finfo(np.float32).tiny
    found = [combine(estimator.magnitudes(h, weight), None, h, MaskPlan()) for h in halves]
    middle, side = (masks * power for masks, power in zip(found, powers, strict=True))
    middle += side
    return np.asarray(middle / powers.sum(axis=0), np.float32)
