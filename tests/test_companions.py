"""A score that comes with its mix: claimed, worked on, filed and tried again together."""

import json
import os

import pytest

from hotfolder.companions import Companion, joined, mix_stem, split
from hotfolder_fixtures import Studio, published, settings_of


@pytest.fixture
def studio(tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_PRESETS", str(tmp_path / "presets"))
    (tmp_path / "presets").mkdir()
    write_preset(tmp_path, "choir", "auto")
    write_preset(tmp_path, "strict", "score")
    settings = settings_of(score_wait_s=20)
    for name in ("choir", "strict"):
        (tmp_path / "root" / "inbox" / name).mkdir(parents=True)
    one = Studio(tmp_path, settings).start()
    yield one
    one.close()


def write_preset(folder, name, pitches):
    text = f"voices: {{parts: [alto, bass], pitches: {pitches}}}\n"
    (folder / "presets" / f"{name}.yaml").write_text(text)


def score(studio, name, text="notes"):
    path = studio.root / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def filed(root, folder):
    files = (path for path in (root / folder).rglob("[!.]*") if path.is_file())
    return sorted(path.name for path in files)


def inbox(root):
    return filed(root, "inbox")


def failure(studio, name):
    job = studio.job(name)
    return job.code, job.reason or ""


def test_an_identity_holds_what_lies_beside_and_gives_it_back():
    ones = (Companion("söng.mid", "1:2:3"), Companion("song.f0.csv", "4:5:6"))
    assert split(joined("9:9", ones)) == ("9:9", tuple(sorted(ones)))
    assert split(joined("9:9", ())) == ("9:9", ())
    assert [mix_stem(one.name) for one in ones] == ["söng", "song"]


def test_a_mix_and_its_score_go_the_same_way(studio):
    studio.drop("choir/song.wav")
    score(studio, "choir/song.mid")
    studio.work_off()
    assert list(published(studio.root)) == ["choir/song"]
    assert filed(studio.root, "done") == ["song.mid", "song.wav"]
    assert inbox(studio.root) == [] and filed(studio.root, "work") == []
    (manifest,) = published(studio.root).values()
    assert list(manifest["voices"]["pitches"]["files"]) == ["song.mid"]


@pytest.mark.parametrize("name", ["SONG.MID", "SONG.f0.json", "SONG.F0.CSV", "SONG.midi"])
def test_every_spelling_of_an_ending_is_a_companion(studio, name):
    studio.drop("choir/SONG.wav")
    score(studio, f"choir/{name}")
    studio.work_off()
    assert filed(studio.root, "done") == sorted([name, "SONG.wav"])


def test_a_mix_waits_for_its_score_and_takes_it_when_it_comes(studio):
    studio.drop("choir/song.wav")
    studio.settle(3)
    assert failure(studio, "song.wav")[0] == "no-score"
    assert not studio.daemon.is_idle(studio.now)
    score(studio, "choir/song.mid")
    studio.work_off()
    assert filed(studio.root, "done") == ["song.mid", "song.wav"]


def test_without_a_score_a_mix_is_tracked_after_the_wait(studio):
    studio.drop("choir/song.wav")
    studio.settle()
    studio.round(25)
    studio.settle()
    studio.until(studio.is_finished)
    (manifest,) = published(studio.root).values()
    assert manifest["voices"]["pitches"]["files"] == {}


def test_a_preset_that_insists_on_a_score_waits_for_ever(studio):
    studio.drop("strict/song.wav")
    studio.settle()
    studio.round(1000)
    studio.settle()
    assert (
        failure(studio, "song.wav")[0] == "no-score"
        and "insists" in failure(studio, "song.wav")[1]
    )
    score(studio, "strict/song.mid")
    studio.work_off()
    assert filed(studio.root, "done") == ["song.mid", "song.wav"]


def test_a_score_that_comes_too_late_stays_in_the_inbox_and_is_told(studio):
    studio.drop("choir/song.wav")
    studio.settle()
    studio.round(25)
    studio.settle()
    studio.until(studio.is_finished)
    score(studio, "choir/song.mid")
    studio.settle()
    assert inbox(studio.root) == ["song.mid"]
    assert "choir/song.mid" in {str(path) for path in studio.daemon.intake.ignored}


def test_a_score_for_a_preset_without_voices_is_left_where_it_is(studio):
    studio.drop("song.wav")
    score(studio, "song.mid")
    studio.work_off()
    assert inbox(studio.root) == ["song.mid"]
    assert filed(studio.root, "done") == ["song.wav"]


def test_a_score_that_changes_makes_its_mix_settle_again(studio):
    studio.drop("choir/song.wav")
    path = score(studio, "choir/song.mid")
    studio.round(1)
    studio.round(0.1)
    path.write_text("other notes")
    before = studio.job("song.wav").identity
    studio.round(1)
    assert studio.job("song.wav").identity != before
    studio.work_off()
    assert (next(iter((studio.root / "done").rglob("song.mid")))).read_text() == "other notes"


def test_a_score_swapped_right_before_the_claim_is_not_taken_for_the_old_one(studio):
    studio.drop("choir/song.wav")
    path = score(studio, "choir/song.mid")
    studio.settle()
    job = studio.job("song.wav")
    path.write_text("swapped")
    from hotfolder.job_files import ChangedError

    if job.state in ("seen", "settled"):
        with pytest.raises(ChangedError):
            studio.daemon.files.bring_in(job)
    studio.work_off()
    assert filed(studio.root, "done") == ["song.mid", "song.wav"]


def test_failed_together_and_tried_again_together(studio):
    studio.drop("choir/broken.wav").write_bytes(b"no wave")
    score(studio, "choir/broken.mid")
    studio.settle()
    studio.round(700)
    studio.settle()
    studio.until(studio.is_finished)
    names = filed(studio.root, "failed")
    assert names == ["broken.mid", "broken.wav", "broken.wav.reason.json"]


@pytest.mark.parametrize("moved", ["mix", "nothing"])
def test_a_kill_between_the_two_renames_loses_no_score(studio, moved, monkeypatch):
    """The daemon dies after the mix was claimed; the score lies in the inbox yet."""
    import hotfolder.job_files as places

    studio.drop("choir/song.wav")
    score(studio, "choir/song.mid")

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    monkeypatch.setattr(places, "bring" if moved == "mix" else "_move", killed)
    with pytest.raises(Killed):
        studio.work_off()
    monkeypatch.undo()
    monkeypatch.setenv("STEMWRIGHT_PRESETS", str(studio.folder / "presets"))
    assert "song.mid" in inbox(studio.root)
    studio.close()
    studio.start()
    studio.round(2 * studio.lease_s)  # the dead one's lease runs out
    studio.work_off()
    assert filed(studio.root, "done") == ["song.mid", "song.wav"]
    (manifest,) = published(studio.root).values()
    assert list(manifest["voices"]["pitches"]["files"]) == ["song.mid"]


def test_a_ticket_that_names_another_folder_takes_nothing_from_there(studio):
    secret = studio.folder / "secret.mid"
    secret.write_text("secret")
    studio.drop("choir/song.wav")
    score(studio, "choir/song.mid")
    studio.settle()
    job = studio.job("song.wav")
    work = studio.daemon.files.work_folder(job)
    work.mkdir(parents=True, exist_ok=True)
    hidden = {"name": os.fsencode("../../secret.mid").hex(), "identity": "1"}
    ticket = {"source": os.fsencode("choir/song.wav").hex(), "preset": "choir", "size": 1}
    (work / "job.json").write_text(json.dumps({**ticket, "beside": [hidden]}))
    studio.work_off()
    assert secret.read_text() == "secret"
