"""The networks of bench/rivals, trained ones, through the same door as anybody's model."""

import shutil
from pathlib import Path

import pytest
import soundfile
import yaml
from click.testing import CliRunner

import separator_toys as toys
from engine import load_manifest, measure_null
from engine.separators.excerpt import computed_music
from engine.separators.loading import load_card
from engine.separators.lock import read_lock
from stemwright import main

RIVALS = Path(__file__).parents[1] / "bench" / "rivals"
FOUR = ("vocals", "bass", "drums", "other")


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, computed_music(48_000, 3.0).T, 48_000, subtype="PCM_24")
    return path


@pytest.mark.parametrize("network", ["interleaved", "demucs", "waveunet"])
def test_a_trained_network_is_checked_locked_and_separates_exactly(network, song, tmp_path):
    for suffix in (".yaml", ".onnx"):
        shutil.copy(RIVALS / f"{network}{suffix}", tmp_path)
    card = tmp_path / f"{network}.yaml"
    words = ("--music", song, "--seconds", 3, "--threads", 1)
    done = run("separator", "check", card, *words)
    assert done.exit_code == 0, done.output
    assert read_lock(load_card(card)) is not None
    stems = {stem: {"separator": network} for stem in FOUR}
    preset = tmp_path / "p.yaml"
    preset.write_text(yaml.safe_dump({"name": "p", "stems": stems}))
    argv = ("separate", song, "--preset", preset, "-o", tmp_path / "out", "--threads", 1)
    done = run(*argv, "--separators", tmp_path)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "out" / "song"
    manifest = load_manifest(folder)
    dry = [file for file in manifest.files if file.kind == "dry"]
    assert {file.stem for file in dry} >= {*FOUR, "residual"}
    assert measure_null(song, [folder / file.path for file in dry]).exact


def test_init_writes_the_card_of_the_interleaved_network_from_its_graph(tmp_path):
    shutil.copy(RIVALS / "interleaved.onnx", tmp_path / "mine.onnx")
    words = ["--licence", "my own", "--stems", ",".join(FOUR), "--sample-rate", 22_050]
    words += ["--n-fft", 2048, "--hop", 512]
    done = run("separator", "init", tmp_path / "mine.onnx", *words)
    assert done.exit_code == 0, done.output
    written, shipped = (
        load_card(path).card for path in (tmp_path / "mine.yaml", RIVALS / "interleaved.yaml")
    )
    for key in ("stems", "sample_rate", "stft", "inputs", "outputs"):
        assert getattr(written, key) == getattr(shipped, key), key
    assert toys.sha256(tmp_path / "mine.onnx") == shipped.files[0].sha256
