"""Which lanes a listening page has: the mix, every dry and wet stem, in the order of the set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ..stems.colours import GREY, stem_colours
from ..stems.manifest import Manifest, Written


class LaneFacts(TypedDict, total=False):
    """What the table says of a lane; of the mix its hash and loudness alone."""

    path: str
    sha256: str
    loudness: dict[str, float | None]
    level_db: float | None
    leakage_db: float | None
    rank: str | None
    source: str
    licence: str
    band_hz: float | None


@dataclass(frozen=True)
class Lane:
    """One lane. `key` names its preview files; `file` is None for a mix that is not at hand."""

    key: str
    stem: str
    kind: str
    colour: str
    file: Path | None
    gain: float
    facts: LaneFacts


def lanes_of(folder: Path, manifest: Manifest, mix: Path | None) -> list[Lane]:
    """The mix first, then each dry stem followed by its wet one."""
    shades = stem_colours([file.stem for file in manifest.files])
    undo = 10 ** (manifest.undo_db / 20)
    source: LaneFacts = {
        "sha256": manifest.input.sha256,
        "loudness": manifest.input.loudness.model_dump(),
    }
    lanes = [Lane("mix", "mix", "mix", GREY, mix, 1.0, source)]
    places = {stem: number for number, stem in enumerate(shades)}
    ordered = sorted(manifest.files, key=lambda file: (places[file.stem], file.kind != "dry"))
    for file in ordered:
        gain = undo if file.kind == "dry" else 1.0
        lanes.append(
            Lane(
                f"{file.kind}-{places[file.stem]}",
                file.stem,
                file.kind,
                shades[file.stem],
                folder / file.path,
                gain,
                _facts(manifest, file),
            )
        )
    return lanes


def _facts(manifest: Manifest, file: Written) -> LaneFacts:
    """What the table says of a stem."""
    source, licence = _origin(manifest, file.stem)
    quality = manifest.quality.stems.get(file.stem) if manifest.quality else None
    return {
        "path": file.path,
        "sha256": file.sha256,
        "loudness": file.loudness.model_dump(),
        "level_db": quality.level_db if quality else None,
        "leakage_db": quality.leakage_db if quality else None,
        "rank": quality.likelihood.rank if quality and quality.likelihood else None,
        "source": source,
        "licence": licence,
        "band_hz": _band_hz(manifest, file.stem),
    }


def _band_hz(manifest: Manifest, stem: str) -> float | None:
    """Up to where the separators of a stem have something; None where nothing limits it."""
    limits = [
        manifest.separators.get(card, {}).get("band_hz") for card in manifest.made_by.get(stem, ())
    ]
    known = [float(limit) for limit in limits if limit]
    lowest = min(known, default=None)
    whole = manifest.input.sample_rate / 2
    return None if lowest is None or lowest >= whole else lowest


def _origin(manifest: Manifest, stem: str) -> tuple[str, str]:
    """Where a stem comes from, the separators on its way first and its prior last, and every
    licence that it is under."""
    cards = manifest.made_by.get(stem, ())
    prior = manifest.priors.get(stem, {})
    licences = [manifest.separators.get(card, {}).get("licence", "") for card in cards]
    licences.append(prior.get("licence", ""))
    sources = [*cards, prior.get("file", "")]
    return " > ".join(filter(None, sources)), "; ".join(filter(None, dict.fromkeys(licences)))
