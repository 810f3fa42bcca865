"""Catalogues: checked before any work, done once, done again only where something changed."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine import BESIDE_VOICES, Manifest
from hotfolder.catalogue import batch as batch_module
from hotfolder.catalogue.audit import mixes_below, verify_sets
from hotfolder.catalogue.batch import Batch, output_names
from hotfolder.catalogue.expected import expected_sets
from hotfolder.catalogue.forecast import (
    Cost,
    audio_seconds,
    forecast_s,
    measured_costs,
)
from hotfolder.catalogue.listing import read_catalogue
from hotfolder.catalogue.report import QUIET_LUFS, flags_of, write_reports
from hotfolder.catalogue.terminal import BatchScreen, sentence
from hotfolder.clock import Instant
from hotfolder.facts import JobFacts
from hotfolder.failures import Failure
from hotfolder.job import State
from hotfolder_fixtures import (
    RATE_HZ,
    make_mix,
    names_in,
    publish_by_hand,
    sets_in,
    settings_of,
    wait_for,
)
from presets import StemwrightError, duration_text

ROOT = Path(__file__).parent.parent
CSV = """\
path,title,artist,isrc,upc,year,preset,priority,label code
one.wav,One,The Band,DE-A12-34-56789,036000291452,1994,dry,,LC1
two.wav,Two,The Band,DEA123456789,4006381333931,1995,,5,LC2
gone.wav,Gone,,,,,,,
copy.wav,Copy,,,,,,,
text.wav,Text,,DE123,,,,,
bad.wav,,,,036000291453,,,,
odd.wav,,,,,94,,,
rok.wav,,,,,,rok,,
,,,,,,,,
high.wav,,,,,,,very,
,Nameless,,,,,,,
"""


@pytest.fixture
def mixes(tmp_path):
    folder = tmp_path / "mixes"
    for seed, name in enumerate(("one", "two", "bad", "odd", "rok", "high", "text")):
        make_mix(folder / f"{name}.wav", seed)
    make_mix(folder / "copy.wav", 0)
    return folder


def catalogue_of(folder, text):
    path = folder / "list.csv"
    path.write_text(text)
    return read_catalogue(path)


class Run:
    """One batch run with the toy engine."""

    def __init__(self, tmp_path, catalogue, **settings):
        settings = {"incomplete_after_s": 0, "jobs": 3} | settings
        self.batch = Batch(
            catalogue,
            tmp_path / "out",
            tmp_path / "state",
            settings_of(**settings),
            backend="hotfolder_fixtures",
            lease_s=2.0,
        )

    def __enter__(self):
        return self.batch

    def __exit__(self, *_):
        self.batch.close()


def work_off(tmp_path, catalogue, **settings):
    with Run(tmp_path, catalogue, **settings) as batch:
        plan = batch.enter()
        assert batch.run(lambda snapshot: None)
        write_reports(catalogue, batch.journal, batch.out, Instant.now())
    return plan


def status_of(tmp_path):
    with (tmp_path / "out" / "status.csv").open(newline="") as file:
        return {row["path"].rsplit("/", 1)[-1]: row for row in csv.DictReader(file)}


# -- reading -------------------------------------------------------------------------------------


def test_every_wrong_row_is_named_with_its_number_before_any_work(mixes):
    catalogue = catalogue_of(mixes, CSV)
    assert [row.path.name for row in catalogue.rows] == ["one.wav", "two.wav"]
    assert [(problem.row, problem.code) for problem in catalogue.problems] == [
        (3, "mix-missing"), (4, "mix-duplicate"), (5, "isrc-invalid"), (6, "upc-invalid"),
        (7, "year-invalid"), (8, "preset-unknown"), (10, "priority-invalid"), (11, "row-no-path"),
    ]  # fmt: skip
    problems = "\n".join(map(str, catalogue.problems))
    assert "row 4: " in problems and "the same content as row 1" in problems
    assert "no preset is called 'rok' (did you mean 'rock'?)" in problems or "'rok'" in problems


def test_known_columns_are_understood_and_unknown_ones_kept(mixes):
    one, two = catalogue_of(mixes, CSV).rows
    assert (one.isrc, one.preset, one.priority) == ("DEA123456789", "dry", 0)
    assert (two.preset, two.priority) == ("default", 5)
    assert one.extra == {"label code": "LC1"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_any_spreadsheet_is_read(mixes, delimiter):
    text = "\ufeff" + delimiter.join(["Path", " Title "]) + "\r\n"
    text += delimiter.join(["one.wav", '"One; two, three"']) + "\r\n"
    assert catalogue_of(mixes, text).rows[0].title == "One; two, three"


def test_jsonl_folder_and_pattern_are_catalogues_too(mixes):
    path = mixes / "list.jsonl"
    path.write_text('{"path": "one.wav", "year": 1994, "mood": "blue"}\nnot json\n[1]\n')
    listed = read_catalogue(path)
    assert listed.rows[0].extra == {"mood": "blue"}
    assert [problem.row for problem in listed.problems] == [2, 3]
    (mixes / "sub").mkdir()
    (mixes / "one.wav").rename(mixes / "sub" / "one.wav")
    assert len(read_catalogue(mixes).rows) == 7  # copy.wav is one.wav's twin
    assert [row.path.name for row in read_catalogue(str(mixes / "**/o*.wav")).rows] == [
        "odd.wav", "one.wav",
    ]  # fmt: skip
    with pytest.raises(StemwrightError, match="Expected a folder, a pattern"):
        read_catalogue(mixes / "nothing")


def test_package_that_is_to_hear_pitches_is_missed_before_the_first_row(
    mixes, tmp_path, monkeypatch
):
    monkeypatch.setattr("engine.voices.basic_pitch.find_graph", lambda: None)
    preset = tmp_path / "choir.yaml"
    preset.write_text("voices: {parts: [alto, bass], pitches: basic-pitch}\n")
    with (
        Run(tmp_path, read_catalogue(mixes, str(preset))) as batch,
        pytest.raises(StemwrightError, match="pip install --no-deps basic-pitch"),
    ):
        batch.check_presets()


def test_list_without_a_path_column_is_refused(mixes):
    with pytest.raises(StemwrightError, match="no column 'path', it has file, title"):
        catalogue_of(mixes, "file,title\none.wav,One\n")


def test_sets_are_named_by_artist_and_title_or_keep_their_folders(mixes):
    rows = catalogue_of(mixes, "path,title,artist\none.wav,CON,\ntwo.wav,A/B,X\n").rows
    assert [str(name) for name in output_names(rows).values()] == ["_CON", "X - A_B"]
    make_mix(mixes / "album" / "x.wav", 20)
    names = output_names(read_catalogue(mixes).rows)
    assert names[mixes / "album" / "x.wav"] == Path("album/x")


# -- running -------------------------------------------------------------------------------------


def test_one_failing_row_never_stops_the_rest(tmp_path, mixes):
    (mixes / "text.wav").write_text("no music")
    make_mix(mixes / "crash.wav", 30)
    catalogue = catalogue_of(mixes, "path\none.wav\ntext.wav\ncrash.wav\ngone.wav\ntwo.wav\n")
    plan = work_off(tmp_path, catalogue)
    status = status_of(tmp_path)

    assert plan.new == 4
    assert {name: row["state"] for name, row in status.items()} == {
        "one.wav": "done", "text.wav": "quarantined", "crash.wav": "quarantined",
        "gone.wav": "refused", "two.wav": "done",
    }  # fmt: skip
    # the path stands in the row: the reason does not begin with a bare name
    assert status["text.wav"]["reason"].startswith("mix-not-audio: no audio file")
    assert "poison" in status["crash.wav"]["reason"]
    assert (mixes / "text.wav").exists()
    assert [name for name in names_in(tmp_path / "out") if not name.startswith(".")] == [
        "one", "renderers.log", "segments.log", "status.csv", "summary.html", "two",
    ]  # fmt: skip


def test_a_worker_goes_on_to_the_next_title_with_its_sessions_open(tmp_path, mixes):
    """Until something fails: what that has left in memory nobody knows."""
    (mixes / "text.wav").write_text("no music")
    rows = "one.wav,5\ntwo.wav,4\ntext.wav,3\nodd.wav,2\nrok.wav,1\n"
    work_off(tmp_path, catalogue_of(mixes, "path,priority\n" + rows), jobs=1)
    workers = defaultdict(list)
    for line in (tmp_path / "out" / "renderers.log").read_text().splitlines():
        renderer, title = line.split()
        workers[renderer.split("-")[0]].append(title)
    assert list(workers.values()) == [["one.wav", "two.wav"], ["odd.wav", "rok.wav"]]


def test_sessions_are_opened_anew_for_another_preset(tmp_path, mixes):
    rows = "one.wav,dry,5\ntwo.wav,dry,4\nbad.wav,default,3\n"
    work_off(tmp_path, catalogue_of(mixes, "path,preset,priority\n" + rows), jobs=1)
    log = (tmp_path / "out" / "renderers.log").read_text()
    first, second, third = [line.split()[0] for line in log.splitlines()]
    assert first == second != third
    assert first.split("-")[0] == third.split("-")[0]


def test_second_run_does_nothing(tmp_path, mixes):
    catalogue = catalogue_of(mixes, "path\none.wav\ntwo.wav\n")
    work_off(tmp_path, catalogue)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.wav")}
    plan = work_off(tmp_path, catalogue)

    assert (plan.done, plan.to_do) == (2, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.wav")} == before


def test_changed_preset_or_mix_does_only_its_rows_again(tmp_path, mixes):
    work_off(tmp_path, catalogue_of(mixes, "path,preset\none.wav,dry\ntwo.wav,\nbad.wav,\n"))
    make_mix(mixes / "bad.wav", 99)
    changed = catalogue_of(mixes, "path,preset\none.wav,default\ntwo.wav,\nbad.wav,\n")
    plan = work_off(tmp_path, changed)
    status = status_of(tmp_path)

    assert (plan.changed, plan.done) == (2, 1)
    assert {name: Path(row["destination"]).name for name, row in status.items()} == {
        "one.wav": "one-2", "two.wav": "two", "bad.wav": "bad-2",
    }  # fmt: skip


def test_changed_prior_does_every_row_again(tmp_path, mixes, monkeypatch):
    catalogue = catalogue_of(mixes, "path\none.wav\ntwo.wav\n")
    work_off(tmp_path, catalogue)
    with Run(tmp_path, catalogue) as batch:
        other = dict.fromkeys(("vocals", "bass", "drums", "other"), "11" * 32)
        monkeypatch.setattr(batch._keys._engine, "prior_hashes", lambda preset, options: other)
        assert batch.plan().changed == 2


def test_lost_set_is_made_again(tmp_path, mixes):
    catalogue = catalogue_of(mixes, "path\none.wav\ntwo.wav\n")
    work_off(tmp_path, catalogue)
    (tmp_path / "out" / "one").rename(tmp_path / "elsewhere")
    assert work_off(tmp_path, catalogue).changed == 1
    assert (tmp_path / "out" / "one").is_dir()


def test_failed_rows_stay_failed_until_they_change_or_are_asked_for(tmp_path, mixes):
    (mixes / "text.wav").write_text("no music")
    catalogue = catalogue_of(mixes, "path\ntext.wav\n")
    work_off(tmp_path, catalogue)
    with Run(tmp_path, catalogue) as batch:
        assert batch.plan().failed == 1
        batch.enter()
        assert batch.journal.statistics.unfinished() == 0
        tried = {row.path.name for row in batch.undone(retry_failed=True)}
        assert tried - {row.path.name for row in batch.undone()} == {
            job.source.name for job in batch.journal.in_state(State.QUARANTINED)
        }, "a forecast is of the rows that the run will work on"
        batch.enter(retry_failed=True)
        assert batch.journal.statistics.unfinished() == 1
    make_mix(mixes / "text.wav", 50)
    work_off(tmp_path, catalogue_of(mixes, "path\ntext.wav\n"))
    assert status_of(tmp_path)["text.wav"]["state"] == "done"


def test_priorities_come_first(tmp_path, mixes):
    catalogue = catalogue_of(mixes, "path,priority\none.wav,\ntwo.wav,9\nbad.wav,5\n")
    with Run(tmp_path, catalogue, jobs=1) as batch:
        batch.enter()
        started = []
        while not batch.loop(Instant.now()):
            started += [running.job.source.name for running in batch.pool.in_work.values()]
            time.sleep(0.02)
    assert list(dict.fromkeys(started)) == ["two.wav", "bad.wav", "one.wav"]


def test_row_taken_from_the_list_is_not_done(tmp_path, mixes):
    with Run(tmp_path, catalogue_of(mixes, "path\none.wav\ntwo.wav\n")) as batch:
        batch.enter()
    work_off(tmp_path, catalogue_of(mixes, "path\ntwo.wav\n"))
    assert not (tmp_path / "out" / "one").exists()
    assert (tmp_path / "out" / "two").exists()


def test_killed_and_resumed_run_does_nothing_twice(tmp_path):
    for number in range(6):
        make_mix(tmp_path / "slow" / f"slow {number}.wav", 40 + number)
    program = f"""
import sys
from pathlib import Path
from hotfolder.catalogue.batch import Batch
from hotfolder.catalogue.listing import read_catalogue
from hotfolder.settings import HotFolderSettings
folder = Path({str(tmp_path)!r})
settings = HotFolderSettings(jobs=2, incomplete_after_s=0)
batch = Batch(read_catalogue(folder / "slow"), folder / "out", folder / "state", settings,
              backend="hotfolder_fixtures", lease_s=2.0)
batch.enter()
finished = batch.run(lambda snapshot: None)
batch.close()
sys.exit(not finished)
"""
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": paths}
    log = tmp_path / "out" / "segments.log"
    log.parent.mkdir()
    for target, ending in ((3, "kill"), (9, "terminate"), (16, "kill")):
        process = subprocess.Popen([sys.executable, "-c", program], env=environment)
        wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= target)  # noqa: B023
        getattr(process, ending)()
        assert process.wait(15) != 0
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0

    done = log.read_text().splitlines()
    assert len(done) - len(set(done)) <= 4  # the segments that two kills cut short
    assert len(list((tmp_path / "out").glob("*/manifest.json"))) == 6
    assert not list((tmp_path / "out").glob(".*.partial-*"))


def test_set_whose_publishing_nobody_heard_of_is_taken_as_done(tmp_path, mixes):
    make_mix(mixes / "late-crash.wav", 9)  # its worker dies between the rename and its word
    catalogue = catalogue_of(mixes, "path\nlate-crash.wav\n")
    leave_off(tmp_path, catalogue, State.PUBLISHING)
    assert work_off(tmp_path, catalogue).unfinished == 1
    row = status_of(tmp_path)["late-crash.wav"]
    assert (row["state"], row["null_dbfs"]) == ("done", "exact")
    assert work_off(tmp_path, catalogue).done == 1
    assert sets_in(tmp_path / "out") == ["late-crash"]


def test_set_that_a_killed_runs_worker_publishes_only_now_is_taken_as_done(tmp_path, mixes):
    make_mix(mixes / "slow.wav", 9)
    catalogue = catalogue_of(mixes, "path\nslow.wav\n")
    leave_off(tmp_path, catalogue, State.SEARCHING)
    with Run(tmp_path, catalogue) as batch:
        batch.enter()
        [job], files = batch.journal.all_jobs(), batch.jobs.files
        real = files.disks

        def disks():  # asked for just before a place is reserved
            if not job.destination.exists():
                publish_by_hand(batch, job)
            return real()

        files.disks = disks
        assert batch.run(lambda snapshot: None)
        [done] = batch.journal.in_state("done")
    assert done.destination == job.destination
    assert work_off(tmp_path, catalogue).done == 1
    assert sets_in(tmp_path / "out") == ["slow"]


def test_job_left_off_by_a_run_with_another_output_goes_where_sets_go_now(tmp_path, mixes):
    make_mix(mixes / "slow.wav", 9)
    catalogue = catalogue_of(mixes, "path\nslow.wav\n")
    leave_off(tmp_path, catalogue, State.SEARCHING)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    with Run(tmp_path, catalogue) as batch:
        batch.jobs.files.out = tmp_path / "other"
        batch.enter()
        assert batch.run(lambda snapshot: None)
    assert sets_in(tmp_path / "other") == ["slow"]
    assert sets_in(tmp_path / "out") == []


def leave_off(tmp_path, catalogue, state):
    """A run whose driver hears nothing any more once its only job is in some state."""
    with Run(tmp_path, catalogue) as batch:
        batch.enter()
        batch.loop(Instant.now())
        [running] = batch.pool.in_work.values()

        def is_there():  # a toy that is not slow hurries through most states
            batch.pool.poll(Instant.now())
            return running.job.state == state

        wait_for(is_there)
        if state == State.PUBLISHING:
            wait_for((running.job.destination / "manifest.json").exists)


def test_number_of_workers_follows_from_what_the_first_one_used(tmp_path, mixes, monkeypatch):
    catalogue = catalogue_of(mixes, "path\none.wav\ntwo.wav\nbad.wav\n")
    monkeypatch.setattr("engine.usable_cores", lambda: 3)
    with Run(tmp_path, catalogue, jobs=1) as batch:
        batch._auto_jobs = True
        batch.enter()
        assert batch.run(lambda snapshot: None)
        assert batch.pool.peak_mb > 10
        assert batch.settings.jobs == 3
    monkeypatch.setattr(batch_module, "available_mb", lambda: 1.0)
    with Run(tmp_path, catalogue, jobs=1) as batch:
        batch._auto_jobs, batch.pool.finished, batch.pool.peak_mb = True, 1, 500.0
        batch._fit_jobs()
        assert batch.settings.jobs == 1


def test_progress_is_told_in_one_line(tmp_path, mixes, capsys):
    snapshots = []
    with Run(tmp_path, catalogue_of(mixes, "path\none.wav\ntwo.wav\nbad.wav\n")) as batch:
        batch.enter()
        batch.run(snapshots.append)
    assert snapshots[-1].done == snapshots[-1].rows == 3
    assert sentence(snapshots[-1]).startswith("3 of 3 done, 0 failed, 0 in work")
    with BatchScreen(as_json=True) as screen:
        for snapshot in snapshots:
            screen.show(snapshot)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["done"] == 3
    assert lines[-1]["rtf"] > 0


def test_what_a_row_waits_for_is_told(tmp_path, mixes):
    with Run(tmp_path, catalogue_of(mixes, "path\none.wav\ntwo.wav\n")) as batch:
        batch.enter()
        now = Instant.now()
        job = batch.journal.claim("test", now, 30, 1800)
        batch.jobs.fail(job, Failure("separator-unknown", "no separator is called x"), now)
        line = sentence(batch.snapshot(now))
    assert line.endswith("; 1 wait to be tried again: no separator is called x")


def test_a_run_does_not_begin_with_something_missing(tmp_path, mixes):
    """Told by the program itself, in a second; waiting row by row would never end."""
    (preset := tmp_path / "mine.yaml").write_text(
        "inherits: dry\nsources: {vocals: {prior: mine}}\n"
    )
    (listed := tmp_path / "list.csv").write_text(f"path,preset\n{mixes / 'one.wav'},{preset}\n")
    ended = subprocess.run(
        [sys.executable, "-m", "stemwright", "batch", str(listed), "-o", str(tmp_path / "out"),
         "--state", str(tmp_path / "state")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "mine" in ended.stderr
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_length_of_a_catalogue_is_read_from_headers(tmp_path, mixes):
    (mixes / "text.wav").write_text("no music")
    paths = sorted(mixes.glob("*.wav"))
    lengths = dict(zip(paths, audio_seconds(paths), strict=True))
    assert lengths.pop(mixes / "text.wav") == 0
    assert list(lengths.values()) == pytest.approx([400 / RATE_HZ] * 7)


def test_a_forecast_counts_every_title_and_every_second(tmp_path, mixes):
    rows = catalogue_of(mixes, "path,preset\none.wav,dry\ntwo.wav,dry\nbad.wav,\n").rows
    costs = {"dry": Cost(2.0, 0.5), "default": Cost(3.0, 4.0)}
    assert forecast_s(rows, [10, 20, 1], costs) == pytest.approx(2 + 5 + 2 + 10 + 3 + 4)
    only = {"default": costs["default"]}
    assert forecast_s(rows, [10, 20, 1], only) == pytest.approx(3 * 3 + 31 * 4)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (720, "12 min")])
def test_a_duration_is_told_in_the_unit_that_fits(seconds, text):
    assert duration_text(seconds) == text


def test_a_forecast_is_measured_on_the_catalogues_own_music(tmp_path, mixes, tiny_prior_folder):
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text("stems: {low: {}, high: {}}\nsearch: {steps: 2}\n")
    noise = np.random.default_rng(0).normal(0, 0.1, (66_150, 2))
    soundfile.write(mixes / "one.wav", noise, 44_100)
    rows = catalogue_of(mixes, f"path,preset\none.wav,{tiny}\ntext.wav,{tiny}\n").rows
    settings = settings_of(worker={"prior_folders": [str(tiny_prior_folder)], "threads": 1})
    [cost] = measured_costs(rows, [1.5, 0.0], settings).values()
    assert cost.title_s + cost.rtf * 1.5 > 0.3, "at least the start of a worker"
    assert names_in(mixes.parent) == sorted(["mixes", "tiny.yaml"])
    (mixes / "one.wav").write_bytes(b"gone bad")
    with pytest.raises(StemwrightError, match="no forecast"):
        measured_costs(rows, [1.5, 0.0], settings)


# -- reports -------------------------------------------------------------------------------------


def test_report_has_every_row_in_order_and_keeps_unknown_columns(tmp_path, mixes):
    work_off(tmp_path, catalogue_of(mixes, CSV))
    with (tmp_path / "out" / "status.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [str(n) for n in range(1, 12) if n != 9]
    assert [row["state"] for row in rows] == ["done", "done"] + ["refused"] * 8
    assert [row["label code"] for row in rows[:2]] == ["LC1", "LC2"]


def test_a_report_can_be_the_next_list(tmp_path, mixes):
    """Its columns, those that a list calls the same among them, stand beside the new ones."""
    text = "path,duration_s,state,x_stem_lufs,row\none.wav,long,old,loud,77\n"
    work_off(tmp_path, catalogue_of(mixes, text))
    row = status_of(tmp_path)["one.wav"]
    assert (row["state"], row["state (list)"]) == ("done", "old")
    assert (row["row"], row["row (list)"]) == ("1", "77")
    assert (row["duration_s (list)"], row["x_stem_lufs (list)"]) == ("long", "loud")
    again = read_catalogue(tmp_path / "out" / "status.csv")
    assert [found.path.name for found in again.rows] == ["one.wav"]


@pytest.mark.parametrize(
    "cell", ["=1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "plain", "'=1"]
)
def test_no_cell_and_no_heading_is_a_formula(tmp_path, mixes, cell):
    catalogue = read_catalogue(mixes / "one.wav*")
    extra = {cell: cell, "twice": f"{cell}\x1b[2J\u202e"}
    rows = tuple(replace(row, title=cell, extra=extra) for row in catalogue.rows)
    catalogue = replace(catalogue, rows=rows)
    with Run(tmp_path, catalogue) as batch:
        batch.enter()
        write_reports(catalogue, batch.journal, batch.out, Instant.now())
    text = (tmp_path / "out" / "status.csv").read_text("utf-8", errors="strict")
    with (tmp_path / "out" / "status.csv").open(newline="", encoding="utf-8") as file:
        cells = [each for row in csv.reader(file) for each in row]
    assert "\x1b" not in text and "\u202e" not in text
    assert not [each for each in cells if each.lstrip(" ")[:1] in tuple("=+-@＝\t\r\n") and each]
    assert cells.count(cell if cell in ("plain", "'=1") else f"'{cell}") == 3


def test_names_cannot_break_the_page_or_the_spreadsheet(tmp_path, mixes):
    text = 'path,title\none.wav,"<script>alert(1)</script>"\ntwo.wav,"=HYPERLINK(""x"")"\n'
    work_off(tmp_path, catalogue_of(mixes, text))
    page = (tmp_path / "out" / "summary.html").read_text()
    assert "<script>alert" not in page
    assert "http:" not in page and "https:" not in page, "the page needs nothing from outside"
    assert status_of(tmp_path)["two.wav"]["title"].startswith("'=")


def test_flags_point_to_what_a_person_should_hear():
    def facts(**changes):
        files = [{"stem": "vocals", "kind": "dry", "loudness": {"integrated_lufs": -20.0}}]
        base = {"files": files, "null_dbfs": None, "frames": 88200, "sample_rate": 44100,
                "input": {"loudness": {"true_peak_dbtp": -1.0}}}  # fmt: skip
        return JobFacts.model_validate(base | changes)

    quiet = [{"stem": "vocals", "kind": "dry", "loudness": {"integrated_lufs": QUIET_LUFS - 1}}]
    assert flags_of(facts()) == []
    assert flags_of(facts(files=quiet)) == ["vocals below -50 LUFS: instrumental?"]
    assert flags_of(facts(null_dbfs=-90.0)) == ["stems null to -90.0 dBFS only"]
    assert flags_of(facts(frames=100)) == ["shorter than a second"]
    hot = {"loudness": {"true_peak_dbtp": 1.5}}
    assert flags_of(facts(input=hot)) == ["mix peaks at 1.5 dBTP"]


# -- audit ---------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path):
    """A published set with a real manifest: two stems whose sum is the mix."""
    rng = np.random.default_rng(1)
    stems = {name: rng.integers(-9000, 9000, (4000, 2), dtype="int16") for name in ("a", "b")}
    folder = tmp_path / "out" / "song"
    (folder / "dry").mkdir(parents=True)
    levels = dict.fromkeys(
        ("integrated_lufs", "range_lu", "true_peak_dbtp", "sample_peak_dbfs",
         "max_momentary_lufs", "max_short_term_lufs"))  # fmt: skip
    files = []
    for name, samples in stems.items():
        path = folder / "dry" / f"{name}.wav"
        soundfile.write(path, samples, 44100, subtype="PCM_16")
        facts = {"stem": name, "kind": "dry", "path": f"dry/{name}.wav", "container": "wav"}
        facts |= {"depth": "16", "frames": 4000, "sha256": sha256(path), "loudness": levels}
        files.append(facts)
    mix = tmp_path / "mixes" / "song.wav"
    mix.parent.mkdir()
    soundfile.write(mix, stems["a"] + stems["b"], 44100, subtype="PCM_16")
    whole = dict(name="song.wav", sha256=sha256(mix), container="wav", encoding="pcm", bits=16,
                 channels=2, sample_rate=44100, frames=4000, loudness=levels)  # fmt: skip
    fields = {"title": "song", "input": whole, "files": files, "preset_sha256": "", "seed": 0}
    blanks = {"dict": {}, "tuple": (), "float | None": None, "float": 0.0}
    for name, field in Manifest.model_fields.items():
        if name not in fields and field.is_required():
            kind = str(field.annotation).removeprefix("<class '").split("[")[0].rstrip("'>")
            fields[name] = blanks[kind]
    manifest = Manifest.model_validate(fields)
    (folder / "manifest.json").write_text(manifest.to_json())
    return tmp_path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def audit(archive):
    out = archive / "out"
    expected = expected_sets(out, archive / "state")
    audit.expected = expected
    return list(verify_sets(out, mixes_below([archive / "mixes"]), expected))


def test_untouched_set_is_sound_and_nulls(archive):
    [result] = audit(archive)
    assert (result.is_sound, result.files, result.null) == (True, 2, "exact")


def test_set_without_its_mix_is_checked_by_hashes(archive):
    (archive / "mixes" / "song.wav").unlink()
    [result] = audit(archive)
    assert result.is_sound
    assert result.null == "not measured: the mix is not at hand"


@pytest.mark.parametrize(
    ("harm", "sentence_part"),
    [
        (lambda dry: (dry / "a.wav").unlink(), "dry/a.wav is missing"),
        (lambda dry: (dry / "a.wav").write_bytes((dry / "b.wav").read_bytes()), "has changed"),
        (lambda dry: (dry / "c.wav").touch(), "dry/c.wav is not in the manifest"),
        (lambda dry: (dry.parent / "manifest.json").write_text("{}"), "not a manifest"),
    ],
)
def test_changed_set_is_found_out(archive, harm, sentence_part):
    harm(archive / "out" / "song" / "dry")
    [result] = audit(archive)
    assert not result.is_sound
    assert any(sentence_part in problem for problem in result.problems)


def test_pitches_of_voices_belong_to_a_set(archive):
    folder = archive / "out" / "song"
    (folder / "voices").mkdir()
    for name in BESIDE_VOICES:
        (folder / name).write_text("x")
    assert audit(archive)[0].is_sound
    (folder / "voices" / "other.png").write_text("x")
    assert audit(archive)[0].problems == ("voices/other.png is not in the manifest",)


def test_rewritten_manifest_and_lost_set_are_found_by_the_report(archive):
    out = archive / "out"
    listed = [(out / "song", "0" * 64), (out / "lost", "1" * 64)]
    text = "destination,manifest_sha256\n" + "".join(f"{place},{sha}\n" for place, sha in listed)
    (out / "status.csv").write_text(text)
    song, lost = audit(archive)
    assert song.problems == ("manifest.json is not the one that status.csv lists",)
    assert (lost.folder.name, lost.problems) == ("lost", ("the whole set is missing",))


def list_of(archive, *rows):
    lines = "".join(f"{place},{sha}\r\n" for place, sha in rows)
    (archive / "out" / "status.csv").write_text(f"destination,manifest_sha256\r\n{lines}")


@pytest.mark.parametrize("place", ["song", "/old/place/out/song", "D:\\old\\out\\song"])
def test_a_moved_archive_is_compared_with_its_list(archive, place):
    manifest = archive / "out" / "song" / "manifest.json"
    list_of(archive, (place, sha256(manifest)))
    assert [result.problems for result in audit(archive)] == [()]
    manifest.write_text(manifest.read_text() + "\n")
    [result] = audit(archive)
    assert result.problems == ("manifest.json is not the one that status.csv lists",)
    assert audit.expected.troubles == []


@pytest.mark.parametrize("place", ["../elsewhere", "/x/../../y", "a\0b"])
def test_a_list_leads_nowhere_else(archive, place):
    list_of(archive, (place, "0" * 64))
    [result] = audit(archive)
    assert result.is_sound
    assert "lies elsewhere" in audit.expected.troubles[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"destination,manifest_sha256\r\nsong,\xff\r\n", "its byte 34 is not UTF-8"),
        (b"destination;manifest_sha256\r\n", "no columns"),
        (b"", "no columns"),
        (b"\x00\x01", "no columns"),
    ],
)
def test_a_list_that_was_changed_is_told(archive, content, message):
    (archive / "out" / "status.csv").write_bytes(content)
    audit(archive)
    assert message in audit.expected.troubles[0]


def test_a_manifest_that_is_no_text_is_told(archive):
    manifest = archive / "out" / "song" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"song.wav", b"s\xffng.wav"))
    [result] = audit(archive)
    assert "not a manifest" in result.problems[0]


def test_a_lost_list_and_set_are_known_to_the_journal(tmp_path, mixes):
    work_off(tmp_path, catalogue_of(mixes, "path\none.wav\ntwo.wav\n"))
    out = tmp_path / "out"
    (out / "status.csv").unlink()
    shutil.rmtree(out / "one")
    expected = expected_sets(out, tmp_path / "state")
    assert set(map(str, expected.sets)) == {"one", "two"}
    assert expected.troubles == ["status.csv is missing, although the journal knows of one"]
    # on another machine the page is still a witness; without it, what cannot be told is told
    assert "summary.html is here" in expected_sets(out, None).troubles[0]
    (out / "summary.html").unlink()
    assert "would not be noticed" in expected_sets(out, None).note


def test_verify_finds_nothing_only_where_something_is(tmp_path, archive):
    def verify(*words):
        command = [sys.executable, "-m", "stemwright", "verify", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    for words in ([tmp_path / "none"], [tmp_path / "mixes"], [tmp_path, "--mixes", "none"]):
        done = verify(*words)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    done = verify(archive / "out", "--mixes", archive / "mixes")
    assert done.returncode == 0 and "1 sets, 0 not sound" in done.stdout
    assert "would not be noticed" in done.stderr


def test_a_session_or_a_page_in_a_set_is_no_stranger(archive):
    (archive / "out" / "song" / "report").mkdir()
    (archive / "out" / "song" / "report" / "mix.js").touch()
    (archive / "out" / "song" / "report.html").touch()
    (archive / "out" / "song" / "song.dawproject").touch()
    (archive / "out" / "song" / "song.RPP").touch()
    (archive / "out" / "song" / "report.html").touch()
    for inside in ("report/dry-0-0.js", "Media/song (mix).wav"):
        (archive / "out" / "song" / inside).parent.mkdir(exist_ok=True)
        (archive / "out" / "song" / inside).touch()
    assert [result.is_sound for result in audit(archive)] == [True]
    (archive / "out" / "song" / "dry" / "song.RPP").touch()
    assert [result.is_sound for result in audit(archive)] == [False]


def test_stems_that_do_not_null_are_found_even_if_the_manifest_agrees_with_them(archive):
    folder = archive / "out" / "song"
    soundfile.write(folder / "dry" / "a.wav", np.zeros((4000, 2), "int16"), 44100, "PCM_16")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][0]["sha256"] = sha256(folder / "dry" / "a.wav")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    [result] = audit(archive)
    assert "the manifest says exact" in result.problems[0]
