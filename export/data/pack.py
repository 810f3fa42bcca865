"""A corpus as one file: band magnitudes in logarithmic steps of 8 bits, compressed.

Training needs nothing of a recording but its magnitudes, so that one file and the program are all
that a rented machine has to be sent. Two and a half hours of music take some 24 MiB and come back
32 dB above what the steps leave out (docs/lab.md). File names, songs, origins and licences are
kept: cards say the same whether a run heard folders or a pack, and songs stay in step.

A pack is a zip of `pack.json` and one member for each recording, no pickle.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine import FrontEndCard
from presets import StemwrightError

from .corpus import Clip, Corpus, Variant, frames_of_playing, magnitudes_of, sources_of_origins
from .recordings import (
    Origin,
    Origins,
    Recording,
    Refusal,
    find_recordings,
    read_recording,
    songs_of,
)

Codes = NDArray[np.uint8]
Half = NDArray[np.float16]

SUFFIX = ".pack"
STEP_DB = 0.75
FLOOR_DB = -80.0  # against the recording's largest magnitude; what is below is silence
_CARD = "pack.json"


class Packed(BaseModel):
    """One recording: of which part and song, from which file and origin, and how it is stored."""

    model_config = ConfigDict(frozen=True)

    part: str
    file: str
    song: str
    origin: Origin
    minutes: float
    frames: int = Field(gt=0)
    peak: float = Field(gt=0)
    member: str


class TrainingPackCard(BaseModel):
    """What a pack holds. `held_out` recordings of each part were found and not packed."""

    model_config = ConfigDict(frozen=True)

    front_end: FrontEndCard
    step_db: float = Field(gt=0)
    floor_db: float
    recordings: tuple[Packed, ...]
    held_out: dict[str, int] = {}

    @property
    def parts(self) -> tuple[str, ...]:
        """The instruments."""
        return tuple(dict.fromkeys(each.part for each in self.recordings))


def write_pack(
    places: Mapping[str, Sequence[Path]],
    out: Path,
    view: FrontEndCard,
    catalogue: Path | None = None,
    step_db: float = STEP_DB,
) -> Iterator[str]:
    """Pack the recordings of each part, yielding lines for the terminal.

    Raises StemwrightError when none of them can be used.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_suffix(".part")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_LZMA) as archive:
        writer = _PackWriter(archive, view, Origins(catalogue), step_db)
        for part, folders in places.items():
            yield from writer.add(part, folders)
        card = writer.close()
    if not card.recordings:
        aside.unlink()
        raise StemwrightError(
            "no-recordings", "None of the recordings can be packed. Name folders of audio files."
        )
    aside.replace(out)
    yield from _summary(card)
    hours = sum(each.minutes for each in card.recordings) / 60
    yield f"{out}: {hours:.2f} hours in {out.stat().st_size / 2**20:.1f} MiB"


class _PackWriter:
    """A writer of an archive: recordings, and last the card that names them."""

    def __init__(
        self, archive: zipfile.ZipFile, view: FrontEndCard, origins: Origins, step_db: float
    ) -> None:
        self._archive, self._view, self._origins = archive, view, origins
        self._front_end, self._step_db = view.front_end(), step_db
        self._packed: list[Packed] = []
        self._held_out: dict[str, int] = {}

    def add(self, part: str, folders: Sequence[Path]) -> Iterator[str]:
        """Pack the recordings of a part, yielding what is left out and why."""
        paths = find_recordings(folders)
        songs = songs_of(paths, part)
        for path in paths:
            origin = self._origins.of(path)
            if origin.held_out:
                self._held_out[part] = self._held_out.get(part, 0) + 1
                continue
            found = read_recording(path, songs[path], origin)
            if isinstance(found, Refusal):
                yield f"left out: {path.name}: {found.reason}"
            else:
                self._packed.append(self._pack(part, found))

    def _pack(self, part: str, recording: Recording) -> Packed:
        magnitudes = magnitudes_of(recording, self._front_end, Variant(0.0))
        codes, peak = quantised(magnitudes, self._step_db)
        member = f"{len(self._packed):05d}"
        self._archive.writestr(member, _unlike(codes))
        return Packed(
            part=part,
            file=recording.path.name,
            song=recording.song,
            origin=recording.origin,
            minutes=round(recording.minutes, 4),
            frames=len(codes),
            peak=peak,
            member=member,
        )

    def close(self) -> TrainingPackCard:
        """Write the card."""
        card = TrainingPackCard(
            front_end=self._view,
            step_db=self._step_db,
            floor_db=FLOOR_DB,
            recordings=tuple(self._packed),
            held_out=self._held_out,
        )
        self._archive.writestr(_CARD, json.dumps(card.model_dump(mode="json")))
        return card


def _summary(card: TrainingPackCard) -> Iterator[str]:
    for part in card.parts:
        mine = [each for each in card.recordings if each.part == part]
        minutes = sum(each.minutes for each in mine)
        kept = f"; kept for judging: {card.held_out[part]}" if part in card.held_out else ""
        yield f"{part}: {len(mine)} recordings, {minutes:.1f} minutes{kept}"


def read_pack(path: Path) -> TrainingPackCard:
    """What a pack says it holds; raises StemwrightError when it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return TrainingPackCard.model_validate_json(archive.read(_CARD))
    except (OSError, KeyError, zipfile.BadZipFile, ValidationError) as error:
        raise StemwrightError(
            "pack-unreadable",
            f"{path} is no pack of recordings: {error}. Make one with stemwright prior pack.",
        ) from error


def packed_corpus(path: Path, stem: str, view: FrontEndCard) -> Corpus:
    """The recordings of one part of a pack.

    Raises StemwrightError when there is no such part, or the pack was made for another view.
    """
    card = read_pack(path)
    if card.front_end != view:
        raise StemwrightError(
            "pack-view-differs",
            f"{path} holds magnitudes of another spectrogram than this training looks at. Pack "
            "the recordings again, or train with the size that they were packed for.",
        )
    mine = [each for each in card.recordings if each.part == stem]
    if not mine:
        raise StemwrightError(
            "pack-part-missing",
            f"{path} holds {', '.join(card.parts)}, no {stem}. Name one of these, or pack "
            f"recordings of {stem}.",
        )
    with zipfile.ZipFile(path) as archive:
        clips = [_clip(archive, card, each) for each in mine]
    origins = list(dict.fromkeys(each.origin for each in mine))
    return Corpus(
        stem,
        tuple(clips),
        sources_of_origins([(each.origin, each.minutes) for each in mine]),
        weights={origin.name: origin.weight for origin in origins},
        frame_s=view.hop / view.sample_rate,
        held_out=card.held_out.get(stem, 0),
        finished=frozenset(origin.name for origin in origins if origin.finished),
        in_step=frozenset(origin.name for origin in origins if origin.in_step),
        edges_hz=tuple(view.edges_hz),
    )


def quantised(magnitudes: Half, step_db: float) -> tuple[Codes, float]:
    """Codes (frames, bands) and the largest magnitude: code c > 0 stands for
    peak * 10^((FLOOR_DB + (c - 1) step_db) / 20), 0 for silence."""
    wide = magnitudes.astype(np.float32)
    peak = max(float(wide.max()), 1e-12)
    level_db = 20 * np.log10(np.maximum(wide / peak, 1e-9))
    codes = np.clip(np.rint((level_db - FLOOR_DB) / step_db) + 1, 1, 255)
    return np.where(level_db < FLOOR_DB, 0, codes).astype(np.uint8), peak


def restored(codes: Codes, peak: float, step_db: float, floor_db: float = FLOOR_DB) -> Half:
    """The magnitudes that codes stand for."""
    table = peak * 10 ** ((floor_db + (np.arange(256) - 1) * step_db) / 20)
    table[0] = 0
    return np.minimum(table, 6e4).astype(np.float16)[codes]  # no code of a recording is so loud


def _clip(archive: zipfile.ZipFile, card: TrainingPackCard, recording: Packed) -> Clip:
    blob = archive.read(recording.member)
    bands = len(card.front_end.edges_hz) - 1
    codes = np.cumsum(
        np.frombuffer(blob, np.uint8).reshape(bands, recording.frames), axis=1, dtype=np.uint8
    ).T
    magnitudes = restored(codes, recording.peak, card.step_db, card.floor_db)
    return Clip(
        recording.song,
        recording.origin.name,
        magnitudes,
        frames_of_playing(magnitudes),
        f"{hashlib.sha256(blob).hexdigest()} packed",
        alone=True,
    )


def _unlike(codes: Codes) -> bytes:
    """Steps from frame to frame, band by band: what compresses best."""
    return np.diff(codes.T, axis=1, prepend=np.uint8(0)).astype(np.uint8).tobytes()
