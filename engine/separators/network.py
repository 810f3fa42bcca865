"""A card's graphs at work: segments of audio in, the same segments of every stem out.

What a graph gives is put together by one rule: every spectral tensor is turned back into audio,
every waveform is added. That covers the networks with one branch, those with two, and masks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from ..audio.closing import Closing
from ..model.sessions import Device, telling_device_faults
from .card import InputCard, OutputCard
from .graph import check_files, open_graph, static_batch
from .loading import LoadedCard

if TYPE_CHECKING:
    import onnxruntime

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]

_LEAST = np.float32(1e-10)  # Spleeter's, in the denominator of ratio masks
_ORDER = {"wave": "bscn", "spec": "bscrft", "real": "bscft", "imag": "bscft", "mag": "bsckft"}


class NotFiniteError(Exception):
    """A graph gave NaN or infinity; says for which segment of the call."""

    def __init__(self, segment: int) -> None:
        super().__init__(f"segment {segment}")
        self.segment = segment


class Network(Closing):
    """The sessions of one card. Files and graphs are checked when it is made."""

    def __init__(self, loaded: LoadedCard, device: Device, threads: int) -> None:
        self.loaded, self.card, self.stft = loaded, loaded.card, loaded.stft
        refuse_too_large(loaded)
        check_files(loaded)
        self._device = device.name
        self._graphs: list[onnxruntime.InferenceSession] = []
        for file in self.card.graphs:
            session, self._device = open_graph(loaded, file, device, threads)
            self._graphs.append(session)
        self._batches = [static_batch(session, self.card.inputs) for session in self._graphs]

    @property
    def got(self) -> str:
        """The device that the sessions run on."""
        return self._device

    def close(self) -> None:
        """Let go of the sessions; they may hold gigabytes."""
        self._graphs = []

    def run(self, segments: Float) -> Float:
        """(batch, channels, segment) -> (batch, used stems, channels, segment).

        Raises NotFiniteError, or StemwrightError for a graph that gives something else than its
        card says, or needs more memory than the card allows.
        """
        stems = self._separated(segments)
        if self.card.denoise:
            stems = np.float32(0.5) * (stems - self._separated(-segments))
        stems *= np.array(self.card.gains, np.float32)[:, None, None]
        for index, segment in enumerate(stems):
            if not np.isfinite(segment).all():
                raise NotFiniteError(index)
        self._keep_memory()
        used = [self.card.stems.index(stem) for stem in self.card.used]
        return stems[:, used]

    def _separated(self, segments: Float) -> Float:
        fixed = next((size for size in self._batches if size is not None), None)
        single = any("b" not in entry.layout.letters for entry in self.card.inputs)
        size = 1 if single else fixed or len(segments)
        found = []
        for first in range(0, len(segments), size):
            part = segments[first : first + size]
            missing = size - len(part) if fixed else 0
            padded = np.pad(part, [(0, missing), (0, 0), (0, 0)]) if missing else part
            found.append(self._one_call(padded)[: len(part)])
        return np.concatenate(found)

    def _one_call(self, segments: Float) -> Float:
        spectrum = self._spectrum(segments)
        waves: list[Float] = []
        magnitudes: list[Float] = []
        for number, session in enumerate(self._graphs):
            inputs = self._fed(session, segments, spectrum)
            tensors = self._run(session, inputs)
            wave, magnitude = self._assembled(tensors, spectrum, len(segments), number)
            waves += [wave] if wave is not None else []
            magnitudes += [magnitude] if magnitude is not None else []
        stems = np.concatenate(waves, axis=1) if waves else None
        if magnitudes:
            assert spectrum is not None
            masked = self._masked(np.concatenate(magnitudes, axis=1), spectrum)
            stems = masked if stems is None else stems + masked
        assert stems is not None
        if stems.shape[1] != len(self.card.stems):
            raise self.loaded.error(
                "separator-stems",
                ("stems",),
                f"the graphs give {stems.shape[1]} stems, the card names {len(self.card.stems)}: "
                f"{', '.join(self.card.stems)}. Name them all in the order of the outputs, and "
                "those to be taken under use.",
            )
        return np.ascontiguousarray(stems)

    def _spectrum(self, segments: Float) -> Complex | None:
        if self.stft is None or self.card.stft is None:
            return None
        spectrum = self.stft.forward(segments)
        if self.card.stft.zero_low_bins:
            spectrum = spectrum.copy()
            spectrum[..., : self.card.stft.zero_low_bins, :] = 0
        return spectrum

    def _fed(
        self,
        session: onnxruntime.InferenceSession,
        segments: Float,
        spectrum: Complex | None,
    ) -> dict[str, NDArray[Any]]:
        types = {tensor.name: tensor.type for tensor in session.get_inputs()}
        inputs: dict[str, NDArray[Any]] = {}
        for entry in self.card.inputs:
            array, order = self._input(entry, segments, spectrum)
            tensor = entry.layout.pack(array, order)
            half = types[entry.name] == "tensor(float16)"
            inputs[entry.name] = tensor.astype(np.float16) if half else tensor
        return inputs

    def _input(
        self, entry: InputCard, segments: Float, spectrum: Complex | None
    ) -> tuple[Float, str]:
        """What one input holds, and the order of its axes."""
        if entry.role == "wave":
            return segments, "bcn"
        assert spectrum is not None
        if entry.role == "spec":
            return np.stack([spectrum.real, spectrum.imag], axis=2), "bcrft"
        if entry.role == "mag":
            magnitude = np.abs(spectrum)
            if entry.patch is None:
                return magnitude, "bcft"
            return _patched(magnitude, entry.patch), "bckft"
        return np.asarray(spectrum.real if entry.role == "real" else spectrum.imag), "bcft"

    def _run(
        self, session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[Any]]
    ) -> dict[str, Float]:
        names = [entry.name for entry in self.card.outputs]
        try:
            with telling_device_faults(self._device):
                found = session.run(names, inputs)
        except StemwrightError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            raise self.loaded.error(
                "separator-run",
                ("segment",),
                f"the graph does not work on what the card feeds it ({shapes}): {reason}. Compare "
                "segment, stft and the axes of the inputs with the model's own program.",
            ) from error
        return {
            name: np.asarray(array, np.float32) for name, array in zip(names, found, strict=True)
        }

    def _assembled(
        self,
        tensors: Mapping[str, Float],
        spectrum: Complex | None,
        batch: int,
        graph: int,
    ) -> tuple[Float | None, Float | None]:
        """Audio of a graph's stems (batch, stems, channels, segment), and magnitudes, if any."""
        wave: Float | None = None
        spectra: Complex | None = None
        magnitude: Float | None = None
        real: Float | None = None
        imag: Float | None = None
        for index, entry in enumerate(self.card.outputs):
            found = self._output(entry, index, tensors[entry.name], batch)
            if entry.role == "wave":
                wave = found if wave is None else wave + found
            elif entry.role == "mag":
                magnitude = found if magnitude is None else magnitude + found
            elif entry.role == "real":
                real = found if real is None else real + found
            elif entry.role == "imag":
                imag = found if imag is None else imag + found
            else:
                added = self._spectral(entry, found, spectrum)
                spectra = added if spectra is None else spectra + added
        if real is not None and imag is not None:
            both = np.asarray(real + 1j * imag, np.complex64)
            spectra = both if spectra is None else spectra + both
        if spectra is not None:
            audio = self._audio(spectra)
            wave = audio if wave is None else wave + audio
        return wave, magnitude

    def _spectral(self, entry: OutputCard, found: Float, spectrum: Complex | None) -> Complex:
        """A complex spectrum (batch, stems, channels, bins, frames) from spec or mask."""
        complex_valued = "r" in entry.layout.letters
        values = np.asarray(found[:, :, :, 0] + 1j * found[:, :, :, 1], np.complex64) if (
            complex_valued
        ) else np.asarray(found[:, :, :, 0], np.complex64)  # fmt: skip
        if entry.role == "spec":
            return values
        assert spectrum is not None
        return np.asarray(values * spectrum[:, None], np.complex64)

    def _output(self, entry: OutputCard, index: int, tensor: Float, batch: int) -> Float:
        """One tensor with axes batch, stem, channel and what its role has."""
        card, stft, layout = self.card, self.stft, entry.layout
        sizes = {"b": batch if "b" in layout.letters else 1, "c": card.channels, "r": 2}
        sizes["n"] = card.segment
        if stft is not None:
            sizes |= {"f": stft.kept_bins, "t": stft.frames}
            if entry.patch is not None:
                sizes |= {"t": entry.patch, "k": -(-stft.frames // entry.patch)}
        if "s" in layout.letters:
            known = int(np.prod([sizes[x] for x in layout.letters if x != "s"]))
            sizes["s"] = tensor.size // known
        order = "bscrft" if entry.role == "mask" else _ORDER[entry.role]
        try:
            found = layout.unpack(tensor, order, sizes)
        except ValueError as error:
            raise self.loaded.error(
                "separator-size",
                ("outputs", index, "axes"),
                f"{entry.name}: {error}. See stems, segment, stft and the order of the letters.",
            ) from error
        if entry.role == "mag":
            found = _unpatched(found, stft.frames if stft else 0)
        if entry.stem is not None:
            alone = np.zeros((batch, len(card.stems), *found.shape[2:]), np.float32)
            alone[:, card.stems.index(entry.stem)] = found[:, 0]
            found = alone
        return found

    def _masked(self, magnitudes: Float, spectrum: Complex) -> Float:
        """Ratio masks over the stems; of a single stem, over it and what the mix has besides."""
        power = self.card.mask_power
        powers = np.maximum(magnitudes, 0) ** power
        if magnitudes.shape[1] == 1:
            left = np.maximum(np.abs(spectrum)[:, None] - magnitudes, 0) ** power
            total = powers + left
        else:
            total = powers.sum(axis=1, keepdims=True)
        masks = (powers + _LEAST / 2) / (total + _LEAST)
        return self._audio(np.asarray(masks * spectrum[:, None], np.complex64))

    def _audio(self, spectra: Complex) -> Float:
        """Back to segments, stem by stem: the transforms of all at once would be large."""
        assert self.stft is not None and self.card.stft is not None
        if self.card.stft.zero_dc_out:
            spectra[..., 0, :] = 0
        return np.stack(
            [self.stft.inverse(spectra[:, stem]) for stem in range(spectra.shape[1])], axis=1
        )

    def _keep_memory(self) -> None:
        limit, used = self.card.max_ram_mib, resident_mib()
        if limit is not None and used > limit:
            raise self.loaded.error(
                "separator-memory",
                ("max_ram_mib",),
                f"the process uses {used:.0f} MiB, {limit} are allowed. Raise the limit, lower "
                "batch, or export the model for shorter segments.",
            )


def refuse_too_large(loaded: LoadedCard, peak_mib: float | None = None) -> None:
    """Before anything is loaded: weights alone, or a measured peak, above what may be used."""
    needed = max(loaded.size_bytes / 2**20, peak_mib or 0.0)
    limit = loaded.card.max_ram_mib
    if limit is not None and needed > limit:
        raise loaded.error(
            "separator-memory",
            ("max_ram_mib",),
            f"the model needs {needed:.0f} MiB or more, {limit} are allowed. Raise the limit, or "
            "take a smaller export (weights in float16).",
        )
    free = available_mib()
    if free is not None and needed > free:
        raise loaded.error(
            "separator-memory",
            ("files",),
            f"the model needs {needed:.0f} MiB or more, {free:.0f} are free. Close other "
            "programs, or take a smaller export (weights in float16).",
        )


def resident_mib() -> float:
    """Memory that this process has now, 0 where the system does not say."""
    if sys.platform != "linux":
        return 0.0
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def available_mib() -> float | None:
    """Memory that can be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    found: Sequence[str] = [line for line in lines if line.startswith("MemAvailable")]
    return float(found[0].split()[1]) / 1024 if found else None


def _patched(magnitude: Float, patch: int) -> Float:
    """(b, c, f, t) -> (b, c, k, f, patch), the last patch filled up with silence."""
    batch, channels, bins, frames = magnitude.shape
    missing = -frames % patch
    padded = np.pad(magnitude, [(0, 0), (0, 0), (0, 0), (0, missing)])
    split = padded.reshape(batch, channels, bins, -1, patch)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 2, 4))


def _unpatched(magnitude: Float, frames: int) -> Float:
    """(b, s, c, k, f, patch) -> (b, s, c, f, frames)."""
    joined = magnitude.transpose(0, 1, 2, 4, 3, 5)
    return joined.reshape(*joined.shape[:4], -1)[..., :frames]
