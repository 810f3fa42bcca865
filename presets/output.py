"""How a set is written: the `loudness:` and `output:` sections, and the overflow policies."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from .choices import PreviewDetail, SessionFormat
from .section import Section

Container = Literal["source", "wav", "aiff", "flac"]
Depth = Literal["source", 8, 16, 24, 32, "float32", "float64"]
Overflow = Literal["float32", "common-gain", "fail"]


class LoudnessSettings(Section):
    """One gain for the whole wet set, from the loudness and true peak of its sum."""

    target_lufs: float | None = Field(
        default=None, ge=-50, le=-5, description="integrated loudness of the wet sum"
    )
    true_peak_ceiling_dbtp: float | None = Field(
        default=None, ge=-20, le=0, description="that no wet file nor their sum goes above"
    )


class OutputSettings(Section):
    """Container and depth of what is written; `source` is as the mix was."""

    format: Container = Field(default="source", description="container; lossy mixes become WAV")
    depth: Depth = Field(default="source", description="bits; 24 for lossy mixes")
    dither: Literal["tpdf", "none"] = Field(
        default="none", description="for wet files with fewer bits than the processing has"
    )
    report: Literal["none", PreviewDetail] = Field(
        default="none", description="a page to listen to the set, with previews of that quality"
    )
    session: Literal["none", SessionFormat] = Field(
        default="none", description="a DAW session of the set"
    )

    @model_validator(mode="after")
    def _container_holds_depth(self) -> OutputSettings:
        if self.format == "flac" and self.depth not in ("source", 8, 16, 24):
            raise ValueError(f"flac holds 8, 16 or 24 bits, not {self.depth}; use wav")
        return self
