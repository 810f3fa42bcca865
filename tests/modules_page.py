"""docs/modules.md from the first sentence of every module: `python tests/modules_page.py`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "modules.md"
PACKAGES = ("presets", "engine", "hotfolder", "export")
HEAD = """\
# Modules

Every module in one line, room by room, the ground of each package first; what the rooms are for
and which may import which says [architecture.md](architecture.md). Made of the modules' own first
sentences by `python tests/modules_page.py`.
"""


def page(layers):
    """The text of the page; `layers` are the rows of rooms of each package."""
    return "\n".join([HEAD, *(line for folder in rooms(layers) for line in table(folder))])


def rooms(layers):
    """The folders with modules, lower rooms first, a package's own modules in their row."""
    for package in PACKAGES:
        for room in (room for row in layers[package] for room in sorted(row)):
            folder = ROOT / package / ("" if room == "*" else room)
            if room != "." and folder.is_dir():
                yield folder


def table(folder):
    """A room's heading and its modules."""
    yield from (f"## {folder.relative_to(ROOT).as_posix()}/", "", "| module | is |", "|---|---|")
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            first = " ".join(said.partition("\n\n")[0].split()).replace("|", "\\|")
            yield f"| `{path.stem}` | {first} |"
    yield ""


if __name__ == "__main__":
    from test_architecture import LAYERS

    PAGE.write_text(page(LAYERS), "utf-8")
