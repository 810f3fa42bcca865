"""What a preset says of voices: the `voices:` section."""

from __future__ import annotations

from pydantic import Field, model_validator

from .choices import PitchSource
from .section import BUNDLE_PATTERN, Section, StemName

MOST_PARTS = 8


class VoicesSettings(Section):
    """How singers, or strings, are taken apart into parts whose pitches are known."""

    parts: tuple[StemName, ...] = Field(
        min_length=1,
        max_length=MOST_PARTS,
        description="the voices, from the highest down; each becomes a stem",
    )
    of: StemName | None = Field(
        default=None,
        description="the stem that is taken apart, and not kept; the whole mix if left out",
    )
    network: str = Field(
        default="choir",
        pattern=BUNDLE_PATTERN,
        description="bundle of the source-filter network",
    )
    pitches: PitchSource = Field(
        default="auto",
        description="where pitches come from; auto: a MIDI file, a table of pitches, else the "
        "tracker; score: a MIDI file, which is waited for",
    )
    fit_minutes: float = Field(
        default=0, ge=0, le=240, description="fit the network to every recording, needs torch"
    )

    @model_validator(mode="after")
    def _parts_differ(self) -> VoicesSettings:
        if twice := sorted({name for name in self.parts if self.parts.count(name) > 1}):
            raise ValueError(f"parts: {', '.join(twice)} twice; number them: {twice[0]}1, ...")
        if self.of in self.parts:
            raise ValueError(f"of: {self.of} is one of the parts that it is taken apart into")
        return self
