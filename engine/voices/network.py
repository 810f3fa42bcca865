"""A voice network at work: a mix and pitches in, the parameters of every voice out.

Its file is a bundle like a prior's: a zip with `card.json`, the graph `network.onnx`, whose
weights a training can go on from (`weights.npz`), and `selftest.npz`, which a session must
reproduce before it is used.

Long mixes are heard in windows of WINDOW frames that overlap; parameters are cross-faded, so the
memory does not grow with what is heard at once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from presets import StemwrightError

from ..model.bundle import check_files, damaged, read_card
from ..model.card import CARD_SCHEMA, Source
from ..model.prior import prior_folders
from ..model.sessions import Device, make_session, telling_device_faults
from .adapting import band_gains
from .features import FINE_BINS, SILENCE, frames_of, mix_level, stretch, voice_features
from .pitches import PitchTracks
from .synthesis import VOICE_HOP, VOICE_RATE, Excitation, VoiceParameters

if TYPE_CHECKING:
    import onnxruntime

Float = NDArray[np.float32]

WINDOW = 640  # frames heard at once: 10.2 s
SHARED = 64  # frames that two windows have in common: 1 s

Run = Callable[[Float, Float, Float], tuple[Float, ...]]


KIND = "voices"
VOICE_GRAPH = "network"
VOICE_SUFFIX = ".voices"  # so that no preset takes it for the prior of a stem
SHIPPED = Path(__file__).parent.parent / "priors" / f"choir{VOICE_SUFFIX}"
VOICE_INPUTS = ("mel", "pitch", "harmonics")
VOICE_OUTPUTS = ("amplitude", "noise_gain", "lsf", "noise_shape")


class VoiceCard(BaseModel):
    """Everything about a voice network that is not its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: int = CARD_SCHEMA
    kind: str = KIND
    description: str = ""
    licence: str = "unknown"
    config: dict[str, int | bool]
    mels: int = Field(gt=0)
    harmonics: int = Field(ge=0)
    parameters: int = Field(gt=0)
    training: dict[str, Any]
    sources: tuple[Source, ...]
    validation: dict[str, Any]
    made_with: dict[str, str]
    files: dict[str, str] = Field(description="sha256 of every other file in the bundle")
    tolerance: float = Field(gt=0, description="largest relative error of the self-test")


class VoiceNetwork:
    """A bundle with its session. `sha256` is that of the file."""

    def __init__(
        self, path: Path, card: VoiceCard, files: dict[str, bytes], sha256: str, device: Device
    ) -> None:
        self.path, self.card, self.sha256 = path, card, sha256
        self._session: onnxruntime.InferenceSession
        self._session, self.got = make_session(files[f"{VOICE_GRAPH}.onnx"], device)
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._check(files["selftest.npz"])

    @classmethod
    def load(cls, path: Path, device: Device | None = None) -> VoiceNetwork:
        """Open a bundle. Raises StemwrightError for one that is damaged or of another kind."""
        card, files, sha256 = _read(path)
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

    def _check(self, selftest: bytes) -> None:
        """Refuse a session that does not say what torch said."""
        with np.load(io.BytesIO(selftest), allow_pickle=False) as vectors:
            found = self._run(*(vectors[name] for name in VOICE_INPUTS))
            for name, values in zip(VOICE_OUTPUTS, found, strict=True):
                error = np.abs(values - vectors[name]).max() / np.abs(vectors[name]).max()
                if not error <= self.card.tolerance:
                    raise StemwrightError(
                        "voices-selftest",
                        f"{self.path}: {name} differs from the training's by {error:.2g} of its "
                        f"largest value on {self.got}, allowed are {self.card.tolerance:g}. "
                        "Update ONNX Runtime, choose another --device, or export it again.",
                    )


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
    card, files, sha256 = _read(path)
    with np.load(io.BytesIO(files["weights.npz"]), allow_pickle=False) as stored:
        weights = {name: stored[name].astype(np.float32) for name in stored.files}
    return card, weights, sha256


def _read(path: Path) -> tuple[VoiceCard, dict[str, bytes], str]:
    fields, files, sha256 = read_card(path, KIND)
    try:
        card = VoiceCard.model_validate(fields)
    except pydantic.ValidationError as error:
        raise damaged(path, f"its card cannot be read: {error}") from error
    check_files(path, [VOICE_GRAPH], card.files, files)
    return card, files, sha256


def heard_in_windows(
    run: Run, mels: int, harmonics: int, mix: Float, tracks: PitchTracks
) -> VoiceParameters:
    """Parameters of every voice in a mono mix (samples,) at VOICE_RATE.

    `run` has the network's inputs without a batch: mel (frames, mels), pitch (voices, frames),
    harmonics (voices, frames, 2 * harmonics), and gives the fields of VoiceParameters.
    """
    total, level = frames_of(len(mix)), mix_level(mix)
    driving = Excitation(tracks, len(mix) / VOICE_RATE)
    found: list[Float] = []
    for first in range(0, max(total - SHARED, 1), WINDOW - SHARED):
        frames = max(min(WINDOW, total - first), 2)
        cut, hertz, excitation = stretch(mix, tracks, driving, first, frames)
        scaled = cut / np.float32(max(level, SILENCE))
        own, driven = (FINE_BINS.magnitudes(one, VOICE_HOP) for one in (scaled, excitation))
        features = voice_features(cut, hertz, excitation, mels, harmonics, level, (own, driven))
        said = run(features.mel, features.pitch, features.harmonics)
        gains = band_gains(own, VoiceParameters(*said), driven, FINE_BINS)
        parameters = (*said, gains)
        if found:
            pairs = zip(found, parameters, strict=True)
            found = [_cross_faded(before, after) for before, after in pairs]
        else:
            found = list(parameters)
    return VoiceParameters(*(values[:, :total] for values in found))


def _cross_faded(before: Float, after: Float) -> Float:
    """Windows (voices, frames, ...) joined over the frames they share."""
    rise = ((np.arange(SHARED) + 0.5) / SHARED).astype(np.float32)
    rise = rise.reshape(-1, *[1] * (before.ndim - 2))
    shared = before[:, -SHARED:] * (1 - rise) + after[:, :SHARED] * rise
    return np.concatenate([before[:, :-SHARED], shared, after[:, SHARED:]], axis=1)
