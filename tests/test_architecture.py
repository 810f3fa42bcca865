"""The arrows between the rooms, and torch in one room only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "presets": set(),
    "engine": {"presets"},
    "hotfolder": {"engine", "presets"},
    "export": {"engine", "presets"},
}
ROOMS = set(MAY_IMPORT)
SOURCES = [path for room in sorted(ROOMS) for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path):
    """Every absolute import of a file, as (module, names)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, tuple(alias.name for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_imports_follow_the_arrows(path):
    room = path.relative_to(ROOT).parts[0]
    for module, _ in imported(path):
        head = module.split(".")[0]
        assert head != "stemwright", "nothing imports the command line"
        if head in ROOMS - {room}:
            assert head in MAY_IMPORT[room], f"{room} may not import {head}"
            assert module == head, f"{module}: other rooms are entered by the front door"
        if head in ("torch", "onnx"):
            assert room == "export", f"{head} outside export"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_file_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("words", ["import stemwright", "import engine, presets, hotfolder"])
def test_importing_loads_nothing_heavy(words):
    heavy = "{'torch', 'onnx', 'onnxruntime', 'pedalboard', 'distributed'}"
    code = f"import sys; {words}; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == ""


def test_no_pickle_is_read_anywhere():
    for path in SOURCES:
        modules = {module for module, _ in imported(path)}
        assert not modules & {"pickle", "joblib", "dill"}, path
        assert "torch.load" not in path.read_text(encoding="utf-8"), path
