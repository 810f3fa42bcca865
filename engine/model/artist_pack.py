"""A set of priors tuned together to one artist: a folder with a card, beside the other priors.

The folder holds a bundle for every stem, the encoder that all their heads read, and
`artist-pack.json`, which says what was heard, what held-out songs said before and after, and the
sha256 of every file. A preset names the whole set (`priors: NAME`), a stem one of it (`prior:
NAME/vocals`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from presets import StemwrightError, sha256_of

from .bundle import SUFFIX, put_file
from .prior import PACK_CARD, Prior, prior_folders
from .sessions import Device

PACK_SCHEMA = 1


class Heard(BaseModel):
    """One stem of a pack: how many minutes of the artist it has heard, and its signal to
    distortion in dB on the held-out songs before and after the tuning, where they have it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: float = Field(ge=0)
    before_db: float | None = None
    after_db: float | None = None


class PackCard(BaseModel):
    """What a pack says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = PACK_SCHEMA
    begun_from: str = Field(description="sha256 of the encoder that the tuning began with")
    stems: dict[str, Heard]
    songs: tuple[str, ...] = Field(description="songs that were trained on")
    held_out: tuple[str, ...] = Field(description="songs that decided when to stop")
    mixes: tuple[str, ...] = Field(
        default=(), description="songs without stems that were trained on, too"
    )
    before_db: float = Field(description="mean over the held-out songs before the tuning")
    after_db: float
    gains_db: tuple[float, ...] = Field(description="what each held-out song gained")
    step: int
    share: float = Field(description="of the tuned weights; the rest are those before")
    files: dict[str, str] = Field(description="sha256 of every file")


def list_artist_packs(extra: Sequence[Path] = ()) -> dict[str, Path]:
    """Every pack by name; folders earlier in `prior_folders` win."""
    found: dict[str, Path] = {}
    for folder in prior_folders(extra):
        for card in sorted(folder.glob(f"*/{PACK_CARD}")):
            found.setdefault(card.parent.name, card.parent)
    return found


def find_artist_pack(name: str, extra: Sequence[Path] = ()) -> Path:
    """Resolve a pack's name, or the path of its folder."""
    if (Path(name) / PACK_CARD).is_file():
        return Path(name)
    known = list_artist_packs(extra)
    if name not in known:
        raise StemwrightError(
            "pack-unknown",
            f"no artist pack is called {name!r}; there are {', '.join(sorted(known)) or 'none'}. "
            "Make one with stemwright prior tune, or name the path of its folder.",
        )
    return known[name]


def read_artist_pack(folder: Path) -> PackCard:
    """What a pack says; raises StemwrightError when its card cannot be read."""
    try:
        return PackCard.model_validate_json((folder / PACK_CARD).read_bytes())
    except (OSError, ValidationError) as error:
        raise _damaged(folder, f"its card cannot be read: {error}") from error


def write_artist_pack(folder: Path, card: PackCard) -> None:
    """Write the card, which makes a folder of bundles a pack."""
    text = json.dumps(card.model_dump(mode="json"), indent=1, sort_keys=True)
    put_file(folder / PACK_CARD, text.encode())


def verify_artist_pack(folder: Path, device: Device) -> Iterator[str]:
    """Compare every file with its sha256 and run every bundle's self-tests, yielding a line for
    each."""
    card = read_artist_pack(folder)
    for name, expected in card.files.items():
        path = folder / name
        if not path.is_file():
            raise _damaged(folder, f"{name} is missing")
        if sha256_of(path) != expected:
            raise _damaged(folder, f"{name} does not match its sha256")
    for stem in card.stems:
        opened = Prior(folder / f"{stem}{SUFFIX}", device)
        opened.verify()
        yield f"{folder.name}/{stem}: hashes and self-tests pass on {opened.got}"


def remove_artist_pack(folder: Path) -> None:
    """Delete what belongs to a pack, and its folder when nothing else is in it."""
    card = read_artist_pack(folder)
    for name in card.files:
        if Path(name).name == name:  # a card is a stranger's word: it reaches nothing outside
            (folder / name).unlink(missing_ok=True)
    (folder / PACK_CARD).unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def hashes_of(folder: Path) -> Mapping[str, str]:
    """The sha256 of every file of a new pack."""
    return {
        path.name: sha256_of(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != PACK_CARD and not path.name.startswith(".")
    }


def _damaged(folder: Path, why: str) -> StemwrightError:
    return StemwrightError(
        "pack-damaged",
        f"{folder}: not a usable artist pack: {why}. Copy it again, or tune it anew.",
    )
