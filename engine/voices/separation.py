"""A mix into its voices by the roads of every separation: first pass, second pass, checkpoints.

First pass: pitches are found and, where that is asked for, a network is fitted to this recording.
Second pass: the network's parameters become masks, and the masks go over the mix block by block.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError, printable

from ..audio.layout import ChannelGroups
from ..audio.raw_samples import RawSignal
from ..audio.reading import SourceInfo
from ..audio.resampling import resampled
from ..audio.scratch import Sink, Stems, StemScratch, scratch_file
from ..audio.signal import PieceReader, Signal, blocks_of
from ..model.bundle import put_file
from ..model.hooks import Interrupted, SearchHooks
from ..model.sessions import Device
from ..model.two_passes import Separation
from .fitting import fit_network
from .masks import VoiceMasks, separated_blocks
from .network import VoiceNetwork
from .pitches import PitchTracks
from .report import VoicesReport
from .salience import RATE
from .sources import FoundPitches, PitchRequest, find_pitches

Float = NDArray[np.float32]

MOST_MINUTES = 40

Report = TypeVar("Report")


@dataclass(frozen=True)
class VoicesUsed:
    """What the manifest says of voices, the tracks themselves, and what they were found in:
    (samples,) at RATE."""

    mono: Float
    tracks: PitchTracks
    report: VoicesReport


class VoiceSeparation:
    """A separation of what sings into parts whose pitches are known."""

    dtype: type[np.float32 | np.float64] = np.float32

    def __init__(
        self,
        parts: Sequence[str],
        network: Path,
        device: Device,
        request: Callable[[SourceInfo], PitchRequest],
        *,
        fit_minutes: float = 0,
        seed: int = 0,
    ) -> None:
        self.stems, self._request = list(parts), request
        self._network = VoiceNetwork.load(network, device)
        self._shipped = self._network
        self._device, self._fit_minutes, self._seed = device, fit_minutes, seed
        self.used: VoicesUsed | None = None

    @property
    def got(self) -> set[str]:
        """The device that the network runs on."""
        return {self._network.got}

    def search(
        self, mix: Signal, groups: ChannelGroups, workspace: Path, hooks: SearchHooks
    ) -> None:
        """First pass. Raises Interrupted when `hooks.should_stop` says so."""
        _insist_on_length(mix.info)
        folder = workspace / "voices"
        folder.mkdir(parents=True, exist_ok=True)
        mono = heard(mix, groups)
        self._network = self._shipped  # the mix before may have had one fitted to it
        hooks.entering("pitches")
        found = self._pitches(mono, self._request(mix.info), folder, hooks)
        shipped = self._shipped
        report: VoicesReport = {
            "network": {
                "name": shipped.path.stem,
                "sha256": shipped.sha256,
                "licence": shipped.card.licence,
            },
            "pitches": found.report,
        }
        if self._fit_minutes and found.tracks.voiced().sum() > 0:
            hooks.entering(f"fitting {self._fit_minutes:g} min")
            bundle = fit_network(
                mono, found.tracks, folder / "fit", shipped.path,
                minutes=self._fit_minutes, seed=self._seed, hooks=hooks,
            )  # fmt: skip
            self._network = VoiceNetwork.load(bundle, self._device)
            report["fitted"] = {"minutes": self._fit_minutes, "sha256": self._network.sha256}
        self.used = VoicesUsed(mono, found.tracks, report)
        hooks.progress(1, 1)

    def write(
        self,
        mix: Signal,
        groups: ChannelGroups,
        workspace: Path,
        sink: Sink,
        meter: Callable[[Float, Float], None] | None = None,
    ) -> None:
        """Second pass: all parts to `sink`, block by block."""
        for block in self.blocks(mix, groups):
            sink(dict(zip(self.stems, block, strict=True)))

    def blocks(self, mix: Signal, groups: ChannelGroups) -> Iterator[Float]:
        """All parts as blocks (parts, channels, n), in order. After `search` alone."""
        assert self.used is not None
        info, tracks = mix.info, self.used.tracks
        parameters = self._network.parameters(self.used.mono, tracks)
        masks = VoiceMasks(parameters, tracks, info.sample_rate, info.frames)
        sung = np.zeros((1, info.channels, 1), np.float32)
        sung[:, [channel for group in groups.groups for channel in group]] = 1
        with mix.open() as reader:
            for block in separated_blocks(reader, info.channels, info.frames, masks):
                yield block * sung  # nobody sings into the subwoofer

    def _pitches(
        self, mono: Float, request: PitchRequest, folder: Path, hooks: SearchHooks
    ) -> FoundPitches:
        """Find the pitches, or take those that an interrupted render has found."""
        kept, facts = folder / "pitches.npz", folder / "pitches.json"
        if facts.exists():
            checkpoint = json.loads(facts.read_text("utf-8"))
            if checkpoint["asked"] == _asked(request):
                with np.load(kept, allow_pickle=False) as stored:
                    tracks = PitchTracks(
                        request.parts,
                        stored["hertz"],
                        checkpoint["frame_seconds"],
                        stored["confidence"],
                        checkpoint["found"]["origin"],
                    )
                return FoundPitches(tracks, checkpoint["found"])

        def tick() -> None:
            if hooks.should_stop():
                raise Interrupted

        found = find_pitches(mono, request, tick)
        tracks = found.tracks
        with kept.open("wb") as file:
            np.savez(file, hertz=tracks.hertz, confidence=tracks.confidence)
        step = tracks.frame_seconds
        checkpoint = {"asked": _asked(request), "frame_seconds": step, "found": found.report}
        put_file(facts, json.dumps(checkpoint).encode())
        return found


def _insist_on_length(info: SourceInfo) -> None:
    """Pitches are found in a whole recording at once, which takes 20 MB of memory a minute."""
    if info.frames / info.sample_rate > 60 * MOST_MINUTES:
        raise StemwrightError(
            "voices-too-long",
            f"{printable(info.path.name)}: {info.frames / info.sample_rate / 60:.0f} minutes; "
            f"voices are taken apart in at most {MOST_MINUTES}. Cut it into its pieces.",
        )


def _asked(request: PitchRequest) -> str:
    """What the pitches depend on besides the mix."""
    asked = [request.parts, request.method, request.hashes(), request.heard_by()]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


class VoicesAlone(Generic[Report]):
    """The voices of the mix itself."""

    def __init__(self, voices: VoiceSeparation, nothing_searched: Report) -> None:
        self.voices, self._nothing = voices, nothing_searched
        self.stems, self.dtype = voices.stems, voices.dtype
        self.write = voices.write

    @property
    def got(self) -> set[str]:
        """The device that the network runs on."""
        return self.voices.got

    def search(
        self, mix: Signal, groups: ChannelGroups, workspace: Path, hooks: SearchHooks
    ) -> Report:
        """First pass."""
        self.voices.search(mix, groups, workspace, hooks)
        return self._nothing


class VoicesInside(Generic[Report]):
    """The voices of one stem of another separation; the stem itself is not kept."""

    def __init__(self, voices: VoiceSeparation, outer: Separation[Report], of: str) -> None:
        self.voices, self.outer, self.of = voices, outer, of
        self.stems = [name for name in outer.stems if name != of] + voices.stems
        self.dtype = outer.dtype

    @property
    def got(self) -> set[str]:
        """The devices of both."""
        return self.outer.got | self.voices.got

    def search(
        self, mix: Signal, groups: ChannelGroups, workspace: Path, hooks: SearchHooks
    ) -> Report:
        """First pass of the outer one, then of the voices in its stem."""
        report = self.outer.search(mix, groups, workspace, hooks)
        folder = workspace / "voices-of"
        with StemScratch(folder, [self.of], mix.info.channels, self.dtype) as scratch:
            scratch.truncate(0)

            def take(stems: Stems) -> None:
                if hooks.should_stop():
                    raise Interrupted
                scratch.append({self.of: stems[self.of]})

            self.outer.write(mix, groups, workspace, take, None)
        self.voices.search(self._sung(mix, workspace), groups, folder, hooks)
        return report

    def write(
        self,
        mix: Signal,
        groups: ChannelGroups,
        workspace: Path,
        sink: Sink,
        meter: Callable[[Float, Float], None] | None = None,
    ) -> None:
        """Second pass: the outer one's other stems and the parts, in step."""
        count, channels = len(self.voices.stems), mix.info.channels
        blocks = self.voices.blocks(self._sung(mix, workspace), groups)
        flat = (block.reshape(count * channels, -1) for block in blocks)
        parts = PieceReader(flat, count * channels)

        def take(stems: Stems) -> None:
            frames = stems[self.of].shape[1]
            sung = parts.read(frames).audio.reshape(count, channels, frames)
            kept = {name: audio for name, audio in stems.items() if name != self.of}
            sink(kept | dict(zip(self.voices.stems, sung.astype(self.dtype), strict=True)))

        self.outer.write(mix, groups, workspace, take, meter)

    def _sung(self, mix: Signal, workspace: Path) -> RawSignal:
        return RawSignal(scratch_file(workspace / "voices-of", self.of), mix.info, self.dtype)


def heard(mix: Signal, groups: ChannelGroups) -> Float:
    """All of a signal as one channel at RATE, (samples,), without the subwoofer's."""
    channels = [channel for group in groups.groups for channel in group]
    mono = (block.audio[channels].mean(axis=0, keepdims=True) for block in blocks_of(mix))
    info = mix.info
    pieces = list(resampled(mono, 1, info.frames, info.sample_rate, RATE))
    joined = np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), np.float32)
    return np.asarray(joined[0], np.float32)
