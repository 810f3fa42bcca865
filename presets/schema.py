"""The preset: one frozen class tree that says what a genre wants done to a mix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from .effects import Chain, Effect, Parallel
from .hashing import sha256_of
from .naming import Naming
from .output import LoudnessSettings, OutputSettings, Overflow
from .recipe import RESIDUAL, Node
from .search import SearchSettings
from .section import BUNDLE_PATTERN, NAME_PATTERN, Section, StemName
from .sources import StemSources, leaves_in, parts_in
from .stems import ResidualSpec, StemSpec
from .voices import VoicesSettings


class Preset(Section):
    """A genre: stems and their chains, the search, and how the result is written."""

    name: str = Field(pattern=NAME_PATTERN, description="the file's name if left out")
    title: str = Field(default="", description="for people")
    description: str = Field(default="", description="for people, too")
    priors: str = Field(
        default="",
        pattern=f"^$|{BUNDLE_PATTERN}",
        description="artist pack that the priors of all stems come from, by its name",
    )
    stems: dict[StemName, StemSpec] = Field(min_length=1, max_length=32)
    residual: ResidualSpec = ResidualSpec()
    recipe: Node | None = Field(
        default=None, description="a tree of splits by separators of one's own"
    )
    voices: VoicesSettings | None = Field(
        default=None, description="takes what sings apart into its parts"
    )
    search: SearchSettings = SearchSettings()
    sum_chain: Chain = Field(
        default=(), description="prints a further file: the wet sum through this chain"
    )
    tail_seconds: float = Field(
        default=0, ge=0, le=60, description="room for reverb and echo after the mix has ended"
    )
    loudness: LoudnessSettings = LoudnessSettings()
    overflow: Overflow = Field(
        default="float32", description="what to do when a stem goes above 0 dBFS"
    )
    on_plugin_error: Literal["fail", "bypass"] = Field(
        default="fail", description="a plug-in that fails: fail the mix, or render without it"
    )
    plugin_timeout_s: float = Field(
        default=30, ge=0.5, le=600, description="longest silence of a plug-in before it is ended"
    )
    naming: Naming = Naming()
    output: OutputSettings = OutputSettings()

    @model_validator(mode="before")
    @classmethod
    def _prior_is_named_like_its_stem(cls, data: Any) -> Any:  # noqa: ANN401
        if not isinstance(data, dict):
            return data
        search = data.get("search")
        inside = search.get("inside") if isinstance(search, dict) else None
        # what is searched is not kept: the stems found in it are
        elsewhere = [name for name in leaves_in(data.get("recipe")) if name != inside]
        elsewhere += parts_in(data.get("voices"))
        stems = data.get("stems", {} if elsewhere else None)
        if not isinstance(stems, dict):
            return data
        stems = {**stems, **{name: {} for name in elsewhere if name not in stems}}
        pack = f"{data['priors']}/" if data.get("priors") else ""
        named = {
            key: {"prior": f"{pack}{key}", **spec}
            if isinstance(spec, dict) and key not in elsewhere and not spec.get("separator")
            else spec
            for key, spec in stems.items()
        }
        return {**data, "stems": named}

    @model_validator(mode="after")
    def _residual_has_a_place(self) -> Preset:
        if RESIDUAL in self.stems:
            raise ValueError("'residual' is the remainder's own name; call the stem otherwise")
        if self.residual.into is not None and self.residual.into not in self.stems:
            known = ", ".join(self.stems)
            raise ValueError(f"residual.into: no stem '{self.residual.into}' among {known}")
        return self

    @model_validator(mode="after")
    def _every_stem_has_a_source(self) -> Preset:
        if problem := self.sources.problem():
            raise ValueError(problem)
        return self

    @property
    def sources(self) -> StemSources:
        """Where the stems come from."""
        return StemSources(self.stems, self.residual.into, self.recipe, self.voices, self.search)

    @property
    def has_wet(self) -> bool:
        """Whether anything makes the wet files differ from the dry ones."""
        specs: list[StemSpec | ResidualSpec] = [*self.stems.values(), self.residual]
        changed = any(spec.chain or spec.gain_db for spec in specs)
        loudness = self.loudness
        asked = loudness.target_lufs is not None or loudness.true_peak_ceiling_dbtp is not None
        return bool(changed or self.sum_chain or asked)

    def chains(self) -> dict[str, Chain]:
        """Every chain by the path at which it stands in the preset."""
        stems = {f"stems.{name}.chain": spec.chain for name, spec in self.stems.items()}
        return {**stems, "residual.chain": self.residual.chain, "sum_chain": self.sum_chain}

    def steps(self) -> Iterator[tuple[str, Effect]]:
        """Every step of every chain with its path, those inside `parallel` too."""
        for path, chain in self.chains().items():
            yield from _walk(path, chain)

    def digest(self) -> str:
        """sha256 of everything that can change a sample or a name of the result.

        Files that the preset names count by their contents, so that the digest is the same
        on every machine; title and description do not count, nor do a page and a session,
        which change no sample.
        """
        canonical = self.model_dump(
            mode="json",
            exclude={
                "title": True,
                "description": True,
                "priors": True,  # every stem says which prior it has
                "output": {"report", "session"},
            },
        )
        if self.voices is None:  # presets without have the digest that they had before
            del canonical["voices"]
        if self.search.rest is None:
            del canonical["search"]["rest"]
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
        for file in sorted({file for _, step in self.steps() for file in step.files}):
            content = sha256_of(Path(file))
            text = text.replace(json.dumps(file), json.dumps(content))
        return hashlib.sha256(text.encode()).hexdigest()


def _walk(path: str, chain: Chain) -> Iterator[tuple[str, Effect]]:
    for index, step in enumerate(chain):
        here = f"{path}[{index}]"
        yield here, step
        if isinstance(step, Parallel):
            for branch, inner in enumerate(step.parallel):
                yield from _walk(f"{here}.parallel[{branch}]", inner)
