"""Scores of separated stems: distortion ratios in decibels, and bootstrap intervals over songs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
Table = NDArray[np.float64]

LIMIT_DB = 100.0  # beyond this float32 audio says nothing
DRAWS = 2000
LOW_HIGH_PERCENT = (2.5, 97.5)


@dataclass(frozen=True)
class Estimated:
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def sdr_db(reference: Audio, estimate: Audio) -> float:
    """Global SDR, 10 log10(sum s^2 / sum (s - e)^2), over all channels and the whole excerpt."""
    s, e = reference.astype(np.float64), estimate.astype(np.float64)
    return _ratio_db(float((s**2).sum()), float(((s - e) ** 2).sum()))


def si_sdr_db(reference: Audio, estimate: Audio) -> float:
    """Scale-invariant SDR (Le Roux et al., arXiv:1811.02508): c^2 / (1 - c^2), c the cosine."""
    s, e = reference.astype(np.float64).ravel(), estimate.astype(np.float64).ravel()
    along = float(s @ e) ** 2
    return _ratio_db(along, float(s @ s) * float(e @ e) - along)


def bss_eval_db(
    references: Mapping[str, Audio], stem: str, estimate: Audio
) -> tuple[float, float, float]:
    """SDR, SIR and SAR of one stem, in dB (Vincent, Gribonval, Févotte, IEEE TASL 2006).

    The distortion that is allowed is a gain, not their filter of 512 taps: the estimate is
    projected on its own reference (target), on all references (what is added are interferences),
    and the rest are artefacts.
    """
    names = list(references)
    sources = np.stack([references[name].astype(np.float64).ravel() for name in names])
    e = estimate.astype(np.float64).ravel()
    own = sources[names.index(stem)]
    target = own * (e @ own) / max(float(own @ own), 1e-12)
    heard = sources[(sources**2).sum(axis=1) > 1e-9]
    gains = np.linalg.lstsq(heard @ heard.T, heard @ e, rcond=None)[0]
    explained = gains @ heard
    power = float(target @ target)
    return (
        _ratio_db(power, float(((e - target) ** 2).sum())),
        _ratio_db(power, float(((explained - target) ** 2).sum())),
        _ratio_db(float(explained @ explained), float(((e - explained) ** 2).sum())),
    )


def _ratio_db(signal: float, rest: float) -> float:
    """Signal over rest, within LIMIT_DB."""
    floor = 10 ** (-LIMIT_DB / 10)
    if signal <= floor * rest:
        return -LIMIT_DB
    return float(10 * np.log10(signal / max(rest, floor * signal)))


def over_stems(table: Table) -> float:
    """Mean over the stems of each stem's mean over songs; (songs, stems), NaN is absent."""
    present = ~np.isnan(table)
    counts = present.sum(axis=0)
    sums = np.where(present, table, 0.0).sum(axis=0)
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def stem_cells(table: Table) -> list[str]:
    """The mean of each stem over songs as a page shows it; `-` for one that no song has."""
    means = [column[~np.isnan(column)] for column in table.T]
    return [f"{values.mean():.2f}" if values.size else "-" for values in means]


def bootstrap(table: Table, seed: int = 0) -> Estimated:
    """`over_stems` with its interval: songs, not stems, are drawn anew, because the stems of
    one song are not independent."""
    rng = np.random.default_rng(seed)
    draws = [over_stems(table[rng.integers(len(table), size=len(table))]) for _ in range(DRAWS)]
    low, high = np.percentile(draws, LOW_HIGH_PERCENT)
    return Estimated(over_stems(table), float(low), float(high))
