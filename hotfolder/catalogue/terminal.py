"""What a person, a log or a program sees of a catalogue run while it goes on."""

from __future__ import annotations

import time
from dataclasses import asdict
from types import TracebackType

from presets import complain, duration_text, say_json

from .batch import Snapshot

LINE_S = 30.0  # between two plain lines, when nobody looks


class BatchScreen:
    """A bar on a terminal, a line now and then elsewhere, or JSON lines."""

    def __init__(self, *, as_json: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._last: tuple[int, int, int, int] | None = None
        self._shown_s = float("-inf")
        if self._console.is_terminal and not as_json:
            text = TextColumn("{task.description}", markup=False)
            self._bar = Progress(BarColumn(), MofNCompleteColumn(), text, console=self._console)
            self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> BatchScreen:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Tell how far the run is, when that is news."""
        counts = (snapshot.done, snapshot.failed, snapshot.in_work, snapshot.waiting)
        if self._bar:
            finished = snapshot.done + snapshot.failed
            self._bar.update(
                self._task,
                completed=finished,
                total=snapshot.rows,
                description=sentence(snapshot),
            )
            return
        now_s = time.monotonic()
        news = counts != self._last if self._as_json else now_s - self._shown_s >= LINE_S
        if news:
            self._last, self._shown_s = counts, now_s
            rtf = {"rtf": snapshot.rtf}
            if self._as_json:
                say_json(asdict(snapshot) | rtf)
            else:
                complain(sentence(snapshot))


def sentence(snapshot: Snapshot) -> str:
    """`12 of 40 done, 1 failed, 2 in work, 0.7 h of audio, RTF 0.41, 12 min left`, and what the
    rest waits for, where something is missing or full."""
    parts = [
        f"{snapshot.done} of {snapshot.rows} done",
        f"{snapshot.failed} failed",
        f"{snapshot.in_work} in work",
        f"{snapshot.audio_s / 3600:.2f} h of audio",
    ]
    if snapshot.rtf is not None:
        parts.append(f"RTF {snapshot.rtf:.2f}")
    if snapshot.left_s is not None:
        parts.append(f"{duration_text(snapshot.left_s)} left")
    so_far = ", ".join(parts)
    if not snapshot.waiting:
        return so_far
    return f"{so_far}; {snapshot.waiting} wait to be tried again: {snapshot.waits_because}"
