"""Tries a plug-in out: does it load, repeat itself, keep its latency, stay finite; how fast?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.blocks import BLOCK_FRAMES, AudioBlock
from .catalogue import PluginCatalogue, host_request, opened
from .client import PluginClient, PluginFailedError
from .messages import InstanceRequest

SAMPLE_RATE = 44_100
CHANNELS = 2
BLOCKS = 6
CERTAIN_CORRELATION = 0.9


@dataclass(frozen=True)
class PluginTrial:
    """What one plug-in of a file did. It passed when there are no problems."""

    name: str
    version: str
    load_s: float
    times_realtime: float
    latency_samples: int
    groups: tuple[tuple[int, ...], ...]
    problems: tuple[str, ...]


def try_plugin(catalogue: PluginCatalogue, file: Path, timeout_s: float) -> list[PluginTrial]:
    """Every plug-in of a file, tried with noise and silence in a process of its own.

    A file that passes leaves the quarantine; one that fails comes a step nearer to it.
    """
    with opened(catalogue, file, timeout_s) as child:
        start = time.monotonic()
        found = child.inspect(host_request(file, None))
        load_s = time.monotonic() - start
        trials = [_tried(child, file, plugin["name"]) for plugin in found["plugins"]]
    catalogue.store.keep_parameters(file, {**found, "load_s": load_s})
    problems = [problem for trial in trials for problem in trial.problems]
    if problems:
        catalogue.store.keep_failure(file, problems[0])
    else:
        catalogue.store.forget_failures(file)
    return trials


def _tried(child: PluginClient, file: Path, name: str) -> PluginTrial:
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((CHANNELS, BLOCKS * BLOCK_FRAMES)).astype(np.float32) * 0.1
    instance: InstanceRequest = {**host_request(file, None), "plugin_name": name}
    start = time.monotonic()
    facts = child.load(instance, SAMPLE_RATE, CHANNELS, BLOCK_FRAMES)
    load_s = time.monotonic() - start
    first, process_s = _run(child, noise, facts["latency"])
    child.load(instance, SAMPLE_RATE, CHANNELS, BLOCK_FRAMES)
    second, _ = _run(child, noise, facts["latency"])
    problems = []
    if not np.array_equal(first, second):
        problems.append("gives something else every time for the same input")
    delay = _delay(noise, first)
    if delay:
        problems.append(f"delays by {delay} samples more than the {facts['latency']} it reports")
    return PluginTrial(
        name=name,
        version=facts["version"],
        load_s=load_s,
        times_realtime=noise.shape[1] / SAMPLE_RATE / process_s,
        latency_samples=facts["latency"],
        groups=tuple(tuple(group) for group in facts["groups"]),
        problems=tuple(problems),
    )


def _run(child: PluginClient, noise: AudioBlock, latency: int) -> tuple[AudioBlock, float]:
    """The output for noise, `(channels, samples)`, and the seconds that it took."""
    start = time.monotonic()
    outputs: list[Any] = []
    for position in range(0, noise.shape[1], BLOCK_FRAMES):
        out, now = child.process(noise[:, position : position + BLOCK_FRAMES])
        if now != latency:
            raise PluginFailedError("latency", f"changed its latency from {latency} to {now}")
        if not np.isfinite(out).all():
            raise PluginFailedError("not-finite", "put out NaN or infinity")
        outputs.append(out)
    return np.concatenate(outputs, axis=1), time.monotonic() - start


def _delay(noise: AudioBlock, out: AudioBlock) -> int:
    """By how many samples the output lags, where the correlation leaves no doubt; else 0."""
    size = min(noise.shape[1], out.shape[1])
    a, b = noise[0, :size].astype(np.float64), out[0, :size].astype(np.float64)
    spectrum = np.conj(np.fft.rfft(a, 2 * size)) * np.fft.rfft(b, 2 * size)
    correlation = np.abs(np.fft.irfft(spectrum))
    correlation /= max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30)
    lag = int(np.argmax(correlation))
    if correlation[lag] < CERTAIN_CORRELATION:
        return 0
    return lag if lag < size else lag - 2 * size
