"""Where the stems of a preset come from: splits by separators, voices, search in the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .recipe import RESIDUAL, Node, Piece, Split, is_last, parent_of, pieces_of, problem_of
from .search import SearchSettings
from .stems import StemSpec
from .voices import VoicesSettings


@dataclass(frozen=True)
class StemSources:
    """The sections of a preset that say where stems come from, and what follows from them."""

    stems: Mapping[str, StemSpec]
    residual_into: str | None
    recipe: Node | None
    voices: VoicesSettings | None
    search: SearchSettings

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
        if self.residual_into:
            return self.residual_into
        named = [p for p in self.pieces if p.is_leaf and p.is_rest and is_last(p, self.pieces)]
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
            parent = parent_of(piece, self.pieces)
            node = parent.node if parent else self.tree
            assert node and node.split
            names = ((piece.node.card,) if piece.node.card else node.split.names) + names
            piece = parent
        return tuple(dict.fromkeys((*names, *guide)))

    def problem(self) -> str | None:
        """Why the stems cannot come from there, beginning with the key at fault; None if they
        can."""
        return self._split_problem() or self._voices_problem()

    def _split_problem(self) -> str | None:
        """Why separators and a search cannot give the stems."""
        own = [name for name, spec in self.stems.items() if spec.separator]
        if self.recipe is not None:
            if own:
                return f"recipe: says where stems come from; {own[0]} has a separator besides"
            if problem := problem_of(self.recipe):
                return f"recipe.{problem}"
        if self.search.rest == "unknown" and not self.searched:
            return "search.rest: unknown, but no stem is found by a prior of its own"
        if self.tree is None:
            if self.search.inside:
                return (
                    "search.inside: no stem has a separator and there is no recipe to look inside"
                )
            return None
        leaves = [piece.name for piece in self.pieces if piece.is_leaf]
        if self.search.inside and self.search.inside not in leaves:
            outputs = ", ".join(leaves)
            return f"search.inside: {self.search.inside} is none of what comes out: {outputs}"
        if self.search.inside and not self.searched:
            return f"search.inside: no stem is left to be searched inside {self.search.inside}"
        shared_out = self.search.output != "raw" and self.search.rest != "unknown"
        if len(self.searched) == 1 and shared_out:
            one = self.searched[0]
            return (
                f"search: {one} alone would be given all of {self.inside}, because masks sum to "
                "one; name a second stem there, such as other, or set rest: unknown"
            )
        return None

    def _voices_problem(self) -> str | None:
        """Why the voices cannot be taken apart."""
        voices = self.voices
        if voices is None:
            return None
        for part in voices.parts:
            if self.stems[part].prior or self.stems[part].separator:
                return f"voices.parts: {part} has a prior or separator; call the voice otherwise"
            if any(piece.name == part for piece in self.pieces):
                return f"voices.parts: {part} comes out of the recipe already; call it otherwise"
        besides = [name for name in self.stems if name not in voices.parts]
        if voices.of is None:
            if not besides and self.tree is None:
                return None
            listed = ", ".join(besides) or "the recipe"
            return (
                f"voices: of is missing; besides the voices there are {listed}: which is taken "
                "apart?"
            )
        if voices.of not in besides:
            return f"voices.of: no stem '{voices.of}' among {', '.join(besides) or 'none'}"
        if voices.of == self.remainder:
            return f"voices.of: {voices.of} is what the others leave; name a stem that is found"
        return None


def leaves_in(recipe: Any) -> list[str]:  # noqa: ANN401
    """Names of the leaves of a recipe that is not checked yet, without the residual."""
    if recipe is None:
        return []
    try:
        pieces = pieces_of(recipe if isinstance(recipe, Node) else Node.model_validate(recipe))
        return [p.name for p in pieces if p.is_leaf and p.name != RESIDUAL]
    except ValueError:  # it is told in full when the preset is checked
        return []


def parts_in(voices: Any) -> list[str]:  # noqa: ANN401
    """The parts of a section that is not checked yet."""
    if isinstance(voices, VoicesSettings):
        return list(voices.parts)
    parts = voices.get("parts") if isinstance(voices, dict) else None
    return [p for p in parts if isinstance(p, str)] if isinstance(parts, list | tuple) else []
