"""What a card's check has found, beside the card: without it a job does not trust the card."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from presets import StemwrightError

from .card import Normalise
from .loading import LoadedCard

_SAME_DB = 25.0  # so alike stems are the same for all purposes
Unchecked = Literal["refuse", "warn"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StemFindings(_Section):
    """How one stem came out of the check's music; None where it was silent."""

    gain: float | None
    lag: int | None
    energy_db: float | None
    shift_db: float | None
    centroid_hz: float | None
    low_share: float | None = None  # of its energy, below 120 Hz
    crest_db: float | None = None  # of its 10 ms, the loudest hundredth over the mean


class LevelFit(_Section):
    """How the network did at one level: how much its stems stay the same 3 dB softer and louder,
    and how far they are from the mix's own level; None where all were silent."""

    steady_db: float
    off_db: float | None


class LevelFindings(_Section):
    """Both values of `normalise`, and how alike the stems are with them (60 dB at most); `louder`
    is far above both, where it was tried."""

    alike_db: float
    none: LevelFit
    track_mean_std: LevelFit
    louder: LevelFit | None = None

    def of(self, normalise: Normalise) -> LevelFit:
        """What one value gave."""
        return self.none if normalise == "none" else self.track_mean_std

    @property
    def matters(self) -> bool:
        """Whether the values differ for any purpose."""
        return self.alike_db < _SAME_DB

    def summary(self, normalise: Normalise) -> str:
        """What one value gave, in words."""
        fit = self.of(normalise)
        if fit.off_db is None:
            return f"{normalise}: all silent"
        level = f"{fit.off_db:g} dB off the mix's level"
        return f"{normalise}: steady to {fit.steady_db:g} dB, {level}"


class Lock(_Section):
    """The result of `stemwright separator check`, tied to a card by its digest."""

    digest: str
    music: str
    program: dict[str, str]
    device: str
    threads: int
    seconds_per_minute: float
    peak_mib: float
    band_hz: float
    stems: dict[str, StemFindings]
    level: LevelFindings | None = None  # locks of earlier versions have none
    findings: tuple[str, ...]


def lock_path(card: Path) -> Path:
    """The lock of a card."""
    return card.with_suffix(".lock")


def read_lock(loaded: LoadedCard) -> Lock | None:
    """The card's lock; None where there is none, or it is of another state of card and files."""
    try:
        lock = Lock.model_validate_json(lock_path(loaded.path).read_bytes())
    except (OSError, ValidationError):
        return None
    return lock if lock.digest == loaded.digest else None


def write_lock(loaded: LoadedCard, lock: Lock) -> Path:
    """Write aside and rename."""
    path = lock_path(loaded.path)
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(lock.model_dump_json(indent=1) + "\n", encoding="utf-8")
    aside.replace(path)
    return path


def check_policy(
    loaded: LoadedCard, unchecked: Unchecked, *, commercial_only: bool
) -> tuple[str, ...]:
    """Refuse a card that may not be used here; returns what is to be said of one that may."""
    card = loaded.card
    if commercial_only and card.commercial != "yes":
        raise loaded.error(
            "separator-licence",
            ("commercial",) if "commercial" in card.model_fields_set else (),
            f"commercial use of {card.name} is {card.commercial} (licence: {card.licence[:80]}), "
            "and only separators that allow it may be used here. Ask whoever made the weights, "
            "and write `commercial: yes` when they allow it.",
        )
    if read_lock(loaded) is not None:
        return ()
    state = "has changed since its check" if lock_path(loaded.path).is_file() else "is not checked"
    sentence = f"separator {card.name} {state}"
    if unchecked == "refuse":
        raise StemwrightError(
            "separator-unchecked",
            f"{loaded.path}: {sentence}. A wrong card separates badly without an error: run "
            f"`stemwright separator check {loaded.path}` on music of yours first.",
        )
    return (sentence,)
