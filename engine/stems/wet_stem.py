"""One stem on its way through its chain into a scratch file, measured and ready to be written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from presets import RESIDUAL, Effect, Preset, StemwrightError, suggestion

from ..audio.blocks import BLOCK_FRAMES, AudioBlock
from ..audio.loudness import decibels
from ..audio.scratch import StemScratch
from ..audio.true_peak import CEILING_MARGIN_DB, TruePeakMeter
from ..plugins.chain import Shape, chained, last_audible, may_be_bypassed
from ..plugins.effects import above_the_band
from ..plugins.messages import ChainReport, PluginNote
from ..plugins.rack import PluginRack, PluginStepError
from .float_grid import ROUNDING

TAIL_FLOOR_DBFS = -90.0


@dataclass
class WetStem:
    """One stem between its chain and its file."""

    name: str
    source: Path
    chain: tuple[Effect, ...]
    fader_db: float
    channels: int
    scratch: StemScratch
    trim_db: float = 0.0
    peak_dbfs: float = -math.inf
    true_peak_dbtp: float = -math.inf
    audible: int = 0
    notes: list[PluginNote] = field(default_factory=list)
    bypassed: dict[str, str] = field(default_factory=dict)

    def blocks(self, gain_db: float = 0.0) -> Iterator[AudioBlock]:
        """What goes to its file, with the gain that the set shares."""
        gain = np.float32(10 ** ((gain_db + self.trim_db) / 20))
        for block in self.scratch.blocks(BLOCK_FRAMES):
            yield block[self.name] * gain

    def measured(self, peak: float, true_peak_dbtp: float, audible: int) -> None:
        """Keep what a pass through the chain has found."""
        self.peak_dbfs, self.true_peak_dbtp = decibels(peak), true_peak_dbtp
        self.audible, self.trim_db = audible, self._limiter_trim_db()

    @property
    def ends_in_limiter(self) -> bool:
        """Whether a true-peak limiter is the last step, so that its ceiling is the file's."""
        return bool(self.chain) and self.chain[-1].ceiling_dbtp is not None

    def _limiter_trim_db(self) -> float:
        """What a true-peak limiter at the end of a chain has let through, measured at 8x."""
        if not self.ends_in_limiter:
            return 0.0
        own = self.chain[-1].ceiling_dbtp
        assert own is not None
        ceiling = own + self.fader_db
        return -max(0.0, self.true_peak_dbtp - (ceiling - CEILING_MARGIN_DB))

    def report(self) -> ChainReport:
        """Its processing, for the manifest."""
        peak = self.true_peak_dbtp
        return {
            "steps": [step.model_dump(mode="json") for step in self.chain],
            "fader_db": self.fader_db,
            "trim_db": self.trim_db,
            "true_peak_8x_dbtp": peak if math.isfinite(peak) else None,
            "plugins": self.notes,
            "bypassed": self.bypassed,
        }


@dataclass(frozen=True)
class ChainRun:
    """What all chains of a set have in common; `most_frames` is the mix with room for tails."""

    preset: Preset
    rack: PluginRack
    sample_rate: int
    most_frames: int
    tick: Callable[[], None]

    def run(self, stem: WetStem, parts: Callable[[], Iterator[AudioBlock]], path: str) -> None:
        """The chain, and once more without a plug-in that failed when it may be left out."""
        for where, step in self.preset.steps():
            reason = above_the_band(step, self.sample_rate)
            if reason and where.startswith(f"{path}["):
                stem.bypassed[where] = reason
        while True:
            try:
                self._attempt(stem, parts(), path)
            except PluginStepError as failed:
                if not may_be_bypassed(self.preset, failed.error):
                    raise failed.error from None
                stem.bypassed[failed.where] = str(failed.error)
            else:
                stem.notes = list(self.rack.notes)
                self.rack.succeeded()
                return
            finally:
                self.rack.release()

    def _attempt(self, stem: WetStem, parts: Iterator[AudioBlock], path: str) -> None:
        stem.scratch.truncate(0)
        audible, peak = 0, 0.0
        limited = stem.ends_in_limiter or self.preset.loudness.true_peak_ceiling_dbtp is not None
        meter = TruePeakMeter(stem.channels, self.sample_rate) if limited else None
        shape = Shape(stem.channels, self.sample_rate, self.most_frames)
        fader = np.float32(10 ** (stem.fader_db / 20))
        position = 0
        for wet in chained(parts, stem.chain, shape, self.rack, path, tuple(stem.bypassed)):
            block = wet * fader
            stem.scratch.append({stem.name: block})
            if meter:
                meter.add(block)
            peak = max(peak, float(np.abs(block).max()))
            if heard := last_audible(block, 10 ** (TAIL_FLOOR_DBFS / 20)):
                audible = position + heard
            position += block.shape[1]
            self.tick()
        stem.measured(peak, meter.result_dbtp() if meter else -math.inf, audible)


def chain_of(preset: Preset, stem: str) -> tuple[tuple[Effect, ...], float]:
    """A stem's chain and fader."""
    if stem == RESIDUAL:
        return preset.residual.chain, preset.residual.gain_db
    if stem == ROUNDING:  # the last bits of a float set, which no chain is meant for
        return (), 0.0
    if stem in preset.stems:
        return preset.stems[stem].chain, preset.stems[stem].gain_db
    hint = suggestion(stem, preset.stems) or f" (it has {', '.join(preset.stems)})"
    raise StemwrightError("stem-unknown", f"preset {preset.name} has no stem '{stem}'{hint}.")


def chain_path(name: str) -> str:
    """Where a stem's chain stands in the preset."""
    return "residual.chain" if name == RESIDUAL else f"stems.{name}.chain"


def left_out(chains: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about the steps that a report's chains have left out."""
    for stem in chains.get("stems", {}).values():
        for where, why in stem["bypassed"].items():
            yield why if why.startswith(where) else f"{where}: {why}"
