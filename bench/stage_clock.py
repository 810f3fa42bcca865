"""Times the stages of a render from outside: the engine's functions are wrapped, not changed.

Processor seconds are those of the thread that is in a stage, without the stages inside it. Wall
seconds are those in which any thread was in it, so that those of several threads overlap.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

# What belongs to a stage: module and name, of a function or of a class's.
STAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "sessions": (
        ("engine.model.sessions", "make_session"),
        ("engine.model.prior", "Prior._self_test"),
        ("engine.model.bundle", "read_bundle"),
        ("engine.separation.estimate", "_encoder_bytes"),
    ),
    "decode": (("engine.audio.reading", "MixReader.read"), ("engine.audio.reading", "probe")),
    "verify": (("engine.audio.reading", "verify_mix"),),
    "loudness": (
        ("engine.audio.loudness", "LoudnessMeter.add"),
        ("engine.audio.loudness", "LoudnessMeter.result"),
    ),
    "true peak": (
        ("engine.audio.between_samples", "PeakBetweenSamples.add"),
        ("engine.audio.between_samples", "PeakBetweenSamples.finish"),
        ("engine.audio.true_peak", "TruePeakMeter.add"),
        ("engine.audio.true_peak", "TruePeakMeter.result_dbtp"),
    ),
    "STFT": (
        ("engine.model.spectrogram", "Stft.analyse"),
        ("engine.model.spectrogram", "Stft.synthesise"),
    ),
    "estimate": (("engine.separation.estimate", "Estimate.magnitudes"),),
    "song spectra": (("engine.separation.song_spectra", "song_masks"),),
    "search": (
        ("engine.separation.search", "search"),
        ("engine.model.prior", "Prior.gradient"),  # on the threads of the pool
    ),
    "masks": (
        ("engine.model.spectrogram", "FrontEnd.band_magnitudes"),
        ("engine.separation.masks", "combine"),
        ("engine.separation.mask_files", "MaskBatch.save"),
        ("engine.separation.mask_files", "MaskBatch.load"),
        ("engine.separation.spatial", "Shared.stem"),
        ("engine.separation.spatial", "images"),
        ("engine.separation.spatial", "matrix_masks"),
    ),
    "scratch": (("engine.audio.scratch", "StemScratch.append"),),
    "write": (
        ("engine.audio.writing", "StemWriter.write"),
        ("engine.audio.writing", "StemWriter.close"),
        ("engine.stems.stem_set", "_Writing.peaks"),
        ("engine.stems.stem_set", "_Writing.float_grid"),
        ("engine.stems.stem_set", "_Writing._write_files"),
        ("engine.stems.set_plan", "SetPlan.on_grid"),
    ),
    "read back": (
        ("soundfile", "SoundFile.read"),
        ("engine.stems.stem_set", "_Writing._measure"),
    ),
    "null": (
        ("engine.audio.null", "NullMeter.add"),
        ("engine.audio.null", "NullMeter.add_integers"),
    ),
    "judge": (
        ("engine.evaluation.quality_report", "QualityMeter.add"),
        ("engine.evaluation.quality_report", "quality_of"),
    ),
    "wet": (("engine.stems.wet", "process_set"), ("engine.plugins.chain", "check_chains")),
    "hash": (("engine.stems.stem_set", "_Writing._file"),),
    "tags, manifest": (
        ("engine.audio.metadata", "metadata_for"),
        ("engine.audio.metadata", "naming_fields"),
        ("engine.audio.metadata", "rewrite_loudness"),
        ("engine.stems.manifest", "Manifest.to_json"),
    ),
    "publish": (
        ("engine.stems.publish", "sync_tree"),
        ("engine.stems.publish", "sync"),
    ),
}
MODEL = (
    "sessions",
    "estimate",
    "song spectra",
    "search",
    "judge",
)  # what asks a network, and fits
REST = "rest"


@dataclass
class Spent:
    """Seconds of a stage."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


@dataclass
class _Running:
    """The stages that a thread is in, the innermost last, and when it was last looked at."""

    stages: list[str] = field(default_factory=list)
    cpu_s: float = 0.0


class StageClock:
    """Wraps everything in STAGES; `measured` clocks what runs in its block."""

    def __init__(self) -> None:
        self._spent: dict[str, Spent] = defaultdict(Spent)
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._active: dict[str, int] = defaultdict(int)
        self._since: dict[str, float] = {}
        for stage, places in STAGES.items():
            for module, name in places:
                self._wrap(stage, importlib.import_module(module), name)

    @contextmanager
    def measured(self) -> Iterator[dict[str, Spent]]:
        """The seconds of every stage; complete behind the block, with what is in none as REST."""
        self._spent.clear()
        began, wall = time.process_time(), time.perf_counter()
        yield self._spent
        total = time.process_time() - began
        named = sum(spent.cpu_s for spent in self._spent.values())
        self._spent[REST] = Spent(max(total - named, 0.0), 0.0)
        self._spent["total"] = Spent(total, time.perf_counter() - wall)

    def _wrap(self, stage: str, module: Any, name: str) -> None:  # noqa: ANN401 - modules
        *owner, last = name.split(".")
        place = getattr(module, owner[0]) if owner else module
        attribute = vars(place)[last]
        plain = attribute.__func__ if isinstance(attribute, classmethod) else attribute
        wrapped: Any = self._timed(stage, plain)
        if isinstance(attribute, classmethod):
            wrapped = classmethod(wrapped)
        if owner:
            setattr(place, last, wrapped)
            return
        for importer in list(sys.modules.values()):  # whoever has imported it by its name
            if getattr(importer, last, None) is attribute and importer is not None:
                setattr(importer, last, wrapped)

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes
            running = self._enter(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._leave(running)

        return timed

    def _enter(self, stage: str) -> _Running:
        if not hasattr(self._threads, "running"):
            self._threads.running = _Running()
        running: _Running = self._threads.running
        self._charge(running)
        if running.stages:
            self._count(running.stages[-1], -1)
        running.stages.append(stage)
        self._count(stage, 1)
        return running

    def _leave(self, running: _Running) -> None:
        self._charge(running)
        self._count(running.stages.pop(), -1)
        if running.stages:
            self._count(running.stages[-1], 1)

    def _charge(self, running: _Running) -> None:
        now = time.thread_time()
        if running.stages:
            with self._lock:
                self._spent[running.stages[-1]].cpu_s += now - running.cpu_s
        running.cpu_s = now

    def _count(self, stage: str, change: int) -> None:
        """One thread more or fewer is in a stage; its wall clock runs while any is."""
        with self._lock:
            now = time.perf_counter()
            if self._active[stage] == 0:
                self._since[stage] = now
            self._active[stage] += change
            if self._active[stage] == 0:
                self._spent[stage].wall_s += now - self._since[stage]
