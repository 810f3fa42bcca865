"""What is known of a job's work: what a worker verified, how far it is, what its set measures.

The journal keeps it as one flat JSON object beside the job's columns. Older journals have keys
that are not read any more, and rows that were made from folders have those of the set alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field, ValidationError

from .records import Record, Words

Level = float | None  # in dB of its scale; nothing for silence


@dataclass(frozen=True)
class WorkFacts:
    """What the work on a decoded mix will be.

    `file_bytes` is a sample's size in a stem's file, `stem_count` how many stems lie in the
    workspace at once. `separators_s` is what separators will take by their checks, 0 where there
    are none.
    """

    sha256: str
    key: str
    frames: int
    channels: int
    sample_rate: int
    file_count: int
    file_bytes: int
    stem_count: int
    separators_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """Length of the mix."""
        return self.frames / self.sample_rate


class MeasuredLoudness(Record):
    """Of a whole file."""

    integrated_lufs: Level = None
    true_peak_dbtp: Level = None


class MeasuredInput(Record):
    """The mix."""

    loudness: MeasuredLoudness = MeasuredLoudness()


class MeasuredFile(Record):
    """One file of a set."""

    stem: Words = ""
    kind: Words = ""
    loudness: MeasuredLoudness = MeasuredLoudness()


class WorstPlace(Record):
    """Where a person should listen first."""

    listen: Words
    stem: Words


class MeasuredQuality(Record):
    """The quality report's sum."""

    worst: WorstPlace | None = None
    leakage_db: float | None = None


class Licensed(Record):
    """A separator of one's own."""

    licence: Words = ""


class SetFacts(Record):
    """What the journal and the reports keep of a manifest; a null of None is exact."""

    input: MeasuredInput = MeasuredInput()
    null_dbfs: float | None = None
    source_null_dbfs: float | None = None
    quality: MeasuredQuality | None = None
    separators: dict[Words, Licensed] = Field(default_factory=dict)
    files: list[MeasuredFile] = Field(default_factory=list)
    provider: dict[str, Words] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)

    def stem_levels(self) -> dict[str, Level]:
        """Integrated loudness of every dry stem in LUFS."""
        return {
            file.stem: file.loudness.integrated_lufs for file in self.files if file.kind == "dry"
        }


Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


class JobFacts(SetFacts):
    """Everything that the journal knows of a job's work; each part may be missing.

    `work` names what runs, such as a separator; `left_s` is the worker's own estimate.
    """

    sha256: Words | None = None
    frames: Count | None = None
    channels: Count | None = None
    sample_rate: Count | None = None
    separators_s: Seconds = 0.0
    work: Words = ""
    left_s: float | None = None
    elapsed_s: float | None = None

    @staticmethod
    def of_work(work: WorkFacts) -> JobFacts:
        """Of a mix that is decoded."""
        return JobFacts.model_validate(asdict(work))

    @staticmethod
    def parse(text: str | None) -> JobFacts:
        """From the journal's text; nothing is known where that is none of ours."""
        if text is None:
            return JobFacts()
        try:
            return JobFacts.model_validate(json.loads(text))
        except (ValueError, RecursionError, ValidationError):
            return JobFacts()

    def with_set(self, made: SetFacts) -> JobFacts:
        """The same with what a published set says of itself."""
        said = {name: getattr(made, name) for name in made.model_fields_set}
        return self.model_copy(update=said)

    def at(self, work: str, left_s: float | None) -> JobFacts:
        """The same with where the work is, as far as the worker says."""
        said = {"work": work, "left_s": left_s}
        return self.model_copy(update={name: value for name, value in said.items() if value})

    def took(self, elapsed_s: float) -> JobFacts:
        """The same with the time of the attempt that made the set."""
        return self.model_copy(update={"elapsed_s": round(elapsed_s, 3)})

    @property
    def has_set(self) -> bool:
        """Whether a set was published."""
        return "files" in self.model_fields_set

    @property
    def duration_s(self) -> float | None:
        """Length of the mix, where that is known."""
        return self.frames / self.sample_rate if self.frames and self.sample_rate else None

    def text(self) -> str:
        """As the journal keeps them."""
        return json.dumps(self.model_dump(mode="json", exclude_unset=True), sort_keys=True)
