"""The last question before a set becomes visible: are all folders still the right ones?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .known_mounts import why_not_mounted
from .root import why_not_marked, why_outside


@dataclass(frozen=True)
class PublishGuard:
    """What must hold, in text as a worker is sent it.

    `markers` gives the number that the marker of a folder must bear; `inside` are pairs of a path
    and the folder out of which it must not lead; on `mounts` a disk or share must be mounted.
    """

    markers: Mapping[str, str] = field(default_factory=dict)
    inside: tuple[tuple[str, str], ...] = ()
    mounts: tuple[str, ...] = ()

    @staticmethod
    def of(
        markers: Mapping[str, str] | None = None,
        inside: Iterable[tuple[str, str]] = (),
        mounts: Iterable[str] = (),
    ) -> PublishGuard:
        """From JSON, which knows no tuples."""
        pairs = tuple((path, folder) for path, folder in inside)
        return PublishGuard(markers or {}, pairs, tuple(mounts))

    def why_kept_back(self) -> str | None:
        """What speaks against publishing now; nothing when all is well."""
        for folder, number in self.markers.items():
            if lost := why_not_marked(Path(folder), number):
                return lost
        for path, folder in self.inside:
            if outside := why_outside(Path(path), Path(folder)):
                return outside
        for folder in self.mounts:
            if lost := why_not_mounted(Path(folder)):
                return lost
        return None
