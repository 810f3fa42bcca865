"""Mixes that are sound but odd, through the whole program: real processes, real sets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio.wave_header import FileFormat, wav_header

ROOT = Path(__file__).parent.parent
RATE = 44100
LATIN_1 = os.fsdecode(b"caf\xe9")  # bytes that are no UTF-8


@pytest.fixture
def tiny(tmp_path, tiny_prior_folder):
    """Options that separate within a second or two."""
    preset = tmp_path / "tiny.yaml"
    preset.write_text(
        "name: tiny\nstems:\n  low: {}\n  high: {}\nsearch: {steps: 2}\n", encoding="utf-8"
    )
    return ("--preset", preset, "--priors", tiny_prior_folder, "--device", "cpu")


def stemwright(*words, **environment):
    command = [sys.executable, "-m", "stemwright", *map(os.fsencode, words)]
    done = subprocess.run(
        command, capture_output=True, cwd=ROOT, timeout=300, env=os.environ | environment
    )
    done.stdout, done.stderr = (out.decode("utf-8") for out in (done.stdout, done.stderr))
    return done


def tones(frames=30000, channels=2):
    time = np.arange(frames)[:, None] / RATE
    noise = np.random.default_rng(0).normal(0, 0.02, (frames, channels))
    return 0.1 * np.sin(2 * np.pi * 110 * time) + 0.1 * np.sin(2 * np.pi * 5000 * time) + noise


def published(done):
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    folder = Path(manifest["folder"])
    stems = {file["stem"]: soundfile.read(folder / file["path"])[0] for file in manifest["files"]}
    return manifest, folder, stems


@pytest.mark.parametrize("mask", [0x4, 0x80000000])
def test_both_channels_of_stereo_are_separated_whatever_its_mask_says(tmp_path, tiny, mask):
    integers = np.rint(tones() * 32767).astype("<i2")
    fmt = FileFormat("wav", "pcm", 16, 2, RATE, mask)
    mix = tmp_path / "mix.wav"
    mix.write_bytes(wav_header(fmt, (), integers.nbytes, 0) + integers.tobytes())
    manifest, folder, stems = published(
        stemwright("separate", mix, "-o", tmp_path / "out", *tiny, "--json")
    )
    assert np.abs(stems["residual"]).max() < 0.001
    assert f"0x{mask:X}" in json.loads((folder / "manifest.json").read_text())["input"]["notes"][0]
    shown = stemwright("separate", mix, "-o", tmp_path / "again", *tiny)
    assert f"note    its channel mask 0x{mask:X} does not fit its 2 channels" in shown.stdout
    assert manifest["null_dbfs"] is None


def test_a_mono_mix_of_one_side_is_separated(tmp_path, tiny):
    integers = np.rint(tones(channels=1) * 32767).astype("<i2")
    fmt = FileFormat("wav", "pcm", 16, 1, RATE, 0x1)
    mix = tmp_path / "mix.wav"
    mix.write_bytes(wav_header(fmt, (), integers.nbytes, 0) + integers.tobytes())
    _, _, stems = published(stemwright("separate", mix, "-o", tmp_path / "out", *tiny, "--json"))
    assert np.abs(stems["residual"]).max() < 0.001


def test_a_float_mix_becomes_a_set_of_32_bit_floats(tmp_path, tiny):
    mix = tmp_path / "mix.wav"
    audio = tones().astype(np.float32) * np.float32(1.7)
    soundfile.write(mix, audio, RATE, subtype="FLOAT")
    manifest, folder, stems = published(
        stemwright("separate", mix, "-o", tmp_path / "out", *tiny, "--json")
    )
    kinds = {soundfile.info(folder / file["path"]).subtype for file in manifest["files"]}
    assert kinds == {"FLOAT"}
    assert list(stems) == ["low", "high", "residual"]
    np.testing.assert_array_equal(sum(stems.values()), audio)
    assert np.abs(stems["residual"]).max() < 2.0**-23


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
@pytest.mark.parametrize(
    ("name", "environment"),
    [
        pytest.param(LATIN_1, {}, marks=pytest.mark.slow),
        (LATIN_1, {"LC_ALL": "C"}),
        pytest.param("café ♫", {"LC_ALL": "C"}, marks=pytest.mark.slow),
        ("café ♫", {"LC_ALL": "C", "PYTHONUTF8": "0"}),
    ],
)
def test_names_that_are_not_utf8_go_through_every_verb(tmp_path, tiny, name, environment):
    folder = tmp_path / name  # the folders are called so as well
    folder.mkdir()
    mix = folder / f"{name}.wav"
    soundfile.write(os.fsencode(mix), tones(), RATE, format="WAV")
    done = stemwright("separate", mix, "-o", folder / "out", *tiny, "--json", **environment)
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "out").iterdir()
    stems = sorted((made / "dry").iterdir())
    done = stemwright("null", mix, *stems, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "exact" in done.stdout
    batch_folder = folder / "sets"
    mixes = folder / "mixes"
    mixes.mkdir()
    (mixes / mix.name).symlink_to(mix)
    done = stemwright("batch", mixes / "*.wav", "-o", batch_folder, *tiny, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    done = stemwright("verify", folder / "sets", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    wet = folder / "wet"
    named = [f"{stem}={file}" for stem, file in zip(("drums", "bass"), stems, strict=False)]
    done = stemwright("process", *named, "--preset", "rock", "--output", wet, **environment)
    assert done.returncode == 0, done.stderr
    assert len(list(wet.rglob("*.wav"))) == 2


@pytest.mark.parametrize("extra", ["residual: {into: high}", "search: {steps: 2, output: raw}"])
def test_a_float_mix_whose_remainder_is_a_signal_keeps_32_bits_in_dry_and_wet(
    tmp_path, tiny, extra
):
    preset = tmp_path / "tiny.yaml"
    preset.write_text(
        "name: tiny\nstems:\n  low: {chain: [{effect: Gain, gain_db: -3}]}\n  high: {}\n"
        f"{extra if 'search' in extra else extra + chr(10) + 'search: {steps: 2}'}\n",
        encoding="utf-8",
    )
    mix = tmp_path / "mix.wav"
    audio = tones().astype(np.float32)
    soundfile.write(mix, audio, RATE, subtype="FLOAT")
    done = stemwright("separate", mix, "-o", tmp_path / "out", *tiny, "--json")
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    dry = [file for file in manifest["files"] if file["kind"] == "dry"]
    paths = [Path(manifest["folder"]) / file["path"] for file in dry]
    assert {soundfile.info(path).subtype for path in paths} == {"FLOAT"}
    np.testing.assert_array_equal(sum(soundfile.read(path)[0] for path in paths), audio)
    assert manifest["null_dbfs"] is None
