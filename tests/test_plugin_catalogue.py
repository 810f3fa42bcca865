"""Tests of the plug-in catalogue: names, cached parameters, trials and the quarantine's door."""

import os

import pytest

from engine.plugins.store import FAILURES_UNTIL_QUARANTINE
from engine.plugins.trial import try_plugin
from presets import Plugin, StemwrightError
from vst3_fixtures import ZAM, build_stub, catalogue, needs_gcc, needs_zam


def test_listing_loads_nothing(tmp_path):
    folder = tmp_path / "plugins"
    for name in ("B.vst3", "vendor/A.vst3", "note.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"no plug-in at all")
    assert [file.stem for file in catalogue(tmp_path, folder).files()] == ["A", "B"]


def test_unknown_name_is_told_with_a_near_one(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "ZamComp.vst3").write_bytes(b"")
    with pytest.raises(StemwrightError, match="did you mean 'ZamComp'"):
        catalogue(tmp_path, tmp_path / "plugins").find("ZamCmp")


def test_file_that_is_no_plugin_is_refused_with_its_name(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "Fake.vst3").write_bytes(b"no plug-in at all")
    known = catalogue(tmp_path, tmp_path / "plugins")
    with pytest.raises(StemwrightError, match="plug-in Fake refused"):
        known.inspect(known.find("Fake"))


@needs_gcc
def test_missing_library_is_named(tmp_path):
    import subprocess

    bundle = build_stub(tmp_path / "plugins")
    binary = next(bundle.rglob("*.so"))
    (tmp_path / "gone.c").write_text("int gone(void) { return 1; }")
    (tmp_path / "user.c").write_text("int gone(void); int user(void) { return gone(); }")
    library = tmp_path / "libgone.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", tmp_path / "gone.c", "-Wl,-soname,libgone.so", "-o", library],
        check=True,
    )
    subprocess.run(
        ["gcc", "-shared", "-fPIC", tmp_path / "user.c", library, "-o", binary], check=True
    )
    library.unlink()
    known = catalogue(tmp_path, tmp_path / "plugins")
    with pytest.raises(StemwrightError, match=r"libgone\.so"):
        known.inspect(known.find("Stub"))


@needs_gcc
def test_parameters_are_remembered_until_the_file_changes(tmp_path):
    bundle = build_stub(tmp_path / "plugins")
    known = catalogue(tmp_path, tmp_path / "plugins")
    found = known.inspect(bundle)
    assert found["plugins"][0]["parameters"]["level"]["range"] == [0.0, 1.0]
    binary = next(bundle.rglob("*.so"))
    state = binary.stat()
    binary.write_bytes(b"x" * state.st_size)  # another content, the same time and size
    os.utime(binary, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert known.inspect(bundle)["plugins"] == found["plugins"], "not loaded again"
    os.utime(binary, ns=(0, 0))
    with pytest.raises(StemwrightError, match="Stub"):
        known.inspect(bundle)


@needs_gcc
def test_trial_passes_a_good_plugin_and_opens_the_quarantine(tmp_path):
    bundle = build_stub(tmp_path / "plugins")
    known = catalogue(tmp_path, tmp_path / "plugins")
    for _ in range(FAILURES_UNTIL_QUARANTINE):
        known.store.keep_failure(bundle, "crashed")
    with pytest.raises(StemwrightError, match="in quarantine"):
        known.check(Plugin(plugin="Stub"), "c[0]")
    (trial,) = try_plugin(known, bundle, 10.0)
    assert trial.problems == () and trial.latency_samples == 0 and trial.times_realtime > 1
    known.check(Plugin(plugin="Stub"), "c[0]")


@needs_gcc
def test_trial_finds_a_lie_about_latency(tmp_path):
    bundle = build_stub(tmp_path / "plugins", mode="LIE")
    (trial,) = try_plugin(catalogue(tmp_path, tmp_path / "plugins"), bundle, 10.0)
    assert trial.problems == ("delays by -100 samples more than the 100 it reports",)


@needs_gcc
def test_failed_trials_lead_into_quarantine(tmp_path):
    bundle = build_stub(tmp_path / "plugins", mode="CRASH")
    known = catalogue(tmp_path, tmp_path / "plugins")
    for _ in range(FAILURES_UNTIL_QUARANTINE):
        with pytest.raises(StemwrightError, match="Stub crashed"):
            try_plugin(known, bundle, 10.0)
    assert known.store.is_quarantined(bundle)


@needs_zam
@pytest.mark.parametrize("name", ["ZamCompX2", "ZaMaximX2", "ZamComp", "ZamGateX2"])
def test_real_plugin_passes_its_trial(tmp_path, name):
    known = catalogue(tmp_path, ZAM)
    (trial,) = try_plugin(known, known.find(name), 30.0)
    assert trial.problems == ()
    assert trial.latency_samples == (480 if name == "ZaMaximX2" else 0)
    assert trial.groups == (((0,), (1,)) if name == "ZamComp" else ((0, 1),))


@needs_zam
@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"threshold_db": 3.0}, "must be -80 to 0 dB, got 3"),
        ({"treshold_db": -3.0}, "did you mean 'threshold_db'"),
        ({"ratio": True}, "must be 1 to 20, got True"),
        ({"current_program": "VocalLeveler"}, "did you mean 'VocalLeveller'"),
        ({"output_level_db": 0.0}, "no such parameter"),
    ],
)
def test_preset_is_checked_against_the_real_parameters(tmp_path, parameters, said):
    step = Plugin(plugin="ZamCompX2", parameters=parameters)
    with pytest.raises(StemwrightError, match=r"c\[0\]\.parameters") as caught:
        catalogue(tmp_path, ZAM).check(step, "c[0]")
    assert said in str(caught.value)
