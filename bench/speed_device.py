"""Prints what a render takes on a device: tiers, segments in a batch, titles side by side, and
what is moved to the device and back.

    python bench/speed_device.py --device cuda [--seconds 120] [--batches 4 16 64] [--titles 1 2]

One command for every figure of a graphics card (extra `gpu`). On `cpu` it goes the same ways, the
card's own search with its arrays bound to the device (IOBinding) among them.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from engine import Device, Prior, Renderer, RenderOptions, find_prior, usable_cores
from engine.separation.device_adam import descend_on_device
from engine.separation.search_plan import SearchPlan, SearchTask
from engine.separation.windows import WINDOW
from presets import load_preset
from presets.search import TIERS
from speed_trials import STEMS, Trials, median_s

STEPS = 10  # of the search alone: the first ones cost what the later ones do


def name_of(device: str) -> str:
    """The card, as its driver calls it, or the device itself."""
    if not device.startswith("cuda"):
        return device
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        cards = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return device
    return cards.splitlines()[0]


def renders(
    trials: Trials, arguments: argparse.Namespace, tier: str
) -> Iterator[tuple[int, int, str, float, float]]:
    """Batch, titles, provider, RTF and processor seconds per second of every way to render."""
    for batch in arguments.batches:
        for titles in arguments.titles:
            with trials.batch_of(batch):
                yield batch, titles, *side_by_side(trials, arguments, tier, titles)


def side_by_side(
    trials: Trials, arguments: argparse.Namespace, tier: str, titles: int
) -> tuple[str, float, float]:
    """Provider, RTF and processor seconds per second of so many titles at once."""
    options = RenderOptions(
        device=arguments.device,
        strict_device=True,
        tier=tier,
        threads=max(usable_cores() // titles, 1),
    )
    short, long = trials.clip(1), trials.clip(arguments.seconds)
    renderers = [Renderer(load_preset("dry"), options) for _ in range(titles)]
    with tempfile.TemporaryDirectory(dir=trials.folder) as out, ThreadPoolExecutor(titles) as pool:

        def render(number: int, mix: Path, name: str) -> str:
            manifest = renderers[number].render(mix, Path(out) / f"{name}-{number}")
            return manifest.provider["got"]

        list(pool.map(lambda n: render(n, short, "first"), range(titles)))
        began, cpu = time.perf_counter(), time.process_time()
        got = set(pool.map(lambda n: render(n, long, "set"), range(titles)))
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    length_s = titles * arguments.seconds
    return ", ".join(sorted(got)), wall_s / length_s, cpu_s / length_s


def step_and_transfer(device: str, batch: int, repeats: int) -> tuple[float, float, float]:
    """Seconds of one step of the bound search over a batch, of bringing the batch there and
    fetching the result, and MiB that go."""
    priors = [Prior(find_prior(stem), Device.parse(device)) for stem in STEMS]
    bands = priors[0].card.flow["bands"]
    rng = np.random.default_rng(0)
    mix = rng.random((batch, WINDOW, bands)).astype(np.float32)
    latents = [np.zeros((batch, WINDOW // 2, 2 * bands), np.float32) for _ in priors]
    magnitudes = np.stack([mix / np.float32(len(priors))] * len(priors))
    plan = SearchPlan(
        method="gradient", steps=STEPS, learning_rate=0.03, prior_weight=0.0, exact=False,
        guided_steps=0, guide_weight=0.0,
    )  # fmt: skip
    task = SearchTask(mix, np.ones_like(mix), magnitudes, plan)
    walk = median_s(
        repeats, lambda: descend_on_device(priors, latents, magnitudes, task, range(STEPS))
    )
    there = [mix, task.weight, *magnitudes, *magnitudes, *latents]
    bound = priors[0].bound("gradient")
    moved = median_s(repeats, lambda: [bound.put(array).numpy() for array in there])
    return walk / STEPS, moved, 2 * sum(array.nbytes for array in there) / 2**20


def page(trials: Trials, arguments: argparse.Namespace) -> Iterator[str]:
    """The section, line by line."""
    yield f"## On {name_of(arguments.device)}\n"
    yield f"{arguments.seconds:g} s, four stems, files and all; sessions open.\n"
    yield "| tier | segments in a batch | titles at once | provider | RTF | processor s per s |"
    yield "|---|---|---|---|---|---|"
    for tier in arguments.tiers:
        for batch, titles, got, rtf, cpu_rtf in renders(trials, arguments, tier):
            yield f"| {tier} | {batch} | {titles} | {got} | {rtf:.4f} | {cpu_rtf:.4f} |"
    yield "\n| segments in a batch | one step of the search, ms | there and back, ms | MiB |"
    yield "|---|---|---|---|"
    for batch in arguments.batches:
        step_s, moved_s, size = step_and_transfer(arguments.device, batch, arguments.repeats)
        yield f"| {batch} | {1e3 * step_s:.1f} | {1e3 * moved_s:.1f} | {size:.0f} |"


def main(asked: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--tiers", nargs="+", choices=TIERS, default=list(TIERS))
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--titles", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5, help="of a search's steps")
    parser.add_argument("--out", type=Path, help="a file to which the section is added")
    arguments = parser.parse_args(asked)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for line in page(Trials(Path(folder)), arguments):
            print(line, flush=True)
            lines.append(line)
    if arguments.out:
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write("\n".join(["", *lines]) + "\n")


if __name__ == "__main__":
    main()
