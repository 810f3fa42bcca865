"""The arrows between the rooms, and torch in one room only."""

import ast
import functools
import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import modules_page

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "presets": set(),
    "engine": {"presets"},
    "hotfolder": {"engine", "presets"},
    "export": {"engine", "presets"},
}
ROOMS = set(MAY_IMPORT)
# The rooms of each package, the ground first; whoever stands in a row may import from the rows
# below it alone. "*" are the package's own modules, "." is its front door.
LAYERS = {
    "presets": [{"*"}, {"."}],
    "engine": [
        {"version"},
        {"audio"},
        {"model"},
        {"separation", "plugins", "separators", "voices"},
        {"stems"},
        {"evaluation", "daw"},
        {"listening"},
        {"*"},
        {"cli"},
        {"."},
    ],
    "hotfolder": [{"*"}, {"catalogue", "dashboard"}, {"cli"}, {"."}],
    "export": [{"synthesis"}, {"data"}, {"models"}, {"training"}, {"*"}, {"cli"}, {"."}],
}
# First words of docstrings that tell what a function does, where it should be told what to do.
TELLING = re.compile(
    r"(Adds|Answers|Asks|Begins|Brings|Builds|Calls|Checks|Claims|Closes|Compares|Creates|"
    r"Decides|Deletes|Does|Drops|Ends|Fills|Finds|Finishes|Forgets|Gets|Gives|Goes|Hears|"
    r"Holds|Keeps|Kills|Leaves|Lets|Listens|Loads|Logs|Looks|Makes|Marks|Moves|Notes|"
    r"Opens|Prints|Puts|Raises|Reads|Refuses|Removes|Renames|Reserves|Returns|Runs|Says|"
    r"Sends|Separates|Shows|Starts|Stops|Takes|Tells|Tries|Waits|Works|Writes|Yields)\b"
)
SOURCES = [path for room in sorted(ROOMS) for path in sorted((ROOT / room).rglob("*.py"))]


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path):
    """Every absolute import of a file, as (module, names)."""
    for node in ast.walk(tree_of(path)):
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
            assert module in (head, "engine.cli"), f"{module}: other rooms are entered by a door"
        if head in ("torch", "onnx"):
            assert room == "export", f"{head} outside export"


def relative_imports(path):
    """The modules that a file imports by a relative import, as files: a name behind a package's
    door counts as the door, a module by its own name as itself."""
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for alias in node.names:
            places = (base / f"{alias.name}.py", base / alias.name / "__init__.py",
                      base.with_suffix(".py"), base / "__init__.py")  # fmt: skip
            yield next(place for place in places if place.is_file())


def row_of(path):
    """The number of a file's row among the layers of its package, and its room."""
    package, *inside = path.relative_to(ROOT).with_suffix("").parts
    room = "." if inside == ["__init__"] else inside[0]
    rows = {name: number for number, row in enumerate(LAYERS[package]) for name in row}
    if room not in rows:
        assert len(inside) == 1, f"{package}/{room} is a new room: say in LAYERS where it stands"
        room = "*"
    return rows[room], room


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_imports_go_down_the_layers(path):
    row, room = row_of(path)
    for imported_path in relative_imports(path):
        below, other = row_of(imported_path)
        assert below < row or other == room, (
            f"{path.relative_to(ROOT)} imports {imported_path.relative_to(ROOT)}, which does not "
            "stand below it"
        )


def test_the_page_of_the_architecture_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    folders = {path.parent.relative_to(ROOT) for path in SOURCES if path.name == "__init__.py"}
    rooms = [f"{folder}/" for folder in sorted(folders) if f"`{folder}/`" not in page]
    assert rooms == ["engine/", "export/"], "these two are told by the rooms inside them"


def test_the_page_of_modules_is_what_they_say_of_themselves():
    assert modules_page.PAGE.read_text("utf-8") == modules_page.page(LAYERS), (
        "run: python tests/modules_page.py"
    )


def test_every_public_class_has_a_name_of_its_own():
    places = {}
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert places, "no classes found"
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


# Names that say nothing, or say it in pictures, where the field has words.
UNCLEAR = {"told", "given", "about", "others"}
PICTURES = {
    "audition", "depot", "descent", "dictionaries", "enquiry", "heeds", "kitchen", "orders",
    "presence", "seats", "tend", "told", "workshop",
}  # fmt: skip
NAMES_IN_FILES = {  # of what users keep: the judgement in a card, weights in a checkpoint
    "engine/evaluation/cross_likelihood.py": {"told_apart"},
    "export/models/estimator.py": {"others"},
}
PROGRAMS = [path for place in ("bench", "examples", "tests")
            for path in sorted((ROOT / place).glob("*.py"))]  # fmt: skip


def names_in(path):
    """Every name that a file gives to something of its own; those of tests are sentences."""
    yield path.stem
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("test"):
            yield node.name


@pytest.mark.parametrize("path", SOURCES + PROGRAMS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_names_are_the_fields_words(path):
    kept = NAMES_IN_FILES.get(path.relative_to(ROOT).as_posix(), set())
    for name in set(names_in(path)) - kept:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).strip("_").lower()
        assert words not in UNCLEAR and not PICTURES & set(words.split("_")), name


def test_audio_means_one_thing():
    """And so does every other name of a kind of array that several files have."""
    meanings = {}
    for path in SOURCES + PROGRAMS:
        for node in tree_of(path).body:
            if isinstance(node, ast.Assign) and "NDArray[" in ast.unparse(node.value):
                value = ast.unparse(node.value).replace("npt.", "")
                meanings.setdefault(node.targets[0].id, set()).add(value)
    assert meanings["Audio"] == {"NDArray[np.float32]"}
    assert {name: kinds for name, kinds in meanings.items() if len(kinds) > 1} == {}


OPENS = ("SoundFile", "ZipFile", "Popen", "LocalCluster")


def opens_something(call):
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    mode = ast.unparse(call.args[-1]) if call.args else ""
    return name in OPENS or (name == "open" and mode.strip("'") in ("r", "w", "rb", "wb", "ab"))


def closed_by_their_block(tree):
    """All that a `with` opens, or closes, or an exit stack; in a class that closes, everything."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            names = {item.context_expr.id for item in node.items
                     if isinstance(item.context_expr, ast.Name)}  # fmt: skip
            yield from (inner for item in node.items for inner in ast.walk(item.context_expr))
            yield from assigned_to(names, tree)
        elif isinstance(node, ast.Return) or is_closing(node):
            yield from ast.walk(node)


def is_closing(node):
    """A call that closes or hands over, or a class that can be closed."""
    if isinstance(node, ast.Call):
        return getattr(node.func, "attr", "") in ("enter_context", "close", "callback")
    if not isinstance(node, ast.ClassDef):
        return False
    return bool({"close", "__exit__", "kill"} & {getattr(each, "name", "") for each in node.body})


def assigned_to(names, tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in names:
            yield from ast.walk(node.value)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_what_is_opened_is_closed_by_its_block(path):
    closed = {id(node) for node in closed_by_their_block(tree_of(path))}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and opens_something(node):
            assert id(node) in closed, f"{path.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("*.py")), ids=lambda path: path.name)
def test_what_a_bench_takes_from_the_rooms_is_there(path):
    """Benches are run by hand, so a name that moved would be missed for long."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ROOMS:
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")


def loaded_with(path):
    """Names at the head of a file, which are loaded with it: (top-level name, path or None)."""
    for node in tree_of(path).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for name in names:
            head = name.split(".")[0]
            beside = [ROOT / room / f"{head}.py" for room in ("tests", "bench", ".")]
            yield head, next((file for file in beside if file.exists()), None)


def installed_for_tests():
    """Distributions that `make test` installs by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wanted = re.search(r"--editable \"\.\[([\w,]+)\]\" --group (\w+)", makefile)
    rows = [*project["project"]["dependencies"], *project["dependency-groups"][wanted[2]]]
    rows += [row for extra in wanted[1].split(",") for row in extras[extra]]
    return {re.match(r"[\w.-]+", row)[0].lower().replace("_", "-") for row in rows}


def test_what_tests_load_is_what_a_new_machine_has():
    """A developer's machine has the packages of all benches, and would not miss one."""
    files = sorted((ROOT / "tests").glob("*.py"))
    seen = set(files)
    names = {}
    while files:
        path = files.pop()
        for name, file in loaded_with(path):
            if file is None:
                names.setdefault(name, path.name)
            elif file not in seen:
                seen.add(file)
                files.append(file)
    foreign = names.keys() - sys.stdlib_module_names - ROOMS
    owners = packages_distributions()
    installed = installed_for_tests()
    missing = {
        name: names[name]
        for name in foreign
        if not installed & {o.lower().replace("_", "-") for o in owners.get(name, [name])}
    }
    assert "numpy" in foreign and missing == {}


def test_no_modules_import_each_other_in_a_circle():
    uses = {path: set(relative_imports(path)) for path in SOURCES}
    while leaves := [path for path, used in uses.items() if not used & uses.keys()]:
        for path in leaves:
            del uses[path]
    assert not uses, f"in circles, or above one: {sorted(str(p.relative_to(ROOT)) for p in uses)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_file_says_what_it_is(path):
    assert ast.get_docstring(tree_of(path))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_docstrings_of_functions_are_in_the_imperative(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            telling = TELLING.match(ast.get_docstring(node) or "")
            assert not telling, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_docstrings_of_classes_say_what_they_are(path):
    """A thing, not a deed: `A reader of ...`, where a function is told to `Read ...`."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ClassDef):
            telling = TELLING.match(ast.get_docstring(node) or "")
            assert not telling, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


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
