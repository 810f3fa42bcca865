"""Training data: checked recordings of one stem as band magnitudes.

A `Corpus` describes one stem's recordings and never mixes. What is drawn from it, and how, is said
in `sampling`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import soxr
from numpy.typing import NDArray

from engine import Source, cut_excerpts
from presets import StemwrightError

from .augmentation import PRODUCED, Production
from .recordings import (
    Origin,
    Origins,
    Recording,
    Refusal,
    find_recordings,
    read_recording,
    songs_of,
)

if TYPE_CHECKING:
    from engine import FrontEnd

Float = NDArray[np.float32]
Half = NDArray[np.float16]


@dataclass(frozen=True)
class Variant:
    """One way of playing a recording back: faster or slower, clean or overdriven."""

    semitones: float
    drive_db: float = 0.0


# Overdrive belongs to guitars and synths, and a little of it to everything; with a 22 dB one for
# every stem in the set, basses and drums were heard less well (docs/lab.md).
VARIANTS = (Variant(-5.0), Variant(-2.0, drive_db=10.0), Variant(0.0), Variant(5.0))
# of recordings of which one speed alone is there: semitones, magnitudes moved along the bands
SPEEDS = (-5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
PAUSE_DB = -60.0  # below the loudest frame: nothing is played
PAUSE_MARGIN_FRAMES = 12  # shorter gaps belong to the playing and stay
ACTIVE_DB = -30.0  # below the loudest block: not counted in a recording's level
LEVEL_BLOCK = 2048


@dataclass(frozen=True)
class Clip:
    """One recording at one speed: magnitudes (frames, bands) of all its frames in order, with the
    level of the playing normalised to RMS 1, and which frames hold `playing`, (frames,).

    `content` names the audio by its sha256, and the variant. A clip that is `alone`, with no other
    speed of its recording beside it, is drawn at `SPEEDS`.
    """

    song: str
    source: str
    magnitudes: Half
    playing: NDArray[np.bool_]
    content: str = ""
    semitones: float = 0.0
    alone: bool = False

    @property
    def active(self) -> Half:
        """The frames that hold playing."""
        return self.magnitudes[self.playing]

    @property
    def pauses(self) -> Half:
        """The frames that do not."""
        return self.magnitudes[~self.playing]

    def cut(self, share: float) -> tuple[Clip, Clip]:
        """Two clips, the first with this share of the playing."""
        active = np.flatnonzero(self.playing)
        wanted = round(len(active) * share)
        at = int(active[wanted]) if wanted < len(active) else len(self.playing)
        return (
            replace(self, magnitudes=self.magnitudes[:at], playing=self.playing[:at]),
            replace(self, magnitudes=self.magnitudes[at:], playing=self.playing[at:]),
        )


@dataclass(frozen=True)
class Corpus:
    """The recordings of one stem, and how they are to be drawn.

    `weights` multiplies how often a source is drawn, which otherwise grows with the root of
    its length: a large source must not drown the other timbres of a small one. Sources that are
    `finished` are stems of mixes and stay as they are; with `finish_takes`, for parts of mixes,
    takes are finished as stems are (`finishing`). The parts of one song in sources that are
    `in_step` sound together. Besides its clips, `held_out` recordings were
    found and kept for judging. `edges_hz` are those of the bands.

    Raises StemwrightError when there is no clip.
    """

    stem: str
    clips: Sequence[Clip]
    sources: Sequence[Source] = ()
    refused: Sequence[Refusal] = ()
    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    frame_s: float = 0.023
    production: Production = PRODUCED
    held_out: int = 0
    finished: Set[str] = frozenset()
    finish_takes: bool = False
    in_step: Set[str] = frozenset()
    edges_hz: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.clips:
            return
        reasons = "".join(f" {r.path.name}: {r.reason}." for r in self.refused[:3])
        reasons += f" Kept for judging: {self.held_out}." if self.held_out else ""
        raise StemwrightError(
            "no-recordings",
            f"No recording of {self.stem} can be used.{reasons} Give it some minutes of audio "
            "that hold this instrument alone.",
        )

    @property
    def bands(self) -> int:
        """Bands of every frame."""
        return int(self.clips[0].magnitudes.shape[1])

    @cached_property
    def digest(self) -> str:
        """A short name of all that decides what is drawn and what is split off."""
        rows = sorted(
            f"{clip.content} {clip.song} {clip.source} {self.weights.get(clip.source, 1.0)}"
            + " finished" * (clip.source in self.finished)
            + " in step" * (clip.source in self.in_step)
            for clip in self.clips
        )
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]

    def split(self, validation: float = 0.1) -> tuple[Corpus, Corpus]:
        """Training and validation songs, chosen by a hash of the song's name.

        A song falls on the same side in every stem's corpus. Where that leaves a side empty
        (few recordings), the last part of every recording is held out instead.
        """
        held = [_held_out(clip.song, validation) for clip in self.clips]
        if all(held) or not any(held):
            pairs = [clip.cut(1 - validation) for clip in self.clips]
            train, valid = ([pair[side] for pair in pairs] for side in (0, 1))
        else:
            train = [c for c, out in zip(self.clips, held, strict=True) if not out]
            valid = [c for c, out in zip(self.clips, held, strict=True) if out]
        valid = [clip for clip in valid if clip.playing.any()]
        return replace(self, clips=tuple(train)), replace(self, clips=tuple(valid))

    def as_stems(self) -> Corpus:
        """The same recordings as parts of mixes."""
        return replace(self, finish_takes=True)

    def excerpts(self, frames: int, most: int = 500) -> list[Float]:
        """What is played, as a quality report hears a stem: at the usual level, without pauses,
        gain or treatment; (1, frames, bands) each, `most` at most, evenly spread."""
        cut = [cut_excerpts(clip.active.astype(np.float32), frames) for clip in self.clips]
        pieces = [piece for found in cut for piece in found]
        at = np.linspace(0, len(pieces) - 1, min(len(pieces), most)).round().astype(int)
        return [pieces[index] for index in at]


def load_corpus(
    stem: str,
    places: Sequence[Path],
    front_end: FrontEnd,
    *,
    variants: Sequence[Variant] = VARIANTS,
    catalogue: Path | None = None,
    cache: Path | None = None,
) -> Corpus:
    """Read files and folders of one stem, every file in all `variants`.

    The `catalogue` of a recipe goes before the folders' own `SOURCES.yaml`. Magnitudes are kept
    in `cache` by content and front end, so that a second run starts at once.
    """
    origins, paths = Origins(catalogue), find_recordings(places)
    songs = songs_of(paths, stem)
    heard = {path: origin for path in paths if not (origin := origins.of(path)).held_out}
    clips: list[Clip] = []
    refused: list[Refusal] = []
    used: list[tuple[Origin, float]] = []
    for path, origin in heard.items():
        found = read_recording(path, songs[path], origin)
        if isinstance(found, Refusal):
            refused.append(found)
        else:
            clips += [_clip(found, front_end, variant, cache) for variant in variants]
            used.append((found.origin, found.minutes))
    described = [origin for origin, _ in used]
    return Corpus(
        stem,
        tuple(clips),
        sources_of_origins(used),
        tuple(refused),
        {origin.name: origin.weight for origin in described},
        front_end.hop / front_end.sample_rate,
        held_out=len(paths) - len(heard),
        finished=frozenset(origin.name for origin in described if origin.finished),
        in_step=frozenset(origin.name for origin in described if origin.in_step),
        edges_hz=front_end.plan.edges_hz,
    )


def joined(corpora: Sequence[Corpus]) -> Corpus:
    """One corpus of several of the same stem, whose recordings come from different places."""
    first, *more = corpora
    if not more:
        return first
    weights: dict[str, float] = {}
    for corpus in corpora:
        weights |= corpus.weights
    return replace(
        first,
        clips=tuple(clip for corpus in corpora for clip in corpus.clips),
        sources=together([source for corpus in corpora for source in corpus.sources]),
        refused=tuple(refusal for corpus in corpora for refusal in corpus.refused),
        weights=weights,
        held_out=sum(corpus.held_out for corpus in corpora),
        finished=frozenset().union(*(corpus.finished for corpus in corpora)),
        in_step=frozenset().union(*(corpus.in_step for corpus in corpora)),
    )


def together(sources: Sequence[Source]) -> tuple[Source, ...]:
    """Each body of recordings once: where it is named twice, its files and minutes are added up,
    or counted once when all that is said of both is the same."""
    found: dict[str, Source] = {}
    for source in dict.fromkeys(sources):
        if (there := found.get(source.name)) is not None:
            source = there.model_copy(
                update={
                    "files": there.files + source.files,
                    "minutes": round(there.minutes + source.minutes, 2),
                }
            )
        found[source.name] = source
    return tuple(found.values())


def _clip(recording: Recording, front_end: FrontEnd, variant: Variant, cache: Path | None) -> Clip:
    """Magnitudes of one variant of a recording, from the cache where it has them."""
    key = hashlib.sha256(recording.audio.tobytes())
    key.update(f"{recording.sample_rate}/".encode())
    content = f"{key.hexdigest()} {variant}"
    if cache is None:
        magnitudes = magnitudes_of(recording, front_end, variant)
    else:
        key.update(f"{front_end.digest()}/{variant}".encode())
        stored = cache / f"{key.hexdigest()}.npy"
        if not stored.exists():
            cache.mkdir(parents=True, exist_ok=True)
            # a name of this process alone: two trainings may share a cache
            aside = stored.with_suffix(f".{os.getpid()}.part.npy")
            np.save(aside, magnitudes_of(recording, front_end, variant))
            aside.replace(stored)
        magnitudes = np.load(stored, allow_pickle=False)
    playing = frames_of_playing(magnitudes)
    return Clip(
        recording.song, recording.origin.name, magnitudes, playing, content, variant.semitones
    )


def magnitudes_of(recording: Recording, front_end: FrontEnd, variant: Variant) -> Half:
    """Band magnitudes (frames, bands) of a variant: pitch and tempo move together."""
    audio = recording.audio / _active_rms(recording.audio)
    if variant.drive_db:
        audio = np.tanh(np.float32(10 ** (variant.drive_db / 20)) * audio)
        audio /= _active_rms(audio)
    if variant.semitones:
        audio = soxr.resample(audio, 2 ** (variant.semitones / 12), 1.0)
    view: Float = front_end.magnitudes(audio[None].astype(np.float32), recording.sample_rate)
    return view.astype(np.float16)


def _active_rms(audio: Float) -> float:
    """Level of the blocks within ACTIVE_DB of the loudest one."""
    size = min(LEVEL_BLOCK, audio.size)
    power = (audio[: audio.size // size * size].reshape(-1, size) ** 2).mean(axis=1)
    return float(np.sqrt(power[power >= power.max() * 10 ** (ACTIVE_DB / 10)].mean()))


def frames_of_playing(magnitudes: Half) -> NDArray[np.bool_]:
    """Frames that hold playing or lie between frames that do, shape (frames,)."""
    power = (magnitudes.astype(np.float32) ** 2).sum(axis=1)
    loud = (power > power.max() * 10 ** (PAUSE_DB / 10)).astype(np.float32)
    spread = np.ones(2 * PAUSE_MARGIN_FRAMES + 1, np.float32)
    # "full" and a cut, because "same" returns the longer of the two
    near = np.convolve(loud, spread)[PAUSE_MARGIN_FRAMES : PAUSE_MARGIN_FRAMES + loud.size]
    return near > 0.5


def _held_out(song: str, validation: float) -> bool:
    digest = hashlib.sha256(song.encode()).digest()
    return int.from_bytes(digest[:8], "big") < validation * 2**64


def sources_of_origins(used: Sequence[tuple[Origin, float]]) -> tuple[Source, ...]:
    """The data card's rows: files and minutes per origin."""
    rows = []
    for origin in dict.fromkeys(origin for origin, _ in used):
        minutes = [m for o, m in used if o == origin]
        described = origin.model_dump(exclude={"weight", "held_out", "finished", "in_step"})
        rows.append(Source(**described, files=len(minutes), minutes=round(sum(minutes), 2)))
    return tuple(rows)
