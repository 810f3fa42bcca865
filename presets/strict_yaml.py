"""A strict reader of YAML: plain data with the place of every key, and none of YAML 1.1's traps.

PyYAML itself keeps the last of two equal keys, reads `no` as false, `1:30` as 90 and `012` as
ten, and unfolds aliases without end. Here each of these is an error with its line and column.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .errors import StemwrightError

MAX_BYTES = 65_536
MAX_DEPTH = 32
Path = tuple[str | int, ...]

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_TRAPS = [
    (re.compile(r"(yes|no|on|off|y|n)", re.I), "write true or false, or put it in quotes"),
    (re.compile(r"[-+]?0[0-9_]+"), "a leading zero; write the number without it, or in quotes"),
    (re.compile(r"[-+]?0[xobXOB].*"), "write the number in decimal, or put it in quotes"),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"),
     "YAML 1.1 reads this to base 60; put it in quotes"),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_.]*"), "write the number without underscores"),
    (re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+"), "write the number out; readers disagree on it"),
    (re.compile(r"[-+]?\.?(nan|inf|infinity)", re.I), "must be a finite number"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*"), "YAML reads a date; put it in quotes"),
    (re.compile(r"<<|="), "is not supported; write the keys out, or use `extends:`"),
]  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """A place in a file, counted from one."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass
class Document:
    """Plain data and, for every path into it, where its key and its value stand."""

    data: Any
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)
    secret: frozenset[str] = frozenset()

    def hides(self, path: Path) -> bool:
        """Whether what stands at a path, or below, may never be repeated in a message."""
        return not self.secret.isdisjoint(map(str, path))

    def value_mark(self, path: Path) -> Mark:
        """The nearest mark at or above a path."""
        while path not in self.values and path:
            path = path[:-1]
        return self.values[path]

    def key_mark(self, path: Path) -> Mark:
        return self.keys.get(path) or self.value_mark(path)


def read_strict(
    raw: bytes, file: str, words: Collection[str] = (), secret: Iterable[str] = ()
) -> Document:
    """One YAML document as plain data; everything unclear is a `StemwrightError`.

    `words` are read as text where they stand without quotes, although YAML 1.1 knows better.
    What stands below one of the `secret` keys is never repeated in an error.
    """
    if len(raw) > MAX_BYTES:
        raise _error(file, f"is {len(raw)} bytes long, a preset has at most {MAX_BYTES}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _error(f"{file}:{line}:1", "is not UTF-8 text; save it as UTF-8") from None
    try:
        _refuse_indirection(text, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = Document(data=None, secret=frozenset(secret))
        document.data = _Reader(file, document, words).read(node, ()) if node else None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, file) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise _error(f"{file}:1:1", str(error).splitlines()[0]) from None
    document.values.setdefault((), Mark(file, 1, 1))
    return document


def _refuse_indirection(text: str, file: str) -> None:
    documents = depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        start = event.start_mark
        mark = f"{file}:{start.line + 1}:{start.column + 1}" if start else file
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:  # PyYAML's time grows with the square of the depth
            raise _error(mark, f"is nested more than {MAX_DEPTH} levels deep")
        if documents > 1:
            raise _error(mark, "starts a second document; a preset is one")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _error(mark, "uses an anchor or alias; write it out, or use `extends:`")
        if tag := getattr(event, "tag", None):
            raise _error(mark, f"has the tag {tag}; a preset has none")


def _syntax_error(error: yaml.MarkedYAMLError, file: str) -> StemwrightError:
    mark = error.problem_mark or error.context_mark
    place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else f"{file}:1:1"
    return _error(place, error.problem or error.context or "is no YAML")


def _error(place: str, message: str) -> StemwrightError:
    return StemwrightError("preset-invalid", f"{place}: {message}")


class _Reader:
    """Turns nodes into data and writes down where they stood."""

    def __init__(self, file: str, document: Document, words: Collection[str]) -> None:
        self.file, self.document, self.words = file, document, words

    def mark(self, node: Node) -> Mark:
        return Mark(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def read(self, node: Node, path: Path) -> Any:  # noqa: ANN401
        self.document.values[path] = self.mark(node)
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            # tuples, because the schema is frozen all the way down
            return tuple(self.read(item, (*path, i)) for i, item in enumerate(node.value))
        assert isinstance(node, ScalarNode)
        return self.scalar(node, path)

    def mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.scalar(key_node, path) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                raise _error(str(self.mark(key_node)), "this key is no text; put it in quotes")
            if key in result:
                first = self.document.keys[(*path, key)]
                shown = "this key" if self.document.hides(path) else key
                message = f"{shown} stands here twice (first in line {first.line})"
                raise _error(str(self.mark(key_node)), message)
            self.document.keys[(*path, key)] = self.mark(key_node)
            result[key] = self.read(value_node, (*path, key))
        return result

    def scalar(self, node: ScalarNode, path: Path) -> str | int | float | bool | None:
        text: str = node.value
        if node.style is not None or text in self.words:  # quoted, or a block of text
            return text
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return text.lower() == "true"
        if _INT.fullmatch(text) and len(text) <= 18:
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        for trap, advice in _TRAPS:
            if trap.fullmatch(text):
                shown = "this value" if self.document.hides(path) else text
                raise _error(str(self.mark(node)), f"{shown}: {advice}")
        return text
