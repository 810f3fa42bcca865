"""The page of bench/quality.py: scores of songs as tables with intervals."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from engine import ENGINE_VERSION
from scores import Table, bootstrap, stem_cells

SDR, SI_SDR, OVER_MIX = range(3)
OURS = "standard"


@dataclass(frozen=True)
class Score:
    """One song, one system: stem -> (SDR, SI-SDR, SDR over the mixture), and the work done.

    `made_of` tells scores of other priors, searches and excerpts apart.
    """

    column: str
    song: str
    system: str
    parameters: int
    decibels: dict[str, tuple[float, float, float]]
    cpu_s: float
    audio_s: float
    made_of: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What a score is of."""
        return self.column, self.song, self.system, self.made_of

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Score:
        """What `line` wrote."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Inside:
    """SDR of guitar in one song of bench/inside_other.py: in the mix as it is, found in the whole
    mix, found inside a foreign `other`."""

    song: str
    tier: str
    seconds: float
    mix: float
    whole: float
    inside: float

    def line(self) -> str:
        """As a line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> Inside:
        """What `line` wrote."""
        return cls(**json.loads(line))


def page(
    scores: Sequence[Score],
    systems: Sequence[str],
    seconds: float,
    left_out: int,
    command: str,
    inside: Sequence[Inside] = (),
) -> str:
    """Everything, as Markdown."""
    columns = list(dict.fromkeys(score.column for score in scores))
    lines = [*_head(seconds, left_out, command)]
    for column in columns:
        own = [score for score in scores if score.column == column]
        lines += ["", f"## {column.capitalize()}", "", *_table(own, systems), ""]
        lines += [*_differences(own, systems)]
    if inside:
        lines += ["", *inside_other(inside)]
    return "\n".join([*lines, "", *_foot()]) + "\n"


def inside_other(scores: Sequence[Inside]) -> list[str]:
    """Priors inside what a foreign model calls other, against priors in the whole mix."""
    table = np.array([[score.mix, score.whole, score.inside] for score in scores])
    gains = table[:, 2] - table[:, 1]
    found = ("the mix as it is", "found in the whole mix", "found inside the foreign `other`")
    rows = [_row([name, f"{value:.2f}"]) for name, value in zip(found, table.mean(0), strict=True)]
    return [
        "## Guitar inside a foreign model's `other`",
        "",
        f"{len(scores)} rendered songs that no training heard, {scores[0].seconds:g} s from the",
        f"middle of each, tier `{scores[0].tier}` (`python bench/inside_other.py SONGS`).",
        "A good foreign model is simulated: its `other` is the true one (guitar and piano) with",
        "everything else of the song as bleed, 10 dB below it. SDR of guitar, mean of songs, dB.",
        "",
        _row(["guitar is", "SDR"]),
        _row(["---"] * 2),
        *rows,
        "",
        f"{np.count_nonzero(gains > 0)} of {len(scores)} songs gain; their differences are from "
        f"{gains.min():.2f} to {gains.max():.2f} dB.",
    ]


def _head(seconds: float, left_out: int, command: str) -> list[str]:
    length = f"{seconds:g} s from the middle of every song" if seconds else "whole songs"
    return [
        "# How good are the stems?",
        "",
        f"Printed by `{command}` with Stemwright {ENGINE_VERSION}, Python "
        f"{platform.python_version()}, on {platform.machine()}.",
        "",
        "**Familiar** are songs that no training saw, played by the instruments, renderers and",
        "singers of the training recordings. **Unfamiliar** are other instruments, rooms, singers",
        "and real bands; nothing was ever tuned on them. The second is the number to expect.",
        "",
        f"{length.capitalize()}, at its own rate and channels; the mix is the sum of the stems.",
        "SDR is 10 log10(Σ s² / Σ (s - e)²) over the excerpt. Cells are means over songs, those",
        "with a 95 % bootstrap interval (songs are drawn anew) means over stems too. A stem that",
        "a song lacks is left out of K, one below -48 dBFS is not scored. Time is CPU seconds of",
        f"one core per second of audio. Songs left out, a stem having no prior: {left_out}.",
    ]


def _table(scores: Sequence[Score], systems: Sequence[str]) -> list[str]:
    stems = list(dict.fromkeys(stem for score in scores for stem in score.decibels))
    songs = {score.song for score in scores}
    head = ["system", *stems, "SDR, mean", "SI-SDR", "over the mixture", "s/s", "parameters"]
    lines = [f"{len(songs)} songs, dB.", "", _row(head), _row(["---"] * len(head))]
    for system in systems:
        own = [score for score in scores if score.system == system]
        if own:
            lines.append(_row([system, *_cells(own, stems)]))
    return lines


def _cells(own: Sequence[Score], stems: Sequence[str]) -> list[str]:
    sdr = decibels(own, stems, SDR)
    cost = sum(s.cpu_s for s in own) / sum(s.audio_s for s in own)
    parameters = own[0].parameters
    return [
        *stem_cells(sdr),
        str(bootstrap(sdr)),
        str(bootstrap(decibels(own, stems, SI_SDR))),
        str(bootstrap(decibels(own, stems, OVER_MIX))),
        f"{cost:.2f}",
        f"{parameters / 1e6:.2f} M" if parameters else "-",
    ]


def _differences(scores: Sequence[Score], systems: Sequence[str]) -> list[str]:
    """Ours against every other system, song by song: the interval that decides."""
    stems = list(dict.fromkeys(stem for score in scores for stem in score.decibels))
    ours = {score.song: score for score in scores if score.system == OURS}
    lines = [_row([f"SDR of {OURS} minus", "dB"]), _row(["---"] * 2)]
    for system in systems:
        theirs = [s for s in scores if s.system == system and s.song in ours]
        if system != OURS and theirs:
            mine = decibels([ours[s.song] for s in theirs], stems, SDR)
            lines.append(_row([system, str(bootstrap(mine - decibels(theirs, stems, SDR)))]))
    return lines


def decibels(scores: Sequence[Score], stems: Sequence[str], which: int) -> Table:
    """One measure as (songs, stems), NaN where a song lacks the stem."""
    nothing = (np.nan,) * 3
    return np.array(
        [[score.decibels.get(stem, nothing)[which] for stem in stems] for score in scores]
    )


def _foot() -> list[str]:
    return [
        "## What the rows are",
        "",
        "- *mixture / K*: the mix divided by the number of stems.",
        "- *supervised KL-NMF*: 64 atoms per stem from excerpts of the training recordings, 100",
        "  updates, on the priors' 128 bands; ratio masks.",
        "- *faithful InstGlow search*: the preset `faithful` (z = 0, 150 Adam steps of 0.01, no",
        "  prior term, the flows' own magnitudes) **on our CPU-size priors**: 0.7 million",
        "  parameters each, not the paper's 11.7, and trained with a contrastive term. It is the",
        "  paper's search, not its system.",
        "- *flows alone*: the search of `search` with ratio masks and without the estimate.",
        "- *first estimate alone*: what shared encoder and heads say of the pair as one.",
        "- *draft*, *standard*, *best*, *search*: the tiers of that name. All listen",
        "  to middle and side and heed where stems stand (`spatial`); all but the first draw",
        "  on the song's own spectra; `best` looks at each stem again; `search` moves the flows,",
        "  guided by the estimate, which has a share of 0.3 in its masks.",
        "- *oracle ratio mask*: masks from the true stems on the same 128 bands, the ceiling.",
        "",
        "Rows of priors that are not shipped, from the recipes in `export/` (docs/priors.md):",
        "",
        "- *faithful MusicGlow search* (`--musicglow PATH.prior`, `musicglow.yaml`): the same",
        "  search over one flow that is told the stem by a label.",
        "- *..., research* (`--priors research=FOLDER`, `research.yaml`): with excerpts of",
        "  MUSDB18's training songs among the recordings; academic use only.",
        '- *..., likelihood alone* (`--priors "likelihood alone=FOLDER"`, `likelihood.yaml`):',
        "  flows trained without the contrastive term, as the paper's are.",
        '- *..., published view* (`--priors "published view=FOLDER"`, `instglow.yaml`): the same',
        "  without our view either: 512 linear bins at 22.05 kHz, uncompressed. Search, view and",
        "  objective are the paper's here; networks and training are of our size.",
        "",
        "## Other data",
        "",
        "`--set musdb18=musdb18hq:FOLDER`, `--set musdb18=musdb18:FOLDER` (`.stem.mp4`, needs",
        "ffmpeg) and `--set slakh=slakh2100:FOLDER` read the official layouts of MUSDB18-HQ,",
        "MUSDB18 and Slakh2100 (their test parts), `--set NAME=stems:FOLDER` any",
        "`FOLDER/<song>/<stem>.wav`. `--seconds 0` takes whole songs, `--songs N` at most N.",
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
