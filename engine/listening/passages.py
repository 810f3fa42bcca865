"""Where to listen first: the passages of a set that are most likely to be wrong, and why.

The quality report knows where masks were undecided; the files themselves show the rest, so a
set from before there was a quality report has a list, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from presets import RESIDUAL

from ..stems.manifest import Manifest
from .lanes import Lane
from .previews import Previews

PASSAGE_S = 5
MOST = 12
LOUD_RESIDUAL_DB = -40.0  # below the mix nobody hears it beside the stems
FULL_SCALE = 1.0


@dataclass(frozen=True)
class Found:
    """One passage and the reason in words."""

    start_s: float
    end_s: float
    stem: str
    why: str


def worst_passages(manifest: Manifest, lanes: list[Lane], previews: Previews) -> list[Found]:
    """At most MOST passages: undecided masks, residual, overs, stems heard in others."""
    duration = manifest.input.frames / manifest.input.sample_rate
    found = [*_undecided(manifest)]
    levels = {lane.key: _levels(previews, lane.key, duration) for lane in lanes}
    found += _residual(lanes, levels, duration)
    found += _overs(lanes, levels, duration)
    found += _ghosts(manifest, lanes, levels, duration)
    return sorted(found[:MOST], key=lambda passage: passage.start_s)


def _undecided(manifest: Manifest) -> Iterator[Found]:
    quality = manifest.quality
    if quality is None:
        return
    for place in quality.passages or ((quality.worst,) if quality.worst else ()):
        leakage = "" if place.leakage_db is None else f": leakage {place.leakage_db:.1f} dB"
        worst = "least" if place == quality.worst else "hardly"
        yield Found(place.start_s, place.end_s, place.stem, f"masks are {worst} certain{leakage}")


def _levels(previews: Previews, key: str, duration: float) -> NDArray[np.float64]:
    """The peak of every passage of a lane, full scale 1."""
    peaks = np.abs(np.array(previews.heard[key].peaks)).max(axis=1)
    count = max(1, math.ceil(duration / PASSAGE_S))
    edges = np.linspace(0, len(peaks), count + 1).astype(int)
    return np.array([peaks[a:b].max(initial=0.0) for a, b in pairwise(edges)])


def _place(index: int, duration: float) -> tuple[float, float]:
    return float(index * PASSAGE_S), min(float((index + 1) * PASSAGE_S), duration)


def _db(value: float) -> float:
    return 20 * math.log10(max(value, 1e-6))


def _residual(
    lanes: list[Lane], levels: dict[str, NDArray[np.float64]], duration: float
) -> Iterator[Found]:
    """Where most is left that no stem claims, against the mix there."""
    lane = next((lane for lane in lanes if lane.stem == RESIDUAL and lane.kind == "dry"), None)
    if lane is None:
        return
    share = levels[lane.key] / np.maximum(levels["mix"], 1e-6)
    for index in np.argsort(share)[::-1][:3]:
        if _db(share[index]) > LOUD_RESIDUAL_DB:
            why = f"residual peaks {-_db(share[index]):.0f} dB below the mix: no stem claims it"
            yield Found(*_place(int(index), duration), RESIDUAL, why)


def _overs(
    lanes: list[Lane], levels: dict[str, NDArray[np.float64]], duration: float
) -> Iterator[Found]:
    """Stems above full scale: what a fixed-point export would clip."""
    for lane in lanes:
        index = int(levels[lane.key].argmax())
        if lane.kind != "mix" and levels[lane.key][index] > FULL_SCALE:
            over = _db(levels[lane.key][index])
            why = f"{lane.kind} file peaks {over:+.1f} dBFS: above full scale"
            yield Found(*_place(index, duration), lane.stem, why)


def _ghosts(
    manifest: Manifest, lanes: list[Lane], levels: dict[str, NDArray[np.float64]], duration: float
) -> Iterator[Found]:
    """A stem that is nearly silent while another is loud: the other may be in it."""
    dry = [lane for lane in lanes if lane.kind == "dry" and lane.stem != RESIDUAL]
    for quiet in dry:
        own = levels[quiet.key]
        typical = float(np.percentile(own, 90))
        faint = (own > 1e-4) & (own < typical * 10 ** (-20 / 20))
        if not faint.any() or typical <= 0:
            continue
        loud = max(
            (lane for lane in dry if lane is not quiet),
            key=lambda lane: float((levels[lane.key] * faint).max()),
            default=None,
        )
        if loud is None:
            continue
        index = int(np.argmax(levels[loud.key] * faint))
        below = _db(own[index] / max(float(levels[loud.key][index]), 1e-6))
        if below > -40:
            why = f"nearly silent while {loud.stem} plays ({below:.0f} dB): is {loud.stem} in it?"
            yield Found(*_place(index, duration), quiet.stem, why)
