"""One card at work on a whole signal, in bounded memory, from where it was stopped.

Two passes, as the search of priors has. The first runs the network segment by segment and leaves
the stems at the model's rate on disk, with the little that the next segment needs; a run that was
stopped goes on there and ends with the same bytes. The second brings them to the signal's rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from ..audio.layout import ChannelGroups
from ..audio.reading import SourceInfo
from ..audio.resampling import resampled, resampled_frames
from ..audio.scratch import StemScratch
from ..audio.signal import Signal, blocks_of
from ..model.hooks import Interrupted, SearchHooks
from ..model.sessions import Device
from .following import follow_above
from .loading import LoadedCard
from .network import Network, NotFiniteError
from .windows import OverlapAdd, WindowGrid

Float = NDArray[np.float32]
Double = NDArray[np.float64]

SILENCE_PEAK = 1e-6  # -120 dBFS: up to here a segment is not shown to the network
_EPSILON = 1e-8  # of track-mean-std, as in Demucs
_STATE = "state.npz"


class CardSeparation:
    """The stems of one card. Holds a session while `search` runs and never longer."""

    def __init__(self, loaded: LoadedCard, device: Device, threads: int) -> None:
        self.loaded, self.card = loaded, loaded.card
        self.stems = list(loaded.card.used)
        self._device, self._threads = device, threads
        self.got = ""

    def search(
        self, signal: Signal, groups: ChannelGroups, folder: Path, hooks: SearchHooks
    ) -> None:
        """First pass: leave the stems at the model's rate in `folder`.

        Raises Interrupted when `hooks.should_stop` says so between two calls of the network.
        """
        info, grid = signal.info, WindowGrid.of(self.card)
        samples = resampled_frames(info.frames, info.sample_rate, self.card.sample_rate)
        total = grid.count(samples)
        folder.mkdir(parents=True, exist_ok=True)
        with StemScratch(folder, self.stems, info.channels) as scratch:
            state = _State.load(folder)
            if state is None or scratch.frames < state.frames:
                state = _State(0, 0, None)
            scratch.truncate(state.frames)
            hooks.progress(min(state.done, total), total)
            if state.done >= total:
                return
            moments = self._moments(signal, groups)
            adder = OverlapAdd(grid, samples, state.tail)
            segments = grid.cut(self._prepared(signal, groups, moments), samples, self.card.edge)
            with Network(self.loaded, self._device, self._threads) as network:
                self.got = network.got
                work = _Work(network, groups, moments, grid)
                for first in range(0, total, self.card.batch):
                    batch = list(islice(segments, self.card.batch))
                    if first < state.done:
                        continue
                    if hooks.should_stop():
                        raise Interrupted
                    for index, stems in enumerate(work.stems(batch, first), start=first):
                        scratch.append(dict(zip(self.stems, adder.add(index, stems), strict=True)))
                    scratch.flush()
                    done = first + len(batch)
                    _State(done, scratch.frames, adder.tail).save(folder)
                    hooks.progress(done, total)

    def stems_of(self, signal: Signal, groups: ChannelGroups, folder: Path) -> Iterator[Float]:
        """Second pass: all stems at the signal's rate, blocks (stems, channels, n).

        Channels outside all groups are silent in every stem.
        """
        info, count = signal.info, len(self.stems)
        with StemScratch(folder, self.stems, info.channels) as scratch:
            joined = (
                np.concatenate([block[stem] for stem in self.stems])
                for block in scratch.blocks(1 << 16)
            )
            frames, rate = scratch.frames, self.card.sample_rate
            left = info.frames
            pieces = resampled(joined, count * info.channels, frames, rate, info.sample_rate)
            cut = self._cut(pieces, left, info, count)
            if self.card.above_cut == "follow":
                cut = follow_above(self.card.band_hz, signal, groups, cut, count)
            yield from cut

    @staticmethod
    def _cut(pieces: Iterator[Float], left: int, info: SourceInfo, count: int) -> Iterator[Float]:
        """Pieces of all stems' channels together, to the signal's length."""
        for piece in pieces:
            kept = piece[:, :left]
            left -= kept.shape[1]
            if kept.shape[1]:
                yield kept.reshape(count, info.channels, -1)
        if left:
            yield np.zeros((count, info.channels, left), np.float32)

    def _at_models_rate(self, signal: Signal) -> Iterator[Float]:
        info = signal.info
        blocks = (block.audio for block in blocks_of(signal))
        return resampled(
            blocks, info.channels, info.frames, info.sample_rate, self.card.sample_rate
        )

    def _moments(self, signal: Signal, groups: ChannelGroups) -> Double | None:
        """Mean and deviation (n - 1) of every group's average of channels, (groups, 2)."""
        if self.card.normalise == "none":
            return None
        count, sums = 0, np.zeros((len(groups.groups), 2))
        for block in self._at_models_rate(signal):
            count += block.shape[1]
            for row, group in zip(sums, groups.groups, strict=True):
                average = block[list(group)].astype(np.float64).mean(axis=0)
                row += average.sum(), np.square(average).sum()
        mean = sums[:, 0] / count
        variance = (sums[:, 1] - count * mean**2) / max(count - 1, 1)
        return np.stack([mean, np.sqrt(np.maximum(variance, 0)) + _EPSILON], axis=1)

    def _prepared(
        self, signal: Signal, groups: ChannelGroups, moments: Double | None
    ) -> Iterator[Float]:
        """The signal as the network wants it: at its rate, normalised where the card says so."""
        for block in self._at_models_rate(signal):
            if moments is not None:
                block = block.copy()
                for (mean, deviation), group in zip(moments, groups.groups, strict=True):
                    rows = list(group)
                    block[rows] = (block[rows] - np.float32(mean)) / np.float32(deviation)
            yield block


@dataclass
class _Work:
    """Segments of a signal through a network, by groups of loudspeakers."""

    network: Network
    groups: ChannelGroups
    moments: Double | None
    grid: WindowGrid

    def stems(self, segments: list[Float], first: int) -> list[Float]:
        """Each segment (channels, length) -> (stems, channels, length); `first` is its number."""
        used = len(self.network.card.used)
        found = [np.zeros((used, *segment.shape), np.float32) for segment in segments]
        places: list[tuple[int, int, tuple[int, ...]]] = []
        views: list[Float] = []
        for index, segment in enumerate(segments):
            for number, channels in self._views():
                view = segment[list(channels)]
                if self._is_heard(view, number):
                    places.append((index, number, channels))
                    views.append(self._doubled(view))
        if not views:
            return found
        try:
            estimates = self.network.run(np.stack(views))
        except NotFiniteError as error:
            raise self._not_finite(first + places[error.segment][0]) from None
        for (index, number, channels), stems in zip(places, estimates, strict=True):
            found[index][:, list(channels)] = self._undone(stems, number, len(channels))
        return found

    def _views(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """What the network sees at once: a group's number, and channels of the group."""
        for number, group in enumerate(self.groups.groups):
            if self.network.card.channels == 1:
                yield from ((number, (channel,)) for channel in group)
            else:
                yield number, group

    def _doubled(self, view: Float) -> Float:
        """Mono in both channels of a stereo model."""
        return np.repeat(view, 2, axis=0) if len(view) < self.network.card.channels else view

    def _undone(self, stems: Float, number: int, channels: int) -> Float:
        if stems.shape[1] > channels:
            stems = stems.mean(axis=1, keepdims=True)
        if self.moments is not None:
            stems = stems * np.float32(self.moments[number, 1])
        return stems

    def _is_heard(self, view: Float, number: int) -> bool:
        if self.moments is not None:
            mean, deviation = self.moments[number]
            view = view * np.float32(deviation) + np.float32(mean)
            return bool(np.abs(view).max() > SILENCE_PEAK + abs(mean) * 1e-3)
        return bool(np.abs(view).max() > SILENCE_PEAK)

    def _not_finite(self, index: int) -> StemwrightError:
        loaded = self.network.loaded
        at_s = max(self.grid.start(index), 0) / loaded.card.sample_rate
        minutes, seconds = divmod(at_s, 60)
        return loaded.error(
            "separator-not-finite",
            ("files", 0, "path"),
            f"{loaded.name} gave NaN or infinity at {int(minutes)}:{seconds:04.1f} "
            f"({math.floor(at_s)} s) of the song. An export in float16 may overflow: export the "
            "model in float32, or check the card's stft.",
        )


@dataclass(frozen=True)
class _State:
    """Where the first pass is: segments done, frames complete on disk, what the next one needs."""

    done: int
    frames: int
    tail: Float | None

    def save(self, folder: Path) -> None:
        """Write aside and rename: a killed run leaves the state before or after."""
        assert self.tail is not None
        aside = folder / f".{_STATE}.part"
        with aside.open("wb") as file:
            np.savez(file, done=self.done, frames=self.frames, tail=self.tail)
        aside.replace(folder / _STATE)

    @classmethod
    def load(cls, folder: Path) -> _State | None:
        """What `save` wrote; nothing at the beginning."""
        path = folder / _STATE
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as kept:
            return cls(int(kept["done"]), int(kept["frames"]), kept["tail"])
