"""Draws the picture of the speed page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def plot(cpu_rtf: Mapping[str, float], sdr_db: Mapping[str, float | None], picture: Path) -> None:
    """Decibels against processor seconds per second of audio; what has no decibels is a line."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    rcParams["svg.hashsalt"] = picture.name  # the same points give the same bytes
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, x in cpu_rtf.items():
        level = sdr_db[name]
        if level is None:
            axes.axvline(x, linestyle=":", color="grey")
            axes.annotate(name, (x, 0.02), xycoords=("data", "axes fraction"), rotation=90)
        else:
            axes.plot(x, level, "o")
            axes.annotate(name, (x, level), xytext=(5, 4), textcoords="offset points")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("processor seconds per second of audio")
    axes.set_ylabel("SDR, dB")
    figure.savefig(picture, metadata={"Date": None, "Creator": None})
