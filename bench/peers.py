"""Times htdemucs and Open-Unmix beside Stemwright, on the same clip and cores in one run.

    python bench/peers.py --install build/peers    # once: two environments, no weights
    python bench/peers.py --peers build/peers

Every program runs twice in turn and its quicker run counts, so that other work on the machine
hits all alike. The peers have random weights: it is their time that is compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from engine import usable_cores
from speed_trials import Trials

# torch first and pinned: without it the CUDA build and its gigabytes are fetched.
INSTALLS = {
    "demucs": ["demucs==4.1.0", "soundfile"],
    "openunmix": ["openunmix==1.3.0", "soundfile"],
}
TORCH = "torch==2.13.0"
PROGRAMS = {"htdemucs": "demucs", "openunmix": "openunmix"}
NAMES = {"htdemucs": "htdemucs (demucs 4.1.0)", "openunmix": "umxhq's networks (openunmix 1.3.0)"}
TIERS = ("draft", "standard", "best", "search")
ROUNDS = 2

Seconds = tuple[float, float]
"""Wall clock and processor seconds."""


def install(folder: Path) -> None:
    """Make an environment for each peer."""
    for name, packages in INSTALLS.items():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        pip = [str(folder / name / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, TORCH], check=True)
        subprocess.run([*pip, TORCH, *packages], check=True)


def compare(environments: Path, trials: Trials, seconds: float) -> list[str]:
    """The table of all programs that have an environment, as lines of Markdown."""
    best: dict[str, Seconds] = {}
    for _ in range(ROUNDS):
        for tier in TIERS:
            cost = trials.render(seconds, tier)
            _keep(best, f"stemwright {tier}, files and all", (cost.wall_s, cost.cpu_s))
        for program, environment in PROGRAMS.items():
            python = environments / environment / "bin" / "python"
            if python.exists():
                _keep(best, NAMES[program], _peer_s(python, program, trials.clip(seconds)))
    standard = best["stemwright standard, files and all"]
    lines = [
        "| program | RTF | processor s per s | time against standard | processor |",
        "|---|---|---|---|---|",
    ]
    for name, (wall, cpu) in best.items():
        ratios = f"{wall / standard[0]:.2f} x | {cpu / standard[1]:.2f} x"
        lines.append(f"| {name} | {wall / seconds:.2f} | {cpu / seconds:.2f} | {ratios} |")
    return lines


def _keep(best: dict[str, Seconds], name: str, found: Seconds) -> None:
    best[name] = min(best.get(name, found), found)


def _peer_s(python: Path, program: str, mix: Path) -> Seconds:
    script = str(Path(__file__).with_name("peer_timing.py"))
    command = [str(python), script, program, str(mix), str(usable_cores())]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["wall_s"], found["cpu_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()
    if arguments.install:
        install(arguments.install)
    if arguments.peers:
        with tempfile.TemporaryDirectory() as folder:
            print("\n".join(compare(arguments.peers, Trials(Path(folder)), arguments.seconds)))


if __name__ == "__main__":
    main()
