"""What a mixing engineer does to a stem: takes become what finished mixes are made of.

A bass in a mix is dark and steady, a voice has lost its rumble, drums have gained weight. Takes
and renders have not been through that mixing. So the long-term spectrum of an excerpt is drawn
towards the one that finished stems have, by a random share of the way.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .augmentation import dynamics

Float = NDArray[np.float32]
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


def finish(rng: Rng, excerpt: Float, stem: str) -> None:
    """Finish an excerpt of a stem in place, by a random share; (frames, bands).

    Stems that no finished spectrum is known of stay as they are.
    """
    if stem not in FINISHED_DB:
        return
    if rng.random() < _STEADY.get(stem, 0.0):
        excerpt *= dynamics(excerpt, rng.uniform(*_STEADY_RATIO), envelope_frames=1)
    if rng.random() < _FINISHED[stem]:
        wanted_db = np.array(FINISHED_DB[stem], np.float64)
        excerpt *= _towards(wanted_db, excerpt, rng.uniform(*_SHARE))


def _towards(wanted_db: NDArray[np.float64], excerpt: Float, share: float) -> Float:
    """The gains (bands,) that bring the spectrum of an excerpt a share of the way."""
    groups, bands = wanted_db.size, excerpt.shape[1]
    edges = np.arange(groups) * bands // groups
    power = np.add.reduceat(excerpt.astype(np.float64) ** 2, edges, axis=1)
    loudness = power.sum(axis=1)
    heard = power[loudness >= _ACTIVE * loudness.max()].mean(axis=0) + _LEAST
    gain_db = share * (wanted_db - 10 * np.log10(heard / heard.sum()))
    # relative to where power lies and should lie: there the level is not ours to change
    gain_db -= np.average(gain_db, weights=np.sqrt(heard * 10 ** (wanted_db / 10)))
    gain_db = np.clip(gain_db, *_GAIN_DB)
    centres = (np.arange(groups) + 0.5) * bands / groups - 0.5
    smooth = np.interp(np.arange(bands), centres, gain_db)
    return np.asarray(10 ** (smooth / 20), np.float32)
