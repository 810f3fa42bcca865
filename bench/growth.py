"""Writes the growth page: seconds and memory as length, channels, stems, rate, titles grow.

    python bench/growth.py [--only length channels ...] [--lengths 10 60 3600 10800]
                           [--rounds 2] [--out docs/growth.md]

Every point is a process of its own that has rendered a second before, so that what is counted is
work and not its start; the least of several rounds counts. Each series is a straight line if the
cost grows as the work does: the page says how far its worst point is from the one that fits best.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from speed_trials import EVERY_STEM, EXAMPLE

CHILD = "--measure"
CLIP_S = 20.0
TITLE_S = 3.0
RATES_HZ = (22_050, 44_100, 48_000, 88_200, 96_000, 192_000)
CHANNELS = (1, 2, 4, 6, 8)
STEMS = (2, 3, 4, 5, 6)
TITLES = (1, 10, 50, 200)
LENGTHS_S = (10.0, 60.0, 240.0, 1200.0, 3600.0, 10_800.0)
ONCE_S = 1800.0  # of audio: what is longer is measured once
LENGTH_TIERS = ("draft", "standard")
SERIES = ("length", "channels", "stems", "rate", "titles")
UNITS = {"length": "s", "channels": "", "stems": "", "rate": "kHz", "titles": ""}


@dataclass(frozen=True)
class Work:
    """What one process renders: `titles` times the example, looped, in another layout or rate."""

    tier: str = "draft"
    seconds: float = CLIP_S
    channels: int = 2
    stems: int = 4
    rate_hz: int = 44_100
    titles: int = 1


@dataclass(frozen=True)
class Cost:
    """Processor seconds of the program and its decoders, and the most memory that it held."""

    cpu_s: float
    peak_mib: float


def works(series: str, lengths_s: Sequence[float]) -> Iterator[tuple[str, float, Work]]:
    """Curve, place on the axis and work of every point of a series."""
    if series == "length":
        for tier in LENGTH_TIERS:
            for seconds in lengths_s:
                yield f"length, {tier}", seconds, Work(tier, seconds)
    elif series == "channels":
        for channels in CHANNELS:
            yield series, channels, Work(channels=channels)
    elif series == "stems":
        for stems in STEMS:
            yield series, stems, Work(stems=stems)
    elif series == "rate":
        for rate_hz in RATES_HZ:
            yield series, rate_hz / 1000, Work(rate_hz=rate_hz)
    else:
        for titles in TITLES:
            yield series, titles, Work(seconds=TITLE_S, titles=titles)


def write_mix(path: Path, work: Work) -> None:
    """The example mix over and over; another rate plays it faster, more channels repeat it."""
    audio, _ = soundfile.read(EXAMPLE, dtype="int16", always_2d=True)
    audio = audio[:, np.arange(work.channels) % audio.shape[1]]
    left = round(work.seconds * work.rate_hz)
    with soundfile.SoundFile(path, "w", work.rate_hz, work.channels, "PCM_16", format="RF64") as f:
        while left > 0:
            f.write(audio[:left])
            left -= len(audio[:left])


def measure(folder: Path, work: Work) -> Cost:
    """Render in this process, and count from behind the first second."""
    from engine import Renderer, RenderOptions
    from presets import load_preset

    preset = folder / "some.yaml"
    stems = "\n".join(f"  {stem}: {{}}" for stem in EVERY_STEM[: work.stems])
    preset.write_text(f"name: some\nstems:\n{stems}\n", encoding="utf-8")
    renderer = Renderer(load_preset(preset), RenderOptions(tier=work.tier, threads=1))
    short, mix = folder / "short.wav", folder / "mix.wav"
    write_mix(short, Work(work.tier, 1.0, work.channels, work.stems, work.rate_hz))
    write_mix(mix, work)
    renderer.render(short, folder / "short")
    before = _cpu_s()
    for number in range(work.titles):
        with tempfile.TemporaryDirectory(dir=folder) as out:
            renderer.render(mix, Path(out) / f"set-{number}")
    spent = _cpu_s() - before
    return Cost(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured(work: Work, rounds: int) -> Cost:
    """The least of several processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, CHILD, json.dumps(asdict(work))]
    costs = []
    for _ in range(rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        costs.append(Cost(**json.loads(done.stdout.splitlines()[-1])))
    return Cost(min(c.cpu_s for c in costs), min(c.peak_mib for c in costs))


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """The straight line nearest to the points in relative terms: its value at 0, its slope, and
    the largest departure of a point, relative to the point."""
    at, spent = np.array(x, float), np.array(y, float)
    per_unit, fixed = np.polyfit(at, spent, 1, w=1 / spent)
    off = np.abs(fixed + per_unit * at - spent) / spent
    return float(fixed), float(per_unit), float(off.max())


def draw(curves: dict[str, list[tuple[float, Cost]]], label: str, picture: Path) -> None:
    """Processor seconds and memory of the curves of one series, with the lines nearest to them."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = picture.name  # the same points give the same bytes
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in curves.items():
        x = [at for at, _ in points]
        spent = [cost.cpu_s for _, cost in points]
        (dots,) = left.plot(x, spent, "o", label=name)
        fixed, per_unit, _ = line(x, spent)
        ends = [min(x), max(x)]
        left.plot(ends, [fixed + per_unit * at for at in ends], "-", color=dots.get_color())
        right.plot(x, [cost.peak_mib for _, cost in points], "o-", label=name)
    for axes, what in ((left, "processor s"), (right, "most memory, MiB")):
        axes.set_xlabel(label)
        axes.set_ylabel(what)
        axes.set_ylim(bottom=0)
    left.legend(frameon=False)
    figure.savefig(picture, metadata={"Date": None, "Creator": None})


def write_series(series: str, arguments: argparse.Namespace) -> list[str]:
    """One section: a table, how far from a line, and the picture beside the page."""
    label = f"{series}, {UNITS[series]}".removesuffix(", ")
    lines = [f"## {series.capitalize()}\n", f"| | {label} | processor s | most memory, MiB |"]
    lines.append("|---|---|---|---|")
    curves: dict[str, list[tuple[float, Cost]]] = {}
    for name, at, work in works(series, arguments.lengths):
        cost = measured(work, 1 if work.seconds > ONCE_S else arguments.rounds)
        curves.setdefault(name, []).append((at, cost))
        lines.append(f"| {work.tier} | {at:g} | {cost.cpu_s:.2f} | {cost.peak_mib:.0f} |")
        print(lines[-1], flush=True)
    lines.append("")
    for name, points in curves.items():
        fixed, per_unit, off = line([at for at, _ in points], [c.cpu_s for _, c in points])
        lines.append(
            f"{name.capitalize()}: {fixed:.3f} s + {per_unit:.4f} s for each; the farthest point "
            f"is {off:.1%} off that line.\n"
        )
    picture = arguments.out.with_name(f"growth-{series}.svg")
    draw(curves, label, picture)
    return [*lines, f"![{series}]({picture.name})\n"]


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    if sys.argv[1:2] == [CHILD]:
        with tempfile.TemporaryDirectory() as folder:
            cost = measure(Path(folder), Work(**json.loads(sys.argv[2])))
        print(json.dumps(asdict(cost)))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=SERIES, default=list(SERIES))
    parser.add_argument("--lengths", nargs="+", type=float, default=list(LENGTHS_S))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/growth.md"))
    arguments = parser.parse_args()
    lengths = " ".join(f"{seconds:g}" for seconds in arguments.lengths)
    series = " ".join(arguments.only)
    asked = f"--only {series} --lengths {lengths} --rounds {arguments.rounds}"
    lines = [
        "# How cost grows\n",
        f"Written by `python bench/growth.py {asked}`;",
        "do not edit. One thread, dry stems, 16 bit, files and all, sessions open. Where nothing",
        f"else is said {CLIP_S:g} s of stereo at 44.1 kHz, four stems, `draft`; titles are of",
        f"{TITLE_S:g} s. Processor seconds and memory without the program's start.",
        "Each point is a process of its own, the least of its rounds; what is longer than "
        f"{ONCE_S / 60:g} minutes is measured once.\n",
    ]
    for name in arguments.only:
        lines += write_series(name, arguments)
    arguments.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
