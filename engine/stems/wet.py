"""Makes the wet files of a set: every stem through its chain, one gain for all, the sum's chain.

First every stem goes through its chain into a scratch file, because the gain that all of them
share, the length of the longest tail and what would overflow are known only at the end. Then
the files are written.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from presets import Effect, Preset, StemwrightError

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
from ..plugins.chain import check_chains
from ..plugins.messages import Chains
from ..plugins.rack import PluginRack
from .naming import NameTemplate
from .output_format import OutputFormat, StemFile, as_float, resolve_format
from .wet_stem import ChainRun, WetStem, chain_of, chain_path

SUM = "sum"


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
        self.preset, self.tick, self.reader = preset, tick, reader
        self.scratch, self.open_files = scratch, open_files
        self.info = max(infos.values(), key=lambda info: info.channels)
        self.rate, self.channels = self.info.sample_rate, self.info.channels
        self.frames = max(info.frames for info in infos.values())
        room = self.frames + round(preset.tail_seconds * self.rate)
        self.chains = ChainRun(preset, rack, self.rate, room, tick)
        self.sum_loudness: Loudness | None = None
        self.sum_peak_dbtp = -math.inf
        self.stems = [
            self._stem(name, path, *chain_of(preset, name), infos[name].channels)
            for name, path in dry.items()
        ]

    def run_chains(self) -> None:
        """Every stem through its chain into its scratch file; then their sum is measured."""
        for stem in self.stems:
            self.chains.run(stem, partial(self._read, stem.source), chain_path(stem.name))
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
        chains = {stem.name: stem.report() for stem in printed if stem.chain or stem.fader_db}
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
    ) -> WetStem:
        scratch = self.open_files.enter_context(StemScratch(self.scratch / name, [name], channels))
        return WetStem(name, source, chain, fader_db, channels, scratch)

    def _read(self, path: Path) -> Iterator[AudioBlock]:
        with self.reader(path) as reader:
            while (block := reader.read(BLOCK_FRAMES)).frames:
                yield block.audio

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
        return gain_db, as_float(fmt)

    def _trimmed_sum(self, printed: list[WetStem], fmt: FileFormat) -> FileFormat:
        """The format after the overflow policy for the printed sum, a file of its own that is
        trimmed where the stems would share a gain."""
        over_db = self._over_full_scale(printed, 0.0, fmt)
        if over_db <= 0:
            return fmt
        if self.preset.overflow == "common-gain":
            for stem in printed:
                stem.trim_db -= over_db
            return fmt
        return as_float(fmt)

    def _over_full_scale(self, stems: list[WetStem], gain_db: float, fmt: FileFormat) -> float:
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

    def _printed_sum(self, gain_db: float) -> list[WetStem]:
        """The sum of the wet stems through the sum's chain, as one more stem."""
        if not self.preset.sum_chain:
            return []
        stem = self._stem(SUM, self.stems[0].source, self.preset.sum_chain, 0.0, self.channels)
        self.chains.run(stem, partial(self._sum, gain_db), "sum_chain")
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
        stem: WetStem,
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
        return StemFile.of(stem.name, path, fmt, frames, loudness)


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
