"""A card as YAML has it while it is written: what a draft may hold before it is checked."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class TensorKeys(TypedDict):
    """One of a card's inputs or outputs, as YAML has it."""

    name: str
    role: str
    axes: str
    patch: NotRequired[int]


class StftKeys(TypedDict, total=False):
    """A card's `stft:`, and `frames`, which tells the segment once the hop is known."""

    n_fft: int | None
    hop: int | None
    window: str
    normalized: bool
    center: bool
    dim_f: int | None
    pre_pad: int
    trim_frames: int
    zero_low_bins: int
    frames: int | None


class FileKeys(TypedDict):
    """One of a card's `files:`."""

    path: str
    sha256: str


class CardKeys(TypedDict, total=False):
    """A card as YAML has it, as far as it is written."""

    card: int
    name: str
    licence: str | None
    files: list[FileKeys]
    source: str
    sample_rate: int
    channels: int
    stems: list[str]
    rest: str
    gain: float
    segment: int
    discard: int
    normalise: str
    stft: StftKeys
    inputs: list[TensorKeys]
    outputs: list[TensorKeys]
