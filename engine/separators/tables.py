"""The generated parts of docs/separators.md.

`python -m engine.separators.tables docs/separators.md` brings them up to date. The
schema of cards and of recipes is the documentation: what is written there was read from it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from presets import Node, Split

from .card import CardFile, InputCard, OutputCard, SeparatorCard, StftCard

CARD: dict[str, type[BaseModel]] = {
    "": SeparatorCard,
    "files[].": CardFile,
    "stft.": StftCard,
    "inputs[].": InputCard,
    "outputs[].": OutputCard,
}
RECIPE: dict[str, type[BaseModel]] = {"": Node, "split.": Split}


def filled(text: str) -> str:
    """A page with what stands between its markers made anew."""
    for name, sections in (("card", CARD), ("recipe", RECIPE)):
        marker = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        table = _table(sections)
        text = marker.sub(lambda match, t=table: match[1] + t + match[2], text)  # type: ignore[misc]
    return text


def _table(sections: dict[str, type[BaseModel]]) -> str:
    rows = [["key", "values", "if left out", ""], ["---"] * 4]
    for prefix, model in sections.items():
        for name, field in model.model_fields.items():
            default = "**required**" if field.is_required() else _shown(field.default)
            key = f"`{prefix}{field.alias or name}`"
            rows.append([key, _values(field), default, field.description or ""])
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in escaped)


def _values(field: FieldInfo) -> str:
    limits = {
        word: getattr(item, key)
        for item in field.metadata
        for key, word in (("ge", "from"), ("gt", "above"), ("le", "to"))
        if hasattr(item, key) and getattr(item, key) is not None
    }
    if limits:
        return " ".join(f"{word} {value:.12g}" for word, value in limits.items())
    if choices := list(_choices(field.annotation)):
        return ", ".join(dict.fromkeys(choices))
    kinds = {part for part in (field.annotation, *get_args(field.annotation))}
    if bool in kinds:
        return "true, false"
    if get_origin(field.annotation) is tuple or any(get_origin(k) is tuple for k in kinds):
        return "a list"
    if get_origin(field.annotation) is dict:
        return "a mapping"
    if any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
        return "a mapping"
    return "a number" if kinds & {int, float} else "text"


def _choices(annotation: Any) -> Any:  # noqa: ANN401
    for part in (annotation, *get_args(annotation)):
        for value in get_args(part):
            if isinstance(value, str | int) and not isinstance(value, bool):
                yield str(value)
            elif get_args(value):
                yield from (str(v) for v in get_args(value) if isinstance(v, str | int))


def _shown(value: Any) -> str:  # noqa: ANN401
    if value in ("", None, (), {}):
        return ""
    if isinstance(value, tuple):
        value = value[0]
    return str(value).lower() if isinstance(value, bool) else f"`{value:g}`" if isinstance(
        value, float
    ) else f"`{value}`"  # fmt: skip


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(filled(page.read_text("utf-8")), "utf-8")
