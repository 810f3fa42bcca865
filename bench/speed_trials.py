"""The trials behind the speed page: each renders something and says what it cost."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from engine import Renderer, RenderOptions
from engine.separation import separator
from presets import load_preset

EXAMPLE = Path(__file__).parent.parent / "examples" / "mix.flac"
STEMS = ("vocals", "bass", "drums", "other")
EVERY_STEM = (*STEMS, "guitar", "piano")


@dataclass(frozen=True)
class Cost:
    """Time of one render: wall clock by stage, and processor time of it and its children."""

    audio_s: float
    stages_s: dict[str, float]
    cpu_s: float

    @property
    def wall_s(self) -> float:
        """All stages."""
        return sum(self.stages_s.values())

    @property
    def rtf(self) -> float:
        """Seconds of waiting per second of audio."""
        return self.wall_s / self.audio_s

    @property
    def cpu_rtf(self) -> float:
        """Processor seconds per second of audio: what a busy machine does not change much."""
        return self.cpu_s / self.audio_s


class Trials:
    """Renders loops of the example mix; warm, because sessions are opened once for an album."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clip(self, seconds: float) -> Path:
        """The example mix over and over, 16-bit stereo 44.1 kHz WAV."""
        path = self.folder / f"{seconds:g}.wav"
        if not path.exists():
            audio, rate = soundfile.read(EXAMPLE, dtype="int16")
            with soundfile.SoundFile(path, "w", rate, 2, "PCM_16") as file:
                left = round(seconds * rate)
                while left > 0:
                    file.write(audio[:left])
                    left -= len(audio[:left])
        return path

    def render(
        self, seconds: float, tier: str | None, *, preset: str | Path = "dry", threads: int = 0
    ) -> Cost:
        """One mix, after a short one that opens the sessions."""
        renderer = Renderer(load_preset(preset), RenderOptions(tier=tier, threads=threads))
        self._one(renderer, self.clip(1))
        return self._one(renderer, self.clip(seconds))

    def _one(self, renderer: Renderer, mix: Path) -> Cost:
        before = _cpu_s()
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            manifest = renderer.render(mix, Path(out) / "set")
        seconds = manifest.input.frames / manifest.input.sample_rate
        return Cost(seconds, manifest.seconds, _cpu_s() - before)

    @contextlib.contextmanager
    def batch_of(self, segments: int) -> Iterator[None]:
        """Search so many segments together."""
        usual = separator.BATCH
        separator.BATCH = segments
        try:
            yield
        finally:
            separator.BATCH = usual


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def median_s(
    repeats: int, work: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median seconds of a call, after one that warms up."""
    work()
    seconds = []
    for _ in range(repeats):
        started = clock()
        work()
        seconds.append(clock() - started)
    return float(np.median(seconds))
