"""The colour of a stem, the same on every page and in every session."""

from __future__ import annotations

from collections.abc import Sequence

from presets import RESIDUAL

# Colours that stay apart for most colour-blind eyes (Okabe and Ito 2008).
COLOURS = {
    "vocals": "#E69F00",
    "bass": "#0072B2",
    "drums": "#D55E00",
    "guitar": "#009E73",
    "piano": "#56B4E9",
    "other": "#CC79A7",
}
MORE_COLOURS = ("#B8A800", "#5FB3A1", "#8C86C9", "#E0695C", "#5B8FC0", "#D98A2B")
GREY = "#808080"
GREY_ONES = (RESIDUAL, "sum")


def stem_colours(stems: Sequence[str]) -> dict[str, str]:
    """`#rrggbb` for each stem: its usual one, or the next of those that are left."""
    spare = iter(MORE_COLOURS * len(stems))
    return {
        stem: GREY if stem in GREY_ONES else COLOURS.get(stem) or next(spare)
        for stem in dict.fromkeys(stems)
    }
