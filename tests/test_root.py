"""Nothing is published, moved or concluded while a folder of the root is not the right one."""

import contextlib
import os
import subprocess
import sys

import pytest

from hotfolder.admin import Admin
from hotfolder.root import FOLDERS, MARKER, Root
from hotfolder_fixtures import (
    Studio,
    logs,
    make_mix,
    names_in,
    originals,
    published,
    start_process,
    wait_for,
)
from presets import StemwrightError

pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@pytest.fixture
def studio(tmp_path):
    studio = Studio(tmp_path).start()
    yield studio
    studio.close()


@contextlib.contextmanager
def taken_away(studio, name):
    """The folder is a bare mount point, as when its share has gone, until the end."""
    place, away = studio.root / name, studio.folder / f"away-{name}"
    place.rename(away)
    place.mkdir()
    try:
        yield place
    finally:
        place.rmdir()  # fails when anything was written there
        away.rename(place)


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_that_goes_away_in_the_search_holds_everything_back(studio, name):
    studio.drop("slow song.wav")
    studio.settle()
    studio.until(lambda: studio.jobs()[0].segment >= 1)
    with taken_away(studio, name):
        if name == "work":  # the toy writes its checkpoints by their paths
            studio.daemon.pool.in_work[studio.jobs()[0].id].worker.kill()
        studio.until(lambda: not studio.daemon.pool.in_work)
        for _ in range(3):
            studio.round(1)
        job = studio.jobs()[0]
        assert studio.daemon.lost
        assert job.state not in ("done", "quarantined")
        assert (job.kills, job.faults) == (0, 0)
    studio.work_off()
    assert list(published(studio.root)) == ["slow song"]
    assert len(originals(studio.root, "done")) == 1
    assert originals(studio.root, "failed") == originals(studio.root, "work") == []


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_that_goes_away_after_the_look_of_the_round_is_noticed(studio, name, monkeypatch):
    """The share goes at the worst moment: the round has just found everything in its place."""
    studio.drop("slow song.wav")
    studio.settle()
    studio.until(lambda: studio.jobs()[0].segment >= 1)
    monkeypatch.setattr(studio.daemon, "_look_for_root", lambda: None)
    with taken_away(studio, name):
        if name == "work":
            studio.daemon.pool.in_work[studio.jobs()[0].id].worker.kill()
        held_back = studio.daemon.pool.in_work
        studio.until(lambda: not held_back)
        assert not studio.is_finished()
    monkeypatch.undo()
    studio.work_off()
    assert list(published(studio.root)) == ["slow song"]


def test_inbox_that_goes_away_in_the_scan_is_not_emptied(studio, monkeypatch):
    studio.daemon.journal.set_setting("paused", "test")
    studio.drop("song.wav")
    studio.settle()
    monkeypatch.setattr(studio.daemon, "_look_for_root", lambda: None)
    with taken_away(studio, "inbox"):
        studio.round(100)
        assert studio.states() == {"song.wav": "settled"}


@pytest.mark.parametrize("name", FOLDERS)
def test_daemon_does_not_start_on_a_bare_mount_point(studio, name):
    studio.close()
    for state in (studio.state, studio.folder / "another machine"):
        with taken_away(studio, name), pytest.raises(StemwrightError, match="mounted"):
            Root(studio.root).prepare(state, adopt=False)
    studio.start()
    assert studio.daemon.root.why_lost(studio.daemon.root.number()) is None


def test_making_the_folders_may_be_killed_at_any_step(tmp_path):
    for step in range(12):
        root, state = Root(tmp_path / f"{step}" / "root"), tmp_path / f"{step}" / "state"
        script = (
            "import sys, os; from pathlib import Path; from hotfolder import root as module\n"
            "real, left = module.write_whole, [int(sys.argv[3])]\n"
            "def write(*given):\n"
            "    left[0] -= 1\n"
            "    if left[0] < 0: os._exit(9)\n"
            "    real(*given)\n"
            "module.write_whole = write\n"
            "module.Root(Path(sys.argv[1])).prepare(Path(sys.argv[2]), adopt=False)\n"
        ) if step < 7 else "import os; os._exit(9)"  # fmt: skip
        paths = os.pathsep.join(path for path in sys.path if path)
        subprocess.run(
            [sys.executable, "-c", script, str(root.path), str(state), str(step)],
            env=os.environ | {"PYTHONPATH": paths},
            check=False,
        )
        root.prepare(state, adopt=False)
        assert root.why_lost(root.number()) is None
        assert not any(path.name.startswith(".stemwright-begin") for path in root.path.iterdir())
        if step >= 7:
            break


def test_withdrawing_moves_nothing_while_a_folder_is_lost(studio):
    studio.daemon.settings = studio.daemon.pool.jobs.settings = studio.settings.model_copy(
        update={"preset": "not-there"}
    )
    studio.daemon.intake.use(studio.daemon.settings)
    studio.drop("song.wav")
    studio.settle()
    studio.until(lambda: studio.job("song.wav").state == "retry-at")
    admin = Admin(studio.root, studio.state, studio.settings)
    with taken_away(studio, "failed"), pytest.raises(StemwrightError, match="mounted"):
        admin.forget("song.wav")
    assert studio.job("song.wav").state == "retry-at"
    admin.forget("song.wav")
    admin.close()
    assert len(originals(studio.root, "failed")) == 1


def test_outbox_unmounted_under_a_real_daemon_and_mounted_again(tmp_path):
    """Real mounts and a real process: a private mount table, so that nobody else sees them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs leave to mount a file system")
    outbox, disk = tmp_path / "root" / "outbox", tmp_path / "disk"
    outbox.mkdir(parents=True)
    disk.mkdir()
    bind = ["mount", "--bind", str(disk), str(outbox)]
    if subprocess.run(bind, check=False).returncode:
        pytest.skip("needs leave to mount a file system")
    try:
        make_mix(tmp_path / "root" / "inbox" / "slow slow slow song.wav")
        process = start_process(tmp_path)
        wait_for(lambda: '"searching"' in logs(tmp_path))
        subprocess.run(["umount", "--lazy", str(outbox)], check=True)
        wait_for(lambda: '"root-lost"' in logs(tmp_path))
        wait_for(
            lambda: '"interrupted"' in logs(tmp_path) or logs(tmp_path).count("root-lost") > 1
        )
        assert names_in(outbox) == []
        assert originals(tmp_path / "root", "done") == []
        subprocess.run(bind, check=True)
        wait_for(lambda: originals(tmp_path / "root", "done"))
        process.terminate()
        assert process.wait(20) == 0
        assert list(published(tmp_path / "root")) == ["slow slow slow song"]
        assert (disk / MARKER).exists()
    finally:
        subprocess.run(["umount", "--lazy", str(outbox)], check=False)
