"""What a published set says of the work that it is.

The work's key names it: content of the mix, preset, priors, program and options. A set with the
key of a job is that job's, whichever attempt, process or machine published it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine import pitch_sources

from .facts import SetFacts
from .records import MAX_MANIFEST_BYTES, ForeignError, SetManifest, parsed, read_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class PublishedSet:
    """One set's manifest, as far as the journal and the reports keep it."""

    sha256: str
    key: str
    facts: SetFacts
    mix_name: str
    preset: str


def read_published(folder: Path) -> PublishedSet | None:
    """The set in a folder; nothing when there is none, or none that this program wrote."""
    try:
        manifest = read_json(folder / MANIFEST, MAX_MANIFEST_BYTES)
        known, facts = parsed(manifest, SetManifest), parsed(manifest, SetFacts)
    except (ForeignError, OSError):
        return None
    return PublishedSet(
        sha256=known.input.sha256,
        key=_key_of(known),
        facts=facts,
        mix_name=Path(known.input.name).name,
        preset=known.preset.name,
    )


def holds_work(folder: Path | None, key: str | None) -> PublishedSet | None:
    """The set in a folder, when it is the work with this key."""
    there = folder and read_published(folder)
    return there if there and there.key == key else None


def work_key(
    sha256: str, preset: str, priors: Mapping[str, str], engine: str, search: object, seed: int
) -> str:
    """The same for the same work: content of the mix, preset, priors, program and options."""
    parts = [sha256, preset, dict(priors), engine, search, seed]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _key_of(manifest: SetManifest) -> str:
    hashes = {stem: prior.sha256 for stem, prior in manifest.priors.items()}
    hashes |= {f"separator:{name}": card.digest for name, card in manifest.separators.items()}
    if manifest.voices is not None:
        hashes |= {"voices": manifest.voices.network.sha256}
        pitches = manifest.voices.pitches
        hashes |= pitch_sources(pitches.files, pitches.heard_by)
    return work_key(
        manifest.input.sha256,
        manifest.preset_sha256,
        hashes,
        manifest.program.version,
        manifest.search,
        manifest.seed,
    )
