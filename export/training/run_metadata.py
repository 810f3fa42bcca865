"""`run.json` in a run's folder: what the card of its bundle will say besides the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine import FrontEndCard, Source
from presets import StemwrightError

from .flow_training import TrainSettings

FILE = "run.json"


class RunMetadata(BaseModel):
    """What is known of a run; a run of heads alone knows what else it heard, and no more."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants", populate_by_name=True)

    stem: str = ""
    labels: tuple[str, ...] = ()
    front_end: FrontEndCard | None = None
    sources: tuple[Source, ...] = ()
    steps: int = 0
    seed: int = 0
    other_sources: tuple[Source, ...] = Field(default=(), alias="others")  # its name in the file
    validation: dict[str, Any] = {}  # for the card, which says whatever was measured
    percentiles: tuple[float, ...] = ()
    percentiles_of_labels: dict[str, tuple[float, ...]] = {}

    def write(self, folder: Path) -> None:
        """Leave it in the run's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(self.model_dump_json(indent=1, by_alias=True), encoding="utf-8")


def read_metadata(folder: Path) -> RunMetadata:
    """What a run left; raises StemwrightError where there is none, and where it is damaged."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
        return RunMetadata.model_validate_json(text)
    except OSError as error:
        raise StemwrightError(
            "run-not-found",
            f"{folder}: no training run here ({FILE}: {error.strerror}). Train one with "
            "stemwright prior train.",
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise StemwrightError(
            "run-damaged",
            f"{folder / FILE} is not what a training writes: {_first_fault(error)}. Start the "
            "training again with the same --output: it goes on from its checkpoint and writes "
            "the file anew.",
        ) from error


def _first_fault(error: ValidationError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "no UTF-8"
    fault = error.errors()[0]
    return ": ".join([*(str(part) for part in fault["loc"]), fault["msg"]])


def write_metadata(
    folder: Path,
    stem: str,
    front_end: FrontEndCard,
    sources: Sequence[Source],
    settings: TrainSettings,
    labels: Sequence[str] = (),
) -> None:
    """Leave what the card will say; other sources that are noted there stay."""
    RunMetadata(
        stem=stem,
        labels=tuple(labels),
        front_end=front_end,
        sources=tuple(sources),
        steps=settings.steps,
        seed=settings.seed,
        other_sources=_noted(folder).other_sources,
    ).write(folder)


def add_other_sources(folder: Path, sources: Iterable[Source]) -> None:
    """Note what else a training heard besides its own instrument, each once."""
    metadata = _noted(folder)
    other_sources = tuple(dict.fromkeys([*metadata.other_sources, *sources]))
    metadata.model_copy(update={"other_sources": other_sources}).write(folder)


def add_measures(
    folder: Path,
    validation: Mapping[str, object],
    percentiles: Sequence[float] | None = None,
    of_labels: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Note what was measured on held-out songs, beside what had been; percentiles of the
    likelihood replace those that were there."""
    metadata = read_metadata(folder)
    changes: dict[str, object] = {"validation": metadata.validation | dict(validation)}
    if percentiles is not None:
        changes["percentiles"] = tuple(percentiles)
    if of_labels is not None:
        changes["percentiles_of_labels"] = {k: tuple(v) for k, v in of_labels.items()}
    metadata.model_copy(update=changes).write(folder)


def _noted(folder: Path) -> RunMetadata:
    return read_metadata(folder) if (folder / FILE).exists() else RunMetadata()
