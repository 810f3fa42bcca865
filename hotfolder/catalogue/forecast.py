"""How long will a catalogue take on this machine? A piece of it is separated, and extrapolated.

A title costs twice: once for itself, since every worker starts, loads its sessions and measures
what it wrote, and again for each second of its audio. Both are measured, with the real program on
the catalogue's own music: noise is done sooner, as there is nothing in it to be searched for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import separators_rate
from presets import StemwrightError, duration_text, load_preset

from ..settings import HotFolderSettings
from .listing import Row

SHORT_S, LONG_S = 1.0, 10.0
MOST_MEASURED = 3  # presets; others are taken for the dearest of them

# One child reads all headers: a damaged file may take a decoder down with it, but not us.
_LENGTHS = """
import os, sys
import soundfile
for name in sys.stdin.buffer.read().split(b"\\0"):
    try:
        facts = soundfile.info(os.fsdecode(name) if os.name == "nt" else name)
        print(facts.frames / facts.samplerate, flush=True)
    except Exception:
        print(0.0, flush=True)
"""

_PIECE = """
import sys
from pathlib import Path
import soundfile
from engine import decode_mix
mix, piece, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
with decode_mix(mix, piece.parent).open() as reader:
    rate, frames = reader.info.sample_rate, reader.info.frames
    wanted = min(frames, int(seconds * rate))
    reader.read((frames - wanted) // 2)
    soundfile.write(piece, reader.read(wanted).audio.T, rate, "PCM_24")
print(wanted / rate)
"""

_RENDER = """
import sys
from pathlib import Path
from hotfolder.engine_protocol import load_engine, render_options
from hotfolder.settings import WorkerSettings
from presets import load_preset
mix, place, preset, settings = sys.argv[1:]
engine = load_engine("engine")
options = render_options(engine, WorkerSettings.model_validate_json(settings))
engine.render(Path(mix), Path(place), load_preset(preset), options)
"""


@dataclass(frozen=True)
class Cost:
    """What a title takes with one worker: seconds for itself, and for each second of audio."""

    title_s: float
    rtf: float


def audio_seconds(paths: Iterable[Path]) -> list[float]:
    """The length of every mix by its header; 0 for one that cannot be read."""
    waiting, lengths = [os.fsencode(path) for path in paths], []
    while waiting:
        answer = subprocess.run(
            [sys.executable, "-c", _LENGTHS],
            input=b"\0".join(waiting),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        found = [float(line) for line in answer.stdout.split()][: len(waiting)]
        lengths += found
        waiting = waiting[len(found) :]
        if waiting:  # the first of these ended the child
            lengths.append(0.0)
            waiting = waiting[1:]
    return lengths


def forecast_s(rows: Sequence[Row], lengths: Sequence[float], costs: Mapping[str, Cost]) -> float:
    """Seconds for all titles with one worker."""
    dearest = max(costs.values(), key=lambda cost: cost.title_s + cost.rtf * LONG_S)
    return sum(
        cost.title_s + cost.rtf * length
        for row, length in zip(rows, lengths, strict=True)
        for cost in [costs.get(row.preset, dearest)]
    )


def measured_costs(
    rows: Sequence[Row], lengths: Sequence[float], settings: HotFolderSettings
) -> dict[str, Cost]:
    """The cost of a title by preset, measured by separating pieces of the longest ones."""
    of_preset: dict[str, list[tuple[float, Path]]] = defaultdict(list)
    for row, length in zip(rows, lengths, strict=True):
        of_preset[row.preset].append((length, row.path))
    common = sorted(of_preset, key=lambda name: -len(of_preset[name]))[:MOST_MEASURED]
    return {name: _measured(max(of_preset[name])[1], name, settings) for name in common}


def separator_costs(
    rows: Sequence[Row], lengths: Sequence[float], settings: HotFolderSettings
) -> Iterator[str]:
    """What separators of one's own take, by their checks; a sentence for every preset."""
    folders = tuple(map(Path, settings.worker.separator_folders))
    for name in dict.fromkeys(row.preset for row in rows):
        preset = load_preset(name)
        try:
            rate = separators_rate(preset, folders) if preset.sources.cards else 0.0
        except StemwrightError:  # its rows will say so, and the others are done
            continue
        if rate:
            own = [s for row, s in zip(rows, lengths, strict=True) if row.preset == name]
            yield (
                f"{name}: {', '.join(preset.sources.cards)} take about {60 * rate:.0f} s for each "
                f"minute of audio, {duration_text(rate * sum(own))} for {len(own)} title(s)"
            )


def _measured(mix: Path, preset: str, settings: HotFolderSettings) -> Cost:
    """Separate two pieces of a mix, each in a process of its own, as a worker would."""
    worker = settings.worker.model_dump_json()
    with tempfile.TemporaryDirectory(prefix="stemwright-forecast-") as name:

        def timed(seconds: float) -> tuple[float, float]:
            piece = Path(name) / f"{seconds:g}.wav"
            length_s = float(_child(_PIECE, mix, piece, seconds))
            began_s = time.monotonic()
            _child(_RENDER, piece, Path(name) / f"set-{seconds:g}", preset, worker)
            return length_s, time.monotonic() - began_s

        return _cost(timed)


def _cost(timed: Callable[[float], tuple[float, float]]) -> Cost:
    """The line through two measurements; never less than the longer one says by itself."""
    (short_s, short_took_s), (long_s, long_took_s) = timed(SHORT_S), timed(LONG_S)
    if long_s <= short_s:
        return Cost(long_took_s, 0.0)
    rtf = max(0.0, (long_took_s - short_took_s) / (long_s - short_s))
    return Cost(max(0.0, long_took_s - rtf * long_s), rtf)


def _child(program: str, mix: Path, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, mix, *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise StemwrightError(
            "forecast-failed",
            f"{mix}: a piece of it could not be separated, so there is no forecast: {last}",
        )
    return done.stdout
