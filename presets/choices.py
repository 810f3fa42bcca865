"""Words to choose from in presets, in a hot folder's settings and on the command line alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Tier = Literal["draft", "standard", "best", "search"]
PitchSource = Literal["auto", "score", "tracker", "basic-pitch"]
PreviewDetail = Literal["light", "standard", "full"]
SessionFormat = Literal["dawproject", "reaper"]

SESSION_SUFFIXES: Mapping[SessionFormat, str] = MappingProxyType(
    {"dawproject": ".dawproject", "reaper": ".RPP"}
)
