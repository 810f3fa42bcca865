"""What a preset says of each stem and of the residual: the `stems:` and `residual:` sections."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .effects import Chain
from .section import NAME_PATTERN, STEM_PATTERN, Section, StemName


class StemSpec(Section):
    """One stem: which prior finds it, and what its wet file goes through."""

    prior: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(/[a-z][a-z0-9_-]{0,31})?$",
        description="prior bundle, by its name, or PACK/STEM of an artist pack; the stem's own "
        "name if left out",
    )
    separator: str = Field(
        default="",
        pattern=f"^$|{NAME_PATTERN}",
        description="card of a separator of one's own that gives the stem, in place of a prior",
    )
    output: str = Field(
        default="",
        pattern=f"^$|{STEM_PATTERN}",
        description="which output of the separator, or of the search's guide, the stem is; the "
        "stem's own name if left out",
    )
    label: str = Field(
        default="",
        description="in a bundle with labels, which is meant; the stem's own name if left out",
    )
    gain_db: float = Field(default=0, ge=-60, le=24, description="fader after the chain, wet only")
    when_absent: Literal["silent", "omit"] = Field(
        default="silent", description="an instrument that does not play: silent file or no file"
    )
    chain: Chain = Field(default=(), description="what the wet file goes through")


class ResidualSpec(Section):
    """What no prior claims. It is a stem of its own, or part of one of the others."""

    into: StemName | None = Field(default=None, description="stem that takes up the residual")
    gain_db: float = Field(default=0, ge=-60, le=24, description="fader after the chain, wet only")
    chain: Chain = Field(default=(), description="what its wet file goes through")
