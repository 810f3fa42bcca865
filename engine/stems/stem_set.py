"""Writes the whole set of stems so that its sum is the mix, to the last bit."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from presets import RESIDUAL, Overflow

from ..audio.blocks import BLOCK_FRAMES
from ..audio.loudness import Loudness, LoudnessMeter, decibels
from ..audio.metadata import history_line, metadata_for, rewrite_loudness
from ..audio.null import NullMeter
from ..audio.reading import MixBlock
from ..audio.scratch import StemScratch
from ..audio.signal import TaggedSignal
from ..audio.writing import SampleOverflowError, StemWriter
from ..audio.written_reader import WrittenReader
from .float_grid import FloatGrid, Survey
from .naming import NameTemplate
from .output_format import AS_THE_MIX, OutputFormat, StemFile, long_enough
from .set_plan import Samples, SetPlan

Thirds = tuple[int, int]  # of the whole work: where a pass begins and ends
LOOK, WRITE, MEASURE = (0, 1), (1, 2), (2, 3)
WRITE_UNSEEN = (0, 2)  # without a look before
Tick = Callable[[int, int], None]  # frames done, frames in all; may raise to stop


@dataclass(frozen=True)
class SetReport:
    """What was written.

    `null_dbfs` compares the sum of the files with the mix at the written depth, `source_null_dbfs`
    (after `undo_db`) with the mix as it came; -inf is an exact null. `overflow` names the stems
    that went over full scale, in dB, whatever the policy then did. `level_db` is the RMS of every
    file against the mix, -inf for silence.
    """

    files: tuple[StemFile, ...]
    gain_db: float
    undo_db: float
    overflow: dict[str, float]
    level_db: dict[str, float]
    null_dbfs: float
    source_null_dbfs: float
    dithered: bool
    metadata_dropped: tuple[str, ...]


def write_set(
    mix: TaggedSignal,
    scratch: StemScratch,
    folder: Path,
    naming: NameTemplate,
    output: OutputFormat = AS_THE_MIX,
    overflow: Overflow = "float32",
    *,
    residual_into: str | None = None,
    seed: int = 0,
    program: str = "Stemwright",
    tick: Tick | None = None,
    threads: int = 1,
) -> SetReport:
    """Write every stem and the remainder of the mix into a folder.

    The remainder (the residual, or the stem named by `residual_into`) is mix - sum(others), in
    integers at the written depth. 32-bit floats stand on a grid, see `float_grid`; what lies
    below it goes to the residual, or to a file of its own where the residual is a signal.
    Stems are independent of each other, so `threads` changes nothing but the time.
    """
    info = mix.info
    if scratch.frames != info.frames or scratch.channels != info.channels:
        raise ValueError(f"{scratch.frames} frames of stems for {info.frames} of the mix")
    with ThreadPoolExecutor(threads) as pool:
        writing = _Writing(mix, scratch, residual_into or RESIDUAL, tick or _silent, pool)
        plan = SetPlan.first(info, output, seed)
        over: dict[str, float] = {}
        if plan.grid_bits:
            with contextlib.suppress(SampleOverflowError):  # most sets fit: no look before
                return writing.write(plan, folder, naming, over, program)
            with contextlib.suppress(OSError):  # others have files there
                folder.rmdir()
            peaks = writing.peaks(plan)
            over = plan.overflowing(peaks)
            plan = plan.without_overflow(peaks, over, overflow)
            plan = replace(plan, format=long_enough(plan.format, info.frames))
        if plan.grid_bits is None and plan.format.bits == 32:
            plan = replace(plan, grid=writing.float_grid(plan))
        return writing.write(plan, folder, naming, over, program)


class _Writing:
    """The passes over one mix and its scratch."""

    def __init__(
        self, mix: TaggedSignal, scratch: StemScratch, remainder: str, tick: Tick, pool: Executor
    ) -> None:
        self._mix, self._scratch, self._remainder, self._tick = mix, scratch, remainder, tick
        self._pool = pool
        names = scratch.stems
        self.stems = names if remainder in names else (*names, remainder)
        self._done, self._reported, self._looked = 0, 0, False

    def peaks(self, plan: SetPlan) -> dict[str, tuple[int, int]]:
        """Lowest and highest integer of every stem."""
        found = dict.fromkeys(self.stems, (0, 0))
        self._done, self._looked = 0, True
        for stems in self._blocks(plan, LOOK):
            for stem, samples in stems.items():
                least, most = found[stem]
                found[stem] = (min(least, int(samples.min())), max(most, int(samples.max())))
        return found

    def float_grid(self, plan: SetPlan) -> FloatGrid:
        """The grid that a set of 32-bit floats needs, from a look at all of it."""
        found = Survey({})
        separated = self._scratch.blocks(BLOCK_FRAMES)
        for (block, target), stems in zip(self._targets(plan), separated, strict=True):
            free = {stem: audio for stem, audio in stems.items() if stem != self._remainder}
            found.add(plan.full_scale_one(target), free)
            self._advance(block.frames, LOOK)
        self._looked = True
        grid = FloatGrid.of(found, self._remainder, RESIDUAL)
        if grid.below:
            self.stems = (*self.stems, grid.below)
        return grid

    def write(
        self,
        plan: SetPlan,
        folder: Path,
        naming: NameTemplate,
        over: dict[str, float],
        program: str,
    ) -> SetReport:
        fmt = plan.format
        folder.mkdir(parents=True, exist_ok=True)
        names = naming.file_names(self.stems, fmt.sample_rate, fmt.depth)
        paths = {stem: folder / (name + fmt.extension) for stem, name in names.items()}
        dropped = self._write_files(plan, paths, program)
        loudness, level_db, meter, source_meter = self._measure(plan, paths)
        for stem, path in paths.items():
            rewrite_loudness(path, loudness[stem])
        files = self._pool.map(
            lambda stem: self._file(plan, stem, paths[stem], loudness[stem]), self.stems
        )
        return SetReport(
            tuple(files),
            gain_db=decibels(plan.gain),
            undo_db=-decibels(plan.gain),
            overflow=over,
            level_db=level_db,
            null_dbfs=meter.null_dbfs,
            source_null_dbfs=source_meter.null_dbfs,
            dithered=plan.dither_seed is not None,
            metadata_dropped=dropped,
        )

    def _write_files(self, plan: SetPlan, paths: dict[str, Path], program: str) -> tuple[str, ...]:
        carried = metadata_for(self._mix.info.path, self._mix.tags, plan.format)
        with contextlib.ExitStack() as stack:
            writers = {}
            for stem, path in paths.items():
                metadata = carried.with_history(history_line(plan.format, f"{program} {stem}"))
                writer = StemWriter(path, plan.format, metadata.before, metadata.after)
                writers[stem] = stack.enter_context(writer)
            for stems in self._blocks(plan, WRITE if self._looked else WRITE_UNSEEN):
                list(
                    self._pool.map(
                        lambda stem, samples: writers[stem].write(plan.stored(samples)),
                        stems.keys(),
                        stems.values(),
                    )
                )
        return tuple(sorted(set(carried.dropped)))

    def _measure(
        self, plan: SetPlan, paths: dict[str, Path]
    ) -> tuple[dict[str, Loudness], dict[str, float], NullMeter, NullMeter]:
        """Read the files back: their loudness and level, and the null of their sum.

        They are our own, fresh from the writer, so no decoder process guards the reading.
        """
        fmt, meter = plan.format, NullMeter()
        # nothing between the mix and what the stems add up to: one null is the other
        as_it_came = plan.keeps(self._mix.info)
        source_meter = meter if as_it_came else NullMeter()
        meters = {
            stem: LoudnessMeter(fmt.channels, fmt.sample_rate, fmt.channel_mask) for stem in paths
        }
        energy, whole = dict.fromkeys(paths, 0.0), 0.0
        with contextlib.ExitStack() as stack:
            written = {s: stack.enter_context(WrittenReader(p)) for s, p in paths.items()}

            def measured(stem: str, frames: int) -> MixBlock:
                part = written[stem].read(frames)
                audio = part.measured
                meters[stem].add(audio)
                energy[stem] += _energy(audio)
                return part

            for block, target in self._targets(plan):
                read = self._pool.map(measured, written, itertools.repeat(block.frames))
                mix = plan.full_scale_one(target)
                whole += _energy(mix)
                parts = list(read)
                if fmt.encoding == "pcm":
                    meter.add_integers(
                        target.astype(np.int64, copy=False),
                        [part.exact.astype(np.int32, copy=False) for part in parts],
                        fmt.bits,
                    )
                else:
                    meter.add(mix, [part.double for part in parts])
                if not as_it_came:
                    undone = [part.double / plan.gain for part in parts]
                    source_meter.add(block.double, undone)
                self._advance(block.frames, MEASURE)
        loudness = {stem: each.result() for stem, each in meters.items()}
        return loudness, _levels(energy, whole), meter, source_meter

    def _blocks(self, plan: SetPlan, thirds: Thirds) -> Iterator[dict[str, Samples]]:
        """All stems with the remainder, as they are to be stored, block by block."""
        noise = {stem: plan.noise(number) for number, stem in enumerate(self.stems, start=1)}
        separated = self._scratch.blocks(BLOCK_FRAMES)
        for (block, target), unrounded in zip(self._targets(plan), separated, strict=True):
            free = [stem for stem in unrounded if stem != self._remainder]
            rounded = self._pool.map(
                plan.on_grid, map(unrounded.__getitem__, free), map(noise.__getitem__, free)
            )
            stems = dict(zip(free, rounded, strict=True))
            if plan.grid:
                yield {**plan.grid.share(target, stems, self._remainder)}
            else:
                total = np.zeros_like(target)
                for samples in stems.values():
                    total += samples
                yield {**stems, self._remainder: target - total}
            self._advance(block.frames, thirds)

    def _targets(self, plan: SetPlan) -> Iterator[tuple[MixBlock, Samples]]:
        """The mix, and what the stems must add up to."""
        noise = plan.noise(0)
        with self._mix.open() as reader:
            while (block := reader.read(BLOCK_FRAMES)).frames:
                yield block, plan.target(block, noise)

    def _file(self, plan: SetPlan, stem: str, path: Path, loudness: Loudness) -> StemFile:
        return StemFile.of(stem, path, plan.format, self._scratch.frames, loudness)

    def _advance(self, frames: int, thirds: Thirds) -> None:
        """Report how far the work is, of which this pass takes the `thirds`; never less than
        before, by a pass that was broken off."""
        total, (begin, end) = self._mix.info.frames, thirds
        self._done = self._done % total + frames
        self._reported = max(self._reported, begin * total + (end - begin) * self._done)
        self._tick(self._reported, 3 * total)


def _energy(audio: npt.NDArray[np.floating]) -> float:
    return float(np.square(audio).sum())


def _levels(energy: dict[str, float], whole: float) -> dict[str, float]:
    """Energies against the mix's, in dB; without a mix, against full scale."""
    return {stem: decibels(math.sqrt(e / (whole or 1.0))) for stem, e in energy.items()}


def _silent(_done: int, _total: int) -> None:
    """The tick of a caller who does not want to know."""
