"""Do the priors know their instruments? Every prior's likelihood of every stem's own audio.

Likelihoods of flows need not tell instruments apart, and a prior that likes another
instrument's sound better than that instrument's own prior does will take it in a search. So the
table is made before a bundle is called good: on recordings that no training heard, the prior of
an instrument must find its audio likelier than all others do, by more than chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from ..audio.endings import AUDIO_SUFFIXES
from ..audio.reading import MixReader
from ..model.card import PERCENTS
from ..model.frames import stream_frames
from ..model.prior import Prior
from ..model.spectrogram import FrontEnd
from ..separation.masks import level
from .heat_map import heat_map

Float = NDArray[np.float32]
Scores = NDArray[np.float64]

EXCERPT_FRAMES = 128  # 3 s, as long as training's excerpts
SHORTEST_FRAMES = 16
PLAYED = 1e-3  # an excerpt this far (30 dB) below its recording's level is a pause
LEVEL_DB = -4.5  # the middle of the levels that training draws
INVERSION_LIMIT = 1e-3
DRAWS = 1000
HALF_SHADE = 0.2  # nats per dimension behind the best that halve the brightness


@dataclass(frozen=True)
class Interval:
    """A mean in nats per dimension with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class JudgedRow(TypedDict):
    """What the card of one prior stores of a judgement; see `Judgement`."""

    likelihood: dict[str, dict[str, float]]
    margin: dict[str, dict[str, float]]
    told_apart: dict[str, float]  # the separability, by the name that cards have
    percentiles: tuple[float, ...]
    inversion: float
    recordings: int
    excerpts: int
    good: bool | None


@dataclass(frozen=True)
class Judgement:
    """The cross-likelihood table and what follows from it; stems and priors share names.

    `likelihood[prior][stem]` is log p of the stem's audio under the prior; only cells of one
    stem can be compared with each other. `margin[stem][rival]` is by how much the stem's own
    prior is ahead of a rival, excerpt by excerpt; `separability[stem][rival]` the share of
    excerpts in which it is ahead, `separability[stem][stem]` the share in which it is ahead of
    all. `percentiles[stem]` are PERCENTS of its own prior's log p, excerpt by excerpt.
    `inversion[prior]` is the largest error of inverse(forward(x)), playing having LEVEL_DB.

    A prior that stands for several instruments has learned from theirs: it is no rival of
    theirs, nor they of it (`other` and guitar).
    """

    likelihood: dict[str, dict[str, Interval]]
    margin: dict[str, dict[str, Interval]]
    separability: dict[str, dict[str, float]]
    percentiles: dict[str, tuple[float, ...]]
    inversion: dict[str, float]
    recordings: dict[str, int]
    excerpts: dict[str, int]

    @property
    def stems(self) -> tuple[str, ...]:
        """The instruments, in the order given."""
        return tuple(self.likelihood)

    def good(self, stem: str) -> bool | None:
        """Whether the prior wins its own audio against every rival, and inverts; None where
        there is no rival to win against."""
        if not self.inversion[stem] < INVERSION_LIMIT:
            return False
        margins = self.margin[stem].values()
        return all(margin.low > 0 for margin in margins) if margins else None

    def row(self, stem: str) -> JudgedRow:
        """What the card of one prior stores."""
        return {
            "likelihood": {k: asdict(v) for k, v in self.likelihood[stem].items()},
            "margin": {k: asdict(v) for k, v in self.margin[stem].items()},
            "told_apart": self.separability[stem],
            "percentiles": self.percentiles[stem],
            "inversion": self.inversion[stem],
            "recordings": self.recordings[stem],
            "excerpts": self.excerpts[stem],
            "good": self.good(stem),
        }

    def to_dict(self) -> dict[str, JudgedRow]:
        """For JSON: the row of every prior."""
        return {stem: self.row(stem) for stem in self.stems}

    def lines(self) -> Iterator[str]:
        """The table and the verdicts, for a terminal."""
        yield "log p in nats per dimension [95 %]; rows: priors, columns: audio"
        rows = [("", *self.stems)] + [
            (name, *(f"{c.mean:.2f} [{c.low:.2f}, {c.high:.2f}]" for c in cells.values()))
            for name, cells in self.likelihood.items()
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for stem in self.stems:
            yield self._verdict(stem)

    def _verdict(self, stem: str) -> str:
        word = {True: "good", False: "NOT GOOD", None: "not compared"}[self.good(stem)]
        verdict = f"{stem}: {word}; inversion error {self.inversion[stem]:.0e}"
        if self.margin[stem]:
            rival, margin = min(self.margin[stem].items(), key=lambda item: item[1].mean)
            verdict += (
                f"; likeliest in {self.separability[stem][stem]:.0%} of {self.excerpts[stem]} "
                f"excerpts of {self.recordings[stem]} recordings; nearest rival {rival}, "
                f"{margin.mean:.2f} [{margin.low:.2f}, {margin.high:.2f}] behind"
            )
        return verdict


def judge_priors(
    priors: Mapping[str, Prior], recordings: Mapping[str, Sequence[Path]], seed: int = 0
) -> Judgement:
    """Measure every prior on the recordings of every stem; both mappings have the same keys."""
    front_end = _shared_view(priors)
    heard = {
        stem: [found for path in paths if (found := excerpts(path, front_end))]
        for stem, paths in recordings.items()
    }
    if silent := [stem for stem, found in heard.items() if not found]:
        raise StemwrightError(
            "held-out-silent",
            f"the recordings of {', '.join(silent)} hold no {SHORTEST_FRAMES} frames of playing. "
            "Give longer ones.",
        )
    scores = {stem: _units(list(priors.values()), found) for stem, found in heard.items()}
    own = {stem: index for index, stem in enumerate(priors)}
    return Judgement(
        {
            name: {stem: _interval(units[:, :, own[name]], seed) for stem, units in scores.items()}
            for name in priors
        },
        {
            stem: {
                rival: _interval(units[:, :, own[stem]] - units[:, :, own[rival]], seed)
                for rival in _rivals(priors, stem)
            }
            for stem, units in scores.items()
        },
        {
            stem: _separability(units, own, stem, _rivals(priors, stem))
            for stem, units in scores.items()
        },
        {stem: _percentiles(units[:, :, own[stem]]) for stem, units in scores.items()},
        {stem: _inversion(prior, heard[stem]) for stem, prior in priors.items()},
        {stem: len(found) for stem, found in heard.items()},
        {stem: sum(map(len, found)) for stem, found in heard.items()},
    )


def judgement_png(judgement: Judgement) -> bytes:
    """The table as a picture: the likelier a cell within its column, the brighter."""
    cells = [[cell.mean for cell in row.values()] for row in judgement.likelihood.values()]
    best = np.max(cells, axis=0)
    behind = 1 / (1 + (best - np.asarray(cells)) / HALF_SHADE)
    return heat_map(cells, behind.tolist(), judgement.stems, judgement.stems)


def held_out(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """Parse STEM=PLACE, a place being a recording or a folder of them; stems may repeat."""
    found: dict[str, list[Path]] = {}
    for item in arguments:
        stem, separator, place = item.partition("=")
        if not separator or not stem or not place or not Path(place).exists():
            raise StemwrightError(
                "held-out-malformed",
                f"{item}: expected STEM=FOLDER with a folder of recordings of one instrument, "
                "for example bass=held-out/bass.",
            )
        found.setdefault(stem, []).extend(_files(Path(place)))
    if empty := [stem for stem, files in found.items() if not files]:
        raise StemwrightError(
            "held-out-empty", f"there is no audio file in the folders of {', '.join(empty)}."
        )
    return found


def excerpts(path: Path, front_end: FrontEnd) -> list[Float]:
    """Magnitudes (1, frames, bands) of what is played in a recording, at LEVEL_DB."""
    with MixReader(path) as reader:
        info = reader.info
        stft = front_end.stft(info.sample_rate)
        blocks = stream_frames(reader, stft, info.channels, info.frames, EXCERPT_FRAMES)
        pieces = [front_end.band_magnitudes(block, info.sample_rate) for block in blocks]
    return cut_excerpts(np.concatenate(pieces), EXCERPT_FRAMES)


def cut_excerpts(magnitudes: Float, frames: int) -> list[Float]:
    """The same of a recording's magnitudes (frames, bands), in excerpts of `frames`."""
    loud = float(level(magnitudes[None]).item()) if len(magnitudes) else 0.0
    if loud == 0:
        return []
    gain = np.float32(10 ** (LEVEL_DB / 20) / loud)
    pieces = (magnitudes[at : at + frames] for at in range(0, len(magnitudes), frames))
    even = [piece[: len(piece) // 2 * 2] for piece in pieces]
    return [(piece * gain)[None] for piece in even if _is_played(piece, loud)]


def _is_played(piece: Float, loud: float) -> bool:
    power = float((piece.astype(np.float64) ** 2).sum(axis=1).mean()) if len(piece) else 0.0
    return len(piece) >= SHORTEST_FRAMES and power >= PLAYED * loud**2


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)


def _shared_view(priors: Mapping[str, Prior]) -> FrontEnd:
    """Densities can be compared only in the same variables."""
    views = {(prior.card.front_end, prior.card.compression) for prior in priors.values()}
    if len(views) > 1:
        raise StemwrightError(
            "priors-differ",
            f"the priors {', '.join(priors)} see different spectrograms, so their likelihoods "
            "cannot be compared. Judge priors of one size together.",
        )
    return next(iter(views))[0].front_end()


def _units(priors: Sequence[Prior], heard: Sequence[Sequence[Float]]) -> Scores:
    """log p as (units, excerpts, priors), NaN behind a unit's last excerpt.

    Units are what intervals draw from: recordings, because the excerpts of one resemble each
    other, or the excerpts of a single recording.
    """
    groups = heard if len(heard) > 1 else [[piece] for piece in heard[0]]
    scores = np.full((len(groups), max(map(len, groups)), len(priors)), np.nan)
    for unit, group in enumerate(groups):
        for index, piece in enumerate(group):
            scores[unit, index] = [float(prior.log_likelihood(piece)[0]) for prior in priors]
    return scores


def _interval(values: Scores, seed: int) -> Interval:
    """Mean over excerpts of (units, excerpts), units drawn anew for the interval."""
    rng = np.random.default_rng([seed, 17])
    sums, counts = np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1)
    drawn = rng.integers(len(sums), size=(DRAWS, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (2.5, 97.5))
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def _rivals(priors: Mapping[str, Prior], stem: str) -> list[str]:
    """The priors that a stem's own must beat: all but those that stand for it or it for them."""

    def holds(whole: str, part: str) -> bool:
        against = priors[whole].card.against
        return bool(against) and part not in against

    return [r for r in priors if r != stem and not holds(r, stem) and not holds(stem, r)]


def _separability(
    units: Scores, own: Mapping[str, int], stem: str, rivals: Sequence[str]
) -> dict[str, float]:
    """Share of excerpts in which the stem's own prior is ahead of each, and of all (own name)."""
    scores = units.reshape(-1, units.shape[2])
    scores = scores[~np.isnan(scores[:, 0])]
    mine = scores[:, [own[stem]]]
    ahead = mine > scores[:, [own[rival] for rival in rivals]]
    shares = dict(zip(rivals, ahead.mean(axis=0).tolist(), strict=True))
    return shares | {stem: float(ahead.all(axis=1).mean())}


def _percentiles(values: Scores) -> tuple[float, ...]:
    """Of every excerpt's log p: what a quality report ranks the excerpts of a stem among."""
    return tuple(float(p) for p in np.nanpercentile(values, PERCENTS))


def _inversion(prior: Prior, heard: Sequence[Sequence[Float]]) -> float:
    """Largest |inverse(forward(x)) - x| over the stem's own excerpts."""
    pieces = [piece for recording in heard for piece in recording]
    return max(
        float(np.abs(prior.inverse(prior.forward(piece)[0]) - piece).max()) for piece in pieces
    )
