"""Runs a chain over one stem: effects, plug-ins and parallel branches as one aligned stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from presets import Effect, Parallel, Plugin, Preset, StemwrightError

from ..audio.blocks import AudioBlock, Stream, endless, summed, take
from .effects import check_effect, effect_stream
from .rack import PluginRack, PluginStepError


@dataclass(frozen=True)
class Shape:
    """What goes through a chain: how many channels, how fast, and how long with its tail."""

    channels: int
    sample_rate: int
    frames: int


def check_chains(preset: Preset, sample_rate: int, channels: int, rack: PluginRack) -> None:
    """Refuse, before hours of work, what the chains could not do with such a source.

    A plug-in that fails here is no reason to refuse when the preset says to bypass it.
    """
    for where, step in preset.steps():
        if isinstance(step, Plugin):
            try:
                rack.check(step, channels, sample_rate, where)
            except PluginStepError as failed:
                if not may_be_bypassed(preset, failed.error):
                    raise failed.error from None
            except StemwrightError as error:
                if not may_be_bypassed(preset, error):
                    raise
        elif not isinstance(step, Parallel):
            check_effect(step, sample_rate, channels, where)


def may_be_bypassed(preset: Preset, error: StemwrightError) -> bool:
    """Whether an error is a plug-in's failure that the preset wants to be passed over."""
    failures = ("plugin-failed", "plugin-quarantined", "plugin-not-found")
    return preset.on_plugin_error == "bypass" and error.code in failures


def chained(
    parts: Iterable[AudioBlock],
    chain: Sequence[Effect],
    shape: Shape,
    rack: PluginRack,
    where: str,
    bypassed: Sequence[str] = (),
) -> Iterator[AudioBlock]:
    """Parts `(channels, n)` of a stem through its chain, `shape.frames` frames in all.

    The result does not depend on how the parts were cut, and is aligned with the input to
    the sample. Steps whose path is in `bypassed` are left out.
    """
    stream = endless(parts, shape.channels)
    yield from take(_steps(stream, chain, shape, rack, where, bypassed), shape.frames)


def _steps(
    stream: Stream,
    chain: Sequence[Effect],
    shape: Shape,
    rack: PluginRack,
    path: str,
    bypassed: Sequence[str],
) -> Stream:
    for index, step in enumerate(chain):
        where = f"{path}[{index}]"
        if where in bypassed:
            continue
        if isinstance(step, Parallel):
            copies = itertools.tee(stream, len(step.parallel))
            branches = [
                _steps(copy, branch, shape, rack, f"{where}.parallel[{number}]", bypassed)
                for number, (copy, branch) in enumerate(zip(copies, step.parallel, strict=True))
            ]
            stream = summed(branches)
        elif isinstance(step, Plugin):
            stream = _through_plugin(stream, step, shape, rack, where)
        else:
            stream = effect_stream(stream, step, shape.sample_rate, shape.frames, where)
    return stream


def _through_plugin(
    stream: Stream, step: Plugin, shape: Shape, rack: PluginRack, where: str
) -> Stream:
    try:
        return rack.stream(stream, step, shape.channels, shape.sample_rate, where)
    except StemwrightError as error:
        raise PluginStepError(where, error) from error


def last_audible(block: AudioBlock, floor: float) -> int:
    """How many frames of a block there are up to the last one above the floor."""
    loud = np.flatnonzero(np.abs(block).max(axis=0) > floor)
    return int(loud[-1]) + 1 if loud.size else 0
