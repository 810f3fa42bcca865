"""One mix on its way to a published set, step by step."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from .audio.decoded import DecodedMix, decode_mix
from .audio.layout import channel_groups
from .audio.metadata import naming_fields
from .audio.reading import SourceInfo
from .audio.scratch import Stems, StemScratch
from .audio.signal import Signal
from .audio.tags import FileTags
from .audio.written_reader import WrittenReader
from .evaluation.quality_report import QualityMeter, quality_of
from .model.hooks import Interrupted, SearchHooks
from .opened_preset import OpenedPreset
from .options import Progress, RenderOptions
from .pace import Pace
from .plugins.chain import check_chains
from .plugins.rack import PluginRack
from .provenance import bundles_of, files_of, made_by, separators_of, versions
from .separation.mask_files import SearchReport
from .stems.manifest import MANIFEST_NAME, Input, Manifest, Quality, finite
from .stems.naming import NameTemplate
from .stems.output_format import OutputFormat
from .stems.publish import publishing
from .stems.stem_set import SetReport, write_set
from .stems.wet import WetReport, process_set
from .version import ENGINE_VERSION
from .voicing import write_tracks

if TYPE_CHECKING:
    pass

Float = NDArray[np.float32]
Double = NDArray[np.float64]

ABSENT_DB = -40.0  # an instrument this far below the mix does not play


class MixRender:
    """One mix on its way through an opened preset, and what is known of it so far."""

    def __init__(self, opened: OpenedPreset, options: RenderOptions) -> None:
        self.options, self.preset, self.priors = options, opened.preset, opened.priors
        self.settings, self.plan, self.threads = opened.settings, opened.plan, opened.threads
        self.cards, self.warnings = opened.cards, opened.warnings
        self.separation, self.separator = opened.separation()
        self.voices = opened.voices
        self._work = ""
        self._pace = Pace(wet=self.preset.has_wet)

    def run(
        self, mix: Path | DecodedMix, destination: Path, tags: FileTags | None = None
    ) -> Manifest:
        """From the mix to the published set. The mix is decoded once, here, unless it is
        already; everything behind reads its samples from the workspace."""
        pace = self._pace
        self._tell("decoding")
        kept = self.options.workspace
        with (
            removed_unless_used(destination.parent),
            publishing(
                destination, kept.parent.name if kept else None, self.options.guard
            ) as folder,
            _workspace(kept, destination.parent) as workspace,
        ):
            decoded = mix if isinstance(mix, DecodedMix) else decode_mix(mix, workspace, tags)
            pace.lap("decoding", decoded.seconds)
            separated = self.separate(decoded, workspace)
            naming = self._naming(decoded)
            stems = self.delivered(separated)
            report = self._write(decoded, stems, workspace, folder, naming)
            quality = quality_of(
                separated.meter, self.separation.stems, report.level_db, separated.absent
            )
            pace.lap("writing")
            wet = self._process(report, folder, naming, workspace)
            pace.lap("processing")
            source = Input.of(decoded.info.path.name, decoded.facts)
            title = naming.fields["title"]
            manifest = self._manifest(title, source, separated, report, quality, wet, pace.laps)
            (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
            if self.voices is not None:
                write_tracks(self.voices, folder)
            self._hand_over(decoded.info.path, folder)
            self._tell("publishing")
        return manifest

    def _tell(self, stage: str, segment: int = 0, segments: int = 0) -> None:
        if self.options.progress:
            left_s = self._pace.left_s(stage, segment, segments)
            work = self._work if stage == "searching" else ""
            self.options.progress(Progress(stage, segment, segments, work, left_s))

    def separate(self, mix: Signal, workspace: Path) -> Separated:
        """Search, then leave every stem's samples in the workspace (see `scratch`)."""
        info, pace = mix.info, self._pace
        groups = channel_groups(info.channels, info.channel_mask)
        if not groups.groups:
            raise StemwrightError(
                "mix-layout",
                f"{info.path.name}: {info.channels} channels without a known loudspeaker layout; "
                "expected mono, stereo, 3.0 to 5.1 or 7.1, or a file whose channel mask names "
                f"{info.channels} loudspeakers.",
            )
        if self.preset.has_wet:
            with PluginRack(timeout_s=self.preset.plugin_timeout_s) as rack:
                check_chains(self.preset, info.sample_rate, info.channels, rack)
        separation = self.separation
        hooks = SearchHooks(
            lambda done, total: self._tell("searching", done, total),
            self.options.should_stop or (lambda: False),
            self._begin_part,
            self._search_deadline(pace),
        )
        report = separation.search(mix, groups, workspace, hooks)
        pace.lap("searching")
        self._tell("writing")
        levels = _Levels()
        meter = self._meter(info)
        with (
            self.scratch(workspace, separation.stems, info.channels) as scratch,
            mix.open() as reader,
        ):
            scratch.truncate(0)  # an interrupted second pass is cheap to repeat

            def take(stems: Stems) -> None:
                self._stop_if_asked()
                scratch.append(stems)
                levels.add(stems)
                if self.plan.unknown_rest:  # the stems' sum does not tell how loud the mix is
                    levels.add_mix(reader.read(next(iter(stems.values())).shape[1]).audio)

            separation.write(mix, groups, workspace, take, meter.add if meter else None)
        return Separated(report, levels.absent(), meter)

    def scratch(self, workspace: Path, stems: list[str], channels: int) -> StemScratch:
        """Where `separate` leaves the samples of the stems."""
        return StemScratch(workspace / "stems", stems, channels, self.separation.dtype)

    def _begin_part(self, name: str) -> None:
        self._work = name

    def _meter(self, info: SourceInfo) -> QualityMeter | None:
        """Listen to the search; where nothing is searched there are no masks to listen to."""
        if self.separator is None:
            return None
        stft = self.separator.front_end.stft(info.sample_rate)
        return QualityMeter(self.priors, stft, info.sample_rate, info.frames)

    def _search_deadline(self, pace: Pace) -> float | None:
        """When the search must end, so that writing ends with the deadline."""
        if self.options.deadline_s is None:
            return None
        return pace.started + self.options.deadline_s - pace.after_search_s()

    def _write(
        self,
        mix: DecodedMix,
        stems: list[str],
        workspace: Path,
        folder: Path,
        naming: NameTemplate,
    ) -> SetReport:
        """The dry stems and the remainder, whose sum is the mix."""
        preset = self.preset
        with self.scratch(workspace, stems, mix.info.channels) as scratch:
            return write_set(
                mix,
                scratch,
                folder / "dry",
                naming,
                OutputFormat(preset.output.format, preset.output.depth),
                preset.overflow,
                residual_into=preset.sources.remainder,
                seed=self.options.seed,
                program=f"Stemwright {ENGINE_VERSION}",
                tick=self._writing,
                threads=self.threads,
            )

    def _process(
        self, report: SetReport, folder: Path, naming: NameTemplate, workspace: Path
    ) -> WetReport | None:
        """The wet files: every dry one through its chain."""
        if not self.preset.has_wet:
            return None
        self._tell("processing")
        dry = {file.stem: folder / "dry" / file.name for file in report.files}
        with PluginRack(timeout_s=self.preset.plugin_timeout_s) as rack:
            return process_set(
                dry,
                folder / "wet",
                self.preset,
                naming,
                rack=rack,
                workspace=workspace,
                seed=self.options.seed,
                tick=self._stop_if_asked,
                reader=WrittenReader,
            )

    def _hand_over(self, mix: Path, folder: Path) -> None:
        """The page and the session, where the preset asks for them; they only read the set."""
        wanted = self.preset.output
        if wanted.report != "none":
            from .listening.page import write_report

            write_report(folder, wanted.report, mix)
        if wanted.session != "none":
            from .daw.writing import write_session

            write_session(
                folder, wanted.session, mix=mix if wanted.session == "dawproject" else None
            )

    def _writing(self, done: int, total: int) -> None:
        self._stop_if_asked()
        self._tell("writing", done, total)

    def delivered(self, separated: Separated) -> list[str]:
        """Stems that get a file; absent ones may be left to the residual (`omit`)."""
        specs = self.preset.stems
        return [
            stem
            for stem in self.separation.stems
            if not (stem in separated.absent and specs[stem].when_absent == "omit")
        ]

    def _stop_if_asked(self) -> None:
        if self.options.should_stop and self.options.should_stop():
            raise Interrupted

    def _naming(self, mix: DecodedMix) -> NameTemplate:
        naming = self.preset.naming
        fields = naming_fields(mix.info.path, mix.tags) | {
            "preset": self.preset.name,
            "rev": str(naming.revision),
        }
        return NameTemplate(naming.template, fields, naming.ascii)

    def _manifest(
        self,
        title: str,
        source: Input,
        separated: Separated,
        report: SetReport,
        quality: Quality,
        wet: WetReport | None,
        seconds: dict[str, float],
    ) -> Manifest:
        return Manifest(
            title=title,
            program={"name": "stemwright", "version": ENGINE_VERSION} | versions(wet=bool(wet)),
            input=source,
            preset=self.preset.model_dump(mode="json"),
            preset_sha256=self.preset.digest(),
            priors=bundles_of(self.priors),
            separators=separators_of(self.cards, self.threads),
            made_by=made_by(self.preset, report),
            voices=self.voices.used.report if self.voices and self.voices.used else None,
            search=self.settings.as_json(),
            seed=self.options.seed,
            degraded=self._degraded(separated.search),
            provider=self._provider(),
            files=files_of(report, wet),
            null_dbfs=finite(report.null_dbfs),
            source_null_dbfs=finite(report.source_null_dbfs),
            gain_db=report.gain_db,
            undo_db=report.undo_db,
            overflow_db=report.overflow,
            metadata_dropped=report.metadata_dropped,
            wet_gain_db=wet.gain_db if wet else 0.0,
            chains=wet.chains if wet else {},
            absent=separated.absent,
            divergence=separated.search.divergence,
            quality=quality,
            seconds={name: round(value, 3) for name, value in seconds.items()},
        )

    def _provider(self) -> dict[str, str]:
        """The device that was asked for and those that the sessions run on."""
        got = sorted(self.separation.got)
        return {"asked": self.options.device, "got": ", ".join(got)}

    def _degraded(self, searched: SearchReport) -> tuple[str, ...]:
        """What makes this result less than the method can give."""
        words = list(self.warnings)
        if self.settings.method == "finite-difference":
            words.append("finite-difference search: far from converged for priors of useful size")
        planned = self.plan.search.steps
        if searched.windows and searched.steps < planned:  # silence needs no step
            words.append(
                f"deadline: {searched.steps:.1f} of {planned} steps per segment on average"
            )
        return tuple(words)


@dataclass(frozen=True)
class Separated:
    """What is known when the stems lie in the workspace."""

    search: SearchReport
    absent: tuple[str, ...]
    meter: QualityMeter | None


class _Levels:
    """Energy of every stem, to tell an instrument that does not play."""

    def __init__(self) -> None:
        self._energy: dict[str, float] = {}
        self._mix = 0.0

    def add(self, stems: Stems) -> None:
        """Count the next samples."""
        for stem, audio in stems.items():
            energy = float(np.square(audio).sum())
            self._energy[stem] = self._energy.get(stem, 0.0) + energy

    def add_mix(self, audio: Float | Double) -> None:
        """Count the next samples of the mix, where more plays in it than the stems."""
        self._mix += float(np.einsum("cn,cn->", audio, audio, dtype=np.float64))

    def absent(self) -> tuple[str, ...]:
        """Stems more than ABSENT_DB below all that plays."""
        floor = max(sum(self._energy.values()), self._mix) * 10 ** (ABSENT_DB / 10)
        return tuple(stem for stem, energy in self._energy.items() if energy <= floor)


@contextmanager
def removed_unless_used(folder: Path) -> Iterator[None]:
    """Take away again, when something fails, what was made of a folder and its parents."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError):  # one is not empty: others have put something there
            for place in missing:
                place.rmdir()
        raise


@contextmanager
def _workspace(kept: Path | None, beside: Path) -> Iterator[Path]:
    """The checkpoint folder to keep, or a temporary one on the destination's file system."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix=".stemwright-", dir=beside) as folder:
        yield Path(folder)
