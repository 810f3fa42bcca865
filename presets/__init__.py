"""What does a genre want? The preset schema, its loader and the shipped genre YAMLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import StemwrightError
from .printable import printable
from .saying import PrintableLines, complain, is_loss, say, say_json, speaking

if TYPE_CHECKING:
    from .effects import BUILT_IN, Effect, Parallel, Plugin
    from .loader import find_preset, load_preset, placed, preset_names
    from .messages import describe_errors, dotted, suggestion
    from .schema import (
        NAME_FIELDS,
        RESIDUAL,
        LoudnessSettings,
        Naming,
        OutputSettings,
        Preset,
        ResidualSpec,
        StemSpec,
    )
    from .search import SearchSettings
    from .strict_yaml import Document, read_strict
    from .views import explain, json_schema, show

_HOMES = {
    "effects": ("BUILT_IN", "Effect", "Parallel", "Plugin"),
    "loader": ("find_preset", "load_preset", "placed", "preset_names"),
    "messages": ("describe_errors", "dotted", "suggestion"),
    "schema": (
        "NAME_FIELDS", "RESIDUAL", "LoudnessSettings", "Naming", "OutputSettings", "Preset",
        "ResidualSpec", "StemSpec",
    ),
    "search": ("SearchSettings",),
    "strict_yaml": ("Document", "read_strict"),
    "views": ("explain", "json_schema", "show"),
}  # fmt: skip


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Loads pydantic and PyYAML only when a preset is asked for: `--help` needs neither."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module 'presets' has no attribute {name!r}")


__all__ = [
    "BUILT_IN",
    "NAME_FIELDS",
    "RESIDUAL",
    "Document",
    "Effect",
    "LoudnessSettings",
    "Naming",
    "OutputSettings",
    "Parallel",
    "Plugin",
    "Preset",
    "PrintableLines",
    "ResidualSpec",
    "SearchSettings",
    "StemSpec",
    "StemwrightError",
    "complain",
    "describe_errors",
    "dotted",
    "explain",
    "find_preset",
    "is_loss",
    "json_schema",
    "load_preset",
    "placed",
    "preset_names",
    "printable",
    "read_strict",
    "say",
    "say_json",
    "show",
    "speaking",
    "suggestion",
]
