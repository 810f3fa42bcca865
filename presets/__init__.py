"""What does a genre want? The preset schema, its loader and the shipped genre YAMLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .choices import SESSION_SUFFIXES, PitchSource, PreviewDetail, SessionFormat, Tier
from .errors import StemwrightError, placed_at, unplaced
from .file_names import FORBIDDEN, is_reserved, same_name_key
from .lazy_door import lazy_door
from .places import expanded, home_folder, needed_folder, user_folder
from .printable import name_text, printable
from .saying import PrintableLines, complain, duration_text, is_loss, say, say_json, speaking

if TYPE_CHECKING:
    from .effects import BUILT_IN, Effect, Parallel, Plugin
    from .hashing import sha256_of
    from .loader import find_preset, load_preset, placed, preset_names
    from .messages import describe_errors, dotted, suggestion
    from .naming import NAME_FIELDS, NAME_FORMS, Naming
    from .narrowed import only_stems
    from .output import Container, Depth, LoudnessSettings, OutputSettings, Overflow
    from .recipe import RESIDUAL, Node, Piece, Split
    from .schema import Preset
    from .search import ResolvedSearch, SearchSettings
    from .section import NAME_PATTERN, STEM_PATTERN
    from .stems import ResidualSpec, StemSpec
    from .strict_yaml import Document, read_strict
    from .views import explain, json_schema, show

__getattr__ = lazy_door(__name__, {
    "effects": ("BUILT_IN", "Effect", "Parallel", "Plugin"),
    "hashing": ("sha256_of",),
    "loader": ("find_preset", "load_preset", "placed", "preset_names"),
    "messages": ("describe_errors", "dotted", "suggestion"),
    "narrowed": ("only_stems",),
    "naming": ("NAME_FIELDS", "NAME_FORMS", "Naming"),
    "output": ("Container", "Depth", "LoudnessSettings", "OutputSettings", "Overflow"),
    "recipe": ("RESIDUAL", "Node", "Piece", "Split"),
    "schema": ("Preset",),
    "search": ("ResolvedSearch", "SearchSettings"),
    "section": ("NAME_PATTERN", "STEM_PATTERN"),
    "stems": ("ResidualSpec", "StemSpec"),
    "strict_yaml": ("Document", "read_strict"),
    "views": ("explain", "json_schema", "show"),
})  # fmt: skip

__all__ = [
    "BUILT_IN",
    "FORBIDDEN",
    "NAME_FIELDS",
    "NAME_FORMS",
    "NAME_PATTERN",
    "RESIDUAL",
    "SESSION_SUFFIXES",
    "STEM_PATTERN",
    "Container",
    "Depth",
    "Document",
    "Effect",
    "LoudnessSettings",
    "Naming",
    "Node",
    "OutputSettings",
    "Overflow",
    "Parallel",
    "Piece",
    "PitchSource",
    "Plugin",
    "Preset",
    "PreviewDetail",
    "PrintableLines",
    "ResidualSpec",
    "ResolvedSearch",
    "SearchSettings",
    "SessionFormat",
    "Split",
    "StemSpec",
    "StemwrightError",
    "Tier",
    "complain",
    "describe_errors",
    "dotted",
    "duration_text",
    "expanded",
    "explain",
    "find_preset",
    "home_folder",
    "is_loss",
    "is_reserved",
    "json_schema",
    "lazy_door",
    "load_preset",
    "name_text",
    "needed_folder",
    "only_stems",
    "placed",
    "placed_at",
    "preset_names",
    "printable",
    "read_strict",
    "same_name_key",
    "say",
    "say_json",
    "sha256_of",
    "show",
    "speaking",
    "suggestion",
    "unplaced",
    "user_folder",
]
