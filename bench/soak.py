"""Soaks the hot folder: mixes are copied in slowly, daemons are killed at random, a disk fills up.

    python bench/soak.py --minutes 5
    python bench/soak.py --minutes 5 --backend hotfolder_fixtures   # without separation: thousands

At the end every input must lie in done or failed exactly once, and every set must be published
once and whole. Prints files, kills and losses; the exit code is 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import hashlib
import io
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).resolve().parents[1]
RATE_HZ = 44_100
SETTINGS = {
    "scan_s": 0.3,
    "settle_s": 0.5,
    "incomplete_after_s": 20,
    "retry": {"first_s": 0.5, "longest_s": 3},
    "worker": {"threads": 1, "tier": "draft"},
}
PROGRAM = """
import sys
from pathlib import Path
from hotfolder import Daemon, HotFolderSettings, log_to
log_to(sys.stderr)
settings = HotFolderSettings.model_validate({settings!r})
daemon = Daemon(Path({root!r}), Path({state!r}), settings, backend={backend!r}, lease_s=5.0)
try:
    daemon.run()
finally:
    daemon.close()
"""


@dataclass
class Figures:
    """What the soak counts."""

    written: dict[str, str] = field(default_factory=dict)  # sha256: name
    broken: set[str] = field(default_factory=set)
    daemon_kills: int = 0
    worker_kills: int = 0
    fills: int = 0


class Soak:
    """One hot folder, two daemons, one hand that writes and one that kills."""

    def __init__(self, folder: Path, backend: str, preset: str, seconds: float, seed: int) -> None:
        self.folder, self.seconds, self.rng = folder, seconds, random.Random(seed)
        self.backend, self.preset = backend, preset
        self.figures = Figures()
        self.stop = threading.Event()
        self.daemons: list[subprocess.Popen[bytes]] = []
        (folder / "root" / "inbox").mkdir(parents=True)

    @property
    def root(self) -> Path:
        """The hot folder."""
        return self.folder / "root"

    def run(self) -> None:
        """Soaks for the given time, then lets the daemons come to an end."""
        self.daemons = [self.start_daemon() for _ in range(2)]
        writer = threading.Thread(target=self.write_files)
        writer.start()
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(self.rng.uniform(0.5, 4))
            self.rng.choice([self.kill_daemon, self.kill_worker, self.fill_disk])()
        self.stop.set()
        writer.join()
        self.wait_until_done()
        for daemon in self.daemons:
            daemon.terminate()
            daemon.wait(60)

    def start_daemon(self) -> subprocess.Popen[bytes]:
        """A daemon in a process of its own, as a service manager would start it."""
        settings = SETTINGS | {"preset": self.preset}
        program = PROGRAM.format(
            settings=settings,
            root=str(self.root),
            state=str(self.folder / "state"),
            backend=self.backend,
        )
        paths = [str(HERE), str(HERE / "tests"), os.environ.get("PYTHONPATH", "")]
        with (self.folder / "daemons.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", program],
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )

    # -- the hand that writes ----------------------------------------------------------------

    def write_files(self) -> None:
        """Copies mixes in: at once, slowly, with pauses, by rename, and some that are broken."""
        number, rng = 0, random.Random(1)
        while not self.stop.is_set():
            number += 1
            kind = rng.choice(["at once", "slowly", "paused", "renamed", "broken"])
            name = f"{kind} {number}.wav"
            content = b"no music" * 40 + bytes([number % 256])
            if kind == "broken":
                self.figures.broken.add(hashlib.sha256(content).hexdigest())
            else:
                content = self.mix(number)
            self.figures.written[hashlib.sha256(content).hexdigest()] = name
            while not self.copied(content, self.root / "inbox" / name, kind, rng):
                time.sleep(0.5)  # the disk is full: whoever copies tries again
            self.stop.wait(rng.uniform(0.1, 3 if self.backend == "engine" else 0.3))

    def mix(self, number: int) -> bytes:
        """A second or so of noisy tones, different each time."""
        rng = np.random.default_rng(number)
        time_s = np.arange(int(rng.uniform(0.5, 1.5) * RATE_HZ)) / RATE_HZ
        audio = 0.2 * np.sin(2 * np.pi * rng.uniform(60, 4000) * time_s)
        audio = np.stack([audio, audio + 0.05 * rng.normal(size=time_s.size)], axis=1)
        file = io.BytesIO()
        soundfile.write(file, audio, RATE_HZ, subtype="PCM_16", format="WAV")
        return file.getvalue()

    def copied(self, content: bytes, target: Path, kind: str, rng: random.Random) -> bool:
        """Whether a copy came to its end."""
        try:
            self.copy(content, target, kind, rng)
        except OSError:
            return False
        return True

    def copy(self, content: bytes, target: Path, kind: str, rng: random.Random) -> None:
        """One way of getting a file into a folder."""
        if kind == "renamed":
            aside = self.folder / "aside"
            aside.write_bytes(content)
            aside.rename(target)
            return
        pieces = {"slowly": 12, "paused": 3}.get(kind, 1)
        step = len(content) // pieces + 1
        with target.open("wb") as file:
            for start in range(0, len(content), step):
                file.write(content[start : start + step])
                file.flush()
                time.sleep({"slowly": 0.05, "paused": rng.uniform(0, 1)}.get(kind, 0))

    # -- the hand that kills -----------------------------------------------------------------

    def kill_daemon(self) -> None:
        """SIGKILL, then a new one, as after a crash."""
        index = self.rng.randrange(len(self.daemons))
        self.daemons[index].kill()
        self.daemons[index].wait()
        self.figures.daemon_kills += 1
        self.daemons[index] = self.start_daemon()

    def kill_worker(self) -> None:
        """SIGKILL for a worker whose job has not been through that yet: twice would be poison."""
        journal = self.folder / "spared.json"
        spared = set(json.loads(journal.read_text())) if journal.exists() else set()
        for daemon in self.daemons:
            for worker in children(daemon.pid):
                jobs = {entry.name for entry in (self.root / "work").iterdir() if entry.is_dir()}
                if jobs and not jobs & spared:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
                    self.figures.worker_kills += 1
                    journal.write_text(json.dumps(sorted(spared | jobs)))
                    return

    def fill_disk(self) -> None:
        """Takes all space of the disk for two seconds, when the disk is a small one of our own."""
        free = os.statvfs(self.root)
        if free.f_bavail * free.f_frsize > 1 << 30:
            return
        filler = self.folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 20))
        self.figures.fills += 1
        time.sleep(2)
        filler.unlink(missing_ok=True)

    # -- the end -----------------------------------------------------------------------------

    def wait_until_done(self, limit_s: float = 1800) -> None:
        """Until nothing is left in the inbox and in work."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if not mixes(self.root / "inbox") and not mixes(self.root / "work"):
                return
            time.sleep(0.5)

    def losses(self) -> list[str]:
        """Everything that is not as it must be."""
        done, failed = mixes(self.root / "done"), mixes(self.root / "failed")
        published = []
        for path in (self.root / "outbox").rglob("manifest.json"):
            if not any(part.startswith(".") for part in path.relative_to(self.root).parts):
                published.append(json.loads(path.read_text())["input"]["sha256"])
        found = []
        for sha256, name in self.figures.written.items():
            broken = sha256 in self.figures.broken
            places = done.count(sha256), failed.count(sha256), published.count(sha256)
            if places != ((0, 1, 0) if broken else (1, 0, 1)):
                found.append(f"{name}: done, failed, published = {places}")
        hidden = [p for p in (self.root / "outbox").iterdir() if ".partial-" in p.name]
        return found + [f"left behind: {path.name}" for path in hidden]


def mixes(folder: Path) -> list[str]:
    """Hashes of all mixes below a folder, while the daemon moves them."""
    found = []
    for name, _, files in os.walk(folder):  # passes over folders that have gone, unlike rglob
        for file in fnmatch.filter(files, "*.wav"):
            with contextlib.suppress(FileNotFoundError):
                found.append(hashlib.sha256(Path(name, file).read_bytes()).hexdigest())
    return found


def children(pid: int) -> list[int]:
    """Worker processes of a daemon."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    except OSError:
        return []
    return [int(child) for child in text.split()]


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own where we may mount one; the plain folder elsewhere."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    own = sys.platform == "linux" and os.geteuid() == 0 and subprocess.run(command).returncode == 0
    try:
        yield folder
    finally:
        if own:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def main() -> int:
    """Runs one soak and prints its page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--backend", default="engine")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--disk-mb", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name), asked.disk_mb) as folder:
        soak = Soak(folder, asked.backend, asked.preset, asked.minutes * 60, asked.seed)
        began = time.monotonic()
        soak.run()
        losses, figures = soak.losses(), soak.figures
        kept = Path(tempfile.gettempdir()) / "soak-daemons.log"
        if losses:
            kept.write_bytes((folder / "daemons.log").read_bytes())
    print(f"# Soak of the hot folder ({asked.backend}, {platform.machine()})\n")
    print(f"- minutes: {(time.monotonic() - began) / 60:.1f}, daemons: 2, seed {asked.seed}")
    print(f"- files: {len(figures.written)}, of which broken on purpose: {len(figures.broken)}")
    print(f"- kills: {figures.daemon_kills} daemons, {figures.worker_kills} workers (SIGKILL)")
    print(f"- times the disk was full: {figures.fills}")
    print(f"- losses: {len(losses)}")
    for loss in losses:
        print(f"  - {loss} (see {kept})")
    return int(bool(losses))


if __name__ == "__main__":
    sys.exit(main())
