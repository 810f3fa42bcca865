"""The journal: claims are exclusive, leases run out, versions migrate, damage is survived."""

import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from hotfolder.clock import Instant
from hotfolder.job import MAY_BECOME, RUNNING, Job, State, new_job
from hotfolder.journal import Journal, LeaseLostError
from hotfolder.root import Root, insist_on_local
from hotfolder.schema import STEPS
from hotfolder_fixtures import Studio, published
from presets import StemwrightError

LEASE_S = 30.0
LONGEST_S = 1800.0
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def now():
    return Instant(1_800_000_000.0, 5000.0)


def add(journal, now, *names):
    journal.note_seen([(Path(name), "identity", 1, "default") for name in names], now)
    return journal.note_settled([Path(name) for name in names], now)


def advance(journal, job, now, **changes):
    return journal.advance(job, replace(job, **changes), now)


def bring_to(journal, job, now, state):
    """A claimed job in a later state of work, by way of those before."""
    for each in RUNNING[1 : RUNNING.index(state) + 1]:
        job = advance(journal, job, now, state=each)
    return job


def claim(journal, now, owner="me"):
    return journal.claim(owner, now, LEASE_S, LONGEST_S)


def test_jobs_are_claimed_in_order_of_arrival_and_only_once(journal, now):
    add(journal, now, "a", "b", "c")
    claimed = [claim(journal, now) for _ in range(4)]
    assert [job and str(job.source) for job in claimed] == ["a", "b", "c", None]


def test_seen_file_cannot_be_claimed(journal, now):
    journal.note_seen([(Path("a"), "1", 1, "default")], now)
    assert claim(journal, now) is None


def test_many_processes_claim_every_job_exactly_once(journal, now, tmp_path):
    add(journal, now, *(f"{n}" for n in range(60)))
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from hotfolder.clock import Instant\nfrom hotfolder.journal import Journal\n"
        f"journal = Journal(Path({str(journal.path)!r}))\n"
        f"while job := journal.claim(sys.argv[1], Instant.now(), {LEASE_S}, {LONGEST_S}):\n"
        "    print(job.source)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, f"owner-{n}"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for n in range(3)
    ]
    claimed = [line for process in processes for line in process.communicate()[0].split()]
    assert sorted(claimed, key=int) == [f"{n}" for n in range(60)]


@pytest.mark.parametrize("state", RUNNING)
def test_lease_that_ran_out_is_taken_over_and_its_holder_finds_out(journal, now, state):
    [job] = add(journal, now, "a")
    held = bring_to(journal, claim(journal, now, "first"), now, state)
    assert claim(journal, now.later(LEASE_S - 1), "second") is None
    taken = claim(journal, now.later(LEASE_S + 1), "second")

    assert (taken.id, taken.owner, taken.attempts) == (job.id, "second", 2)
    with pytest.raises(LeaseLostError):
        advance(journal, held, now, state=State.DONE)
    assert journal.renew("first", now, LEASE_S) == set()
    assert journal.get(job.id).state == "claimed"


def test_heartbeat_keeps_the_lease(journal, now):
    add(journal, now, "a")
    held = claim(journal, now, "first")
    for _ in range(10):
        now = now.later(LEASE_S - 1)
        assert journal.renew("first", now, LEASE_S) == {held.id}
    assert claim(journal, now.later(1), "second") is None


def test_lease_from_before_a_reboot_is_over(journal, now):
    """The steady clock begins anew, so the old lease would seem to last for ages."""
    add(journal, now, "a")
    claim(journal, now, "first")
    rebooted = Instant(now.wall_s + 60, 10.0)
    assert claim(journal, rebooted, "second").owner == "second"


def test_calendar_that_jumps_back_does_not_hold_a_retry_for_ever(journal, now):
    add(journal, now, "a")
    job = claim(journal, now)
    advance(journal, job, now, state=State.RETRY_AT, owner=None, due_at=now.wall_s + 60)
    assert claim(journal, now.later(59)) is None
    back = Instant(now.wall_s - 10 * LONGEST_S, now.steady_s)
    assert claim(journal, back) is not None


def test_released_job_can_be_claimed_at_once_and_keeps_its_place(journal, now):
    add(journal, now, "a", "b")
    job = bring_to(journal, claim(journal, now), now, State.SEARCHING)
    advance(journal, job, now, owner=None, segment=3, segments=9)
    again = claim(journal, now)
    assert (again.id, again.segment) == (job.id, 3)


def test_same_work_is_in_flight_only_once(journal, now):
    add(journal, now, "a", "b")
    first, second = claim(journal, now), claim(journal, now)
    assert journal.take_key(first, replace(first, key="key"), now)
    assert journal.take_key(second, replace(second, key="key"), now) is None


def test_destinations_that_a_file_system_may_confuse_are_reserved_only_once(journal, now):
    add(journal, now, "a", "b", "c")
    jobs = [claim(journal, now) for _ in range(3)]
    assert journal.take_destination(jobs[0], Path("/out/Café"), now)
    assert journal.take_destination(jobs[1], Path("/out/CAFÉ"), now) is None
    assert journal.take_destination(jobs[1], Path("/out/Café"), now) is None
    assert journal.take_destination(jobs[2], Path("/out/Tea"), now)


def test_names_that_are_no_text_are_kept(journal, now):
    name = Path(os.fsdecode(b"caf\xe9\xff\n'.wav"))
    [job] = add(journal, now, name)
    assert journal.get(job.id).source == name
    assert journal.find(name) == [job]
    failed = advance(journal, job, now, reason=f"cannot read {name}")
    assert failed.reason.startswith("cannot read caf")


def test_transition_and_its_log_are_written_together_or_not_at_all(journal, now, monkeypatch):
    add(journal, now, "a.wav")
    job = claim(journal, now)
    assert job

    def full(*_row):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(journal, "_log", full)
    with pytest.raises(sqlite3.OperationalError):
        advance(journal, job, now, state=State.DECODED)
    assert journal.get(job.id) == job
    assert journal.history(job.id)[-1]["state"] == State.CLAIMED


def test_transition_waits_for_the_disk_once(journal, now):
    add(journal, now, "a.wav")
    job = claim(journal, now)
    assert job
    statements: list[str] = []
    journal._db.set_trace_callback(statements.append)
    advance(journal, job, now, state=State.DECODED)
    words = [statement.split()[0] for statement in statements]
    assert words == ["BEGIN", "UPDATE", "INSERT", "COMMIT"]


def test_every_transition_may_happen_twice(journal, now):
    add(journal, now, "a")
    job = claim(journal, now)
    for state in (*RUNNING, State.DONE):
        job = advance(journal, job, now, state=state)
        assert advance(journal, job, now, state=state) == job
    states = [entry["state"] for entry in journal.history(job.id)]
    assert states == ["seen", "settled", *RUNNING, "done"]


def test_hundred_thousand_rows_are_no_burden(tmp_path, now):
    journal = Journal(tmp_path / "big.db")
    jobs = (
        replace(
            new_job(Path(f"/in/{n}.wav"), "", 1, "default",
                    State.SETTLED if n % 2 else State.DONE, now),
            id=f"{n:012d}", key=f"k{n}",
        )
        for n in range(20_000)
    )  # fmt: skip
    journal.insert(jobs, now)
    plan = journal.execute(
        "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE key = 'k1' AND state = 'done'"
    ).fetchone()[3]
    assert "USING INDEX" in plan
    assert [claim(journal, now).id for _ in range(20)] == [f"{n:012d}" for n in range(1, 41, 2)]
    journal.close()


# -- versions ------------------------------------------------------------------------------------


def old_journal(path, version):
    database = sqlite3.connect(path)
    for step in STEPS[:version]:
        database.executescript(step)
    database.execute(f"PRAGMA user_version = {version}")
    database.execute(
        "INSERT INTO jobs (id, source, identity, size, preset, state, created_at, changed_at,"
        " updated_at) VALUES ('abc', x'612e776176', 'i', 1, 'default', 'settled', 1, 1, 1)"
    )
    database.commit()
    database.close()


@pytest.mark.parametrize("version", range(1, len(STEPS)))
def test_older_journal_is_migrated_and_kept_beside(tmp_path, now, version):
    path = tmp_path / "journal.db"
    old_journal(path, version)
    journal = Journal(path)
    job = claim(journal, now)
    journal.close()

    assert (job.id, job.source, job.priority) == ("abc", Path("a.wav"), 0)
    kept = sqlite3.connect(tmp_path / f"journal.db.version-{version}")
    assert kept.execute("PRAGMA user_version").fetchone() == (version,)
    assert kept.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    kept.close()
    Journal(path).close()


def test_journal_that_cannot_be_opened_is_told(tmp_path):
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(StemwrightError, match="Give --state a folder") as caught:
        Journal(tmp_path / "journal.db")
    assert caught.value.code == "journal-not-opened"


def test_newer_journal_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "journal.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StemwrightError, match=r"version 99, this one knows 2.*Upgrade"):
        Journal(path)


def test_state_folder_on_a_share_is_refused(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nnas:/x {tmp_path}/nas\\040one nfs4 rw 0 0\n")
    insist_on_local(tmp_path / "state", mounts)
    with pytest.raises(StemwrightError, match="lies on a share"):
        insist_on_local(tmp_path / "nas one" / "state", mounts)


# -- damage --------------------------------------------------------------------------------------


REPLACED = ("no database", "deleted")


def damage(path, rng):
    """Overwrites pages in the middle of the file, and its log."""
    raw = bytearray(path.read_bytes())
    for _ in range(40):
        at = rng.randrange(0, len(raw) - 64)
        raw[at : at + 64] = rng.randbytes(64)
    path.write_bytes(raw)
    path.with_name(path.name + "-wal").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "how", ["scrambled", *(pytest.param(how, marks=pytest.mark.slow) for how in REPLACED)]
)
def test_lost_journal_is_rebuilt_from_the_folders(tmp_path, how):
    studio = Studio(tmp_path, lease_s=1.0).start()
    studio.drop("good.wav", seed=1)
    studio.drop("broken.wav").write_bytes(b"text")
    studio.work_off()
    studio.drop("slow later.wav", seed=3)
    studio.settle()
    studio.until(lambda: studio.job("slow later.wav").segment >= 2)
    studio.close()
    path = studio.state / "journal.db"
    if how == "scrambled":
        damage(path, random.Random(1))
    elif how == "no database":
        path.write_bytes(b"this is no database, whatever its name says" * 100)
    else:
        path.unlink()

    studio.start()
    assert studio.states() == {"good.wav": "done", "broken.wav": "quarantined"}
    studio.drop("good again.wav", seed=1)
    studio.round(0.2)
    studio.until(lambda: "slow later.wav" in studio.states())
    studio.work_off()
    states = studio.states()
    studio.close()

    assert sorted(published(studio.root)) == ["good", "slow later"]
    assert states["good again.wav"] == "done"
    assert (len(list(studio.state.glob("journal.db.damaged-*"))) > 0) == (how != "deleted")
    segments = (studio.root / "segments.log").read_text().splitlines()
    assert len(segments) == len(set(segments)), "segments were searched twice"


def test_journal_damaged_while_the_daemon_runs_is_replaced(tmp_path):
    studio = Studio(tmp_path, lease_s=1.0).start()
    studio.drop("good.wav", seed=1)
    studio.work_off()
    path = studio.state / "journal.db"
    path.write_bytes(b"scribble" * (path.stat().st_size // 8))
    path.with_name("journal.db-wal").write_bytes(b"scribble" * 1000)
    studio.drop("next.wav", seed=2)
    for _ in range(100):
        studio.now = studio.now.later(0.1)
        studio.daemon._safe_loop(studio.now)
        if list(studio.state.glob("journal.db.damaged-*")):
            break
    studio.work_off()
    studio.close()

    assert sorted(published(studio.root)) == ["good", "next"]


def test_work_of_a_daemon_on_another_machine_is_left_alone_while_it_lives(tmp_path):
    """Two machines, two journals, one share: the tickets in the work folders keep them apart."""
    here = Studio(tmp_path, lease_s=1.0).start()
    there = Studio(tmp_path, lease_s=1.0)
    there_state = tmp_path / "other machine"
    there_state.mkdir()
    (there_state / "root-id").write_text((here.state / "root-id").read_text())
    object.__setattr__(there, "folder", tmp_path)
    type_state = type("Elsewhere", (Studio,), {"state": property(lambda self: there_state)})
    there.__class__ = type_state
    there.start()
    here.drop("slow slow slow slow song.wav", seed=1)
    here.settle()
    here.until(lambda: here.jobs()[0].segment >= 1)
    for _ in range(30):
        there.round(0.05)
        here.round(0.05)
    assert there.states() == {}
    here.daemon.pool.abandon(here.now)
    there.until(lambda: there.states() == {"slow slow slow slow song.wav": "done"})
    here.close()
    there.close()

    assert list(published(here.root)) == ["slow slow slow slow song"]


def test_root_knows_itself_again_and_refuses_a_stranger(tmp_path):
    root, state = Root(tmp_path / "root"), tmp_path / "state"
    root.prepare(state, adopt=False)
    number = root.number()
    root.prepare(state, adopt=False)
    assert root.number() == number
    assert root.why_lost(number) is None
    (root.outbox / ".stemwright-folder").write_text("another")
    assert "outbox" in root.why_lost(number)
    (root.inbox / ".stemwright-folder").unlink()
    with pytest.raises(StemwrightError, match="mounted") as caught:
        root.prepare(state, adopt=False)
    assert caught.value.transient
    root.prepare(state, adopt=True)
    assert root.why_lost(root.number()) is None


def test_daemons_that_start_at_once_agree_on_the_hot_folders_number(tmp_path):
    """Each on a machine of its own, with its own memory of what the folder's number is."""
    script = (
        "import sys; from pathlib import Path; from hotfolder.root import Root\n"
        "here = Path(sys.argv[1])\n"
        "for n in range(40):\n"
        "    Root(here / str(n)).prepare(here / f'state-{sys.argv[2]}-{n}', adopt=False)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    daemons = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name], env=environment)
        for name in ("one", "two", "three")
    ]
    assert [daemon.wait(60) for daemon in daemons] == [0, 0, 0]

    for n in range(40):
        root = Root(tmp_path / str(n))
        assert root.why_lost(root.number()) is None
        known = {(tmp_path / f"state-{name}-{n}/root-id").read_text().strip()
                 for name in ("one", "two", "three")}  # fmt: skip
        assert known == {root.number()}


def test_many_threads_reading_while_one_writes(journal, now):
    """The command line asks while the daemon works: WAL lets both go on."""
    add(journal, now, *(f"{n}" for n in range(50)))
    seen = []

    def ask():
        other = Journal(journal.path)
        seen.extend(sum(other.statistics.counts().values()) for _ in range(20))
        other.close()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while job := claim(journal, now):
        advance(journal, job, now, state=State.DONE, owner=None)
    for thread in threads:
        thread.join()
    assert set(seen) == {50}


def test_daemons_that_start_together_make_one_journal(tmp_path):
    code = (
        "import sys; from pathlib import Path; from hotfolder.journal import Journal; "
        "Journal(Path(sys.argv[1])).close()"
    )
    for number in range(5):
        path = tmp_path / f"{number}.db"
        starts = [
            subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE)
            for _ in range(4)
        ]
        assert [start.communicate()[1] for start in starts] == [b""] * 4


def test_journal_that_another_daemon_is_making_is_waited_for(tmp_path):
    path = tmp_path / "journal.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE unfinished (x)")
    threading.Timer(0.3, other.execute, ["ROLLBACK"]).start()
    Journal(path).close()
    other.close()


OTHER_VALUES = {str: "other", int: 7, float: 7.5, Path: Path("/other"), State: State.SETTLED}


def test_every_field_of_a_job_is_kept_as_it_was_changed(journal, now):
    [job] = add(journal, now, "a")
    for name, hint in get_type_hints(Job).items():
        if name in ("id", "updated_at"):  # the row's name, and the journal's own
            continue
        kind = next(each for each in (*get_args(hint), hint) if each in OTHER_VALUES)
        changed = replace(job, **{name: OTHER_VALUES[kind]})
        job = journal.advance(job, changed, now.later(1))
        assert job == replace(changed, updated_at=now.wall_s + 1) == journal.get(job.id), name


def test_what_a_holder_did_not_change_is_left_as_it_is(journal, now):
    """Its view of the lease is as old as its claim; the heartbeat has renewed it since."""
    add(journal, now, "a")
    job = claim(journal, now)
    journal.renew("me", now.later(5), LEASE_S)
    after = advance(journal, job, now.later(6), state=State.DECODED)
    assert after.lease_until == now.steady_s + 5 + LEASE_S


@pytest.mark.parametrize("before", State)
def test_no_state_follows_another_but_those_that_may(journal, now, before):
    for after in State:
        journal.insert([new_job(Path(after), "identity", 1, "default", before, now)], now)
        [job] = journal.find(Path(after))
        if after in MAY_BECOME[before] or after == before:
            assert advance(journal, job, now, state=after).state == after
        else:
            with pytest.raises(ValueError, match=f"{before} may not become {after}"):
                advance(journal, job, now, state=after)
            assert journal.get(job.id) == job


def test_the_page_of_the_architecture_tells_which_state_follows_which():
    page = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| \*([a-z-]+)\* \| (.*?) \|", page, re.M))
    assert {state: set(re.findall(r"\*([a-z-]+)\*", after)) for state, after in rows.items()} == {
        str(state): set(map(str, after)) for state, after in MAY_BECOME.items()
    }
