"""Writes the speed page: decibels against seconds of every tier, beside the peers, in one run.

    python bench/speed.py [--seconds 30] [--rounds 2] [--limits] [--peers build/peers]

Renders a loop of the example mix with the shipped priors; the decibels are those of
docs/quality.md. How cost grows is bench/growth.py's page, where it goes bench/stages.py's. Needs
the groups `export` and `bench`.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import peers
import search_limits
from engine import ENGINE_VERSION, usable_cores
from speed_plots import plot
from speed_trials import STEMS, Trials

QUALITY = Path(__file__).parent.parent / "docs" / "quality.md"
SET = "## Unfamiliar"  # the songs of it that decibels are taken from
SDR = "SDR, mean"
NO_CARD = """\
## On a card

Trainings have been run on one ([lab.md](lab.md)), this page never, so that RTF 0.01 for
`standard` on an H100 is a goal and no figure. One command prints every figure of one, provider,
bound arrays and transfers among them, and goes the same ways on a CPU:
`python bench/speed_device.py --device cuda --out docs/speed.md`."""


def decibels() -> dict[str, float]:
    """Mean SDR of every system on the unfamiliar songs, as the quality page has it."""
    _, _, section = QUALITY.read_text("utf-8").partition(SET)
    table, _, _ = section.partition("\n## ")
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    head, _, *body = cells
    column = head.index(SDR)
    return {row[0]: float(row[column].split()[0]) for row in body if len(row) == len(head)}


class Page:
    """The page as it grows; every section is printed as soon as it is measured."""

    def __init__(self, trials: Trials, seconds: float) -> None:
        self.trials, self.seconds = trials, seconds
        self.lines: list[str] = []

    def say(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines
        print("\n".join(lines), flush=True)

    def machine(self, asked: str) -> None:
        """What the numbers belong to."""
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
        versions = ", ".join(f"{n} {version(n)}" for n in ("onnxruntime", "numpy"))
        self.say(
            "# Speed\n",
            f"Written by `python bench/speed.py {asked}`; do not edit.\n",
            f"Stemwright {ENGINE_VERSION}, {versions}, Python {platform.python_version()}, "
            f"{usable_cores()} cores ({_processor()}), load average {load:.1f} before the run.",
            "RTF is waiting time by length of the mix, files and all; processor seconds (of all",
            "processes) per second of audio barely change when the machine has other work, as",
            "it had if the load above is not near zero. Stereo, 44.1 kHz, sessions open.\n",
        )

    def programs(self, environments: Path | None, rounds: int) -> dict[str, peers.Seconds]:
        """Every tier and the peers, in turn."""
        found = peers.least_of_each(environments, self.trials, self.seconds, rounds)
        sdr_db, (wall, cpu) = decibels(), found[peers.REFERENCE]
        self.say(
            "## Decibels against seconds\n",
            f"{self.seconds:g} s, four stems, one thread; the least of {rounds} runs of each "
            "program in turn. SDR: mean of the unfamiliar songs in",
            "[quality.md](quality.md); the peers have random weights, so that only their time is",
            "told, and they read and write no file.\n",
            f"| | SDR, dB | RTF | processor s per s | RTF / {peers.REFERENCE} | processor |",
            "|---|---|---|---|---|---|",
        )
        for name, spent in found.items():
            level = sdr_db.get(name)
            cost = f"{spent[0] / self.seconds:.3f} | {spent[1] / self.seconds:.3f}"
            ratios = f"{spent[0] / wall:.2f} x | {spent[1] / cpu:.2f} x"
            self.say(f"| {name} | {'-' if level is None else level} | {cost} | {ratios} |")
        return found

    def papers_network(self, searched_cpu_s: float) -> None:
        """What the paper's own size would take."""
        step_s, covered_s = search_limits.papers_step_s()
        # 150 steps and a third more for the exact sums, 4 stems
        per_second = 150 * 4 / 3 * len(STEMS) * step_s / covered_s
        ours = searched_cpu_s / self.seconds
        self.say(
            "\nWith networks of the paper's size (11.7 M parameters, random weights, 512 bins, "
            f"hop 256), one step of one stem takes {step_s * 1e3:.0f} ms for {covered_s:.2f} s on "
            "one thread: "
            f"{per_second:.0f} processor seconds per second for the whole search of what the "
            "paper separates, one channel at 22.05 kHz (150 steps; extrapolated from one). "
            f"That is {per_second / ours:.0f} times what the tier search takes for stereo at "
            f"44.1 kHz; the paper's search of those, channels apart, would take "
            f"{4 * per_second / ours:.0f} times as much.\n"
        )

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
            "calculate next to nothing. These are rates of the clock: what else the machine does "
            "is lost to them, to two threads first.\n"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(line.split(": ")[1] for line in lines if line.startswith("model name"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the mix is")
    parser.add_argument("--rounds", type=int, default=2, help="runs of every program")
    parser.add_argument("--limits", action="store_true", help="the search beside the machine, too")
    parser.add_argument("--peers", type=Path, help="environments made by peers.py --install")
    parser.add_argument("--out", type=Path, default=Path("docs/speed.md"))
    arguments = parser.parse_args()
    picture = arguments.out.with_suffix(".svg")
    with tempfile.TemporaryDirectory() as folder:
        page = Page(Trials(Path(folder)), arguments.seconds)
        asked = f"--seconds {arguments.seconds:g} --rounds {arguments.rounds} --peers PEERS"
        page.machine(asked + " --limits" * arguments.limits)
        found = page.programs(arguments.peers, arguments.rounds)
        cpu_rtf = {name: cpu / arguments.seconds for name, (_, cpu) in found.items()}
        plot(cpu_rtf, {name: decibels().get(name) for name in found}, picture)
        page.say("", f"![SDR against processor seconds]({picture.name})\n")
        if arguments.limits:
            page.papers_network(found["search"][1])
            page.limits(Path(folder))
        page.say(NO_CARD)
    arguments.out.write_text("\n".join(page.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
