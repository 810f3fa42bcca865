"""Full, missing, read-only and foreign disks: real ones, mounted by the tests where they may."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from hotfolder.atomic import move_new, write_whole
from hotfolder.disk_space import (
    over_high_water,
    shortage_for,
    space_needed_bytes,
    space_shortage,
)
from hotfolder.facts import WorkFacts
from hotfolder.failures import Failure
from hotfolder_fixtures import (
    Studio,
    make_mix,
    names_in,
    originals,
    published,
    settings_of,
    start_process,
)

MB = 1_000_000
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@contextlib.contextmanager
def mounted(place, size="2m", options=""):
    """A small file system of its own at `place`; its content is lost at the end."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(place)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(command).returncode:
        pytest.skip("needs leave to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def studio(tmp_path):
    studio = Studio(tmp_path)
    yield studio
    studio.close()


def test_full_disk_in_the_middle_leaves_nothing_half_and_is_tried_again(studio):
    with mounted(studio.root / "outbox") as outbox:
        studio.start()
        studio.drop("bulky song.wav")
        studio.settle()
        studio.until(lambda: studio.jobs()[0].state == "retry-at")
        job = studio.jobs()[0]
        assert (job.code, job.faults) == ("disk-full", 0)
        assert published(studio.root) == {}
        subprocess.run(["mount", "-o", "remount,size=20m", str(outbox)], check=True)
        studio.work_off()
        assert list(published(studio.root)) == ["bulky song"]
        assert [name for name in names_in(outbox) if "partial" in name] == []
        segments = (studio.root / "segments.log").read_text().splitlines()
        assert len(segments) == len(set(segments)), "the search was done twice"


def test_too_little_space_is_noticed_before_the_search(studio):
    with mounted(studio.root / "outbox", "1m"):
        studio.start()
        studio.drop("long song.wav", frames=100_000)
        studio.settle()
        studio.until(lambda: studio.jobs()[0].state == "retry-at")
        assert "MB are needed" in studio.jobs()[0].reason
        assert not (studio.root / "segments.log").exists()


def test_above_the_high_water_mark_nothing_is_begun_and_it_says_so(studio):
    with mounted(studio.root, "40m"):  # all of it: how full the machine's disk is is its own
        outbox = studio.root / "outbox"
        studio.settings = settings_of(high_water_percent=50)
        studio.start()
        (outbox / "foreign").write_bytes(bytes(24 * MB))
        studio.drop("song.wav")
        studio.settle()
        studio.round(2)
        assert studio.states() == {"song.wav": "settled"}
        assert any("the mark is 50 %" in reason for reason in studio.daemon.health()["degraded"])
        (outbox / "foreign").unlink()
        studio.work_off()
        assert list(published(studio.root)) == ["song"]


def test_unmounted_hot_folder_is_lost_and_not_emptied(studio):
    with mounted(studio.root, "20m"):
        studio.start()
        studio.drop("song 1.wav", seed=1)
        studio.round(0.2)
        assert studio.states() == {"song 1.wav": "seen"}
        subprocess.run(["umount", "--lazy", str(studio.root)], check=True)
        assert studio.root.is_dir()
        for _ in range(3):
            studio.round(1)
        assert "mounted?" in studio.daemon.lost
        assert not studio.daemon.health()["healthy"]
        assert studio.states() == {"song 1.wav": "seen"}
        assert names_in(studio.root) == []
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(studio.root)], check=True)
        (studio.root / "inbox").mkdir()
        studio.round(1)
        assert studio.daemon.lost, "an empty disk is not the hot folder"


def test_remounted_hot_folder_is_taken_up_again(studio, tmp_path):
    with mounted(tmp_path / "disk", "20m") as disk:
        (disk / "root").mkdir()
        bind = ["mount", "--bind", str(disk / "root"), str(studio.root)]
        studio.root.mkdir()
        subprocess.run(bind, check=True)
        try:
            studio.start()
            studio.drop("slow song.wav", seed=1)
            studio.settle()
            studio.until(lambda: studio.jobs()[0].segment >= 1)
            subprocess.run(["umount", "--lazy", str(studio.root)], check=True)
            for _ in range(5):
                studio.round(0.3)
            assert studio.daemon.lost
            subprocess.run(bind, check=True)
            studio.round(1)
            assert studio.daemon.lost is None
            studio.drop("song 2.wav", seed=2)
            studio.work_off()
            assert sorted(published(studio.root)) == ["slow song", "song 2"]
        finally:
            studio.daemon.close()
            studio.daemon = None
            subprocess.run(["umount", "--lazy", str(studio.root)], check=True)


def test_inbox_on_another_disk_is_emptied_by_copying(studio):
    with mounted(studio.root / "inbox"), mounted(studio.root / "done"):
        studio.start()
        content = studio.drop("song.wav").read_bytes()
        studio.work_off()
        [original] = (studio.root / "done").rglob("*.wav")
        assert original.read_bytes() == content
        assert originals(studio.root, "inbox") == originals(studio.root, "work") == []
        assert list(published(studio.root)) == ["song"]


def test_read_only_outbox_makes_files_wait_and_none_fail(studio):
    studio.start()
    with mounted(studio.root / "outbox") as outbox:
        (outbox / ".stemwright-folder").write_text(studio.daemon.root.number())
        subprocess.run(["mount", "-o", "remount,ro", str(outbox)], check=True)
        studio.drop("song.wav")
        studio.settle()
        studio.until(lambda: studio.jobs()[0].attempts == 2)
        job = studio.jobs()[0]
        assert job.faults == 0
        assert published(studio.root) == {}
    studio.work_off()
    assert list(published(studio.root)) == ["song"]


def test_unreadable_file_waits_in_the_inbox_and_the_rest_goes_on(tmp_path):
    make_mix(tmp_path / "root" / "inbox" / "locked.wav", seed=1).chmod(0)
    make_mix(tmp_path / "root" / "inbox" / "open.wav", seed=2)
    # root reads everything, unless it gives up these two rights
    humble = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    prefix = humble if os.geteuid() == 0 else []
    process = start_process(tmp_path, once=True, prefix=prefix)
    code = process.wait(30)
    log = "".join(path.read_text() for path in tmp_path.glob("daemon-*.log"))

    assert code == 0, log
    assert "Permission denied" in log
    assert (tmp_path / "root" / "inbox" / "locked.wav").exists()
    assert list(published(tmp_path / "root")) == ["open"]


@pytest.mark.parametrize(
    "code", ["disk-full", "prior-unknown", "preset-invalid", "program-broken", "output-unwritable"]
)
def test_trouble_that_any_file_would_have_is_never_the_files_fault(code):
    assert Failure(code, "").blameless


@pytest.mark.parametrize("name", ["EBUSY", "ENOSPC", "EIO", "ESTALE", "EROFS", "EACCES", "EDQUOT"])
def test_trouble_of_the_disk_is_never_the_files_fault(name):
    assert Failure("system-error", "", errno=getattr(errno, name)).blameless


def test_busy_file_on_windows_is_left_in_the_inbox_and_tried_again(studio, monkeypatch):
    """Model of WinError 32: another program holds the file, so the rename is refused."""
    studio.start()
    studio.drop("song.wav")
    real, refusals = Path.rename, []

    def rename(self, target):
        if len(refusals) < 2 and "inbox" in self.parts:
            refusals.append(self)
            raise PermissionError(errno.EACCES, "used by another process", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    studio.settle()
    assert studio.job("song.wav").state == "seen"
    assert "used by another process" in studio.job("song.wav").reason
    monkeypatch.setattr(studio.daemon.intake, "_was_just_refused", lambda *_: False)
    studio.work_off()
    assert len(refusals) == 2
    assert list(published(studio.root)) == ["song"]


# -- moving and writing --------------------------------------------------------------------------


def test_move_never_replaces_and_may_be_repeated(tmp_path):
    first, second = make_mix(tmp_path / "a.wav", 1), make_mix(tmp_path / "b.wav", 2)
    kept = second.read_bytes()
    with pytest.raises(FileExistsError):
        move_new(first, second)
    assert second.read_bytes() == kept
    os.link(first, tmp_path / "c.wav")  # as after a crash between link and unlink
    move_new(first, tmp_path / "c.wav")
    assert names_in(tmp_path) == ["b.wav", "c.wav"]


def test_move_across_disks_never_replaces(tmp_path):
    with mounted(tmp_path / "disk") as disk:
        first = make_mix(tmp_path / "a.wav", 1)
        content = first.read_bytes()
        (disk / "a.wav").write_bytes(b"taken")
        with pytest.raises(FileExistsError):
            move_new(first, disk / "a.wav")
        move_new(first, disk / "b.wav")
        assert (disk / "a.wav").read_bytes() == b"taken"
        assert (disk / "b.wav").read_bytes() == content
        assert names_in(disk) == ["a.wav", "b.wav"]


def test_move_without_hard_links_never_replaces(tmp_path, monkeypatch):
    """Model of FAT and some shares, which know no hard links."""

    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    first, second = make_mix(tmp_path / "a.wav", 1), make_mix(tmp_path / "b.wav", 2)
    with pytest.raises(FileExistsError):
        move_new(first, second)
    move_new(first, tmp_path / "c.wav")
    assert names_in(tmp_path) == ["b.wav", "c.wav"]


def test_text_file_on_a_full_disk_stays_as_it_was(tmp_path):
    with mounted(tmp_path / "disk", "64k") as disk:
        write_whole(disk / "health.json", "old")
        with pytest.raises(OSError, match="No space left"):
            write_whole(disk / "health.json", "new" * 100_000)
        assert (disk / "health.json").read_text() == "old"
        assert names_in(disk) == ["health.json"]


def test_space_is_told_in_figures(tmp_path):
    with mounted(tmp_path / uuid.uuid4().hex, "10m") as disk:
        assert space_shortage([disk], 5 * MB) is None
        assert "12 MB are needed, 10 MB are free" in space_shortage([disk], 12 * MB)
        assert over_high_water([disk], 50) is None
        (disk / "file").write_bytes(bytes(6 * MB))
        assert "the disk is 57 % full, the mark is 50 %" in over_high_water([disk], 50)


def test_share_below_the_outbox_that_drops_away_is_waited_for(studio):
    studio.start()
    label = studio.root / "outbox" / "label"
    with mounted(label):
        studio.drop("label/one.wav", seed=1)
        studio.work_off()
        assert (label / "one" / "manifest.json").is_file()
    studio.drop("label/two.wav", seed=2)
    studio.drop("three.wav", seed=3)
    studio.settle()
    studio.until(lambda: studio.job("three.wav").state == "done")
    studio.until(lambda: studio.job("two.wav").state == "retry-at")
    waiting = studio.job("two.wav")
    assert (waiting.code, waiting.destination) == ("folder-lost", None)
    assert f"{label}: a disk or share was mounted here" in waiting.reason
    assert names_in(label) == [], "nothing is written to the bare folder"
    with mounted(label):
        studio.until(lambda: studio.job("two.wav").state == "done")
        assert (label / "two" / "manifest.json").is_file()


def test_share_below_the_outbox_that_drops_away_during_the_work_keeps_the_set_back(studio):
    studio.start()
    label = studio.root / "outbox" / "label"
    with mounted(label):
        studio.drop("label/slow song.wav")
        studio.settle()
        studio.until(lambda: studio.jobs()[0].segment >= 1)
    studio.until(lambda: studio.jobs()[0].state == "retry-at")
    assert studio.jobs()[0].code == "folder-lost"
    assert names_in(label) == []


def test_folder_that_is_no_mount_any_more_on_purpose_is_adopted(studio):
    studio.start()
    label = studio.root / "outbox" / "label"
    with mounted(label):
        studio.drop("label/one.wav", seed=1)
        studio.work_off()
    studio.close()
    studio.start(adopt=True)
    studio.drop("label/two.wav", seed=2)
    studio.work_off()
    assert (label / "two" / "manifest.json").is_file()


def test_what_is_asked_for_is_what_a_set_takes(tmp_path):
    """Eight seconds of a 16-bit mix with the default preset: measured, 14.1 and 30.3 MB."""
    facts = WorkFacts("", "", frames=352_800, channels=2, sample_rate=44_100, file_count=10,
                      file_bytes=2, stem_count=4)  # fmt: skip
    of_set, of_work = space_needed_bytes(facts)
    assert 14.1 * MB <= of_set <= 16 * MB
    assert 30.3 * MB <= of_work <= 32 * MB
    with mounted(tmp_path / "sets", "20m") as sets, mounted(tmp_path / "work", "40m") as work:
        assert shortage_for(facts, sets, work) is None
        assert "47 MB are needed" in shortage_for(facts, work, work)
        assert "31 MB are needed" in shortage_for(facts, work, sets)
