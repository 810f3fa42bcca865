"""A GAN as a prior: a generator of one second of one instrument, in a bundle of kind `gan`.

Its latents are a hundred numbers, so that it cannot represent what it has not heard; it is here
because the literature compares with it (docs/systems.md), not because it separates well.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from presets import STEM_PATTERN

from .bundle import check_files, damaged, read_card
from .sessions import Device, make_session

if TYPE_CHECKING:
    import onnxruntime

Float = NDArray[np.float32]

SUFFIX = ".gan"  # so that no preset takes it for the prior of its stem
GRAPHS = ("inverse", "gradient")
KIND = "gan"


class GanCard(BaseModel):
    """Everything about a GAN prior that is not its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: int
    kind: Literal["gan"]
    stem: str = Field(pattern=STEM_PATTERN)
    licence: str = "unknown"
    sample_rate: int = Field(ge=8000, le=192000)
    samples: int = Field(ge=256, le=1 << 20, description="of what it plays")
    latent: int = Field(ge=1, le=4096)
    bound: float = Field(gt=0, le=10, description="a search keeps every latent within +-bound")
    gan: dict[str, int]
    parameters: int = Field(gt=0)
    training: dict[str, Any]
    made_with: dict[str, str]
    files: dict[str, str] = Field(description="sha256 of every other file in the bundle")
    tolerance: float = Field(gt=0, description="largest relative error of the self-test")


class GanPrior:
    """What latents sound like, and the slope of the search's objective.

    Shape: latents (batch, latent), waveforms (batch, samples) at the card's rate.
    """

    def __init__(self, path: Path, device: Device) -> None:
        self.path = path
        fields, self._files, self.sha256 = read_card(path, KIND)
        try:
            self.card = GanCard.model_validate(fields)
        except ValueError as error:
            raise damaged(path, f"its card cannot be read: {error}") from error
        check_files(path, GRAPHS, self.card.files, self._files)
        self._sessions = {name: self._opened(name, device) for name in GRAPHS}
        self._self_test()

    @property
    def stem(self) -> str:
        """The instrument."""
        return self.card.stem

    def _opened(self, graph: str, device: Device) -> onnxruntime.InferenceSession:
        try:
            return make_session(self._files[f"{graph}.onnx"], device)[0]
        except Exception as error:
            raise damaged(self.path, f"{graph}.onnx cannot be loaded: {error}") from error

    def inverse(self, latents: Float) -> Float:
        """Return waveforms."""
        (waveform,) = self._sessions["inverse"].run(["waveform"], {"latents": latents})
        return np.asarray(waveform)

    def gradient(
        self, latents: Float, mix: Float, other_waveforms: Float
    ) -> tuple[Float, Float, Float]:
        """Return the loss per example, this prior's waveforms and the gradient by latents.

        `other_waveforms` are those of the other priors, (batch, rivals, samples), at least one;
        for a source alone, silence.
        """
        inputs = {"latents": latents, "mix": mix, "others": other_waveforms}
        loss, own, slope = self._sessions["gradient"].run(["loss", "own", "gradient"], inputs)
        return loss, own, slope

    def within(self, latents: Float) -> Float:
        """The nearest latents that a search may use."""
        return np.clip(latents, -self.card.bound, self.card.bound)

    def _self_test(self) -> None:
        """Compare both graphs with the values torch gave when the bundle was written."""
        with np.load(io.BytesIO(self._files["selftest.npz"]), allow_pickle=False) as arrays:
            v = {name: arrays[name] for name in arrays.files}
        loss, own, slope = self.gradient(v["latents"], v["mix"], v["others"])
        found = {"loss": loss, "waveform": own, "gradient": slope}
        for name, result in found.items():
            self._compare(name, result, v[name])
        self._compare("waveform", self.inverse(v["latents"]), v["waveform"])

    def _compare(self, name: str, found: Float, expected: Float) -> None:
        error = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
        if not error < self.card.tolerance:
            raise damaged(self.path, f"{name} is {error:.1e} off, allowed {self.card.tolerance}")
