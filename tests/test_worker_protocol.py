"""What goes over the pipes to a worker and back, and what the journal keeps of it."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from hotfolder import worker_process
from hotfolder.facts import JobFacts, SetFacts, WorkFacts
from hotfolder.failures import Failure
from hotfolder.job import State
from hotfolder.publish_guard import PublishGuard
from hotfolder.settings import WorkerSettings
from hotfolder.worker import Worker
from hotfolder.worker_protocol import (
    FailedEvent,
    InterruptedEvent,
    ProgressEvent,
    PublishCommand,
    PublishedEvent,
    RenderCommand,
    StopCommand,
    VerifiedEvent,
    WithdrawCommand,
    WorkCommand,
    encode_command,
    encode_event,
    parse_command,
    parse_event,
)
from hotfolder_fixtures import make_mix, wait_for

NO_TEXT = Path(os.fsdecode(b"caf\xe9/mix.wav"))  # a name need not be UTF-8
WORK = WorkFacts("ab", "cd", 400, 1, 8000, 10, 2, 4, separators_s=1.5)
# As a release that kept the whole manifest wrote it, with keys that are not read any more.
OLD_FACTS = {
    "sha256": "ab", "key": "cd", "frames": 88200, "channels": 2, "sample_rate": 44100,
    "file_count": 10, "file_bytes": 2, "stem_count": 4, "work": "drums", "left_s": 9.0,
    "elapsed_s": 12.5, "null_dbfs": None, "source_null_dbfs": -140.25,
    "input": {"name": "mix.wav", "bits": 16, "loudness": {"integrated_lufs": -14, "range_lu": 3.0,
                                                          "true_peak_dbtp": 0.5}},
    "files": [{"stem": "drums", "kind": "dry", "path": "dry/drums.wav", "sha256": "ef",
               "loudness": {"integrated_lufs": None, "true_peak_dbtp": None}}],
    "quality": {"worst": {"listen": "0:10", "stem": "drums", "start_s": 10.0},
                "leakage_db": -7.5, "stems": {}},
    "provider": {"asked": "auto", "got": "cpu"}, "seconds": {"search": 3},
    "separators": {"mine": {"licence": "MIT", "digest": "x"}},
}  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        WorkCommand("engine", NO_TEXT, "default", NO_TEXT, ("/plugins",), WorkerSettings(seed=3)),
        WorkCommand("engine", NO_TEXT, "default", NO_TEXT, None, WorkerSettings(tier="draft")),
        RenderCommand(NO_TEXT, PublishGuard({"/out": "12"}, (("/out/a", "/out"),), ("/out/b",))),
        RenderCommand(NO_TEXT, PublishGuard()),
        PublishCommand(),
        WithdrawCommand(),
        StopCommand(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_commands_arrive_as_they_were_given(command):
    line = encode_command(command)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert parse_command(line.decode("ascii")) == command


@pytest.mark.parametrize(
    "event",
    [
        VerifiedEvent(WORK),
        ProgressEvent(State.SEARCHING, 2, 9, "drums", 4.5),
        PublishedEvent(SetFacts.model_validate({"null_dbfs": None, "files": [{"stem": "a"}]})),
        InterruptedEvent(),
        FailedEvent(Failure("system-error", f"{NO_TEXT}\n", transient=True, errno=5, log="x")),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_arrive_as_they_were_made(event):
    line = encode_event(event)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert parse_event(line) == event


def test_facts_of_older_journals_are_read():
    facts = JobFacts.parse(json.dumps(OLD_FACTS))
    assert facts.has_set
    assert (facts.duration_s, facts.elapsed_s, facts.null_dbfs) == (2.0, 12.5, None)
    assert facts.input.loudness.integrated_lufs == -14
    assert facts.stem_levels() == {"drums": None}
    assert (facts.quality.worst.listen, facts.quality.leakage_db) == ("0:10", -7.5)
    assert facts.separators["mine"].licence == "MIT"
    assert JobFacts.parse(facts.text()) == facts


def test_facts_grow_with_the_work_and_keep_what_was_known():
    facts = JobFacts.of_work(WORK)
    assert not facts.has_set
    grown = facts.at("drums", 3.0).with_set(SetFacts.model_validate({"files": []})).took(1.23456)
    assert (grown.frames, grown.work, grown.elapsed_s, grown.has_set) == (
        400,
        "drums",
        1.235,
        True,
    )
    assert JobFacts.parse(grown.text()) == grown


@pytest.mark.parametrize("text", [None, "", "{", "[]", '"x"', '{"frames": "many"}', "[" * 99999])
def test_facts_that_are_none_of_ours_say_nothing(text):
    assert JobFacts.parse(text) == JobFacts()


def test_worker_that_is_stopped_before_it_was_given_a_place_is_interrupted(tmp_path):
    """It may be at the decoding: its parent still answers, and hears that it stopped."""
    mix = make_mix(tmp_path / "mix.wav")
    command = WorkCommand("hotfolder_fixtures", mix, "default", tmp_path / "out" / ".work" / "job",
                      None, WorkerSettings())  # fmt: skip
    worker = Worker(command, lambda: None)
    try:
        worker.send(StopCommand())
        wait_for(worker.next_event)
        assert isinstance(worker.next_event(), VerifiedEvent)
        worker.drop_event()
        worker.send(RenderCommand(tmp_path / "out" / "mix", PublishGuard()))
        wait_for(worker.next_event)
        assert worker.next_event() == InterruptedEvent()
        wait_for(lambda: worker.exit_code() is not None)
        assert worker.exit_code() == 0
    finally:
        worker.close()


def test_order_that_is_not_understood_is_a_failure_that_passes(tmp_path):
    """A daemon whose program was upgraded under it: its mixes are tried again, not put aside."""
    mix = make_mix(tmp_path / "mix.wav")
    worker = Worker(
        WorkCommand(
            "hotfolder_fixtures", mix, "default", tmp_path / "job", None, WorkerSettings()
        ),
        lambda: None,
    )
    try:
        wait_for(worker.next_event)
        worker.drop_event()
        worker._process.stdin.write(b'{"word": "sing"}\n')
        worker._process.stdin.flush()
        wait_for(worker.next_event)
        failure = worker.next_event().failure
        assert (failure.code, failure.blameless) == ("program-broken", True)
    finally:
        worker.close()


def test_steps_are_told_at_once_and_numbers_when_their_turn_comes(monkeypatch):
    clock, events = [100.0], []
    monkeypatch.setattr(worker_process.time, "monotonic", lambda: clock[0])
    channel = SimpleNamespace(send=events.append, receive=PublishCommand)
    report = worker_process._Reporter(channel)

    def reach(stage, segment=0, work=""):
        report(SimpleNamespace(stage=stage, segment=segment, segments=40, work=work, left_s=None))

    for number in range(40):
        clock[0] += 0.05
        reach("searching", number)
    reach("searching", 40)  # the last one
    reach("writing")
    reach("processing")
    reach("writing", work="umx")
    reach("publishing")
    searching = [event for event in events if event.state == State.SEARCHING]
    assert 9 <= len(searching) <= 12  # two seconds at five a second
    assert (searching[0].segment, searching[-1].segment) == (0, 40)
    steps = [(event.state, event.work) for event in events[len(searching) :]]
    assert steps == [
        (State.PROCESSING, ""),  # the dry ones
        (State.PROCESSING, ""),  # and the wet ones
        (State.PROCESSING, "umx"),
        (State.PUBLISHING, ""),
    ]
