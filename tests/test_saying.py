"""Nothing printed can fail a job, and no foreign text is obeyed by a terminal."""

import ast
import io
import json
import logging
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import stemwright
from presets import PrintableLines, StemwrightError, say, say_json, speaking

ROOT = Path(__file__).parent.parent
HOSTILE = "no\x1b[2Jsuch\x07\x9b\nall is well\u202e"
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def program(*words, **how):
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120} | how
    command = [sys.executable, "-m", "stemwright", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, check=False, **how)


@pytest.fixture
def mixes(tmp_path):
    """Two short mixes, one with a title that few terminals know."""
    (tmp_path / "tiny.yaml").write_text("stems: {low: {}, high: {}}\nsearch: {steps: 1}\n")
    noise = np.random.default_rng(0).normal(0, 0.1, (22_050, 2))
    found = [tmp_path / "song ♫ [b].wav", tmp_path / "two.wav"]
    for mix in found:
        soundfile.write(mix, noise, 44_100)
    return found


def separate(tmp_path, priors, *mixes):
    """The words that separate mixes with tiny priors."""
    words = ["separate", *mixes, "--preset", tmp_path / "tiny.yaml", "--priors", priors]
    return [str(word) for word in [*words, "--threads", 1, "-o"]]


def made(folder):
    return sorted(path.parent.name for path in folder.glob("*/manifest.json"))


# -- outlets -------------------------------------------------------------------------------------


class Broken(io.StringIO):
    """An end that takes no more."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def flush(self):
        raise self.error


@pytest.fixture
def outputs(monkeypatch):
    """Sets both outputs of this process, and gives what was said of the results."""

    def replace(out, err=None):
        err = err or io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return err

    return replace


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("I/O operation on closed file")]
)
def test_what_is_lost_is_told_once_and_fails_nothing(outputs, error):
    err = outputs(Broken(error))
    with speaking() as results:
        say("one")
        say("two")
    assert results.lost is error
    assert err.getvalue().count("could not be printed") == 1


def test_a_reader_that_has_enough_is_not_worth_a_word(outputs):
    err = outputs(Broken(BrokenPipeError(32, "Broken pipe")))
    with speaking():
        say("one")
    assert err.getvalue() == ""


def test_no_output_at_all_is_fine(outputs):
    outputs(None)
    with speaking():
        say("one")
        print("two")
        click.echo("three")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "utf-16"])
def test_letters_that_a_terminal_lacks_are_written_in_ascii(outputs, encoding):
    raw = io.BytesIO()
    outputs(io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    with speaking():
        say("Björk ♫")
        click.echo("♫")
    printed = raw.getvalue().decode(encoding)
    assert "Bj" in printed and "rk " in printed
    assert printed.count("♫" if encoding.startswith("utf") else r"\u266b") == 2


def test_the_outputs_are_given_back(outputs):
    out = io.StringIO()
    outputs(out)
    with pytest.raises(KeyError), speaking():
        raise KeyError
    assert sys.stdout is out


def test_json_is_told_in_printable_ascii(outputs):
    out = io.StringIO()
    outputs(out)
    value = {"name": HOSTILE + "\x7f\udcff"}
    say_json(value)
    assert json.loads(out.getvalue()) == value
    assert out.getvalue().rstrip("\n").isprintable() and out.getvalue().isascii()


def test_an_error_has_the_lines_that_we_gave_it():
    error = StemwrightError("x", f"{HOSTILE}: no such file.", "second line")
    assert len(str(error).splitlines()) == 2
    assert str(error).startswith(r"no\x1b[2Jsuch")


def test_a_log_line_is_one_line():
    record = logging.LogRecord("x", logging.INFO, "p", 1, "read %s", (HOSTILE,), None)
    assert PrintableLines("%(message)s").format(record).isprintable()


# -- the program ---------------------------------------------------------------------------------


@needs_full
@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes descriptors")
def test_every_mix_is_separated_wherever_the_output_goes(tmp_path, mixes, tiny_prior_folder):
    words = separate(tmp_path, tiny_prior_folder, *mixes)
    with FULL.open("w") as full:
        done = program(*words, tmp_path / "full", stdout=full)
    assert (done.returncode, len(made(tmp_path / "full"))) == (0, 2)
    assert b"No space left" in done.stderr and b"bug" not in done.stderr
    closed = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "stemwright"]
    command = [*closed, *map(str, [*words, tmp_path / "closed", "--json"])]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert len(made(tmp_path / "closed")) == 2
    for path in (tmp_path / "closed").rglob("*.wav"):
        assert path.read_bytes()[:4] == b"RIFF", "something was printed into a file"


def test_a_title_that_a_terminal_cannot_show_is_separated_and_told(
    tmp_path, mixes, tiny_prior_folder
):
    words = [*separate(tmp_path, tiny_prior_folder, mixes[0]), tmp_path / "out"]
    done = program(*words, env=os.environ | {"PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 0, done.stderr
    assert rb"song \u266b [b]_low.wav" in done.stdout


@needs_full
@pytest.mark.parametrize("words", [["preset", "list"], ["--help"], ["preset", "schema"]])
def test_a_verb_that_only_prints_says_when_it_could_not(words):
    with FULL.open("w") as full:
        done = program(*words, stdout=full)
    assert done.returncode == 1
    assert b"could not be printed" in done.stderr


def test_a_bug_stops_no_other_mix_and_the_truth_is_told(
    tmp_path, mixes, tiny_prior_folder, monkeypatch
):
    from engine.cli import terminal

    def broken(self, folder, manifest):
        raise RuntimeError("a table without legs")

    monkeypatch.setattr(terminal.Screen, "show", broken)
    words = [*separate(tmp_path, tiny_prior_folder, *mixes), str(tmp_path / "out")]
    done = CliRunner().invoke(stemwright.main, words)
    assert done.exit_code == 3
    assert len(made(tmp_path / "out")) == 2
    first, second = done.stderr.strip().splitlines()
    assert "a bug of ours: RuntimeError: a table without legs" in first
    assert f"Published before it, and whole: {tmp_path / 'out'}" in first
    assert "two" in second


# -- every verb ----------------------------------------------------------------------------------


def leaves(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name)


NEEDED = {
    ("process",): ["--output", HOSTILE],
    ("watch",): ["--dry-run"],
    ("batch",): ["--output", HOSTILE],
    ("null",): [HOSTILE],
    ("prior", "train"): [HOSTILE, "--stem", "x", "--output", HOSTILE],
    ("prior", "export"): ["--output", HOSTILE],
    ("prior", "heads"): ["--output", HOSTILE],
    ("prior", "make"): ["--recordings", HOSTILE, "--output", HOSTILE, "--into", HOSTILE],
    ("prior", "render"): ["--stem", HOSTILE, "--minutes", "1"],
    ("prior", "sample"): ["--output", HOSTILE],
    ("prior", "tune"): ["--output", HOSTILE],
    ("prior", "pack"): ["--output", HOSTILE],
    ("prior", "voices"): ["--output", HOSTILE, "--parts", "x"],
    ("separator", "estimate"): ["--output", HOSTILE],
}
NO_NAME = [("doctor",), ("preset", "list"), ("preset", "schema"), ("plugin", "list")]
NO_NAME += [("prior", "list")]


@pytest.mark.parametrize("verb", list(leaves(stemwright.main)), ids=" ".join)
def test_no_verb_prints_what_a_terminal_obeys(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = [] if verb in NO_NAME else [HOSTILE]
    for words in ([*verb, *name, *NEEDED.get(verb, [])], [*verb, "--" + HOSTILE]):
        done = CliRunner().invoke(stemwright.main, words, color=True)
        assert done.exit_code in (0, 1, 2), done.output
        assert not raw_controls(done.output)


@pytest.mark.parametrize("words", [[], ["preset"], ["--help"], ["batch", "-h"]])
def test_help_keeps_its_lines(words):
    done = CliRunner().invoke(stemwright.main, words)
    assert len(done.output.splitlines()) > 8 and "\\x0a" not in done.output


def raw_controls(text):
    lines = text.splitlines()
    if any(line.startswith("all is well") for line in lines):
        return ["a line of a foreign name"]
    return [letter for line in lines for letter in line if unicodedata.category(letter)[0] == "C"]


def test_presets_and_their_words_are_foreign(tmp_path, monkeypatch):
    name = "ev\x1b[2Jil"
    title = json.dumps(f"T{HOSTILE}")
    (tmp_path / f"{name}.yaml").write_text(
        f"name: evil\ntitle: {title}\ndescription: {title}\nstems: {{drums: {{}}}}\n"
    )
    (tmp_path / "other.yaml").write_text('name: "x\\e"\nstems: {"a\\nb": {}}\n"\\e": 1\n')
    monkeypatch.setenv("STEMWRIGHT_PRESETS", str(tmp_path))
    for words in (["list"], ["show", name], ["explain", name], ["check", "other", name]):
        done = CliRunner().invoke(stemwright.main, ["preset", *words], color=True)
        assert not raw_controls(done.output), words


def command_of(verb):
    command = stemwright.main
    for name in verb:
        command = command.commands[name]
    return command


DEMANDING = [
    verb
    for verb in leaves(stemwright.main)
    if any(isinstance(each, click.Option) and each.required for each in command_of(verb).params)
]


@pytest.mark.parametrize("verb", DEMANDING, ids=" ".join)
def test_an_option_that_is_required_is_asked_for(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    names = [
        "file" if getattr(each.type, "file_okay", True) else "folder"
        for each in command_of(verb).params
        if isinstance(each, click.Argument) and each.required
    ]
    done = CliRunner().invoke(stemwright.main, [*verb, *names])
    assert done.exit_code == 2
    assert "Missing option" in done.output


def test_everything_is_printed_in_one_place():
    """So that what holds for `say` holds for all: a print elsewhere would be a hole in it."""
    allowed = {
        "presets/saying.py",
        "engine/audio/decoder_process.py",  # a child that talks to its parent
        "export/voice_fitting.py",  # the same
        "engine/cli/terminal.py",  # rich, with every text made printable
        "hotfolder/catalogue/terminal.py",
    }
    found = set()
    for path in [*ROOT.glob("*.py"), *(p for r in ROOMS for p in (ROOT / r).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTERS:
                found.add(path.relative_to(ROOT).as_posix())
    assert found - allowed == set()


ROOMS = ("engine", "export", "hotfolder", "presets")
PRINTERS = {
    "print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "Console",
    "pprint", "traceback.print_exc", "warnings.warn",
}  # fmt: skip
