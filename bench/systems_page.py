"""The page of bench/systems.py: the poster's two tables and ours."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from engine import ENGINE_VERSION
from quality_page import SDR, SI_SDR, Score, decibels
from scores import bootstrap, over_stems, stem_cells

STEMS = ("vocals", "bass", "drums", "other")

# "Music Source Separation with Generative Flow", poster and README: global SDR in dB
POSTER_MUSDB: Mapping[str, tuple[float, float, float, float]] = MappingProxyType(
    {
        "InstGlow": (3.92, 2.58, 3.85, 2.37),
        "MusicGlow": (2.28, 1.27, 1.98, 1.31),
        "GAN prior": (-0.44, 0.48, -0.40, 0.32),
        "Demucs v2": (7.14, 5.50, 6.74, 4.16),
        "Wave-U-Net": (5.06, 2.63, 3.74, 1.95),
    }
)
POSTER_SLAKH: Mapping[str, tuple[float, float]] = MappingProxyType(  # bass, drums
    {
        "InstGlow": (1.54, 6.14),
        "MusicGlow": (2.57, 5.25),
        "GAN prior": (0.09, 0.85),
        "Demucs v2": (5.48, 10.21),
        "Wave-U-Net": (0.01, 3.91),
    }
)
ROWS = (  # from the simplest to the best that can be known; what else there is comes behind
    "mixture / K",
    "KL-NMF",
    "GAN prior",
    "GAN prior, mix's phase",
    "MusicGlow",
    "InstGlow",
    "InstGlow, published size",
    "Wave-U-Net",
    "Demucs v2",
    "interleaved",
    *(f"Stemwright, {tier}" for tier in ("draft", "standard", "best", "search")),
    "oracle ratio mask",
)
RENDERED = "heldout_"  # unfamiliar songs on sampled instruments, as Slakh's are


class Trained(NamedTuple):
    """How the system of a row came about, for the heading."""

    system: str
    how: str


def systems_page(
    scores: Sequence[Score],
    trained: Sequence[Trained],
    minutes: Mapping[str, str],
    notes: str,
    seconds: float,
    command: str,
) -> str:
    """Everything, as Markdown; `minutes` are those of the rows' trainings, a row without its own
    has those of the name before its comma."""
    lines = [*_head(seconds, command, trained, notes)]
    columns = list(dict.fromkeys(score.column for score in scores))
    lines += ["", "## The poster's first table", "", *_poster(scores, columns), ""]
    lines += ["## The poster's second table", "", *_second(scores), ""]
    for column in columns:
        own = [score for score in scores if score.column == column]
        songs = len({score.song for score in own})
        lines += [
            f"## {column.capitalize()}",
            "",
            f"{songs} songs, dB.",
            "",
            *_all(own, minutes),
            "",
        ]
    return "\n".join([*lines, *_rankings(scores, columns)]) + "\n"


def _head(seconds: float, command: str, trained: Sequence[Trained], notes: str) -> list[str]:
    length = f"{seconds:g} s from the middle of every song" if seconds else "whole songs"
    return [
        "# The systems of the poster, on the same songs",
        "",
        f"Printed by `{command}` with Stemwright {ENGINE_VERSION}, Python "
        f"{platform.python_version()}, on {platform.machine()}.",
        "",
        f"{length.capitalize()}, mono at 22.05 kHz, the mix is the sum of the stems. SDR is the",
        "global one, 10 log10(Σ s² / Σ (s - e)²), as in the paper. Cells are means over songs; a",
        "bracket is a 95 % bootstrap interval over songs. **Familiar** songs were heard by no",
        "training and have the instruments, renderers and singers of the training songs;",
        "**unfamiliar** ones have others, most are recordings of bands. Networks are much smaller",
        "than the papers', and so are data and hours: the poster's systems learned from the ten",
        "hours of MUSDB18, these from half an hour of rendered songs.",
        "",
        *(["How each was trained:", ""] if trained else []),
        *(f"- *{system}*: {how}" for system, how in trained),
        *([""] if trained and notes else []),
        *([notes.strip()] if notes else []),
    ]


def _poster(scores: Sequence[Score], columns: Sequence[str]) -> list[str]:
    head = ["system", *(f"{stem}, poster" for stem in STEMS), "mean, poster"]
    head += [f"mean, {column}" for column in columns]
    lines = [_row(head), _row(["---"] * len(head))]
    for system, published in POSTER_MUSDB.items():
        cells = [f"{value:.2f}" for value in (*published, float(np.mean(published)))]
        lines.append(_row([system, *cells, *(_mean(scores, system, c) for c in columns)]))
    return lines


def _mean(scores: Sequence[Score], system: str, column: str) -> str:
    own = _of_system([score for score in scores if score.column == column], system)
    return str(bootstrap(decibels(own, STEMS, SDR))) if own else "-"


def _of_system(scores: Sequence[Score], system: str) -> list[Score]:
    """The scores of a system of the poster: of the row with its name, else of the first one that
    begins with it and says a size."""
    rows = dict.fromkeys(score.system for score in scores)
    named = [row for row in rows if row == system or row.startswith(f"{system},")]
    row = system if system in named else next(iter(named), "")
    return [score for score in scores if score.system == row]


def _second(scores: Sequence[Score]) -> list[str]:
    own = [s for s in scores if s.song.startswith(RENDERED)]
    songs = len({score.song for score in own})
    lines = [
        "Other songs on other instruments than those of the training, nothing trained anew: the",
        f"poster has Slakh2100's submixes, we have {songs} rendered songs of the unfamiliar ones.",
        "",
        _row(["system", "bass, poster", "drums, poster", "bass", "drums"]),
        _row(["---"] * 5),
    ]
    for system, published in POSTER_SLAKH.items():
        mine = _of_system(own, system)
        table = decibels(mine, ("bass", "drums"), SDR) if mine else None
        cells = ["-", "-"] if table is None else stem_cells(table)
        lines.append(_row([system, *(f"{value:.2f}" for value in published), *cells]))
    return lines


def _all(own: Sequence[Score], minutes: Mapping[str, str]) -> list[str]:
    head = [
        "system",
        "songs",
        *STEMS,
        "SDR, mean",
        "SI-SDR",
        "over mixture / K",
        "s/s",
        "parameters",
        "minutes trained",
    ]
    lines = [_row(head), _row(["---"] * len(head))]
    systems = [*ROWS, *dict.fromkeys(s.system for s in own if s.system not in ROWS)]
    shares = {s.song: s for s in own if s.system == "mixture / K"}
    for system in systems:
        mine = [s for s in own if s.system == system]
        if not mine:
            continue
        sdr = decibels(mine, STEMS, SDR)
        known = [s for s in mine if s.song in shares]
        gain = "-"
        if known and system != "mixture / K":
            base = decibels([shares[s.song] for s in known], STEMS, SDR)
            gain = str(bootstrap(decibels(known, STEMS, SDR) - base))
        cost = sum(s.cpu_s for s in mine) / sum(s.audio_s for s in mine)
        size = mine[0].parameters
        lines.append(
            _row(
                [
                    system,
                    str(len(mine)),
                    *stem_cells(sdr),
                    str(bootstrap(sdr)),
                    str(bootstrap(decibels(mine, STEMS, SI_SDR))),
                    gain,
                    f"{cost:.2f}",
                    f"{size / 1e6:.2f} M" if size else "-",
                    minutes.get(system, minutes.get(system.partition(",")[0], "-")),
                ]
            )
        )
    return lines


def _rankings(scores: Sequence[Score], columns: Sequence[str]) -> list[str]:
    """The poster's systems from best to worst, there and here."""
    published = sorted(POSTER_MUSDB, key=lambda s: -float(np.mean(POSTER_MUSDB[s])))
    lines = ["## Rankings", "", f"- poster: {' > '.join(published)}"]
    for column in columns:
        means = {}
        for system in POSTER_MUSDB:
            own = _of_system([s for s in scores if s.column == column], system)
            if own:
                means[system] = over_stems(decibels(own, STEMS, SDR))
        ranked = sorted(means, key=means.__getitem__, reverse=True)
        lines.append(f"- {column}: {' > '.join(f'{s} ({means[s]:.2f})' for s in ranked)}")
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
