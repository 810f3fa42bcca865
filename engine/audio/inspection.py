"""What a container says of itself, and the bytes of a file that a decoder is given."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """A part of a file that is a complete stream of its own: `prefix`, then ranges of the file.

    Most files are one link. Songs that were joined end to end (MP3, Ogg) are several.
    """

    prefix: bytes = b""
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What the container itself says, without any decoder.

    `frames` is the promised length where the container states one; `md5` is FLAC's digest of the
    decoded samples (None when absent). A decoder is given the `links` one after another; without
    any, the file as it is.
    """

    container: str
    frames: int | None = None
    channel_mask: int | None = None
    md5: bytes | None = None
    links: tuple[Link, ...] = ()
