"""A toy engine with the real one's front door, real mixes made on the spot, and a daemon in a
process of its own: what the tests of the hot folder share.

The toy copies the mix into two stems. It is slow, crashes, hangs, eats memory or fails when the
file's name says so, and keeps a checkpoint per segment like the real engine.
"""

import hashlib
import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import time
import uuid
import wave
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import engine
from engine.voices.sources import beside
from hotfolder.clock import Instant
from hotfolder.daemon import Daemon
from hotfolder.settings import HotFolderSettings
from presets import StemwrightError, load_preset

ENGINE_VERSION = "toy-1"
SEGMENTS = 5
RATE_HZ = 8000
QUICK = {"scan_s": 0.1, "settle_s": 0.15, "retry": {"first_s": 0.2, "longest_s": 1.0}}


# -- the toy engine ------------------------------------------------------------------------------


class Interrupted(Exception):  # noqa: N818 - the real engine's name
    pass


@dataclass(frozen=True)
class RenderOptions:
    device: str = "auto"
    strict_device: bool = False
    seed: int = 0
    tier: str | None = None
    threads: int = 0
    prior_folders: tuple = ()
    separator_folders: tuple = ()
    unchecked_separators: str = "refuse"
    commercial_only: bool = False
    deadline_s: float | None = None
    workspace: Path | None = None
    progress: object = None
    should_stop: object = None
    guard: object = staticmethod(lambda: None)


def pitches_heard_by(preset):
    return engine.pitches_heard_by(preset)


def pitch_hashes(preset, mix, heard_by):
    return engine.pitch_hashes(preset, mix, heard_by)


def prior_hashes(preset, options):
    network = {"voices": "11" * 32} if preset.voices else {}
    return dict.fromkeys(preset.stems, "00" * 32) | network


def cards_in_use(preset, options):
    return tuple(preset.sources.cards)


def separators_rate(preset, folders):
    return 1.5 * len(preset.sources.cards)


def verify_mix(mix):
    raw = mix.read_bytes()
    if not raw:
        raise StemwrightError("mix-empty", f"{mix.name}: the file is empty.")
    try:
        with wave.open(str(mix), "rb") as file:
            frames, read = file.getnframes(), len(file.readframes(1 << 30))
            info = SimpleNamespace(
                path=mix,
                frames=frames,
                channels=file.getnchannels(),
                sample_rate=file.getframerate(),
                bits=8 * file.getsampwidth(),
            )
            promised = frames * file.getnchannels() * file.getsampwidth()
    except (wave.Error, EOFError) as error:
        raise StemwrightError("mix-not-audio", f"{mix.name}: no audio file: {error}.") from None
    if read < promised:
        raise StemwrightError("mix-truncated", f"{mix.name}: {promised} promised, {read} there.")
    return SimpleNamespace(info=info, sha256=hashlib.sha256(raw).hexdigest())


def decode_mix(mix, folder):
    """The toy keeps no samples: it reads the mix again."""
    return SimpleNamespace(facts=verify_mix(mix), path=mix)


_RENDERERS = itertools.count()


class Renderer:
    """What a worker keeps open; the toy only counts how often it is made."""

    def __init__(self, preset, options):
        self.preset, self.options = preset, options
        self.number = next(_RENDERERS)

    def render(self, mix, destination):
        workspace = self.options.workspace
        workspace.mkdir(parents=True, exist_ok=True)
        # outside the workspace, as the segments are
        with (workspace.parents[2] / "renderers.log").open("a") as log:
            log.write(f"{os.getpid()}-{self.number} {mix.path.name}\n")
        options = replace(self.options, progress=self.options.progress or (lambda progress: None),
                          should_stop=self.options.should_stop or (lambda: False))  # fmt: skip
        return render(mix, destination, self.preset, options)


def render(mix, destination, preset, options):
    mix = getattr(mix, "path", mix)
    there = options.workspace.parents[2]
    misbehave(mix, there)
    content = mix.read_bytes()
    for segment in range(1, SEGMENTS + 1):
        checkpoint = options.workspace / f"segment-{segment}"
        if not checkpoint.exists():
            if options.should_stop():
                raise Interrupted
            time.sleep(0.1 * mix.name.count("slow"))
            checkpoint.write_bytes(hashlib.sha256(content + bytes([segment])).digest())
            # stays behind outside the workspace, so that a test can count the work done
            with (there / "segments.log").open("a") as log:
                log.write(f"{mix.name} {segment}\n")
        options.progress(
            SimpleNamespace(
                stage="searching", segment=segment, segments=SEGMENTS, work="", left_s=None
            )
        )
    options.progress(
        SimpleNamespace(stage="processing", segment=0, segments=0, work="", left_s=None)
    )
    return publish(mix, content, destination, preset, options)


def publish(mix, content, destination, preset, options):
    token = options.workspace.parent.name
    partial = destination.parent / f".{destination.name[:150]}.partial-{token}"
    options.guard()
    (partial / "dry").mkdir(parents=True, exist_ok=True)
    checkpoints = b"".join(
        (options.workspace / f"segment-{n}").read_bytes() for n in range(1, SEGMENTS + 1)
    )
    bulk = bytes(3_000_000) if "bulky" in mix.name else b""
    for name in ("one.wav", "two.wav"):
        (partial / "dry" / name).write_bytes(content + checkpoints + bulk)
    manifest = {
        "input": {"name": mix.name, "sha256": hashlib.sha256(content).hexdigest()},
        "preset": preset.model_dump(mode="json"),
        "preset_sha256": preset.digest(),
        "priors": {stem: {"sha256": value} for stem, value in prior_hashes(preset, None).items()},
        "program": {"version": ENGINE_VERSION},
        "search": preset.search.resolved(options.tier).as_json(),
        "seed": options.seed,
        "files": [],
        "provider": {"asked": "auto", "got": "toy"},
    }
    if preset.voices:
        source = getattr(mix, "path", mix)
        request = beside(source, preset.sources.parts, preset.voices.pitches)
        pitches = {"files": request.hashes()}
        if heard_by := request.heard_by():
            pitches["tracked_by"] = {"sha256": heard_by}
        manifest["voices"] = {"network": {"sha256": "11" * 32}, "pitches": pitches}
    text = json.dumps(manifest)
    (partial / "manifest.json").write_text(text)
    options.progress(
        SimpleNamespace(stage="publishing", segment=0, segments=0, work="", left_s=None)
    )
    options.guard()
    if destination.exists():
        raise StemwrightError("destination-exists", f"{destination} exists already.")
    partial.rename(destination)
    if "late-crash" in mix.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return SimpleNamespace(to_json=lambda: text)


def publish_by_hand(batch, job):
    """What a worker does before it dies without a word."""
    workspace = batch.out / ".work" / "dead"
    workspace.mkdir(parents=True, exist_ok=True)
    options = RenderOptions(workspace=workspace / "toy", progress=lambda _: None,
                            should_stop=lambda: False)  # fmt: skip
    options.workspace.mkdir(exist_ok=True)
    render(job.source, job.destination, load_preset("default"), options)


def misbehave(mix, there):
    if "late-crash" not in mix.name and "crash" in mix.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in mix.name:
        time.sleep(600)
    if "hungry" in mix.name:
        hoard = [np.ones(1_000_000) for _ in range(100)]
        time.sleep(600 + len(hoard))
    if "bug" in mix.name:
        raise ZeroDivisionError("the toy's bug")
    if "share-gone" in mix.name:
        raise OSError(116, "Stale file handle")
    once = there / "failed-once"
    if "busy-once" in mix.name and not once.exists():
        once.touch()
        raise OSError(16, "Device or resource busy")


# -- mixes ---------------------------------------------------------------------------------------


def make_mix(path, seed=0, frames=400):
    """A small mono WAV with noise that differs by seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mix_bytes(seed, frames))
    return path


def mix_bytes(seed=0, frames=400):
    noise = np.random.default_rng(seed).integers(-9999, 9999, frames, dtype="<i2").tobytes()
    head = b"RIFF" + struct.pack("<I", 36 + len(noise)) + b"WAVEfmt "
    body = struct.pack("<IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    return head + body + b"data" + struct.pack("<I", len(noise)) + noise


# -- daemons -------------------------------------------------------------------------------------


def settings_of(**changes):
    return HotFolderSettings.model_validate(QUICK | changes)


@dataclass
class Studio:
    """One hot folder and its daemon in this process, driven round by round with invented time."""

    folder: Path
    settings: HotFolderSettings = field(default_factory=settings_of)
    lease_s: float = 30.0
    now: Instant = field(default_factory=Instant.now)
    daemon: Daemon | None = None

    @property
    def root(self):
        return self.folder / "root"

    @property
    def state(self):
        return self.folder / "state"

    def start(self, **options):
        self.daemon = Daemon(
            self.root,
            self.state,
            self.settings,
            backend="hotfolder_fixtures",
            lease_s=self.lease_s,
            **options,
        )
        return self

    def drop(self, name, seed=0, frames=400):
        return make_mix(self.root / "inbox" / name, seed, frames)

    def round(self, seconds=0.0):
        """One loop, after so much invented time."""
        self.now = self.now.later(seconds)
        self.daemon.loop(self.now)

    def settle(self, times=1):
        """Enough rounds for what lies in the inbox to be quiet, `times` after so many pauses."""
        # on a busy machine a scan takes long, and then the next one may come later
        self.round(max(self.settings.scan_s, self.daemon.intake.interval_s) + 0.01)
        self.round(self.settings.settle_s * times + 0.2)

    def until(self, condition, limit_s=30.0, step_s=0.02):
        """Rounds in real time until a condition holds."""
        end = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within {limit_s} s: {self.jobs()}")
            self.round(step_s)
            time.sleep(step_s)

    def work_off(self, limit_s=30.0):
        """Until every job is done or quarantined."""
        self.settle()
        self.until(self.is_finished, limit_s)

    def is_finished(self):
        return all(job.state in ("done", "quarantined") for job in self.jobs())

    def jobs(self):
        return list(self.daemon.journal.all_jobs())

    def job(self, name):
        return next(job for job in self.jobs() if job.source.name == name)

    def states(self):
        return {str(job.source): str(job.state) for job in self.jobs()}

    def close(self):
        if self.daemon:
            self.daemon.close()


def published(root):
    """Every visible set below the outbox; each must be whole.

    Hidden folders are not entered: workers make and rename them meanwhile, and `rglob` of
    Python 3.11 stops with an error at a folder that is gone.
    """
    found = {}
    for name, folders, files in os.walk(root / "outbox"):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        if "manifest.json" not in files:
            continue
        folder = Path(name)
        assert (folder / "dry" / "one.wav").exists()
        assert (folder / "dry" / "two.wav").exists()
        manifest = json.loads((folder / "manifest.json").read_text())
        found[str(folder.relative_to(root / "outbox"))] = manifest
    return found


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def sets_in(out):
    return sorted(path.parent.name for path in out.glob("[!.]*/manifest.json"))


def originals(root, where):
    """The mixes below one of the hot folder's folders, by their content's hash."""
    return sorted(
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (root / where).rglob("*")
        if path.is_file() and path.suffix == ".wav"
    )


def start_process(
    folder, *, script="", settings=None, once=False, env=None, prefix=(), backend=__name__
):
    """The same daemon in a process of its own; `script` runs there before it starts."""
    program = f"""
import json, sys
from pathlib import Path
from hotfolder.daemon import Daemon
from hotfolder.logs import log_to
from hotfolder.settings import HotFolderSettings
log_to(sys.stderr)
{script}
folder = Path({str(folder)!r})
settings = HotFolderSettings.model_validate({settings or QUICK!r})
daemon = Daemon(folder / "root", folder / "state", settings, backend={backend!r},
                lease_s=2.0)
try:
    code = daemon.run(once={once})
finally:
    daemon.close()
sys.exit(code)
"""
    paths = os.pathsep.join(path for path in sys.path if path)
    log = (folder / f"daemon-{uuid.uuid4().hex[:6]}.log").open("wb")
    with log:
        return subprocess.Popen(
            [*prefix, sys.executable, "-c", program],
            stderr=log,
            env=os.environ | {"PYTHONPATH": paths} | (env or {}),
        )


def logs(folder):
    return "".join(path.read_text() for path in sorted(folder.glob("daemon-*.log")))


def wait_for(condition, limit_s=30.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
