"""The separator card: what the tensors of a foreign ONNX model are, and what may be done with it.

A card is data: no code, no address, no download. One class tree is the schema, the documentation
(docs/separators.md) and the source of every error message.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from presets import NAME_PATTERN, STEM_PATTERN

from .axes import Axes

GRAPH_SUFFIXES = (".onnx", ".ort")
TEXTS = ("name", "source", "licence", "commercial", "max_ram_mib")  # change no sample

Normalise = Literal["none", "track-mean-std"]
Role = Literal["wave", "spec", "real", "imag", "mag"]
StemName = Annotated[str, Field(pattern=STEM_PATTERN)]
_NEEDED = {"wave": "n", "spec": "rft", "real": "ft", "imag": "ft", "mag": "ft", "mask": "ft"}
_ALLOWED = {"wave": "bcn", "spec": "bcrft", "real": "bcft", "imag": "bcft", "mag": "bckft",
            "mask": "bcrft"}  # fmt: skip


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CardFile(_Section):
    """A file of the model: a graph, or weights that a graph keeps outside itself."""

    path: str = Field(
        min_length=1, max_length=400, description="beside the card, or in a folder there"
    )
    sha256: str = Field(description="of the file, 64 hex digits")

    @field_validator("path")
    @classmethod
    def _stays_beside_the_card(cls, path: str) -> str:
        strange = re.search(r"[\\:\x00-\x1f]", path)
        if strange or any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError(f"{path!r} leads elsewhere; files lie beside the card, and / divides")
        return path

    @field_validator("sha256")
    @classmethod
    def _is_a_hash(cls, sha256: str) -> str:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
            raise ValueError(
                f"must be 64 hex digits, got {sha256[:20]!r} ({len(sha256)} characters); "
                "`sha256sum FILE` prints it, `stemwright separator init` writes it"
            )
        return sha256.lower()

    @property
    def is_graph(self) -> bool:
        """Whether it is run, and not only read by another file."""
        return self.path.lower().endswith(GRAPH_SUFFIXES)


class StftCard(_Section):
    """The transform that the model was trained with. It cannot be read off the graph."""

    n_fft: int = Field(ge=16, le=65536, description="samples of a frame")
    hop: int = Field(ge=1, le=65536, description="samples from frame to frame")
    window: Literal["hann", "none"] = Field(default="hann", description="periodic, or none")
    center: bool = Field(
        default=True, description="frames are centred on multiples of the hop, ends mirrored"
    )
    normalized: bool = Field(default=False, description="divided by the root of n_fft")
    dim_f: int | None = Field(
        default=None, ge=1, le=65536, description="bins that the model sees, the lowest first"
    )
    pre_pad: int = Field(
        default=0,
        ge=0,
        le=65536,
        description="samples mirrored at both ends before (Demucs: 1536)",
    )
    trim_frames: int = Field(
        default=0, ge=0, le=64, description="frames cut off at both ends after (Demucs: 2)"
    )
    zero_low_bins: int = Field(
        default=0, ge=0, le=1024, description="lowest bins fed as zero (MDX-Net: 3)"
    )
    zero_dc_out: bool = Field(default=False, description="lowest bin of the result set to zero")

    @model_validator(mode="after")
    def _sizes_fit(self) -> StftCard:
        if self.n_fft % 2:
            raise ValueError(f"n_fft: must be even, got {self.n_fft}")
        if self.hop > self.n_fft:
            raise ValueError(f"hop: must be at most n_fft ({self.n_fft}), got {self.hop}")
        if self.dim_f is not None and self.dim_f > self.n_fft // 2 + 1:
            raise ValueError(
                f"dim_f: n_fft {self.n_fft} has {self.n_fft // 2 + 1} bins, got {self.dim_f}"
            )
        if self.pre_pad and not self.center:
            raise ValueError("pre_pad: goes with center: true alone")
        return self

    @property
    def bins(self) -> int:
        """Bins that the model sees."""
        return self.dim_f or self.n_fft // 2 + 1


class InputCard(_Section):
    """A tensor that the model is fed."""

    name: str = Field(min_length=1, max_length=200, description="in the graph")
    role: Role = Field(description="what it holds")
    axes: str = Field(max_length=60, description="its layout, such as `b (c r) f t`")
    patch: int | None = Field(
        default=None, ge=1, le=65536, description="frames of one patch, for axes with k"
    )

    @model_validator(mode="after")
    def _axes_fit_the_role(self) -> InputCard:
        _check_axes(self.axes, self.role, _ALLOWED[self.role], self.patch)
        return self

    @property
    def layout(self) -> Axes:
        """The parsed pattern."""
        return Axes.parse(self.axes)


class OutputCard(_Section):
    """A tensor that the model gives."""

    name: str = Field(min_length=1, max_length=200, description="in the graph")
    role: Role | Literal["mask"] = Field(
        description="what it holds; a mask is a gain on the spectrum that was fed, complex with r"
    )
    axes: str = Field(max_length=60, description="its layout, such as `b s c n`")
    patch: int | None = Field(
        default=None, ge=1, le=65536, description="frames of one patch, for axes with k"
    )
    stem: StemName | None = Field(
        default=None, description="the one stem that it holds, where each stem has its own tensor"
    )

    @model_validator(mode="after")
    def _axes_fit_the_role(self) -> OutputCard:
        _check_axes(self.axes, self.role, _ALLOWED[self.role] + "s", self.patch)
        if self.stem is not None and "s" in self.layout.letters:
            raise ValueError(f"axes: holds {self.stem} alone, so there is no s in {self.axes!r}")
        return self

    @property
    def layout(self) -> Axes:
        """The parsed pattern."""
        return Axes.parse(self.axes)


class SeparatorCard(_Section):
    """Everything about a foreign separator that is not its weights."""

    card: Literal[1] = Field(description="version of this format")
    name: str = Field(pattern=NAME_PATTERN, description="by which presets call it")
    source: str = Field(default="", max_length=2000, description="where it comes from; text only")
    licence: str = Field(
        min_length=1, max_length=2000, description="of the weights, or `not stated`"
    )
    commercial: Literal["yes", "no", "unknown"] = Field(
        default="unknown", description="whether commercial use is allowed"
    )
    files: tuple[CardFile, ...] = Field(
        min_length=1,
        max_length=32,
        description="graphs, which are all fed the same and whose stems are joined in this order, "
        "and weights outside of them",
    )
    sample_rate: int = Field(default=44100, ge=8000, le=192000, description="of the model, in Hz")
    channels: Literal[1, 2] = Field(
        default=2, description="1: every channel by itself; 2: mono is doubled, then averaged"
    )
    stems: tuple[StemName, ...] = Field(
        min_length=1, max_length=32, description="in the order of the outputs"
    )
    use: tuple[StemName, ...] | None = Field(
        default=None, description="those that are taken; the others go to the rest (all)"
    )
    rest: str = Field(
        default="rest",
        pattern=STEM_PATTERN,
        description="what the mix minus the stems is called; `none` where the stems are meant to "
        "be all there is",
    )
    segment: int = Field(ge=256, le=1 << 26, description="samples of one call")
    overlap: float = Field(
        default=0.25, ge=0, le=0.75, description="share of a segment that its neighbour has, too"
    )
    blend: Literal["hann", "linear"] = Field(default="hann", description="how neighbours fade")
    edge: Literal["zero", "reflect"] = Field(
        default="zero", description="what stands before the start and behind the end"
    )
    discard: int = Field(
        default=0,
        ge=0,
        le=1 << 22,
        description="samples cut off at both ends of every segment before fading; n_fft / 2 for "
        "MDX-Net and MDX23C, n_fft without centring",
    )
    stft: StftCard | None = Field(default=None, description="for every role but wave")
    inputs: tuple[InputCard, ...] = Field(min_length=1, max_length=8, description="what is fed")
    outputs: tuple[OutputCard, ...] = Field(
        min_length=1, max_length=64, description="what comes back; all of a stem are added"
    )
    normalise: Normalise = Field(
        default="none",
        description="the track's mean (of the channels' average) and deviation, undone afterwards",
    )
    mask_power: Literal[1, 2] = Field(
        default=2, description="magnitudes become masks: |s|^p over the sum of all (role mag)"
    )
    gain: tuple[float, ...] = Field(
        default=(1.0,), description="one number or one for each stem (MDX-Net: compensate)"
    )
    denoise: bool = Field(
        default=False, description="half of f(x) - f(-x), twice the time: takes out hum of its own"
    )
    above_cut: Literal["rest", "follow"] = Field(
        default="rest",
        description="above the model's band: left to the rest, or the gain of its highest band",
    )
    max_ram_mib: int | None = Field(
        default=None, ge=64, description="memory the process may have while it runs"
    )
    batch: int = Field(default=1, ge=1, le=64, description="segments of one call")

    @field_validator("commercial", mode="before")
    @classmethod
    def _truth_is_a_word(cls, value: Any) -> Any:  # noqa: ANN401
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value

    @field_validator("gain", mode="before")
    @classmethod
    def _one_gain_for_all(cls, value: Any) -> Any:  # noqa: ANN401
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return (float(value),) if number else value

    @field_validator("gain")
    @classmethod
    def _gains_are_near_one(cls, gain: tuple[float, ...]) -> tuple[float, ...]:
        for value in gain:
            if not 0.1 <= value <= 4:
                raise ValueError(f"must be at least 0.1 and at most 4, got {value:g}")
        return gain

    @model_validator(mode="after")
    def _parts_fit(self) -> SeparatorCard:
        for problem in _misfits(self):
            raise ValueError(problem)
        return self

    @property
    def used(self) -> tuple[str, ...]:
        """The stems that are taken, in the order of the outputs."""
        return self.stems if self.use is None else tuple(s for s in self.stems if s in self.use)

    @property
    def gains(self) -> tuple[float, ...]:
        """One for each stem."""
        return self.gain * len(self.stems) if len(self.gain) == 1 else self.gain

    @property
    def graphs(self) -> tuple[CardFile, ...]:
        """Files that are run."""
        return tuple(file for file in self.files if file.is_graph)

    @property
    def band_hz(self) -> float:
        """The frequency up to which the stems have something."""
        nyquist = self.sample_rate / 2
        stft = self.stft
        return nyquist if stft is None else min(nyquist, stft.bins / stft.n_fft * 2 * nyquist)

    def digest(self) -> str:
        """sha256 of everything that can change a sample: the card's values and file hashes."""
        values = self.model_dump(mode="json", exclude=set(TEXTS))
        values["files"] = [file["sha256"] for file in values["files"]]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _check_axes(text: str, role: str, allowed: str, patch: int | None) -> None:
    try:
        letters = set(Axes.parse(text).letters)
    except ValueError as error:
        raise ValueError(f"axes: {error}") from None
    if missing := [x for x in _NEEDED[role] if x not in letters and not (x == "r" == role)]:
        raise ValueError(f"axes: role {role} needs {' and '.join(missing)}, got {text!r}")
    if strange := sorted(letters - set(allowed)):
        raise ValueError(f"axes: role {role} has no {' nor '.join(strange)}, got {text!r}")
    if ("k" in letters) != (patch is not None):
        raise ValueError("patch: goes with axes that have k, and only with them")


def _misfits(card: SeparatorCard) -> list[str]:
    """What does not fit together, in sentences that begin with the key at fault."""
    found = []
    if len(set(card.stems)) < len(card.stems):
        found.append("stems: one name stands there twice")
    if strange := [name for name in card.use or () if name not in card.stems]:
        found.append(f"use: {', '.join(strange)} is none of {', '.join(card.stems)}")
    if card.use == ():
        found.append("use: must name at least one of the stems, or be left out")
    if card.rest in card.used:
        found.append(f"rest: {card.rest} is one of the stems; call the rest otherwise")
    if len(card.gain) not in (1, len(card.stems)):
        found.append(f"gain: one number, or {len(card.stems)} for the stems, got {len(card.gain)}")
    if 2 * card.discard >= card.segment:
        found.append(f"discard: nothing is left of a segment of {card.segment} samples")
    if not card.graphs:
        found.append(f"files: no graph among them (a name that ends in {GRAPH_SUFFIXES[0]})")
    names = [(entry.name) for entry in card.inputs]
    if len(set(names)) < len(names):
        found.append("inputs: one name stands there twice")
    for entry in card.outputs:
        if entry.stem is not None and entry.stem not in card.stems:
            found.append(f"outputs: {entry.stem} is none of {', '.join(card.stems)}")
    return found + _spectral_misfits(card)


def _spectral_misfits(card: SeparatorCard) -> list[str]:
    found = []
    input_roles: set[str] = {entry.role for entry in card.inputs}
    output_roles: set[str] = {entry.role for entry in card.outputs}
    roles = input_roles | output_roles
    if roles != {"wave"} and card.stft is None:
        found.append(f"stft: is missing; role {sorted(roles - {'wave'})[0]} needs it")
    if roles == {"wave"} and card.stft is not None:
        found.append("stft: no tensor is a spectrum; leave it out")
    for side, where in ((input_roles, "inputs"), (output_roles, "outputs")):
        if ("real" in side) != ("imag" in side):
            found.append(f"{where}: real and imag go together")
    if card.stft is not None:
        usable = (
            card.segment + 2 * card.stft.pre_pad - (0 if card.stft.center else card.stft.n_fft)
        )
        if usable < card.stft.hop or card.segment <= card.stft.n_fft // 2:
            found.append(f"segment: too short for n_fft {card.stft.n_fft}, got {card.segment}")
    return found
