"""What it costs to run a plug-in in a process of its own, against running it in ours.

    python bench/bridge_overhead.py [SECONDS]

Both ways the same blocks go through the same plug-in, and the results must be the same bits.
Starting the child and loading the plug-in are not counted.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator

import numpy as np
import pedalboard

from engine.audio.blocks import BLOCK_FRAMES, AudioBlock, endless, take
from engine.plugins.rack import PluginRack
from presets import Plugin

RATE = 44_100
REPEATS = 3
CASES: dict[str, dict[str, bool | float | str]] = {
    "ZamCompX2": {"threshold_db": -30.0, "ratio": 4.0},
    "ZamGateX2": {"threshold_db": -30.0},
    "ZaMultiCompX2": {"zamcomp_2_on": 1.0},
    "ZaMaximX2": {"threshold_db": -20.0},
}


def signal(seconds: int) -> AudioBlock:
    """Noise `(2, samples)`."""
    generator = np.random.default_rng(0)
    return (generator.standard_normal((2, seconds * RATE)) * 0.1).astype(np.float32)


def blocks(audio: AudioBlock) -> Iterator[AudioBlock]:
    """A stream of it."""
    parts = (audio[:, at : at + BLOCK_FRAMES] for at in range(0, audio.shape[1], BLOCK_FRAMES))
    return endless(parts, 2)


def in_our_process(name: str, audio: AudioBlock) -> tuple[float, AudioBlock]:
    """Seconds and result with the plug-in loaded here."""
    load = vars(pedalboard)["load_plugin"]
    plugin = load(f"/usr/lib/vst3/{name}.vst3", parameter_values=CASES[name])
    plugin.process(np.zeros((2, 64), np.float32), RATE)  # parameters arrive with a first block
    plugin.reset()
    outputs = (plugin.process(block, RATE, reset=False) for block in blocks(audio))
    start = time.perf_counter()
    result = np.concatenate(list(take(outputs, audio.shape[1])), axis=1)
    return time.perf_counter() - start, result


def in_a_child(rack: PluginRack, name: str, audio: AudioBlock) -> tuple[float, AudioBlock]:
    """Seconds and result through the bridge."""
    step = Plugin(plugin=name, parameters=CASES[name])
    stream = rack.stream(blocks(audio), step, 2, RATE, "bench")
    start = time.perf_counter()
    result = np.concatenate(list(take(stream, audio.shape[1])), axis=1)
    seconds = time.perf_counter() - start
    rack.release()
    return seconds, result


def main() -> None:
    """Print a table."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 240
    audio = signal(seconds)
    print(f"{seconds} s of stereo at {RATE} Hz, best of {REPEATS}; {os.cpu_count()} cores, "
          f"{platform.machine()}, load {os.getloadavg()[0]:.1f}\n")  # fmt: skip
    print("| plug-in | in our process | through the bridge | overhead | of real time |")
    print("|---|---|---|---|---|")
    with PluginRack() as rack:
        for name in CASES:
            ours = [in_our_process(name, audio) for _ in range(REPEATS)]
            theirs = [in_a_child(rack, name, audio) for _ in range(REPEATS)]
            assert np.array_equal(ours[0][1], theirs[0][1]), name
            direct, bridged = min(s for s, _ in ours), min(s for s, _ in theirs)
            print(
                f"| {name} | {direct:.2f} s | {bridged:.2f} s | {bridged / direct - 1:+.1%} | "
                f"{(bridged - direct) / seconds:+.3%} |"
            )


if __name__ == "__main__":
    main()
