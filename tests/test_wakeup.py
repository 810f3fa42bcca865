"""Signals wake a loop and say what is wanted, whatever the main thread is doing just then."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hotfolder.wakeup import Wakeup
from hotfolder_fixtures import logs, make_mix, start_process, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def wakeup():
    with Wakeup() as wakeup:
        yield wakeup


def test_ring_ends_the_present_wait_and_the_next_one(wakeup):
    wakeup.ring()
    began_s = time.monotonic()
    wakeup.wait(60)
    threading.Timer(0.05, wakeup.ring).start()
    wakeup.wait(60)
    assert time.monotonic() - began_s < 30


def test_many_rings_are_one_and_none_is_left_behind(wakeup):
    for _ in range(100_000):
        wakeup.ring()
    wakeup.wait(60)
    began_s = time.monotonic()
    wakeup.wait(0.05)
    assert time.monotonic() - began_s >= 0.05


def test_signals_are_noted_and_given_back(wakeup):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    wakeup.catch_signals(reload=True)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    wakeup.wait(60)
    assert (wakeup.stops, wakeup.take_reload(), wakeup.take_reload()) == (1, True, False)
    wakeup.close()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_signal_at_every_line_of_the_waiting_and_the_ringing_is_no_deadlock(wakeup):
    """The moment that matters may be any: so one comes at each of them."""
    wakeup.catch_signals(reload=True)
    lines = []

    def interrupt(frame, event, _arg):
        if frame.f_code.co_filename.endswith("wakeup.py"):
            lines.append(event)
            os.kill(os.getpid(), signal.SIGHUP)
        return interrupt

    sys.settrace(interrupt)
    try:
        for _ in range(20):
            wakeup.ring()
            wakeup.wait(0.01)
            wakeup.take_reload()
    finally:
        sys.settrace(None)
    assert len(lines) > 100
    wakeup.stop()
    assert wakeup.stops == 1


def test_flood_of_signals_neither_nests_nor_hides_the_one_that_stops(tmp_path):
    make_mix(tmp_path / "root" / "inbox" / "slow song.wav")
    process = start_process(tmp_path)
    wait_for(lambda: '"searching"' in logs(tmp_path))
    for _ in range(30_000):
        os.kill(process.pid, signal.SIGHUP)
    process.terminate()
    assert process.wait(30) == 0, logs(tmp_path)[-2000:]
    assert "RecursionError" not in logs(tmp_path)
    assert '"draining"' in logs(tmp_path)


FLOODED_BATCH = """
import sys
from pathlib import Path
from hotfolder.catalogue.batch import Batch
from hotfolder.catalogue.listing import read_catalogue
from hotfolder_fixtures import settings_of
out = Path(sys.argv[2])
batch = Batch(read_catalogue(sys.argv[1], "default", None), out, out / ".state", settings_of(),
              backend="hotfolder_fixtures")
batch.enter()
finished = batch.run(lambda snapshot: print(snapshot.in_work, flush=True))
batch.close()
sys.exit(7 if not finished else 0)
"""


def test_batch_stops_under_a_flood_of_signals(tmp_path):
    make_mix(tmp_path / "in" / "slow slow slow song.wav")
    paths = os.pathsep.join([str(Path(__file__).parent), *(path for path in sys.path if path)])
    process = subprocess.Popen(
        [sys.executable, "-c", FLOODED_BATCH, str(tmp_path / "in"), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    while process.stdout.readline().strip() != "1":
        assert process.poll() is None, process.stderr.read()
    for _ in range(2000):
        os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 7, stderr
    assert "Traceback" not in stderr
