"""The model card: what a prior was made for, from what, and how to check it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from presets import STEM_PATTERN

from .bands import BandPlan
from .spectrogram import FrontEnd

CARD_SCHEMA = 1
PERCENTS = (1, 5, 25, 50, 75, 95, 99)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FrontEndCard(_Section):
    """The view of the mix that the prior knows."""

    sample_rate: int = Field(ge=8000, le=192000)
    hop: int = Field(ge=16, le=65536)
    edges_hz: tuple[float, ...] = Field(min_length=3, max_length=4097)

    def front_end(self) -> FrontEnd:
        """The transform itself."""
        return FrontEnd(self.sample_rate, self.hop, BandPlan(self.edges_hz))


class Source(_Section):
    """One body of training recordings."""

    name: str
    origin: str = "unknown"
    licence: str = "unknown"
    credit: str = ""
    files: int = Field(ge=0)
    minutes: float = Field(ge=0)


class ModelCard(_Section):
    """Everything about a prior that is not its weights."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: int = CARD_SCHEMA
    stem: str = Field(pattern=STEM_PATTERN)
    labels: tuple[Annotated[str, Field(pattern=STEM_PATTERN)], ...] = Field(
        default=(),
        description="instruments of a conditional flow, in the order of the graphs' `label`",
    )
    description: str = ""
    licence: str = "unknown"
    front_end: FrontEndCard
    compression: float = Field(gt=0, le=1)
    flow: dict[str, int]
    parameters: int = Field(gt=0)
    training: dict[str, Any]
    sources: tuple[Source, ...]
    other_sources: tuple[Source, ...] = Field(
        default=(),
        alias="others",  # its name in bundles
        description="recordings, or samples of priors, that leaked into the contrast or were in "
        "the sums that head and encoder learned from",
    )
    validation: dict[str, Any]
    percentiles: tuple[float, ...] = Field(
        default=(),
        description="`Prior.log_likelihood` of held-out excerpts of training, at PERCENTS",
    )
    percentiles_of_labels: dict[str, tuple[float, ...]] = Field(
        default={}, description="the same for every label, where there are labels"
    )
    encoder_sha256: str | None = Field(
        default=None, description="the encoder whose features `head.onnx` reads"
    )
    against: tuple[str, ...] = Field(
        default=(), description="stems that the head tells apart; it stands for all others"
    )
    made_with: dict[str, str]
    files: dict[str, str] = Field(description="sha256 of every other file in the bundle")
    tolerance: float = Field(gt=0, description="largest relative error of the self-test")

    def to_dict(self) -> dict[str, Any]:
        """The card with the keys of the file in a bundle."""
        return self.model_dump(mode="json", by_alias=True)
