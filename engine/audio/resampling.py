"""Streams from one sample rate to another, with a length that is known before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def resampled_frames(frames: int, source_rate: int, target_rate: int) -> int:
    """How many frames `resampled` gives."""
    return -(-frames * target_rate // source_rate)


def resampled(
    blocks: Iterable[Float], channels: int, frames: int, source_rate: int, target_rate: int
) -> Iterator[Float]:
    """Blocks (channels, n) of `frames` frames at another rate, aligned to the sample's time.

    The last fraction of a frame is filled up with silence. At the same rate nothing is touched.
    """
    if source_rate == target_rate:
        yield from blocks
        return
    left = resampled_frames(frames, source_rate, target_rate)
    for piece in _converted(blocks, channels, source_rate, target_rate):
        kept = piece[:, :left]
        left -= kept.shape[1]
        if kept.shape[1]:
            yield kept
    if left:
        yield np.zeros((channels, left), np.float32)


def _converted(
    blocks: Iterable[Float], channels: int, source_rate: int, target_rate: int
) -> Iterator[Float]:
    import soxr

    stream = soxr.ResampleStream(source_rate, target_rate, channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block.T)).T
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T
