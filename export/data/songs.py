"""Songs with all their stems, as waveforms: what full supervision learns from.

Everywhere else here an instrument is heard alone. The separators of the literature learn from
mixes whose stems are known, which is why they have a data set of their own kind:
`FOLDER/<song>/<stem>.wav`, and the mix is the sum of the stems.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from engine import AUDIO_SUFFIXES
from presets import StemwrightError

Float = NDArray[np.float32]
Rng = np.random.Generator

MIXES = frozenset({"mix", "mixture"})
REST = "other"  # takes what has no stem of its own
_FULL = 32_767
_AHEAD = 3  # batches that are drawn while the last one is computed on


@dataclass(frozen=True)
class MultitrackSong:
    """One song: stems in 16 bits, (stems, channels, samples), to be multiplied by `scale`."""

    name: str
    audio: NDArray[np.int16]
    scale: float
    content: str = ""

    @property
    def samples(self) -> int:
        return int(self.audio.shape[2])


@dataclass(frozen=True)
class Remix:
    """How an excerpt is changed as it is drawn.

    Stems are multiplied by a gain of `gain`, turned over in half of the cases (`flip`), and put
    together anew within groups of `group` excerpts (1: every mix stays as its song has it). With
    `semitones` half of the groups are played faster or slower by up to so much.
    """

    gain: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    group: int = 1
    semitones: float = 0.0


AS_THEY_ARE = Remix()


class Songs:
    """Songs ready to draw excerpts from, all with the same stems, rate and channels."""

    def __init__(
        self, songs: Sequence[MultitrackSong], stems: Sequence[str], sample_rate: int
    ) -> None:
        if not songs:
            raise StemwrightError(
                "no-songs",
                "No song has all that is needed: expected FOLDER/<song>/<stem>.wav with stems "
                f"among {', '.join(stems)}. Give a folder of song folders.",
            )
        self.songs, self.stems, self.sample_rate = tuple(songs), tuple(stems), sample_rate
        lengths = np.array([song.samples for song in songs], np.float64)
        self._chances = lengths / lengths.sum()

    @property
    def minutes(self) -> float:
        """Length of all songs together."""
        return sum(song.samples for song in self.songs) / self.sample_rate / 60

    @property
    def digest(self) -> str:
        """A short name of all that can be drawn."""
        rows = [f"{song.name} {song.content}" for song in self.songs]
        content = f"{self.stems} {self.sample_rate} {rows}"
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def split(self, validation: float = 0.1) -> tuple[Songs, Songs]:
        """Training and validation songs: those whose names' hashes come first are held out."""
        if len(self.songs) < 2:
            raise StemwrightError(
                "songs-too-few",
                f"One song ({self.songs[0].name}) cannot be split into training and validation. "
                "Give at least two.",
            )
        order = sorted(self.songs, key=lambda s: hashlib.sha256(s.name.encode()).digest())
        count = max(1, round(validation * len(order)))
        return self._of(order[count:]), self._of(order[:count])

    def _of(self, songs: Iterable[MultitrackSong]) -> Songs:
        ordered = sorted(songs, key=lambda song: song.name)
        return Songs(ordered, self.stems, self.sample_rate)

    def sample(self, rng: Rng, batch: int, samples: int, remix: Remix = AS_THEY_ARE) -> Float:
        """Draw excerpts, shape (batch, stems, channels, samples)."""
        channels = self.songs[0].audio.shape[1]
        out = np.zeros((batch, len(self.stems), channels, samples), np.float32)
        for first in range(0, batch, remix.group):
            speed = 1.0
            if remix.semitones and rng.random() < 0.5:
                speed = 2 ** (rng.uniform(-remix.semitones, remix.semitones) / 12)
            for row in out[first : first + remix.group]:
                song = self.songs[rng.choice(len(self.songs), p=self._chances)]
                excerpt(rng, song, speed, row)
        gains = rng.uniform(*remix.gain, out.shape[:2]).astype(np.float32)
        if remix.flip:
            gains *= rng.choice(np.array([-1, 1], np.float32), out.shape[:2])
        out *= gains[:, :, None, None]
        return _regrouped(rng, out, remix.group)

    def parted(self, count: int) -> list[Songs]:
        """As many bodies of songs, which have no song in common."""
        if len(self.songs) < count:
            raise StemwrightError(
                "songs-too-few",
                f"{len(self.songs)} songs cannot be dealt out to {count} stems, one each. Give "
                f"at least {count}.",
            )
        return [self._of(self.songs[index::count]) for index in range(count)]

    def sample_pair(
        self, rng: Rng, stem: str, batch: int, samples: int, remix: Remix
    ) -> tuple[Float, Float]:
        """Draw mixes and one of their stems, both (batch, samples) with channels added, from
        the pairs (mix, stem) alone: what is not the stem is never taken apart."""
        drawn = self.sample(rng, batch, samples, replace(remix, gain=(1, 1), flip=False, group=1))
        index = self.stems.index(stem)
        rest = np.delete(drawn, index, axis=1).sum(axis=1)
        pair = np.stack([drawn[:, index], rest], axis=1)
        pair *= rng.uniform(*remix.gain, (batch, 2, 1, 1)).astype(np.float32)
        dealt = _regrouped(rng, pair, remix.group).sum(axis=2)
        return dealt.sum(axis=1), dealt[:, 0]

    def sample_stem(self, rng: Rng, stem: str, batch: int, samples: int) -> Float:
        """Draw excerpts of one stem alone, channels added: (batch, samples)."""
        index, out = self.stems.index(stem), np.zeros((batch, samples), np.float32)
        for row in out:
            song = self.songs[rng.choice(len(self.songs), p=self._chances)]
            start = int(rng.integers(max(song.samples - samples, 0) + 1))
            read = song.audio[index, :, start : start + samples].sum(axis=0, dtype=np.float32)
            row[: read.size] = read * np.float32(song.scale)
        return out


def excerpt(rng: Rng, song: MultitrackSong, speed: float, row: Float) -> None:
    """Write an excerpt of a song, played at `speed`, into a row (stems, channels, samples)."""
    needed = int(np.ceil(row.shape[2] * speed)) + 1
    start = int(rng.integers(max(song.samples - needed, 0) + 1))
    read = song.audio[:, :, start : start + needed].astype(np.float32) * np.float32(song.scale)
    if speed == 1.0:
        row[:, :, : read.shape[2]] = read[:, :, : row.shape[2]]
        return
    at = np.arange(row.shape[2]) * speed
    at = at[at < read.shape[2] - 1]
    before = at.astype(np.int64)
    share = (at - before).astype(np.float32)
    row[:, :, : at.size] = read[:, :, before] * (1 - share) + read[:, :, before + 1] * share


def _regrouped(rng: Rng, drawn: Float, group: int) -> Float:
    """Deal every stem out anew among the excerpts of its group."""
    if group == 1:
        return drawn
    out = np.empty_like(drawn)
    for first in range(0, len(drawn), group):
        rows = np.arange(first, min(first + group, len(drawn)))
        for stem in range(drawn.shape[1]):
            out[rows, stem] = drawn[rng.permutation(rows), stem]
    return out


def read_songs(
    folders: Sequence[Path], stems: Sequence[str], sample_rate: int, channels: int = 1
) -> Songs:
    """Read `FOLDER/<song>/<stem>.wav` (or .flac, .ogg ...), at the rate and channels wanted.

    A file whose name is no stem is part of `other`, if that is a stem; a stem without a file is
    silent. Raises StemwrightError where a file cannot be read or has no place.
    """
    found = [song for folder in folders for song in _song_folders(folder)]
    songs = [_read_song(folder, stems, sample_rate, channels) for folder in found]
    return Songs([song for song in songs if song is not None], stems, sample_rate)


def _song_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise StemwrightError(
            "songs-missing", f"{folder} is not a folder. Give one that holds a folder per song."
        )
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    return inside or [folder]


def _read_song(
    folder: Path, stems: Sequence[str], sample_rate: int, channels: int
) -> MultitrackSong | None:
    parts: dict[str, list[Float]] = {stem: [] for stem in stems}
    hashed = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in AUDIO_SUFFIXES):
        if path.stem in MIXES:
            continue
        stem = path.stem if path.stem in parts else REST
        if stem not in parts:
            raise StemwrightError(
                "stem-without-place",
                f"{path}: {path.stem} is none of the stems {', '.join(stems)}, and there is no "
                f"{REST} that could take it. Name it among the stems or take the file away.",
            )
        parts[stem].append(_read_part(path, sample_rate, channels))
        hashed.update(path.read_bytes())
    read = [part for own in parts.values() for part in own]
    if not read:
        return None
    audio = np.zeros((len(stems), channels, max(part.shape[1] for part in read)), np.float32)
    for index, own in enumerate(parts.values()):
        for part in own:
            audio[index, :, : part.shape[1]] += part
    scale = max(float(np.abs(audio).max()), 1e-6) / _FULL
    stored = np.round(audio / np.float32(scale)).astype(np.int16)
    return MultitrackSong(folder.name, stored, scale, hashed.hexdigest()[:16])


def _read_part(path: Path, sample_rate: int, channels: int) -> Float:
    """One file as (channels, samples)."""
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise StemwrightError(
            "recording-unreadable", f"{path}: {error}. Replace the file or take it away."
        ) from error
    if not np.isfinite(audio).all():
        raise StemwrightError(
            "recording-damaged",
            f"{path}: it holds samples that are not numbers. Replace the file or take it away.",
        )
    if channels == 1:
        audio = audio.mean(axis=1, keepdims=True)
    elif audio.shape[1] == 1:
        audio = np.repeat(audio, channels, axis=1)
    if rate != sample_rate:
        audio = soxr.resample(audio, rate, sample_rate)
    return np.ascontiguousarray(audio[:, :channels].T, np.float32)


class Prefetched:
    """Batches by the number of their step, drawn ahead in threads of their own."""

    def __init__(self, draw: Callable[[int], Float]) -> None:
        self._draw = draw
        self._pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="draw")
        self._next = -1
        self._coming: deque[Future[Float]] = deque()

    def __call__(self, step: int) -> Float:
        """The batch of a step; the following ones are begun."""
        if step != self._next:
            self._coming.clear()
        while len(self._coming) <= _AHEAD:
            self._coming.append(self._pool.submit(self._draw, step + len(self._coming)))
        self._next = step + 1
        return self._coming.popleft().result()
