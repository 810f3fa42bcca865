"""Tests of the plug-in catalogue: names, cached parameters, trials and the quarantine's door."""

import base64
import json
import os

import pytest

from engine.plugins.catalogue import host_request, opened
from engine.plugins.chain import check_chains
from engine.plugins.rack import PluginRack
from engine.plugins.store import FAILURES_UNTIL_QUARANTINE
from engine.plugins.trial import try_plugin
from presets import Plugin, StemwrightError, load_preset
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


class TestWhatIsNotThePluginsFault:
    """A preset's mistake is told to the preset, and leaves the plug-in in good standing."""

    def chains(self, tmp_path, text):
        preset = tmp_path / "own.yaml"
        preset.write_text(f"name: own\nstems:\n  drums:\n    chain:\n      - {text}\n")
        return load_preset(preset)

    @needs_zam
    @pytest.mark.parametrize("content", [b"", b"no state", None])
    def test_a_state_of_another_plugin(self, tmp_path, content):
        known = catalogue(tmp_path, ZAM)
        state = tmp_path / "other.vstpreset"
        if content is None:
            step = Plugin(plugin="ZamGateX2")
            with opened(known, known.find("ZamGateX2"), 30) as child:
                found = child.state(host_request(known.find(step.plugin), step))
            content = base64.b64decode(found["state"])
        state.write_bytes(content)
        preset = self.chains(tmp_path, "{plugin: ZamComp, state: other.vstpreset}")
        for _ in range(FAILURES_UNTIL_QUARANTINE + 1):
            with PluginRack(known) as rack, pytest.raises(StemwrightError) as caught:
                check_chains(preset, 44_100, 2, rack)
            assert caught.value.code == "preset-invalid"
            assert "stems.drums.chain[0]: plug-in ZamComp: it does not take the state" in str(
                caught.value
            )
        assert known.store.failures(known.find("ZamComp")) == []

    @needs_zam
    def test_its_own_state_is_good(self, tmp_path):
        known = catalogue(tmp_path, ZAM)
        step = Plugin(plugin="ZamComp", parameters={"threshold_db": -33.0})
        with opened(known, known.find("ZamComp"), 30) as child:
            found = child.state(host_request(known.find("ZamComp"), step))
        (tmp_path / "own.vstpreset").write_bytes(base64.b64decode(found["state"]))
        preset = self.chains(tmp_path, "{plugin: ZamComp, state: own.vstpreset}")
        with PluginRack(known) as rack:
            check_chains(preset, 44_100, 2, rack)
            assert rack.notes == []

    @needs_gcc
    def test_a_system_without_its_libraries(self, tmp_path):
        build_stub(tmp_path / "plugins", at_load="return 0")
        known = catalogue(tmp_path, tmp_path / "plugins")
        for _ in range(FAILURES_UNTIL_QUARANTINE + 1):
            with pytest.raises(StemwrightError, match="refused"):
                known.check(Plugin(plugin="Stub"), "c[0]")

    @needs_gcc
    def test_a_hang_at_load_keeps_to_the_presets_time(self, tmp_path):
        build_stub(tmp_path / "plugins", at_load="for(;;)")
        known = catalogue(tmp_path, tmp_path / "plugins", inspection_timeout_s=60.0)
        preset = self.chains(tmp_path, "{plugin: Stub}")
        with PluginRack(known, timeout_s=1.0) as rack, pytest.raises(StemwrightError) as caught:
            check_chains(preset, 44_100, 2, rack)
        assert "hung: no answer within 1 s. If it is only slow" in str(caught.value)
        assert len(known.store.failures(known.find("Stub"))) == 1

    @needs_gcc
    @pytest.mark.parametrize(
        "rubbish",
        ["[]", "{}", '{"plugins": 5, "load_s": 1}', '{"plugins": [], "load_s": 1}',
         '{"plugins": [{"name": "x", "parameters": {"level": {}}}], "load_s": 1}',
         '{"plugins": [{"name": "x", "parameters": 3}], "load_s": "long"}'],
    )  # fmt: skip
    def test_what_lies_in_its_memory(self, tmp_path, rubbish):
        bundle = build_stub(tmp_path / "plugins")
        known = catalogue(tmp_path, tmp_path / "plugins")
        known.store.keep_parameters(bundle, {})
        [file] = known.store.folder.glob("*.parameters.json")
        file.write_text(rubbish)
        assert not known.is_known(bundle)
        known.check(Plugin(plugin="Stub", parameters={"level": 0.5}), "c[0]")
        assert known.is_known(bundle)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "x.prior", "..", "", "a\nb"])
def test_a_prior_is_named_and_not_a_path(tmp_path, name):
    preset = tmp_path / "own.yaml"
    preset.write_text(f"name: own\nstems:\n  drums: {{prior: {json.dumps(name)}}}\n")
    with pytest.raises(StemwrightError, match=r"yaml:3:.*stems.drums.prior: must be a plain"):
        load_preset(preset)
