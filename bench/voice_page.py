"""The tables of the page on voices, from stored scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from voice_scores import interval, median

BEGIN = "<!-- scores: printed by bench/voices.py page -->"
END = "<!-- end of scores -->"
WORDS = {
    "mix / K": "the mix, divided",
    "comb alone": "harmonics at the pitches, nothing learned",
    "NMF, harmonic templates": "NMF with harmonic templates, nothing learned",
    "NMF, source-filter": "source-filter NMF, nothing learned",
    "short-unet": "U-Net, isolated voices, 84 s",
    "all-unet": "U-Net, isolated voices, all",
    "short": "**ours, mixtures, 84 s**",
    "all": "**ours, mixtures, all (shipped)**",
    "all, fitted": "**ours, shipped and `--fit`**",
    "short-taught": "our network, isolated voices, 84 s",
    "all-taught": "our network, isolated voices, all",
    "ideal masks": "masks of the true powers",
}


class Score(TypedDict):
    """One line of the store: a row on one choir."""

    row: str
    pitch: str
    choir: str
    voices: int
    si_sdr: list[list[float]]
    spectral: list[list[float]]
    cpu_s: float
    seconds: float


def tables(scores: Sequence[Score]) -> str:
    """All of them, as Markdown."""
    barbershop = [one for one in scores if one["choir"] == "barbershop"]
    unfamiliar = [one for one in scores if "rendered" in one["choir"]]
    real = [one for one in scores if one not in barbershop and one not in unfamiliar]
    return "\n\n".join(
        [
            "Real singers (15 s of a quartet, its six pairs), exact pitches:",
            _methods([one for one in real if one["pitch"] == "exact"]),
            "Rendered singers that no training heard (two chorales, four pairs), exact pitches:",
            _methods([one for one in unfamiliar if one["pitch"] == "exact"]),
            "The real quartet with pitches that are not exact; mean SI-SDR in dB [95 %]:",
            _mistaken([one for one in real if one["voices"] == 4], least=2),
            "A barbershop tag of sevenths (25 s, four rendered throats that no training heard):",
            _mistaken(barbershop, least=1),
            "",
        ]
    )


def _methods(scores: Sequence[Score]) -> str:
    lines = [
        "| method | four voices: mean SI-SDR [95 %] | median | spectral SNR | "
        "two voices: mean SI-SDR [95 %] | median | spectral SNR | s/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, words in WORDS.items():
        own = [one for one in scores if one["row"] == row]
        if not own:
            continue
        cells = [_cells([one for one in own if one["voices"] == count]) for count in (4, 2)]
        speed = sum(one["cpu_s"] for one in own) / sum(one["seconds"] for one in own)
        lines.append(f"| {words} | {cells[0]} | {cells[1]} | {speed:.2f} |")
    return "\n".join(lines)


def _cells(scores: Sequence[Score]) -> str:
    if not scores:
        return "- | - | -"
    si_sdr = _tables(one["si_sdr"] for one in scores)
    spectral = np.nanmean(
        np.concatenate([t.ravel() for t in _tables(one["spectral"] for one in scores)])
    )
    return f"{interval(si_sdr)} | {median(si_sdr):.2f} | {spectral:.2f}"


def _mistaken(scores: Sequence[Score], least: int) -> str:
    """Rows that were judged with so many kinds of pitches."""
    kinds = ("exact", "tracker", "5 Hz", "23 Hz", "octave")
    lines = [f"| method | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for row, words in WORDS.items():
        own = {one["pitch"]: np.array(one["si_sdr"], float) for one in scores if one["row"] == row}
        if len(own) < least:
            continue
        cells = [str(interval([own[kind]])) if kind in own else "-" for kind in kinds]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _tables(stored: Iterable[list[list[float]]]) -> list[NDArray[np.float64]]:
    return [np.array(one, np.float64) for one in stored]
