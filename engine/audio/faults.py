"""The sentences for a file that is not whole: both figures, and a next step that helps.

Every container answers two questions, is anything missing and is anything left over, and every
answer that is not "no" becomes one of these errors. Advice differs by container, since a command
that mends one leaves another as it was.
"""

from __future__ import annotations

from pathlib import Path

from presets import StemwrightError

# What may be different when the file has arrived whole: the hot folder waits on these.
ARRIVING = ("mix-truncated", "mix-unfinished", "mix-left-over")


class FaultyFileError(StemwrightError):
    """A file whose structure is not sound: `what` is wrong, without its name and the advice."""

    def __init__(self, path: Path, code: str, what: str, advice: str) -> None:
        super().__init__(code, f"{path.name}: {what}. {advice}")
        self.what = what


def damaged(path: Path, what: str) -> FaultyFileError:
    """The structure contradicts itself."""
    return FaultyFileError(path, "mix-damaged", what, "Copy the file again or export it anew.")


def unsupported(path: Path, what: str, advice: str) -> FaultyFileError:
    """Sound, but of a kind that is not read."""
    return FaultyFileError(path, "mix-format-unsupported", what, advice)


def truncated(
    path: Path,
    promised: int | str,
    there: int | str,
    unit: str = "bytes of audio",
    advice: str = "Copy the file again.",
) -> FaultyFileError:
    """Less is there than the header counts."""
    there = max(there, 0) if isinstance(there, int) else there
    counted = f"{promised} {unit}" if unit else promised
    what = f"the header promises {counted}, {there} are there"
    return FaultyFileError(path, "mix-truncated", what, advice)


def left_over(
    path: Path, counted: int | str, there: int | str, unit: str, advice: str
) -> FaultyFileError:
    """More is there than the header counts, and it is neither a tag nor padding."""
    counted = f"{counted} {unit}" if unit else counted
    what = f"the header counts {counted}, {there} are there, and the rest may be audio"
    return FaultyFileError(path, "mix-left-over", what, advice)


def unfinished(path: Path, what: str, rescue: str) -> FaultyFileError:
    """A header that its writer never completed."""
    problem = f"{what}, so nothing says whether all audio is there"
    advice = f"A recorder or a pipe was still writing: let it finish. If it has ended, {rescue}"
    return FaultyFileError(path, "mix-unfinished", problem, advice)
