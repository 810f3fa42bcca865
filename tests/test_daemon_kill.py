"""Killed at any moment, doubled, or both: every input ends in done or failed, published once.

The daemons here are real processes, ended with SIGKILL; only the separation is the toy's.
"""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from hotfolder.job import State
from hotfolder.journal_file import move_journal_aside
from hotfolder_fixtures import (
    QUICK,
    SEGMENTS,
    Studio,
    logs,
    make_mix,
    mix_bytes,
    names_in,
    originals,
    published,
    settings_of,
    start_process,
    wait_for,
)

pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")

# Runs in the daemon's process before it starts: ends it at an exact step, as a power cut would.
KILL_AT_STATE = """
import os, signal
from hotfolder.journal import Journal
from hotfolder.job import State
real = Journal.advance
def advance(self, job, changed, *others):
    if {when!r} == "before" and changed.state == {state!r} and changed.state != job.state:
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(self, job, changed, *others)
    if {when!r} == "after" and changed.state == {state!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Journal.advance = advance
"""
KILL_AT_STEP = """
import os, signal
from hotfolder import {module} as module
real = module.{name}
def step(*given, **named):
    if {when!r} == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    real(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)
module.{name} = step
"""
SLOW_BEFORE = pytest.param("before", marks=pytest.mark.slow)
STATES = [state for state in State if state not in ("seen",)]
STEPS = [("job_files", "_move"), ("job_files", "move_new"), ("job_files", "write_whole"),
         ("atomic", "sync_folder"), ("job_files", "sync_folder")]  # fmt: skip


def finish(folder, limit_s=40):
    """Starts the daemon again, untouched, until everything is done."""
    process = start_process(folder, once=True, settings=QUICK | {"incomplete_after_s": 0})
    assert process.wait(limit_s) in (0, 1), logs(folder)  # 1: a file was put aside
    if _is_retry_ahead(folder):  # a daemon that is back before a retry is due leaves it for later
        time.sleep(QUICK["retry"]["longest_s"])
        finish(folder, limit_s)


def _is_retry_ahead(folder):
    with contextlib.closing(sqlite3.connect(folder / "state" / "journal.db")) as db:
        return db.execute("SELECT 1 FROM jobs WHERE state = 'retry-at'").fetchone() is not None


def drop(folder, *names):
    for seed, name in enumerate(names):
        if "broken" in name:
            path = folder / "root" / "inbox" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"text")
        else:
            make_mix(folder / "root" / "inbox" / name, seed)


def assert_nothing_lost(folder, good, broken=()):
    root = folder / "root"
    assert sorted(published(root)) == sorted(good)
    assert len(originals(root, "done")) == len(good)
    assert sorted(p.name for p in (root / "failed").rglob("*.wav")) == sorted(broken)
    assert len(list((root / "failed").rglob("*.reason.json"))) == len(broken)
    assert originals(root, "inbox") == originals(root, "work") == []
    hidden = [name for name in names_in(root / "outbox") if name.startswith(".song")]
    assert hidden == []


@pytest.mark.parametrize("when", [SLOW_BEFORE, "after"])
@pytest.mark.parametrize("state", STATES)
def test_daemon_killed_at_every_state_of_the_journal_loses_nothing(tmp_path, state, when):
    name = {"quarantined": "broken.wav", "retry-at": "busy-once.wav"}.get(state, "song.wav")
    drop(tmp_path, name)
    script = KILL_AT_STATE.format(state=str(state), when=when)
    settings = QUICK | {"incomplete_after_s": 0}
    process = start_process(tmp_path, script=script, settings=settings)
    assert process.wait(30) == -signal.SIGKILL, logs(tmp_path)
    finish(tmp_path)

    good = [] if name == "broken.wav" else [name.removesuffix(".wav")]
    assert_nothing_lost(tmp_path, good, ["broken.wav"] if not good else [])


@pytest.mark.parametrize("when", [SLOW_BEFORE, "after"])
@pytest.mark.parametrize(("module", "name"), STEPS)
def test_daemon_killed_between_disk_and_journal_loses_nothing(tmp_path, module, name, when):
    drop(tmp_path, "song.wav", "broken.wav")
    script = KILL_AT_STEP.format(module=module, name=name, when=when)
    process = start_process(tmp_path, script=script, settings=QUICK | {"incomplete_after_s": 0})
    assert process.wait(30) == -signal.SIGKILL, logs(tmp_path)
    finish(tmp_path)
    assert_nothing_lost(tmp_path, ["song"], ["broken.wav"])


def test_worker_dies_with_its_daemon(tmp_path):
    drop(tmp_path, "hang.wav")
    process = start_process(tmp_path)
    wait_for(lambda: "searching" in logs(tmp_path) or '"decoded"' in logs(tmp_path))
    children = _children(process.pid)
    assert children
    process.kill()
    process.wait()
    wait_for(lambda: not any(_is_running(child) for child in children))


def test_killed_long_mix_goes_on_at_its_segment_with_the_same_bytes(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        drop(tmp_path / name, "slow song.wav")
    finish(tmp_path / "whole")
    process = start_process(tmp_path / "killed")
    log = tmp_path / "killed" / "root" / "segments.log"
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= 2)
    process.kill()
    process.wait()
    finish(tmp_path / "killed")

    done = log.read_text().splitlines()
    assert len(done) == len(set(done)) == SEGMENTS
    places = [
        tmp_path / name / "root/outbox/slow song/dry/one.wav" for name in ("whole", "killed")
    ]
    assert places[0].read_bytes() == places[1].read_bytes()


def test_sigterm_drains_and_exits_with_success(tmp_path):
    drop(tmp_path, "slow song.wav", "slow song 2.wav")
    process = start_process(tmp_path)
    wait_for(lambda: '"searching"' in logs(tmp_path))
    process.terminate()
    assert process.wait(10) == 0
    assert '"draining"' in logs(tmp_path)
    finish(tmp_path)
    assert_nothing_lost(tmp_path, ["slow song", "slow song 2"])


def test_second_signal_stops_at_once(tmp_path):
    drop(tmp_path, "hang.wav")
    process = start_process(tmp_path)
    wait_for(lambda: '"decoded"' in logs(tmp_path))
    process.terminate()
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(5) == 0


def test_two_daemons_share_the_work_and_do_nothing_twice(tmp_path):
    names = [f"song {n}.wav" for n in range(8)]
    drop(tmp_path, *names)
    processes = [start_process(tmp_path, once=True) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0], logs(tmp_path)

    assert_nothing_lost(tmp_path, [name.removesuffix(".wav") for name in names])
    segments = (tmp_path / "root" / "segments.log").read_text().splitlines()
    assert len(segments) == len(set(segments))


@pytest.mark.slow
def test_two_daemons_one_killed_again_and_again(tmp_path):
    rng = random.Random(6)
    names = [f"slow song {n}.wav" for n in range(5)]
    drop(tmp_path, *names)
    steady = start_process(tmp_path)
    for _ in range(4):
        victim = start_process(tmp_path)
        time.sleep(rng.uniform(0.3, 1.5))
        victim.kill()
        victim.wait()
    wait_for(lambda: len(originals(tmp_path / "root", "done")) == len(names), 60)
    steady.terminate()
    assert steady.wait(10) == 0

    assert_nothing_lost(tmp_path, [name.removesuffix(".wav") for name in names])
    segments = (tmp_path / "root" / "segments.log").read_text().splitlines()
    assert len(segments) - len(set(segments)) <= 4  # at most the one segment of each kill


def test_stopped_daemon_finds_its_lease_gone_and_lets_go(tmp_path):
    """A laptop that slept: its daemon wakes up in the middle of a job that is done by now."""
    drop(tmp_path, "slow song.wav")
    sleeper = start_process(tmp_path)
    wait_for(lambda: '"searching"' in logs(tmp_path))
    asleep = [sleeper.pid, *_children(sleeper.pid)]
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    other = start_process(tmp_path, once=False)
    wait_for(lambda: originals(tmp_path / "root", "done"), 40)
    for pid in asleep:
        os.kill(pid, signal.SIGCONT)
    time.sleep(1.5)
    for process in (sleeper, other):
        process.terminate()
        assert process.wait(10) == 0

    assert_nothing_lost(tmp_path, ["slow song"])


SLOW_CUTS = ("nothing yet", "settled", "searching", "publishing")


@pytest.mark.parametrize(
    "lost", ["seen", "claimed", *(pytest.param(cut, marks=pytest.mark.slow) for cut in SLOW_CUTS)]
)
def test_power_cut_that_loses_the_journals_last_writes(tmp_path, lost):
    """Model of a power cut: the folders are as they were at the end, the journal is older."""
    studio = Studio(tmp_path, lease_s=0.5).start()
    studio.drop("slow song.wav")
    snapshots = {"nothing yet": _snapshot(studio)}
    studio.settle()

    def noted():
        for job in studio.jobs():
            if str(job.state) not in snapshots:
                snapshots[str(job.state)] = _snapshot(studio)
        return studio.is_finished()

    for entry in ("seen", "settled", "claimed"):
        snapshots.setdefault(entry, snapshots["nothing yet"])
    studio.until(noted)
    studio.close()
    path = studio.state / "journal.db"
    move_journal_aside(path, studio.now)
    path.write_bytes(snapshots.get(lost, snapshots["searching"]))
    studio.start()
    studio.round(0.2)
    studio.work_off()
    studio.close()

    assert_nothing_lost(tmp_path, ["slow song"])


def _snapshot(studio):
    copy = studio.folder / "copy.db"
    copy.unlink(missing_ok=True)
    target = sqlite3.connect(copy)
    studio.daemon.journal._db.backup(target)
    target.close()
    return copy.read_bytes()


def _children(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in children.split()]


def _is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").split(")")[1].split()[0] != "Z"
    except OSError:
        return False


# -- random interleavings against a model ---------------------------------------------------------


class Model:
    """What a careful person would say must hold, whatever happens in whatever order."""

    def __init__(self, folder, rng):
        self.studio = Studio(
            folder, settings_of(jobs=2, incomplete_after_s=1e9), lease_s=1.0
        ).start()
        self.rng = rng
        self.written = {}
        self.growing = {}
        self.unmounted = False
        self.number = 0

    def step(self):
        actions = [self.write, self.begin_copy, self.grow, self.rename, self.kill, self.unmount,
                   self.remount, self.fill, self.free, self.pass_time, self.pass_time]  # fmt: skip
        action = self.rng.choice(actions)
        action()
        if self.studio.daemon:
            self.studio.round(self.rng.choice([0.0, 0.05, 0.2]))
        published(self.present)  # checks that every visible set is whole
        return action.__name__

    @property
    def present(self):
        return self.away if self.unmounted else self.studio.root

    @property
    def away(self):
        return self.studio.folder / "unmounted"

    def write(self):
        self.number += 1
        name = f"{self.rng.choice(['', 'slow '])}song {self.number}.wav"
        content = mix_bytes(seed=self.number)
        (self.present / "inbox" / name).write_bytes(content)
        self.written[self.number] = content

    def begin_copy(self):
        self.number += 1
        name = f"copy {self.number}.wav"
        content = mix_bytes(seed=self.number, frames=2000)
        (self.present / "inbox" / name).write_bytes(content[:100])
        self.growing[name] = [content, 100]
        self.written[self.number] = content

    def grow(self):
        if not self.growing:
            return
        name = self.rng.choice(sorted(self.growing))
        content, done = self.growing[name]
        end = min(len(content), done + self.rng.randrange(500, 4000))
        path = self.present / "inbox" / name
        with path.open("r+b") as file:
            file.seek(done)
            file.write(content[done:end])
        self.growing[name][1] = end
        if end == len(content):
            del self.growing[name]

    def rename(self):
        waiting = sorted((self.present / "inbox").glob("song*.wav"))
        if waiting:
            chosen = self.rng.choice(waiting)
            chosen.rename(chosen.with_name(f"renamed {chosen.name}"))

    def kill(self):
        """Ends the workers and drops the daemon without letting it clean up."""
        daemon = self.studio.daemon
        if daemon is None:
            return
        for running in daemon.pool.in_work.values():
            running.worker.close()
        daemon._watcher.stop()
        daemon._holder._file.close()
        daemon._wakeup.close()
        daemon.journal.close()
        if not self.unmounted:
            self.studio.start()
        else:
            self.studio.daemon = None

    def unmount(self):
        if not self.unmounted:
            self.studio.root.rename(self.away)
            for name in ("inbox", "work", "done", "failed", "outbox"):
                (self.studio.root / name).mkdir(parents=True)  # an empty mount point
            self.unmounted = True

    def remount(self):
        if self.unmounted:
            shutil.rmtree(self.studio.root)
            self.away.rename(self.studio.root)
            self.unmounted = False
            if self.studio.daemon is None:
                self.studio.start()

    def fill(self):
        self.set_high_water(0.0001)

    def free(self):
        self.set_high_water(100)

    def set_high_water(self, percent):
        if self.studio.daemon:
            settings = self.studio.settings.model_copy(update={"high_water_percent": percent})
            self.studio.daemon.settings = self.studio.daemon.pool.jobs.settings = settings

    def pass_time(self):
        for _ in range(10):
            if self.studio.daemon:
                self.studio.round(0.05)
            time.sleep(0.01)

    def end(self):
        self.remount()
        self.free()
        while self.growing:
            self.grow()
        self.studio.settle(times=16)
        self.studio.until(
            lambda: self.studio.is_finished() and not originals(self.studio.root, "inbox"), 60
        )
        self.studio.close()


def test_random_interleavings_lose_nothing_and_publish_nothing_twice(tmp_path):
    play(tmp_path, seed=1, steps=60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 115))
def test_many_long_random_interleavings(tmp_path, seed):
    play(tmp_path, seed, steps=250)


def play(folder, seed, steps):
    model = Model(folder, random.Random(seed))
    script = [model.step() for _ in range(steps)]
    model.end()
    root = model.studio.root
    hashes = [found["input"]["sha256"] for found in published(root).values()]

    assert len(hashes) == len(set(hashes)), f"published twice: {script}"
    assert len(hashes) == len(model.written), f"lost: {script}"
    assert originals(root, "done") == sorted(hashes), script
    assert originals(root, "failed") == originals(root, "work") == [], script
    assert not [path for path in (root / "outbox").iterdir() if "partial" in path.name], script
