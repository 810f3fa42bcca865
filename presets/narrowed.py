"""Some stems of a preset alone, where nothing is known of what else plays."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from .errors import StemwrightError
from .schema import Preset
from .stems import StemSpec


def only_stems(preset: Preset, names: Sequence[str]) -> Preset:
    """The preset with these stems alone and the rest of the mix unknown (`search.rest`).

    A stem that the preset has keeps its prior, chain and fader; another one is found by the prior
    of its name. Raises StemwrightError for a preset whose stems come from separators or voices,
    and for what is no stem's name.
    """
    if preset.sources.tree is not None or preset.voices is not None:
        raise StemwrightError(
            "preset-only",
            f"the preset {preset.name} takes its stems from separators or voices, and what is "
            "left of those is known. Say `search: {rest: unknown}` in it, or take a preset of "
            "priors.",
        )
    pack = f"{preset.priors}/" if preset.priors else ""
    stated = {name: getattr(preset, name) for name in preset.model_fields_set}
    try:
        stems = {name: preset.stems.get(name) or StemSpec(prior=pack + name) for name in names}
        into = preset.residual.into if preset.residual.into in stems else None
        return Preset.model_validate(
            {
                **stated,
                "stems": stems,
                "residual": preset.residual.model_copy(update={"into": into}),
                "search": preset.search.model_copy(update={"rest": "unknown"}),
            }
        )
    except ValidationError:
        raise StemwrightError(
            "preset-only",
            f"no stem can be called {', '.join(names)}: a name begins with a small letter and has "
            "small letters, digits, - and _ only, 32 at most; residual is the rest's own.",
        ) from None
