"""Only what SQLite calls corrupt is damage; a journal that is deleted or full is not lost."""

import contextlib
import json
import logging
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hotfolder.admin import Admin
from hotfolder.job import State
from hotfolder.journal import Journal
from hotfolder.journal_database import is_damage
from hotfolder_fixtures import (
    Studio,
    logs,
    make_mix,
    originals,
    published,
    settings_of,
    start_process,
    wait_for,
)
from presets import StemwrightError

pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@pytest.fixture
def studio(tmp_path):
    studio = Studio(tmp_path, settings_of(jobs=2), lease_s=1.0).start()
    yield studio
    studio.close()


@contextlib.contextmanager
def asking(studio):
    admin = Admin(studio.root, studio.state, studio.settings)
    yield admin
    admin.close()


def damaged(studio):
    return list(studio.state.glob("journal.db.damaged-*"))


def safe_rounds(studio, seconds):
    for _ in range(int(seconds / 0.1)):
        studio.now = studio.now.later(0.1)
        studio.daemon._safe_loop(studio.now)
        time.sleep(0.01)


# -- what is no damage ---------------------------------------------------------------------------


def test_only_corruption_is_damage(tmp_path):
    errors = []
    db = sqlite3.connect(tmp_path / "x.db")
    for statement in ("CREATE TABLE a (b UNIQUE)", "INSERT INTO a VALUES (1)",
                      "INSERT INTO a VALUES (1)", "SELECT no", "nonsense"):  # fmt: skip
        try:
            db.execute(statement)
        except sqlite3.Error as error:
            errors.append(error)
    db.close()
    (tmp_path / "y.db").write_bytes(os.urandom(5000))
    noise = contextlib.closing(sqlite3.connect(tmp_path / "y.db"))
    with noise as db, pytest.raises(sqlite3.DatabaseError) as caught:
        db.execute("SELECT * FROM sqlite_master")
    assert [is_damage(error) for error in errors] == [False] * 3
    assert is_damage(caught.value)
    assert not is_damage(ValueError())


def test_failed_mix_that_was_put_back_and_is_tried_again_leaves_the_journal_alone(studio):
    whole = studio.drop("song.wav").read_bytes()
    (studio.root / "inbox" / "song.wav").write_bytes(b"text")
    studio.settle()
    studio.until(studio.is_finished)
    studio.daemon.journal.set_setting("paused", "test")
    [failed] = (studio.root / "failed").rglob("song.wav")
    failed.rename(studio.root / "inbox" / "song.wav")
    (studio.root / "inbox" / "song.wav").write_bytes(whole)
    studio.settle()
    assert sorted(job.state for job in studio.jobs()) == ["quarantined", "settled"]
    with asking(studio) as admin:
        assert admin.retry(None) == []
        with pytest.raises(StemwrightError, match="put it back"):
            admin.retry(str(failed))
    # and should an older program have asked all the same:
    [old] = studio.daemon.journal.in_state(State.QUARANTINED)
    studio.daemon.journal.advance(old, replace(old, state=State.RETRY_AT, due_at=0), studio.now)
    studio.daemon.journal.set_setting("paused", None)
    for _ in range(300):
        safe_rounds(studio, 0.1)
        if studio.is_finished():
            break
    assert list(published(studio.root)) == ["song"]
    assert studio.states() == {"song.wav": "done"}
    assert damaged(studio) == []


def test_bug_of_ours_in_a_round_is_told_once_and_the_journal_stays(studio, monkeypatch, caplog):
    def hurt(*_):
        raise sqlite3.IntegrityError("UNIQUE constraint failed: jobs.source")

    monkeypatch.setattr(studio.daemon, "_scan", hurt)
    safe_rounds(studio, 1.0)
    bugs = [record for record in caplog.records if record.message == "bug"]
    assert len(bugs) == 1
    assert "UNIQUE constraint" in bugs[0].fields["reason"]
    assert "Traceback" in bugs[0].fields["log"]
    monkeypatch.undo()
    studio.drop("song.wav")
    studio.work_off()
    assert damaged(studio) == []
    assert studio.states() == {"song.wav": "done"}


# -- the file goes away --------------------------------------------------------------------------


def test_journal_deleted_under_a_running_daemon_is_put_back_whole(studio):
    studio.drop("done.wav", seed=1)
    studio.work_off()
    studio.drop("slow song.wav", seed=2)
    studio.settle()
    studio.until(lambda: studio.job("slow song.wav").segment >= 1)
    before = {job.id for job in studio.jobs()}
    for path in studio.state.glob("journal.db*"):
        path.unlink()
    with pytest.raises(StemwrightError, match="while a daemon has it open"):
        Admin(studio.root, studio.state, studio.settings)
    studio.round(0.1)
    with asking(studio) as admin:
        assert admin.status()["counts"]["done"] == 1
    studio.work_off()
    assert {job.id for job in studio.jobs()} == before
    assert sorted(published(studio.root)) == ["done", "slow song"]
    assert damaged(studio) == []


def test_journal_that_two_daemons_have_open_is_put_back_once(tmp_path):
    first, second = Journal(tmp_path / "journal.db"), Journal(tmp_path / "journal.db")
    first.set_setting("paused", "kept")
    (tmp_path / "journal.db").unlink()
    assert first.put_back()
    first.set_setting("other", "new")
    assert second.is_elsewhere()
    assert not second.put_back()
    assert (second.setting("paused"), second.setting("other")) == ("kept", "new")
    second.close()
    first.set_setting("last", "word")
    first.close()
    again = Journal(tmp_path / "journal.db")
    assert (again.setting("other"), again.setting("last")) == ("new", "word")
    assert again.is_sound()
    again.close()


def test_journal_replaced_by_noise_is_moved_aside_and_put_back(studio):
    studio.drop("done.wav", seed=1)
    studio.work_off()
    path = studio.state / "journal.db"
    path.unlink()
    path.write_bytes(os.urandom(20_000))
    studio.round(0.1)
    assert studio.states() == {"done.wav": "done"}
    assert len(damaged(studio)) == 1


def test_journal_replaced_by_a_sound_one_is_gone_on_with(studio):
    studio.drop("done.wav", seed=1)
    studio.work_off()
    other = Journal(studio.folder / "other.db")
    other.set_setting("paused", "from a backup")
    other.close()
    (studio.folder / "other.db").replace(studio.state / "journal.db")
    studio.round(0.1)
    assert studio.daemon.journal.setting("paused") == "from a backup"
    assert studio.daemon.journal.is_sound()
    assert damaged(studio) == []


def test_noise_written_over_the_journal_is_told_and_survived(studio, caplog):
    studio.drop("done.wav", seed=1)
    studio.work_off()
    path = studio.state / "journal.db"
    with path.open("r+b") as file:  # the same file, so that the daemon still has it open
        file.write(os.urandom(path.stat().st_size))
    safe_rounds(studio, 0.3)
    assert any(record.message == "journal-damaged" for record in caplog.records)
    assert len(damaged(studio)) == 1
    studio.drop("next.wav", seed=2)
    for _ in range(300):
        safe_rounds(studio, 0.1)
        if studio.states().get("next.wav") == "done":
            break
    assert sorted(published(studio.root)) == ["done", "next"]


def test_journal_of_noise_is_told_by_the_command_line(studio):
    studio.close()
    (studio.state / "journal.db").write_bytes(os.urandom(20_000))
    with pytest.raises(StemwrightError, match=r"damaged.*Start `stemwright watch`"):
        Admin(studio.root, studio.state, studio.settings)
    studio.start()


# -- the disk is full ----------------------------------------------------------------------------


def test_small_state_disk_that_was_full_recovers_and_its_daemon_can_be_stopped(tmp_path):
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs leave to mount a file system")
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(state)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("needs leave to mount a file system")
    try:
        process = start_process(tmp_path)
        wait_for(lambda: (state / "health.json").exists())
        with contextlib.suppress(OSError):
            (state / "filler").write_bytes(bytes(4_000_000))
        for number in range(3):
            make_mix(tmp_path / "root" / "inbox" / f"song {number}.wav", number)
        wait_for(lambda: '"journal-trouble"' in logs(tmp_path))
        (state / "filler").unlink()
        wait_for(lambda: len(originals(tmp_path / "root", "done")) == 3)
        for number in range(3, 40):  # SQLite's own log would fill the disk by now
            make_mix(tmp_path / "root" / "inbox" / f"song {number}.wav", number)
        wait_for(lambda: (state / "journal.db-wal").stat().st_size < 1_000_000)
        with contextlib.suppress(OSError):
            (state / "filler").write_bytes(bytes(4_000_000))
        process.terminate()
        assert process.wait(20) == 0
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=False)


def test_message_that_cannot_be_written_down_is_heard_again(studio, monkeypatch):
    studio.drop("slow song.wav")
    studio.settle()
    studio.until(lambda: studio.job("slow song.wav").segment >= 1)
    real, failures = Journal.advance, []

    def full(self, *arguments, **named):
        if len(failures) < 40:
            failures.append(arguments[1])
            raise sqlite3.OperationalError("database or disk is full")
        return real(self, *arguments, **named)

    monkeypatch.setattr(Journal, "advance", full)
    for _ in range(600):
        safe_rounds(studio, 0.1)
        if studio.is_finished():
            break
    assert len(failures) == 40
    assert list(published(studio.root)) == ["slow song"]
    segments = (studio.root / "segments.log").read_text().splitlines()
    assert len(segments) == len(set(segments))


# -- what the command line asked for -------------------------------------------------------------


def test_forgotten_file_that_waits_in_the_inbox_is_seen_again(studio):
    studio.daemon.journal.set_setting("paused", "test")
    studio.drop("song.wav")
    studio.settle()
    with asking(studio) as admin:
        admin.forget("song.wav")
        assert studio.states() == {}
        assert "the next scan will see it" in admin.explain("song.wav")[0]
    studio.settle()
    assert studio.states() == {"song.wav": "settled"}
    studio.daemon.journal.set_setting("paused", None)
    studio.work_off()
    assert list(published(studio.root)) == ["song"]


def test_row_whose_identity_is_not_the_files_does_not_go_round_for_ever(studio, caplog):
    caplog.set_level(logging.INFO)
    studio.daemon.journal.set_setting("paused", "test")
    studio.drop("song.wav")
    studio.settle()
    studio.daemon.journal.execute("UPDATE jobs SET identity = 'of another time'")
    studio.daemon.journal.set_setting("paused", None)
    studio.work_off()
    assert sum(record.message == "not-claimed" for record in caplog.records) <= 1
    assert list(published(studio.root)) == ["song"]


def test_file_that_cannot_be_claimed_is_told_once(studio, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    studio.drop("song.wav")
    real = Path.rename
    monkeypatch.setattr(studio.daemon.intake, "_was_just_refused", lambda *_: False)

    def busy(self, target):
        if "inbox" in self.parts:
            raise PermissionError(13, "used by another process", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", busy)
    studio.settle()
    for _ in range(30):
        studio.round(0.3)
    events = [record for record in caplog.records if record.message == "not-claimed"]
    assert len(events) == 1
    assert studio.job("song.wav").attempts > 10


def test_what_the_library_warns_of_is_one_short_line_of_json(tmp_path):
    script = "import warnings; warnings.warn('x' * 600_000, RuntimeWarning)"
    process = start_process(tmp_path, script=script, once=True)
    assert process.wait(30) == 0
    [line] = [line for line in logs(tmp_path).splitlines() if "xxxx" in line]
    assert len(line) < 20_000
    json.loads(line)


def test_deep_tree_is_watched_without_a_word_of_the_library(tmp_path):
    process = start_process(tmp_path)
    wait_for(lambda: (tmp_path / "state" / "health.json").exists())
    make_mix(tmp_path / "root" / "inbox" / "first.wav")
    wait_for(lambda: '"done"' in logs(tmp_path))
    here = Path.cwd()
    os.chdir(tmp_path / "root" / "inbox")
    try:
        for _ in range(100):
            Path("d" * 50).mkdir()
            os.chdir("d" * 50)
    finally:
        os.chdir(here)
    wait_for(lambda: "lies deeper than" in logs(tmp_path))
    process.terminate()
    assert process.wait(20) == 0
    assert max(map(len, logs(tmp_path).splitlines())) < 20_000
    assert all(line.startswith("{") for line in logs(tmp_path).splitlines())
