"""Where a person's own files lie, and what happens to those who have no place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import stemwright
from engine import doctor
from engine.plugins.store import default_store
from hotfolder.root import state_folder
from presets import StemwrightError, expanded, home_folder, load_preset, user_folder

pwd = pytest.importorskip("pwd")  # POSIX
ROOT = Path(__file__).parent.parent
VARIABLES = ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "STEMWRIGHT_CACHE")
linux = pytest.mark.skipif(sys.platform != "linux", reason="XDG's own system")


@pytest.fixture
def homeless(monkeypatch):
    """A user of whom neither the environment nor the list of users knows a home."""

    def unknown(number):
        raise KeyError(number)

    for name in ("HOME", "USERPROFILE", "HOMEPATH", "LOCALAPPDATA", *VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_those_without_a_home_are_told_the_option(homeless, tmp_path):
    assert home_folder() is None
    assert [user_folder(kind) for kind in ("data", "state", "cache")] == [None] * 3
    with pytest.raises(StemwrightError, match=r"--state, or set XDG_STATE_HOME") as caught:
        state_folder(tmp_path)
    assert caught.value.code == "home-missing"
    assert state_folder(tmp_path, tmp_path / "own") == tmp_path / "own"
    store = default_store()
    assert store.failures(tmp_path) == [] and store.parameters(tmp_path) is None
    with pytest.raises(StemwrightError, match="STEMWRIGHT_CACHE, or set XDG_CACHE_HOME"):
        store.keep_parameters(tmp_path, {})


@linux
def test_xdg_variables_stand_in_for_a_home(homeless, monkeypatch, tmp_path):
    for name in VARIABLES[:3]:
        monkeypatch.setenv(name, str(tmp_path / name))
    assert user_folder("data") == tmp_path / "XDG_DATA_HOME" / "stemwright"
    assert state_folder(tmp_path).is_relative_to(tmp_path / "XDG_STATE_HOME")
    default_store().keep_failure(tmp_path, "crashed")
    assert list((tmp_path / "XDG_CACHE_HOME").rglob("*.failures.json"))


@linux
def test_a_relative_place_is_none(homeless, monkeypatch):
    for name in (*VARIABLES[:3], "HOME"):
        monkeypatch.setenv(name, "some/where")
    assert user_folder("state") is None


def test_a_home_that_nobody_has_is_a_sentence(tmp_path):
    with pytest.raises(StemwrightError, match="no such home folder"):
        expanded("~nobody-at-all/x")
    preset = tmp_path / "p.yaml"
    preset.write_text("stems: {drums: {chain: [{plugin: ~nobody-at-all/x.vst3}]}}\n")
    with pytest.raises(StemwrightError, match="no such home folder"):
        load_preset(preset)


NOBODY = """
import pwd

def unknown(number):
    raise KeyError(number)

pwd.getpwuid = unknown
"""


@linux
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["preset", "list"], 0),
        (["prior", "list"], 0),
        (["plugin", "list"], None),
        (["status", "hot"], 1),
        (["watch", "hot", "--once"], 1),
        (["batch", "mixes", "-o", "out"], 1),
        (["verify", "mixes"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_no_verb_needs_a_home_without_a_word(words, code, tmp_path):
    (tmp_path / "mixes").mkdir()
    (tmp_path / "mixes" / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOBODY)  # in every child, too
    places = os.pathsep.join(map(str, (tmp_path / "site", ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "stemwright", *words],
        capture_output=True, text=True, cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": places},
    )  # fmt: skip
    assert "bug" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code or (code is None and done.returncode in (0, 1)), done.stderr
    if words[0] in ("watch", "batch"):
        assert "Name a folder with --state, or set XDG_STATE_HOME" in done.stderr


def test_a_folder_that_is_named_in_vain_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("STEMWRIGHT_PRIORS", os.pathsep.join([str(tmp_path), "/no/such"]))
    [problem] = doctor.examine("auto", tmp_path)["problems"]
    assert problem.startswith("STEMWRIGHT_PRIORS names /no/such, which is no folder")
    words = ["prior", "list", "--priors", "/no/such"]
    assert CliRunner().invoke(stemwright.main, words).exit_code == 2


def test_one_damaged_prior_hides_no_other(tiny_prior_folder):
    words = ["prior", "verify", "nope", "low", "--priors", str(tiny_prior_folder)]
    done = CliRunner().invoke(stemwright.main, words)
    assert done.exit_code == 1
    assert "nope: no prior is called" in done.stderr and "low: hashes" in done.stdout
