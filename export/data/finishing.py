"""What a mixing engineer does to a stem: takes become what finished mixes are made of.

A bass in a mix is dark and steady, a voice has lost its rumble, drums have gained weight. Takes
and renders have not been through that mixing. So the long-term spectrum of an excerpt is drawn
towards the one that finished stems have, by a random share of the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from .augmentation import dynamics, on

Rng = np.random.Generator

# Power in sixteenths of the bands (of 5 Hz to 20 kHz, as flows and estimate see them) in dB of the
# whole: rounded medians of 43 MUSDB18 training songs, where songs differ by 3 to 14 dB.
FINISHED_DB = MappingProxyType(
    {
        "vocals": (-32, -29, -14, -12, -11, -8, -8, -9, -11, -16, -16, -19, -22, -23, -27, -38),
        "bass": (-4, -4, -13, -21, -28, -32, -34, -38, -41, -44, -50, -56, -63, -70, -72, -74),
        "drums": (-4, -7, -10, -16, -18, -18, -20, -22, -22, -22, -20, -19, -19, -20, -23, -30),
    }
)
# how often an excerpt is finished; basses of rendered songs stay as bright as they are
_FINISHED = MappingProxyType({"vocals": 0.85, "bass": 0.7, "drums": 0.85})
_SHARE = (0.2, 1.0)  # of the way to the finished spectrum
_GAIN_DB = (-30.0, 9.0)  # what is not there is not raised out of the noise
_STEADY = MappingProxyType({"bass": 0.6})  # how often the level is evened out on top
_STEADY_RATIO = (0.1, 0.8)  # dB that are left of a swing of one
_ACTIVE = 1e-3  # frames within 30 dB of the loudest one count
_LEAST = 1e-12


def finish(rng: Rng, excerpts: Tensor, stems: Sequence[str]) -> None:
    """Finish excerpts (rows, frames, bands) of a stem each in place, by random shares.

    Stems that no finished spectrum is known of stay as they are.
    """
    known = np.array([stem in FINISHED_DB for stem in stems], bool)
    steadied = np.array([_STEADY.get(stem, 0.0) for stem in stems]) > rng.random(len(stems))
    if (some := np.flatnonzero(known & steadied)).size:
        at = on(some, excerpts)
        heard = excerpts[at]
        ratios = rng.uniform(*_STEADY_RATIO, some.size)
        excerpts[at] = heard * dynamics(heard, ratios, envelope_frames=1)
    wished = np.array([_FINISHED.get(stem, 0.0) for stem in stems]) > rng.random(len(stems))
    if (some := np.flatnonzero(known & wished)).size:
        at = on(some, excerpts)
        heard = excerpts[at]
        wanted_db = on([[float(v) for v in FINISHED_DB[stems[int(row)]]] for row in some], heard)
        share = on(rng.uniform(*_SHARE, (some.size, 1)), heard)
        excerpts[at] = heard * _towards(wanted_db, heard, share)[:, None]


def _towards(wanted_db: Tensor, excerpts: Tensor, share: Tensor) -> Tensor:
    """The gains (rows, bands) that bring the spectrum of every excerpt a share of the way to the
    wanted one, (rows, groups)."""
    groups, bands = wanted_db.shape[1], excerpts.shape[2]
    gather, spread = (on(each, excerpts) for each in _groups(groups, bands))
    power = (excerpts**2) @ gather  # (rows, frames, groups)
    loudness = power.sum(dim=2)
    active = (loudness >= _ACTIVE * loudness.amax(dim=1, keepdim=True)).to(power.dtype)
    heard = (power * active[:, :, None]).sum(dim=1) / active.sum(dim=1, keepdim=True) + _LEAST
    gain_db = share * (wanted_db - 10 * torch.log10(heard / heard.sum(dim=1, keepdim=True)))
    # relative to where power lies and should lie: there the level is not ours to change
    weight = torch.sqrt(heard * 10 ** (wanted_db / 10))
    gain_db = gain_db - (gain_db * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)
    return torch.pow(10, (gain_db.clamp(*_GAIN_DB) @ spread) / 20)


def _groups(groups: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of neighbouring bands (bands, groups), and the way back by straight lines between
    their middles (groups, bands)."""
    edges = np.arange(groups + 1) * bands // groups
    gather = np.zeros((bands, groups), np.float32)
    for group in range(groups):  # with fewer bands than groups, neighbours share one
        gather[edges[group] : max(edges[group + 1], edges[group] + 1), group] = 1
    centres = (np.arange(groups) + 0.5) * bands / groups - 0.5
    spread = [np.interp(np.arange(bands), centres, row) for row in np.eye(groups)]
    return gather, np.asarray(spread, np.float32)
