"""What happens to an instrument between the microphone and the mix, done to band magnitudes.

Takes and renders are dry, finished stems are not: they are equalised, compressed, put into rooms
and doubled. A prior that has only heard dry ones takes the room of one instrument for another.
All functions work on power or magnitude alone, as phases are not there: powers of a reverberant
tail add to the direct sound's.

Shape: excerpts are (rows, frames, bands) magnitudes on any device, treated all at once. What
is random is drawn by numpy on the host, a few numbers a row: a seed means the same everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Rng = np.random.Generator

EQ_DB = 6.0
GAIN_DB = (-12.0, 3.0)
ROOM_DECAY_S = (0.15, 2.5)  # time to fall by 60 dB
ROOM_DB = (-18.0, 0.0)  # power of the tail against the direct sound's
COMPRESSION = (0.4, 1.1)  # output dB per input dB; above 1 expands
MOST_GAIN_DB = 12.0  # of the compressor
LAYER_DB = (-9.0, 0.0)
_ENVELOPE_FRAMES = 4
_LEAST = 1e-6


@dataclass(frozen=True)
class Production:
    """How often an excerpt is treated in each way."""

    room: float = 0.35
    dynamics: float = 0.35
    cut: float = 0.15
    layer: float = 0.2

    def treat(self, rng: Rng, excerpts: Tensor, frame_s: float) -> None:
        """Treat excerpts in place, each on its own: dynamics, colour, room, gain."""
        rows, _, bands = excerpts.shape
        if (some := chosen(rng, rows, self.dynamics)).size:
            at = on(some, excerpts)
            heard = excerpts[at]
            excerpts[at] = heard * random_dynamics(rng, heard)
        excerpts *= on(random_eq(rng, rows, bands), excerpts)[:, None]
        if (some := chosen(rng, rows, self.cut)).size:
            at = on(some, excerpts)
            excerpts[at] *= on(random_cut(rng, some.size, bands), excerpts)[:, None]
        if (some := chosen(rng, rows, self.room)).size:
            at = on(some, excerpts)
            excerpts[at] = in_a_room(rng, excerpts[at], frame_s)
        excerpts *= on(10 ** (rng.uniform(*GAIN_DB, rows) / 20), excerpts)[:, None, None]


PRODUCED = Production()
DRY = Production(room=0, dynamics=0, cut=0, layer=0)  # equaliser and gain alone


def chosen(rng: Rng, rows: int, share: float) -> NDArray[np.int64]:
    """Rows by chance, each with probability `share`."""
    return np.flatnonzero(rng.random(rows) < share)


def on(values: ArrayLike, like: Tensor) -> Tensor:
    """Numbers where `like` is: floats in its precision, integers as they are."""
    array = np.ascontiguousarray(values)
    tensor = torch.from_numpy(array)
    kind = tensor.dtype if array.dtype.kind in "iu" else like.dtype
    return tensor.to(like.device, kind)


def random_eq(rng: Rng, rows: int, bands: int) -> NDArray[np.float32]:
    """Smooth gain curves (rows, bands): a tilt and one bell or dip, each up to EQ_DB."""
    position = np.linspace(-1, 1, bands)
    tilt, bell = rng.uniform(-EQ_DB, EQ_DB, (2, rows, 1))
    centre, width = rng.uniform(-1, 1, (rows, 1)), rng.uniform(0.1, 0.5, (rows, 1))
    curve_db = tilt * position + bell * np.exp(-(((position - centre) / width) ** 2))
    return np.asarray(10 ** (curve_db / 20), np.float32)


def random_cut(rng: Rng, rows: int, bands: int) -> NDArray[np.float32]:
    """High-pass or low-pass gain curves (rows, bands) that take away up to a third of them."""
    edge = rng.uniform(0.0, 0.33, (rows, 1)) * bands
    below = np.maximum(edge - np.arange(bands), 0)
    curve_db = -np.minimum(rng.uniform(0.5, 3.0, (rows, 1)) * below, 60.0)
    low_pass = rng.random((rows, 1)) < 0.5
    return np.asarray(10 ** (np.where(low_pass, curve_db[:, ::-1], curve_db) / 20), np.float32)


def random_dynamics(rng: Rng, excerpts: Tensor) -> Tensor:
    """Compressors' or expanders' gains (rows, frames, 1): levels' swings times random ratios."""
    return dynamics(excerpts, rng.uniform(*COMPRESSION, len(excerpts)), _ENVELOPE_FRAMES)


def dynamics(excerpts: Tensor, ratios: ArrayLike, envelope_frames: int) -> Tensor:
    """The gains (rows, frames, 1) that leave a row's ratio in dB of every dB of a level's swing.

    The level is that of the last few frames, so that with one onsets are held down as well.
    """
    power = (excerpts**2).mean(dim=2)
    smooth = torch.nn.functional.avg_pool1d(
        torch.nn.functional.pad(power[:, None], (envelope_frames - 1, 0)), envelope_frames, 1
    )[:, 0]
    level_db = 10 * torch.log10(smooth + _LEAST)
    usual_db = torch.quantile(level_db, 0.75, dim=1, keepdim=True)
    limited_db = (on(ratios, excerpts)[:, None] - 1) * (level_db - usual_db)
    return torch.pow(10, limited_db.clamp(-MOST_GAIN_DB, MOST_GAIN_DB) / 20)[:, :, None]


def in_a_room(rng: Rng, excerpts: Tensor, frame_s: float) -> Tensor:
    """Excerpts with a decaying tail each; high bands decay up to three times faster."""
    rows, _, bands = excerpts.shape
    shortest, longest = ROOM_DECAY_S
    decay_s = np.exp(rng.uniform(math.log(shortest), math.log(longest), (rows, 1)))
    faster = 1 + np.linspace(0, 1, bands) * rng.uniform(0, 2, (rows, 1))
    kept = on(10 ** (-6 * frame_s * faster / decay_s), excerpts)[:, None]
    share = on(10 ** (rng.uniform(*ROOM_DB, rows) / 10), excerpts)[:, None, None]
    power = excerpts**2
    tail = torch.zeros_like(power)
    tail[:, 1:] = decaying((1 - kept) * power, kept)[:, :-1]
    return torch.sqrt(power + share * tail)


def decaying(x: Tensor, kept: Tensor) -> Tensor:
    """y_t = x_t + kept * y_(t-1) along the frames, (rows, frames, bands).

    In doublings instead of frame by frame: after each, twice as many frames are summed up.
    """
    y, reach, share = x, 1, kept
    for _ in range(math.ceil(math.log2(max(x.shape[1], 1)))):
        y = torch.cat([y[:, :reach], y[:, reach:] + share * y[:, :-reach]], dim=1)
        reach, share = 2 * reach, share * share
    return y
