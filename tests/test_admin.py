"""What is ignored is named, what is asked is answered, and nothing found is no success."""

import json
import logging
import os

import pytest

import separator_toys as toys
from engine.separators.loading import load_card
from engine.separators.lock import Lock, write_lock
from hotfolder.admin import Admin
from hotfolder_fixtures import Studio, logs, make_mix, settings_of, start_process

pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@pytest.fixture
def studio(tmp_path):
    studio = Studio(tmp_path).start()
    yield studio
    studio.close()


@pytest.fixture
def admin(studio):
    admin = Admin(studio.root, studio.state, studio.settings)
    yield admin
    admin.close()


def test_ignored_files_are_counted_and_named_in_log_and_status(studio, admin, caplog):
    caplog.set_level(logging.INFO)
    inbox = studio.root / "inbox"
    for name in ("song.m4a", "album/two.wv", "new\nline.mka", ".DS_Store", "Thumbs.db", "a.ready"):
        (inbox / name).parent.mkdir(exist_ok=True)
        (inbox / name).write_text("x")
    (inbox / "link.wav").symlink_to("/etc/passwd")
    studio.settle()
    studio.round(3)
    ignored = [record.fields for record in caplog.records if record.message == "ignored"]
    lines = admin.status_lines()

    assert sum(each["count"] for each in ignored) == 4, (
        "told once, and nothing of the system's own"
    )
    assert any(
        "song.m4a: .m4a is not an audio" in line for each in ignored for line in each["files"]
    )
    assert "ignored: 4 in the inbox are left alone" in lines
    assert any("link.wav: a symbolic link" in line for line in lines)
    assert not any("\n" in line for line in lines)
    assert set(admin.status()["ignored"]) >= {"song.m4a", "album/two.wv"}
    assert studio.daemon.health()["ignored"] == 4


@pytest.mark.parametrize("how", ["paused", "full", "ignored", "lost"])
def test_once_that_cannot_do_what_lies_there_says_why_and_fails(tmp_path, how):
    studio = Studio(tmp_path).start()
    if how == "paused":
        studio.daemon.journal.set_setting("paused", "lunch")
    studio.close()
    settings = {"scan_s": 0.1, "settle_s": 0.1}
    if how == "full":
        settings["high_water_percent"] = 0.0001
    if how == "ignored":
        (studio.root / "inbox" / "song.m4a").write_text("x")
    else:
        make_mix(studio.root / "inbox" / "song.wav")
    script = "" if how != "lost" else (
        "from hotfolder.daemon import Daemon\n"
        "Daemon._look_for_root = lambda self: setattr(self, 'lost', 'the share has gone')"
    )  # fmt: skip
    process = start_process(tmp_path, once=True, settings=settings, script=script)
    assert process.wait(30) == 1
    [event] = [json.loads(line) for line in logs(tmp_path).splitlines() if '"not-done"' in line]
    wanted = {"paused": "lunch", "full": "the mark is", "ignored": "song.m4a", "lost": "has gone"}
    assert wanted[how] in event["reason"]


def test_the_cost_of_separators_is_told_before_they_begin(tmp_path, monkeypatch, caplog):
    """By the lock for a job that waits, by the mix's own length for one that is in work."""
    caplog.set_level(logging.INFO)
    cards = tmp_path / "cards"
    cards.mkdir()
    loaded = load_card(toys.echo(cards, name="echo"))
    lock = Lock(
        digest=loaded.digest, music="", program={}, device="cpu", threads=1, band_hz=1,
        seconds_per_minute=90, peak_mib=1, stems={}, findings=(),
    )  # fmt: skip
    write_lock(loaded, lock)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "dear.yaml").write_text("stems: {all: {separator: echo}}\n")
    monkeypatch.setenv("STEMWRIGHT_PRESETS", str(tmp_path / "presets"))
    settings = settings_of(preset="dear", worker={"separator_folders": [str(cards)]})
    studio = Studio(tmp_path, settings).start()
    admin = Admin(studio.root, studio.state, settings)
    studio.drop("slow slow slow.wav", frames=2 * 8000)
    admin.pause("lunch")
    studio.until(lambda: studio.jobs() and studio.jobs()[0].state == "settled")
    [queued] = admin.status()["waiting"]
    admin.resume()
    studio.until(lambda: studio.jobs()[0].segments)
    [running] = admin.status()["in_work"]
    studio.work_off()
    admin.close()
    studio.close()
    assert queued["why"].endswith("paused: lunch; its separators take about 90 s a minute")
    assert "about 3 s for its separators" in running["why"]
    [decoded] = [record.fields for record in caplog.records if record.message == "decoded"]
    assert decoded["separators_s"] == 3.0


def test_once_on_an_empty_inbox_is_done(tmp_path):
    assert start_process(tmp_path, once=True).wait(30) == 0


def test_explain_takes_a_path_from_where_one_stands(studio, admin, tmp_path, monkeypatch):
    studio.drop("album/song.wav")
    (tmp_path / "alias").symlink_to(studio.root)
    there = {
        studio.root: ["inbox/album/song.wav", "album/song.wav"],
        studio.root / "inbox" / "album": ["song.wav", "./song.wav", "../album/song.wav"],
        tmp_path: ["root/inbox/album/song.wav", "alias/inbox/album/song.wav"],
    }
    for known in (False, True):
        for folder, targets in there.items():
            monkeypatch.chdir(folder)
            for target in targets:
                wanted = "size or time changed" if known else "the next scan will see it"
                assert wanted in admin.explain(target)[0], (folder, target)
        studio.round(0.2)


def test_explain_tells_a_folder_a_file_of_a_set_and_a_stranger(studio, admin):
    studio.drop("song.wav")
    studio.work_off()
    (studio.root / "inbox" / "album.wav").mkdir()
    make_mix(studio.root / "inbox" / "album.wav" / "one.wav")
    stem = studio.root / "outbox" / "song" / "dry" / "one.wav"
    assert "a folder, and no mix: 1 mixes in it" in admin.explain("album.wav")[0]
    assert "done at 20" in admin.explain(str(stem))[0]
    assert "there is no such file" in admin.explain("nowhere.wav")[0]
    assert "not known" in admin.explain(os.fsdecode(b"\xff.wav"))[0]


def test_status_survives_a_health_file_that_is_not_ours(studio, admin):
    for text in ("{}", "[]", '{"healthy": "yes"}', "[" * 100_000, '{"healthy": true, "lost": 3}'):
        (studio.state / "health.json").write_text(text)
        assert admin.status_lines()
        assert admin.status()["health"] is None


def test_preset_that_is_added_while_the_daemon_runs_is_used(tmp_path, monkeypatch):
    presets = tmp_path / "presets"
    presets.mkdir()
    monkeypatch.setenv("STEMWRIGHT_PRESETS", str(presets))
    studio = Studio(tmp_path, settings_of(jobs=2)).start()
    studio.daemon.journal.set_setting("paused", "test")
    studio.drop("own/waits.wav", seed=1)
    studio.settle()
    assert studio.job("waits.wav").preset == "default"
    (presets / "own.yaml").write_text("extends: dry\n")
    studio.drop("own/song.wav", seed=2)
    studio.settle()
    found = {job.source.name: job.preset for job in studio.jobs()}
    studio.close()
    assert found == {"waits.wav": "own", "song.wav": "own"}
