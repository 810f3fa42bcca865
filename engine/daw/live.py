"""The plug-ins of a chain as live devices: their VST3 class ids and their state."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from presets import Plugin, StemwrightError

from ..plugins.catalogue import PluginCatalogue, host_request, opened
from .session import PluginDevice

PRESET_MAGIC, CLASS_ID = b"VST3", slice(8, 40)  # VST3 SDK, "Preset format": header, class id


def live_devices(
    chain: Sequence[Mapping[str, object]], timeout_s: float
) -> tuple[PluginDevice, ...]:
    """One device for each step of a chain as it stands in a manifest; all are plug-ins.

    Every plug-in is opened in a process of its own and set as the step says.
    """
    catalogue = PluginCatalogue()
    return tuple(_device(catalogue, Plugin.model_validate(step), timeout_s) for step in chain)


def _device(catalogue: PluginCatalogue, step: Plugin, timeout_s: float) -> PluginDevice:
    file = catalogue.find(step.plugin)
    with opened(catalogue, file, timeout_s) as child:
        reply = child.state(host_request(file, step))
    state = base64.b64decode(reply["state"])
    class_id = state[CLASS_ID].decode("ascii", "replace")
    if state[:4] != PRESET_MAGIC or not all(
        digit in "0123456789abcdefABCDEF" for digit in class_id
    ):
        raise StemwrightError(
            "session-plugin-state",
            f"plug-in {file.stem}: expected its state as a .vstpreset with a class id, got "
            "something else. Leave --live out: the processed stem is then printed.",
        )
    return PluginDevice(class_id.upper(), reply["name"], state)
