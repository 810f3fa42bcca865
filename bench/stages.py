"""Writes the profile page: where the seconds of a render go, stage by stage, beside the floor.

    python bench/stages.py [--minutes 60] [--searched-seconds 10] [--out docs/profile.md]

Every measurement has a process of its own, so that cold is cold. The floor is what reading the
mix, transforming it and writing the files would take with the same libraries and nothing else.
`profile.py` would be its name, but that is a module of Python's, which torch loads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

SHORT_S, SONG_S = 10.0, 240.0
STEMS = 4  # of the preset `dry`, and a remainder
THREADS = (1, 2)
CHILD = "--measure"
Column = dict[str, list[float]]  # stage -> processor and wall seconds


def measure(mix: str, tier: str, threads: str, temperature: str) -> None:
    """Print what one render costs, in JSON: {stage: [processor s, wall s]}."""
    found = {"start": [time.process_time()] * 2}
    began, wall = time.process_time(), time.perf_counter()
    import onnxruntime  # noqa: F401 - otherwise the first session would load it
    import soundfile  # noqa: F401
    import soxr  # noqa: F401

    from engine import Renderer, RenderOptions
    from engine.plugins import chain, rack  # noqa: F401 - opened by a render
    from presets import load_preset

    found["imports"] = [time.process_time() - began, time.perf_counter() - wall]
    from stage_clock import StageClock

    clock = StageClock()
    options = RenderOptions(tier=tier, threads=int(threads))
    with tempfile.TemporaryDirectory(dir=Path(mix).parent) as out:
        if temperature == "warm":
            renderer = Renderer(load_preset("dry"), options)
            renderer.render(Path(mix).with_name("1.wav"), Path(out) / "first")
        children = os.times()
        with clock.measured() as spent:
            if temperature == "cold":
                renderer = Renderer(load_preset("dry"), options)
            renderer.render(Path(mix), Path(out) / "set")
        ended = os.times()
    found |= {stage: [each.cpu_s, each.wall_s] for stage, each in spent.items()}
    decoder = ended.children_user + ended.children_system
    decoder -= children.children_user + children.children_system
    print(json.dumps({**found, "decoder's process": [decoder, 0.0]}))


def measured(mix: Path, tier: str, threads: int, temperature: str) -> Column:
    """What `measure` says in a process of its own."""
    command = [sys.executable, __file__, CHILD, str(mix), tier, str(threads), temperature]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: Column = json.loads(done.stdout.splitlines()[-1])
    return found


def floor(mix: Path) -> dict[str, float]:
    """Processor seconds of reading, transforming and writing alone."""
    import numpy as np
    import soundfile

    from engine import Prior, find_prior
    from engine.model.sessions import Device

    with tempfile.TemporaryDirectory(dir=mix.parent) as out, contextlib.ExitStack() as opened:
        sound = opened.enter_context(soundfile.SoundFile(mix))
        front_end = Prior(find_prior("vocals"), Device("cpu")).card.front_end.front_end()
        stft, rate = front_end.stft(sound.samplerate), sound.samplerate
        files = [
            opened.enter_context(
                soundfile.SoundFile(Path(out) / f"{n}.wav", "w", rate, sound.channels, "PCM_16")
            )
            for n in range(STEMS + 1)
        ]
        seconds = dict.fromkeys(("reading", "transforms", "writing"), 0.0)

        def spend(what: str, began: float) -> float:
            now = time.process_time()
            seconds[what] += now - began
            return now

        now = time.process_time()
        while len(audio := sound.read(16 * stft.hop, dtype="float32", always_2d=True)):
            now = spend("reading", now)
            frames = np.resize(audio.T, (sound.channels, 16, stft.n_fft))
            spectra = np.fft.rfft(frames)
            for _ in range(STEMS):
                np.fft.irfft(spectra)
            now = spend("transforms", now)
            for file in files:
                file.write(audio)
            now = spend("writing", now)
        for file in files:
            file.close()
        spend("writing", now)
    return seconds


class Page:
    """The page as it grows; every table is printed as soon as it is measured."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines
        print("\n".join(lines), flush=True)

    def head(self, asked: str) -> None:
        """What the numbers belong to."""
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        versions = ", ".join(f"{n} {version(n)}" for n in ("onnxruntime", "numpy", "soxr"))
        self.say(
            "# Where a render's seconds go\n",
            f"Written by `python bench/stages.py {asked}`; do not edit.\n",
            f"{versions}, Python {platform.python_version()}, {os.cpu_count()} cores, load "
            f"average {load:.1f} before the run. Each cell is *processor seconds / wall seconds*.",
            "Processor seconds are those of all threads in a stage, without the stages inside it.",
            "Wall seconds are those in which any thread was in it: on several threads stages",
            "overlap, and on a machine with other work they say little. Preset `dry`, stereo,",
            "44.1 kHz, 16 bit.\n",
        )

    def table(self, title: str, columns: dict[str, Column]) -> None:
        """A row for every stage that takes a hundredth of a second anywhere."""
        rows = list(dict.fromkeys(stage for column in columns.values() for stage in column))
        rows = [row for row in rows if row != "total"]
        rows.sort(key=lambda row: -max(c.get(row, [0.0])[0] for c in columns.values()))
        names = list(columns)
        self.say(f"## {title}\n", _row("stage", *names), _row(*["---"] * (len(names) + 1)))
        for row in rows:
            cells = [columns[name].get(row, [0.0, 0.0]) for name in names]
            if max(cell[0] for cell in cells) >= 0.005:
                self.say(_row(row, *(f"{cpu:.2f} / {wall:.2f}" for cpu, wall in cells)))
        totals = [total(columns[name]) for name in names]
        self.say(_row("**all**", *(f"**{cpu:.2f} / {wall:.2f}**" for cpu, wall in totals)), "")

    def against_the_floor(
        self,
        lengths: Sequence[tuple[Path, float]],
        tier: str,
        warm: Mapping[float, Column],
    ) -> None:
        """What is outside the model, against the audio's length and the floor."""
        from stage_clock import MODEL

        self.say(
            f"## {tier} against the floor\n",
            "The floor is reading the mix, one transform of it and one back for every stem, and",
            "writing the files, by soundfile and NumPy alone. *Model* is what asks a network",
            f"or fits spectra: {', '.join(MODEL)}.\n",
            _row(
                "s", "floor", "reading", "transforms", "writing", "model", "all else", "of length",
                 "times the floor, all", "all else"),
            _row(*["---"] * 10),
        )  # fmt: skip
        for mix, length_s in lengths:
            least = floor(mix)
            cpu_s, _ = total(warm[length_s])
            model_s = sum(warm[length_s].get(stage, [0.0])[0] for stage in MODEL)
            rest, lowest = cpu_s - model_s, sum(least.values())
            self.say(_row(
                f"{length_s:g}", f"{lowest:.2f}", *(f"{s:.2f}" for s in least.values()),
                f"{model_s:.2f}", f"{rest:.2f}", f"{rest / length_s:.1%}",
                f"{cpu_s / lowest:.1f}", f"{rest / lowest:.1f}",
            ))  # fmt: skip
        self.say("")


def total(column: Column) -> tuple[float, float]:
    """Processor and wall seconds of all stages; those before the render only when it was cold."""
    before = [column.get(stage, [0.0, 0.0]) for stage in ("start", "imports")]
    cpu = column["total"][0] + column["decoder's process"][0] + sum(b[0] for b in before)
    return cpu, column["total"][1] + sum(b[1] for b in before)


def warm_only(column: Column) -> Column:
    """Without what a program that runs already has behind it."""
    return {stage: cost for stage, cost in column.items() if stage not in ("start", "imports")}


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def write_page(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """All tables."""
    from presets.search import TIERS
    from speed_trials import Trials

    trials, page = Trials(folder), Page()
    trials.clip(1)
    cheapest, *_ = TIERS
    page.head(f"--minutes {arguments.minutes:g} --searched-seconds {arguments.searched_seconds:g}")
    short = trials.clip(SHORT_S)
    page.table(
        f"Cold: {SHORT_S:g} s, with start and imports",
        {f"{t}, {n} threads": measured(short, t, n, "cold") for t in TIERS for n in THREADS},
    )
    lengths_s = [s for s in (SHORT_S, SONG_S) if s <= 60 * arguments.minutes] + [
        60 * arguments.minutes
    ]
    lengths_s = sorted(set(lengths_s))
    warm = {}
    for length_s in lengths_s:
        mix = trials.clip(length_s)
        tiers = [t for t in TIERS if length_s <= _longest_s(t, arguments)]
        columns = {
            f"{t}, {n} threads": warm_only(measured(mix, t, n, "warm"))
            for t in tiers
            for n in THREADS
        }
        warm[length_s] = columns[f"{cheapest}, 1 threads"]
        page.table(f"Warm: {length_s:g} s", columns)
    page.against_the_floor([(trials.clip(s), s) for s in lengths_s], cheapest, warm)
    return page.lines


def _longest_s(tier: str, arguments: argparse.Namespace) -> float:
    """How long a mix is worth the wait at a tier: a search takes half as long as its mix."""
    from presets.search import TIERS

    if TIERS[tier]["steps"]:
        return float(arguments.searched_seconds)
    return 60 * float(arguments.minutes)


def main() -> None:
    if sys.argv[1:2] == [CHILD]:
        measure(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="the longest mix")
    parser.add_argument(
        "--searched-seconds", type=float, default=60.0, help="the longest for tiers that search"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/profile.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = write_page(arguments, Path(folder))
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
