"""Training data: checked recordings of one stem as band magnitudes, augmented as they are drawn.

A `Corpus` holds one stem and never mixes; only `Interference` adds recordings up, and only the
contrastive term asks it. The likelihood term therefore never sees two stems.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence, Set
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr
from numpy.typing import NDArray

from engine import Source, cut_excerpts
from presets import StemwrightError

from .augmentation import LAYER_DB, PRODUCED, Production
from .finishing import finish
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
Rng = np.random.Generator


@dataclass(frozen=True)
class Variant:
    """One way of playing a recording back: faster or slower, clean or overdriven."""

    semitones: float
    drive_db: float = 0.0


# Overdrive belongs to guitars and synths, and a little of it to everything; with a 22 dB one for
# every stem in the set, basses and drums were heard less well (docs/lab.md).
VARIANTS = (Variant(-5.0), Variant(-2.0, drive_db=10.0), Variant(0.0), Variant(5.0))
SILENCE_SHARE = 0.05
LONGEST_GAP_FRAMES = 30
PAUSE_DB = -60.0  # below the loudest frame: nothing is played
PAUSE_MARGIN_FRAMES = 12  # shorter gaps belong to the playing and stay
ACTIVE_DB = -30.0  # below the loudest block: not counted in a recording's level
LEVEL_BLOCK = 2048


@dataclass(frozen=True)
class Clip:
    """One recording at one speed: magnitudes of its active and its silent frames.

    Shape: both (frames, bands), with the level of the playing normalised to RMS 1.
    `content` names the audio by its sha256, and the variant.
    """

    song: str
    source: str
    active: Half
    pauses: Half
    content: str = ""


class Corpus:
    """The recordings of one stem, ready to draw batches from.

    `weights` multiplies how often a source is drawn, which otherwise grows with the root of
    its length: a large source must not drown the other timbres of a small one. Sources that are
    `finished` are stems of mixes (`as_stems`). Besides its clips, `held_out` recordings were
    found and kept for judging.
    """

    def __init__(
        self,
        stem: str,
        clips: Sequence[Clip],
        sources: Sequence[Source] = (),
        refused: Sequence[Refusal] = (),
        weights: Mapping[str, float] | None = None,
        frame_s: float = 0.023,
        production: Production = PRODUCED,
        held_out: int = 0,
        finished: Set[str] = frozenset(),
        as_stems: bool = False,
    ) -> None:
        if not clips:
            reasons = "".join(f" {r.path.name}: {r.reason}." for r in refused[:3])
            reasons += f" Kept for judging: {held_out}." if held_out else ""
            raise StemwrightError(
                "no-recordings",
                f"No recording of {stem} can be used.{reasons} Give it some minutes of audio "
                "that hold this instrument alone.",
            )
        self.stem, self.clips = stem, tuple(clips)
        self.sources, self.refused = tuple(sources), tuple(refused)
        self.weights, self.held_out = dict(weights or {}), held_out
        self.finished, self._as_stems = finished, as_stems
        self._frame_s, self._production = frame_s, production
        self._groups: dict[str, list[Clip]] = {}
        for clip in self.clips:
            self._groups.setdefault(clip.source, []).append(clip)
        frames = {n: np.array([len(c.active) for c in g]) for n, g in self._groups.items()}
        share = np.array([self.weights.get(n, 1.0) * np.sqrt(f.sum()) for n, f in frames.items()])
        self._share = share / share.sum()
        self._chances = {name: f / f.sum() for name, f in frames.items()}
        self._pauses = [clip.pauses for clip in self.clips if len(clip.pauses)]

    @property
    def bands(self) -> int:
        """Bands of every frame."""
        return int(self.clips[0].active.shape[1])

    @property
    def digest(self) -> str:
        """A short name of all that decides what is drawn and what is split off."""
        rows = sorted(
            f"{clip.content} {clip.song} {clip.source} {self.weights.get(clip.source, 1.0)}"
            + " finished" * (clip.source in self.finished)
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
            cuts = [round(len(clip.active) * (1 - validation)) for clip in self.clips]
            train = [
                replace(c, active=c.active[:n]) for c, n in zip(self.clips, cuts, strict=True)
            ]
            valid = [
                replace(c, active=c.active[n:]) for c, n in zip(self.clips, cuts, strict=True)
            ]
        else:
            train = [c for c, out in zip(self.clips, held, strict=True) if not out]
            valid = [c for c, out in zip(self.clips, held, strict=True) if out]
        return self._with(train), self._with([c for c in valid if len(c.active)])

    def as_stems(self) -> Corpus:
        """The same recordings as parts of mixes: takes are finished as stems are
        (`export/finishing.py`), but for those that are stems already."""
        corpus = copy(self)
        corpus._as_stems = True
        return corpus

    def sample(self, rng: Rng, batch: int, frames: int) -> Float:
        """Draw augmented excerpts, shape (batch, frames, bands)."""
        out = np.zeros((batch, frames, self.bands), np.float32)
        for row in out:
            if rng.random() < SILENCE_SHARE:
                self._fill_with_pause(rng, row)
            else:
                source = self._fill_with_playing(rng, row)
                self._production.treat(rng, row, self._frame_s)
                if rng.random() < self._production.layer:
                    self._add_layer(rng, row)
                if self._as_stems and source not in self.finished:
                    finish(rng, row, self.stem)
        return out

    def excerpts(self, frames: int, most: int = 500) -> list[Float]:
        """What is played, as a quality report hears a stem: at the usual level, without pauses,
        gain or treatment; (1, frames, bands) each, `most` at most, evenly spread."""
        cut = [cut_excerpts(clip.active.astype(np.float32), frames) for clip in self.clips]
        pieces = [piece for found in cut for piece in found]
        at = np.linspace(0, len(pieces) - 1, min(len(pieces), most)).round().astype(int)
        return [pieces[index] for index in at]

    def _add_layer(self, rng: Rng, row: Float) -> None:
        """A second excerpt of the same stem: choirs, doubled guitars, percussion over a kit."""
        layer = np.zeros_like(row)
        self._fill_with_playing(rng, layer)
        self._production.treat(rng, layer, self._frame_s)
        layer *= np.float32(10 ** (rng.uniform(*LAYER_DB) / 20))
        np.sqrt(row**2 + layer**2, out=row)

    def _fill_with_playing(self, rng: Rng, row: Float) -> str:
        """Frames of one source, whose name is returned; short recordings follow each other with
        gaps between."""
        name = list(self._groups)[rng.choice(len(self._share), p=self._share)]
        clips, chances = self._groups[name], self._chances[name]
        at = 0
        while at < len(row):
            at += _copy_piece(rng, clips[rng.choice(len(clips), p=chances)].active, row[at:])
            at += int(rng.integers(0, LONGEST_GAP_FRAMES))
        return name

    def _fill_with_pause(self, rng: Rng, row: Float) -> None:
        """Leave digital silence, or half of the time what the recordings' pauses sound like."""
        if self._pauses and rng.random() < 0.5:
            _copy_piece(rng, self._pauses[rng.integers(len(self._pauses))], row)

    def _with(self, clips: Sequence[Clip]) -> Corpus:
        return Corpus(
            self.stem,
            clips,
            self.sources,
            self.refused,
            self.weights,
            self._frame_s,
            self._production,
            self.held_out,
            self.finished,
            self._as_stems,
        )


class Interference:
    """Random sums of one to three *other* stems' excerpts, for the contrastive term alone."""

    def __init__(self, own: str, others: Sequence[Corpus]) -> None:
        stems = [corpus.stem for corpus in others]
        if own in stems or not others:
            raise ValueError(f"interference for {own} needs other stems' corpora, got {stems}")
        self.corpora = tuple(others)

    def __call__(self, rng: Rng, batch: int, frames: int) -> Float:
        """Draw leaks of shape (batch, frames, bands): powers add, as of unrelated signals."""
        power = np.zeros((batch, frames, self.corpora[0].bands), np.float32)
        for row in power:
            count = rng.integers(1, min(3, len(self.corpora)) + 1)
            for index in rng.permutation(len(self.corpora))[:count]:
                row += self.corpora[index].sample(rng, 1, frames)[0] ** 2
        return np.sqrt(power)


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
    weights = {origin.name: origin.weight for origin, _ in used}
    frame_s = front_end.hop / front_end.sample_rate
    held_out = len(paths) - len(heard)
    finished = {origin.name for origin, _ in used if origin.finished}
    return Corpus(
        stem,
        clips,
        _sources(used),
        refused,
        weights,
        frame_s,
        held_out=held_out,
        finished=finished,
    )


def _clip(recording: Recording, front_end: FrontEnd, variant: Variant, cache: Path | None) -> Clip:
    """Magnitudes of one variant of a recording, from the cache where it has them."""
    key = hashlib.sha256(recording.audio.tobytes())
    key.update(f"{recording.sample_rate}/".encode())
    content = f"{key.hexdigest()} {variant}"
    if cache is None:
        magnitudes = _magnitudes(recording, front_end, variant)
    else:
        key.update(f"{front_end.digest()}/{variant}".encode())
        stored = cache / f"{key.hexdigest()}.npy"
        if not stored.exists():
            cache.mkdir(parents=True, exist_ok=True)
            # a name of this process alone: two trainings may share a cache
            aside = stored.with_suffix(f".{os.getpid()}.part.npy")
            np.save(aside, _magnitudes(recording, front_end, variant))
            aside.replace(stored)
        magnitudes = np.load(stored, allow_pickle=False)
    playing = _playing(magnitudes)
    return Clip(
        recording.song, recording.origin.name, magnitudes[playing], magnitudes[~playing], content
    )


def _magnitudes(recording: Recording, front_end: FrontEnd, variant: Variant) -> Half:
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


def _playing(magnitudes: Half) -> NDArray[np.bool_]:
    """Frames that hold playing or lie between frames that do, shape (frames,)."""
    power = (magnitudes.astype(np.float32) ** 2).sum(axis=1)
    loud = (power > power.max() * 10 ** (PAUSE_DB / 10)).astype(np.float32)
    spread = np.ones(2 * PAUSE_MARGIN_FRAMES + 1, np.float32)
    # "full" and a cut, because "same" returns the longer of the two
    near = np.convolve(loud, spread)[PAUSE_MARGIN_FRAMES : PAUSE_MARGIN_FRAMES + loud.size]
    return near > 0.5


def _copy_piece(rng: Rng, clip: Half, row: Float) -> int:
    """Copy a random piece of `clip` to the beginning of `row`; returns its frames."""
    start = int(rng.integers(0, max(0, len(clip) - len(row)) + 1))
    piece = clip[start : start + len(row)]
    row[: len(piece)] = piece
    return len(piece)


def _held_out(song: str, validation: float) -> bool:
    digest = hashlib.sha256(song.encode()).digest()
    return int.from_bytes(digest[:8], "big") < validation * 2**64


def _sources(used: Sequence[tuple[Origin, float]]) -> tuple[Source, ...]:
    """The data card's rows: files and minutes per origin."""
    rows = []
    for origin in dict.fromkeys(origin for origin, _ in used):
        minutes = [m for o, m in used if o == origin]
        about = origin.model_dump(exclude={"weight", "held_out", "finished"})
        rows.append(Source(**about, files=len(minutes), minutes=round(sum(minutes), 2)))
    return tuple(rows)
