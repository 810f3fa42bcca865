"""Cards on disk: where they are looked for, and one read with the place of every key."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from presets import (
    Document,
    StemwrightError,
    describe_errors,
    dotted,
    read_strict,
    suggestion,
    user_folder,
)

from .card import CardFile, SeparatorCard
from .stft import ModelStft

FOLDERS_VARIABLE = "STEMWRIGHT_SEPARATORS"
SUFFIXES = (".yaml", ".yml")
MOST_BYTES = 1 << 16
_IS_CARD = re.compile(rb"^card\s*:", re.M)
_NAME = re.compile(rb"^name\s*:\s*[\"']?([A-Za-z0-9._-]+)", re.M)


@dataclass(frozen=True)
class LoadedCard:
    """A card, the file it was read from, and where each of its keys stands."""

    path: Path
    card: SeparatorCard
    document: Document

    @property
    def name(self) -> str:
        """By which presets call it."""
        return self.card.name

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.path.parent

    @cached_property
    def digest(self) -> str:
        """Names all that can change a sample."""
        return self.card.digest()

    @property
    def stft(self) -> ModelStft | None:
        """The model's transform of one segment."""
        transform, card = self.card.stft, self.card
        if transform is None:
            return None
        return ModelStft(
            card.segment,
            transform.n_fft,
            transform.hop,
            transform.window,
            transform.center,
            transform.normalized,
            transform.bins,
            transform.pre_pad,
            transform.trim_frames,
        )

    @property
    def size_bytes(self) -> int:
        """Of all files together; those that are missing count nothing."""
        paths = [self.path_of(file) for file in self.card.files]
        return sum(path.stat().st_size for path in paths if path.is_file())

    def with_card(self, card: SeparatorCard) -> LoadedCard:
        """The same place with another card: a setting that is tried."""
        return replace(self, card=card)

    def path_of(self, file: CardFile) -> Path:
        """Where a file of the card lies."""
        return self.folder / file.path

    def error(self, code: str, key: tuple[str | int, ...], message: str) -> StemwrightError:
        """A sentence with the card's line and column before it."""
        mark = self.document.key_mark(key)
        return StemwrightError(code, f"{mark}: {dotted(key)}: {message}")


def load_card(path: Path) -> LoadedCard:
    """Read and check one card; files and graphs are looked at when it is opened."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise StemwrightError("card-not-found", f"{path}: {error.strerror}.") from error
    if len(raw) > MOST_BYTES:
        raise StemwrightError(
            "card-invalid",
            f"{path}:1:1: is {path.stat().st_size} bytes long, a card has at most {MOST_BYTES}. "
            "Is this the model itself? The card is a short YAML file beside it.",
        )
    try:
        document = read_strict(raw, str(path), words=("yes", "no", "y", "n"))
    except StemwrightError as error:
        raise StemwrightError("card-invalid", *error.lines) from None
    if not isinstance(document.data, dict):
        raise StemwrightError(
            "card-invalid", f"{path}:1:1: must be a mapping of `key: value` lines"
        )
    if isinstance(document.data.get("name"), int):
        document.data["name"] = str(document.data["name"])
    try:
        card = SeparatorCard.model_validate(document.data, strict=True)
    except ValidationError as error:
        raise StemwrightError(
            "card-invalid", *describe_errors(error, document, SeparatorCard)
        ) from None
    return LoadedCard(path, card, document)


def separator_folders(extra: Sequence[Path] = ()) -> list[Path]:
    """Where cards are looked for: given folders, $STEMWRIGHT_SEPARATORS, the user's own."""
    named = [Path(p) for p in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if p]
    data = user_folder("data")
    return [*extra, *named, *([data / "separators"] if data else [])]


def list_cards(extra: Sequence[Path] = ()) -> dict[str, Path]:
    """Every card by name; folders earlier in `separator_folders` win."""
    found: dict[str, Path] = {}
    for folder in separator_folders(extra):
        for path in _cards_in(folder):
            found.setdefault(_name_in(path), path)
    return found


def find_card(name: str, extra: Sequence[Path] = ()) -> LoadedCard:
    """The card of this name, or in this file."""
    if name.endswith(SUFFIXES):
        return load_card(Path(name))
    known = list_cards(extra)
    if name not in known:
        hint = suggestion(name, known) or f"; there are {', '.join(sorted(known)) or 'none'}"
        own = user_folder("data")
        places = f"{own / 'separators'} or " if own else ""
        places += f"a folder of ${FOLDERS_VARIABLE}"
        raise StemwrightError(
            "separator-unknown",
            f"no separator is called {name!r}{hint}. Put its card into {places}; `stemwright "
            "separator init MODEL.onnx` writes one.",
        )
    return load_card(known[name])


def _cards_in(folder: Path) -> Iterator[Path]:
    """Cards in a folder and in the folders in it, one level down."""
    if folder.is_dir():
        for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
            if path.suffix in SUFFIXES and path.is_file() and _IS_CARD.search(_head(path)):
                yield path


def _name_in(path: Path) -> str:
    match = _NAME.search(_head(path))
    return match[1].decode("ascii") if match else path.stem


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return b""
