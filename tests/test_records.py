"""What is read back from a share is foreign: checked, confined, put aside when it is wrong."""

import json
import os

import pytest

from hotfolder.atomic import write_whole
from hotfolder.records import ForeignError, Reason, Ticket, read_json, read_marker, read_record
from hotfolder_fixtures import Studio, make_mix, mix_bytes, originals, published

pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@pytest.fixture
def studio(tmp_path):
    studio = Studio(tmp_path, lease_s=0.5).start()
    yield studio
    studio.close()


def ticket_of(source, **changes):
    return {"source": os.fsencode(source).hex(), "preset": "default", "size": 1} | changes


OUTSIDE = [
    "/etc/evil.wav", "../evil.wav", "a/../../evil.wav", "..", ".hidden/x.wav", "", "x\0.wav",
    "n" * 300 + ".wav", "d/" * 2000 + "x.wav",
]  # fmt: skip
WRONG = [
    "{}", "[]", "", "no json", '"text"', "[" * 100_000, '{"source": 1}', '{"source": "zz"}',
    json.dumps(ticket_of("a.wav", size=-1)), json.dumps(ticket_of("a.wav", size=2**70)),
    json.dumps(ticket_of("a.wav", size="1")), json.dumps(ticket_of("a.wav", preset=None)),
    json.dumps(ticket_of("a.wav", preset=["x"])), '{"source": "61", "preset": "p", "size": NaN}',
    *(json.dumps(ticket_of(source)) for source in OUTSIDE),
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_wrong_ticket_is_refused_with_its_reason(tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(ForeignError, match=r"\w"):
        read_record(tmp_path / "job.json", Ticket)


def test_links_pipes_folders_and_long_files_are_not_read(tmp_path):
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "long").write_text("{" + " " * 1_000_001 + "}")
    for name in ("link", "pipe", "folder", "long"):
        with pytest.raises(ForeignError):
            read_json(tmp_path / name)
        assert read_marker(tmp_path / name) is None
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")


def test_reason_is_checked_like_a_ticket(tmp_path):
    path = tmp_path / "x.reason.json"
    good = ticket_of("a.wav", code="c", reason="r", sha256="0" * 64, attempts=1, worker_kills=0)
    path.write_text(json.dumps(good))
    assert str(read_record(path, Reason).source) == "a.wav"
    for wrong in ({"sha256": "x"}, {"attempts": -1}, {"code": 3}, {"source": "2f6574632f78"}):
        path.write_text(json.dumps(good | wrong))
        with pytest.raises(ForeignError):
            read_record(path, Reason)


def test_text_is_never_written_through_a_link_that_waits_there(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("kept")
    for ending in (os.getpid(), 0):
        (tmp_path / f".a.json.writing-{ending}").symlink_to(victim)
    (tmp_path / "a.json").symlink_to(victim)
    write_whole(tmp_path / "a.json", "new")
    assert victim.read_text() == "kept"
    assert not (tmp_path / "a.json").is_symlink()


# -- in the hot folder ---------------------------------------------------------------------------


def work_folder(studio, name, ticket, mix="evil.wav"):
    folder = studio.root / "work" / name
    folder.mkdir()
    if mix:
        make_mix(folder / mix)
    (folder / "job.json").write_text(ticket if isinstance(ticket, str) else json.dumps(ticket))
    return folder


def some_rounds(studio, seconds=4.0):
    for _ in range(int(seconds / 0.2)):
        studio.round(0.2)


def test_tickets_that_lead_outside_move_nothing_there_and_are_put_aside(studio, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    before = sorted(path for path in tmp_path.iterdir())
    for number, source in enumerate(
        (outside / "evil.wav", "../../outside/evil.wav", "../done/evil.wav")
    ):
        work_folder(studio, f"evil-{number}", ticket_of(source))
    for number, text in enumerate(("{}", "[]", "[" * 50_000)):
        work_folder(studio, f"{number:012d}", text)
    work_folder(studio, "abcdefabcdef", ticket_of("gone.wav"), mix=None)
    link = work_folder(studio, "0123456789ab", ticket_of("link.wav"), mix=None)
    (link / "link.wav").symlink_to(make_mix(tmp_path / "secret.wav"))
    studio.drop("good.wav", seed=5)
    some_rounds(studio)
    studio.until(studio.is_finished)

    assert list(outside.iterdir()) == []
    assert sorted(path for path in tmp_path.iterdir() if path.name != "secret.wav") == before
    assert list(published(studio.root)) == ["good"]
    reasons = list((studio.root / "failed").rglob("*.reason.json"))
    assert len(reasons) == 8
    assert {json.loads(path.read_text())["code"] for path in reasons} == {"ticket-invalid"}
    assert [path.name for path in (studio.root / "work").iterdir()] == [".stemwright-folder"]


def test_names_in_work_that_are_no_text_or_no_folder_are_left_alone(studio, tmp_path):
    (studio.root / "work" / os.fsdecode(b"\xff\xfe")).mkdir()
    (studio.root / "work" / "linked").symlink_to(tmp_path)
    (studio.root / "work" / "file").write_text("x")
    studio.drop("good.wav")
    studio.work_off()
    assert list(published(studio.root)) == ["good"]


def test_sound_ticket_is_taken_over_with_a_preset_of_these_settings(studio, tmp_path):
    secret = tmp_path / "secret.yaml"
    secret.write_text("extends: dry\n")
    work_folder(studio, "old-job", ticket_of("dry/song.wav", preset=str(secret)), mix="song.wav")
    some_rounds(studio)
    studio.until(lambda: studio.is_finished() and studio.jobs())
    [found] = published(studio.root).values()
    assert found["preset"]["name"] == "dry"


def test_set_is_not_published_through_a_link_out_of_the_outbox(studio, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (studio.root / "outbox" / "album").symlink_to(outside)
    studio.drop("album/song.wav")
    studio.settle()
    studio.until(lambda: studio.job("song.wav").state == "retry-at")
    job = studio.job("song.wav")
    assert list(outside.iterdir()) == []
    assert job.faults == 0
    assert "leads out of" in job.reason
    (studio.root / "outbox" / "album").unlink()
    studio.work_off()
    assert list(published(studio.root)) == ["album/song"]


def test_second_mix_in_the_work_folder_of_a_done_job_holds_nothing_up(studio):
    studio.drop("song.wav", seed=1)
    studio.work_off()
    [job] = studio.jobs()
    work_folder(studio, job.id, ticket_of("song.wav"), mix="song.wav")
    studio.drop("next.wav", seed=2)
    work_folder(studio, "evil", "{}")
    some_rounds(studio)
    studio.work_off()
    assert sorted(published(studio.root)) == ["next", "song"]
    assert originals(studio.root, "done")
    assert not (studio.root / "work" / "evil").exists()


def test_damaged_reason_is_told_and_the_file_can_still_be_tried_again(studio):
    studio.drop("broken.wav").write_bytes(b"text")
    studio.work_off()
    [reason] = (studio.root / "failed").rglob("broken.wav.reason.json")
    reason.write_text("{}")
    studio.close()
    (studio.state / "journal.db").unlink()
    studio.start()
    [job] = studio.jobs()
    assert (job.code, str(job.source)) == ("reason-damaged", "broken.wav")


WRONG_MANIFESTS = [
    {}, {"input": 1}, {"input": {"name": 3, "sha256": "x"}}, {"files": 3}, {"files": [3]},
    {"files": [{"loudness": "x"}]}, {"quality": []}, {"null_dbfs": "-90"}, {"provider": []},
]  # fmt: skip


@pytest.mark.parametrize("change", WRONG_MANIFESTS, ids=range(len(WRONG_MANIFESTS)))
def test_manifest_that_is_not_ours_is_no_finished_job(studio, change):
    studio.drop("song.wav", seed=1)
    studio.work_off()
    path = studio.root / "outbox" / "song" / "manifest.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | change if change else {}))
    studio.close()
    (studio.state / "journal.db").unlink()
    studio.start()
    assert studio.jobs() == []


def test_source_in_a_ticket_may_be_any_name_an_inbox_can_hold(tmp_path):
    for source in ("a.wav", "álbum/🎸 solo.wav", os.fsdecode(b"bad\xff.wav"), "x\ny.wav", "a b/c"):
        (tmp_path / "job.json").write_text(json.dumps(ticket_of(source)))
        assert str(read_record(tmp_path / "job.json", Ticket).source) == source


def test_checks_of_a_mix_are_not_fooled_by_content(tmp_path):
    (tmp_path / "job.json").write_bytes(mix_bytes())
    with pytest.raises(ForeignError, match="no JSON"):
        read_json(tmp_path / "job.json")
