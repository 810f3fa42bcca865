"""What `separator init` asks on a terminal, for nobody else can tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from presets import StemwrightError, say

if TYPE_CHECKING:
    from ..separators.drafting import Draft, DraftOptions

_NUMBERS = {"stft.n_fft": 16, "stft.hop": 1, "segment": 256}  # the least of each


def stem_names(text: str) -> tuple[str, ...]:
    """`drums, bass` as names."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def asked_draft(models: Sequence[Path], options: DraftOptions, draft: Draft) -> Draft:
    """Ask for everything that is missing until nothing is, and draft again after each answer.

    An answer that cannot be is said to be so, and asked for again. Ctrl-C leaves no card.
    """
    from ..separators.drafting import draft_card

    if draft.missing and "sample_rate" not in draft.keys:
        rate = click.prompt("sample rate of the model, in Hz", 44100, type=click.IntRange(8000))
        options = replace(options, sample_rate=rate)
    while draft.missing:
        key, what = next(iter(draft.missing.items()))
        try:
            tried = _answered(options, key, what)
            draft, options = draft_card(models, tried), tried
        except StemwrightError as error:
            say(error.sentence)
    return draft


def _answered(options: DraftOptions, key: str, what: str) -> DraftOptions:
    from ..separators.drafting import TENSOR

    if key in _NUMBERS:
        number = int(click.prompt(f"{key} ({what})", type=click.IntRange(_NUMBERS[key])))
        if key == "segment":
            return replace(options, segment=number)
        return (
            replace(options, n_fft=number) if key == "stft.n_fft" else replace(options, hop=number)
        )
    text = str(click.prompt(f"{key} ({what})")).strip()
    if key == "stems":
        return replace(options, stems=stem_names(text))
    if key.startswith(TENSOR):
        name = key.removeprefix(TENSOR)
        line = text if text.startswith(f"{name} ") else f"{name} {text}"
        return replace(options, tensors=(*options.tensors, line))
    return replace(options, licence=text)
