"""What this installation can do: packages, the device a session really gets, folders, space."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TypedDict

from presets import StemwrightError

from .model.prior import list_priors, prior_folders
from .model.sessions import Device, usable_cores
from .plugins.catalogue import plugin_folders
from .separators.loading import list_cards, load_card
from .separators.lock import read_lock
from .version import ENGINE_VERSION

_FOLDER_VARIABLES = (
    "STEMWRIGHT_PRESETS",
    "STEMWRIGHT_PRIORS",
    "STEMWRIGHT_PLUGINS",
    "STEMWRIGHT_SEPARATORS",
)
_PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "pedalboard", "soundfile", "soxr"),
    *("PyYAML", "watchdog", "pydantic", "click", "rich", "torch", "onnx"),
)


class DeviceFacts(TypedDict):
    """The device asked for, the one that a session got, and what the runtime was built for."""

    asked: str
    got: str | None
    compiled_in: list[str]


class Examination(TypedDict):
    """What `stemwright doctor` prints, under the names that it prints."""

    stemwright: str
    python: str
    system: str
    packages: dict[str, str | None]
    device: DeviceFacts
    threads: dict[str, int]
    priors: dict[str, str]
    prior_folders: list[str]
    separators: dict[str, str]
    plugin_folders: list[str]
    output: dict[str, str | int | None]
    problems: list[str]


def examine(device: str, output: Path) -> Examination:
    """Look at everything.

    `problems` lists what will not work, each with the next step.
    """
    packages = {name: _version(name) for name in _PACKAGES}
    priors = list_priors()
    problems = [*_package_problems(packages), *_named_in_vain()]
    got = None
    if not _package_problems(packages):
        got, trouble = _device(device, priors)
        problems += trouble
    separators, wrong = _separators()
    problems += wrong
    return {
        "stemwright": ENGINE_VERSION,
        "python": f"{platform.python_version()} ({sys.prefix})",
        "system": platform.platform(),
        "packages": packages,
        "device": {"asked": device, "got": got, "compiled_in": _compiled_in(packages)},
        "threads": {"cores": usable_cores(), "sessions_run_on": 1},
        "priors": {name: str(path) for name, path in priors.items()},
        "prior_folders": [str(folder) for folder in prior_folders()],
        "separators": separators,
        "plugin_folders": [str(folder) for folder in plugin_folders()],
        "output": {"folder": str(output), "free_bytes": _free(output)},
        "problems": problems,
    }


def _named_in_vain() -> list[str]:
    """Folders that a variable names and that are not there: nothing is found in them."""
    return [
        f"{variable} names {folder}, which is no folder: mount it, or take it out"
        for variable in _FOLDER_VARIABLES
        for folder in os.environ.get(variable, "").split(os.pathsep)
        if folder and not Path(folder).is_dir()
    ]


def _separators() -> tuple[dict[str, str], list[str]]:
    """Cards of one's own with their state; those that cannot be read are problems."""
    found, problems = {}, []
    for name, path in list_cards().items():
        try:
            loaded = load_card(path)
        except StemwrightError as error:
            problems.append(error.sentence)
            continue
        lock = read_lock(loaded)
        found[name] = (
            f"{path}, checked, {lock.seconds_per_minute:.0f} s a minute"
            if lock
            else f"{path}, not checked: stemwright separator check {name}"
        )
    return found, problems


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _package_problems(packages: dict[str, str | None]) -> list[str]:
    """The two runtimes overwrite each other's files; having both or none cannot work."""
    cpu, gpu = packages["onnxruntime"], packages["onnxruntime-gpu"]
    if cpu and gpu:
        return [
            "onnxruntime and onnxruntime-gpu are both installed and share their files: uninstall "
            "both, then install one extra, stemwright[cpu] or stemwright[gpu]"
        ]
    if not cpu and not gpu:
        return ["no ONNX Runtime: install the extra stemwright[cpu] or stemwright[gpu]"]
    return []


def _compiled_in(packages: dict[str, str | None]) -> list[str]:
    if not (packages["onnxruntime"] or packages["onnxruntime-gpu"]):
        return []
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _device(asked: str, priors: dict[str, Path]) -> tuple[str | None, list[str]]:
    """Open a real session of a shipped prior and ask it where it runs."""
    from .model.prior import Prior

    if not priors:
        return None, ["no prior bundle found: reinstall, or set STEMWRIGHT_PRIORS"]
    device = Device.parse(asked)
    prior = Prior(next(iter(priors.values())), device)
    prior.verify()
    if device.name not in ("auto", prior.got):
        return prior.got, [f"device {device.name} was asked for, sessions run on {prior.got}"]
    return prior.got, []


def _free(folder: Path) -> int | None:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free if folder.exists() else None
