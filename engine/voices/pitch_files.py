"""Pitches that somebody has written down: tables of seconds and Hz, for all voices or for one.

Three forms are read (docs/voices.md): a CSV table whose head names the voices; JSON of this
program, which is also what it writes; and files of one voice, two or three columns of seconds, Hz
and confidence, as pYIN, CREPE and `.f0` files of datasets have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError, printable

from .pitches import HIGHEST_HZ, LOWEST_HZ, PitchTracks
from .salience import FRAME_S

Double = NDArray[np.float64]

MOST_BYTES = 64 << 20
GAP_S = 0.06  # a table's rows farther apart than this have a rest between them
ENDINGS = (".csv", ".json", ".f0", ".txt", ".tsv")


def read_pitch_files(paths: Sequence[Path | str], names: Sequence[str]) -> PitchTracks:
    """Read pitches of all `names` from files; `name=FILE` says whose a file is.

    Raises StemwrightError for what is no table, and for voices that no file gives.
    """
    columns: dict[str, tuple[Double, Double, Double]] = {}
    for argument in paths:
        owner, path = _name_and_path(str(argument), names)
        for name, column in _voices_in(path, owner, names).items():
            if name in columns:
                raise _wrong(path, f"gives {name}, which another file has given already")
            columns[name] = column
    if missing := [name for name in names if name not in columns]:
        raise StemwrightError(
            "voices-parts",
            f"no pitches for {', '.join(missing)}: the files give {', '.join(columns) or 'none'}. "
            "Name the voices in a table's head, or say NAME=FILE.",
        )
    frames = 1 + int(max(times[-1] for times, _, _ in columns.values()) / FRAME_S + 0.5)
    grid: Double = np.arange(frames, dtype=np.float64) * FRAME_S
    rows = [_on_grid(grid, *columns[name]) for name in names]
    hertz, confidence = (np.stack(part) for part in zip(*rows, strict=True))
    return PitchTracks(tuple(names), hertz, FRAME_S, confidence, "file")


def pitches_json(tracks: PitchTracks) -> str:
    """Write pitches down in the form that `read_pitch_files` takes again."""
    document = {
        "origin": tracks.origin,
        "frame_seconds": tracks.frame_seconds,
        "voices": {
            name: {
                "hertz": [round(float(value), 2) for value in hertz],
                "confidence": [round(float(value), 2) for value in sure],
            }
            for name, hertz, sure in zip(
                tracks.names, tracks.hertz, tracks.confidence, strict=True
            )
        },
    }
    return json.dumps(document, separators=(",", ":")) + "\n"


def _name_and_path(argument: str, names: Sequence[str]) -> tuple[str | None, Path]:
    name, equals, rest = argument.partition("=")
    if equals and name in names and not Path(argument).exists():
        return name, Path(rest)
    return None, Path(argument)


def _voices_in(
    path: Path, owner: str | None, names: Sequence[str]
) -> dict[str, tuple[Double, Double, Double]]:
    """Seconds, Hz and confidence of every voice in a file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _wrong(path, f"is longer than {MOST_BYTES >> 20} MiB")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise _wrong(path, f"{error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _wrong(path, "is no text in UTF-8") from error
    if text.lstrip().startswith("{"):
        return _from_json(path, text, names)
    head, rows = _table(path, text)
    if named := {name: head.index(name) for name in names if name in head}:
        sure = np.ones(len(rows))
        return {name: _checked(path, rows[:, 0], rows[:, n], sure) for name, n in named.items()}
    if rows.shape[1] not in (2, 3):
        raise _wrong(
            path,
            f"has {rows.shape[1]} columns and no head that names {', '.join(names)}; expected "
            "`time,NAME,NAME,...`, or two or three columns: seconds, Hz, confidence",
        )
    name = owner or _name_in(path, names)
    sure = rows[:, 2] if rows.shape[1] == 3 else np.ones(len(rows))
    return {name: _checked(path, rows[:, 0], rows[:, 1], sure)}


def _from_json(
    path: Path, text: str, names: Sequence[str]
) -> dict[str, tuple[Double, Double, Double]]:
    try:
        document = json.loads(text)
        step = float(document["frame_seconds"])
        voices = document["voices"]
        found = {}
        for name in names:
            if name not in voices:
                continue
            one = voices[name]
            hertz = np.array(one["hertz"] if isinstance(one, dict) else one, float)
            sure = one.get("confidence") if isinstance(one, dict) else None
            confidence = np.array(sure, float) if sure is not None else np.ones(len(hertz))
            if hertz.ndim != 1 or hertz.shape != confidence.shape:
                raise _wrong(path, f"{name}: hertz and confidence are not two equally long lists")
            times: Double = np.arange(len(hertz), dtype=np.float64) * step
            found[name] = _checked(path, times, hertz, confidence)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _wrong(
            path,
            "is not the JSON of pitches; expected "
            f'{{"frame_seconds": 0.016, "voices": {{"NAME": [Hz, ...]}}}} ({error!r})',
        ) from error
    return found


def _table(path: Path, text: str) -> tuple[list[str], Double]:
    """The head, lower-cased and empty where there is none, and the numbers, (rows, columns)."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    cells = [[cell.strip() for cell in re.split(r"[,;\t]|\s+", line.strip())] for line in lines]
    head: list[str] = []
    if cells and not _is_number(cells[0][0]):
        head = [cell.casefold() for cell in cells.pop(0)]
    if not cells:
        raise _wrong(path, "has no row of numbers")
    width = len(head) or len(cells[0])
    for number, row in enumerate(cells, 1 + bool(head)):
        bad = next((cell for cell in row if cell and not _is_number(cell)), None)
        if bad is not None or len(row) != width:
            why = f"{bad!r} is no number" if bad else f"{len(row)} columns, {width} expected"
            raise _wrong(path, f"row {number}: {why}")
    return head, np.array([[float(cell or 0) for cell in row] for row in cells])


def _checked(
    path: Path, times: Double, hertz: Double, sure: Double
) -> tuple[Double, Double, Double]:
    """A column whose times rise and whose pitches are a voice's."""
    hertz = np.where(np.isfinite(hertz) & (hertz > 0), hertz, 0)  # pYIN writes -f where unvoiced
    if not len(times) or (np.diff(times) <= 0).any() or not np.isfinite(times).all():
        raise _wrong(path, "its times do not rise from row to row")
    if times[0] < 0 or times[-1] > 86400:
        raise _wrong(path, f"times from {times[0]:g} to {times[-1]:g} s; expected seconds from 0")
    sung = hertz[hertz > 0]
    if len(sung) and (sung.min() < LOWEST_HZ or sung.max() > HIGHEST_HZ):
        raise _wrong(
            path,
            f"pitches from {sung.min():g} to {sung.max():g}; expected Hz from {LOWEST_HZ:g} to "
            f"{HIGHEST_HZ:g}, 0 for a rest (notes of MIDI are not Hz)",
        )
    return times, hertz, np.clip(np.nan_to_num(sure), 0, 1)


def _name_in(path: Path, names: Sequence[str]) -> str:
    """The voice whose name is a word of the file's name."""
    words = re.findall(r"[a-z0-9]+", path.stem.casefold())
    found = [name for name in names if set(re.findall(r"[a-z0-9]+", name)) <= set(words)]
    if len(found) != 1:
        raise _wrong(path, f"its name tells none of {', '.join(names)}; say NAME={path.name}")
    return found[0]


def _on_grid(
    grid: Double, times: Double, hertz: Double, sure: Double
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Put a column of uneven times on the frames: near rows glide, beside rests the nearer wins"""
    right = np.clip(np.searchsorted(times, grid), 0, len(times) - 1)
    left = np.maximum(right - 1, 0)
    nearer = np.where(np.abs(grid - times[left]) <= np.abs(times[right] - grid), left, right)
    near = np.abs(times[nearer] - grid) <= GAP_S
    both = (hertz[left] > 0) & (hertz[right] > 0) & (times[right] - times[left] <= 2 * GAP_S)
    both &= (grid >= times[left]) & (grid <= times[right])
    span = np.maximum(times[right] - times[left], 1e-9)
    share = np.clip((grid - times[left]) / span, 0, 1)
    logs = np.log(np.where(hertz > 0, hertz, 1))
    glide = np.exp((1 - share) * logs[left] + share * logs[right])
    found = np.where(both, glide, np.where(near, hertz[nearer], 0))
    return found.astype(np.float32), np.where(near, sure[nearer], 0).astype(np.float32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _wrong(path: Path, why: str) -> StemwrightError:
    return StemwrightError("voices-f0", f"{printable(path)}: {why}.")
