"""Tests of the plug-in bridge: what works is bit-identical, what fails is named and survived."""

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from engine.audio.blocks import BLOCK_FRAMES
from engine.plugins.catalogue import host_request
from engine.plugins.chain import Shape, chained
from engine.plugins.client import PluginClient, PluginFailedError
from engine.plugins.rack import PluginRack, PluginStepError, check_output
from engine.plugins.store import FAILURES_UNTIL_QUARANTINE
from presets import Plugin, StemwrightError
from vst3_fixtures import ZAM, build_stub, catalogue, needs_gcc, needs_zam

RATE = 44_100
FRAMES = 5 * BLOCK_FRAMES + 123
NOISE = np.random.default_rng(7).standard_normal((2, FRAMES)).astype(np.float32) * 0.1


def parts(signal_, size=10_000):
    return (signal_[:, at : at + size] for at in range(0, signal_.shape[1], size))


def through(rack, *steps, audio=NOISE, rate=RATE, size=10_000):
    shape = Shape(audio.shape[0], rate, audio.shape[1])
    try:
        blocks = chained(parts(audio, size), steps, shape, rack, "stems.drums.chain")
        return np.concatenate(list(blocks), axis=1)
    finally:
        rack.release()


@pytest.fixture
def stub_rack(tmp_path):
    """Makes a rack whose only plug-in is our stub in a given mode."""
    racks = []

    def make(mode="WELL", at_load=None, timeout_s=3.0):
        build_stub(tmp_path / "plugins", mode=mode, at_load=at_load)
        rack = PluginRack(
            catalogue(tmp_path, tmp_path / "plugins", inspection_timeout_s=3.0), timeout_s
        )
        racks.append(rack)
        return rack

    yield make
    for rack in racks:
        rack.close()


@needs_gcc
def test_parameter_reaches_first_sample(stub_rack):
    out = through(stub_rack(), Plugin(plugin="Stub", parameters={"level": 0.5}))
    np.testing.assert_array_equal(out, NOISE * np.float32(0.5))


@needs_gcc
def test_mono_through_stereo_plugin_stays_mono(stub_rack):
    out = through(stub_rack(), Plugin(plugin="Stub"), audio=NOISE[:1])
    np.testing.assert_array_equal(out, NOISE[:1])


@needs_gcc
def test_six_channels_go_in_pairs(stub_rack):
    audio = np.concatenate([NOISE, NOISE * 0.5, NOISE * 0.25])
    np.testing.assert_array_equal(through(stub_rack(), Plugin(plugin="Stub"), audio=audio), audio)


@needs_gcc
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("CRASH", "crashed (SIGSEGV)"),
        ("LEAVE", "ended its process (exit code 0)"),
        ("NOT_A_NUMBER", "put out NaN or infinity"),
        ("HANG", "hung: no answer within 3 s"),
    ],
)
def test_misbehaviour_in_mid_stream_is_named(stub_rack, mode, said):
    rack = stub_rack(mode)
    with pytest.raises(PluginStepError) as caught:
        through(rack, Plugin(plugin="Stub"))
    assert caught.value.where == "stems.drums.chain[0]"
    assert caught.value.error.code == "plugin-failed"
    message = str(caught.value)
    assert message.startswith("stems.drums.chain[0], ") and "plug-in Stub" in message
    assert said in message


@needs_gcc
@pytest.mark.parametrize(
    ("at_load", "said"),
    [
        ("*(volatile int*)0 = 1", "crashed (SIGSEGV)"),
        ("exit(0)", "ended its process (exit code 0)"),
        ("for(;;)", "hung: no answer within 3 s"),
        ("return 0", "refused"),
        ("abort()", "crashed (SIGABRT)"),
    ],
)
def test_misbehaviour_at_load_is_named(stub_rack, at_load, said):
    with pytest.raises(PluginStepError, match="plug-in Stub") as caught:
        through(stub_rack(at_load=at_load), Plugin(plugin="Stub"))
    assert said in str(caught.value)


@needs_gcc
@pytest.mark.parametrize("mode", ["FLOOD", "LEAK_STDOUT"])
def test_printing_plugin_does_no_harm(stub_rack, mode):
    np.testing.assert_array_equal(through(stub_rack(mode), Plugin(plugin="Stub")), NOISE)


@needs_gcc
def test_child_killed_in_mid_file_is_named_and_rack_goes_on(stub_rack):
    rack = stub_rack()
    shape = Shape(2, RATE, FRAMES)
    blocks = chained(parts(NOISE), [Plugin(plugin="Stub")], shape, rack, "c")
    next(blocks)
    os.kill(rack._slots[0].child.pid, signal.SIGKILL)
    with pytest.raises(PluginStepError, match=r"c\[0\].*crashed \(SIGKILL\)"):
        list(blocks)
    rack.release()
    np.testing.assert_array_equal(through(rack, Plugin(plugin="Stub")), NOISE)


@needs_gcc
def test_failed_children_leave_nothing_behind(stub_rack):
    before = {thread.name for thread in threading.enumerate()}
    rack = stub_rack("CRASH")
    with pytest.raises(PluginStepError):
        through(rack, Plugin(plugin="Stub"))
    assert not rack._slots
    assert {thread.name for thread in threading.enumerate()} <= before


@needs_gcc
def test_dead_parent_leaves_no_child_and_no_memory(tmp_path):
    build_stub(tmp_path / "plugins")
    program = (
        "import os, sys, numpy as np; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from engine.plugins.client import PluginClient\n"
        "from engine.plugins.catalogue import host_request\n"
        "child = PluginClient(5.0)\n"
        "child.load(host_request(Path(sys.argv[1]), None), 44100, 2, 65536)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parent.parent
    before = set(Path("/dev/shm").glob("stemwright-plugin-*"))
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "plugins" / "Stub.vst3", root],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert set(Path("/dev/shm").glob("stemwright-plugin-*")) <= before
    try:
        handle = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:  # gone already
        return
    ended, _, _ = select.select([handle], [], [], 10)
    os.close(handle)
    assert ended


@needs_gcc
def test_child_is_reused_between_stems_and_starts_fresh(stub_rack):
    rack = stub_rack()
    first = through(rack, Plugin(plugin="Stub", parameters={"level": 0.25}))
    pid = rack._slots[0].child.pid
    second = through(rack, Plugin(plugin="Stub", parameters={"level": 1.0}))
    assert rack._slots[0].child.pid == pid
    np.testing.assert_array_equal(first * 4, second)


@needs_gcc
def test_quarantine_after_repeated_failures_survives_restart(stub_rack, tmp_path):
    rack = stub_rack("CRASH")
    for _ in range(FAILURES_UNTIL_QUARANTINE):
        with pytest.raises(PluginStepError, match="crashed"):
            through(rack, Plugin(plugin="Stub"))
    with (
        PluginRack(catalogue(tmp_path, tmp_path / "plugins")) as later,
        pytest.raises(PluginStepError) as caught,
    ):
        through(later, Plugin(plugin="Stub"))
    assert caught.value.error.code == "plugin-quarantined"
    assert "stemwright plugin test Stub" in str(caught.value)


@needs_gcc
def test_new_version_leaves_quarantine(stub_rack, tmp_path):
    rack = stub_rack("CRASH")
    file = rack.catalogue.find("Stub")
    for _ in range(FAILURES_UNTIL_QUARANTINE):
        rack.catalogue.store.keep_failure(file, "crashed")
    assert rack.catalogue.store.is_quarantined(file)
    binary = next(file.rglob("*.so"))
    os.utime(binary, ns=(0, 0))
    assert not rack.catalogue.store.is_quarantined(file)


@pytest.mark.parametrize(
    ("sent", "returned", "latencies", "said"),
    [
        (1000, 900, (0, 0), "gave 900 samples where 1000 were due"),
        (1000, 1000, (100, 100), "gave 1000 samples where 900 were due"),
        (50, 10, (100, 100), "gave 10 samples where 0 were due"),
        (1000, 1000, (0, 64), "changed its latency from 0 to 64 samples"),
    ],
)
def test_wrong_length_and_new_latency_are_failures(sent, returned, latencies, said):
    with pytest.raises(PluginFailedError, match=said):
        check_output(NOISE[:, :10], sent, returned, latencies)


@needs_gcc
def test_same_plugin_twice_in_one_chain(stub_rack):
    half = Plugin(plugin="Stub", parameters={"level": 0.5})
    np.testing.assert_array_equal(through(stub_rack(), half, half), NOISE * np.float32(0.25))


@needs_gcc
def test_child_answers_nonsense(stub_rack, monkeypatch):
    rack = stub_rack()
    child = PluginClient(3.0)
    try:
        child.load(host_request(rack.catalogue.find("Stub"), None), RATE, 2, BLOCK_FRAMES)
        child._replies.put(b'{"id": 99, "frames": 3}\n')
        with pytest.raises(PluginFailedError, match="something else than a reply"):
            child.process(NOISE[:, :BLOCK_FRAMES])
    finally:
        child.close()


@needs_zam
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ZamCompX2", {"threshold_db": -30.0, "ratio": 4.0, "attack_ms": 5.0}),
        ("ZaMultiCompX2", {"zamcomp_2_on": 1.0, "threshold_2_db": -50.0, "ratio2": 8.0}),
        ("ZaMaximX2", {"threshold_db": -20.0}),
        ("ZamGateX2", {"threshold_db": -30.0}),
    ],
)
def test_real_plugin_equals_whole_file_bit_for_bit(tmp_path, name, parameters):
    import pedalboard

    with PluginRack(catalogue(tmp_path, ZAM)) as rack:
        out = through(rack, Plugin(plugin=name, parameters=parameters), size=7777)
    plugin = pedalboard.load_plugin(str(ZAM / f"{name}.vst3"), parameter_values=parameters)
    np.testing.assert_array_equal(out, plugin.process(NOISE, RATE))
    assert np.abs(out - NOISE).max() > 1e-4


@needs_zam
def test_mono_only_plugin_runs_once_per_channel(tmp_path):
    step = Plugin(plugin="ZamComp", parameters={"threshold_db": -30.0, "ratio": 10.0})
    with PluginRack(catalogue(tmp_path, ZAM)) as rack:
        both = through(rack, step)
        left, right = (through(rack, step, audio=NOISE[i : i + 1]) for i in (0, 1))
    np.testing.assert_array_equal(both, np.concatenate([left, right]))


@needs_zam
def test_latency_is_compensated_to_the_sample(tmp_path):
    click = np.zeros((2, 3 * BLOCK_FRAMES), np.float32)
    click[:, 50_000] = 0.01
    with PluginRack(catalogue(tmp_path, ZAM)) as rack:
        out = through(rack, Plugin(plugin="ZaMaximX2"), audio=click)
    assert np.abs(out).argmax(axis=1).tolist() == [50_000, 50_000]


@needs_zam
def test_state_file_sounds_like_its_parameters(tmp_path):
    import pedalboard

    values = {"threshold_db": -35.0, "ratio": 6.0, "makeup_db": 3.0}
    plugin = pedalboard.load_plugin(str(ZAM / "ZamCompX2.vst3"), parameter_values=values)
    plugin.process(np.zeros((2, 64), np.float32), RATE)
    (tmp_path / "glue.vstpreset").write_bytes(plugin.preset_data)
    with PluginRack(catalogue(tmp_path, ZAM)) as rack:
        by_state = through(
            rack, Plugin(plugin="ZamCompX2", state=str(tmp_path / "glue.vstpreset"))
        )
        by_value = through(rack, Plugin(plugin="ZamCompX2", parameters=values))
    np.testing.assert_array_equal(by_state, by_value)


@needs_zam
def test_foreign_state_is_refused(tmp_path):
    (tmp_path / "bad.vstpreset").write_bytes(b"VST3" + bytes(200))
    with PluginRack(catalogue(tmp_path, ZAM)) as rack, pytest.raises(PluginStepError) as caught:
        through(rack, Plugin(plugin="ZamCompX2", state=str(tmp_path / "bad.vstpreset")))
    assert "ZamCompX2" in str(caught.value)


def test_file_outside_allowed_folders_is_not_loaded(tmp_path):
    known = catalogue(tmp_path, tmp_path / "allowed")
    (tmp_path / "allowed").mkdir()
    (tmp_path / "elsewhere.vst3").write_bytes(b"")
    (tmp_path / "allowed" / "link.vst3").symlink_to(tmp_path / "elsewhere.vst3")
    for path in (tmp_path / "elsewhere.vst3", tmp_path / "allowed" / "link.vst3"):
        with pytest.raises(StemwrightError) as caught:
            known.find(str(path))
        assert caught.value.code == "plugin-not-allowed"
