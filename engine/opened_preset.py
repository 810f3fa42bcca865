"""A preset with all that it needs opened: priors, cards, networks, and who takes mixes apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .model.bundle import read_bundle
from .model.prior import find_prior, open_priors
from .model.sessions import Device, usable_cores
from .model.two_passes import Separation
from .options import RenderOptions
from .separation.batch_search import SeparationPlan
from .separation.estimate import Estimate
from .separation.mask_files import SearchReport
from .separation.masks import MaskPlan
from .separation.search_plan import SearchPlan
from .separation.separator import Separator
from .separators.cost import rate_of
from .separators.guidance import foreign_guide
from .separators.loading import LoadedCard, find_card
from .separators.lock import check_policy
from .separators.recipe import RecipeSeparation
from .voicing import network_hashes, voices_of, with_voices

if TYPE_CHECKING:
    from presets import Preset, ResolvedSearch

Float = NDArray[np.float32]


class OpenedPreset:
    """What many mixes share: the sessions of priors and networks, checked cards, the plan."""

    def __init__(self, preset: Preset, options: RenderOptions) -> None:
        self.preset = preset
        self.settings = preset.search.resolved(options.tier)
        device = Device.parse(options.device, strict=options.strict_device)
        self.cards = _cards(preset, options)
        self.warnings = _warnings(self.cards, options)
        searched = {stem: preset.stems[stem] for stem in preset.sources.searched}
        self.priors = open_priors(
            {stem: (spec.prior, spec.label) for stem, spec in searched.items()},
            options.prior_folders,
            device,
        )
        self.threads = options.threads or usable_cores()
        self.plan = _plan(self.settings, options.seed)
        guide = foreign_guide(preset, self.cards, device, self.threads)
        heads = self.plan.needs_estimate and not (guide and len(guide.stems) == len(self.priors))
        self.estimate = (
            Estimate(list(self.priors.values()), options.prior_folders, device)
            if heads and self.priors
            else None
        )
        self.guide, self.device = guide, device
        self.voices = voices_of(preset, options, device)

    def separators_s(self, seconds: float) -> float:
        """What the separators will take for so much audio, by their checks; 0 where none says."""
        return rate_of(self.preset, self.cards) * seconds

    def separation(self) -> tuple[Separation[SearchReport], Separator | None]:
        """Who takes a mix apart, and who of them searches, if anybody does."""
        own = None
        if self.priors:
            own = Separator(self.priors, self.plan, self.threads, self.estimate, self.guide)
        found: Separation[SearchReport] | None = own
        if self.preset.sources.tree is not None:
            found = RecipeSeparation(
                self.preset, self.cards, self.device, self.threads, own, SearchReport()
            )
        if self.voices is not None:
            found = with_voices(self.voices, self.preset, found, SearchReport())
        assert found is not None
        return found, own


def _cards(preset: Preset, options: RenderOptions) -> dict[str, LoadedCard]:
    return {name: find_card(name, options.separator_folders) for name in preset.sources.cards}


def _warnings(cards: Mapping[str, LoadedCard], options: RenderOptions) -> tuple[str, ...]:
    """What is to be said of cards; raises StemwrightError where one may not be used."""
    return tuple(
        sentence
        for card in cards.values()
        for sentence in check_policy(
            card, options.unchecked_separators, commercial_only=options.commercial_only
        )
    )


def cards_in_use(preset: Preset, options: RenderOptions) -> tuple[object, ...]:
    """What the cards of a preset say, where they lie and what is to be said of them: equal as long
    as all is as it was. Raises StemwrightError where a card may not be used."""
    cards = _cards(preset, options)
    said = tuple((card.path, card.card) for card in cards.values())
    return (*said, *_warnings(cards, options))


def prior_hashes(preset: Preset, options: RenderOptions) -> dict[str, str]:
    """What the work depends on besides mix and preset, without opening a session: sha256 of the
    bundle of every searched stem, and of what every separator's card says and has for files."""
    bundles = {
        stem: read_bundle(find_prior(preset.stems[stem].prior, options.prior_folders))[2]
        for stem in preset.sources.searched
    }
    cards = {
        f"separator:{name}": find_card(name, options.separator_folders).digest
        for name in preset.sources.cards
    }
    return bundles | cards | network_hashes(preset, options)


def _plan(settings: ResolvedSearch, seed: int) -> SeparationPlan:
    """The search of a preset, fully stated."""
    return SeparationPlan(
        SearchPlan(
            method=settings.method,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            prior_weight=settings.prior_weight,
            exact=settings.exact_gradient,
            guided_steps=settings.guided_steps,
            guide_weight=settings.guide_weight,
        ),
        MaskPlan(
            output=settings.output,
            power=settings.mask_power,
            flow_weight=settings.flow_weight,
            song_weight=settings.song_weight,
            second_look=settings.second_look,
            spatial=settings.spatial,
        ),
        start=settings.start,
        seed=seed,
        unknown_rest=settings.rest == "unknown",
    )
