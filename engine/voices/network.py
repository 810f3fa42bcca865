"""A voice network at work: a mix and pitches in, the parameters of every voice out.

Long mixes are heard in windows of WINDOW frames that overlap; parameters are cross-faded, so the
memory does not grow with what is heard at once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from presets import StemwrightError

from ..model.prior import prior_folders
from ..model.sessions import Device, make_session, telling_device_faults
from .adapting import band_gains
from .features import FINE_BINS, SILENCE, frames_of, mix_level, stretch, voice_features
from .network_file import NETWORK_GRAPH, NetworkCard, check_session, read_network
from .pitches import PitchTracks
from .synthesis import VOICE_HOP, VOICE_RATE, Excitation, VoiceParameters

if TYPE_CHECKING:
    import onnxruntime

Float = NDArray[np.float32]

WINDOW = 640  # frames heard at once: 10.2 s
SHARED = 64  # frames that two windows have in common: 1 s

Run = Callable[[Float, Float, Float], tuple[Float, ...]]


KIND = "voices"
VOICE_SUFFIX = ".voices"  # so that no preset takes it for the prior of a stem
SHIPPED = Path(__file__).parent.parent / "priors" / f"choir{VOICE_SUFFIX}"
VOICE_INPUTS = ("mel", "pitch", "harmonics")
VOICE_OUTPUTS = ("amplitude", "noise_gain", "lsf", "noise_shape")


class VoiceCard(NetworkCard):
    """A voice network's card: what it hears besides."""

    kind: str = KIND
    mels: int = Field(gt=0)
    harmonics: int = Field(ge=0)


class VoiceNetwork:
    """A bundle with its session. `sha256` is that of the file."""

    def __init__(
        self, path: Path, card: VoiceCard, files: dict[str, bytes], sha256: str, device: Device
    ) -> None:
        self.path, self.card, self.sha256 = path, card, sha256
        self._session: onnxruntime.InferenceSession
        self._session, self.got = make_session(files[f"{NETWORK_GRAPH}.onnx"], device)
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        names = VOICE_INPUTS, VOICE_OUTPUTS
        check_session(path, files["selftest.npz"], names, self._run, card.tolerance, self.got)

    @classmethod
    def load(cls, path: Path, device: Device | None = None) -> VoiceNetwork:
        """Open a bundle. Raises StemwrightError for one that is damaged or of another kind."""
        card, files, sha256 = read_network(path, KIND, VoiceCard)
        return cls(path, card, files, sha256, device or Device("cpu"))

    def parameters(self, mix: Float, tracks: PitchTracks) -> VoiceParameters:
        """Hear a mono mix (samples,) at VOICE_RATE; returns parameters of every voice, frame by
        frame, with the gains by which the mix itself corrects them."""
        return heard_in_windows(self._run, self.card.mels, self.card.harmonics, mix, tracks)

    def _run(self, *features: Float) -> tuple[Float, ...]:
        named = dict(zip(VOICE_INPUTS, features, strict=True))
        with telling_device_faults(self.got):
            found = self._session.run(
                list(VOICE_OUTPUTS), {name: named[name] for name in self._inputs}
            )
        return tuple(found)


def find_network(name: str, extra: Sequence[Path] = ()) -> Path:
    """Resolve a network's name, or the path of a bundle; folders as for priors."""
    if name.endswith(VOICE_SUFFIX):
        return Path(name)
    folders = prior_folders(extra)
    known = {path.stem: path for one in reversed(folders) for path in one.glob(f"*{VOICE_SUFFIX}")}
    if name not in known:
        raise StemwrightError(
            "voices-network",
            f"voices.network: no bundle is called {name!r}; there are "
            f"{', '.join(sorted(known)) or 'none'}. Put {name}{VOICE_SUFFIX} into a folder of "
            "$STEMWRIGHT_PRIORS, or say where it is with --priors.",
        )
    return known[name]


def read_voice_weights(path: Path) -> tuple[VoiceCard, dict[str, Float], str]:
    """What a training goes on from: card, weights in single precision, sha256 of the file."""
    card, files, sha256 = read_network(path, KIND, VoiceCard)
    with np.load(io.BytesIO(files["weights.npz"]), allow_pickle=False) as stored:
        weights = {name: stored[name].astype(np.float32) for name in stored.files}
    return card, weights, sha256


def heard_in_windows(
    run: Run, mels: int, harmonics: int, mix: Float, tracks: PitchTracks
) -> VoiceParameters:
    """Parameters of every voice in a mono mix (samples,) at VOICE_RATE.

    `run` has the network's inputs without a batch: mel (frames, mels), pitch (voices, frames),
    harmonics (voices, frames, 2 * harmonics), and gives the fields of VoiceParameters.
    """
    total, level = frames_of(len(mix)), mix_level(mix)
    driving = Excitation(tracks, len(mix) / VOICE_RATE)
    pieces: list[list[Float]] = []
    last: list[Float] = []  # what the next window shares
    for first in range(0, max(total - SHARED, 1), WINDOW - SHARED):
        frames = max(min(WINDOW, total - first), 2)
        cut, hertz, excitation = stretch(mix, tracks, driving, first, frames)
        scaled = cut / np.float32(max(level, SILENCE))
        own, driven = (FINE_BINS.magnitudes(one, VOICE_HOP) for one in (scaled, excitation))
        features = voice_features(cut, hertz, excitation, mels, harmonics, level, (own, driven))
        said = run(features.mel, features.pitch, features.harmonics)
        window = [*said, band_gains(own, VoiceParameters(*said), driven, FINE_BINS)]
        if last:
            window = [_cross_faded(*both) for both in zip(last, window, strict=True)]
        pieces.append([values[:, :-SHARED] for values in window])
        last = [values[:, -SHARED:] for values in window]
    fields = zip(*pieces, last, strict=True)
    return VoiceParameters(*(np.concatenate(field, axis=1)[:, :total] for field in fields))


def _cross_faded(before: Float, after: Float) -> Float:
    """A window (voices, frames, ...) that takes over from what the one before says of its
    beginning."""
    rise = ((np.arange(SHARED) + 0.5) / SHARED).astype(np.float32)
    rise = rise.reshape(-1, *[1] * (before.ndim - 2))
    shared = before * (1 - rise) + after[:, :SHARED] * rise
    return np.concatenate([shared, after[:, SHARED:]], axis=1)
