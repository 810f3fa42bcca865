"""Sends streams through plug-ins, each in its own process, and keeps those processes for reuse."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from presets import Plugin, StemwrightError

from ..audio.blocks import BLOCK_FRAMES, AudioBlock, Stream, reblocked
from ..audio.closing import Closing
from .catalogue import PluginCatalogue, host_request, plugin_error
from .client import MISDEEDS, PluginClient, PluginFailedError
from .messages import Loaded, PluginNote

AT_ONCE = 2  # blocks: one with the plug-in, one that we prepare
LOADING_TAKES_AT_MOST = 4  # times what it took when the plug-in was inspected


class PluginStepError(Exception):
    """A plug-in failed inside a chain: at which step, and how it is to be told."""

    def __init__(self, where: str, error: StemwrightError) -> None:
        super().__init__(str(error))
        self.where, self.error = where, error


@dataclass
class _Slot:
    """One child, the file that it hosts, and whether a stream runs through it."""

    file: Path
    child: PluginClient
    busy: bool = True


@dataclass
class PluginRack(Closing):
    """The running children. Used as a context: at its end all of them are gone."""

    catalogue: PluginCatalogue = field(default_factory=PluginCatalogue)
    timeout_s: float = 30.0
    notes: list[PluginNote] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._slots: list[_Slot] = []

    def stream(
        self, stream: Stream, step: Plugin, channels: int, sample_rate: int, where: str
    ) -> Stream:
        """The stream behind a plug-in, aligned with its input; loads the plug-in at once."""
        file = self.catalogue.find(step.plugin)
        self.catalogue.check(step, where, self.timeout_s)
        slot = self._slot(file)
        with self._ended_on_failure(slot, where):
            loaded = self._load(slot, step, channels, sample_rate)
        self.notes.append(_note(where, loaded))
        latency = loaded["latency"]
        return reblocked(self._processed(stream, slot, latency, sample_rate, where))

    def check(self, step: Plugin, channels: int, sample_rate: int, where: str) -> None:
        """Refuse a step that cannot be loaded: it is not there, or does not take its state."""
        file = self.catalogue.find(step.plugin)
        self.catalogue.check(step, where, self.timeout_s)
        if step.state:
            slot = self._slot(file)
            with self._ended_on_failure(slot, where):
                self._load(slot, step, channels, sample_rate)
            slot.busy = False

    def release(self) -> None:
        """The streams so far are done; their children are free for the next stem."""
        for slot in self._slots:
            slot.busy = False
        self.notes = []

    def succeeded(self) -> None:
        """A whole stem came through: what failed before was not these plug-ins' habit."""
        for slot in self._slots:
            if slot.busy:
                self.catalogue.store.forget_failures(slot.file)

    def close(self) -> None:
        for slot in self._slots:
            slot.child.close()
        self._slots = []

    def _slot(self, file: Path) -> _Slot:
        for slot in [slot for slot in self._slots if slot.file == file and not slot.busy]:
            if slot.child.is_settled():
                slot.busy = True
                return slot
            self._slots.remove(slot)
        self._slots.append(_Slot(file, PluginClient(self.timeout_s)))
        return self._slots[-1]

    def _load(self, slot: _Slot, step: Plugin, channels: int, sample_rate: int) -> Loaded:
        usual_s = self.catalogue.inspect(slot.file, self.timeout_s)["load_s"]
        slot.child.timeout_s = max(self.timeout_s, LOADING_TAKES_AT_MOST * usual_s)
        loaded = slot.child.load(
            host_request(slot.file, step), sample_rate, channels, BLOCK_FRAMES
        )
        slot.child.timeout_s = self.timeout_s
        return loaded

    def _processed(
        self, stream: Stream, slot: _Slot, latency: int, sample_rate: int, where: str
    ) -> Iterator[AudioBlock]:
        taken = returned = 0
        on_their_way = 0
        for block in stream:
            slot.child.submit(block)
            on_their_way += 1
            if on_their_way < AT_ONCE:
                continue
            on_their_way -= 1
            with self._ended_on_failure(slot, where, at_s=taken / sample_rate):
                out, now = slot.child.collect(BLOCK_FRAMES)
                taken += BLOCK_FRAMES
                returned += out.shape[1]
                check_output(out, taken, returned, (latency, now))
            yield out

    @contextlib.contextmanager
    def _ended_on_failure(self, slot: _Slot, where: str, at_s: float = 0) -> Iterator[None]:
        """End a child that fails, and say in the preset's words which step it was."""
        try:
            yield
        except PluginFailedError as failure:
            slot.child.close()
            self._slots.remove(slot)
            if failure.kind in MISDEEDS:
                self.catalogue.store.keep_failure(slot.file, str(failure))
            place = f"{where}, {at_s:.1f} s into the stem" if at_s else where
            raise PluginStepError(where, plugin_error(slot.file, failure, place)) from None


def _note(where: str, loaded: Loaded) -> PluginNote:
    return {
        "where": where,
        "parameters": loaded["values"],
        "name": loaded["name"],
        "maker": loaded["maker"],
        "version": loaded["version"],
        "identifier": loaded["identifier"],
        "groups": loaded["groups"],
        "latency": loaded["latency"],
    }


def check_output(out: AudioBlock, sent: int, returned: int, latencies: tuple[int, int]) -> None:
    """Length, latency and finiteness of what came back."""
    latency, now = latencies
    if now != latency:
        raise PluginFailedError("latency", f"changed its latency from {latency} to {now} samples")
    expected = max(0, sent - latency)
    if returned != expected:
        raise PluginFailedError("length", f"gave {returned} samples where {expected} were due")
    if not np.isfinite(out).all():
        raise PluginFailedError("not-finite", "put out NaN or infinity")
