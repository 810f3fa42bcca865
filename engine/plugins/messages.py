"""What client and host process say to each other, a line of JSON for each message.

The host imports nothing of ours when it runs; these are types for both ends. What an inspection
found is also what the store keeps.
"""

from __future__ import annotations

from typing import Literal, TypedDict

Value = float | str | bool


class PluginIdentity(TypedDict):
    """Which plug-in it is, in its own words."""

    name: str
    maker: str
    version: str
    identifier: str


class ParameterFacts(TypedDict):
    """A parameter that may be set; `type` is float, str or bool, `range` is a float's."""

    type: str
    range: list[float] | None
    step: float | None
    units: str
    values: list[str] | None
    default: Value


class PluginFacts(PluginIdentity):
    """One plug-in of a file: latency in samples, the widths of audio that it takes."""

    latency: int
    channels: list[int]
    parameters: dict[str, ParameterFacts]


class Inspected(TypedDict):
    """Every plug-in of a file."""

    plugins: list[PluginFacts]


class PluginInspection(Inspected):
    """The same with the seconds that it took, as it is remembered."""

    load_s: float


class InstanceRequest(TypedDict):
    """What has to be known to make an instance; `binary` is for the loader's error message."""

    path: str
    binary: str | None
    plugin_name: str | None
    parameters: dict[str, Value]
    state: str | None


class LoadRequest(InstanceRequest):
    """Audio of `channels`, at most `frames` at once, through the shared file `area`."""

    do: Literal["load"]
    sample_rate: int
    area: str
    channels: int
    frames: int


class Loaded(PluginIdentity):
    """Which channels go through one instance together, latency in samples, values that hold."""

    groups: list[list[int]]
    latency: int
    values: dict[str, Value]


class ProcessRequest(TypedDict):
    """The first `frames` of one half of the area are a block."""

    do: Literal["process"]
    frames: int
    half: int


class Processed(TypedDict):
    """So many frames came back, and what latency the plug-in reports now."""

    frames: int
    latency: int


class PluginState(PluginIdentity):
    """A plug-in as a step sets it; `state` is a .vstpreset in base64."""

    state: str


class PluginNote(PluginIdentity):
    """A plug-in at its place in a preset's chain, as the manifest tells it."""

    where: str
    parameters: dict[str, Value]
    groups: list[list[int]]
    latency: int


class ChainReport(TypedDict):
    """What was done to one stem; `true_peak_8x_dbtp` is None where it was not measured."""

    steps: list[dict[str, object]]
    fader_db: float
    trim_db: float
    true_peak_8x_dbtp: float | None
    plugins: list[PluginNote]
    bypassed: dict[str, str]


class Chains(TypedDict):
    """What was done for a wet set: the gain that all share, and every stem's chain."""

    gain_db: float
    stems: dict[str, ChainReport]
