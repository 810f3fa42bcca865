"""Which plug-ins there are: folders, names, parameters and health, each found out in a child."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from presets import Plugin, StemwrightError, expanded, home_folder, suggestion

from .client import MISDEEDS, PluginClient, PluginFailedError
from .messages import InstanceRequest, ParameterFacts, PluginInspection
from .store import PluginStore, default_store

FOLDERS_VARIABLE = "STEMWRIGHT_PLUGINS"
SUFFIXES = (".vst3", ".component")
# pedalboard asks for a thousand values of every parameter; ZamVerb loads a room for each.
INSPECTION_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class PluginCatalogue:
    """The plug-ins that may be loaded: those in `folders`, and what `store` remembers of them."""

    folders: Sequence[Path] = field(default_factory=lambda: plugin_folders())
    store: PluginStore = field(default_factory=default_store)
    inspection_timeout_s: float = INSPECTION_TIMEOUT_S

    def files(self) -> list[Path]:
        """Every plug-in in the allowed folders; nothing is loaded for it."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for depth in ("*", "*/*"):
                for file in sorted(folder.glob(depth)):
                    if file.suffix in SUFFIXES and file.parent.suffix not in SUFFIXES:
                        found.setdefault(file.stem, file)
        return [found[name] for name in sorted(found, key=str.lower)]

    def find(self, name_or_path: str) -> Path:
        """The plug-in of that name or path, when it lies in an allowed folder."""
        if "/" in name_or_path or "\\" in name_or_path:
            return self._allowed(Path(name_or_path))
        by_name = {file.stem: file for file in self.files()}
        stem = name_or_path
        for suffix in SUFFIXES:
            stem = stem.removesuffix(suffix)
        if stem in by_name:
            return by_name[stem]
        looked = ", ".join(str(folder) for folder in self.folders) or "no folder exists"
        raise StemwrightError(
            "plugin-not-found",
            f"no plug-in '{name_or_path}'{suggestion(stem, by_name)}; looked in {looked}.",
        )

    def is_known(self, file: Path) -> bool:
        """Whether `inspect` remembers a file, and need not load it."""
        return _is_inspection(self.store.parameters(file))

    def inspect(self, file: Path, timeout_s: float | None = None) -> PluginInspection:
        """Name, version and parameters of all plug-ins in a file; remembered until it changes.

        It may be silent for `timeout_s`, or for `inspection_timeout_s` when it is looked at on
        purpose.
        """
        known = self.store.parameters(file)
        if not _is_inspection(known):
            self.refuse_quarantined(file)
            start = time.monotonic()
            with opened(self, file, timeout_s or self.inspection_timeout_s) as child:
                try:
                    found = child.inspect(host_request(file, None))
                except PluginFailedError as failure:
                    if timeout_s is None or failure.kind != "hung":
                        raise
                    raise PluginFailedError("hung", f"{failure}. {_patience(file)}") from None
            fresh: PluginInspection = {**found, "load_s": time.monotonic() - start}
            self.store.keep_parameters(file, fresh)
            return fresh
        return known

    def check(self, step: Plugin, where: str, timeout_s: float | None = None) -> None:
        """Refuse a step whose plug-in or parameters do not exist."""
        file = self.find(step.plugin)
        self.refuse_quarantined(file)
        plugins = self.inspect(file, timeout_s)["plugins"]
        names = [plugin["name"] for plugin in plugins]
        if step.plugin_name is None and len(plugins) > 1:
            raise _preset_error(f"{where}.plugin_name: is missing; there are {', '.join(names)}")
        if step.plugin_name is not None and step.plugin_name not in names:
            hint = suggestion(step.plugin_name, names) or f" among {', '.join(names)}"
            raise _preset_error(f"{where}.plugin_name: no '{step.plugin_name}'{hint}")
        plugin = plugins[names.index(step.plugin_name) if step.plugin_name else 0]
        for name, value in step.parameters.items():
            _check_value(plugin["parameters"], name, value, f"{where}.parameters.{name}")

    def refuse_quarantined(self, file: Path) -> None:
        """Refuse a plug-in that has failed too often."""
        if self.store.is_quarantined(file):
            reasons = self.store.failures(file)
            raise StemwrightError(
                "plugin-quarantined",
                f"plug-in {file.stem} is in quarantine: it failed {len(reasons)} times, the last "
                f"time it {reasons[-1]}. `stemwright plugin test {file.stem}` lets it out when it "
                "passes.",
            )

    def _allowed(self, path: Path) -> Path:
        real = expanded(str(path)).resolve()
        if not any(real.is_relative_to(folder.resolve()) for folder in self.folders):
            raise StemwrightError(
                "plugin-not-allowed",
                f"{path}: plug-ins are native code, so they are loaded from known folders only. "
                f"Put its folder into {FOLDERS_VARIABLE}.",
            )
        if not real.exists():
            raise StemwrightError("plugin-not-found", f"{path}: no such plug-in.")
        return real


def _patience(file: Path) -> str:
    return (
        f"If it is only slow to load, `stemwright plugin inspect {file.stem}` waits longer, once, "
        "and the time that it takes is known then"
    )


def _is_inspection(known: Any) -> TypeGuard[PluginInspection]:  # noqa: ANN401 - whatever lies there
    """Whether what lies in the memory is an inspection: the file may be anybody's."""
    try:
        assert known is not None
        float(known["load_s"])
        return all(
            isinstance(plugin["name"], str)
            and all(
                {"type", "range", "values"} <= parameter.keys()
                for parameter in plugin["parameters"].values()
            )
            for plugin in known["plugins"]
        ) and bool(known["plugins"])
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError):
        return False


def plugin_folders() -> tuple[Path, ...]:
    """The folders of STEMWRIGHT_PLUGINS and those where this system keeps plug-ins."""
    own = [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    homes = [home for home in [home_folder()] if home]
    if sys.platform == "win32":
        common = Path(os.environ.get("COMMONPROGRAMFILES", r"C:\Program Files\Common Files"))
        usual = [common / "VST3"]
    elif sys.platform == "darwin":
        audio = "Library/Audio/Plug-Ins"
        roots = [*(home / audio for home in homes), Path("/") / audio]
        usual = [root / kind for root in roots for kind in ("VST3", "Components")]
    else:
        own_folders = [home / ".vst3" for home in homes]
        usual = [*own_folders, Path("/usr/local/lib/vst3"), Path("/usr/lib/vst3")]
    return tuple(folder for folder in [*own, *usual] if folder.is_dir())


def host_request(file: Path, step: Plugin | None) -> InstanceRequest:
    """What the child has to know to make an instance."""
    return {
        "path": str(file),
        "binary": _linux_binary(file),
        "plugin_name": step.plugin_name if step else None,
        "parameters": dict(step.parameters) if step else {},
        "state": step.state if step else None,
    }


def plugin_error(file: Path, failure: PluginFailedError, where: str = "") -> StemwrightError:
    """The failure as a sentence with the plug-in's name and the place in the preset."""
    place = f"{where}: " if where else ""
    if failure.kind == "parameters":
        return _preset_error(f"{place}plug-in {file.stem}: {failure}")
    # Another attempt may help after a crash, and stops helping at the quarantine.
    again = failure.kind in ("crashed", "hung", "ended")
    message = f"{place}plug-in {file.stem} {str(failure).rstrip('.')}."
    return StemwrightError("plugin-failed", message, transient=again)


@contextlib.contextmanager
def opened(catalogue: PluginCatalogue, file: Path, timeout_s: float) -> Iterator[PluginClient]:
    """A child for questions about one file; a failure is remembered and told as a sentence."""
    child = PluginClient(timeout_s)
    try:
        yield child
    except PluginFailedError as failure:
        if failure.kind in MISDEEDS:
            catalogue.store.keep_failure(file, str(failure))
        raise plugin_error(file, failure) from None
    finally:
        child.close()


def _check_value(
    known: dict[str, ParameterFacts], name: str, value: bool | float | str, where: str
) -> None:
    if name not in known:
        hint = suggestion(name, known) or f" among {', '.join(known)}"
        raise _preset_error(f"{where}: no such parameter{hint}")
    parameter = known[name]
    if parameter["range"] and not isinstance(value, str):
        low, high = parameter["range"]
        if isinstance(value, bool) or not low <= value <= high:
            unit = f" {parameter['units']}" if parameter["units"] else ""
            raise _preset_error(f"{where}: must be {low:g} to {high:g}{unit}, got {value}")
    if parameter["values"] and value not in parameter["values"]:
        hint = suggestion(str(value), parameter["values"])
        shown = ", ".join(parameter["values"][:12])
        raise _preset_error(f"{where}: must be one of {shown}, got {value!r}{hint}")
    if parameter["type"] == "bool" and not isinstance(value, bool):
        raise _preset_error(f"{where}: must be true or false, got {value!r}")


def _preset_error(message: str) -> StemwrightError:
    return StemwrightError("preset-invalid", message)


def _linux_binary(file: Path) -> str | None:
    """The shared library inside a Linux bundle, for the loader's own error message."""
    if sys.platform != "linux":
        return None
    inner = file / "Contents" / f"{platform.machine()}-linux" / f"{file.stem}.so"
    return str(inner) if inner.is_file() else None
