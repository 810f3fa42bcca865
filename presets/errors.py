"""The one family of errors that a user can cause, told in one sentence with the next step."""

from __future__ import annotations


class StemwrightError(Exception):
    """Something the user can mend: what, what was expected, what was got, what to do next.

    `code` is a short kebab-case word that programs may rely on (`mix-truncated`).
    `transient` says that trying again later may help (disk full, share gone), which the
    hot folder uses to choose between another attempt and quarantine.
    """

    def __init__(self, code: str, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.transient = transient
