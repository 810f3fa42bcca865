"""What a manifest keeps of voices: their network, and the origin of their pitches."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class NetworkUsed(TypedDict):
    """The bundle of a network."""

    name: str
    sha256: str
    licence: str


class SungPart(TypedDict):
    """How long a part sings, in seconds, and how sure its pitches are, 0 to 1."""

    sung_s: float
    confidence: float


class PitchReport(TypedDict, total=False):
    """Where pitches come from and what is odd about them; a key is left out where it has no say.

    `matched_by`, `offset_s`, `stretch` and the agreements are a score's; agreements are
    correlations. `moved_hz` is how far given pitches lay beside what is sung, by part, where they
    did. `unison_s` and `crossing_s` are seconds, by the names of both parts.
    """

    origin: str
    files: dict[str, str]
    graph_sha256: str
    tracked_by: NetworkUsed
    matched_by: str
    offset_s: float
    stretch: float
    agreement: float
    agreement_by_chance: float
    moved_hz: dict[str, float]
    notes: list[str]
    voices: dict[str, SungPart]
    unison_s: dict[str, float]
    crossing_s: dict[str, float]


class NetworkFitted(TypedDict):
    """What was fitted to the recording, and for how long."""

    minutes: float
    sha256: str


class VoicesReport(TypedDict):
    """All that a manifest says of voices."""

    network: NetworkUsed
    pitches: PitchReport
    fitted: NotRequired[NetworkFitted]
