"""Foreign text made fit to print: names, tags, cells and messages may hold anything.

A file's name can carry an escape sequence that clears the screen, a newline that fakes a line
of ours, or a mark that turns the rest of the line round. Whatever was not written by this program
goes through `printable` before a person sees it, in a terminal, a log or a reason.
"""

from __future__ import annotations

import os
import re
import unicodedata

# Letters of living scripts are joined and parted by these two, and titles of East Asia hold wide
# spaces: neither moves a cursor nor turns a line round.
_JOINERS = "\u200c\u200d"
_SUSPECT = re.compile(r"[^\x20-\x7e]")


def name_text(name: str | os.PathLike[str]) -> str:
    """A file's name as text, the same in every locale.

    A name is bytes on most systems: UTF-8 nearly everywhere, else what Western programs wrote
    (Windows-1252). No lone surrogate of `surrogateescape` is left, so that it can be written.
    """
    raw = os.fsencode(name) if os.name != "nt" else os.fspath(name).encode("utf-8", "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def printable(text: str | os.PathLike[str]) -> str:
    r"""The text in one line that no terminal obeys.

    Control characters (C0, DEL and C1, so ESC, OSC, BEL, tab and newline too), line and paragraph
    separators, bidi and other invisible marks, private and unassigned code points become `\x1b`,
    `\u202e` or `\U000e0001`. A byte of a name that is not text (a lone surrogate of
    `surrogateescape`) becomes `\xff`. Everything else stays, so that what is left depends on no
    locale.
    """
    return _SUSPECT.sub(lambda found: _visible(found[0]), os.fspath(text))


def _visible(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs":
        return letter
    number = ord(letter)
    if number < 0x80:
        return f"\\x{number:02x}"
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
