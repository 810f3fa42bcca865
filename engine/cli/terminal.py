"""What a person sees in the terminal: progress with time left, the table of a finished set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from presets import SESSION_SUFFIXES, printable

from ..options import Progress as Stage
from ..stems.manifest import Manifest
from ..stems.wet_stem import left_out

if TYPE_CHECKING:
    from ..doctor import Examination


class Screen:
    """The terminal: progress goes to stderr, results to stdout."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        # no markup: a title may hold [b] or :cd: and is shown as it is
        self.out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
        if not self.out.is_terminal:  # in a pipe there is no width to keep to
            self.out.width = 250
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False)

    @contextlib.contextmanager
    def progress(self, mix: Path) -> Iterator[Callable[[Stage], None]]:
        """Show a bar with the time left; on no terminal, nothing."""
        if self.quiet or not self.err.is_terminal:
            yield lambda stage: None
            return
        columns = (
            TextColumn("{task.fields[mix]}  {task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task("decoding", total=None, mix=printable(mix.name), left="")

            def show(stage: Stage) -> None:
                if stage.left_s is None:
                    bar.update(task, description=stage.work or stage.stage)
                    return
                gone = bar.tasks[task].elapsed or 0.0
                bar.update(
                    task,
                    description=stage.work or stage.stage,
                    completed=gone,
                    total=gone + stage.left_s,
                    left=left_text(stage.left_s),
                )

            yield show

    def show(self, folder: Path, manifest: Manifest) -> None:
        """The finished set: level, loudness and true peak per file, null, time."""
        table = Table(box=None, pad_edge=False)
        for name in ("stem", "kind", "LUFS", "dBTP", "peak dBFS", "file"):
            text = name in ("stem", "kind", "file")
            table.add_column(name, justify="left" if text else "right", overflow="fold")
        for file in manifest.files:
            loudness = file.loudness
            table.add_row(
                printable(file.stem),
                file.kind,
                _db(loudness.integrated_lufs),
                _db(loudness.true_peak_dbtp),
                _db(loudness.sample_peak_dbfs),
                printable(file.path),
            )
        self.out.print(table)
        self._say(f"null    {null_text(manifest)}")
        for line in (*quality_lines(manifest), *voices_lines(manifest)):
            self._say(line)
        seconds = sum(manifest.seconds.values())
        length = manifest.input.frames / manifest.input.sample_rate
        self._say(
            f"time    {seconds:.1f} s for {length:.1f} s of audio: real-time factor "
            f"{seconds / length:.2f} on {manifest.provider['got']}"
        )
        for word in manifest.degraded:
            self._say(f"degraded: {word}")
        for note in manifest.input.notes:
            self._say(f"note    {note}")
        for sentence in left_out(manifest.chains):
            self._say(f"left out: {sentence}")
        self._say(f"stems   {folder / 'dry'}")
        self._say(f"report  {folder / 'manifest.json'}")
        for name, kind in (
            ("pitches", "voices/pitches.png"),
            ("listen", "report.html"),
            *(("session", f"*{suffix}") for suffix in SESSION_SUFFIXES.values()),
        ):
            for path in sorted(folder.glob(kind)):
                self._say(f"{name:<7} {path}")

    def show_facts(self, facts: Examination) -> None:
        """Print nested facts, one a line; problems last and in red."""
        for name, value in facts.items():
            if name != "problems":
                self._fact(name, value, 0)
        for problem in facts["problems"]:
            self._say(f"problem: {problem}", style="red")
        if not facts["problems"]:
            self._say("no problems found", style="green")

    def _say(self, line: str, style: str | None = None) -> None:
        self.out.print(printable(line), style=style)

    def _fact(self, name: str, value: Any, depth: int) -> None:  # noqa: ANN401
        lead = "  " * depth + f"{name:<18}"
        if isinstance(value, dict):
            self._say(lead.rstrip())
            for key, inner in value.items():
                self._fact(key, inner, depth + 1)
        elif isinstance(value, list):
            self._say(f"{lead}{', '.join(map(str, value)) or '-'}")
        else:
            self._say(f"{lead}{'-' if value is None else value}")


def left_text(left_s: float) -> str:
    """Time left as minutes and seconds."""
    minutes, seconds = divmod(round(left_s), 60)
    return f"{minutes}:{seconds:02d} left"


def null_text(manifest: Manifest) -> str:
    """Mix minus the sum of the dry stems, in words."""
    if manifest.null_dbfs is None:
        return "exact: the dry stems sum to the mix, sample for sample"
    return f"{manifest.null_dbfs:.1f} dBFS peak"


def quality_lines(manifest: Manifest) -> Iterator[str]:
    """What the quality report says; nothing about silence."""
    quality = manifest.quality
    if quality is None or quality.worst is None:
        return
    stems = ", ".join(
        f"{stem} {_db(measured.leakage_db)}" for stem, measured in quality.stems.items()
    )
    yield f"leakage {_db(quality.leakage_db)} dB ({stems}), residual {_db(quality.residual_db)} dB"
    worst = quality.worst
    yield f"worst   {worst.listen}: leakage {_db(worst.leakage_db)} dB, most in {worst.stem}"


def voices_lines(manifest: Manifest) -> Iterator[str]:
    """Where the pitches of voices come from, and how sure they are."""
    if manifest.voices is None:
        return
    from ..voices.sources import notes_on, summary_of

    pitches = manifest.voices["pitches"]
    yield f"pitches {summary_of(pitches)}"
    for note in notes_on(pitches):
        yield f"note    {note}"


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
