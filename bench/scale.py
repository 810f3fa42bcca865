"""What a catalogue costs beside the separation itself, and what that means for large ones.

    python bench/scale.py                 # journal at 100,000 rows, overhead per job
    python bench/scale.py --separate      # also the real engine with one and with two workers

Prints a page; docs/scale.md holds one.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE / "tests")]

from hotfolder.catalogue.batch import Batch  # noqa: E402
from hotfolder.catalogue.listing import Catalogue, Row, read_catalogue  # noqa: E402
from hotfolder.catalogue.report import write_reports  # noqa: E402
from hotfolder.clock import Instant  # noqa: E402
from hotfolder.job import State  # noqa: E402
from hotfolder.settings import HotFolderSettings, WorkerSettings  # noqa: E402

ROWS = 100_000
CLAIMS = 2_000
JOBS = 40
RATE_HZ = 44_100
SONG_S = 210.0


def rows_of(count: int) -> list[Row]:
    """Rows of files that need not exist."""
    return [
        Row(
            number, Path(f"/catalogue/{number // 1000}/{number}.wav"), "default", f"Title {number}"
        )
        for number in range(1, count + 1)
    ]


def measure_journal(folder: Path) -> dict[str, float]:
    """Rows per second of the journal: entering, claiming and finishing, reporting."""
    rows = rows_of(ROWS)
    catalogue = Catalogue(tuple(rows), ())
    (folder / "out").mkdir()
    batch = Batch(catalogue, folder / "out", folder / "state", HotFolderSettings())
    began = time.perf_counter()
    batch.enter()
    entered = time.perf_counter() - began
    journal, now = batch.journal, Instant.now()
    began = time.perf_counter()
    for _ in range(CLAIMS):
        job = journal.claim("bench", now, 30, 1800)
        journal.advance(job, replace(job, state=State.DONE, owner=None), now)
    claimed = time.perf_counter() - began
    began = time.perf_counter()
    write_reports(catalogue, journal, folder / "out", now)
    reported = time.perf_counter() - began
    began = time.perf_counter()
    batch.snapshot(now)
    counted = time.perf_counter() - began
    size_mb = sum(path.stat().st_size for path in (folder / "state").iterdir() if path.is_file())
    batch.close()
    return {
        "rows entered per second": ROWS / entered,
        "claims and endings per second (each synced to disk)": CLAIMS / claimed,
        "rows reported per second": ROWS / reported,
        "milliseconds for one look at the counts": 1000 * counted,
        "bytes of journal per row": size_mb / ROWS,
    }


def measure_overhead(folder: Path) -> dict[str, float]:
    """Seconds of each job that are not separation: process, imports, hashing, publishing."""
    for number in range(JOBS):
        write_mix(folder / "mixes" / f"{number}.wav", 1.0, number)
    seconds = run(folder, read_catalogue(folder / "mixes"), 1, "hotfolder_fixtures")
    return {"seconds per job without any separation": seconds / JOBS}


def measure_separation(folder: Path, preset: str) -> dict[str, float]:
    """Audio seconds per second with one worker and with two, one thread each."""
    found = {}
    for number in range(4):
        write_mix(folder / "songs" / f"{number}.wav", 30.0, number)
    for jobs in (1, 2):
        part = folder / f"with {jobs}"
        part.mkdir()
        seconds = run(part, read_catalogue(folder / "songs", preset), jobs, "engine")
        found[f"real-time factor with {jobs} worker(s)"] = seconds / (4 * 30.0)
    return found


def run(folder: Path, catalogue: Catalogue, jobs: int, backend: str) -> float:
    """Works a catalogue off; returns seconds."""
    settings = HotFolderSettings(jobs=jobs, worker=WorkerSettings(threads=1))
    batch = Batch(catalogue, folder / "out", folder / "state", settings, backend=backend)
    batch.enter()
    began = time.perf_counter()
    batch.run(lambda snapshot: None)
    seconds = time.perf_counter() - began
    done = batch.journal.statistics.counts()[State.DONE]
    batch.close()
    if done != len(catalogue.rows):
        raise SystemExit(f"{len(catalogue.rows) - done} rows were not done")
    return seconds


def write_mix(path: Path, seconds: float, seed: int) -> None:
    """Noisy tones, 16 bits, two channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * rng.uniform(60, 4000) * time_s)
    audio = np.stack([tone, tone + 0.05 * rng.normal(size=time_s.size)], axis=1)
    soundfile.write(path, audio, RATE_HZ, subtype="PCM_16")


def main() -> None:
    """Prints the page's figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--separate", action="store_true")
    parser.add_argument("--preset", default="default")
    asked = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| what | measured |\n|---|---|")
    figures = {}
    for measure in (measure_journal, measure_overhead):
        with tempfile.TemporaryDirectory() as name:
            figures |= measure(Path(name))
    if asked.separate:
        with tempfile.TemporaryDirectory() as name:
            figures |= measure_separation(Path(name), asked.preset)
    for what, value in figures.items():
        print(f"| {what} | {value:.4g} |")


if __name__ == "__main__":
    main()
