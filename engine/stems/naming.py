"""Makes file names from a template and fields that come from anywhere, safely on every system."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from string import Formatter

from presets import FORBIDDEN, NAME_FIELDS, NAME_FORMS, StemwrightError, is_reserved, same_name_key

# After the P&E Wing's delivery recommendations: initials, short title, revision, stem, format.
PE_TEMPLATE = "{artist:initials}_{title:short}_r{rev}_{stem}_{rate:k}{depth}"
LONGEST_BYTES = 240  # of 255: leaves room for the marks of unfinished files
SHORT_TITLE = 14  # "less than 15 characters"
_SEPARATORS = " -_.,"


@dataclass(frozen=True)
class NameTemplate:
    """A template and what is known before writing; rate, depth and stem come with each file."""

    template: str = "{title}_{stem}"
    fields: Mapping[str, str] = field(default_factory=dict)
    ascii: bool = False

    def file_names(self, stems: Iterable[str], sample_rate: int, depth: str) -> dict[str, str]:
        """The name of every stem's file without extension, all different."""
        names: dict[str, str] = {}
        taken: set[str] = set()
        for stem in stems:
            values = {**self.fields, "stem": stem, "rate": str(sample_rate), "depth": depth}
            name = render_name(self.template, values, ascii_only=self.ascii)
            names[stem] = _free_name(name, taken)
            taken.add(same_name_key(names[stem]))
        return names


def render_name(template: str, fields: Mapping[str, str], *, ascii_only: bool = False) -> str:
    """One file name without extension.

    An empty field takes the separators behind it along: no "__" and no leading dash. Fields may
    carry `:initials`, `:short` (letters and digits, 14 at most) or `:k` (48000 as 48k). When
    the name would be too long for a file system, the longest field gives way.
    """
    pieces = _parse(template)
    values = {name: fields.get(name, "") for _, name, _ in pieces if name}
    while True:
        name = _safe(_join(pieces, values), ascii_only)
        if not _can_be_written(name):
            name = _safe(name, ascii_only=True)
        if len(name.encode()) <= LONGEST_BYTES:
            return name
        longest = max(values, key=lambda key: len(values[key].encode()))
        values[longest] = _shorter(values[longest])


def _parse(template: str) -> list[tuple[str, str | None, str]]:
    try:
        pieces = [(text, name, spec or "") for text, name, spec, _ in Formatter().parse(template)]
    except ValueError as error:
        raise _bad_template(template, str(error)) from error
    for text, name, spec in pieces:
        if name is not None and name not in NAME_FIELDS:
            raise _bad_template(template, f"{{{name}}} is no field")
        if spec not in ("", *NAME_FORMS):
            raise _bad_template(template, f"':{spec}' is none of {', '.join(NAME_FORMS)}")
        if FORBIDDEN.search(text):
            raise _bad_template(template, "a file name has no folders or special characters")
    return pieces


def _bad_template(template: str, why: str) -> StemwrightError:
    known = " ".join(f"{{{name}}}" for name in NAME_FIELDS)
    return StemwrightError("naming-invalid", f"naming template {template!r}: {why}. Use {known}.")


def _join(pieces: list[tuple[str, str | None, str]], values: Mapping[str, str]) -> str:
    name, dropped = "", False
    for text, key, spec in pieces:
        name += text.lstrip(_SEPARATORS) if dropped else text
        dropped = False
        if key:
            value = _SPECS.get(spec, _as_is)(_clean(values[key]))
            name += value
            dropped = not value
    return name.rstrip(_SEPARATORS) if dropped else name


def _clean(value: str) -> str:
    return " ".join(FORBIDDEN.sub("_", value).split())


def _as_is(value: str) -> str:
    return value


def _initials(value: str) -> str:
    return "".join(word[0].upper() for word in _plain(value, keep=" ").split())


def _short(value: str) -> str:
    return _plain(value)[:SHORT_TITLE]


def _kilohertz(value: str) -> str:
    return f"{int(value) / 1000:g}k" if value.isdigit() else value


# by the names of presets.NAME_FORMS
_SPECS = {"initials": _initials, "short": _short, "k": _kilohertz}


def _plain(value: str, keep: str = "") -> str:
    """Letters and digits without their accents."""
    bare = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    return "".join(letter for letter in bare if letter.isalnum() or letter in keep)


def _safe(name: str, ascii_only: bool) -> str:
    if ascii_only:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", _plain(name, keep=" -_."))
    name = name.lstrip(". -").rstrip(". ")  # hidden files, options, what Windows cuts off
    if is_reserved(name):
        name = "_" + name
    return name or "untitled"


def _can_be_written(name: str) -> bool:
    """Whether names of the file system have these letters: not all do in a locale of Latin-1."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _shorter(value: str) -> str:
    """Without its last character and the marks combined with it."""
    end = len(value) - 1
    while end > 0 and unicodedata.combining(value[end]):
        end -= 1
    return value[:end]


def _free_name(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while same_name_key(free) in taken:
        free, number = f"{name}-{number}", number + 1
    return free
