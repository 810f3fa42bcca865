"""The command line is consistent, its help is whole, and what the docs tell to type is right."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import stemwright
from help_page import help_of, page, verbs

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = dict(verbs())
LEAVES = {words: verb for words, verb in VERBS.items() if not isinstance(verb, click.Group)}
by_name = pytest.mark.parametrize("words", VERBS, ids=" ".join)
by_leaf = pytest.mark.parametrize("words", LEAVES, ids=" ".join)


def options(verb):
    return [each for each in verb.params if isinstance(each, click.Option)]


def test_the_page_of_the_command_line_is_what_help_prints():
    wanted = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    assert page() == wanted, "run: python tests/help_page.py > docs/command-line.md"


def test_no_summary_is_cut():
    groups = [(), *(words for words, verb in VERBS.items() if isinstance(verb, click.Group))]
    for words in groups:
        assert "..." not in help_of(words).split("Commands:")[-1].split("Options:")[-1], words


@by_name
def test_every_option_says_what_it_is_for(words):
    silent = [option.opts for option in options(VERBS[words]) if not option.help]
    assert not silent


@by_leaf
def test_an_option_that_may_be_given_twice_says_so(words):
    repeated = [option for option in options(LEAVES[words]) if option.multiple]
    assert [o.opts for o in repeated if "may repeat" not in o.help] == []
    single = [option for option in options(LEAVES[words]) if not option.multiple]
    assert [o.opts for o in single if "may repeat" in (o.help or "")] == []


@by_leaf
def test_a_first_sentence_ends_where_its_paragraph_ends(words):
    """One that runs on is cut in the list of verbs; one that stands alone says enough."""
    first = (LEAVES[words].help or "").strip().split("\n\n")[0]
    assert first.endswith(".") and first.count(". ") == 0, first


@by_leaf
def test_one_option_is_spelt_and_means_the_same_for_every_verb(words):
    known = {name: option for option in options(LEAVES[words]) for name in option.opts}
    assert "--out" not in known
    if output := known.get("--output"):
        assert output.opts == ["-o", "--output"]
    if priors := known.get("--priors"):
        assert priors.multiple, "--priors is where to search, never where to write"


def test_verbs_of_the_hot_folder_stand_together():
    text = help_of([])
    section = text.split("The hot folder:")[1].split("\n\n")[0]
    assert re.findall(r"^  (\w+) ", section, re.M) == [
        "watch", "dashboard", "status", "explain", "retry", "cancel", "forget", "pause", "resume",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "today"),
    [
        (["prior", "export", "RUN", "--out", "x.prior"], "--output"),
        (["prior", "heads", "a=b", "--out=run"], "--output"),
        (["prior", "train", "--stem", "x", "takes", "--tune", "x.prior"], "--begin-from"),
        (["preset", "check", "default", "--rate", "48000"], "--sample-rate"),
        (["prior", "train", "--stem", "x", "takes", "--out", "run"], "--output"),
        (
            ["prior", "make", "r.yaml", "--recordings", "t", "--out", "o", "--priors", "p"],
            "--into",
        ),
        (["prior", "render", "folder", "--songs", "1", "--stem", "bass"], "-o folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_old_spellings_work_with_a_hint(words, today, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(stemwright.main, words)
    assert f"{today}" in done.stderr
    assert "until the next release" in " ".join(done.stderr.split())
    assert "No such option" not in done.stderr and "Missing" not in done.stderr


def commands_of(page):
    """What a page tells to type, line by line."""
    for kind, block in re.findall(
        r"```(sh|console|bash)\n(.*?)```", page.read_text("utf-8"), re.S
    ):
        prompted = kind == "console"
        for line in block.replace("\\\n", " ").splitlines():
            text = line.removeprefix("$ ") if prompted else line.strip()
            if text.startswith("stemwright ") and (not prompted or line.startswith("$ ")):
                yield text


TYPED = [(page, line) for page in PAGES for line in commands_of(page)]


@pytest.mark.parametrize(("page", "line"), TYPED, ids=lambda value: getattr(value, "name", value))
def test_what_the_docs_tell_to_type_is_understood(page, line):
    words = shlex.split(line, comments=True)[1:]
    for end in ("|", ">", "&&", ";", "&"):
        words = words[: words.index(end)] if end in words else words
    group, ctx = stemwright.main, click.Context(stemwright.main, info_name="stemwright")
    while isinstance(group, click.Group):
        while words[0] in ("-v", "--verbose", "--version"):
            words = words[1:] or ["doctor"]
        name = words.pop(0)
        assert name in group.commands, f"{page.name}: {line}: no verb {name}"
        group = group.commands[name]
        if isinstance(group, click.Group) and not words:
            return
        if not isinstance(group, click.Group):
            group.make_context(name, words, parent=ctx)  # raises UsageError for what is wrong


def test_the_docs_tell_enough_to_be_worth_the_test():
    assert len(TYPED) >= 25


def test_what_the_docs_tell_to_make_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    targets_named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text("utf-8"), re.M)
    }
    assert targets_named and targets_named <= targets
