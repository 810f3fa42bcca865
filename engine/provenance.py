"""Where a set comes from: the bundles, separators and programs that its manifest names."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, TypedDict

from .model.prior import Prior
from .separators.loading import LoadedCard
from .stems.manifest import Written
from .stems.stem_set import SetReport
from .stems.wet import WetReport

if TYPE_CHECKING:
    from presets import Preset


class SeparatorUsed(TypedDict):
    """What a manifest says of one separator: `files` by hash, `band_hz` is where it ends."""

    card: str
    digest: str
    files: dict[str, str]
    licence: str
    commercial: str
    source: str
    band_hz: float
    threads: int


def bundles_of(priors: Mapping[str, Prior]) -> dict[str, dict[str, str]]:
    """Which bundle, and which label of it, every stem was searched with."""
    return {
        stem: {
            "file": prior.path.name,
            "sha256": prior.sha256,
            "licence": prior.card.licence,
        }
        | ({"label": prior.label} if prior.label else {})
        for stem, prior in priors.items()
    }


def separators_of(cards: Mapping[str, LoadedCard], threads: int) -> dict[str, SeparatorUsed]:
    """Which card every separator had, its licence and its files."""
    return {
        name: {
            "card": loaded.path.name,
            "digest": loaded.digest,
            "files": {file.path: file.sha256 for file in loaded.card.files},
            "licence": loaded.card.licence,
            "commercial": loaded.card.commercial,
            "source": loaded.card.source,
            "band_hz": loaded.card.band_hz,
            "threads": threads,
        }
        for name, loaded in cards.items()
    }


def made_by(preset: Preset, report: SetReport) -> dict[str, tuple[str, ...]]:
    """The separators that every file of the dry set owes something to."""
    named = {file.stem: preset.sources.cards_of(file.stem) for file in report.files}
    return {stem: cards for stem, cards in named.items() if cards}


def files_of(report: SetReport, wet: WetReport | None) -> tuple[Written, ...]:
    """Every file of the set."""
    dry = [Written.of("dry", file) for file in report.files]
    return (*dry, *(Written.of("wet", file) for file in (wet.files if wet else ())))


def versions(*, wet: bool) -> dict[str, str]:
    """Versions that the samples depend on; wet ones also on the effects, and on the resampler
    by which loudness and true peaks are measured that set their gain."""
    import onnxruntime  # whichever of its two packages is installed

    names = ("numpy", "pedalboard", "soxr") if wet else ("numpy",)
    own = {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__}
    return own | {name: version(name) for name in names}
