"""Tests of the chain alone: which file is which stem, replaced output, re-render at every save."""

import json

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import stemwright
from engine.plugins.rack import PluginRack
from engine.processing import assign_stems, process_stems, saved_presets
from presets import Preset, StemwrightError
from vst3_fixtures import catalogue

RATE = 44_100
PRESET = Preset.model_validate({"name": "p", "stems": {"vocals": {}, "drums": {}}})


@pytest.fixture
def stems(tmp_path):
    audio = np.random.default_rng(0).standard_normal((RATE, 2)) * 0.1
    for name in ("Song_vocals", "Song_drums"):
        soundfile.write(tmp_path / f"{name}.wav", audio, RATE, subtype="PCM_24")
    return {name: tmp_path / f"Song_{name}.wav" for name in ("vocals", "drums")}


@pytest.mark.parametrize(
    ("file", "stem"),
    [
        ("song_vocals.wav", "vocals"),
        ("Song - Drums.flac", "drums"),
        ("01 DRUMS 44k24.wav", "drums"),
        ("drums_take_vocals.wav", "vocals"),
        ("song_residual.wav", "residual"),
        ("drums=whatever.wav", "drums"),
    ],
)
def test_stem_is_told_by_the_name(file, stem):
    assert list(assign_stems([file], PRESET)) == [stem]


def test_unclear_name_and_double_stem_are_refused():
    with pytest.raises(StemwrightError, match=r"vocals=mix\.wav"):
        assign_stems(["mix.wav"], PRESET)
    with pytest.raises(StemwrightError, match="would both be drums"):
        assign_stems(["a_drums.wav", "b_drums.wav"], PRESET)


def test_files_are_named_after_title_and_told_in_the_report(stems, tmp_path):
    with PluginRack(catalogue(tmp_path)) as rack:
        report = process_stems(stems, PRESET, tmp_path / "out", rack)
    assert {file.name for file in report.files} == {"Song_vocals.wav", "Song_drums.wav"}
    written = json.loads((tmp_path / "out" / "processing.json").read_text())
    assert written["preset_sha256"] == PRESET.digest()
    assert {file["path"] for file in written["files"]} == {"Song_vocals.wav", "Song_drums.wav"}


def test_a_step_that_was_left_out_is_told(stems, tmp_path):
    preset = tmp_path / "p.yaml"
    preset.write_text(
        "stems: {vocals: {}, drums: {chain: [{plugin: Nowhere}]}}\non_plugin_error: bypass\n"
    )
    words = ["process", *stems.values(), "--preset", preset, "--output", tmp_path / "out"]
    done = CliRunner().invoke(stemwright.main, [str(word) for word in words])
    assert done.exit_code == 0
    assert "left out: stems.drums.chain[0]: no plug-in 'Nowhere'" in done.stderr


def test_file_named_like_its_stem_has_no_title(stems, tmp_path):
    stems["drums"].rename(tmp_path / "drums.wav")
    with PluginRack(catalogue(tmp_path)) as rack:
        out = {"drums": tmp_path / "drums.wav"}
        report = process_stems(out, PRESET, tmp_path / "out", rack)
    assert [file.name for file in report.files] == ["drums.wav"]


def test_existing_folder_is_kept_unless_it_is_ours_and_asked(stems, tmp_path):
    with PluginRack(catalogue(tmp_path)) as rack:
        process_stems(stems, PRESET, tmp_path / "out", rack)
        with pytest.raises(StemwrightError, match="exists"):
            process_stems(stems, PRESET, tmp_path / "out", rack)
        process_stems(stems, PRESET, tmp_path / "out", rack, replace=True)
        (tmp_path / "precious").mkdir()
        with pytest.raises(StemwrightError, match="something else"):
            process_stems(stems, PRESET, tmp_path / "precious", rack, replace=True)
    assert not list(tmp_path.glob(".*")), "nothing unfinished is left"


def test_preset_is_given_again_only_when_a_save_changes_it(tmp_path):
    base, child = tmp_path / "base.yaml", tmp_path / "child.yaml"
    base.write_text("stems:\n  drums: {}\n")
    child.write_text("extends: base.yaml\n")
    edits = iter(
        [
            lambda: None,
            lambda: child.write_text("extends: base.yaml\n# a comment\n"),
            lambda: child.write_text("extends: base.yaml\ntail_seconds: -1\n"),
            lambda: child.write_text("extends: base.yaml\ntail_seconds: 2\n"),
            lambda: base.write_text("stems:\n  drums: {gain_db: 3}\n"),
            lambda: child.unlink(),
        ]
    )

    def wait():
        edit = next(edits, None)
        if edit:
            edit()
        return edit is not None

    seen = [
        str(found).split(":")[-1] if isinstance(found, StemwrightError) else
        (found.tail_seconds, found.stems["drums"].gain_db)
        for found in saved_presets(child, wait)
    ]  # fmt: skip
    assert seen == [
        (0, 0), " must be at least 0, got -1", (2, 0), (2, 3), " no such preset file.",
    ]  # fmt: skip


def test_a_missing_stem_is_told_before_anything_is_made(tmp_path):
    with (
        PluginRack() as rack,
        pytest.raises(StemwrightError, match=r"gone\.wav: expected an audio file"),
    ):
        process_stems({"drums": tmp_path / "gone.wav"}, PRESET, tmp_path / "out", rack)
    assert not (tmp_path / "out").exists()
