"""The `recipe:` of a preset: a tree of splits by separators of one's own.

Every node is audio. A split takes it apart by one card or several; what the parts leave of it is
its rest, so that parts and rest are the node exactly and all leaves together the mix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .section import CardName, Section, StemName

MOST_DEPTH = 4
MOST_NODES = 64
REST = "rest"
RESIDUAL = "residual"
Combine = Literal["mean", "median-spec", "max-spec", "min-spec"]


class Split(Section):
    """How a node is taken apart."""

    card: CardName | None = Field(default=None, description="the separator")
    cards: tuple[CardName, ...] = Field(
        default=(), max_length=8, description="several: for an ensemble, or one for each output"
    )
    combine: Combine = Field(
        default="mean",
        description="how outputs that several cards give become one: the mean of the waveforms, "
        "or per bin that of the median, largest or smallest magnitude",
    )
    weights: dict[StemName, tuple[Annotated[float, Field(ge=0, le=100)], ...]] = Field(
        default={}, description="of every card's say in an output, in the order of `cards`"
    )
    out: dict[StemName, Node] = Field(
        min_length=1,
        max_length=16,
        description="the outputs that are taken, `keep` or a node; `rest` is what they leave",
    )

    @model_validator(mode="after")
    def _cards_are_named(self) -> Split:
        if (self.card is None) == (not self.cards):
            raise ValueError("card: name one card, or several under cards")
        if set(self.out) == {REST}:
            raise ValueError("out: takes nothing; name an output of the card besides the rest")
        for output, weights in self.weights.items():
            if len(weights) != len(self.names):
                raise ValueError(
                    f"weights: {output} has {len(weights)} for {len(self.names)} cards"
                )
            if not any(weights):
                raise ValueError(f"weights: {output}: all are zero")
        for name, node in self.out.items():
            if node.card is not None and node.card not in self.names:
                raise ValueError(f"out: {name}: {node.card} is none of {', '.join(self.names)}")
            if name == REST and (node.card or node.output):
                raise ValueError("out: rest: is what the outputs leave, so no card gives it")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All cards."""
        return self.cards or ((self.card,) if self.card else ())


class Node(Section):
    """A piece of audio: kept as a stem, or split further."""

    model_config = ConfigDict(populate_by_name=True)

    name: StemName | None = Field(
        default=None, alias="as", description="what it is called; the output's name if left out"
    )
    output: StemName | None = Field(
        default=None, description="which output of the card it is; its key in `out` if left out"
    )
    card: CardName | None = Field(
        default=None, description="the one of several cards that gives it"
    )
    split: Split | None = Field(default=None, description="takes it apart")

    @model_validator(mode="before")
    @classmethod
    def _keep_is_a_node(cls, data: Any) -> Any:  # noqa: ANN401
        return {} if data == "keep" else data


class Piece(BaseModel):
    """A node with its place in the tree: its own name, its parent's, and how deep it lies."""

    model_config = ConfigDict(frozen=True)

    name: str
    parent: str
    key: str
    depth: int
    node: Node

    @property
    def is_leaf(self) -> bool:
        """Whether it is kept."""
        return self.node.split is None

    @property
    def is_rest(self) -> bool:
        """Whether it is what its siblings leave."""
        return self.key == REST

    @property
    def output(self) -> str:
        """The output of its parent's cards that it is."""
        return self.node.output or self.key


def pieces_of(
    root: Node, name: str = "mix", depth: int = 0, *, last: bool = True
) -> Iterator[Piece]:
    """Everything below a node, parents first; rests that are not mentioned, too.

    `last` says that the node is the mix, or what is left of it: then its own rest is the residual.
    """
    split = root.split
    if split is None:
        return
    out = dict(split.out)
    out.setdefault(REST, Node())
    for key, node in out.items():
        is_last = last and key == REST
        rest = RESIDUAL if is_last and node.split is None else f"{name}-{REST}"
        own = node.name or (rest if key == REST else key)
        yield Piece(name=own, parent=name, key=key, depth=depth + 1, node=node)
        yield from pieces_of(node, own, depth + 1, last=is_last)


def is_last(piece: Piece, pieces: tuple[Piece, ...]) -> bool:
    """Whether a rest is what is left of the mix, and not of one of its parts."""
    parent = parent_of(piece, pieces)
    while parent is not None:
        if not parent.is_rest:
            return False
        parent = parent_of(parent, pieces)
    return True


def parent_of(piece: Piece, pieces: tuple[Piece, ...]) -> Piece | None:
    """The piece that was split into this one; None where that was the mix."""
    return next(
        (
            p
            for p in pieces
            if p.name == piece.parent and p.depth == piece.depth - 1 and not p.is_leaf
        ),
        None,
    )


def problem_of(root: Node) -> str | None:
    """Why a tree cannot be worked on, in a sentence; None when it can."""
    pieces = list(pieces_of(root))
    if root.split is None:
        return "split: is missing; a recipe begins with a split of the mix"
    if root.name or root.output or root.card:
        return "as: the whole of a recipe is the mix; only what it is split into has names"
    if max(piece.depth for piece in pieces) > MOST_DEPTH:
        return f"split: is more than {MOST_DEPTH} levels deep"
    if len(pieces) > MOST_NODES:
        return f"split: has {len(pieces)} nodes, {MOST_NODES} are allowed"
    for leaves in (True, False):  # a rest may be called as its node
        names = [piece.name for piece in pieces if piece.is_leaf == leaves]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            return f"split: {', '.join(twice)} comes out twice; call one otherwise with `as:`"
    return None


Split.model_rebuild()
