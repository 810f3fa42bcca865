"""The command line as a user meets it: real processes, exit codes, one sentence per mistake."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import stemwright as program

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "mix.flac"


def stemwright(*words, cwd=None):
    command = [sys.executable, "-m", "stemwright", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd or ROOT, timeout=300)


def one_sentence(done):
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("stemwright: ")
    return lines[0]


@pytest.fixture
def short(tmp_path):
    """Two seconds of the example."""
    audio, rate = soundfile.read(EXAMPLE, dtype="int16", frames=2 * 44100)
    soundfile.write(tmp_path / "short.wav", audio, rate)
    return tmp_path / "short.wav"


def test_help_names_every_verb():
    done = stemwright("--help")
    assert done.returncode == 0
    for verb in ("separate", "watch", "batch", "null", "prior", "preset", "plugin", "doctor"):
        assert verb in done.stdout


def test_separate_writes_a_set_that_nulls(tmp_path, short):
    words = ("--preset", "dry", "--tier", "draft", "--json")
    done = stemwright("separate", short, "-o", tmp_path / "out", *words)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    folder = Path(manifest["folder"])
    assert folder == tmp_path / "out" / "short"
    stems = {file["stem"] for file in manifest["files"]}
    assert stems == {"vocals", "bass", "drums", "other", "residual"}
    mix, _ = soundfile.read(short, dtype="int16")
    total = sum(
        soundfile.read(folder / f["path"], dtype="int16")[0].astype(int) for f in manifest["files"]
    )
    assert np.array_equal(total, mix)
    files = [folder / f["path"] for f in manifest["files"]]
    nulled = stemwright("null", short, *files)
    assert nulled.returncode == 0
    assert "exact" in nulled.stdout


def test_table_says_what_was_made(tmp_path, short):
    done = stemwright(
        "separate", short, "-o", tmp_path / "out", "--tier", "draft", "--preset", "dry"
    )
    for word in ("vocals", "residual", "null", "exact", "real-time factor", "manifest.json"):
        assert word in done.stdout


def test_every_bad_mix_is_one_sentence_and_leaves_nothing(tmp_path, short):
    kinds = ("missing", "text", "empty", "cut", "nan", "folder")
    missing, text, empty, cut, nan, folder = bad = [tmp_path / f"{kind}.wav" for kind in kinds]
    assert not missing.exists()
    text.write_text("this is text\n" * 100)
    empty.touch()
    cut.write_bytes(short.read_bytes()[:100_000])
    soundfile.write(nan, np.full((999, 1), np.inf), 44100, subtype="FLOAT")
    folder.mkdir()
    done = stemwright("separate", *bad, "-o", tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    for mix, line in zip(bad, done.stderr.splitlines(), strict=True):
        assert line.startswith(f"stemwright: {mix}: ")
    assert not list(tmp_path.glob("out/**/*"))


def test_one_bad_mix_does_not_stop_the_next(tmp_path, short):
    done = stemwright(
        "separate", tmp_path / "none.wav", short, "-o", tmp_path / "out", "--tier", "draft"
    )
    assert done.returncode == 1
    assert "none.wav" in done.stderr
    assert (tmp_path / "out" / "short" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--preset", "polka"), "polka"),
        (("--device", "abacus"), "abacus"),
        (("--device", "cuda", "--strict-device"), "cuda"),
    ],
)
def test_wrong_names_are_told(tmp_path, short, words, message):
    assert message in one_sentence(stemwright("separate", short, "-o", tmp_path / "out", *words))


def test_unknown_and_damaged_priors_are_told(tmp_path, short):
    preset = tmp_path / "p.yaml"
    preset.write_text("name: p\nstems:\n  theremin: {}\n", encoding="utf-8")
    assert "theremin" in one_sentence(stemwright("separate", short, "--preset", preset))
    folder = tmp_path / "priors"
    folder.mkdir()
    with zipfile.ZipFile(folder / "theremin.prior", "w") as bundle:
        bundle.writestr("card.json", "{}")
    done = stemwright("separate", short, "--preset", preset, "--priors", folder)
    assert "theremin.prior" in one_sentence(done)


def test_output_that_cannot_be_written_is_told(tmp_path, short):
    blocker = tmp_path / "file"
    blocker.write_text("I am no folder")
    sentence = one_sentence(
        stemwright("separate", short, "-o", blocker / "out", "--tier", "draft")
    )
    assert "cannot write" in sentence


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("prior", "sample", "bass", "--seconds", 0.2, "-o", "none/x.wav"), "none/x.wav"),
        (("prior", "sample", "bass", "--seconds", 0.2, "-o", "x.ogg"), "x.ogg"),
        (("prior", "export", "none", "--output", "x.prior"), "none"),
        (("batch", "mixes", "-o", "file/out"), "file/out"),
        (("batch", "mixes", "-o", "out", "--state", "file/state"), "file/state"),
        (("watch", "file/studio", "--once"), "file/studio"),
    ],
)
def test_places_that_are_not_there_are_the_users_to_mend(tmp_path, short, words, place):
    (tmp_path / "file").write_text("I am no folder")
    (tmp_path / "mixes").mkdir()
    short.rename(tmp_path / "mixes" / short.name)
    command = [sys.executable, "-m", "stemwright", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert place in one_sentence(done)


def test_wrong_usage_is_exit_code_two(short):
    assert stemwright("sepparate").returncode == 2
    for words, message in (
        (("separate",), "Missing argument"),
        (("separate", short, "--threads", -1), "is not in the range"),
        (("separate", short, "--seed", -1), "is not in the range"),
        (("prior", "sample", "bass", "-o", "x.wav", "--seed", -1), "is not in the range"),
        (("batch", short.parent, "-o", "out", "--jobs", 65), "is not in the range"),
    ):
        done = CliRunner().invoke(program.main, [str(word) for word in words])
        assert (done.exit_code, message in done.stderr) == (2, True)


def test_doctor_tells_the_device_of_a_real_session():
    done = stemwright("doctor", "--json")
    facts = json.loads(done.stdout)
    assert facts["device"]["got"] == "cpu"
    assert facts["problems"] == []
    assert stemwright("doctor", "--device", "cuda").returncode == 1


def test_priors_are_listed_and_verified():
    listed = stemwright("prior", "list", "--json").stdout.splitlines()
    assert {"vocals", "bass", "drums", "other"} <= {json.loads(line)["name"] for line in listed}
    assert stemwright("prior", "verify", "bass").returncode == 0
    assert '"licence"' in stemwright("prior", "show", "bass").stdout


def test_priors_of_another_folder_are_listed_shown_and_verified(tiny_prior_folder):
    there = ("--priors", tiny_prior_folder)
    listed = stemwright("prior", "list", *there, "--json").stdout.splitlines()
    paths = {row["name"]: row["path"] for row in map(json.loads, listed)}
    assert paths["low"] == str(tiny_prior_folder / "low.prior")
    assert '"stem": "low"' in stemwright("prior", "show", "low", *there).stdout
    assert "self-tests pass" in stemwright("prior", "verify", "low", *there).stdout
    assert "no prior is called 'low'" in one_sentence(stemwright("prior", "show", "low"))


def test_a_batch_keeps_a_deadline_for_every_mix(tmp_path, short, tiny_prior_folder):
    preset = tmp_path / "tiny.yaml"
    preset.write_text("name: tiny\nstems: {low: {}, high: {}}\nsearch: {steps: 3}\n")
    (tmp_path / "mixes").mkdir()
    short.rename(tmp_path / "mixes" / short.name)
    words = ("batch", tmp_path / "mixes", "-o", tmp_path / "out", "--preset", preset)
    words += ("--priors", tiny_prior_folder, "--jobs", 1, "--state", tmp_path / "state")
    assert stemwright(*words, "--deadline", 0).returncode == 0
    [manifest] = (tmp_path / "out").glob("*/manifest.json")
    degraded = json.loads(manifest.read_text())["degraded"]
    assert degraded == ["deadline: 0.0 of 3 steps per segment on average"]


def test_a_batch_tells_in_sentences_what_failed(tmp_path):
    (tmp_path / "mixes" / "disc 2").mkdir(parents=True)
    (tmp_path / "mixes" / "notes.wav").write_text("no music")
    (tmp_path / "mixes" / "disc 2" / "blank.wav").touch()
    words = ("batch", tmp_path / "mixes", "-o", tmp_path / "out", "--state", tmp_path / "state")
    done = stemwright(*words)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    codes = {"disc 2/blank.wav": "mix-empty", "notes.wav": "mix-not-audio"}
    failed = [line for line in lines if line.startswith("failed: ")]
    for (name, code), line in zip(codes.items(), sorted(failed), strict=True):
        assert line.startswith(f"failed: {tmp_path}/mixes/{name}: ")  # the path, and that once
        assert line.count(Path(name).name) == 1 and line.endswith(f"({code})")
    assert lines[-1].startswith("0 of 2 done, 2 failed")
    assert "ERROR" not in done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "out" / "summary.html")
    verbose = stemwright("-v", *words, "--retry-failed").stderr.splitlines()
    events = [json.loads(line)["event"] for line in verbose if line.startswith("{")]
    assert "quarantined" in events


def test_a_prior_is_trained_exported_and_used(tmp_path, short):
    """In processes of their own; how a run goes on is looked at in one (`test_music_training`)."""
    rate = 44100
    takes = tmp_path / "takes"
    takes.mkdir()
    rng = np.random.default_rng(1)
    for n in range(3):
        hum = np.sin(2 * np.pi * (100 + 20 * n) * np.arange(4 * rate) / rate)
        soundfile.write(
            takes / f"take{n}.wav", 0.3 * hum + 0.01 * rng.standard_normal(4 * rate), rate
        )
    run = tmp_path / "run"
    words = ("--output", run, "--threads", 1, "--no-head", "--steps", 2, "--batch", 4)
    trained = stemwright("prior", "train", "--stem", "hum", takes, *words)
    assert trained.returncode == 0, trained.stderr
    assert "3 recordings" in trained.stdout
    bundle = tmp_path / "priors" / "hum.prior"
    bundle.parent.mkdir()
    exported = stemwright("prior", "export", run, "--output", bundle)
    assert exported.returncode == 0, exported.stderr
    assert "equals torch" in exported.stdout
    preset = tmp_path / "hum.yaml"
    preset.write_text(
        "name: hum\nstems: {hum: {}}\nsearch: {steps: 2, guided_steps: 0, flow_weight: 1}\n"
    )
    done = stemwright(
        "separate", short, "-o", tmp_path / "o", "--preset", preset, "--priors", bundle.parent
    )
    assert done.returncode == 0, done.stderr


def test_untrained_folder_is_told(tmp_path):
    done = stemwright("prior", "export", tmp_path, "--output", tmp_path / "x.prior")
    assert "no training run" in one_sentence(done)
