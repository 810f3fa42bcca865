"""Times htdemucs and Open-Unmix beside Stemwright, on the same clip and cores in one run.

    python bench/peers.py --install build/peers    # once: two environments, no weights
    python bench/speed.py --peers build/peers

Every program runs in turn, several times, and its quickest run counts, so that other work on the
machine hits all alike. The peers have random weights: it is their time that is compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from presets.search import TIERS
from speed_trials import Trials

# torch first and pinned: without it the CUDA build and its gigabytes are fetched.
INSTALLS = {
    "demucs": ["demucs==4.1.0", "soundfile"],
    "openunmix": ["openunmix==1.3.0", "soundfile"],
}
TORCH = "torch==2.13.0"
PROGRAMS = {"htdemucs": "demucs", "openunmix": "openunmix"}
NAMES = {"htdemucs": "htdemucs (demucs 4.1.0)", "openunmix": "umxhq's networks (openunmix 1.3.0)"}
REFERENCE = "standard"

Seconds = tuple[float, float]
"""Wall clock and processor seconds."""


def install(folder: Path) -> None:
    """Make an environment for each peer."""
    for name, packages in INSTALLS.items():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        pip = [str(folder / name / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, TORCH], check=True)
        subprocess.run([*pip, TORCH, *packages], check=True)


def least_of_each(
    environments: Path | None, trials: Trials, seconds: float, rounds: int
) -> dict[str, Seconds]:
    """What every tier and every peer that has an environment takes on one thread."""
    best: dict[str, Seconds] = {}
    for _ in range(rounds):
        for tier in TIERS:
            _keep(best, tier, _own_s(trials, seconds, tier))
        for program, environment in PROGRAMS.items():
            python = (environments or Path()) / environment / "bin" / "python"
            if environments and python.exists():
                _keep(best, NAMES[program], _peer_s(python, program, trials.clip(seconds)))
    return best


def _keep(best: dict[str, Seconds], name: str, found: Seconds) -> None:
    wall_s, cpu_s = best.get(name, found)
    best[name] = min(wall_s, found[0]), min(cpu_s, found[1])


def _own_s(trials: Trials, seconds: float, tier: str) -> Seconds:
    cost = trials.render(seconds, tier, threads=1)
    return cost.wall_s, cost.cpu_s


def _peer_s(python: Path, program: str, mix: Path) -> Seconds:
    script = str(Path(__file__).with_name("peer_timing.py"))
    # more threads wait for each other, busily: on a machine with other work that is all they do
    command = [str(python), script, program, str(mix), "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["wall_s"], found["cpu_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", type=Path, required=True)
    install(parser.parse_args().install)


if __name__ == "__main__":
    main()
