"""Isolated recordings on disk: found, checked, and with their origin and licence on record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import soundfile
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from engine import AUDIO_SUFFIXES
from presets import StemwrightError

Float = NDArray[np.float32]

SHORTEST_S = 0.2
SILENT_PEAK = 1e-4  # -80 dBFS
CLIPPED_SHARE = 0.01
CLIPPED_RUN = 4  # equal samples at full scale: a sine's crest has two or three


class Origin(BaseModel):
    """One entry of a `SOURCES.yaml`.

    `weight` multiplies how often the source is drawn; what is `held_out` is never trained on,
    neither for validation: it is kept for judging. What is `finished` are stems of mixes, not
    takes: they are mixed already. Recordings `in_step` are parts of whole songs: those of one
    song, in several instruments' folders, begin and sound together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    origin: str = "unknown"
    licence: str = "unknown"
    credit: str = ""
    weight: float = Field(default=1.0, gt=0)
    held_out: bool = False
    finished: bool = False
    in_step: bool = False


@dataclass(frozen=True)
class Recording:
    """One checked file: mono audio (samples,) and what is known about it."""

    path: Path
    song: str
    origin: Origin
    audio: Float
    sample_rate: int

    @property
    def minutes(self) -> float:
        return self.audio.size / self.sample_rate / 60


@dataclass(frozen=True)
class Refusal:
    """A file that training leaves out, and why."""

    path: Path
    reason: str


def find_recordings(places: Iterable[Path]) -> list[Path]:
    """All audio files among files and, recursively, in folders; sorted, each once."""
    found: set[Path] = set()
    for place in places:
        if place.is_dir():
            found.update(p for p in place.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
        elif place.is_file():
            found.add(place)
        else:
            raise StemwrightError(
                "recordings-missing", f"{place} is not there. Name files or folders of recordings."
            )
    return sorted(found)


def read_recording(path: Path, song: str, origin: Origin) -> Recording | Refusal:
    """Decode a file to mono and check it; what cannot be used is told, never raised."""
    try:
        audio, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        return Refusal(path, f"unreadable: {error}")
    if reason := _fault(audio, sample_rate):
        return Refusal(path, reason)
    mono = audio.mean(axis=1)
    if np.abs(mono).max() < SILENT_PEAK:
        return Refusal(path, "silent in mono: the channels cancel each other")
    return Recording(path, song, origin, mono, sample_rate)


def songs_of(paths: Sequence[Path], stem: str) -> dict[Path, str]:
    """The song that each file belongs to, the unit of the split into training and validation.

    `songs/Blue/bass.wav` is the bass of Blue; `bass/take_07.wav` is a song of its own, the same
    one as `drums/take_07.wav`. So a folder is a song when its files are called like the stem, or
    by a name that is found in more folders than the folder has files: `songs/*/vocals.wav` are as
    many songs whatever the stem is called, and guitar/ and piano/ with the same fifty songs are
    no songs themselves.
    """
    files = Counter(path.parent for path in paths)
    folders = Counter(name for _, name in {(path.parent, path.stem) for path in paths})

    def is_part(path: Path) -> bool:
        return path.stem.lower() == stem or folders[path.stem] > files[path.parent]

    return {path: path.parent.name if is_part(path) else path.stem for path in paths}


class Origins:
    """A look-up of where files come from.

    The catalogue given by name comes first, then the folder's own `SOURCES.yaml`: patterns of
    file names, first match wins. A folder with just a `LICENSE` lends its first line. Whatever
    nobody declared is recorded as unknown.
    """

    def __init__(self, catalogue: Path | None = None) -> None:
        self._catalogue = _patterns(catalogue) if catalogue else ()
        self._folders: dict[Path, tuple[tuple[str, Origin], ...]] = {}

    def of(self, path: Path) -> Origin:
        """The entry of the first pattern that matches the end of the path."""
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = _declared(folder)
        for pattern, origin in (*self._catalogue, *self._folders[folder]):
            if PurePath(path).match(pattern):
                return origin
        return Origin(name=folder.name)


def _declared(folder: Path) -> tuple[tuple[str, Origin], ...]:
    sources, licence = folder / "SOURCES.yaml", folder / "LICENSE"
    if sources.is_file():
        return _patterns(sources)
    if licence.is_file():
        lines = licence.read_text(encoding="utf-8", errors="replace").split("\n")
        first = next((line.strip() for line in lines if line.strip()), "unknown")
        return (("*", Origin(name=folder.name, licence=first)),)
    return ()


def _patterns(path: Path) -> tuple[tuple[str, Origin], ...]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return tuple(TypeAdapter(dict[str, Origin]).validate_python(content).items())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise StemwrightError(
            "sources-invalid",
            f"{path} cannot be used: {error}. It holds one entry per file-name pattern, e.g. "
            '"take_*": {name: my takes, licence: CC0-1.0}.',
        ) from error


def _fault(audio: Float, sample_rate: int) -> str | None:
    """Why a decoded file (samples, channels) is of no use, or nothing."""
    if len(audio) < SHORTEST_S * sample_rate:
        return f"too short: {len(audio) / sample_rate:.2f} s, at least {SHORTEST_S} s are needed"
    if not np.isfinite(audio).all():
        return "damaged: it holds samples that are not numbers"
    if np.abs(audio).max() < SILENT_PEAK:
        return "silent: no sample above -80 dBFS"
    share = clipped_share(audio)
    if share > CLIPPED_SHARE:
        return f"clipped: {100 * share:.0f} % of the samples stand flat at the peak"
    return None


def clipped_share(audio: Float) -> float:
    """Share of the samples (samples, channels) in runs of CLIPPED_RUN equal peak values."""
    at_peak = np.abs(audio) >= 0.9999 * np.abs(audio).max()
    runs = np.lib.stride_tricks.sliding_window_view(at_peak, CLIPPED_RUN, axis=0).all(axis=-1)
    return float(runs.mean())
