"""The manifest: what was done to one mix, with everything needed to check it years later."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from presets import StemwrightError, name_text, printable, sha256_of

from ..audio.loudness import Loudness
from ..audio.reading import MixFacts
from .output_format import StemFile

MANIFEST_NAME = "manifest.json"
MANIFEST_SCHEMA = 1


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Levels(_Section):
    """Loudness (EBU R 128) of one file; None where there is nothing to measure (silence)."""

    integrated_lufs: float | None
    range_lu: float | None
    true_peak_dbtp: float | None
    sample_peak_dbfs: float | None
    max_momentary_lufs: float | None
    max_short_term_lufs: float | None

    @classmethod
    def of(cls, loudness: Loudness) -> Levels:
        """Take over a measurement; JSON has no infinity."""
        values = {name: getattr(loudness, name) for name in cls.model_fields}
        return cls(**{name: finite(value) for name, value in values.items()})


class Input(_Section):
    """The mix; `notes` say where the file was not taken at its word."""

    name: str
    sha256: str
    container: str
    encoding: str
    bits: int
    channels: int
    sample_rate: int
    frames: int
    loudness: Levels
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, facts: MixFacts) -> Input:
        """What one pass over the mix has proved."""
        info = facts.info
        return cls(
            name=name_text(name),
            sha256=facts.sha256,
            container=info.container,
            encoding=info.encoding,
            bits=info.bits,
            channels=info.channels,
            sample_rate=info.sample_rate,
            frames=info.frames,
            loudness=Levels.of(facts.loudness),
            notes=info.notes,
        )


class Written(_Section):
    """One file of the set; `path` is relative to the manifest."""

    stem: str
    kind: str
    path: str
    sha256: str
    container: str
    depth: str
    frames: int
    loudness: Levels

    @classmethod
    def of(cls, kind: str, file: StemFile) -> Written:
        """One file of the dry or the wet set."""
        return cls(
            stem=file.stem,
            kind=kind,
            path=f"{kind}/{file.name}",
            sha256=file.sha256,
            container=file.format.container,
            depth=file.format.depth,
            frames=file.frames,
            loudness=Levels.of(file.loudness),
        )


class Likelihood(_Section):
    """What a prior makes of its own separated stem.

    `median` is over excerpts of 3 s in which the stem plays, in nats per dimension. `between`
    are the percents of held-out training excerpts it lies between; None where the prior's card
    has none to compare with.
    """

    excerpts: int
    median: float
    between: tuple[int, int] | None
    rank: str | None


class StemQuality(_Section):
    """One stem: the level of its dry file against the mix (None: silent, or no file), leakage
    (None: silent), likelihood (None: it does not play)."""

    level_db: float | None
    leakage_db: float | None
    likelihood: Likelihood | None


class Passage(_Section):
    """Where to listen: ten seconds, or the whole of a shorter mix; `stem` is the worst there,
    `leakage_db` that of all stems there."""

    start_s: float
    end_s: float
    listen: str
    stem: str
    leakage_db: float | None


class Quality(_Section):
    """What can be told without the true stems. Leakage is what the masks do not know: the
    share of others in the energy that a stem claims, lower is cleaner (docs/separate.md).
    `passages` are the worst ones in the order of time, `worst` among them; sets from before there
    was a listening page have only that one."""

    leakage_db: float | None
    residual_db: float | None
    stems: dict[str, StemQuality]
    worst: Passage | None
    passages: tuple[Passage, ...] = ()


class Manifest(_Section):
    """Everything about one separation.

    `null_dbfs` is the peak of the mix minus the sum of the dry files at the written depth,
    `source_null_dbfs` the same against the mix as it came; None is an exact null. Sets from
    before there was a `quality` report have none. `made_by` are the `separators` that a stem owes
    something to: those on its way from the mix, and the one that guides its search. `voices` says
    which network took singers apart, where their pitches come from, and how sure they are.
    """

    schema_version: int = MANIFEST_SCHEMA
    title: str
    program: dict[str, str]
    input: Input
    preset: dict[str, Any]
    preset_sha256: str
    priors: dict[str, dict[str, str]]
    separators: dict[str, dict[str, Any]] = {}
    made_by: dict[str, tuple[str, ...]] = {}
    voices: dict[str, Any] | None = None
    search: dict[str, Any]
    seed: int
    degraded: tuple[str, ...]
    provider: dict[str, str]
    files: tuple[Written, ...]
    null_dbfs: float | None
    source_null_dbfs: float | None
    gain_db: float
    undo_db: float
    overflow_db: dict[str, float]
    metadata_dropped: tuple[str, ...]
    wet_gain_db: float
    absent: tuple[str, ...]
    chains: dict[str, Any]
    divergence: dict[str, float]
    quality: Quality | None = None
    seconds: dict[str, float]

    def to_json(self) -> str:
        """Indented JSON, ready for a file."""
        return self.model_dump_json(indent=1) + "\n"


def finite(value: float) -> float | None:
    """None for the infinities that stand for silence and for an exact null."""
    return value if math.isfinite(value) else None


def load_manifest(path: Path) -> Manifest:
    """Read a manifest, given itself or its folder."""
    path = path / MANIFEST_NAME if path.is_dir() else path
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StemwrightError("manifest-unreadable", f"{path}: {error.strerror}.") from error
    except ValidationError as error:
        raise StemwrightError(
            "manifest-damaged",
            f"{path}: not a manifest of this program: {error.errors()[0]['msg']}.",
        ) from error


def refuse_another_mix(mix: Path, manifest: Manifest) -> None:
    """Raise StemwrightError unless a file is the mix that the set was made of, by its hash."""
    if sha256_of(mix) != manifest.input.sha256:
        raise StemwrightError(
            "another-mix",
            f"{printable(mix.name)}: not the file that this set was made of "
            f"({printable(manifest.input.name)}, sha256 {manifest.input.sha256[:12]}...). Leave "
            "the mix out: it is then added up from the dry stems.",
        )
