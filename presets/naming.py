"""How the files of a set are called: the `naming:` section."""

from __future__ import annotations

from string import Formatter

from pydantic import Field, field_validator

from .file_names import FORBIDDEN
from .section import Section

NAME_FIELDS = ("title", "stem", "artist", "isrc", "rate", "depth", "preset", "rev")
NAME_FORMS = ("initials", "short", "k")


class Naming(Section):
    """How the files are called."""

    template: str = Field(
        default="{title}_{stem}",
        max_length=120,
        description="made of " + " ".join("{%s}" % name for name in NAME_FIELDS),  # noqa: UP031
    )
    ascii: bool = Field(default=False, description="plain letters, digits, - and _ only")
    revision: int = Field(default=1, ge=0, le=9999, description="what {rev} stands for")

    @field_validator("template")
    @classmethod
    def _fields_are_known(cls, template: str) -> str:
        try:
            pieces = list(Formatter().parse(template))
        except ValueError as error:
            raise ValueError(f"is no template: {error}") from None
        for text, name, form, conversion in pieces:
            if FORBIDDEN.search(text):
                raise ValueError("names a file, so it has no folders and no special characters")
            if name is not None and (name not in NAME_FIELDS or conversion):
                raise ValueError(f"has {{{name}}}, but the fields are {', '.join(NAME_FIELDS)}")
            if form and form not in NAME_FORMS:
                raise ValueError(f"has ':{form}', but the forms are {', '.join(NAME_FORMS)}")
        if "stem" not in {name for _, name, _, _ in pieces}:
            raise ValueError("needs {stem}, or all stems would have the same name")
        return template
