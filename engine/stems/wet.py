"""Makes the wet files of a set: every stem through its chain, one gain for all, the sum's chain.

First every stem goes through its chain into a scratch file, because the gain that all of them
share, the length of the longest tail and what would overflow are known only at the end. Then
the files are written.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from presets import RESIDUAL, Effect, Preset, StemwrightError, suggestion

from ..audio.blocks import BLOCK_FRAMES, AudioBlock
from ..audio.loudness import Loudness, LoudnessMeter, decibels
from ..audio.metadata import history_line, metadata_for, rewrite_loudness
from ..audio.reading import MixReader, SourceInfo
from ..audio.scratch import StemScratch
from ..audio.tags import read_tags
from ..audio.true_peak import CEILING_MARGIN_DB, TruePeakMeter
from ..audio.wave_header import FileFormat
from ..audio.writing import StemWriter
from ..audio.written_reader import WrittenReader
from ..plugins.chain import Shape, chained, check_chains, last_audible, may_be_bypassed
from ..plugins.effects import above_the_band
from ..plugins.messages import ChainReport, Chains, PluginNote
from ..plugins.rack import PluginRack, PluginStepError
from .float_grid import ROUNDING
from .naming import NameTemplate
from .stem_set import OutputFormat, StemFile, resolve_format

SUM = "sum"
TAIL_FLOOR_DBFS = -90.0


@dataclass(frozen=True)
class WetReport:
    """What was written and what was done for it. `chains` is ready for the manifest.

    `gain_db` is the one gain of the set. `sum_loudness` is that of the wet stems added up,
    after the gain and before the sum's chain.
    """

    files: tuple[StemFile, ...]
    gain_db: float
    sum_loudness: Loudness
    chains: Chains


@dataclass
class _Stem:
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
        gain = np.float32(10 ** ((gain_db + self.trim_db) / 20))
        for block in self.scratch.blocks(BLOCK_FRAMES):
            yield block[self.name] * gain


Reader = type[MixReader] | type[WrittenReader]


def process_set(
    dry: Mapping[str, Path],
    folder: Path,
    preset: Preset,
    naming: NameTemplate,
    *,
    rack: PluginRack,
    workspace: Path | None = None,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
    reader: Reader = MixReader,
) -> WetReport:
    """Write the wet file of every dry stem into `folder`, and the sum's when there is a sum_chain.

    Stems that are shorter than the longest are continued with silence. `tick` is called after
    every block and may raise to stop; scratch files go to `workspace`. Dry files that this
    program has just written need no decoder process: their `reader` is `WrittenReader`.
    """
    infos = {name: _info(path, reader) for name, path in dry.items()}
    _refuse_mixture(infos)
    with (
        tempfile.TemporaryDirectory(prefix="wet-", dir=workspace) as scratch,
        contextlib.ExitStack() as open_files,
    ):
        work = _Wet(dry, infos, preset, Path(scratch), open_files, rack, tick, reader)
        check_chains(preset, work.rate, work.channels, rack)
        work.run_chains()
        return work.write(folder, naming, seed)


def _info(path: Path, reader: Reader) -> SourceInfo:
    with reader(path) as opened:
        return opened.info


def left_out(chains: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about the steps that a report's chains have left out."""
    for stem in chains.get("stems", {}).values():
        for where, why in stem["bypassed"].items():
            yield why if why.startswith(where) else f"{where}: {why}"


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


class _Wet:
    """The passes over one set."""

    def __init__(
        self,
        dry: Mapping[str, Path],
        infos: Mapping[str, SourceInfo],
        preset: Preset,
        scratch: Path,
        open_files: contextlib.ExitStack,
        rack: PluginRack,
        tick: Callable[[], None],
        reader: Reader,
    ) -> None:
        self.preset, self.rack, self.tick, self.reader = preset, rack, tick, reader
        self.scratch, self.open_files = scratch, open_files
        self.info = max(infos.values(), key=lambda info: info.channels)
        self.rate, self.channels = self.info.sample_rate, self.info.channels
        self.frames = max(info.frames for info in infos.values())
        self.room = self.frames + round(preset.tail_seconds * self.rate)
        self.sum_loudness: Loudness | None = None
        self.sum_peak_dbtp = -math.inf
        self.stems = [
            self._stem(name, path, *chain_of(preset, name), infos[name].channels)
            for name, path in dry.items()
        ]

    def run_chains(self) -> None:
        """Every stem through its chain into its scratch file; then their sum is measured."""
        for stem in self.stems:
            self._run(stem, lambda stem=stem: self._read(stem.source), _path_of(stem.name))  # type: ignore[misc]
        meter = LoudnessMeter(self.channels, self.rate, self.info.channel_mask)
        peak = TruePeakMeter(self.channels, self.rate) if self._has_ceiling else None
        for block in self._sum(0.0):
            meter.add(block)
            if peak:
                peak.add(block)
        self.sum_loudness = meter.result()
        self.sum_peak_dbtp = peak.result_dbtp() if peak else -math.inf

    def write(self, folder: Path, naming: NameTemplate, seed: int) -> WetReport:
        """The files, with the gain that they share."""
        assert self.sum_loudness
        fmt = resolve_format(
            self.info, OutputFormat(self.preset.output.format, self.preset.output.depth)
        )
        gain_db, fmt = self._shared_gain(self._gain_db(), fmt)
        printed = [*self.stems, *self._printed_sum(gain_db)]
        fmt = self._trimmed_sum(printed[len(self.stems) :], fmt)
        frames = max(self.frames, *(stem.audible for stem in printed))
        names = naming.file_names([stem.name for stem in printed], self.rate, fmt.depth)
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for number, stem in enumerate(printed):
            noise = self._noise(fmt, seed, number)
            own = replace(fmt, channels=stem.channels, channel_mask=None)
            own = fmt if stem.channels == fmt.channels else own
            path = folder / (names[stem.name] + fmt.extension)
            applied = 0.0 if stem.name == SUM else gain_db
            files.append(self._write(stem, path, own, applied, frames, noise))
        chains = {
            stem.name: _chain_report(stem) for stem in printed if stem.chain or stem.fader_db
        }
        return WetReport(
            tuple(files),
            gain_db,
            self.sum_loudness.shifted(gain_db),
            {"gain_db": gain_db, "stems": chains},
        )

    @property
    def _has_ceiling(self) -> bool:
        return self.preset.loudness.true_peak_ceiling_dbtp is not None

    def _stem(
        self, name: str, source: Path, chain: tuple[Effect, ...], fader_db: float, channels: int
    ) -> _Stem:
        scratch = self.open_files.enter_context(StemScratch(self.scratch / name, [name], channels))
        return _Stem(name, source, chain, fader_db, channels, scratch)

    def _read(self, path: Path) -> Iterator[AudioBlock]:
        with self.reader(path) as reader:
            while (block := reader.read(BLOCK_FRAMES)).frames:
                yield block.audio

    def _run(self, stem: _Stem, parts: Callable[[], Iterator[AudioBlock]], path: str) -> None:
        """The chain, and once more without a plug-in that failed when it may be left out."""
        for where, step in self.preset.steps():
            reason = above_the_band(step, self.rate)
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

    def _attempt(self, stem: _Stem, parts: Iterator[AudioBlock], path: str) -> None:
        stem.scratch.truncate(0)
        stem.audible, peak = 0, 0.0
        limited = _ends_in_limiter(stem) or self._has_ceiling
        meter = TruePeakMeter(stem.channels, self.rate) if limited else None
        shape = Shape(stem.channels, self.rate, self.room)
        fader = np.float32(10 ** (stem.fader_db / 20))
        position = 0
        for wet in chained(parts, stem.chain, shape, self.rack, path, tuple(stem.bypassed)):
            block = wet * fader
            stem.scratch.append({stem.name: block})
            if meter:
                meter.add(block)
            peak = max(peak, float(np.abs(block).max()))
            if heard := last_audible(block, 10 ** (TAIL_FLOOR_DBFS / 20)):
                stem.audible = position + heard
            position += block.shape[1]
            self.tick()
        stem.peak_dbfs = decibels(peak)
        stem.true_peak_dbtp = meter.result_dbtp() if meter else -math.inf
        stem.trim_db = _limiter_trim_db(stem)

    def _sum(self, gain_db: float) -> Iterator[AudioBlock]:
        for blocks in zip(*(stem.blocks(gain_db) for stem in self.stems), strict=True):
            total = np.zeros((self.channels, blocks[0].shape[1]), np.float32)
            for block in blocks:
                total += block  # a mono stem goes to every channel
            yield total

    def _gain_db(self) -> float:
        """The one gain: towards the loudness asked for, and never above the ceiling."""
        asked = self.preset.loudness
        assert self.sum_loudness
        gain_db, measured = 0.0, self.sum_loudness.integrated_lufs
        if asked.target_lufs is not None and math.isfinite(measured):
            gain_db = asked.target_lufs - measured
        if asked.true_peak_ceiling_dbtp is not None:
            highest = max(stem.true_peak_dbtp + stem.trim_db for stem in self.stems)
            if not self.preset.sum_chain:
                highest = max(highest, self.sum_peak_dbtp)
            room_db = asked.true_peak_ceiling_dbtp - CEILING_MARGIN_DB - highest
            gain_db = min(gain_db, room_db)
        return gain_db

    def _shared_gain(self, gain_db: float, fmt: FileFormat) -> tuple[float, FileFormat]:
        """Gain of all stems and format of all files, after the overflow policy."""
        over_db = self._over_full_scale(self.stems, gain_db, fmt)
        if over_db <= 0:
            return gain_db, fmt
        if self.preset.overflow == "common-gain":
            return gain_db - over_db, fmt
        return gain_db, _as_float(fmt)

    def _trimmed_sum(self, printed: list[_Stem], fmt: FileFormat) -> FileFormat:
        """The format after the overflow policy for the printed sum, a file of its own that is
        trimmed where the stems would share a gain."""
        over_db = self._over_full_scale(printed, 0.0, fmt)
        if over_db <= 0:
            return fmt
        if self.preset.overflow == "common-gain":
            for stem in printed:
                stem.trim_db -= over_db
            return fmt
        return _as_float(fmt)

    def _over_full_scale(self, stems: list[_Stem], gain_db: float, fmt: FileFormat) -> float:
        """How far the loudest goes over what the files hold; a float file holds everything.

        Raises StemwrightError when the overflow policy is to fail.
        """
        if fmt.encoding == "float":
            return 0.0
        # two steps of the integer grid: rounding and dither
        limit_dbfs = decibels(1 - 2.0 ** (2 - fmt.bits))
        over = {s.name: s.peak_dbfs + s.trim_db + gain_db - limit_dbfs for s in stems}
        if self.preset.overflow == "fail" and max(over.values(), default=0.0) > 0:
            named = ", ".join(f"{name} by {db:.2f} dB" for name, db in over.items() if db > 0)
            raise StemwrightError(
                "stem-overflow",
                f"wet {named} over full scale at {fmt.depth} bits. Choose the overflow policy "
                "float32 or common-gain, a float depth, or a true-peak ceiling.",
            )
        return max(over.values(), default=0.0)

    def _printed_sum(self, gain_db: float) -> list[_Stem]:
        """The sum of the wet stems through the sum's chain, as one more stem."""
        if not self.preset.sum_chain:
            return []
        stem = self._stem(SUM, self.stems[0].source, self.preset.sum_chain, 0.0, self.channels)
        self._run(stem, lambda: self._sum(gain_db), "sum_chain")
        ceiling = self.preset.loudness.true_peak_ceiling_dbtp
        if ceiling is not None:
            over_db = stem.true_peak_dbtp + stem.trim_db - (ceiling - CEILING_MARGIN_DB)
            stem.trim_db -= max(0.0, over_db)
        return [stem]

    def _noise(self, fmt: FileFormat, seed: int, number: int) -> np.random.Generator | None:
        dithered = self.preset.output.dither == "tpdf" and fmt.encoding == "pcm"
        return np.random.default_rng([seed, number]) if dithered else None

    def _write(
        self,
        stem: _Stem,
        path: Path,
        fmt: FileFormat,
        gain_db: float,
        frames: int,
        noise: np.random.Generator | None,
    ) -> StemFile:
        history = history_line(fmt, f"Stemwright {stem.name} {self.preset.name}")
        carried = metadata_for(stem.source, read_tags(stem.source), fmt)
        metadata = carried.with_history(history)
        meter = LoudnessMeter(fmt.channels, fmt.sample_rate, fmt.channel_mask)
        with StemWriter(path, fmt, metadata.before, metadata.after, noise) as writer:
            for block in stem.blocks(gain_db):
                block = block[:, : frames - writer.frames]
                meter.add(block)
                writer.write(block)
                self.tick()
        loudness = meter.result()
        rewrite_loudness(path, loudness)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return StemFile(stem.name, path.name, fmt, frames, sha256, loudness)


def _as_float(fmt: FileFormat) -> FileFormat:
    """A format that holds whatever there is."""
    container = "wav" if fmt.container == "flac" else fmt.container
    return replace(fmt, container=container, encoding="float", bits=32)


def _ends_in_limiter(stem: _Stem) -> bool:
    """Whether a true-peak limiter is the last step, so that its ceiling is the file's."""
    return bool(stem.chain) and stem.chain[-1].ceiling_dbtp is not None


def _limiter_trim_db(stem: _Stem) -> float:
    """What a true-peak limiter at the end of a chain has let through, measured at 8x."""
    if not _ends_in_limiter(stem):
        return 0.0
    own = stem.chain[-1].ceiling_dbtp
    assert own is not None
    ceiling = own + stem.fader_db
    return -max(0.0, stem.true_peak_dbtp - (ceiling - CEILING_MARGIN_DB))


def _path_of(name: str) -> str:
    return "residual.chain" if name == RESIDUAL else f"stems.{name}.chain"


def _chain_report(stem: _Stem) -> ChainReport:
    """A stem's processing for the manifest."""
    return {
        "steps": [step.model_dump(mode="json") for step in stem.chain],
        "fader_db": stem.fader_db,
        "trim_db": stem.trim_db,
        "true_peak_8x_dbtp": stem.true_peak_dbtp if math.isfinite(stem.true_peak_dbtp) else None,
        "plugins": stem.notes,
        "bypassed": stem.bypassed,
    }


def _refuse_mixture(infos: Mapping[str, SourceInfo]) -> None:
    """Stems of one set have one rate, and one number of channels besides mono."""
    for what, values in {
        "sample rates": {info.sample_rate for info in infos.values()},
        "numbers of channels": {info.channels for info in infos.values()} - {1},
    }.items():
        if len(values) > 1:
            listed = ", ".join(str(value) for value in sorted(values))
            raise StemwrightError(
                "stems-differ",
                f"the stems have different {what} ({listed}). Convert them, or process them "
                "apart.",
            )
