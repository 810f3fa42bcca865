"""How good is a separation, as far as one can tell without the true stems?

Listens to the second pass, which always runs whole: masks and magnitudes of every block go by
once, so a render that was stopped and went on reports what an uninterrupted one does.

Leakage is what the masks themselves do not know. If a stem's share m of a point is its share
of the power there, as in a Wiener filter, then E|s - m X|^2 = m (1 - m) |X|^2 (the posterior
variance; Benaroya, Bimbot & Gribonval, IEEE TASLP 2006). Summed and divided by the claimed
energy, the sum of m |X|^2, this is the share of others in what a stem claims.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from presets import RESIDUAL

from ..model.card import PERCENTS
from ..model.prior import Prior
from ..model.spectrogram import Stft
from ..stems.manifest import Likelihood, Passage, Quality, StemQuality, finite
from .cross_likelihood import EXCERPT_FRAMES, cut_excerpts

Float = NDArray[np.float32]
Double = NDArray[np.float64]

EXCERPTS = 20  # of a stem at most, each 3 s: what one step of the search costs in a minute
PASSAGE_S = 10
MOST_PASSAGES = 6
LEAST_BOTHER = 0.5  # of the worst passage's: what is half as bad is worth no visit
LOUDNESS_EXPONENT = 0.3  # sones grow with this power of the intensity (Stevens 1955)
CLEANEST_DB = -100.0  # what no other stem shares at all
_LEAST = np.float32(1e-30)


class QualityMeter:
    """A meter for blocks of masks and magnitudes: a row a second, EXCERPTS excerpts a stem."""

    def __init__(
        self, priors: Mapping[str, Prior], stft: Stft, sample_rate: int, samples: int
    ) -> None:
        self._priors = dict(priors)
        self._stft, self._rate, self._samples = stft, sample_rate, samples
        self._frame, self._frames = 0, stft.frames(samples)
        self._seconds = max(samples // sample_rate, 1)  # the last one takes what is left over
        self._claimed = np.zeros((len(self._priors), self._seconds))
        self._leaked = np.zeros_like(self._claimed)
        self._excerpts = [_Excerpts(self._frames) for _ in self._priors]

    def add(self, masks: Float, magnitudes: Float) -> None:
        """Take the next frames.

        Shape: masks (stems, groups, frames, bands); magnitudes of the mix (groups, frames,
        bands), the channels of a group added. Masks behind those of the stems are of what is
        left to the residual, and count as what others share. Masks that need not sum to one
        (`raw`) are brought to that for the leakage.
        """
        size = np.abs(masks)
        shares = (size / np.maximum(size.sum(axis=0), _LEAST))[: len(self._priors)]
        claimed = shares * magnitudes**2
        self._count(self._claimed, claimed)
        self._count(self._leaked, claimed * (1 - shares))
        stems = np.sqrt(((size * magnitudes) ** 2).sum(axis=1))
        for excerpts, stem in zip(self._excerpts, stems, strict=False):
            excerpts.add(stem, self._frame)
        self._frame += masks.shape[2]

    def _count(self, rows: Double, energy: Float) -> None:
        frames = np.arange(self._frame, self._frame + energy.shape[2])
        second = (frames - 1) * self._stft.hop // self._rate  # frame t is centred on (t - 1) hop
        index = np.clip(second, 0, self._seconds - 1)
        for row, frame_energy in zip(rows, energy.sum(axis=(1, 3), dtype=np.float64), strict=True):
            np.add.at(row, index, frame_energy)

    def report(self, level_db: Mapping[str, float], absent: Collection[str]) -> Quality:
        """Everything about the mix that has gone by.

        `level_db` of the written files is relative to the mix; absent stems, all leakage, are
        not shown to their priors.
        """
        passages = self._passages()
        return Quality(
            leakage_db=_decibels(self._leaked.sum(), self._claimed.sum()),
            residual_db=_level(level_db, RESIDUAL),
            stems={
                stem: StemQuality(
                    level_db=_level(level_db, stem),
                    leakage_db=_decibels(self._leaked[index].sum(), self._claimed[index].sum()),
                    likelihood=None
                    if stem in absent
                    else _likelihood(prior, self._excerpts[index].kept()),
                )
                for index, (stem, prior) in enumerate(self._priors.items())
            },
            worst=passages[0] if passages else None,
            passages=tuple(sorted(passages, key=lambda passage: passage.start_s)),
        )

    def _passages(self) -> list[Passage]:
        """The passages whose leakage bothers most, worst first; none overlaps another.

        Loudness times leakage: neither the loudest passage nor an unclear fade wins by itself.
        """
        claimed, leaked = _sliding_sums(self._claimed), _sliding_sums(self._leaked)
        whole = _bother(leaked.sum(axis=0), claimed.sum(axis=0))
        least = whole.max() * LEAST_BOTHER
        found: list[Passage] = []
        while len(found) < MOST_PASSAGES:
            start = int(whole.argmax())
            if whole[start] <= 0 or whole[start] < least:
                break
            found.append(self._passage(start, claimed[:, start], leaked[:, start]))
            whole[max(0, start - PASSAGE_S + 1) : start + PASSAGE_S] = 0
        return found

    def _passage(self, start: int, claimed: Double, leaked: Double) -> Passage:
        """The one that begins with second `start`, and the stem that suffers most there."""
        stem = int(_bother(leaked, claimed).argmax())
        end_s = min(float(start + PASSAGE_S), self._samples / self._rate)
        return Passage(
            start_s=float(start),
            end_s=round(end_s, 3),
            listen=f"listen to {_clock(start)}-{_clock(math.ceil(end_s))}",
            stem=list(self._priors)[stem],
            leakage_db=_decibels(leaked.sum(), claimed.sum()),
        )


def quality_of(
    meter: QualityMeter | None,
    stems: Sequence[str],
    level_db: Mapping[str, float],
    absent: Collection[str],
) -> Quality:
    """What `meter` has heard of searched stems; of others, which no mask made, their level."""
    levels = {
        stem: StemQuality(level_db=_level(level_db, stem), leakage_db=None, likelihood=None)
        for stem in stems
    }
    if meter is None:
        residual_db = _level(level_db, RESIDUAL)
        return Quality(leakage_db=None, residual_db=residual_db, stems=levels, worst=None)
    quality = meter.report(level_db, absent)
    return quality.model_copy(update={"stems": levels | quality.stems})


class _Excerpts:
    """The loudest excerpt in each of EXCERPTS equal parts of a stem: there it plays, if at all."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._kept: dict[int, tuple[float, Float]] = {}

    def add(self, stem: Float, first: int) -> None:
        """Take the next magnitudes (frames, bands), which begin with frame `first`."""
        for start in range(0, len(stem), EXCERPT_FRAMES):
            piece = stem[start : start + EXCERPT_FRAMES]
            part = (first + start) * EXCERPTS // self._frames
            energy = float(np.einsum("fb,fb->", piece, piece, dtype=np.float64))
            if part not in self._kept or energy > self._kept[part][0]:
                self._kept[part] = energy, piece.copy()

    def kept(self) -> list[Float]:
        """In the order of time."""
        return [self._kept[part][1] for part in sorted(self._kept)]


def _likelihood(prior: Prior, pieces: list[Float]) -> Likelihood | None:
    """What the prior makes of its stem: the median over excerpts in which it plays."""
    magnitudes = np.concatenate(pieces)
    heard = cut_excerpts(magnitudes, EXCERPT_FRAMES)
    values = [float(prior.log_likelihood(piece)[0]) for piece in heard]
    if not values or not np.isfinite(values).all():
        return None
    median = float(np.median(values))
    between = _between(median, prior.percentiles)
    return Likelihood(
        excerpts=len(values),
        median=round(median, 3),
        between=between,
        rank=None if between is None else rank_text(between),
    )


def _between(value: float, percentiles: tuple[float, ...]) -> tuple[int, int] | None:
    """The neighbouring percents of training; 0 and 100 stand for the open ends."""
    if len(percentiles) != len(PERCENTS):
        return None
    index = int(np.searchsorted(percentiles, value, side="right"))
    marks = (0, *PERCENTS, 100)
    return marks[index], marks[index + 1]


def rank_text(between: tuple[int, int]) -> str:
    """Two neighbouring percents in words."""
    low, high = between
    if low == 0:
        return f"below the {_ordinal(high)} percentile"
    if high == 100:
        return f"above the {_ordinal(low)} percentile"
    return f"between the {_ordinal(low)} and the {_ordinal(high)} percentile"


def _ordinal(number: int) -> str:
    return f"{number}{'st' if number == 1 else 'th'}"


def _sliding_sums(rows: Double) -> Double:
    """Sums over every PASSAGE_S seconds of (stems, seconds); over all where there are fewer."""
    width = min(PASSAGE_S, rows.shape[1])
    windows = np.lib.stride_tricks.sliding_window_view(rows, width, axis=1)
    return np.asarray(windows.sum(axis=2))


def _bother(leaked: Double, claimed: Double) -> Double:
    """Share of leakage times loudness; nothing in silence."""
    energy = np.maximum(claimed, np.finfo(np.float64).tiny)
    return np.asarray(leaked / energy * claimed**LOUDNESS_EXPONENT)


def _decibels(leaked: float, claimed: float) -> float | None:
    """Leakage of what is claimed; None where nothing is."""
    if claimed <= 0:
        return None
    return round(10 * math.log10(max(leaked / claimed, 10 ** (CLEANEST_DB / 10))), 2)


def _level(level_db: Mapping[str, float], stem: str) -> float | None:
    level = finite(level_db.get(stem, -math.inf))
    return None if level is None else round(level, 2)


def _clock(seconds: int) -> str:
    """1:12, or 1:02:12 behind the first hour."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
