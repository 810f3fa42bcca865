"""Loads a preset by its name or its path, with everything that it extends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .effects import Convolution, Effect, Parallel
from .errors import StemwrightError
from .messages import describe_errors, dotted, suggestion
from .places import expanded
from .schema import Preset
from .strict_yaml import Document, Mark, read_strict
from .strict_yaml import Path as KeyPath

SHIPPED = Path(__file__).parent
FOLDERS_VARIABLE = "STEMWRIGHT_PRESETS"
MAX_EXTENDS = 8


def load_preset(name_or_path: str | Path) -> Preset:
    """The preset of this name, or in this file, whole and checked.

    A name is looked for in the folders of STEMWRIGHT_PRESETS, then among the shipped ones.
    """
    file = find_preset(name_or_path)
    document = _read(file, ())
    if isinstance(document.data, dict):
        document.data.setdefault("name", file.stem)
    try:
        preset = Preset.model_validate(document.data, strict=True)
    except ValidationError as error:
        raise _invalid(*describe_errors(error, document, Preset)) from None
    _check_files(preset, document)
    return preset


def placed(name_or_path: str | Path, message: str) -> str:
    """A message that begins with a path into the preset, with its line and column before it."""
    document = _read(find_preset(name_or_path), ())
    where = message.split(": ", 1)[0]
    found = [path for path in document.values if path and where.startswith(dotted(path))]
    return f"{document.key_mark(max(found, key=len))}: {message}" if found else message


def preset_names() -> list[str]:
    """Every name that `load_preset` knows, the shipped default first."""
    found = {file.stem for folder in _folders() for file in folder.glob("*.yaml")}
    return sorted(found, key=lambda name: (name != "default", name))


def find_preset(name_or_path: str | Path) -> Path:
    """The file of a preset; a `StemwrightError` with the names that exist when there is none."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith((".yaml", ".yml")) or os.sep in text:
        if Path(text).is_file():
            return Path(text)
        raise StemwrightError("preset-not-found", f"{text}: no such preset file.")
    for folder in _folders():
        if (folder / f"{text}.yaml").is_file():
            return folder / f"{text}.yaml"
    names = preset_names()
    hint = suggestion(text, names) or f" (there are {', '.join(names)})"
    raise StemwrightError("preset-not-found", f"no preset is called '{text}'{hint}")


def _folders() -> list[Path]:
    own = [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    return [*own, SHIPPED]


def _read(file: Path, chain: tuple[Path, ...]) -> Document:
    """The data of a file laid over the data of the file that it extends."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(1 << 17)
    except OSError as error:
        raise StemwrightError("preset-not-found", f"{file}: {error.strerror}") from None
    document = read_strict(raw, str(file))
    if not isinstance(document.data, dict):
        raise _invalid(f"{document.value_mark(())}: must be a mapping of `key: value` lines")
    _resolve_files(document.data, file.parent)
    if "extends" not in document.data:
        return document
    return _overlaid(_parent(document, file, chain), document)


def _parent(document: Document, file: Path, chain: tuple[Path, ...]) -> Document:
    mark, name = document.value_mark(("extends",)), document.data.pop("extends")
    if not isinstance(name, str):
        raise _invalid(f"{mark}: extends: must be the name or the path of a preset")
    is_path = name.endswith((".yaml", ".yml"))
    try:
        # A preset may carry the name of the shipped one that it extends.
        shipped = SHIPPED / f"{name}.yaml"
        own_name = not is_path and file.stem == name and shipped.is_file()
        parent = shipped if own_name else find_preset(file.parent / name if is_path else name)
    except StemwrightError as error:
        raise _invalid(f"{mark}: extends: {error.sentence}") from None
    ancestors = (*chain, file.resolve())
    if parent.resolve() in ancestors or len(ancestors) > MAX_EXTENDS:
        raise _invalid(f"{mark}: extends: '{name}' leads back to {file.name} or too far")
    inherited = _read(parent, ancestors)
    for key in ("name", "title", "description"):  # these are a preset's own
        inherited.data.pop(key, None)
    return inherited


def _overlaid(below: Document, above: Document) -> Document:
    """Mappings are merged, lists and values replaced; `stem: null` takes an inherited one away."""
    result = Document(below.data, dict(below.values), dict(below.keys))
    result.values[()] = above.values[()]
    _merge(result, above, result.data, above.data, ())
    return result


def _merge(
    result: Document, above: Document, old: dict[str, Any], new: dict[str, Any], path: KeyPath
) -> None:
    for key, value in new.items():
        here = (*path, key)
        if value is None and key in old:
            del old[key]
            continue
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            result.keys[here], result.values[here] = above.keys[here], above.values[here]
            _merge(result, above, old[key], value, here)
            continue
        old[key] = value
        _move_marks(result.values, above.values, here)
        _move_marks(result.keys, above.keys, here)


def _move_marks(into: dict[KeyPath, Mark], source: dict[KeyPath, Mark], path: KeyPath) -> None:
    inside = {at: mark for at, mark in source.items() if at[: len(path)] == path}
    for at in [at for at in into if at[: len(path)] == path]:
        del into[at]
    into.update(inside)


def _resolve_files(data: Any, folder: Path) -> None:  # noqa: ANN401
    """Files that a preset names lie beside it; afterwards their paths are absolute."""
    if isinstance(data, tuple):
        for item in data:
            _resolve_files(item, folder)
    elif isinstance(data, dict):
        named = {"effect": "impulse_response_filename", "plugin": "state"}
        for kind, key in named.items():
            if kind in data and isinstance(data.get(key), str) and data[key]:
                data[key] = str((folder / expanded(data[key])).resolve())
        # a plug-in is a name, or a path beside the preset
        plugin = data.get("plugin")
        if isinstance(plugin, str) and ("/" in plugin or "\\" in plugin):
            data["plugin"] = str((folder / expanded(plugin)).resolve())
        for value in data.values():
            _resolve_files(value, folder)


def _check_files(preset: Preset, document: Document) -> None:
    missing = []
    for path, chain in preset.chains().items():
        keys: KeyPath = tuple(path.split("."))
        for step_path, step in _located(keys, chain):
            for file in step.files:
                if not Path(file).is_file():
                    key = "impulse_response_filename" if isinstance(step, Convolution) else "state"
                    at = (*step_path, key)
                    missing.append(f"{document.value_mark(at)}: {dotted(at)}: no file {file}")
    if missing:
        raise _invalid(*missing)


def _located(path: KeyPath, chain: tuple[Effect, ...]) -> list[tuple[KeyPath, Effect]]:
    found: list[tuple[KeyPath, Effect]] = []
    for index, step in enumerate(chain):
        found.append(((*path, index), step))
        if isinstance(step, Parallel):
            for branch, inner in enumerate(step.parallel):
                found += _located((*path, index, "parallel", branch), inner)
    return found


def _invalid(*lines: str) -> StemwrightError:
    return StemwrightError("preset-invalid", *lines)
