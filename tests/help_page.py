"""Prints docs/command-line.md: the help of every verb, as a terminal of 80 columns shows it.

python tests/help_page.py > docs/command-line.md
"""

import sys
from pathlib import Path

import click
from click.testing import CliRunner

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import stemwright  # noqa: E402 - where the sources are, the program is too

HEAD = """\
# The command line

Every verb with its options, printed by `python tests/help_page.py > docs/command-line.md`; a
test compares. `-o/--output` is where a verb puts what it makes, `--priors` another folder to
search for priors, for every verb that has them.
"""


def verbs(group=stemwright.main, path=()):
    """Every verb with the words that lead to it, groups before what is in them."""
    for name in group.list_commands(None):
        command = group.commands[name]
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from verbs(command, (*path, name))


def help_of(words):
    done = CliRunner().invoke(
        stemwright.main, [*words, "--help"], prog_name="stemwright", terminal_width=80
    )
    assert done.exit_code == 0, done.output
    return done.output


def page():
    parts = [HEAD, f"```text\n{help_of([])}```\n"]
    for words, _ in verbs():
        parts.append(f"## {' '.join(words)}\n\n```text\n{help_of(words)}```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
