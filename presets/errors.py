"""The one family of errors that a user can cause, told in one sentence with the next step."""

from __future__ import annotations

import os
from pathlib import Path

from .printable import printable


class StemwrightError(Exception):
    """Something the user can mend: what, what was expected, what was got, what to do next.

    `code` is a short kebab-case word that programs may rely on (`mix-truncated`). `lines` are the
    sentences, one nearly always; names in them may come from anywhere, so they are printable.
    `transient` says that trying again later may help (disk full, share gone), which the
    hot folder uses to choose between another attempt and quarantine.
    """

    def __init__(self, code: str, *lines: str, transient: bool = False) -> None:
        self.lines = tuple(map(printable, lines))
        super().__init__("\n".join(self.lines))
        self.code = code
        self.transient = transient

    @property
    def sentence(self) -> str:
        """All in one line, where there is room for one only."""
        return "; ".join(self.lines)


def placed_at(path: str | os.PathLike[str], sentence: str) -> str:
    """A sentence that begins with a file's name, with its path instead: names come twice."""
    return f"{printable(path)}: {unplaced(path, sentence)}"


def unplaced(path: str | os.PathLike[str], sentence: str) -> str:
    """A sentence that begins with a file's name, without it: for where the path stands beside."""
    return sentence.removeprefix(f"{printable(Path(path).name)}: ")
