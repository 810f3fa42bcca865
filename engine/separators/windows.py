"""Where segments lie, what stands in them, and how neighbours fade: sums of one, everywhere.

The first segment's usable part begins one fade before the recording and the last one's ends behind
it, so that every sample, the first one too, has the full weight. Nothing is ever divided by a sum
of weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .card import SeparatorCard

Float = NDArray[np.float32]


@dataclass(frozen=True)
class WindowGrid:
    """The grid of one model's segments.

    Of a segment's `length` samples `discard` are thrown away at both ends; what is left begins
    every `hop` samples.
    """

    length: int
    discard: int
    hop: int
    blend: str = "hann"

    @classmethod
    def of(cls, card: SeparatorCard) -> WindowGrid:
        """The grid that a card asks for."""
        usable = card.segment - 2 * card.discard
        hop = max(1, usable - round(card.overlap * usable))
        return cls(card.segment, card.discard, hop, card.blend)

    @property
    def usable(self) -> int:
        """Samples of a segment that are heard."""
        return self.length - 2 * self.discard

    @property
    def shared(self) -> int:
        """Samples of the usable part that later segments have, too."""
        return self.usable - self.hop

    @cached_property
    def weight(self) -> Float:
        """Shape (usable,); shifted by whole hops and summed it is one."""
        fade = min(self.shared, self.usable // 2)
        rise = (np.arange(fade) + 0.5) / max(fade, 1)
        if self.blend == "hann":
            rise = np.sin(0.5 * np.pi * rise) ** 2
        raw = np.ones(self.usable)
        raw[:fade] *= rise
        raw[self.usable - fade :] *= rise[::-1]
        missing = -self.usable % self.hop
        sums = np.pad(raw, (0, missing)).reshape(-1, self.hop).sum(axis=0)
        return np.asarray(raw / sums[np.arange(self.usable) % self.hop], np.float32)

    def count(self, samples: int) -> int:
        """Segments of a recording."""
        return (samples - 1 + self.shared) // self.hop + 1

    def start(self, index: int) -> int:
        """The sample at which a segment's usable part begins; negative for the first ones."""
        return index * self.hop - self.shared

    def cut(self, blocks: Iterable[Float], samples: int, edge: str) -> Iterator[Float]:
        """Every segment (channels, length) of a recording that comes in blocks (channels, n)."""
        before = self.discard + self.shared
        after = self.start(self.count(samples) - 1) + self.usable + self.discard - samples
        pieces = _extended(iter(blocks), before, after, self.length, edge)
        held: Float | None = None
        for _ in range(self.count(samples)):
            while held is None or held.shape[1] < self.length:
                piece = next(pieces)
                held = piece if held is None else np.concatenate([held, piece], axis=1)
            yield held[:, : self.length]
            held = held[:, self.hop :].copy()


class OverlapAdd:
    """Fades successive segments into each other and gives every sample out once.

    `tail` is all that it remembers: the shared part of the last segments, (..., shared).
    """

    def __init__(self, windows: WindowGrid, samples: int, tail: Float | None = None) -> None:
        self.windows, self.samples, self.tail = windows, samples, tail

    def add(self, index: int, segment: Float) -> Float:
        """Take segment `index` (..., length); returns the samples that are complete with it."""
        grid = self.windows
        begin = grid.discard
        heard = segment[..., begin : begin + grid.usable] * grid.weight
        if self.tail is not None:
            heard[..., : grid.shared] += self.tail
        self.tail = heard[..., grid.hop :].copy()
        start = grid.start(index)
        first = max(0, -start)
        last = max(first, min(grid.hop, self.samples - start))
        return heard[..., first:last]


def _extended(
    blocks: Iterator[Float], before: int, after: int, enough: int, edge: str
) -> Iterator[Float]:
    """Blocks with what stands before the start and behind the end.

    Mirrored edges need as many samples of the recording as they have; `enough` are held back.
    """
    if edge == "zero":
        first = next(blocks)
        yield np.zeros((first.shape[0], before), np.float32)
        yield first
        yield from blocks
        yield np.zeros((first.shape[0], max(0, after)), np.float32)
        return
    needed = max(before, enough) + 1
    head = _gathered(blocks, needed)
    yield _mirrored(head, before, 0)[:, :before]
    yield head
    last = head
    for block in blocks:
        yield block
        last = np.concatenate([last, block], axis=1)[:, -(max(after, enough) + 1) :]
    if after > 0:
        yield _mirrored(last, 0, after)[:, -after:]


def _gathered(blocks: Iterator[Float], samples: int) -> Float:
    """So many samples or more in one piece; fewer only at the end."""
    found = [next(blocks)]
    while sum(piece.shape[1] for piece in found) < samples:
        block = next(blocks, None)
        if block is None:
            break
        found.append(block)
    return np.concatenate(found, axis=1)


def _mirrored(audio: Float, left: int, right: int) -> Float:
    """Mirrored as often as needed; a single sample has nothing to mirror and is followed by
    silence."""
    mode = "reflect" if audio.shape[1] > 1 else "constant"
    padded: Float = np.pad(audio, [(0, 0), (left, right)], mode=mode)  # type: ignore[call-overload]
    return padded
