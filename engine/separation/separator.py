"""A set of priors and a search: a whole mix to named stems, segment by segment.

Two passes over the mix, each in bounded memory. The first searches and leaves the masks of
every batch of segments in the workspace, which is also the checkpoint: a run that was stopped
goes on at its next batch and ends with the same bytes. The second applies the masks to the
complex spectrogram and overlap-adds.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from presets import StemwrightError

from ..audio.ahead import made_ahead
from ..audio.layout import ChannelGroups
from ..audio.scratch import Sink
from ..audio.signal import PieceReader, Signal
from ..model.frames import Synthesis, stream_frames, with_next
from ..model.hooks import Interrupted, SearchHooks
from ..model.prior import Prior
from ..model.spectrogram import FrontEnd, Stft
from .guiding import Guide, next_guides, with_foreign
from .masks import Estimator, MaskPlan, combine, level
from .search import SearchResult, divergence, search
from .search_plan import SearchPlan
from .song_spectra import song_masks
from .spatial import Shared, shared_out
from .windows import (
    CORE,
    FADE,
    WINDOW,
    Looks,
    Windows,
    first_look,
    second_look,
    segments_of,
    windows_of,
)

Float = NDArray[np.float32]

BATCH = 4  # segments searched together
_SILENCE = 1e-7  # level up to which a segment needs no search: there is nothing to share out


@dataclass(frozen=True)
class SeparationPlan:
    """Everything that a result depends on besides mix and priors."""

    search: SearchPlan
    mask: MaskPlan
    start: str = "zero"  # or "estimate"
    seed: int = 0

    @property
    def needs_estimate(self) -> bool:
        """Whether the first estimate has a say anywhere."""
        guided = self.search.guided_steps > 0
        return guided or self.start == "estimate" or self.mask.flow_weight < 1


@dataclass
class SearchReport:
    """How the search went over the whole mix: divergence before and after and the steps that
    were taken, means over the windows that were searched."""

    windows: int = 0
    first_loss: float = 0.0
    last_loss: float = 0.0
    steps: float = 0.0

    @property
    def divergence(self) -> dict[str, float]:
        """How far it fell, for the manifest."""
        return {"before": self.first_loss, "after": self.last_loss}

    def add(self, batch: MaskBatch) -> None:
        """Take a batch into the means."""
        self.windows += batch.windows
        share = batch.windows / max(self.windows, 1)
        self.first_loss += share * (batch.first_loss - self.first_loss)
        self.last_loss += share * (batch.last_loss - self.last_loss)
        self.steps += share * (batch.steps - self.steps)


class Separator:
    """Separates mixes with the same priors; holds their sessions."""

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
        self.plan, self.threads, self.estimator = plan, threads, estimator
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
        looks = Looks(self.front_end, info.sample_rate, groups, halves=self._heeds_places)
        guides = self._guide_windows(mix, groups, workspace, stft)
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(self.threads))
            reader = stack.enter_context(mix.open())
            windows = windows_of(reader, info, stft, looks.view, looks.shape)
            batches = _batches(windows, guides, segments)
            for first, batch, guide in stack.enter_context(made_ahead(batches, self.threads)):
                count = batch.shape[1]
                path = _batch_path(workspace, first)
                shape = (len(self.stems), len(groups.groups), *batch.shape[1:])
                kept = MaskBatch.kept(path, shape)
                if kept is None:
                    if hooks.should_stop():
                        raise Interrupted
                    go_on = hooks.patience(count, segments - first)
                    self._search_batch(looks, batch, guide, first, total, pool, go_on).save(path)
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

    def _search_batch(
        self,
        looks: Looks,
        rows: Float,
        guide: Float | None,
        first: int,
        total: int,
        pool: Executor,
        go_on: Callable[[], bool],
    ) -> MaskBatch:
        """Search windows, a view's `rows` (rows, segments, WINDOW, bands), from segment `first`.

        Silent ones are left out and shared out evenly: stems of silence are silence.
        """
        groups, (_, segments, _, bands) = len(looks.groups), rows.shape
        frame = np.arange(WINDOW) - FADE + CORE * (first + np.arange(segments))[:, None]
        inside = ((frame >= 0) & (frame < total)).astype(np.float32)
        weight = np.broadcast_to(inside[None, :, :, None], (groups, segments, WINDOW, bands))
        flat, weight = (a.reshape(-1, WINDOW, bands) for a in (rows[:groups], weight))
        loud, paired = level(flat), looks.paired(segments)
        heard = loud[:, 0, 0] > _SILENCE
        masks = np.full((len(self.stems), *flat.shape), 1 / len(self.stems), np.float32)
        first_loss, last_loss, steps = 0.0, 0.0, 0
        if heard.any():
            halves = rows[groups:].reshape(2, -1, WINDOW, bands)[:, heard[paired]]
            windows = Windows(
                np.asarray(flat[heard] / loud[heard], np.float32),
                weight[heard],
                halves / loud[heard & paired],
                paired[heard],
            )
            foreign = None
            if guide is not None:
                foreign = guide.reshape(len(guide), *flat.shape)[:, heard] / loud[heard]
            masks[:, heard], result = self._search_heard(
                windows, foreign, self.plan.seed + first, pool, go_on
            )
            first_loss, last_loss, steps = result.first_loss, result.last_loss, result.steps
        masks = masks.reshape(len(self.stems), groups, segments, WINDOW, bands)
        return MaskBatch(masks, int(heard.sum()), first_loss, last_loss, steps)

    def _search_heard(
        self,
        windows: Windows,
        foreign: Float | None,
        seed: int,
        pool: Executor,
        go_on: Callable[[], bool],
    ) -> tuple[Float, SearchResult]:
        """Masks of windows with something in them."""
        mix, weight = windows.mix, windows.weight
        estimate = first_look(self.estimator, windows) if self.estimator else None
        if foreign is not None and self.guide is not None:
            places = [self.stems.index(stem) for stem in self.guide.stems]
            estimate = with_foreign(estimate, foreign, places, mix, len(self.stems))
        if estimate is not None:
            estimate = self._refined(estimate, windows, pool)
        result = self._search_latents(mix, weight, estimate, seed, pool, go_on)
        plan = self._mask_plan(result.steps)
        masks = combine(result.magnitudes, estimate, mix, plan)
        if self._uses_song_spectra and plan.flow_weight > 0:  # else they are the estimate's
            masks = self._agreed(masks, mix, pool)
        return masks, result

    def _refined(self, estimate: Float, windows: Windows, pool: Executor) -> Float:
        """First magnitudes after the song's own spectra, and after a look at each stem alone;
        a foreign estimate is not asked again."""
        share, mix = self.plan.mask.second_look, windows.mix
        again = share > 0 and self.plan.mask.output == "masks" and self.guide is None
        if not self._uses_song_spectra and not again:
            return estimate
        first = combine(estimate, None, mix, MaskPlan())
        masks = self._agreed(first, mix, pool) if self._uses_song_spectra else first
        if again and self.estimator is not None:
            alone = second_look(self.estimator, windows, masks)
            masks = np.asarray((1 - share) * first + share * alone, np.float32)
            masks = self._agreed(masks, mix, pool) if self._uses_song_spectra else masks
        return mix * masks

    @property
    def _heeds_places(self) -> bool:
        """Whether left and right of a pair tell of where its stems stand."""
        return self.plan.mask.spatial and self.plan.mask.output == "masks"

    @property
    def _uses_song_spectra(self) -> bool:
        return self.plan.mask.song_weight > 0 and self.plan.mask.output == "masks"

    def _agreed(self, masks: Float, mix: Float, pool: Executor) -> Float:
        """Masks (priors, batch, frames, bands) brought nearer to the song's own spectra."""
        # products this small are slower on many threads, and their bytes would tell how many
        with threadpool_limits(1, "blas"):
            anew = np.stack(list(pool.map(song_masks, masks.swapaxes(0, 1), mix)), axis=1)
        return combine(anew, masks, mix, MaskPlan(flow_weight=self.plan.mask.song_weight))

    def _search_latents(
        self,
        mix: Float,
        weight: Float,
        estimate: Float | None,
        seed: int,
        pool: Executor,
        go_on: Callable[[], bool],
    ) -> SearchResult:
        if estimate is not None and self._flows_are_silent:
            loss = divergence(mix, estimate.sum(axis=0), weight)
            return SearchResult(estimate, loss, loss, 0)
        start = estimate if self.plan.start == "estimate" else None
        guide = None
        if estimate is not None and self.plan.search.guided_steps:
            guide = mix * combine(estimate, None, mix, MaskPlan())  # they sum to the mix
        return search(self.priors, mix, weight, start, guide, self.plan.search, seed, pool, go_on)

    @property
    def _flows_are_silent(self) -> bool:
        """Whether no flow has a say in the masks, so that none needs to be asked."""
        return self.plan.mask.flow_weight == 0 and self.plan.mask.output == "masks"

    def _mask_plan(self, steps: int) -> MaskPlan:
        """The plan's, less of the flows when the clock cut their search: at their start they
        know nothing of the mix."""
        planned = self.plan.search.steps
        if steps == planned:
            return self.plan.mask
        return replace(self.plan.mask, flow_weight=self.plan.mask.flow_weight * steps / planned)

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
        are silent: they are left to the residual. `meter` sees what is applied to what: masks
        (stems, groups, frames, bands), magnitudes (groups, frames, bands) with a group's
        channels added.
        """
        info, stft = mix.info, self.front_end.stft(mix.info.sample_rate)
        band = self.front_end.band_of_bin(info.sample_rate)
        syntheses = [Synthesis(stft, info.frames) for _ in self.stems]
        total, done = stft.frames(info.frames), 0

        def audible(index: int, shared: Shared, last: bool) -> Float:
            return syntheses[index].add(shared.stem(index), last=last)

        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(self.threads))
            reader = stack.enter_context(mix.open())
            blocks = stream_frames(reader, stft, info.channels, info.frames, CORE)
            cores = self._masks(workspace, segments_of(stft, info))
            masked = ((b, m[:, :, : b.shape[1]]) for b, m in zip(blocks, cores, strict=True))
            shares = shared_out(masked, groups, band, spatial=self._heeds_places)
            for shared in stack.enter_context(made_ahead(shares, self.threads)):
                done += shared.mix.shape[1]
                everyone = range(len(self.stems))
                audio = pool.map(audible, everyone, repeat(shared), repeat(done == total))
                if meter is not None:  # on this thread, while the pool works
                    rate = info.sample_rate
                    views = [
                        self.front_end.band_magnitudes(shared.mix[list(g)], rate)
                        for g in groups.groups
                    ]
                    meter(shared.masks, np.stack(views))
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
            masks = MaskBatch.load(_batch_path(workspace, first)).masks
            if self.plan.mask.output == "masks":  # half precision on disk: sum to one again
                masks /= masks.sum(axis=0)
            for index in range(masks.shape[2]):
                yield masks[:, :, index]


@dataclass(frozen=True)
class MaskBatch:
    """The masks of some segments, (stems, groups, segments, WINDOW, bands), how many windows of
    their groups were searched (silent ones are not), and how that went."""

    masks: Float
    windows: int
    first_loss: float
    last_loss: float
    steps: int

    def save(self, path: Path) -> None:
        """Write aside and rename: a killed run leaves no half batch."""
        aside = path.with_suffix(".part.npz")
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:
            np.savez(
                file,
                masks=self.masks.astype(np.float16),
                windows=np.array(self.windows),
                losses=np.array([self.first_loss, self.last_loss]),
                steps=np.array(self.steps),
            )
        aside.replace(path)

    @classmethod
    def kept(cls, path: Path, shape: tuple[int, ...]) -> MaskBatch | None:
        """A checkpoint of masks of that shape; nothing when there is none, or none of ours.

        It lay on a disk that others may write to, or that was full: what is not a batch of this
        very search is searched anew.
        """
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None
            batch = cls.load(path)
        except (OSError, ValueError, TypeError, LookupError, EOFError, MemoryError, BadZipFile):
            return None
        sound = batch.masks.shape == shape and bool(np.all(batch.masks >= 0))
        return batch if sound and np.all(np.isfinite(batch.masks)) else None

    @classmethod
    def load(cls, path: Path) -> MaskBatch:
        """Read what `save` wrote."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            first, last = kept["losses"]
            masks = kept["masks"].astype(np.float32)
            windows, steps = int(kept["windows"]), int(kept["steps"])
            return cls(masks, windows, float(first), float(last), steps)


def _untold(done: int, total: int) -> None:
    """Progress that counts for nothing in what the caller was promised."""


def _batch_path(workspace: Path, first: int) -> Path:
    return workspace / f"masks-{first:06d}.npz"


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
    first, *others = views
    for other in others:
        if views[other] != views[first]:
            raise StemwrightError(
                "priors-differ",
                f"the priors of {first} and {other} were made for different spectrograms; "
                "a preset's priors must share one. Export them with the same front end.",
            )
    return views[first]
