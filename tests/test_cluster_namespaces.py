"""A Dask cluster over a network: every worker in a network namespace of its own, behind a bridge.

Two machines are lost in mid-job: one dies, the other only loses its link, works on unheard, and
never learns that its jobs were given to somebody else. The network is made for the test, exists on
this machine only, and is taken down again.
"""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from hotfolder.catalogue.batch import Batch
from hotfolder.catalogue.listing import read_catalogue
from hotfolder.settings import WorkerSettings
from hotfolder_fixtures import SEGMENTS, make_mix, settings_of, wait_for

pytest.importorskip("distributed", reason="needs the cluster extra")
from hotfolder.catalogue.cluster import Cluster

TOY = "hotfolder_fixtures"
ROWS = 12
WORKERS = 3
START_LIMIT_S = 120.0  # four Pythons import Dask at once, perhaps on a busy machine
# Dask gives a silent connection 30 s; this is the shortest that it allows.
QUICK_LOSS = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # dask's own teardown of sockets is not ours to judge
]


@dataclass(frozen=True)
class Machine:
    """A namespace as a machine: its address, and its end of the link at the bridge."""

    namespace: str
    address: str
    link: str


@dataclass(frozen=True)
class Network:
    address: str
    machines: list


@pytest.fixture
def network():
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need root on Linux")
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need `ip` (Debian: iproute2)")
    with contextlib.ExitStack() as made:
        try:
            built = build_network(made)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine refuses network namespaces: {error.stderr.strip()}")
        yield built


def build_network(made):
    """A bridge with an address and a machine on every port; `made` takes all of it down."""
    # 198.18.0.0/15 is set aside for tests of networks (RFC 2544): nobody's route is shadowed
    subnet, name = f"198.18.{secrets.randbelow(256)}", f"sw{secrets.token_hex(4)}"
    ip("link", "add", name, "type", "bridge")
    made.callback(ip, "link", "del", name)
    ip("addr", "add", f"{subnet}.1/24", "dev", name)
    ip("link", "set", name, "up")
    machines = [
        Machine(f"{name}n{number}", f"{subnet}.{10 + number}", f"{name}v{number}")
        for number in range(WORKERS)
    ]
    for machine in machines:
        plug_in(machine, name, made)
    return Network(f"{subnet}.1", machines)


def plug_in(machine, bridge, made):
    inside = ["-n", machine.namespace]
    ip("netns", "add", machine.namespace)
    made.callback(ip, "netns", "del", machine.namespace)
    peer = ["peer", "name", "eth0", "netns", machine.namespace]
    ip("link", "add", machine.link, "type", "veth", *peer)
    made.callback(ip, "link", "del", machine.link)  # at once: with the namespace, it goes later
    ip("link", "set", machine.link, "master", bridge, "up")
    ip(*inside, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    ip(*inside, "link", "set", "eth0", "up")
    ip(*inside, "link", "set", "lo", "up")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def dask_of(network, tmp_path):
    """The scheduler's address and the workers' processes by machine."""
    with contextlib.ExitStack() as started:
        announced = tmp_path / "scheduler.json"
        start(started, tmp_path / "scheduler.log", [], "scheduler", "--host", network.address,
              "--port", "0", "--no-dashboard", "--scheduler-file", str(announced))  # fmt: skip
        wait_for(lambda: announced.exists() and announced.stat().st_size, START_LIMIT_S)
        address = json.loads(announced.read_text())["address"]
        yield (
            address,
            {
                machine: start(
                    started, tmp_path / f"{machine.namespace}.log",
                    ["ip", "netns", "exec", machine.namespace], "worker", address, "--host",
                    machine.address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                    "--local-directory", str(tmp_path / machine.namespace),
                )
                for machine in network.machines
            },
        )  # fmt: skip


def start(started, log, prefix, *words):
    paths = os.pathsep.join(path for path in sys.path if path)
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | QUICK_LOSS
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "dask", *words], stdout=output, stderr=output, env=env
        )
    started.callback(process.wait)
    started.callback(process.kill)
    return process


def test_rows_are_done_once_when_one_machine_dies_and_one_loses_its_link(tmp_path, dask_of):
    address, workers = dask_of
    for number in range(ROWS):
        make_mix(tmp_path / "mixes" / f"slow {number:02}.wav", number)
    cluster, batch = Cluster(address), batch_of(tmp_path)
    cluster.client.wait_for_workers(WORKERS, timeout=START_LIMIT_S)
    cluster.check({"default"}, TOY, WorkerSettings())
    with ThreadPoolExecutor(1) as pool:
        disaster = pool.submit(lose_two, cluster.client, workers, tmp_path / "out")
        assert cluster.run(batch)
        in_hand = disaster.result()
    jobs = list(batch.journal.all_jobs())
    left = len(cluster.client.nthreads())
    batch.close()
    cluster.close()

    names = [f"slow {number:02}" for number in range(ROWS)]
    assert all(in_hand), "both were to be lost in mid-job"
    assert left == 1
    assert sorted((job.source.stem, str(job.state)) for job in jobs) == [
        (name, "done") for name in names
    ]
    sets = sorted(path.parent.name for path in (tmp_path / "out").glob("*/manifest.json"))
    assert sets == names
    worked = (tmp_path / "out" / "segments.log").read_text().splitlines()
    assert len(set(worked)) == ROWS * SEGMENTS
    repeated = {line for line in worked if worked.count(line) > 1}
    # nothing but what a lost worker had in hand was begun again
    assert len({line.rsplit(" ", 1)[0] for line in repeated}) <= 2


def lose_two(client, workers, out):
    """When all are at work, kills one worker and cuts the other's link; what both had in hand."""
    wait_for((out / "segments.log").exists, START_LIMIT_S)
    (dying, process), (cut, _), _ = workers.items()
    at_work = {worker.split("/")[-1].split(":")[0]: keys
               for worker, keys in client.processing().items()}  # fmt: skip
    process.kill()
    ip("link", "set", cut.link, "down")
    return [at_work[machine.address] for machine in (dying, cut)]


def batch_of(tmp_path):
    catalogue = read_catalogue(tmp_path / "mixes")
    settings = settings_of(incomplete_after_s=0)
    batch = Batch(catalogue, tmp_path / "out", tmp_path / "state", settings, backend=TOY)
    batch.enter()
    return batch
