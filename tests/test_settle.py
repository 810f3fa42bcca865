"""When is a dropped file complete? Arrival in all the ways that went wrong elsewhere."""

import os
import struct

import pytest

from hotfolder.clock import Instant
from hotfolder.inventory import Sighting, take_inventory
from hotfolder.readiness import why_unready
from hotfolder.settings import HotFolderSettings
from hotfolder.settle import LONGEST_FACTOR, SettleTracker
from hotfolder_fixtures import Studio, make_mix, mix_bytes, settings_of

SETTLE_S = 5.0


@pytest.fixture
def studio(tmp_path):
    # jobs are never begun here: what counts is when a file may be claimed
    studio = Studio(tmp_path, settings_of(settle_s=SETTLE_S, scan_s=1, incomplete_after_s=600))
    studio.start()
    studio.daemon.journal.set_setting("paused", "test")
    yield studio
    studio.close()


def state_of(studio, name="song.wav"):
    return studio.states().get(name)


def test_file_must_be_unchanged_for_the_settling_time(studio):
    studio.drop("song.wav")
    studio.round()
    assert state_of(studio) == "seen"
    studio.round(SETTLE_S - 0.5)
    assert state_of(studio) == "seen"
    studio.round(0.6)
    assert state_of(studio) == "settled"


def test_one_look_is_not_enough_however_long_ago():
    tracker = SettleTracker(0.0)
    file = [Sighting("song.wav", "1", 1, marked=False)]
    now = Instant(0, 0)

    assert tracker.look(file, now).quiet == []
    assert tracker.look(file, now.later(0.1)).quiet == file


def test_slow_copy_waits_until_the_last_byte(studio):
    content = mix_bytes(frames=4000)
    path = studio.root / "inbox" / "song.wav"
    for end in range(0, len(content), 1000):
        path.write_bytes(content[:end])
        studio.round(SETTLE_S / 2)
        assert state_of(studio) == "seen"
    path.write_bytes(content)
    studio.settle()
    assert state_of(studio) == "settled"


def test_copy_paused_longer_than_the_settling_time_waits_by_its_header(studio):
    content = mix_bytes(frames=4000)
    path = studio.root / "inbox" / "song.wav"
    path.write_bytes(content[:3000])
    studio.round()
    for _ in range(5):
        studio.round(SETTLE_S)
        assert state_of(studio) == "seen"
    assert studio.job("song.wav").code == "incomplete"
    assert f"promises {len(content)} bytes, 3000 are there" in studio.job("song.wav").reason
    path.write_bytes(content)
    studio.settle(times=2)
    assert state_of(studio) == "settled"


def test_preallocated_file_waits_while_its_writer_has_it_open(studio):
    content = mix_bytes(frames=4000)
    path = studio.root / "inbox" / "song.wav"
    with path.open("wb") as file:
        file.write(content[:44] + bytes(len(content) - 44))
        file.flush()
        studio.round()
        for _ in range(4):
            studio.round(SETTLE_S)
        assert state_of(studio) == "seen"
        assert studio.job("song.wav").code == "busy"
        file.seek(44)
        file.write(content[44:])
    studio.settle(times=2)
    assert state_of(studio) == "settled"


def test_preserved_modification_time_settles_nothing(studio):
    path = studio.drop("song.wav")
    studio.round()
    studio.round(SETTLE_S - 1)
    path.write_bytes(mix_bytes(seed=7))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    studio.round(2)
    assert state_of(studio) == "seen"
    studio.round(SETTLE_S)
    assert state_of(studio) == "settled"


@pytest.mark.parametrize("mtime", [4_000_000_000, 0])
def test_modification_time_in_the_future_or_past_does_not_matter(studio, mtime):
    os.utime(studio.drop("song.wav"), (mtime, mtime))
    studio.settle()
    assert state_of(studio) == "settled"


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_jump_of_the_calendar_settles_nothing(studio, jump_s):
    studio.drop("song.wav")
    studio.round()
    studio.now = Instant(studio.now.wall_s + jump_s, studio.now.steady_s)
    studio.round(SETTLE_S - 1)
    assert state_of(studio) == "seen"
    studio.round(1.1)
    assert state_of(studio) == "settled"


def test_file_renamed_in_settles_like_any_other(studio, tmp_path):
    outside = make_mix(tmp_path / "outside.wav")
    outside.rename(studio.root / "inbox" / "song.wav")
    studio.settle()
    assert state_of(studio) == "settled"


@pytest.mark.parametrize(
    "temporary",
    [
        ".song.wav.Xy12Ab", ".syncthing.song.wav.tmp", "~syncthing~song.wav.tmp", "song.wav.part",
        "song.wav.crdownload", "song.wav.!sync", "song.wav.tmp", "~$song.wav", ".~lock.song.wav#",
        "song.wav.filepart", "._song.wav", ".DS_Store", "Thumbs.db", "song.wav.partial",
        "song.wav.download", "song.wav.sb-1a2b3c4d-AbCdEf", "song.wav~",
    ],
)  # fmt: skip
def test_temporary_names_are_ignored_until_the_final_rename(tmp_path, temporary):
    studio = Studio(tmp_path, settings_of(settle_s=SETTLE_S)).start()
    path = studio.drop(temporary)
    studio.settle()
    before = studio.states()
    path.rename(studio.root / "inbox" / "song.wav")
    studio.daemon.journal.set_setting("paused", "test")
    studio.settle()
    after = studio.states()
    studio.close()

    assert before == {}
    assert after == {"song.wav": "settled"}


def test_partial_file_that_lay_there_at_the_start_settles_as_well(tmp_path):
    path = tmp_path / "root" / "inbox" / "song.wav"
    path.parent.mkdir(parents=True)
    path.write_bytes(mix_bytes(frames=4000)[:500])
    studio = Studio(tmp_path, settings_of(settle_s=SETTLE_S)).start()
    studio.settle()
    code = studio.job("song.wav").code
    studio.close()

    assert code == "incomplete"


def test_file_rewritten_while_it_waits_in_the_queue_settles_again_for_twice_as_long(studio):
    studio.drop("song.wav", seed=1)
    studio.settle()
    assert state_of(studio) == "settled"
    studio.drop("song.wav", seed=2)
    studio.round(1)
    assert state_of(studio) == "seen"
    studio.round(SETTLE_S + 1)
    assert state_of(studio) == "seen"
    studio.round(SETTLE_S)
    assert state_of(studio) == "settled"


def test_settling_time_doubles_to_a_limit():
    tracker, now = SettleTracker(1.0), Instant(0, 0)
    for turn in range(10):
        file = [Sighting("song.wav", str(turn), 1, marked=False)]
        tracker.look(file, now)
        now = now.later(1000)
        tracker.look(file, now)
    assert tracker.quiet_for("song.wav", now)[1] == LONGEST_FACTOR


def test_file_taken_away_before_it_was_claimed_is_no_job(studio):
    path = studio.drop("song.wav")
    studio.settle()
    path.unlink()
    studio.round(1.1)
    assert studio.states() == {}


def test_file_taken_away_while_no_daemon_ran_is_no_job(tmp_path):
    studio = Studio(tmp_path, settings_of(settle_s=SETTLE_S)).start()
    path = studio.drop("song.wav")
    studio.round()
    studio.close()
    path.unlink()
    studio.start()
    studio.round()
    states = studio.states()
    studio.close()

    assert states == {}


def test_incomplete_file_is_handed_to_a_worker_when_nobody_completes_it(studio):
    (studio.root / "inbox" / "song.wav").write_bytes(mix_bytes()[:300])
    studio.settle()
    assert state_of(studio) == "seen"
    studio.round(590)
    assert state_of(studio) == "seen"
    studio.round(10)
    assert state_of(studio) == "settled"


def test_ready_marker_mode_waits_for_the_marker(tmp_path):
    studio = Studio(tmp_path, settings_of(settle_s=1, ready_marker=True)).start()
    studio.daemon.journal.set_setting("paused", "test")
    studio.drop("song.wav")
    studio.settle()
    waiting = studio.job("song.wav")
    (studio.root / "inbox" / "song.wav.ready").touch()
    studio.round(2)
    ready = studio.states()
    studio.close()

    assert (waiting.state, waiting.code) == ("seen", "no-marker")
    assert ready == {"song.wav": "settled"}


HEADERS = {
    "riff": b"RIFF" + struct.pack("<I", 992) + b"WAVEfmt ",
    "rf64": b"RF64" + b"\xff" * 4 + b"WAVEds64" + struct.pack("<IQ", 28, 992),
    "aiff": b"FORM" + struct.pack(">I", 992) + b"AIFFCOMM",
    "w64": b"riff" + bytes(12) + struct.pack("<Q", 1000) + bytes(16),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_header_that_promises_more_than_is_there_is_noticed(tmp_path, kind):
    path = tmp_path / "song"
    path.write_bytes(HEADERS[kind].ljust(900, b"\0"))
    assert why_unready(path).code == "incomplete"
    path.write_bytes(HEADERS[kind].ljust(1000, b"\0"))
    assert why_unready(path) is None


def test_streamed_header_without_a_length_waits_like_what_is_incomplete(tmp_path):
    path = tmp_path / "song.wav"
    whole = mix_bytes()
    path.write_bytes(whole[:4] + b"\xff\xff\xff\xff" + whole[8:])
    trouble = why_unready(path)
    assert (trouble.code, trouble.lasting) == ("incomplete", True)
    assert "RIFF size was left at 0xFFFFFFFF" in trouble.reason


def test_asking_whether_a_file_is_open_does_not_disturb_its_next_writer(tmp_path):
    path = make_mix(tmp_path / "song.wav")
    for turn in range(50):
        assert why_unready(path) is None
        with path.open("ab") as file:
            file.write(b"\0")
            file.flush()
            assert why_unready(path).code == "busy", turn


def test_inventory_sees_ten_thousand_files_quickly(tmp_path):
    for number in range(10_000):
        (tmp_path / f"{number}.wav").touch()
    settings = HotFolderSettings()
    found = take_inventory(tmp_path, settings.name_rules, settings.max_depth)
    assert len(found.files) == 10_000
