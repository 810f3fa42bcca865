"""How likely it is that a voice sings a pitch, by a small network that looks at its harmonics.

A learned salience in the way of Bittner et al. (ISMIR 2017): the network is shown the spectrum at
half, once, twice ... eight times every candidate, so that an octave is a place in a picture and
not a guess, and says for each of them how likely it is sung. Who sings it is the search of
`tracker`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..model.sessions import Device, make_session, telling_device_faults
from .network_file import NETWORK_GRAPH, NetworkCard, check_session, read_network
from .report import NetworkUsed
from .salience import PADDED, PITCH_STRIDE, RATE, PitchFrames, pitch_grid

if TYPE_CHECKING:
    import onnxruntime

Float = NDArray[np.float32]

PITCH_KIND = "pitches"
PITCH_SUFFIX = ".pitches"
SHIPPED_PITCHES = Path(__file__).parent.parent / "priors" / f"choir{PITCH_SUFFIX}"
PITCH_INPUTS, PITCH_OUTPUTS = ("heard",), ("sung",)
PITCH_MULTIPLES = (
    0.5,
    1.0,
    2.0,
    3.0,
    4.0,
    5.0,
    6.0,
    8.0,
)  # of a candidate, that are shown
REACH = 8  # frames of PITCH_STRIDE before and after one that the network may look at
_BLOCK = 128  # frames that are heard at once
_FLOOR = 1e-3  # of the level: what is 60 dB below it is silence
_LOUD = 90.0  # percentile of the frames' strongest bins that is the level


class PitchNetwork:
    """A bundle with its session. `sha256` is that of the file."""

    def __init__(
        self, path: Path, card: NetworkCard, files: dict[str, bytes], sha256: str, device: Device
    ) -> None:
        self.path, self.card, self.sha256 = path, card, sha256
        self._session: onnxruntime.InferenceSession
        self._session, self._got = make_session(files[f"{NETWORK_GRAPH}.onnx"], device)
        names = PITCH_INPUTS, PITCH_OUTPUTS
        check_session(path, files["selftest.npz"], names, self._run, card.tolerance, self._got)

    @classmethod
    def load(cls, path: Path = SHIPPED_PITCHES) -> PitchNetwork:
        """Open a bundle. Raises StemwrightError for one that is damaged or of another kind."""
        card, files, sha256 = read_network(path, PITCH_KIND, NetworkCard)
        return cls(path, card, files, sha256, Device("cpu"))

    @property
    def described(self) -> NetworkUsed:
        """For the manifest."""
        return {"name": self.path.stem, "sha256": self.sha256, "licence": self.card.licence}

    def strengths(self, frames: PitchFrames, tick: Callable[[], None] = lambda: None) -> Float:
        """How likely each candidate of `pitch_grid()` is sung at every PITCH_STRIDE-th frame, 0 to
        1: (frames / PITCH_STRIDE, candidates)."""
        level = level_of(frames.strongest[::PITCH_STRIDE])
        margin = REACH * PITCH_STRIDE
        found = []
        for part in frames.blocks(step=PITCH_STRIDE, width=_BLOCK):
            begin = max(part.start - margin, 0)
            wider = slice(begin, part.stop + margin, PITCH_STRIDE)
            (sung,) = self._run(at_multiples(frames.magnitudes(wider), level))
            wanted = -(-(part.stop - part.start) // PITCH_STRIDE)
            found.append(sung[(part.start - begin) // PITCH_STRIDE :][:wanted])
            tick()
        return np.concatenate(found)

    def _run(self, heard: Float) -> tuple[Float, ...]:
        with telling_device_faults(self._got):
            found = self._session.run(list(PITCH_OUTPUTS), {PITCH_INPUTS[0]: heard})
        return tuple(found)


def level_of(strongest: Float) -> float:
    """How loud a recording is: the strongest bin of a loud frame, of those of all, (frames,)."""
    return float(np.percentile(strongest, _LOUD)) + 1e-9


def at_multiples(magnitudes: Float, level: float) -> Float:
    """What the network is shown of (frames, bins): logarithms of magnitudes, about -1.5 to 2, at
    the PITCH_MULTIPLES of every candidate, (multiples, frames, candidates)."""
    logarithms = np.log(magnitudes / np.float32(level) + np.float32(_FLOOR))
    found = np.empty((len(PITCH_MULTIPLES), len(magnitudes), len(pitch_grid())), np.float32)
    for row, (low, share, inside) in zip(found, _places(), strict=True):
        between = logarithms[:, low] * (1 - share) + logarithms[:, low + 1] * share
        row[:] = np.where(inside, between, np.float32(np.log(_FLOOR)))
    scaled: Float = (found + np.float32(4)) / np.float32(2)
    return scaled


@lru_cache(1)
def _places() -> list[tuple[NDArray[np.intp], Float, NDArray[np.bool_]]]:
    """For every multiple the bin below each candidate, the share of the one above, and whether
    both are there."""
    places = []
    for multiple in PITCH_MULTIPLES:
        place = pitch_grid() * multiple * PADDED / RATE
        inside = place < PADDED // 2 - 2
        low = np.where(inside, np.floor(place), 0).astype(np.intp)
        places.append((low, (place - low).astype(np.float32) * inside, inside))
    return places
