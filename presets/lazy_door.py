"""The front door of a room that opens a module when a name behind it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_door(package: str, homes: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """A package's `__getattr__`; `homes` says which names each of its modules gives.

    What one does not ask for is not loaded, so that `stemwright --help` is instant and a room
    can be entered without everything that it needs at work.
    """
    module_of = {name: module for module, names in homes.items() for name in names}

    def opened(name: str) -> Any:  # noqa: ANN401 - a door has every type
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        door = import_module(package)
        value = getattr(import_module(f".{module_of[name]}", package), name)
        setattr(door, name, value)
        return value

    return opened
