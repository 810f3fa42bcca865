"""What is wrong with a preset, in an engineer's words: `rock.yaml:8:16: ...ratio: must be ...`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .effects import BUILT_IN, Parallel, Plugin
from .strict_yaml import Document, Mark, Path

MAX_MESSAGES = 20

_PLAIN = {
    "missing": "is missing; it has no default",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping of `key: value` lines",
    "model_type": "must be a mapping of `key: value` lines ({} for all defaults)",
    "model_attributes_type": "must be a mapping of `key: value` lines ({} for all defaults)",
    "tuple_type": "must be a list, each item after a dash",
    "union_tag_not_found": "needs one of the keys effect, plugin or parallel",
}
_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}
_WITHOUT_VALUE = {"missing", "union_tag_not_found", "model_type", "dict_type", "value_error"}


def describe_errors(
    error: ValidationError, document: Document, model: type[BaseModel]
) -> list[str]:
    """One line for each error, in the order of the file; nothing of what the document hides."""
    found = sorted(
        (_described(detail, document, model) for detail in error.errors(include_url=False)),
        key=lambda item: (item[0].file, item[0].line, item[0].column),
    )
    lines = list(dict.fromkeys(f"{mark}: {text}" for mark, text in found))
    if len(lines) > MAX_MESSAGES:
        lines[MAX_MESSAGES:] = [f"... and {len(lines) - MAX_MESSAGES} more"]
    return lines


def dotted(path: Path) -> str:
    """`stems.drums.chain[0].ratio`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".")


def suggestion(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'ratio'?)`, or nothing when no known word is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean '{by_lower[near[0]]}'?)" if near else ""


def _described(
    detail: ErrorDetails, document: Document, model: type[BaseModel]
) -> tuple[Mark, str]:
    path = _path_in_document(detail, document.data)
    if detail["type"] == "value_error":
        inner, text = _key_in_sentence(path, str(detail["ctx"]["error"]), document)
        mark = document.value_mark(path) if inner == path else document.key_mark(inner)
        return mark, (f"{dotted(inner)}: " if inner else "") + text
    wrong_key = detail["type"] == "extra_forbidden" or "[key]" in detail["loc"]
    mark = document.key_mark(path) if wrong_key else document.value_mark(path)
    hidden = document.hides(path)
    known = _keys_at(path[:-1], document.data, model) if wrong_key else []
    named = path and (path[-1] in document.secret or suggestion(str(path[-1]), known))
    if hidden and wrong_key and not named:
        path = path[:-1]  # a secret may stand where a key should
    where = f"{dotted(path)}: " if path else ""
    return mark, where + _sentence(detail, path, known, hidden=hidden)


def _key_in_sentence(path: Path, text: str, document: Document) -> tuple[Path, str]:
    """A section's own sentence may begin with the key at fault: `residual.into: no stem ...`."""
    while match := re.match(r"([a-z_]+)(?:\.|: )", text):
        if (*path, match[1]) not in document.values:
            break
        path, text = (*path, match[1]), text[match.end() :]
    return path, text


def _path_in_document(detail: ErrorDetails, data: Any) -> Path:  # noqa: ANN401
    """pydantic's location without the union tags that it mixes in."""
    path: list[str | int] = []
    last = len(detail["loc"]) - 1
    for position, part in enumerate(detail["loc"]):
        inside = (isinstance(data, Mapping) and part in data) or (
            isinstance(data, tuple) and isinstance(part, int) and part < len(data)
        )
        if inside:
            path.append(part)
            data = data[part]
        elif detail["type"] == "missing" and position == last:
            path.append(part)
    return (*path, "effect") if detail["type"] == "union_tag_invalid" else tuple(path)


def _sentence(detail: ErrorDetails, path: Path, known: list[str], *, hidden: bool) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    got = "" if hidden or kind in _WITHOUT_VALUE else f", got {_shown(detail['input'])}"
    if kind == "extra_forbidden":
        hint = suggestion(str(path[-1]), known) if path else ""
        return "no such key" + (hint or f" among {', '.join(known)}" if known else "")
    if kind == "missing" and "chain" in path:
        return "is missing; every parameter is named in a preset"
    if kind == "string_too_short":
        least = context["min_length"]
        return (
            f"must be at least {least} characters long{got}" if least > 1 else "must not be empty"
        )
    if detail["loc"][-1:] and detail["loc"][-1] in ("bool", "float", "str"):
        return f"must be a number, text, true or false{got}"
    if kind in _LIMITS:
        word, name = _LIMITS[kind]
        return f"must be {word} {context[name]:g}{got}"
    if kind == "union_tag_invalid":
        return f"no effect {context['tag']!r}" + suggestion(str(context["tag"]), BUILT_IN)
    if kind == "union_tag_not_found":
        near = [suggestion(str(key), ("effect", "plugin", "parallel")) for key in _keys(detail)]
        return _PLAIN[kind] + max(near, key=len, default="")
    if kind == "literal_error":
        expected = str(context["expected"]).replace(" or ", ", ")
        words = [word.strip(" '") for word in expected.split(",")]
        hint = "" if hidden else suggestion(str(detail["input"]), words)
        return f"must be one of {', '.join(words)}{got}{hint}"
    if kind in ("string_pattern_mismatch", "string_pattern"):
        return "must be a plain name of letters, digits, - and _, beginning with a letter" + got
    if kind in ("too_long", "too_short"):
        return "must " + detail["msg"].split(" should ")[-1].replace(" after validation", "")
    return _PLAIN.get(kind, detail["msg"]) + got


def _keys(detail: ErrorDetails) -> list[Any]:
    return list(detail["input"]) if isinstance(detail["input"], Mapping) else []


def _shown(value: Any) -> str:  # noqa: ANN401
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    if value is None:
        text = "nothing"
    return text if len(text) <= 60 else text[:57] + "..."


def _keys_at(path: Path, data: Any, model: type[BaseModel]) -> list[str]:  # noqa: ANN401
    """The keys that the schema knows at a path."""
    current: Any = model
    for part in path:
        data = data[part]
        current = _without_none(current)
        if get_origin(current) is dict:
            current = get_args(current)[-1]
        elif get_origin(current) is tuple:
            current = get_args(current)[0]
        else:
            field = getattr(current, "model_fields", {}).get(part)
            current = field.annotation if field else None
        if type(None) in get_args(current):  # a section that may be left out
            current = next(one for one in get_args(current) if one is not type(None))
        if isinstance(data, Mapping) and "effect" in data:
            current = BUILT_IN.get(str(data["effect"]))
        elif isinstance(data, Mapping) and "plugin" in data:
            current = Plugin
        elif isinstance(data, Mapping) and "parallel" in data:
            current = Parallel
    return list(getattr(_without_none(current), "model_fields", {}))


def _without_none(annotation: Any) -> Any:  # noqa: ANN401
    """The section of an annotation that allows none: `HttpSettings | None`."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    sections = [part for part in get_args(annotation) if part is not NoneType]
    return sections[0] if len(sections) == 1 else annotation
