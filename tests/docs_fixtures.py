"""Reads the fenced blocks of the docs and runs what they tell to type, in a scratch folder.

A block of commands (`sh`, or `console` with what is answered) is run as it stands, in bash, page
by page. What a comment right above a block may say:

    <!-- not run: REASON -->     why it cannot be, or need not be
    <!-- slow -->                it is run by `make test-all` alone
    <!-- first: COMMAND -->      what has to be there
    <!-- until: PATH -->         a command that never ends is interrupted once this is there
    <!-- ends with: CODE -->     the exit code of its last command
    <!-- file: NAME as KIND -->  a file (YAML): it is checked as what it is, and kept for the next
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
TYPED = ("sh", "bash", "console")
DIRECTIVE = re.compile(r"<!-- (not run|slow|first|until|ends with|file)(?:: (.*))? -->")
NEVER_ENDS = re.compile(r"stemwright watch (?!.*--(once|dry-run))|--watch-preset")
TAKES_LONG = re.compile(r"--tier best")
LIMIT_S = 600


@dataclass
class Block:
    """One fenced block, and what the comments above it say."""

    page: Path
    line: int
    language: str
    text: str
    said: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self):
        return f"{self.page.name}:{self.line}"

    @property
    def is_slow(self):
        return "slow" in self.said

    @property
    def reason(self):
        """Why it is not run; None where it is."""
        return self.said.get("not run", [None])[0]

    def commands(self):
        """Every command with the lines that are answered to it (none for `sh`)."""
        lines = self.text.replace("\\\n", "\\\0").splitlines()
        found = []
        for line in (each.replace("\\\0", "\\\n") for each in lines):
            if self.language != "console":
                found += [(line, [])] if line.strip() else []
            elif line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                found[-1][1].append(line)
        return found


def blocks_of(page):
    """The blocks of a page in their order."""
    said, opened, found = {}, None, []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if opened is None and (fence := re.fullmatch(r"```(\w*)", line.strip())):
            opened = Block(page, number, fence[1], "", said)
        elif opened is not None and line.strip() == "```":
            found.append(opened)
            opened, said = None, {}
        elif opened is not None:
            opened.text += line + "\n"
        elif directive := DIRECTIVE.fullmatch(line.strip()):
            said.setdefault(directive[1], []).append(directive[2])
        else:
            said = {}
    return found


class Studio:
    """A scratch folder with a short song, a list, and a shell that finds the program."""

    def __init__(self, folder):
        self.folder = folder
        self.tools = folder.parent / f"{folder.name}-bin"
        for place in (self.tools, folder / "examples", folder / "archive" / "mixes"):
            place.mkdir(parents=True)
        for name, words in (("stemwright", "-m stemwright"), ("python", "")):
            script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n'
            (self.tools / name).write_text(script)
            (self.tools / name).chmod(0o755)
        example = ROOT / "examples" / "mix.flac"
        (folder / "examples" / "mix.flac").symlink_to(example)
        audio, rate = soundfile.read(example, dtype="int16", frames=52_920, start=4 * 44_100)
        for song in ("song.wav", "loop.flac", "archive/mixes/song.wav"):
            soundfile.write(folder / song, audio, rate)
        for stem in ("vocals", "drums"):
            soundfile.write(folder / f"song_{stem}.wav", audio // np.int16(2), rate)
        (folder / "releases.csv").write_text("path,title\narchive/mixes/song.wav,Song\n")

    def type(self, command, until=None):
        """Run one command in bash; what it said, and its exit code."""
        # what the docs keep at a machine's root lies in the scratch folder
        command = re.sub(r"(?<=[\s=])/(archive|srv|shared)\b", rf"{self.folder}/\1", command)
        environment = os.environ | {
            "PATH": f"{self.tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "COLUMNS": "200",
        }
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if until:
            _end_once_there(process, self.folder / until)
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return said.replace(f"{self.folder}/", ""), process.returncode

    def prepare(self, block):
        """Have there what a block needs."""
        for command in block.said.get("first", ()):
            said, code = self.type(command)
            assert code == 0, f"{block}: first {command}\n{said}"

    def work_through(self, block, with_slow):
        """Type a block line by line; raises AssertionError where it does not do as told."""
        self.prepare(block)
        commands = block.commands()
        for number, (command, answer) in enumerate(commands, 1):
            if TAKES_LONG.search(command) and not with_slow:
                continue
            until = block.said.get("until", [None])[0] if NEVER_ENDS.search(command) else None
            said, code = self.type(command, until)
            last = number == len(commands)
            wanted = int(block.said.get("ends with", [0])[0]) if last else 0
            assert code == wanted or until, f"{block}: {command}\nexit code {code}\n{said}"
            assert answers(answer, said), f"{block}: {command}\nit says\n{said}"


def answers(expected, said):
    """Whether a page tells what is really said; its `...` stands for any lines."""
    parts = [re.escape(line) if line.strip() != "..." else None for line in expected]
    pattern = "".join("(?:.*\n)*?" if part is None else f"{part}\n" for part in parts)
    return not expected or re.fullmatch(pattern, said) is not None


def _end_once_there(process, path):
    end = time.monotonic() + LIMIT_S
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)  # SIGINT may be ignored: that is inherited
