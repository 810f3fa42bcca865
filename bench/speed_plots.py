"""Draws the curves of the speed page."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from speed_trials import Cost


def plot(curves: dict[str, list[tuple[float, Cost]]], picture: Path) -> None:
    """One panel per curve: RTF and processor time against what was varied."""
    figure = Figure(figsize=(4 * len(curves), 3.2), layout="constrained")
    for axes, (name, points) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        x = [value for value, _ in points]
        axes.plot(x, [cost.rtf for _, cost in points], "o-", label="RTF")
        axes.plot(x, [cost.cpu_rtf for _, cost in points], "s--", label="processor s per s")
        axes.set_xlabel(name)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)
    figure.savefig(picture, dpi=100, metadata={"Software": None})
