"""What all sections of a preset share: the strict frozen base, and how names are spelt."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

STEM_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"
BUNDLE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"  # of a prior, a pack, a network
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # of a preset, a card
StemName = Annotated[str, Field(pattern=STEM_PATTERN)]
CardName = Annotated[str, Field(pattern=NAME_PATTERN)]


class Section(BaseModel):
    """One section of a preset: frozen, and a key that it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
