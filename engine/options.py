"""How a render is asked for, and how it tells where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """Where a render is: decoding, searching, writing, processing or publishing.

    `work` names the part that runs, such as a separator and what it takes apart. `left_s` is
    what this render has measured of itself so far, carried on to its end.
    """

    stage: str
    segment: int = 0
    segments: int = 0
    work: str = ""
    left_s: float | None = None


@dataclass(frozen=True)
class RenderOptions:
    """How to render; nothing here but `seed`, `tier`, priors, cards and a deadline that cuts the
    search changes the result.

    `deadline_s` counts from the start of each mix. The search ends early to keep it, and the
    manifest then says so in `degraded`; reading and writing are never cut.
    `unchecked_separators` says what happens with a card that has no lock of its check, and
    `commercial_only` refuses those whose commercial use is not allowed or unknown.
    `workspace` is a folder for checkpoints: a render that was interrupted and is called again
    with the same workspace goes on at its segment and ends with the same bytes.
    `guard` is called before anything is written and right before the set becomes visible; it may
    raise to keep it back, as the hot folder's does when the outbox is not mounted.
    `score` (a MIDI file) and `pitch_files` (tables, `NAME=FILE` for one voice) tell the pitches of
    a preset's `voices`; without them what lies beside the mix does.
    """

    device: str = "auto"
    strict_device: bool = False
    seed: int = 0
    tier: str | None = None
    threads: int = 0
    prior_folders: tuple[Path, ...] = ()
    separator_folders: tuple[Path, ...] = ()
    unchecked_separators: Literal["refuse", "warn"] = "refuse"
    commercial_only: bool = False
    workspace: Path | None = None
    deadline_s: float | None = None
    score: Path | None = None
    pitch_files: tuple[str, ...] = ()
    progress: Callable[[Progress], None] | None = None
    should_stop: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        """Folders may be given as text, as they come through a pipe."""
        for name in ("prior_folders", "separator_folders"):
            object.__setattr__(self, name, tuple(map(Path, getattr(self, name))))

    guard: Callable[[], None] = lambda: None


DEFAULT_OPTIONS = RenderOptions()
