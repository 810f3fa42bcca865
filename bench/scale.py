"""What a catalogue costs beside the separation itself, and what that means for large ones.

    python bench/scale.py                 # journal at 100,000 rows, overhead per job
    python bench/scale.py --separate      # also the real engine with one and with two workers,
                                          # of the batch and of a Dask cluster on this machine

Prints a page; docs/scale.md holds one.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE / "tests")]

from hotfolder.catalogue.batch import Batch  # noqa: E402
from hotfolder.catalogue.cluster import Cluster  # noqa: E402
from hotfolder.catalogue.listing import Catalogue, Row, read_catalogue  # noqa: E402
from hotfolder.catalogue.report import SUMMARY_HTML, write_reports  # noqa: E402
from hotfolder.clock import Instant  # noqa: E402
from hotfolder.job import State  # noqa: E402
from hotfolder.settings import HotFolderSettings, WorkerSettings  # noqa: E402

ROWS = 100_000
CLAIMS = 2_000
JOBS = 20
RATE_HZ = 44_100
SONG_S = 210.0
TITLES = ((3.0, 8), (30.0, 4), (120.0, 2))  # lengths in seconds and how many of each
ALIKE = 6  # titles for each worker, where one and two are compared


def rows_of(count: int) -> list[Row]:
    """Rows of files that need not exist."""
    return [
        Row(
            number, Path(f"/catalogue/{number // 1000}/{number}.wav"), "default", f"Title {number}"
        )
        for number in range(1, count + 1)
    ]


def measure_journal(folder: Path) -> dict[str, float]:
    """Rates of the journal and the report. What no disk is waited for is told in processor
    seconds, which barely change when the machine has other work."""
    rows = rows_of(ROWS)
    catalogue = Catalogue(tuple(rows), ())
    (folder / "out").mkdir()
    batch = Batch(catalogue, folder / "out", folder / "state", HotFolderSettings())
    entered = _cpu_s(batch.enter)
    journal, now = batch.journal, Instant.now()
    began = time.perf_counter()
    for _ in range(CLAIMS):
        job = journal.claim("bench", now, 30, 1800)
        assert job is not None, "there are more rows than claims"
        journal.advance(job, replace(job, state=State.DONE, owner=None), now)
    claimed = time.perf_counter() - began
    reported = _cpu_s(lambda: write_reports(catalogue, journal, folder / "out", now))
    counted = _cpu_s(lambda: batch.snapshot(now))
    page = (folder / "out" / SUMMARY_HTML).stat().st_size
    size_mb = sum(path.stat().st_size for path in (folder / "state").iterdir() if path.is_file())
    batch.close()
    return {
        "journal: rows entered per processor second, at 100,000 rows": ROWS / entered,
        "journal: claims and endings per second, each synced to disk": CLAIMS / claimed,
        "report and page: rows per processor second": ROWS / reported,
        "page: bytes per row": page / ROWS,
        "journal: processor milliseconds for one look at the counts": 1000 * counted,
        "journal: bytes per row": size_mb / ROWS,
    }


def measure_overhead(folder: Path) -> dict[str, float]:
    """What each job costs beside the separation: process, imports, hashing, publishing."""
    for number in range(JOBS):
        write_mix(folder / "mixes" / f"{number}.wav", 1.0, number)
    before = _children_s()
    seconds = run(folder, read_catalogue(folder / "mixes"), 1, "hotfolder_fixtures")
    return {
        "job without any separation: seconds": seconds / JOBS,
        "job without any separation: processor seconds": (_children_s() - before) / JOBS,
    }


def measure_list(folder: Path) -> dict[str, float]:
    """How fast one reads and checks a list whose files are all there."""
    mixes = folder / "mixes"
    mixes.mkdir()
    lines = ["path,artist,title"]
    for number in range(ROWS):
        with (mixes / f"{number}.wav").open("wb") as file:
            file.truncate(number + 1)  # of equal sizes the content would be compared
        lines.append(f"mixes/{number}.wav,Artist {number // 12},Title {number}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    began = time.process_time()
    catalogue = read_catalogue(folder / "list.csv")
    seconds = time.process_time() - began
    if len(catalogue.rows) != ROWS:
        raise SystemExit(f"{ROWS - len(catalogue.rows)} rows were refused")
    return {"list: rows read and checked per processor second, at 100,000 rows": ROWS / seconds}


@dataclass(frozen=True)
class Worked:
    """What titles of one length took, each: processor seconds of workers and decoders."""

    length_s: float
    titles: int
    cpu_s: float
    wall_s: float


def measure_separation(folder: Path, preset: str) -> dict[str, float]:
    """The cost model, its prediction for a length that it has not seen, and two workers."""
    short, song, album = (worked(folder, preset, *titles) for titles in TITLES)
    per_second = (album.cpu_s - short.cpu_s) / (album.length_s - short.length_s)
    fixed = short.cpu_s - per_second * short.length_s
    predicted = fixed + per_second * song.length_s
    one = worked(folder, preset, song.length_s, ALIKE)
    two = worked(folder, preset, song.length_s, 2 * ALIKE, jobs=2)
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "cost model: processor seconds for every title": fixed,
        "cost model: processor seconds per second of audio": per_second,
        f"predicted for {song.length_s:g} s": predicted,
        f"measured for {song.length_s:g} s": song.cpu_s,
        "prediction is off by, per cent": 100 * (predicted / song.cpu_s - 1),
        f"titles of {short.length_s:g} s per core-hour": 3600 / short.cpu_s,
        f"titles of {SONG_S:g} s per core-hour, by the model": 3600
        / (fixed + per_second * SONG_S),
        "two workers: processor seconds per title against one": two.cpu_s / one.cpu_s,
        "two workers: titles per second against one": one.wall_s / two.wall_s,
        "most memory of a worker, MiB": peak_kib / 1024,
    }


def measure_cluster(folder: Path, preset: str) -> dict[str, float]:
    """The same titles by one and by two workers of a Dask cluster here, which are warm."""
    length_s, _ = TITLES[1]
    seconds = {}
    for workers in (1, 2):
        part = folder / f"{workers} workers"
        songs = [part / "songs" / f"{number}.wav" for number in range(workers * ALIKE)]
        for number, song in enumerate(songs):
            write_mix(song, length_s, number)
        write_mix(part / "first" / "first.wav", 1.0, 0)
        with Cluster(f"local:{workers}") as cluster:
            for name in ("first", "songs"):  # the first one opens the sessions
                batch = _batch(part / f"{name}-out", read_catalogue(part / name, preset))
                batch.enter()
                began = time.perf_counter()
                cluster.run(batch)
                seconds[workers] = (time.perf_counter() - began) / len(batch.catalogue.rows)
                batch.close()
    return {
        f"Dask: seconds per title of {length_s:g} s, one worker": seconds[1],
        "Dask, two workers: titles per second against one": seconds[1] / seconds[2],
    }


def worked(folder: Path, preset: str, length_s: float, titles: int, jobs: int = 1) -> Worked:
    """Works off titles of one length with workers of one thread."""
    part = folder / f"{titles} of {length_s:g}, {jobs}"
    for number in range(titles):
        write_mix(part / "songs" / f"{number}.wav", length_s, number)
    before = _children_s()
    seconds = run(part, read_catalogue(part / "songs", preset), jobs, "engine")
    return Worked(length_s, titles, (_children_s() - before) / titles, seconds / titles)


def _cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def run(folder: Path, catalogue: Catalogue, jobs: int, backend: str) -> float:
    """Works a catalogue off; returns seconds."""
    batch = _batch(folder, catalogue, jobs, backend)
    batch.enter()
    began = time.perf_counter()
    batch.run(lambda snapshot: None)
    seconds = time.perf_counter() - began
    done = batch.journal.statistics.counts()[State.DONE]
    batch.close()
    if done != len(catalogue.rows):
        raise SystemExit(f"{len(catalogue.rows) - done} rows were not done")
    return seconds


def _batch(folder: Path, catalogue: Catalogue, jobs: int = 1, backend: str = "engine") -> Batch:
    settings = HotFolderSettings(jobs=jobs, worker=WorkerSettings(threads=1))
    return Batch(catalogue, folder / "out", folder / "state", settings, backend=backend)


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
    figures: dict[str, float] = {}
    load = os.getloadavg()[0]
    for measure in (measure_list, measure_journal, measure_overhead):
        with tempfile.TemporaryDirectory() as name:
            figures |= measure(Path(name))
    if asked.separate:
        with tempfile.TemporaryDirectory() as name:
            figures |= measure_separation(Path(name), asked.preset)
        with tempfile.TemporaryDirectory() as name:
            figures |= measure_cluster(Path(name), asked.preset)
    figures["load average before"] = load
    for what, value in figures.items():
        print(f"| {what} | {value:.4g} |")


if __name__ == "__main__":
    main()
