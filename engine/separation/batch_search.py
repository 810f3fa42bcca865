"""The search of one batch of windows: first estimate, latents, masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..model.prior import Prior
from .guiding import Guide, with_foreign
from .mask_files import MaskBatch
from .masks import Estimator, MaskPlan, combine, level
from .search import SearchResult, divergence, search
from .search_plan import SearchPlan
from .song_spectra import song_masks
from .unknown_rest import RestSpectra
from .windows import (
    CORE,
    FADE,
    WINDOW,
    Looks,
    Windows,
    first_look,
    second_look,
)

Float = NDArray[np.float32]

_SILENCE = 1e-7  # level up to which a segment needs no search: there is nothing to share out


@dataclass(frozen=True)
class SeparationPlan:
    """Everything that a result depends on besides mix and priors."""

    search: SearchPlan
    mask: MaskPlan
    start: str = "zero"  # or "estimate"
    seed: int = 0
    unknown_rest: bool = False  # whether more plays than the stems

    @property
    def needs_estimate(self) -> bool:
        """Whether the first estimate has a say anywhere."""
        guided = self.search.guided_steps > 0
        return guided or self.start == "estimate" or self.mask.flow_weight < 1

    @property
    def is_spatial(self) -> bool:
        """Whether left and right of a pair tell of where its stems stand."""
        return self.mask.spatial and self.mask.output == "masks"

    @property
    def uses_song_spectra(self) -> bool:
        """Whether masks are brought nearer to the song's own spectra."""
        return self.mask.song_weight > 0 and self.mask.output == "masks"

    @property
    def flows_are_silent(self) -> bool:
        """Whether no flow has a say in the masks, so that none needs to be asked."""
        return self.mask.flow_weight == 0 and self.mask.output == "masks"

    def mask_after(self, steps: int) -> MaskPlan:
        """The plan of the masks, with less of the flows when the clock cut their search: at their
        start they know nothing of the mix."""
        planned = self.search.steps
        if steps == planned:
            return self.mask
        return replace(self.mask, flow_weight=self.mask.flow_weight * steps / planned)


@dataclass(frozen=True)
class BatchSearch:
    """Who searches: the priors of `stems`, by a plan, with an estimate and a guide if any.

    Masks are those of the stems and, behind them, of an unknown rest if the plan has one; so are
    the estimator's magnitudes.
    """

    stems: Sequence[str]
    priors: Sequence[Prior]
    plan: SeparationPlan
    estimator: Estimator | None
    guide: Guide | None

    @property
    def shares(self) -> int:
        """Among how many a mix is shared out: the stems and an unknown rest."""
        return len(self.stems) + self.plan.unknown_rest

    def search(
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
        masks = np.full((self.shares, *flat.shape), 1 / self.shares, np.float32)
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
        masks = masks.reshape(self.shares, groups, segments, WINDOW, bands)
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
            estimate = with_foreign(estimate, foreign, places, mix, self.shares)
        if estimate is not None:
            estimate = self._refined(estimate, windows, pool)
        result = self._search_latents(mix, weight, estimate, seed, pool, go_on)
        plan = self.plan.mask_after(result.steps)
        masks = combine(result.magnitudes, estimate, mix, plan)
        if self.plan.uses_song_spectra and plan.flow_weight > 0:  # else they are the estimate's
            masks = self._agreed(masks, mix, pool)
        return masks, result

    def _refined(self, estimate: Float, windows: Windows, pool: Executor) -> Float:
        """First magnitudes after the song's own spectra, and after a look at each stem alone;
        a foreign estimate is not asked again."""
        share, mix = self.plan.mask.second_look, windows.mix
        again = share > 0 and self.plan.mask.output == "masks" and self.guide is None
        if not self.plan.uses_song_spectra and not again:
            return estimate
        first = combine(estimate, None, mix, MaskPlan())
        masks = self._agreed(first, mix, pool) if self.plan.uses_song_spectra else first
        if again and self.estimator is not None:
            alone = second_look(self.estimator, windows, masks)
            masks = np.asarray((1 - share) * first + share * alone, np.float32)
            masks = self._agreed(masks, mix, pool) if self.plan.uses_song_spectra else masks
        return mix * masks

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
        if estimate is not None and self.plan.flows_are_silent:
            loss = divergence(mix, estimate.sum(axis=0), weight)
            return SearchResult(estimate, loss, loss, 0)
        start = estimate if self.plan.start == "estimate" else None
        guide = None
        if estimate is not None and self.plan.search.guided_steps:
            guide = mix * combine(estimate, None, mix, MaskPlan())  # they sum to the mix
        rest = None
        if self.plan.unknown_rest:
            rest = RestSpectra(mix, None if estimate is None else estimate[-1], seed)
        return search(
            self.priors, mix, weight, start, guide, self.plan.search, seed, pool, go_on, rest
        )
