"""A set of priors and a search: a whole mix to named stems, segment by segment.

Two passes over the mix, each in bounded memory. The first searches and leaves the masks of
every batch of segments in the workspace, which is also the checkpoint: a run that was stopped
goes on at its next batch and ends with the same bytes. The second applies the masks to the
complex spectrogram and overlap-adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from ..audio.ahead import made_ahead
from ..audio.layout import ChannelGroups
from ..audio.scratch import Sink
from ..audio.signal import Overheard, PieceReader, Signal
from ..model.frames import Synthesis, stream_frames, with_next
from ..model.hooks import Interrupted, SearchHooks
from ..model.prior import Prior
from ..model.spectrogram import FrontEnd, Stft
from .batch_search import BatchSearch, SeparationPlan
from .guiding import Guide, next_guides
from .mask_files import MaskBatch, SearchReport, batch_path
from .masks import Estimator
from .spatial import Shared, shared_out
from .unknown_rest import EstimateWithRest
from .windows import (
    CORE,
    FADE,
    Looks,
    segments_of,
    windows_of,
)

Float = NDArray[np.float32]

BATCH = 4  # segments searched together


class Separator:
    """A separator of mixes with the same priors, whose sessions it holds."""

    dtype: type[np.float32 | np.float64] = np.float32

    def __init__(
        self,
        priors: Mapping[str, Prior],
        plan: SeparationPlan,
        threads: int,
        estimator: Estimator | None = None,
        guide: Guide | None = None,
    ) -> None:
        self.stems, self.priors = list(priors), list(priors.values())
        self.guide = guide
        self.plan, self.threads = plan, threads
        if estimator is not None and plan.unknown_rest:
            estimator = EstimateWithRest(estimator)
        self.batches = BatchSearch(self.stems, self.priors, plan, estimator, guide)
        self.front_end = _common_front_end(priors)

    @property
    def got(self) -> set[str]:
        """The devices that the sessions run on."""
        return {prior.got for prior in self.priors}

    def search(
        self,
        mix: Signal,
        groups: ChannelGroups,
        workspace: Path,
        hooks: SearchHooks,
    ) -> SearchReport:
        """First pass: leave the masks of every batch of segments in the workspace.

        Raises Interrupted when `hooks.should_stop` says so between two batches.
        """
        info, stft = mix.info, self.front_end.stft(mix.info.sample_rate)
        segments, total = segments_of(stft, info), stft.frames(info.frames)
        report = SearchReport()
        workspace.mkdir(parents=True, exist_ok=True)
        if self.guide is not None:
            self.guide.prepare(mix, groups, workspace, replace(hooks, progress=_untold))
        looks = Looks(self.front_end, info.sample_rate, groups, halves=self.plan.is_spatial)
        guides = self._guide_windows(mix, groups, workspace, stft)
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(self.threads))
            reader = stack.enter_context(mix.open())
            windows = windows_of(reader, info, stft, looks.view, looks.shape)
            batches = _batches(windows, guides, segments)
            for first, batch, guide in stack.enter_context(made_ahead(batches, self.threads)):
                count = batch.shape[1]
                path = batch_path(workspace, first)
                shape = (self.batches.shares, len(groups.groups), *batch.shape[1:])
                kept = MaskBatch.kept(path, shape)
                if kept is None:
                    if hooks.should_stop():
                        raise Interrupted
                    go_on = hooks.patience(count, segments - first)
                    self.batches.search(looks, batch, guide, first, total, pool, go_on).save(path)
                    kept = MaskBatch.load(path)
                report.add(kept)
                hooks.progress(first + count, segments)
        return report

    def _guide_windows(
        self, mix: Signal, groups: ChannelGroups, workspace: Path, stft: Stft
    ) -> Iterator[Float] | None:
        """Magnitudes of a foreign estimate, (stems, groups, WINDOW, bands) for each segment."""
        if self.guide is None:
            return None
        channels, info = mix.info.channels, mix.info
        count = len(self.guide.stems)
        everyone = tuple(
            tuple(stem * channels + channel for channel in group)
            for stem in range(count)
            for group in groups.groups
        )
        reader = PieceReader(self.guide.pieces(mix, groups, workspace), count * channels)
        together = replace(info, channels=count * channels)
        looks = Looks(self.front_end, info.sample_rate, ChannelGroups(everyone, ()), halves=False)
        windows = windows_of(reader, together, stft, looks.view, looks.shape)
        return (window.reshape(count, -1, *window.shape[1:]) for window in windows)

    def write(
        self,
        mix: Signal,
        groups: ChannelGroups,
        workspace: Path,
        sink: Sink,
        meter: Callable[[Float, Float], None] | None = None,
    ) -> None:
        """Second pass: apply the masks and give the stems to `sink`, block by block.

        Each call has every stem as float32 (channels, n). Channels outside all groups (LFE)
        are silent: they are left to the residual, as an unknown rest is. Where the stems sum to
        the mix, the last one is what the others leave of it, and needs no transform. `meter` sees
        what is applied to what: masks (stems, groups, frames, bands), those of a rest behind
        them, magnitudes (groups, frames, bands) with a group's channels added.
        """
        info, stft = mix.info, self.front_end.stft(mix.info.sample_rate)
        band = self.front_end.band_of_bin(info.sample_rate)
        known = self.plan.mask.output == "masks" and not self.plan.unknown_rest
        sums_to_mix = known and len(self.stems) > 1
        transformed = self.stems[:-1] if sums_to_mix else self.stems
        syntheses = [Synthesis(stft, info.frames) for _ in transformed]
        total, done = stft.frames(info.frames), 0

        def audible(index: int, shared: Shared, last: bool) -> Float:
            made = partial(shared.stem, index)
            channels, frames, _ = shared.mix.shape
            return syntheses[index].add_made(channels, frames, made, last=last)

        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(self.threads))
            reader = Overheard(stack.enter_context(mix.open()))
            blocks = stream_frames(reader, stft, info.channels, info.frames, CORE)
            cores = self._masks(workspace, segments_of(stft, info))
            masked = ((b, m[:, :, : b.shape[1]]) for b, m in zip(blocks, cores, strict=True))
            shares = shared_out(masked, groups, band, spatial=self.plan.is_spatial)
            for shared in stack.enter_context(made_ahead(shares, self.threads)):
                done += shared.mix.shape[1]
                numbers = range(len(transformed))
                audible_ones = pool.map(audible, numbers, repeat(shared), repeat(done == total))
                if meter is not None:  # on this thread, while the pool works
                    rate = info.sample_rate
                    views = [
                        self.front_end.band_magnitudes(shared.mix[list(g)], rate)
                        for g in groups.groups
                    ]
                    meter(shared.masks, np.stack(views))
                audio = list(audible_ones)
                if sums_to_mix:
                    audio.append(_left_of(reader, audio, groups))
                sink(dict(zip(self.stems, audio, strict=True)))

    def _masks(self, workspace: Path, segments: int) -> Iterator[Float]:
        """Yield the masks of every segment's core, (stems, groups, CORE, bands), the edges
        cross-faded with the neighbours: sums of one stay sums of one."""
        rise = ((np.arange(2 * FADE) + 0.5) / (2 * FADE)).astype(np.float32)[:, None]
        previous: Float | None = None
        for segment, following in with_next(self._windows_on_disk(workspace, segments)):
            core = segment[:, :, FADE : FADE + CORE].copy()
            if previous is not None:
                share = rise[FADE:]
                core[:, :, :FADE] *= share
                core[:, :, :FADE] += (1 - share) * previous[:, :, -FADE:]
            if following is not None:
                share = rise[:FADE]
                core[:, :, -FADE:] *= 1 - share
                core[:, :, -FADE:] += share * following[:, :, :FADE]
            yield core
            previous = segment

    def _windows_on_disk(self, workspace: Path, segments: int) -> Iterator[Float]:
        for first in range(0, segments, BATCH):
            masks = MaskBatch.load(batch_path(workspace, first)).masks
            if self.plan.mask.output == "masks":  # half precision on disk: sum to one again
                masks /= masks.sum(axis=0)
            for index in range(masks.shape[2]):
                yield masks[:, :, index]


def _left_of(mix: Overheard, stems: Sequence[Float], groups: ChannelGroups) -> Float:
    """What stems (channels, n) leave of the same frames of the channels that are separated."""
    left = mix.again(stems[0].shape[1])
    for stem in stems:
        left -= stem
    left[list(groups.residual_only)] = 0
    return left


def _untold(done: int, total: int) -> None:
    """Progress that counts for nothing in what the caller was promised."""


def _batches(
    windows: Iterator[Float], guides: Iterator[Float] | None, segments: int
) -> Iterator[tuple[int, Float, Float | None]]:
    """The number of every batch's first segment, the rows of its windows, and their guides."""
    for first in range(0, segments, BATCH):
        count = min(BATCH, segments - first)
        rows = np.stack([next(windows) for _ in range(count)], axis=1)
        yield first, rows, next_guides(guides, count)


def _common_front_end(priors: Mapping[str, Prior]) -> FrontEnd:
    """The view that all priors share; they must agree, or their magnitudes cannot be added."""
    views = {stem: prior.card.front_end.front_end() for stem, prior in priors.items()}
    first, *further = views
    for other in further:
        if views[other] != views[first]:
            raise StemwrightError(
                "priors-differ",
                f"the priors of {first} and {other} were made for different spectrograms; "
                "a preset's priors must share one. Export them with the same front end.",
            )
    return views[first]
