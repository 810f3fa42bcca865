"""A tree of splits at work: at every node the parts and the rest are the node, to the last bit.

Parts are rounded to the mix's own grid and the rest is what they leave, in integers of that grid
(held as float64, which holds them exactly), so that all leaves sum to the mix whatever the models
do. What a node gives is kept as it is: full band, never squeezed through the priors' bands.
Separators run one after the other, each at most once for a node; what is done is not done again.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from presets import RESIDUAL, Node, Piece, Preset, Split, StemwrightError, suggestion

from ..audio.layout import ChannelGroups
from ..audio.raw_samples import RawSignal
from ..audio.reading import SourceInfo
from ..audio.resampling import resampled_frames
from ..audio.scratch import Sink, Stems, StemScratch, scratch_file
from ..audio.signal import PieceReader, Signal
from ..model.hooks import Interrupted, SearchHooks
from ..model.sessions import Device
from ..model.two_passes import Separation
from .ensemble import ensemble
from .estimating import CardSeparation
from .loading import LoadedCard
from .windows import WindowGrid

Float = NDArray[np.float32]
Double = NDArray[np.float64]

FLOAT_GRID_BITS = 32  # the grid of mixes that have none of their own
_BLOCK = 1 << 16
_DONE, _PARTS = "done", "parts"

Report = TypeVar("Report")


@dataclass
class _Job:
    """One call of `search` or `write`: what is separated, where, and who looks in."""

    groups: ChannelGroups
    workspace: Path
    hooks: SearchHooks
    total: int = 0
    done: int = 0

    def part_hooks(self, name: str) -> SearchHooks:
        """Hooks of one part of the work, whose progress counts in the whole."""
        before = self.done
        self.hooks.entering(name)

        def progress(done: int, total: int) -> None:
            self.done = before + done
            self.hooks.progress(self.done, self.total)

        return replace(self.hooks, progress=progress)


class RecipeSeparation(Generic[Report]):
    """A separation by a preset's tree, with own priors searched inside one of its pieces."""

    dtype: type[np.float32 | np.float64] = np.float64  # holds every grid

    def __init__(
        self,
        preset: Preset,
        cards: Mapping[str, LoadedCard],
        device: Device,
        threads: int,
        inner: Separation[Report] | None,
        nothing_searched: Report,
    ) -> None:
        sources = preset.sources
        assert sources.tree is not None
        self.tree, self.inside, self.inner = sources.tree, sources.inside, inner
        self.nothing_searched = nothing_searched
        self.pieces = sources.pieces
        self.cards = {
            name: CardSeparation(loaded, device, threads) for name, loaded in cards.items()
        }
        self._got: set[str] = set()  # devices that the separators have run on
        check_outputs(self.tree, self.pieces, cards)
        leaves = [p.name for p in self.pieces if p.is_leaf and p.name != self.inside]
        searched = inner.stems if inner else []
        self.stems = [
            name for name in (*leaves, *searched) if name not in (sources.remainder, RESIDUAL)
        ]

    @property
    def got(self) -> set[str]:
        """The devices that separators have run on and priors run on."""
        return self._got | (self.inner.got if self.inner else set())

    def search(
        self, mix: Signal, groups: ChannelGroups, workspace: Path, hooks: SearchHooks
    ) -> Report:
        """First pass: every node's parts lie in the workspace; then own priors are searched.

        Raises Interrupted when `hooks.should_stop` says so between two segments.
        """
        job = _Job(groups, workspace, hooks, self._segments(mix.info))
        self._take_apart(self.tree, "mix", mix, job)
        if self.inner is None:
            return self.nothing_searched
        inside = self._signal(self.inside, mix, workspace)
        hooks.entering(f"priors in {self.inside}")
        inner_hooks = replace(
            hooks, progress=lambda done, total: hooks.progress(job.done + done, job.total + total)
        )
        return self.inner.search(inside, groups, workspace / "inside", inner_hooks)

    def write(
        self,
        mix: Signal,
        groups: ChannelGroups,
        workspace: Path,
        sink: Sink,
        meter: Callable[[Float, Float], None] | None = None,
    ) -> None:
        """Second pass: give all stems to `sink`, block by block; `meter` sees the search's."""
        kept = workspace / "searched"
        names: Sequence[str] = ()
        if self.inner is not None:
            names = self.inner.stems
            with StemScratch(kept, names, mix.info.channels) as scratch:
                scratch.truncate(0)
                inside = self._signal(self.inside, mix, workspace)
                self.inner.write(inside, groups, workspace / "inside", scratch.append, meter)
        leaves = [p.name for p in self.pieces if p.is_leaf and p.name in self.stems]
        leaves = [name for name in leaves if name not in names]
        with contextlib.ExitStack() as stack:
            readers = {
                name: stack.enter_context(self._signal(name, mix, workspace).open())
                for name in leaves
            }
            scratch = stack.enter_context(StemScratch(kept, names, mix.info.channels))
            searched = scratch.blocks(_BLOCK) if names else iter(())
            left = mix.info.frames
            while left > 0:
                frames = min(_BLOCK, left)
                parts = {name: reader.read(frames).double for name, reader in readers.items()}
                block: Stems = {**parts, **next(searched, {})}
                sink({name: block[name] for name in self.stems})
                left -= frames

    # -- nodes -------------------------------------------------------------------------------

    def _take_apart(self, node: Node, name: str, signal: Signal, job: _Job) -> None:
        """One node and everything below it."""
        assert node.split is not None
        folder = _folder(job.workspace, name)
        pieces = self._below(name)
        if not (folder / _DONE).exists():
            for card in node.split.names:
                self.cards[card].search(
                    signal, job.groups, folder / card, job.part_hooks(f"{card} in {name}")
                )
                self._got |= {self.cards[card].got} - {""}
            self._divide(node.split, pieces, signal, folder, job)
        else:
            job.done += sum(self._count(card, signal.info) for card in node.split.names)
            job.hooks.progress(job.done, job.total)
            self._got |= set((folder / _DONE).read_text(encoding="utf-8").split())
        for piece in pieces:
            if not piece.is_leaf:
                part = _part(folder, piece.name, signal.info)
                self._take_apart(piece.node, piece.name, part, job)

    def _divide(
        self,
        split: Split,
        pieces: Sequence[Piece],
        signal: Signal,
        folder: Path,
        job: _Job,
    ) -> None:
        """Round the parts to the grid and leave them and the rest in the workspace."""
        info = signal.info
        bits = info.bits if info.encoding == "pcm" else FLOAT_GRID_BITS
        names = tuple(piece.name for piece in pieces)
        taken = [piece for piece in pieces if not piece.is_rest]
        rest = next(piece.name for piece in pieces if piece.is_rest)
        readers = {
            piece.name: PieceReader(
                self._estimate(split, piece, signal, folder, job.groups), info.channels
            )
            for piece in taken
        }
        with (
            StemScratch(folder / _PARTS, names, info.channels, np.float64) as scratch,
            signal.open() as parent,
        ):
            scratch.truncate(0)
            while (block := parent.read(_BLOCK)).frames:
                if job.hooks.should_stop():
                    raise Interrupted
                found = {
                    name: _on_grid(reader.read(block.frames).audio, bits)
                    for name, reader in readers.items()
                }
                scratch.append({**found, rest: _left(block.double, found.values())})
            scratch.flush()
        (folder / _DONE).write_text(" ".join(sorted(self._got)), encoding="utf-8")
        for card in split.names:  # its estimate is in the parts now
            shutil.rmtree(folder / card, ignore_errors=True)

    def _estimate(
        self, split: Split, piece: Piece, signal: Signal, folder: Path, groups: ChannelGroups
    ) -> Iterator[Float]:
        """What the cards say of one part, (channels, n)."""
        giving = _giving(split, piece, {name: one.loaded for name, one in self.cards.items()})
        weights = split.weights.get(piece.output) or split.weights.get(piece.key)
        chosen = [
            1.0 if weights is None or piece.node.card else weights[split.names.index(card)]
            for card in giving
        ]
        if not any(chosen):
            chosen = [1.0] * len(giving)
        estimates = [
            self._output(card, piece.output, signal, folder / card, groups) for card in giving
        ]
        return ensemble(estimates, chosen, split.combine, signal.info)

    def _output(
        self, card: str, output: str, signal: Signal, folder: Path, groups: ChannelGroups
    ) -> Iterator[Float]:
        separation = self.cards[card]
        index = separation.stems.index(output)
        return (block[index] for block in separation.stems_of(signal, groups, folder))

    # -- where things are --------------------------------------------------------------------

    def _below(self, name: str) -> list[Piece]:
        return [piece for piece in self.pieces if piece.parent == name]

    def _signal(self, name: str, mix: Signal, workspace: Path) -> RawSignal:
        piece = next(p for p in self.pieces if p.name == name and p.is_leaf)
        return _part(_folder(workspace, piece.parent), name, mix.info)

    def _count(self, card: str, info: SourceInfo) -> int:
        described = self.cards[card].card
        samples = resampled_frames(info.frames, info.sample_rate, described.sample_rate)
        return WindowGrid.of(described).count(samples)

    def _segments(self, info: SourceInfo) -> int:
        """Segments of all cards of all nodes together."""
        nodes = [self.tree, *(piece.node for piece in self.pieces)]
        names = [card for node in nodes if node.split for card in node.split.names]
        return sum(self._count(card, info) for card in names)


def check_outputs(tree: Node, pieces: Sequence[Piece], cards: Mapping[str, LoadedCard]) -> None:
    """Refuse a tree that asks a card for what it does not give."""
    nodes = {"mix": tree} | {piece.name: piece.node for piece in pieces if not piece.is_leaf}
    for piece in pieces:
        split = nodes[piece.parent].split
        assert split is not None
        if not piece.is_rest and not _giving(split, piece, cards):
            asked = [piece.node.card] if piece.node.card else list(split.names)
            known = {name: cards[name].card.used for name in asked if name}
            offered = "; ".join(f"{name} gives {', '.join(used)}" for name, used in known.items())
            near = suggestion(piece.output, [stem for used in known.values() for stem in used])
            raise StemwrightError(
                "separator-output",
                f"{piece.name}: no output {piece.output!r}{near} ({offered}). Name one of them "
                "with `output:`, or use `rest` for what they leave.",
            )


def _giving(split: Split, piece: Piece, cards: Mapping[str, LoadedCard]) -> list[str]:
    """The cards of a split that give one of its parts."""
    asked = [piece.node.card] if piece.node.card else list(split.names)
    return [name for name in asked if name and piece.output in cards[name].card.used]


def _folder(workspace: Path, name: str) -> Path:
    return workspace / f"node-{name}"


def _part(folder: Path, name: str, info: SourceInfo) -> RawSignal:
    """A part that lies in a node's folder, with the mix's rate, length and loudspeakers."""
    return RawSignal(scratch_file(folder / _PARTS, name), info, np.float64)


def _on_grid(audio: Float, bits: int) -> Double:
    scale = 2.0 ** (bits - 1)
    return np.rint(audio.astype(np.float64) * scale) / scale


def _left(whole: Double, parts: Iterable[Double]) -> Double:
    rest = whole.copy()
    for part in parts:
        rest -= part
    return rest
