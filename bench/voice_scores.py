"""How well voices are taken apart: SI-SDR and spectral SNR of one-second frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from choirs import RATE, Choir
from engine import VoiceBins
from scores import Estimated, bootstrap, si_sdr_db

Float = NDArray[np.float32]

LEAST = 0.1  # of a voice's RMS: seconds below are a rest, of which no ratio tells anything
_BINS = VoiceBins(2048, RATE)


@dataclass(frozen=True)
class Judged:
    """Tables (seconds, voices) in dB, NaN where the voice rests."""

    si_sdr: NDArray[np.float64]
    spectral: NDArray[np.float64]


def judge(choir: Choir, voices: Float) -> Judged:
    """Score estimates (voices, samples) against a choir's own."""
    seconds = choir.voices.shape[1] // RATE
    tables = np.full((2, seconds, len(voices)), np.nan)
    for voice, (true, found) in enumerate(zip(choir.voices, voices, strict=True)):
        level = np.sqrt((true**2).mean())
        for second in range(seconds):
            part = slice(second * RATE, (second + 1) * RATE)
            if np.sqrt((true[part] ** 2).mean()) <= LEAST * level:
                continue
            tables[0, second, voice] = si_sdr_db(true[part], found[part])
            tables[1, second, voice] = spectral_snr_db(true[part], found[part])
    return Judged(*tables)


def spectral_snr_db(true: Float, found: Float) -> float:
    """10 log10 of the power of true magnitudes over that of what the found ones miss."""
    own, other = (_BINS.magnitudes(one, 512).astype(np.float64) for one in (true, found))
    return float(10 * np.log10((own**2).sum() / max(((own - other) ** 2).sum(), 1e-12)))


def interval(tables: list[NDArray[np.float64]]) -> Estimated:
    """Mean over all frames of all voices; seconds are drawn anew, since those of one moment are
    not independent."""
    rows = np.concatenate([table.reshape(len(table), -1) for table in tables])
    flat = np.nanmean(rows, axis=1, keepdims=True)
    return bootstrap(flat[~np.isnan(flat[:, 0])])


def median(tables: list[NDArray[np.float64]]) -> float:
    """Median over all frames of all voices."""
    return float(np.nanmedian(np.concatenate([table.ravel() for table in tables])))
