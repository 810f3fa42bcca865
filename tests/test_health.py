"""What the daemon tells: health that is true, metrics, logs, explanations; and its settings."""

import io
import json
import logging
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from hotfolder import watcher as watcher_module
from hotfolder.admin import Admin, preview
from hotfolder.clock import Instant
from hotfolder.health import metrics_of
from hotfolder.http_server import HealthServer
from hotfolder.logs import log_to, logger
from hotfolder.service import notify
from hotfolder.settings import (
    HotFolderSettings,
    HttpSettings,
    RetrySettings,
    WorkerSettings,
    load_settings,
)
from hotfolder.watcher import Watcher
from hotfolder_fixtures import Studio, make_mix, published, settings_of, start_process, wait_for
from presets import StemwrightError

TOKEN = "a token of sixteen letters"
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@pytest.fixture
def studio(tmp_path):
    studio = Studio(tmp_path)
    yield studio
    studio.close()


def get(url, token=None):
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


# -- health --------------------------------------------------------------------------------------


def test_health_counts_what_is_there(studio):
    studio.start()
    studio.drop("good.wav", seed=1)
    studio.drop("broken.wav").write_bytes(b"text")
    studio.work_off()
    studio.daemon.journal.set_setting("paused", "test")
    studio.drop("later.wav", seed=2)
    studio.settle()
    studio.round(2)
    health = studio.daemon.health()

    assert health["queue"]["done"] == health["queue"]["quarantined"] == 1
    assert health["queue"]["settled"] == 1
    assert health["failures_24h"] == 1
    assert health["free_bytes"]["outbox"] > 0
    assert health["provider"] == "toy"
    assert health["oldest_wait_s"] is not None
    assert json.loads((studio.state / "health.json").read_text())["queue"] == health["queue"]


def test_health_is_bad_when_the_last_scan_is_old_though_every_thread_lives(studio):
    studio.start()
    studio.now = Instant.now()
    studio.round()
    assert studio.daemon.health()["healthy"]
    time.sleep(3.2)  # the loop hangs: three intervals of at least a second
    health = studio.daemon.health()
    assert health["watcher_alive"]
    assert not health["healthy"]


def test_watcher_that_died_is_started_again_and_scans_go_on(studio):
    studio.start()
    studio.round()
    for emitter in studio.daemon._watcher._observer.emitters:
        emitter.stop()
        emitter.join()
    studio.drop("song.wav")
    studio.work_off()
    assert studio.states() == {"song.wav": "done"}
    assert studio.daemon.health()["watcher_alive"]


def test_inbox_without_a_watcher_is_scanned_all_the_same(studio, monkeypatch):
    """Model of a machine whose inotify instances are used up."""

    def refuse(self, *_, **__):
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr("watchdog.observers.api.BaseObserver.schedule", refuse)
    studio.start()
    studio.drop("song.wav")
    studio.work_off()
    health = studio.daemon.health()
    assert studio.states() == {"song.wav": "done"}
    assert not health["watcher_alive"]
    assert "inotify instance limit" in " ".join(health["degraded"])
    assert health["healthy"], "scans are recent, and they are what counts"


def test_folders_beyond_the_watch_limit_are_counted_and_told(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).mkdir()
    watcher = Watcher(tmp_path, lambda: None)
    watcher.start()
    monkeypatch.setattr(watcher_module, "watched_folders", lambda: 1)
    now = Instant.now()
    for _ in range(4):
        watcher.check(4, now)
    trouble = watcher.trouble
    monkeypatch.undo()
    watcher.check(4, now)
    whole = watcher.trouble
    watcher.stop()

    assert "3 of 4 folders send no events" in trouble
    assert whole is None


def test_lost_events_are_found_by_the_next_scan(studio, monkeypatch):
    """Model of IN_Q_OVERFLOW: no event ever arrives."""
    monkeypatch.setattr("hotfolder.daemon.Daemon._on_file_event", lambda self: None)
    studio.start()
    studio.daemon.journal.set_setting("paused", "test")
    for number in range(300):
        studio.drop(f"{number}.wav", frames=10)
    studio.settle()
    assert set(studio.states().values()) == {"settled"}
    assert len(studio.states()) == 300


@pytest.mark.slow
def test_burst_of_ten_thousand_files_is_found_whole(tmp_path):
    studio = Studio(tmp_path, settings_of(settle_s=1)).start()
    studio.daemon.journal.set_setting("paused", "test")
    for number in range(10_000):
        make_mix(studio.root / "inbox" / f"{number // 100}" / f"{number}.wav", frames=1)
    studio.settle()
    studio.round(1)
    states = studio.daemon.journal.statistics.counts()
    studio.close()
    assert states["settled"] == 10_000


# -- the HTTP server -----------------------------------------------------------------------------


def test_endpoint_tells_health_and_metrics(tmp_path):
    studio = Studio(tmp_path, settings_of(http={"port": 0})).start()
    studio.now = Instant.now()
    studio.round()
    code, body = get(f"{studio.daemon.http_url}/health")
    metrics_code, metrics = get(f"{studio.daemon.http_url}/metrics")
    unknown, _ = get(f"{studio.daemon.http_url}/../../etc/passwd")
    studio.daemon.root = None  # the loop cannot run any more
    time.sleep(3.2)
    late, _ = get(f"{studio.daemon.http_url}/health")
    studio.close()

    assert (code, metrics_code, unknown, late) == (200, 200, 404, 503)
    assert json.loads(body)["healthy"]
    assert "stemwright_healthy 1\n" in metrics
    assert 'stemwright_jobs{state="done"} 0' in metrics
    assert 'stemwright_free_bytes{folder="outbox"}' in metrics


def test_every_metric_has_help_and_type_and_a_number(studio):
    studio.start()
    studio.round()
    lines = metrics_of(studio.daemon.health()).splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    for line in lines:
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name.split("{")[0] in names
            float(value)


def test_endpoint_asks_for_its_token():
    server = HealthServer(HttpSettings(port=0, token=TOKEN), lambda: {"healthy": True})
    codes = [get(f"{server.url}/health", token)[0] for token in (None, "wrong", TOKEN)]
    server.close()
    assert codes == [401, 401, 200]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "studio.local"])
def test_endpoint_beyond_loopback_needs_a_token(host):
    with pytest.raises(ValueError, match="give a token"):
        HttpSettings(port=1, host=host)
    assert HttpSettings(port=1, host=host, token=TOKEN).host == host


# -- settings ------------------------------------------------------------------------------------


def test_settings_errors_name_line_and_column(tmp_path):
    path = tmp_path / "watch.yaml"
    path.write_text("scan_s: 1.5\nsettle: 3\nretry:\n  attempts: none\n")
    with pytest.raises(StemwrightError) as caught:
        load_settings(path)
    assert caught.value.code == "settings-invalid"
    assert f"{path}:2:1: settle: no such key (did you mean 'settle_s'?)" in str(caught.value)
    assert f"{path}:4:13: retry.attempts: must be a whole number" in str(caught.value)


def test_missing_settings_file_is_told(tmp_path):
    with pytest.raises(StemwrightError, match="cannot be read"):
        load_settings(tmp_path / "none.yaml")


def test_bad_edit_keeps_the_old_settings_and_says_where(tmp_path):
    path = tmp_path / "watch.yaml"
    path.write_text("scan_s: 0.1\nsettle_s: 0.15\n")
    studio = Studio(tmp_path, load_settings(path)).start(settings_file=path)
    studio.round(2)
    path.write_text("scan_s: 0.1\nsettle_s: soon\n")
    studio.round(2)
    assert studio.daemon.settings.settle_s == 0.15
    [trouble] = studio.daemon.health()["degraded"]
    assert f"{path}:2:11: settle_s" in trouble
    path.write_text("scan_s: 0.1\nsettle_s: 0.3\njobs: 2\n")
    studio.round(2)
    settings, health = studio.daemon.pool.jobs.settings, studio.daemon.health()
    studio.close()

    assert (settings.settle_s, settings.jobs) == (0.3, 2)
    assert health["degraded"] == []


def test_edit_may_change_the_way_of_watching_and_the_endpoint(tmp_path):
    path = tmp_path / "watch.yaml"
    path.write_text("watch: polling\n")
    studio = Studio(tmp_path, load_settings(path)).start(settings_file=path)
    assert studio.daemon._watcher._observer is None
    path.write_text("watch: events\nhttp:\n  port: 0\n")
    studio.round(2)
    observer, url = studio.daemon._watcher._observer, studio.daemon.http_url
    studio.close()

    assert observer is not None
    assert url.startswith("http://127.0.0.1:")


def test_every_setting_has_a_default_and_a_description():
    sections = [HotFolderSettings, HttpSettings]
    for section in sections:
        for name, field in section.model_fields.items():
            if name not in ("retry", "worker"):
                assert field.description, name


# -- logs ----------------------------------------------------------------------------------------


def test_every_transition_is_one_line_of_json(studio):
    stream = io.StringIO()
    handler = log_to(stream)
    studio.start()
    studio.drop("song\nname.wav")
    studio.work_off()
    logger.removeHandler(handler)
    logger.propagate = True
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert lines[0]["event"] == "started"
    assert lines[0]["settings"]["settle_s"] == 0.15
    events = [line["event"] for line in lines if "job" in line]
    assert events == ["seen", "settled", "claimed", "decoded", "searching", "processing",
                      "publishing", "done"]  # fmt: skip
    assert {line["file"] for line in lines if "job" in line} == {"song\\x0aname.wav"}
    assert all({"time", "level", "event"} <= line.keys() for line in lines)


def test_token_never_reaches_the_log(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    settings = settings_of(http={"port": 0, "token": TOKEN})
    studio = Studio(tmp_path, settings).start()
    studio.close()
    logged = [str(getattr(record, "fields", "")) for record in caplog.records]
    assert any("settle_s" in line for line in logged)
    assert not any(TOKEN in line for line in logged)


# -- the service manager -------------------------------------------------------------------------


def test_service_manager_hears_ready_alive_and_stopping(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        manager.bind("notify")
        manager.settimeout(10)
        process = start_process(tmp_path, env={"NOTIFY_SOCKET": str(tmp_path / "notify")[-100:]})
        heard = [manager.recv(4096).decode() for _ in range(3)]
        process.terminate()
        assert process.wait(10) == 0
        while "STOPPING=1" not in heard[-1]:
            heard.append(manager.recv(4096).decode())

    assert heard[0].startswith("READY=1\nMAINPID=")
    assert "WATCHDOG=1" in heard[1]
    assert "0 in work, 0 queued" in heard[1]


def test_without_a_service_manager_nothing_is_sent(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")


# -- asking and ordering -------------------------------------------------------------------------


def ask(studio):
    return Admin(studio.root, studio.state, studio.settings)


def test_explain_tells_the_truth_at_each_step(tmp_path):
    studio = Studio(tmp_path, settings_of(settle_s=0.5, jobs=1)).start()
    admin = ask(studio)
    target = str(studio.root / "inbox" / "slow song.wav")

    def why():
        return admin.explain(target)[0]

    studio.now = Instant.now()
    studio.round()
    assert "not known, and not in the inbox" in why()
    studio.drop("slow song.wav", seed=1)
    assert "the next scan will see it" in why()
    studio.round(0.2)
    assert "waiting: size or time changed 0 s ago" in why()
    admin.pause("the band is still at it")
    studio.round(1)
    assert "queued, but paused: the band is still at it" in why()
    admin.resume()
    assert "queued: next" in why()
    studio.drop("second.wav", seed=2)
    studio.round(0.1)
    studio.until(lambda: studio.job("slow song.wav").segment >= 2)
    segment = studio.job("slow song.wav").segment
    assert f"in work: searching, segment {segment} of 5, attempt 1" in why()
    studio.until(lambda: studio.job("second.wav").state == "settled")
    assert "queued behind 1" in admin.explain("second.wav")[0]
    studio.work_off()
    assert "done at 20" in why()
    assert str(studio.root / "outbox" / "slow song") in why()
    assert admin.explain(str(studio.root / "outbox" / "slow song"))[0] == why()
    admin.close()
    studio.close()


def test_explain_names_what_is_ignored_or_incomplete_or_broken(studio):
    studio.start()
    inbox = studio.root / "inbox"
    (inbox / "notes.txt").write_text("takes")
    (inbox / "half.wav").write_bytes(make_mix(studio.folder / "x.wav").read_bytes()[:300])
    (inbox / "broken.wav").write_bytes(b"text")
    make_mix(inbox / "@eaDir" / "thumb.wav")
    studio.settle()
    studio.until(lambda: studio.job("broken.wav").state == "quarantined")
    studio.round(0.2)
    admin = ask(studio)
    explanations = {name: admin.explain(str(inbox / name))[0]
            for name in ("notes.txt", "half.wav", "broken.wav", "@eaDir/thumb.wav")}  # fmt: skip
    admin.close()

    assert "ignored: .txt is not an audio file's ending" in explanations["notes.txt"]
    assert "waiting: its header promises 844 bytes, 300 are there" in explanations["half.wav"]
    assert explanations["broken.wav"].startswith("broken.wav: quarantined: no audio file")
    assert "stemwright retry '" in explanations["broken.wav"]
    assert "its folder @eaDir is left alone" in explanations["@eaDir/thumb.wav"]


def test_explain_says_when_no_daemon_runs(studio):
    studio.start()
    studio.drop("song.wav")
    studio.round(0.2)
    studio.close()
    admin = ask(studio)
    explanation = admin.explain("song.wav")
    admin.close()
    studio.daemon = None
    assert explanation[-1].startswith("No daemon is running")


def test_retry_takes_a_quarantined_file_up_again(studio):
    studio.start()
    path = studio.drop("song.wav")
    whole = path.read_bytes()
    path.write_bytes(b"text")
    studio.work_off()
    [failed] = (studio.root / "failed").rglob("song.wav")
    failed.write_bytes(whole)
    admin = ask(studio)
    assert [job.state for job in admin.retry(str(failed))] == ["retry-at"]
    studio.work_off()
    with pytest.raises(StemwrightError, match="nothing to retry"):
        admin.retry("song.wav")
    admin.close()

    assert studio.states() == {"song.wav": "done"}
    assert not list((studio.root / "failed").rglob("*.json"))


def test_forget_lets_the_same_mix_be_done_again_and_deletes_nothing(tmp_path):
    studio = Studio(tmp_path).start()
    studio.drop("song.wav")
    studio.work_off()
    admin = ask(studio)
    admin.forget("song.wav")
    with pytest.raises(StemwrightError, match="does not know it"):
        admin.forget("song.wav")
    studio.drop("song.wav")
    studio.work_off()
    admin.close()
    studio.close()
    assert list(published(studio.root)) == ["song", "song-2"]


def test_forget_sends_a_job_that_waits_for_ever_to_failed(studio):
    studio.settings = settings_of(preset="not-there", retry={"first_s": 500})
    studio.start()
    studio.drop("song.wav")
    studio.settle()
    studio.until(lambda: studio.job("song.wav").state == "retry-at")
    admin = ask(studio)
    admin.forget("song.wav")
    admin.close()
    [reason] = (studio.root / "failed").rglob("song.wav.reason.json")
    assert json.loads(reason.read_text())["code"] == "withdrawn"
    assert reason.with_name("song.wav").exists()


def test_job_in_work_is_not_forgotten(studio):
    studio.start()
    studio.drop("hang.wav")
    studio.settle()
    studio.until(lambda: studio.job("hang.wav").state == "decoded")
    admin = ask(studio)
    with pytest.raises(StemwrightError, match="is in work"):
        admin.forget("hang.wav")
    admin.close()


def test_status_shows_everything_at_a_glance(studio):
    studio.start()
    studio.drop("broken.wav").write_bytes(b"text")
    studio.work_off()
    studio.round(2)
    admin = ask(studio)
    status, lines = admin.status(), admin.status_lines()
    admin.close()
    assert "jobs: 1 quarantined" in lines
    assert any("broken.wav: quarantined" in line for line in lines)
    assert len(status["daemons"]) == 1
    assert status["counts"]["quarantined"] == 1
    assert status["quarantined"][0]["file"] == "broken.wav"
    assert status["health"]["pid"] == os.getpid()
    json.dumps(status)


def test_questions_to_a_folder_without_a_journal_are_answered_with_the_next_step(tmp_path):
    with pytest.raises(StemwrightError, match="Start `stemwright watch`"):
        Admin(tmp_path, tmp_path / "state", HotFolderSettings())


def test_dry_run_tells_and_changes_nothing(tmp_path):
    make_mix(tmp_path / "inbox" / "dry" / "song.wav")
    (tmp_path / "inbox" / "notes.txt").touch()
    (tmp_path / "inbox" / "empty.wav").touch()
    before = sorted(tmp_path.rglob("*"))
    lines = preview(tmp_path, HotFolderSettings())
    assert lines == [
        "dry/song.wav: would be done with dry",
        "empty.wav: would wait: it is empty so far",
        "notes.txt: ignored: .txt is not an audio file's ending",
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_once_ends_when_nothing_is_left_to_do(tmp_path):
    whole = make_mix(tmp_path / "root" / "inbox" / "song.wav")
    (tmp_path / "root" / "inbox" / "half.wav").write_bytes(whole.read_bytes()[:300])
    process = start_process(tmp_path, once=True)
    assert process.wait(30) == 0
    assert (tmp_path / "root" / "outbox" / "song").is_dir()
    assert (tmp_path / "root" / "inbox" / "half.wav").exists()


# -- service files -------------------------------------------------------------------------------

PACKAGING = Path(__file__).parents[1] / "packaging"


def test_systemd_unit_is_accepted(tmp_path):
    try:
        subprocess.run(["systemd-analyze", "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("systemd-analyze is not installed")
    unit = (PACKAGING / "stemwright@.service").read_text()
    (tmp_path / "stemwright@.service").write_text(unit)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "stemwright@studio.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in checked.stderr.splitlines() if "stemwright" in line]
    assert complaints == []


def test_launchd_file_is_a_property_list():
    import plistlib

    with (PACKAGING / "org.stemwright.watch.plist").open("rb") as file:
        agent = plistlib.load(file)
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["ProgramArguments"][1] == "watch"


def test_health_file_appears_while_the_daemon_runs(tmp_path):
    process = start_process(tmp_path)
    wait_for(lambda: (tmp_path / "state" / "health.json").exists())
    process.terminate()
    assert process.wait(10) == 0


# -- the page ------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[1] / "docs" / "hotfolder.md"


def test_page_tells_every_setting_as_the_code_has_it():
    page = PAGE.read_text()
    for prefix, section in (
        ("", HotFolderSettings),
        ("retry.", RetrySettings),
        ("worker.", WorkerSettings),
        ("http.", HttpSettings),
    ):
        for name, field in section.model_fields.items():
            if field.description and name != "http":
                row = rf"^\| `{prefix}{name}` \|.*{re.escape(field.description)}"
                assert re.search(row, page, re.M), name


def test_page_names_a_test_for_each_case():
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", PAGE.read_text(), re.M)
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 71
    for _, names in rows:
        for name in re.findall(r"`(\w+)`", names):
            assert f"def {name}(" in tests, name


def test_example_settings_of_the_page_are_valid(tmp_path):
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "watch.yaml").write_text(example)
    assert load_settings(tmp_path / "watch.yaml").preset == "rock"
