"""The preset: one frozen class tree that says what a genre wants done to a mix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .effects import Chain, Convolution, Effect, Parallel, Plugin
from .file_names import FORBIDDEN
from .recipe import CARD_PATTERN, RESIDUAL, Node, Piece, Split, pieces_of, problem_of
from .search import SearchSettings
from .voices import VoicesSettings

NAME_FIELDS = ("title", "stem", "artist", "isrc", "rate", "depth", "preset", "rev")
NAME_FORMS = ("initials", "short", "k")
StemName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StemSpec(_Section):
    """One stem: which prior finds it, and what its wet file goes through."""

    prior: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(/[a-z][a-z0-9_-]{0,31})?$",
        description="prior bundle, by its name, or PACK/STEM of an artist pack; the stem's own "
        "name if left out",
    )
    separator: str = Field(
        default="",
        pattern=f"^$|{CARD_PATTERN}",
        description="card of a separator of one's own that gives the stem, in place of a prior",
    )
    output: str = Field(
        default="",
        pattern=r"^$|^[a-z][a-z0-9_-]{0,31}$",
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


class ResidualSpec(_Section):
    """What no prior claims. It is a stem of its own, or part of one of the others."""

    into: StemName | None = Field(default=None, description="stem that takes up the residual")
    gain_db: float = Field(default=0, ge=-60, le=24, description="fader after the chain, wet only")
    chain: Chain = Field(default=(), description="what its wet file goes through")


class LoudnessSettings(_Section):
    """One gain for the whole wet set, from the loudness and true peak of its sum."""

    target_lufs: float | None = Field(
        default=None, ge=-50, le=-5, description="integrated loudness of the wet sum"
    )
    true_peak_ceiling_dbtp: float | None = Field(
        default=None, ge=-20, le=0, description="that no wet file nor their sum goes above"
    )


class Naming(_Section):
    """How the files are called."""

    template: str = Field(
        default="{title}_{stem}",
        max_length=120,
        description="made of " + " ".join("{%s}" % name for name in NAME_FIELDS),  # noqa: UP031
    )
    ascii: bool = Field(default=False, description="plain letters, digits, - and _ only")
    revision: int = Field(default=1, ge=0, le=9999, description="what {rev} stands for")

    @field_validator("template")
    @classmethod
    def _fields_are_known(cls, template: str) -> str:
        try:
            pieces = list(Formatter().parse(template))
        except ValueError as error:
            raise ValueError(f"is no template: {error}") from None
        for text, name, form, conversion in pieces:
            if FORBIDDEN.search(text):
                raise ValueError("names a file, so it has no folders and no special characters")
            if name is not None and (name not in NAME_FIELDS or conversion):
                raise ValueError(f"has {{{name}}}, but the fields are {', '.join(NAME_FIELDS)}")
            if form and form not in NAME_FORMS:
                raise ValueError(f"has ':{form}', but the forms are {', '.join(NAME_FORMS)}")
        if "stem" not in {name for _, name, _, _ in pieces}:
            raise ValueError("needs {stem}, or all stems would have the same name")
        return template


class OutputSettings(_Section):
    """Container and depth of what is written; `source` is as the mix was."""

    format: Literal["source", "wav", "aiff", "flac"] = Field(
        default="source", description="container; lossy mixes become WAV"
    )
    depth: Literal["source", 8, 16, 24, 32, "float32", "float64"] = Field(
        default="source", description="bits; 24 for lossy mixes"
    )
    dither: Literal["tpdf", "none"] = Field(
        default="none", description="for wet files with fewer bits than the processing has"
    )
    report: Literal["none", "light", "standard", "full"] = Field(
        default="none", description="a page to listen to the set, with previews of that quality"
    )
    session: Literal["none", "dawproject", "reaper"] = Field(
        default="none", description="a DAW session of the set"
    )

    @model_validator(mode="after")
    def _container_holds_depth(self) -> OutputSettings:
        if self.format == "flac" and self.depth not in ("source", 8, 16, 24):
            raise ValueError(f"flac holds 8, 16 or 24 bits, not {self.depth}; use wav")
        return self


class Preset(_Section):
    """A genre: stems and their chains, the search, and how the result is written."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="the file's name if left out"
    )
    title: str = Field(default="", description="for people")
    description: str = Field(default="", description="for people, too")
    priors: str = Field(
        default="",
        pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
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
    overflow: Literal["float32", "common-gain", "fail"] = Field(
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
        elsewhere = [name for name in _leaves_in(data.get("recipe")) if name != inside]
        elsewhere += _parts_in(data.get("voices"))
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
        if problem := _source_problem(self) or _voices_problem(self):
            raise ValueError(problem)
        return self

    @property
    def tree(self) -> Node | None:
        """The splits by separators; None where all stems are searched in the whole mix."""
        if self.recipe is not None:
            return self.recipe
        taken = {name: spec for name, spec in self.stems.items() if spec.separator}
        if not taken:
            return None
        cards = tuple(dict.fromkeys(spec.separator for spec in taken.values()))
        out = {
            name: Node(output=spec.output or name, card=spec.separator)
            for name, spec in taken.items()
        }
        inside = self.search.inside
        if inside and inside not in (RESIDUAL, *taken):  # an output that is searched, not kept
            out[inside] = Node(output=inside, card=cards[0])
        return Node(split=Split(cards=cards, out=out))

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Everything that the splits give."""
        return tuple(pieces_of(self.tree)) if self.tree else ()

    @property
    def inside(self) -> str:
        """The piece that own priors are searched in; empty for the whole mix, or for none."""
        if self.tree is None or not self.searched:
            return ""
        return self.search.inside or RESIDUAL

    @property
    def searched(self) -> tuple[str, ...]:
        """Stems that are found by their own priors."""
        elsewhere = set(self.parts)
        if self.tree is not None:
            inside = self.search.inside or RESIDUAL
            elsewhere |= {p.name for p in self.pieces if p.is_leaf and p.name != inside}
        return tuple(name for name in self.stems if name not in elsewhere)

    @property
    def parts(self) -> tuple[str, ...]:
        """Stems that are voices with pitches of their own."""
        return self.voices.parts if self.voices else ()

    @property
    def remainder(self) -> str:
        """The file that takes up what the others leave of the mix: the last rest, or another."""
        if self.residual.into:
            return self.residual.into
        named = [p for p in self.pieces if p.is_leaf and p.is_rest and _is_last(p, self.pieces)]
        return named[0].name if named and named[0].name != self.inside else RESIDUAL

    @property
    def cards(self) -> tuple[str, ...]:
        """Every separator that the work needs, in the order in which they are asked."""
        splits = [self.tree, *(piece.node for piece in self.pieces)] if self.tree else []
        names = [name for node in splits if node and node.split for name in node.split.names]
        guide = (self.search.guide,) if self.search.guide else ()
        return tuple(dict.fromkeys((*names, *guide)))

    def cards_of(self, stem: str) -> tuple[str, ...]:
        """Every separator that a stem owes something to: those on its way from the mix, first to
        last, and the one that guides its search."""
        if stem in self.parts:
            of = self.voices.of if self.voices else None
            return self.cards_of(of) if of else ()
        searched = stem in self.searched
        guide = (self.search.guide,) if searched and self.search.guide else ()
        name = self.inside if searched else stem
        piece = next((p for p in self.pieces if p.is_leaf and p.name == name), None)
        names: tuple[str, ...] = ()
        while piece is not None:
            parent = _parent(piece, self.pieces)
            node = parent.node if parent else self.tree
            assert node and node.split
            names = ((piece.node.card,) if piece.node.card else node.split.names) + names
            piece = parent
        return tuple(dict.fromkeys((*names, *guide)))

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
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
        for file in sorted({file for _, step in self.steps() for file in files_of(step)}):
            content = hashlib.sha256(Path(file).read_bytes()).hexdigest()
            text = text.replace(json.dumps(file), json.dumps(content))
        return hashlib.sha256(text.encode()).hexdigest()


def _leaves_in(recipe: Any) -> list[str]:  # noqa: ANN401
    """Names of the leaves of a recipe that is not checked yet, without the residual."""
    if recipe is None:
        return []
    try:
        pieces = pieces_of(recipe if isinstance(recipe, Node) else Node.model_validate(recipe))
        return [p.name for p in pieces if p.is_leaf and p.name != RESIDUAL]
    except ValueError:  # it is told in full when the preset is checked
        return []


def _parts_in(voices: Any) -> list[str]:  # noqa: ANN401
    """The parts of a section that is not checked yet."""
    if isinstance(voices, VoicesSettings):
        return list(voices.parts)
    parts = voices.get("parts") if isinstance(voices, dict) else None
    return [p for p in parts if isinstance(p, str)] if isinstance(parts, list | tuple) else []


def _is_last(piece: Piece, pieces: tuple[Piece, ...]) -> bool:
    """Whether a rest is what is left of the mix, and not of one of its parts."""
    parent = _parent(piece, pieces)
    while parent is not None:
        if not parent.is_rest:
            return False
        parent = _parent(parent, pieces)
    return True


def _parent(piece: Piece, pieces: tuple[Piece, ...]) -> Piece | None:
    """The piece that was split into this one; None where that was the mix."""
    return next(
        (
            p
            for p in pieces
            if p.name == piece.parent and p.depth == piece.depth - 1 and not p.is_leaf
        ),
        None,
    )


def _source_problem(preset: Preset) -> str | None:
    """Why the stems cannot come from where the preset says, beginning with the key at fault."""
    own = [name for name, spec in preset.stems.items() if spec.separator]
    if preset.recipe is not None:
        if own:
            return f"recipe: says where stems come from; {own[0]} has a separator besides"
        if problem := problem_of(preset.recipe):
            return f"recipe.{problem}"
    if preset.tree is None:
        if preset.search.inside:
            return "search.inside: no stem has a separator and there is no recipe to look inside"
        return None
    leaves = [piece.name for piece in preset.pieces if piece.is_leaf]
    if preset.search.inside and preset.search.inside not in leaves:
        outputs = ", ".join(leaves)
        return f"search.inside: {preset.search.inside} is none of what comes out: {outputs}"
    if preset.search.inside and not preset.searched:
        return f"search.inside: no stem is left to be searched inside {preset.search.inside}"
    if len(preset.searched) == 1 and preset.search.output != "raw":
        one = preset.searched[0]
        return (
            f"search: {one} alone would be given all of {preset.inside}, because masks sum to "
            "one; name a second stem there, such as other, or set output: raw"
        )
    return None


def _voices_problem(preset: Preset) -> str | None:
    """Why the voices cannot come from where the preset says."""
    voices = preset.voices
    if voices is None:
        return None
    for part in voices.parts:
        if preset.stems[part].prior or preset.stems[part].separator:
            return f"voices.parts: {part} has a prior or separator; call the voice otherwise"
        if any(piece.name == part for piece in preset.pieces):
            return f"voices.parts: {part} comes out of the recipe already; call it otherwise"
    besides = [name for name in preset.stems if name not in voices.parts]
    if voices.of is None:
        if not besides and preset.tree is None:
            return None
        listed = ", ".join(besides) or "the recipe"
        return (
            f"voices: of is missing; besides the voices there are {listed}: which is taken apart?"
        )
    if voices.of not in besides:
        return f"voices.of: no stem '{voices.of}' among {', '.join(besides) or 'none'}"
    if voices.of == preset.remainder:
        return f"voices.of: {voices.of} is what the others leave; name a stem that is found"
    return None


def files_of(step: Effect) -> tuple[str, ...]:
    """The files that a step reads: impulse responses and plug-in states."""
    if isinstance(step, Convolution):
        return (step.impulse_response_filename,)
    if isinstance(step, Plugin) and step.state:
        return (step.state,)
    return ()


def _walk(path: str, chain: Chain) -> Iterator[tuple[str, Effect]]:
    for index, step in enumerate(chain):
        here = f"{path}[{index}]"
        yield here, step
        if isinstance(step, Parallel):
            for branch, inner in enumerate(step.parallel):
                yield from _walk(f"{here}.parallel[{branch}]", inner)
