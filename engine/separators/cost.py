"""How long separators will take, before they begin: by what their checks have measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from presets import Preset

from .loading import LoadedCard, find_card
from .lock import read_lock


def separators_rate(preset: Preset, folders: Sequence[Path] = ()) -> float:
    """Seconds that a preset's separators take for each second of audio; 0 where no check says.

    `folders` are looked in for cards first. Raises StemwrightError for a card that is not there
    or cannot be used.
    """
    return rate_of(preset, {name: find_card(name, folders) for name in preset.sources.cards})


def rate_of(preset: Preset, cards: Mapping[str, LoadedCard]) -> float:
    """The same with cards that are loaded. A card that several nodes ask counts for each."""
    nodes = [preset.sources.tree, *(piece.node for piece in preset.sources.pieces)]
    names = [name for node in nodes if node and node.split for name in node.split.names]
    names += [preset.search.guide] if preset.search.guide else []
    locks = [read_lock(cards[name]) for name in names]
    return sum(lock.seconds_per_minute for lock in locks if lock) / 60
