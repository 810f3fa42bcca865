"""Endless streams of equal blocks: what every step of a chain takes in and gives out.

A stream is the signal and then silence without end. A step with latency simply gives its
first samples later, so that what it gives is already aligned, and whoever stands at the end
takes as many frames as he wants. Blocks always have the same length, because pedalboard
starts an effect anew when the length changes: this is what makes the samples independent of
how the input was cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

AudioBlock = npt.NDArray[np.float32]  # (channels, frames)
Stream = Iterator[AudioBlock]
"""Blocks `(channels, BLOCK_FRAMES)` without end."""

# Long enough that the GSM codec's resamplers never run dry at any rate (8192 was measured to
# suffice at 44.1 kHz, 2048 did not), short enough that a stereo block is half a megabyte.
BLOCK_FRAMES = 1 << 16


def endless(parts: Iterable[AudioBlock], channels: int) -> Stream:
    """Parts `(channels, n)` of any length, joined, followed by silence for ever."""
    silence = np.zeros((channels, BLOCK_FRAMES), np.float32)
    return reblocked(itertools.chain(parts, itertools.repeat(silence)))


def reblocked(parts: Iterable[AudioBlock]) -> Stream:
    """The same samples in blocks of BLOCK_FRAMES."""
    waiting: list[AudioBlock] = []
    count = 0
    for part in parts:
        if not waiting and part.shape[1] == BLOCK_FRAMES:
            yield part
            continue
        waiting.append(part)
        count += part.shape[1]
        if count < BLOCK_FRAMES:
            continue
        joined = np.concatenate(waiting, axis=1)
        whole = count // BLOCK_FRAMES * BLOCK_FRAMES
        for start in range(0, whole, BLOCK_FRAMES):
            yield joined[:, start : start + BLOCK_FRAMES]
        count -= whole
        waiting = [joined[:, whole:]] if count else []


def take(stream: Iterable[AudioBlock], frames: int) -> Iterator[AudioBlock]:
    """The first frames of a stream, the last block cut to length."""
    left = frames
    blocks = iter(stream)
    while left > 0:
        block = next(blocks)[:, :left]
        left -= block.shape[1]
        yield block


def summed(streams: list[Stream]) -> Stream:
    """Several streams added up, sample by sample."""
    for blocks in zip(*streams, strict=True):
        total = blocks[0].copy()
        for block in blocks[1:]:
            total += block
        yield total
