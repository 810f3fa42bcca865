"""The generated parts of docs/presets.md and the exported JSON Schema.

`python -m presets.tables docs/presets.md presets/preset.schema.json` brings both up to date.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .effects import BUILT_IN, Plugin
from .loader import SHIPPED, load_preset
from .naming import Naming
from .output import LoudnessSettings, OutputSettings
from .schema import Preset
from .search import SearchSettings
from .stems import ResidualSpec, StemSpec
from .views import json_schema
from .voices import VoicesSettings

SECTIONS: dict[str, type[BaseModel]] = {
    "": Preset,
    "stems.NAME.": StemSpec,
    "residual.": ResidualSpec,
    "voices.": VoicesSettings,
    "search.": SearchSettings,
    "loudness.": LoudnessSettings,
    "naming.": Naming,
    "output.": OutputSettings,
}


def presets_table() -> str:
    """The shipped presets and what they are for."""
    rows = [
        [f"`{preset.name}`", ", ".join(preset.stems), preset.description]
        for preset in map(load_preset, sorted(file.stem for file in SHIPPED.glob("*.yaml")))
    ]
    return _table(["preset", "stems", "what it does"], rows)


def settings_table() -> str:
    """Every key of a preset file."""
    rows = [["`extends`", "text", "", "name or path of the preset that this one changes"]]
    for prefix, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
            if not nested and name != "stems":
                default = "required" if field.is_required() else _shown(field.default)
                note = field.description or ""
                rows.append([f"`{prefix}{name}`", _values(field), default, note])
    return _table(["key", "values", "if left out", ""], rows)


def effects_table() -> str:
    """Every built-in effect with its parameters and their ranges."""
    rows = []
    for name, model in BUILT_IN.items():
        parameters = [
            f"`{key}` {_values(field)}{_unit(field)}"
            for key, field in model.model_fields.items()
            if key != "effect"
        ]
        rows.append([f"`{name}`", (model.__doc__ or "").strip(), "<br>".join(parameters)])
    return _table(["effect", "what it is", "parameters, all required"], rows)


def plugin_table() -> str:
    """The keys of a plug-in step."""
    rows = [
        [f"`{name}`", "required" if field.is_required() else "", field.description or ""]
        for name, field in Plugin.model_fields.items()
    ]
    return _table(["key", "", "what it is"], rows)


def filled(text: str) -> str:
    """A page with what stands between its markers made anew."""
    parts = {
        "presets": presets_table(),
        "settings": settings_table(),
        "effects": effects_table(),
        "plugin": plugin_table(),
    }
    for name, table in parts.items():
        marker = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        text = marker.sub(lambda match, t=table: match[1] + t + match[2], text)  # type: ignore[misc]
    return text


def schema_text() -> str:
    """The JSON Schema as it is kept beside the presets."""
    return json.dumps(json_schema(), indent=1) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *escaped]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _values(field: FieldInfo) -> str:
    limits = [getattr(item, key) for key in ("ge", "gt", "le") for item in field.metadata
              if hasattr(item, key)]  # fmt: skip
    if limits:
        low, high = limits
        return f"{low:g} to {high:g}"
    choices = [value for part in (field.annotation, *get_args(field.annotation))
               for value in get_args(part) if isinstance(value, (str, int))]  # fmt: skip
    if choices:
        return ", ".join(dict.fromkeys(str(choice) for choice in choices))
    if field.annotation is bool or bool in get_args(field.annotation):
        return "true, false"
    if "Node" in str(field.annotation):
        return "a tree (docs/separators.md)"
    return "a chain" if "Tag" in str(field.annotation) else "text"


def _unit(field: FieldInfo) -> str:
    return f" ({field.description})" if field.description else ""


def _shown(value: Any) -> str:  # noqa: ANN401
    if value in ("", None, ()):
        return ""
    return str(value).lower() if isinstance(value, bool) else f"`{value}`"


if __name__ == "__main__":
    page, schema = map(Path, sys.argv[1:3])
    page.write_text(filled(page.read_text("utf-8")), "utf-8")
    schema.write_text(schema_text(), "utf-8")
