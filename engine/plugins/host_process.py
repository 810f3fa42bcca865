"""The child process in which one plug-in file lives: answers one JSON line to each request.

Started by its path as a program of its own, and importing nothing of ours: whatever the
plug-in does to this process, it does to nobody else. Audio passes through a shared file.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import mmap
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pedalboard

if TYPE_CHECKING:
    from .messages import (
        Inspected,
        InstanceRequest,
        Loaded,
        LoadRequest,
        ParameterFacts,
        PluginFacts,
        PluginIdentity,
        PluginState,
        Processed,
        ProcessRequest,
        Value,
    )

Float32Audio = np.ndarray[Any, np.dtype[np.float32]]
PROBE_FRAMES = 64
BUFFER_FRAMES = 8192  # what the plug-in sees at once; studios run far less, so all can do it


class Host:
    """The instances of one plug-in, one for each group of channels."""

    def __init__(self) -> None:
        self.instances: list[tuple[list[int], Any]] = []
        self.sample_rate = 0
        self.area: Float32Audio = np.zeros((2, 0, 0), np.float32)

    def load(self, request: LoadRequest) -> Loaded:
        """Make the instances and say what they are; the area is `(2, channels, frames)`."""
        self.sample_rate = request["sample_rate"]
        channels = request["channels"]
        self.area = _mapped(request["area"], channels, request["frames"])
        first = _instance(request)
        groups = _groups(first, channels, self.sample_rate)
        further = [_instance(request) for _ in groups[1:]]
        self.instances = list(zip(groups, [first, *further], strict=True))
        for group, plugin in self.instances:
            # Parameters arrive with the first block; without this one they would come late.
            _run(plugin, np.zeros((len(group), PROBE_FRAMES), np.float32), self.sample_rate, True)
        values = _refuse_unaccepted(first, request["parameters"])
        for _, plugin in self.instances:
            plugin.reset()
        return {
            **_identity(first),
            "groups": groups,
            "latency": first.reported_latency_samples,
            "values": values,
        }

    def process(self, request: ProcessRequest) -> Processed:
        """Send the first frames of one half through the plug-in and put back what it gives."""
        half = self.area[request["half"]]
        block = half[:, : request["frames"]].copy()
        returned = 0
        for group, plugin in self.instances:
            out = _run(plugin, block[group], self.sample_rate, False)
            returned = out.shape[1]
            if len(group) == 2 and group[0] == group[1]:  # mono through a stereo plug-in
                out = out.mean(axis=0, keepdims=True)
                group = group[:1]
            half[group, :returned] = out
        return {
            "frames": returned,
            "latency": max(p.reported_latency_samples for _, p in self.instances),
        }

    def inspect(self, request: InstanceRequest) -> Inspected:
        """Every plug-in of the file with its parameters, ranges and units."""
        formats: Any = pedalboard
        is_unit = request["path"].endswith(".component")
        kind = formats.AudioUnitPlugin if is_unit else formats.VST3Plugin
        with _loader_errors(request["binary"]):
            names = kind.get_plugin_names_for_file(request["path"])
        plugins: list[PluginFacts] = []
        for name in names:
            plugin = _instance({**request, "plugin_name": name, "parameters": {}, "state": None})
            widths = [n for n in (1, 2) if _accepts(plugin, n, 44_100)]
            plugins.append(
                {
                    **_identity(plugin),
                    "latency": plugin.reported_latency_samples,
                    "channels": widths,
                    "parameters": _parameters(plugin),
                }
            )
        return {"plugins": plugins}

    def state(self, request: InstanceRequest) -> PluginState:
        """The plug-in as a step sets it: its name, and its state as a .vstpreset in base64."""
        plugin = _instance(request)
        return {**_identity(plugin), "state": base64.b64encode(plugin.preset_data).decode()}


def _instance(request: InstanceRequest) -> Any:  # noqa: ANN401
    with _loader_errors(request["binary"]):
        plugin: Any = pedalboard.load_plugin(  # type: ignore[attr-defined]  # it is, unlisted
            request["path"], plugin_name=request["plugin_name"]
        )
    if not plugin.is_effect:
        raise ValueError("it is an instrument, not an effect")
    if request["state"]:
        _load_state(plugin, request["state"])
    for name, value in request["parameters"].items():
        parameter = plugin.parameters.get(name)
        # pedalboard silently accepts any attribute, and lets meters be set
        if parameter is None or not parameter.is_automatable:
            known = ", ".join(_settable(plugin))
            raise KeyError(f"no parameter '{name}'; it has {known}")
        setattr(plugin, name, value)
    return plugin


def _load_state(plugin: Any, file: str) -> None:  # noqa: ANN401
    """The plug-in refuses what another one has saved, and that is the preset's mistake."""
    try:
        plugin.load_preset(file)
    except Exception as error:
        raise KeyError(
            f"it does not take the state {os.path.basename(file)}. A state is a .vstpreset that "  # noqa: PTH119
            "this very plug-in has saved; save it again there"
        ) from error


def _settable(plugin: Any) -> list[str]:  # noqa: ANN401
    return [name for name, parameter in plugin.parameters.items() if parameter.is_automatable]


def _refuse_unaccepted(plugin: Any, asked: Mapping[str, Value]) -> dict[str, Value]:  # noqa: ANN401
    """The values that hold now; a number more than a step from what was asked is refused."""
    values = {name: _plain(getattr(plugin, name)) for name in asked}
    for name, value in asked.items():
        held = values[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        low, high, _ = plugin.parameters[name].range
        if isinstance(held, float) and abs(held - value) > 0.02 * (high - low):
            raise KeyError(f"parameter '{name}' stays at {held:g} when set to {value:g}")
    return values


def _groups(plugin: Any, channels: int, sample_rate: int) -> list[list[int]]:  # noqa: ANN401
    """The channels that go through one instance together.

    All of them when the plug-in can; else in pairs, one by one, or, through a plug-in that is
    stereo only, each channel doubled.
    """
    everything = list(range(channels))
    if _accepts(plugin, channels, sample_rate):
        return [everything]
    if channels > 2 and channels % 2 == 0 and _accepts(plugin, 2, sample_rate):
        return [everything[i : i + 2] for i in range(0, channels, 2)]
    if channels > 1 and _accepts(plugin, 1, sample_rate):
        return [[channel] for channel in everything]
    if channels % 2 == 1 and _accepts(plugin, 2, sample_rate):
        return [[channel, channel] for channel in everything]
    raise ValueError(f"it takes neither {channels} channels, nor two, nor one")


def _accepts(plugin: Any, channels: int, sample_rate: int) -> bool:  # noqa: ANN401
    try:
        _run(plugin, np.zeros((channels, PROBE_FRAMES), np.float32), sample_rate, True)
    except ValueError:
        return False
    return True


def _run(plugin: Any, block: Float32Audio, sample_rate: int, reset: bool) -> Float32Audio:  # noqa: ANN401
    out: Float32Audio = plugin.process(block, sample_rate, buffer_size=BUFFER_FRAMES, reset=reset)
    return out


def _identity(plugin: Any) -> PluginIdentity:  # noqa: ANN401
    return {
        "name": plugin.name,
        "maker": plugin.manufacturer_name,
        "version": plugin.version,
        "identifier": plugin.identifier,
    }


def _parameters(plugin: Any) -> dict[str, ParameterFacts]:  # noqa: ANN401
    found: dict[str, ParameterFacts] = {}
    for name in _settable(plugin):
        parameter = plugin.parameters[name]
        low, high, step = parameter.range
        found[name] = {
            "type": parameter.type.__name__,
            "range": [low, high] if parameter.type is float else None,
            "step": step,
            "units": (parameter.units or "").strip(),
            "values": list(parameter.valid_values) if parameter.type is str else None,
            "default": _plain(getattr(plugin, name)),
        }
    return found


def _plain(value: Any) -> Value:  # noqa: ANN401
    """pedalboard's wrapped values as what JSON knows."""
    if isinstance(value, str):
        return str(value)
    return float(value) if isinstance(value, float) else bool(value)


@contextlib.contextmanager
def _loader_errors(binary: str | None) -> Iterator[None]:
    """Where pedalboard only says that loading failed, what the dynamic loader says."""
    try:
        yield
    except ImportError:
        if binary is not None:
            ctypes.CDLL(binary)  # raises an OSError that names what is missing
        raise


def _mapped(path: str, channels: int, frames: int) -> Float32Audio:
    with open(path, "r+b") as file:  # noqa: PTH123  this file stays free of our habits' imports
        shared = mmap.mmap(file.fileno(), 2 * channels * frames * 4)
    return np.frombuffer(shared, np.float32).reshape(2, channels, frames)


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End this process when a plug-in hangs and the parent is no longer there to do it."""
    if not hasattr(signal, "alarm"):
        yield
        return
    signal.alarm(int(seconds) + 10)
    yield
    signal.alarm(0)


def _answer(host: Host, request: Any) -> Mapping[str, object]:  # noqa: ANN401 - JSON of the client's
    try:
        action: Any = {
            "load": host.load,
            "process": host.process,
            "inspect": host.inspect,
            "state": host.state,
        }
        answer: Mapping[str, object] = action[request["do"]](request)
    except KeyError as error:
        return {"error": str(error.args[0]), "kind": "parameters"}
    except Exception as error:  # the plug-in's refusals have many types; the parent sorts them
        return {"error": f"refused: {error or type(error).__name__}", "kind": "refused"}
    return answer


def _own_channels() -> tuple[TextIO, TextIO]:
    """Requests and replies on descriptors of our own: plug-ins print to 1 and may read from 0."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return requests, replies


def main() -> None:
    """Answer requests until there are no more."""
    requests, replies = _own_channels()
    host = Host()
    for line in requests:
        request = json.loads(line)
        with _time_limit(request["limit_s"]):
            answer = _answer(host, request)
        replies.write(json.dumps({"id": request["id"], **answer}) + "\n")
        replies.flush()


if __name__ == "__main__":
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the parent's to handle
    main()
    # Skip the plug-ins' destructors: some crash there, when everything has been delivered.
    sys.stderr.flush()
    os._exit(0)
