"""Writes the whole set of stems so that its sum is the mix, to the last bit."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from presets import RESIDUAL, StemwrightError

from ..audio.blocks import BLOCK_FRAMES
from ..audio.loudness import Loudness, LoudnessMeter, decibels
from ..audio.metadata import history_line, metadata_for, rewrite_loudness
from ..audio.null import NullMeter
from ..audio.quantise import full_scale, quantise
from ..audio.reading import MixBlock, SourceInfo
from ..audio.scratch import StemScratch
from ..audio.signal import TaggedSignal
from ..audio.wave_header import LONGEST_RIFF_BYTES, FileFormat
from ..audio.writing import StemWriter, refuse_impossible
from ..audio.written_reader import WrittenReader
from .float_grid import FloatGrid, Survey
from .naming import NameTemplate

FLOAT32_INTEGER = 1 << 24  # up to here float32 holds every integer

Overflow = Literal["float32", "common-gain", "fail"]
Depth = Literal["source", 8, 16, 24, 32, "float32", "float64"]
Samples = npt.NDArray[np.int64] | npt.NDArray[np.float64]
Tick = Callable[[int, int], None]  # frames done, frames in all; may raise to stop


@dataclass(frozen=True)
class OutputFormat:
    """The container and depth that were asked for."""

    container: Literal["source", "wav", "aiff", "flac"] = "source"
    depth: Depth = "source"


@dataclass(frozen=True)
class StemFile:
    """One written stem, measured by reading it back."""

    stem: str
    name: str
    format: FileFormat
    frames: int
    sha256: str
    loudness: Loudness


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


@dataclass(frozen=True)
class _Plan:
    """How the set is written: on the integers of `grid_bits`, on a `grid` of 32-bit floats, or

    with neither as 64-bit floats.
    """

    format: FileFormat
    grid_bits: int | None
    dither_seed: int | None = None
    gain: float = 1.0
    grid: FloatGrid | None = None

    def keeps(self, mix: SourceInfo) -> bool:
        """Whether the stems add up to the mix's own integers, neither scaled nor rounded."""
        return mix.encoding == "pcm" and self.gain == 1.0 and self.dither_seed is None


def write_set(
    mix: TaggedSignal,
    scratch: StemScratch,
    folder: Path,
    naming: NameTemplate,
    output: OutputFormat = OutputFormat(),
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
        plan = _first_plan(info, output, seed)
        peaks = writing.peaks(plan) if plan.grid_bits else {}
        over = _overflowing(peaks, plan)
        if over:
            plan = _without_overflow(plan, peaks, over, overflow)
            plan = replace(plan, format=_long_enough(plan.format, info.frames))
        if plan.grid_bits is None and plan.format.bits == 32:
            plan = replace(plan, grid=writing.float_grid(plan))
        return writing.write(plan, folder, naming, over, program)


def resolve_format(info: SourceInfo, output: OutputFormat) -> FileFormat:
    """The asked format with `source` filled in: lossy mixes become 24-bit WAV."""
    container = output.container
    if container == "source":
        container = info.container if info.container in ("aiff", "flac") else "wav"  # type: ignore[assignment]
    if output.depth == "source":
        encoding: Literal["pcm", "float"] = "float" if info.encoding == "float" else "pcm"
        bits = info.bits
    elif isinstance(output.depth, int):
        encoding, bits = "pcm", output.depth
    else:
        encoding, bits = "float", int(output.depth.removeprefix("float"))
    if bits not in (8, 16, 24, 32, 64):
        bits = -(-bits // 8) * 8  # ALAC's 20 bits
    fmt = FileFormat(
        container,  # type: ignore[arg-type]
        encoding,
        bits,
        info.channels,
        info.sample_rate,
        info.channel_mask,
    )
    return _long_enough(fmt, info.frames) if output.container == "source" else fmt


def _long_enough(fmt: FileFormat, frames: int) -> FileFormat:
    long = frames * fmt.frame_bytes > LONGEST_RIFF_BYTES - (1 << 26)
    return replace(fmt, container="wav") if fmt.container == "aiff" and long else fmt


def _first_plan(info: SourceInfo, output: OutputFormat, seed: int) -> _Plan:
    fmt = resolve_format(info, output)
    refuse_impossible(fmt)
    if fmt.encoding == "float":
        return _Plan(fmt, None)
    source_bits = 32 if info.encoding == "float" else info.bits
    return _Plan(fmt, fmt.bits, seed if fmt.bits < source_bits else None)


def _overflowing(peaks: dict[str, tuple[int, int]], plan: _Plan) -> dict[str, float]:
    if plan.grid_bits is None:
        return {}
    low, high = full_scale(plan.grid_bits)
    return {
        stem: decibels(max(-least, most) / high)
        for stem, (least, most) in peaks.items()
        if least < low or most > high
    }


def _without_overflow(
    plan: _Plan, peaks: dict[str, tuple[int, int]], over: dict[str, float], policy: Overflow
) -> _Plan:
    assert plan.grid_bits is not None
    peak = max(max(-least, most) for least, most in peaks.values())
    if policy == "fail":
        excesses = ", ".join(f"{stem} by {level_db:.2f} dB" for stem, level_db in over.items())
        raise StemwrightError(
            "stem-overflow",
            f"{excesses} over full scale at {plan.format.depth} bits. Choose the overflow policy "
            "float32 or common-gain, or a float depth.",
        )
    if policy == "common-gain":
        # after rounding (and dither of ±1) every stem may add 1.5 LSB to the remainder
        margin = 2 * len(peaks) + 2
        gain = (full_scale(plan.grid_bits)[1] - margin) / peak
        return replace(plan, gain=gain)
    bits = 32 if peak <= FLOAT32_INTEGER else 64  # the smaller one that holds all integers
    container = "wav" if plan.format.container == "flac" else plan.format.container
    fmt = replace(plan.format, container=container, encoding="float", bits=bits)
    return replace(plan, format=fmt)


class _Writing:
    """The passes over one mix and its scratch."""

    def __init__(
        self, mix: TaggedSignal, scratch: StemScratch, remainder: str, tick: Tick, pool: Executor
    ) -> None:
        self._mix, self._scratch, self._remainder, self._tick = mix, scratch, remainder, tick
        self._pool = pool
        names = scratch.stems
        self.stems = names if remainder in names else (*names, remainder)
        self._done = 0

    def peaks(self, plan: _Plan) -> dict[str, tuple[int, int]]:
        """Lowest and highest integer of every stem."""
        found = dict.fromkeys(self.stems, (0, 0))
        for stems in self._blocks(plan, passes=3):
            for stem, samples in stems.items():
                least, most = found[stem]
                found[stem] = (min(least, int(samples.min())), max(most, int(samples.max())))
        return found

    def float_grid(self, plan: _Plan) -> FloatGrid:
        """The grid that a set of 32-bit floats needs, from a look at all of it."""
        found = Survey({})
        separated = self._scratch.blocks(BLOCK_FRAMES)
        for (block, target), stems in zip(self._targets(plan), separated, strict=True):
            free = {stem: audio for stem, audio in stems.items() if stem != self._remainder}
            found.add(_full_scale_one(target, plan), free)
            self._advance(block.frames, passes=3)
        grid = FloatGrid.of(found, self._remainder, RESIDUAL)
        if grid.below:
            self.stems = (*self.stems, grid.below)
        return grid

    def write(
        self, plan: _Plan, folder: Path, naming: NameTemplate, over: dict[str, float], program: str
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

    def _write_files(self, plan: _Plan, paths: dict[str, Path], program: str) -> tuple[str, ...]:
        carried = metadata_for(self._mix.info.path, self._mix.tags, plan.format)
        with contextlib.ExitStack() as stack:
            writers = {}
            for stem, path in paths.items():
                metadata = carried.with_history(history_line(plan.format, f"{program} {stem}"))
                writer = StemWriter(path, plan.format, metadata.before, metadata.after)
                writers[stem] = stack.enter_context(writer)
            for stems in self._blocks(plan, passes=2):
                list(
                    self._pool.map(
                        lambda stem, samples: writers[stem].write(_stored(samples, plan)),
                        stems.keys(),
                        stems.values(),
                    )
                )
        return tuple(sorted(set(carried.dropped)))

    def _measure(
        self, plan: _Plan, paths: dict[str, Path]
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
                mix = _full_scale_one(target, plan)
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
                self._advance(block.frames, passes=1)
        loudness = {stem: each.result() for stem, each in meters.items()}
        return loudness, _levels(energy, whole), meter, source_meter

    def _blocks(self, plan: _Plan, passes: int) -> Iterator[dict[str, Samples]]:
        """All stems with the remainder, as they are to be stored, block by block."""
        noise = {stem: _noise(plan, number) for number, stem in enumerate(self.stems, start=1)}
        separated = self._scratch.blocks(BLOCK_FRAMES)
        for (block, target), unrounded in zip(self._targets(plan), separated, strict=True):
            free = [stem for stem in unrounded if stem != self._remainder]
            rounded = self._pool.map(
                _on_grid,
                map(unrounded.__getitem__, free),
                itertools.repeat(plan),
                map(noise.__getitem__, free),
            )
            stems = dict(zip(free, rounded, strict=True))
            if plan.grid:
                yield {**plan.grid.share(target, stems, self._remainder)}
            else:
                total = np.zeros_like(target)
                for samples in stems.values():
                    total += samples
                yield {**stems, self._remainder: target - total}
            self._advance(block.frames, passes)

    def _targets(self, plan: _Plan) -> Iterator[tuple[MixBlock, Samples]]:
        """The mix, and what the stems must add up to."""
        noise = _noise(plan, 0)
        with self._mix.open() as reader:
            while (block := reader.read(BLOCK_FRAMES)).frames:
                yield block, _target(block, plan, noise)

    def _file(self, plan: _Plan, stem: str, path: Path, loudness: Loudness) -> StemFile:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return StemFile(stem, path.name, plan.format, self._scratch.frames, sha256, loudness)

    def _advance(self, frames: int, passes: int) -> None:
        """Tell how far the work is; `passes` are left, this one included."""
        total = self._mix.info.frames
        self._done = self._done % total + frames
        self._tick((3 - passes) * total + self._done, 3 * total)


def _noise(plan: _Plan, number: int) -> np.random.Generator | None:
    """The dither of one stem: the same in every pass, another for every stem."""
    if plan.dither_seed is None:
        return None
    return np.random.default_rng([plan.dither_seed, number])


def _target(block: MixBlock, plan: _Plan, noise: np.random.Generator | None) -> Samples:
    if plan.grid_bits is None and plan.format.bits == 32:
        return np.asarray(block.double.astype(np.float32), np.float64)
    if plan.grid_bits is None:
        return block.double
    if block.is_integer and plan.gain == 1.0 and noise is None:
        return block.exact.astype(np.int64) << (plan.grid_bits - block.bits)
    return quantise(block.double * plan.gain, plan.grid_bits, noise)


def _on_grid(
    audio: npt.NDArray[np.floating], plan: _Plan, noise: np.random.Generator | None
) -> Samples:
    if plan.grid:
        return plan.grid.rounded(audio)
    if plan.grid_bits is None:
        return audio.astype(np.float64)
    return quantise(audio * np.float64(plan.gain), plan.grid_bits, noise)


def _stored(samples: Samples, plan: _Plan) -> Samples:
    return _full_scale_one(samples, plan) if plan.format.encoding == "float" else samples


def _full_scale_one(samples: Samples, plan: _Plan) -> npt.NDArray[np.float64]:
    if plan.grid_bits is None:
        return samples.astype(np.float64, copy=False)
    return np.asarray(samples * 2.0 ** (1 - plan.grid_bits))  # exact: a power of two


def _energy(audio: npt.NDArray[np.floating]) -> float:
    return float(np.square(audio).sum())


def _levels(energy: dict[str, float], whole: float) -> dict[str, float]:
    """Energies against the mix's, in dB; without a mix, against full scale."""
    return {stem: decibels(math.sqrt(e / (whole or 1.0))) for stem, e in energy.items()}


def _silent(_done: int, _total: int) -> None:
    """The tick of a caller who does not want to know."""
