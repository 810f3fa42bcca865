"""Writes the speed page: one command, one machine, one run.

    python bench/speed.py [--minutes 60] [--searched-minutes 5] [--memory-minutes 180]
                           [--peers build/peers]

Renders loops of the example mix with the shipped priors. Needs the groups `export` and `bench`.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import peers
import search_limits
from engine import ENGINE_VERSION, usable_cores
from presets.search import TIERS
from speed_plots import plot
from speed_trials import EVERY_STEM, STEMS, Cost, Trials, slope

CLIP_S = 30.0
MEMORY_S = 180.0
LENGTHS_S = (CLIP_S, 120.0, 300.0, 3600.0)
FAITHFUL = "faithful"
HEAD = "| {} | RTF | processor s per s |\n|---|---|---|"


class Page:
    """The page as it grows; every section is printed as soon as it is measured."""

    def __init__(self, trials: Trials, longest_s: Mapping[str, float]) -> None:
        self.trials = trials
        self.lengths = {
            tier: [s for s in LENGTHS_S if s <= most] for tier, most in longest_s.items()
        }
        self.lines: list[str] = []
        self.curves: dict[str, list[tuple[float, Cost]]] = {}

    def say(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines
        print("\n".join(lines), flush=True)

    def machine(self) -> None:
        """What the numbers belong to."""
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        versions = ", ".join(f"{n} {version(n)}" for n in ("onnxruntime", "numpy"))
        self.say(
            "# Speed\n",
            "Written by `python bench/speed.py`; do not edit.\n",
            f"Stemwright {ENGINE_VERSION}, {versions}, Python {platform.python_version()}, "
            f"{usable_cores()} cores ({_processor()}), load average {load:.1f} before the run.",
            "RTF is waiting time by length of the mix, files and all; processor seconds (of all",
            "processes) per second of audio barely change when the machine has other work, as",
            "it had if the load above is not near zero. Stereo, 44.1 kHz, sessions open.\n",
        )

    def tiers(self) -> None:
        """Every tier and the paper's search, in one run."""
        costs = {tier: self.trials.render(CLIP_S, tier) for tier in TIERS}
        costs[FAITHFUL] = self.trials.render(CLIP_S, None, preset=FAITHFUL)
        search = costs[FAITHFUL].stages_s["searching"]
        self.say(
            f"## Tiers\n\n{CLIP_S:g} s, four stems, all cores.\n",
            "| | RTF | processor s per s | decoding s | searching s | writing s "
            "| faithful's search takes |",
            "|---|---|---|---|---|---|---|",
        )
        for name, cost in costs.items():
            stages = " | ".join(
                f"{cost.stages_s[stage]:.1f}" for stage in ("decoding", "searching", "writing")
            )
            ratio = search / cost.stages_s["searching"]
            self.say(f"| {name} | {_both(cost)} | {stages} | {ratio:.1f} x |")
        self._papers_network(costs["search"])

    def _papers_network(self, searched: Cost) -> None:
        step_s, covered_s = search_limits.papers_step_s()
        # 150 steps and a third more for the exact sums, 4 stems
        per_second = 150 * 4 / 3 * len(STEMS) * step_s / covered_s
        ours = searched.cpu_rtf
        self.say(
            "\nThe row `faithful` is the paper's search with our small priors. With networks of "
            "the paper's size (11.7 M parameters, random weights, 512 bins, hop 256), one step of "
            f"one stem takes {step_s * 1e3:.0f} ms for {covered_s:.2f} s on one thread: "
            f"{per_second:.0f} processor seconds per second for the whole search of what the "
            "paper separates, one channel at 22.05 kHz (150 steps; extrapolated from one). "
            f"That is {per_second / ours:.0f} times what the tier search takes for stereo at "
            f"44.1 kHz; the paper's search of those, channels apart, would take "
            f"{4 * per_second / ours:.0f} times as much.\n"
        )

    def series(self) -> None:
        """Threads, stems, batches and length."""
        cores = range(1, usable_cores() + 1)
        self._series("threads", ((n, self._searched(threads=n)) for n in cores))
        counts = range(1, len(EVERY_STEM) + 1)
        presets = {n: self.trials.preset(EVERY_STEM[:n]) for n in counts}
        self._series("stems", ((n, self._searched(preset=presets[n])) for n in counts))
        self._series("segments in a batch", self._batches())
        for tier in self.lengths:
            self._lengths(tier)

    def _searched(self, preset: str | Path = "dry", threads: int = 0) -> Cost:
        return self.trials.render(CLIP_S, "search", preset=preset, threads=threads)

    def _batches(self) -> Iterator[tuple[float, Cost]]:
        for size in (1, 2, 4, 8):
            with self.trials.batch_of(size):
                yield size, self._searched()

    def _series(self, name: str, costs: Iterator[tuple[float, Cost]]) -> None:
        self.say(f"## {name.capitalize()}\n", HEAD.format(name))
        self.curves[name] = list(costs)
        self.say(*(f"| {x:g} | {_both(cost)} |" for x, cost in self.curves[name]), "")

    def _lengths(self, tier: str) -> None:
        name = f"length in seconds, {tier}"
        self._series(name, ((s, self.trials.render(s, tier)) for s in self.lengths[tier]))
        if len(self.lengths[tier]) > 2:
            fixed, per_second, off = slope([cost for _, cost in self.curves[name]])
            self.say(
                f"Processor time is {fixed:.2f} s + {per_second:.3f} s per second; the farthest "
                f"point is {off:.1%} off that line.\n"
            )

    def memory(self, longest_s: float) -> None:
        """Peak resident memory of the command, short and long."""
        self.say(
            "## Memory\n\nPeak of the resident memory of `stemwright separate`.\n",
            "| tier | length in seconds | MiB |",
            "|---|---|---|",
        )
        for tier, length in (
            ("standard", MEMORY_S),
            ("standard", longest_s),
            ("search", MEMORY_S),
        ):
            self.say(f"| {tier} | {length:g} | {self.trials.peak_mib(length, tier):.0f} |")
        self.say("")

    def limits(self, folder: Path) -> None:
        """The search against the machine."""
        self.say(
            "## How near to the limit\n",
            "| threads | search GFLOP/s | ONNX Runtime MatMul 1024 GFLOP/s | share |",
            "|---|---|---|---|",
        )
        for threads in range(1, usable_cores() + 1):
            peak = search_limits.matmul_peak(threads)
            rate = search_limits.search_rate(threads)
            self.say(f"| {threads} | {rate:.0f} | {peak:.0f} | {rate / peak:.0%} |")
        shares = search_limits.operator_shares(folder)
        operators = ", ".join(f"{name} {share:.0%}" for name, share in shares[:9])
        self.say(
            "\nOnly matrix products count as work above. What holds the rest, by ONNX Runtime's "
            f"profile of one gradient session: {operators}. The 4 x 4 mixing, the gates' and "
            "couplings' products, sums and copies move every activation through memory and "
            "calculate next to nothing.\n"
        )


def _both(cost: Cost) -> str:
    return f"{cost.rtf:.2f} | {cost.cpu_rtf:.2f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(line.split(": ")[1] for line in lines if line.startswith("model name"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="the longest standard")
    parser.add_argument("--searched-minutes", type=float, default=5.0, help="longest standard")
    parser.add_argument("--memory-minutes", type=float, default=180.0, help="standard, for memory")
    parser.add_argument("--peers", type=Path, help="environments made by peers.py --install")
    parser.add_argument("--out", type=Path, default=Path("docs/speed.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        longest_s = {"standard": 60 * arguments.minutes, "search": 60 * arguments.searched_minutes}
        page = Page(Trials(Path(folder)), longest_s)
        page.machine()
        page.tiers()
        page.limits(Path(folder))
        if arguments.peers:
            page.say("## Peers\n", *peers.compare(arguments.peers, page.trials, CLIP_S))
            page.say("\nThe peers have random weights and read and write no file.\n")
        page.series()
        page.memory(60 * arguments.memory_minutes)
    picture = arguments.out.with_suffix(".png")
    plot(page.curves, picture)
    page.say(f"![RTF against threads, stems, batch and length]({picture.name})")
    arguments.out.write_text("\n".join(page.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
