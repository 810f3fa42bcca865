"""How hard and in which way the latents are searched: the `search:` section of a preset."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field

from .choices import Tier
from .errors import StemwrightError
from .section import NAME_PATTERN, STEM_PATTERN, Section

Rest = Literal["named", "unknown"]

# Everything a tier fixes. Results depend on these numbers and never on the clock. The first three
# take what the estimate says, each dearer than the one before and better (docs/quality.md); on
# instruments that it knows, flows add nothing to it. The last one searches them all the same.
_NO_FLOWS: dict[str, float] = {"steps": 0, "guided_steps": 0, "flow_weight": 0.0}
TIERS: dict[str, dict[str, float]] = {
    "draft": {**_NO_FLOWS, "song_weight": 0.0, "second_look": 0.0},
    "standard": {**_NO_FLOWS, "song_weight": 0.5, "second_look": 0.0},
    "best": {**_NO_FLOWS, "song_weight": 0.5, "second_look": 0.3},
    "search": {
        "steps": 100,
        "guided_steps": 30,
        "flow_weight": 0.7,
        "song_weight": 0.5,
        "second_look": 0.0,
    },
}
OF_FLOWS = tuple(_NO_FLOWS)  # other values than a tier's make another search of it
# Whoever states one of these has a search in mind.
_OF_A_SEARCH = (
    *OF_FLOWS,
    *(
        "start",
        "learning_rate",
        "prior_weight",
        "guide_weight",
        "exact_gradient",
        "output",
        "guide",
    ),
)
DEFAULTS: dict[str, Any] = {
    "start": "zero",
    "learning_rate": 0.01,
    "prior_weight": 0.0,
    "guide_weight": 1.0,
    "exact_gradient": False,
    "output": "masks",
    "mask_power": 1.0,
    "spatial": True,
    "inside": None,
    "guide": None,
    "rest": "named",
}


@dataclass(frozen=True, kw_only=True)
class ResolvedSearch:
    """One search with every value stated; fields stand in the order that manifests keep."""

    start: Literal["zero", "estimate"]
    learning_rate: float
    prior_weight: float
    guide_weight: float
    exact_gradient: bool
    output: Literal["masks", "raw"]
    mask_power: float
    song_weight: float
    second_look: float
    spatial: bool
    inside: str | None
    guide: str | None
    steps: int
    guided_steps: int
    flow_weight: float
    method: Literal["gradient", "finite-difference"]
    tier: Tier | None  # None where values of its own make another search of it
    rest: Rest

    def as_json(self) -> dict[str, object]:
        """What manifests and keys of work hold; a rest that is unknown alone, so that work
        without one has the keys that it had before."""
        return {k: v for k, v in asdict(self).items() if (k, v) != ("rest", "named")}


class SearchSettings(Section):
    """One search; every field left out takes the value of its tier."""

    tier: Tier | None = Field(
        default=None,
        description="standard if left out, search where a value of a search is stated",
    )
    method: Literal["gradient", "finite-difference"] = Field(
        default="gradient",
        description="finite-difference needs no gradient graph, is slow, and is marked degraded",
    )
    start: Literal["zero", "estimate"] | None = Field(
        default=None, description="z = 0 (the paper's start) or the latents of a first estimate"
    )
    steps: int | None = Field(default=None, ge=0, le=2000, description="Adam steps per segment")
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    prior_weight: float | None = Field(
        default=None, ge=0, le=10, description="weight of |z|^2/2: 0 is MLE, above 0 is MAP"
    )
    guided_steps: int | None = Field(
        default=None, ge=0, le=2000, description="steps that draw flows to the first estimate"
    )
    guide_weight: float | None = Field(
        default=None, gt=0, le=100, description="how much the guided steps heed the estimate"
    )
    exact_gradient: bool | None = Field(
        default=None, description="the other stems of this step, not of the last; a third slower"
    )
    output: Literal["masks", "raw"] | None = Field(
        default=None, description="masks on the mix, or the flows' own magnitudes (the paper)"
    )
    mask_power: float | None = Field(default=None, ge=0.1, le=4)
    flow_weight: float | None = Field(
        default=None, ge=0, le=1, description="share of the flows in the masks; 0 is estimate only"
    )
    song_weight: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the song's own spectra in the masks; 0 leaves them as they are",
    )
    second_look: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of what the estimate says of each stem alone, once they are found",
    )
    spatial: bool | None = Field(
        default=None, description="heed where each stem stands between left and right"
    )

    inside: str | None = Field(
        default=None,
        pattern=STEM_PATTERN,
        description="what of the separators' outputs the search takes for its mix; the rest of "
        "the first split if left out",
    )
    guide: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        description="card of a separator whose stems are the first estimate",
    )
    rest: Rest | None = Field(
        default=None,
        description="named: the stems are all that plays; unknown: more plays than they, and it "
        "is left to the residual",
    )

    @property
    def named(self) -> Tier:
        """The tier that gives what is left out: `search` where a value of a search is stated,
        for a flow that is moved must have a say."""
        stated = (getattr(self, name) for name in _OF_A_SEARCH)
        if any(value not in (None, 0) for value in stated) or self.method != "gradient":
            return "search"
        return self.tier or "standard"

    def resolved(self, tier: str | None = None) -> ResolvedSearch:
        """State every value: what is stated here, else the tier's, else the default.

        `tier` replaces this one's own, and is refused where a value stated here would make
        another search of it. In the result `tier` is None where this one's own values do so.
        """
        named = tier or self.named
        stated = self.model_dump(exclude={"tier"}, exclude_none=True)
        fixed = TIERS[named]
        other = [name for name in OF_FLOWS if stated.get(name, fixed[name]) != fixed[name]]
        if tier and other:
            conflict = ", ".join(
                f"{name} {stated[name]} (of {tier}: {fixed[name]})" for name in other
            )
            raise StemwrightError(
                "preset-tier",
                f"tier {tier} was asked for, but the preset's search states {conflict}. Leave the "
                "tier out, or take a preset without these values.",
            )
        values = DEFAULTS | fixed | stated | {"tier": None if other else named}
        return ResolvedSearch(**values)
