"""What a session is before it is any program's file: tracks, faders, colours, places in time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from presets import RESIDUAL, StemwrightError

from ..audio.blocks import BLOCK_FRAMES
from ..audio.reading import MixReader
from ..audio.riff import walk_chunks
from ..audio.wave_header import FileFormat
from ..audio.writing import StemWriter
from ..stems.colours import GREY, stem_colours
from ..stems.manifest import Manifest, Passage, Written, load_manifest, refuse_another_mix
from ..stems.naming import render_name

BEXT_TIME_REFERENCE_AT = 338  # EBU Tech 3285: two 32-bit words, low one first, in samples
WAVE_CONTAINERS = ("wav", "rf64")


@dataclass(frozen=True)
class PluginDevice:
    """A plug-in that stays live in the session: VST3 class id (32 hex digits), name, state."""

    class_id: str
    name: str
    state: bytes


@dataclass(frozen=True)
class DawTrack:
    """One lane with one clip. `gain` is linear, `start_s` counts from the session's zero."""

    name: str
    file: Path
    colour: str
    channels: int
    sample_rate: int
    frames: int
    gain: float = 1.0
    muted: bool = False
    start_s: float = 0.0
    devices: tuple[PluginDevice, ...] = ()

    @property
    def duration_s(self) -> float:
        """Length of the clip."""
        return self.frames / self.sample_rate


@dataclass(frozen=True)
class Session:
    """Tracks whose unmuted sum is the mix (dry) or what the preset makes of it (wet)."""

    title: str
    sample_rate: int
    tracks: tuple[DawTrack, ...]
    worst: Passage | None = None

    @property
    def end_s(self) -> float:
        """Where the last clip ends."""
        return max(track.start_s + track.duration_s for track in self.tracks)


Live = Callable[[Sequence[Mapping[str, object]]], tuple[PluginDevice, ...]]
"""Opens the plug-ins of a chain as it stands in a manifest and says what they are."""


def session_of(
    folder: Path,
    workspace: Path,
    mix: Path | None = None,
    dry: bool = False,
    live: Live | None = None,
) -> Session:
    """The session of a published set.

    `dry` takes the dry stems even where there are wet ones. With `live`, a stem whose chain is
    made of plug-ins only becomes its dry file with these plug-ins behind it; the others stay
    printed. `workspace` is a folder that takes what has to be written first: the mix, where
    `mix` does not give it, as the sum of the dry stems, which is exactly what it is.
    """
    manifest = load_manifest(folder)
    printed = [file for file in manifest.files if file.kind == "wet"]
    wanted = (
        [file for file in manifest.files if file.kind == "dry"] if dry or not printed else printed
    )
    if not wanted:
        raise StemwrightError(
            "session-empty", f"{folder}: the set has no stems to make a session of."
        )
    colours = stem_colours([file.stem for file in wanted])
    tracks = [_stem_track(folder, manifest, file, colours[file.stem], live) for file in wanted]
    reference = _reference(folder, manifest, workspace, mix)
    worst = manifest.quality.worst if manifest.quality else None
    return Session(manifest.title, manifest.input.sample_rate, (reference, *tracks), worst)


def _stem_track(
    folder: Path, manifest: Manifest, file: Written, colour: str, live: Live | None
) -> DawTrack:
    """One stem; a printed sum beside it is muted, or everything would be heard twice."""
    spec = _spec(manifest, file.stem)
    chain = spec.get("chain", ())
    plugins = bool(chain) and all("plugin" in step for step in chain)
    if live and file.kind == "wet" and plugins:
        source = next(f for f in manifest.files if (f.kind, f.stem) == ("dry", file.stem))
        gain_db = spec.get("gain_db", 0.0) + manifest.wet_gain_db + manifest.undo_db
        gain, path = 10 ** (gain_db / 20), folder / source.path
        return _track(path, file.stem, colour, gain, devices=live(chain))
    gain_db = manifest.undo_db if file.kind == "dry" else 0.0
    muted = file.kind == "wet" and file.stem == "sum"
    return _track(folder / file.path, file.stem, colour, 10 ** (gain_db / 20), muted)


def _spec(manifest: Manifest, stem: str) -> dict[str, Any]:
    """What the preset says of a stem or the residual; nothing of a printed sum."""
    preset = manifest.preset
    spec: dict[str, Any] = (
        preset["residual"] if stem == RESIDUAL else preset["stems"].get(stem, {})
    )
    return spec


def _track(
    path: Path,
    name: str,
    colour: str,
    gain: float = 1.0,
    muted: bool = False,
    start_s: float | None = None,
    devices: tuple[PluginDevice, ...] = (),
) -> DawTrack:
    """A file as a track; it begins at its own time reference unless `start_s` says where."""
    with MixReader(path) as reader:
        info = reader.info
    return DawTrack(
        name=name,
        file=path,
        colour=colour,
        channels=info.channels,
        sample_rate=info.sample_rate,
        frames=info.frames,
        gain=gain,
        muted=muted,
        start_s=time_reference(path) / info.sample_rate if start_s is None else start_s,
        devices=devices,
    )


def time_reference(path: Path) -> int:
    """First sample since midnight, of a broadcast wave; 0 where the file says nothing."""
    with path.open("rb") as file:
        if file.read(4) not in (b"RIFF", b"RF64", b"BW64"):
            return 0
    walked = walk_chunks(path)
    bext = walked.find(b"bext")
    if bext is None or bext.size < BEXT_TIME_REFERENCE_AT + 8:
        return 0
    low, high = struct.unpack_from("<II", walked.read(bext), BEXT_TIME_REFERENCE_AT)
    return int(low + (high << 32))


def _reference(folder: Path, manifest: Manifest, workspace: Path, mix: Path | None) -> DawTrack:
    """The mix, grey and muted, to compare with."""
    dry = [file for file in manifest.files if file.kind == "dry"]
    start_s = time_reference(folder / dry[0].path) / manifest.input.sample_rate if dry else 0.0
    if mix is None:
        mix = workspace / (render_name("{title}", {"title": manifest.title}) + " (mix).wav")
        _write_sum([folder / file.path for file in dry], mix, manifest)
    else:
        refuse_another_mix(mix, manifest)
    return _track(mix, "mix (reference)", GREY, muted=True, start_s=start_s)


def _write_sum(stems: Sequence[Path], path: Path, manifest: Manifest) -> None:
    """The sum of the dry stems at the mix's own depth: sample for sample what the mix was."""
    source, undo = manifest.input, 10 ** (manifest.undo_db / 20)
    exact = source.encoding == "pcm" and manifest.null_dbfs is None and not manifest.undo_db
    fmt = FileFormat(
        "wav",
        "pcm" if exact else "float",
        source.bits if exact else 32,
        source.channels,
        source.sample_rate,
    )
    with ExitStack() as stack:
        readers = [stack.enter_context(MixReader(stem)) for stem in stems]
        writer = stack.enter_context(StemWriter(path, fmt))
        for start in range(0, source.frames, BLOCK_FRAMES):
            frames = min(BLOCK_FRAMES, source.frames - start)
            total = np.zeros((source.channels, frames))
            for reader in readers:
                total += reader.read(frames).double
            block = total * undo
            writer.write(block if exact else block.astype(np.float32))
