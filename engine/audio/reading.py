"""Reads mixes: what a file is, its exact samples block by block, and whether it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from presets import StemwrightError, sha256_of

from .blocks import BLOCK_FRAMES
from .closing import Closing
from .containers import inspect
from .decoding import Decoder, DecoderHeader
from .inspection import Inspection
from .layout import layout_notes, usable_mask
from .loudness import Loudness, LoudnessMeter
from .writing import pcm_bytes

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8_000, 384_000
MOST_CHANNELS = 32
FLOAT32_BITS = 24  # integers of this depth are exact in float32
LOSSY_BITS = 24  # the integer depth in which a lossy mix is written

Encoding = Literal["pcm", "float", "lossy"]


@dataclass(frozen=True)
class SourceInfo:
    """What a mix is. `bits` is the depth of its samples (24 for lossy codecs).

    `channel_mask` is None where the file has none that fits; `notes` tell a person of it.
    """

    path: Path
    container: str
    encoding: Encoding
    bits: int
    channels: int
    sample_rate: int
    frames: int
    channel_mask: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MixBlock:
    """Consecutive frames of a mix.

    `exact` `(channels, n)` is int32 for PCM (right-justified: 16-bit samples lie within
    ±32768) and float64 for float and lossy sources.
    """

    exact: npt.NDArray[np.int32] | npt.NDArray[np.float64]
    bits: int

    @property
    def audio(self) -> npt.NDArray[np.float32]:
        """The same frames as float32, full scale 1.0."""
        if self.is_integer and self.bits <= FLOAT32_BITS:
            return self.exact.astype(np.float32) * np.float32(2.0 ** (1 - self.bits))
        return self.double.astype(np.float32)

    @property
    def double(self) -> npt.NDArray[np.float64]:
        """The same frames as float64, which holds every source exactly."""
        double = self.exact.astype(np.float64, copy=False)
        return double * 2.0 ** (1 - self.bits) if self.is_integer else double

    @property
    def measured(self) -> npt.NDArray[np.floating]:
        """The same frames in the narrowest float that holds them exactly."""
        return self.audio if self.is_integer and self.bits <= FLOAT32_BITS else self.double

    @property
    def is_integer(self) -> bool:
        """Whether `exact` holds integers."""
        return bool(self.exact.dtype == np.int32)  # 64-bit floats otherwise

    @property
    def frames(self) -> int:
        """Number of frames; 0 only behind the end."""
        return int(self.exact.shape[1])


@dataclass(frozen=True)
class MixFacts:
    """What one complete pass over a mix has proved."""

    info: SourceInfo
    sha256: str
    loudness: Loudness


def probe(path: Path) -> SourceInfo:
    """What the file is, by its header and structure; refuses all that is visibly not whole."""
    inspection = _inspect_readable(path)
    with _decoder(path, inspection, None) as decoder:
        return source_info(path, inspection, decoder.header)


class MixReader(Closing):
    """A reader of a mix, from beginning to end in blocks; `seek` starts again elsewhere."""

    def __init__(self, path: Path) -> None:
        self._inspection = _inspect_readable(path)
        self._path, self._position, self._ended = path, 0, False
        self._decoder = _decoder(path, self._inspection, 0)
        try:
            self.info = source_info(path, self._inspection, self._decoder.header)
        except BaseException:
            self.close()
            raise

    def read(self, frames: int) -> MixBlock:
        """The next frames, fewer than asked for only at the end of the mix, 0 behind it."""
        exact = self._decoder.read(frames) if not self._ended else self._nothing()
        if self.info.encoding == "pcm":
            exact = np.right_shift(exact.astype(np.int32, copy=False), 32 - self.info.bits)
        elif not np.isfinite(exact).all():
            raise _not_finite(self._path, self._position, exact)
        self._position += exact.shape[1]
        if exact.shape[1] < frames and not self._ended:
            self._ended = True
            self._refuse_wrong_length()
        return MixBlock(exact, self.info.bits)

    def seek(self, frame: int) -> None:
        """Go on reading at that frame."""
        self._decoder.close()
        self._decoder = _decoder(self._path, self._inspection, frame)
        self._position, self._ended = frame, False

    def close(self) -> None:
        """End the decoder."""
        self._decoder.close()

    def _nothing(self) -> npt.NDArray[np.int32] | npt.NDArray[np.float64]:
        shape = (self.info.channels, 0)
        return np.zeros(shape, np.int32) if self.info.encoding == "pcm" else np.zeros(shape)

    def _refuse_wrong_length(self) -> None:
        if self._position < self.info.frames:
            raise StemwrightError(
                "mix-truncated",
                f"{self._path.name}: the header promises {self.info.frames} frames, only "
                f"{self._position} could be decoded. Copy the file again.",
            )
        if self._position > self.info.frames:
            raise StemwrightError(
                "mix-damaged",
                f"{self._path.name}: the header promises {self.info.frames} frames, "
                f"{self._position} were decoded. Export the file anew.",
            )


def verify_mix(path: Path, keep: Callable[[MixBlock], None] = lambda block: None) -> MixFacts:
    """Decode all of it once: complete, finite, its digest and its loudness; `keep` is given
    every block."""
    inspection = _inspect_readable(path)
    with MixReader(path) as mix:
        info = mix.info
        meter = LoudnessMeter(info.channels, info.sample_rate, info.channel_mask)
        digest = hashlib.md5(usedforsecurity=False)
        while (block := mix.read(BLOCK_FRAMES)).frames:
            keep(block)
            meter.add(block.measured)
            if inspection.md5:
                digest.update(_flac_bytes(block))
    if inspection.md5 and digest.digest() != inspection.md5:
        raise StemwrightError(
            "mix-damaged",
            f"{path.name}: the decoded samples do not match the MD5 in the FLAC header. "
            "Copy the file again.",
        )
    return MixFacts(info, sha256_of(path), meter.result())


def _inspect_readable(path: Path) -> Inspection:
    try:
        if not path.is_file():
            what = "a folder or device" if path.exists() else "no such file"
            raise StemwrightError(
                "mix-missing", f"{path.name}: expected an audio file, found {what}."
            )
        seen = path.stat()
        return _inspected(path, (seen.st_ino, seen.st_size, seen.st_mtime_ns))
    except PermissionError as error:
        raise StemwrightError(
            "mix-unreadable", f"{path.name}: no permission to read it. Change its mode or owner."
        ) from error
    except OSError as error:
        raise StemwrightError(
            "mix-unreadable",
            f"{path.name}: reading failed ({error.strerror}). Is the share still there?",
            transient=True,
        ) from error


@lru_cache(maxsize=64)
def _inspected(path: Path, _identity: tuple[int, ...]) -> Inspection:
    """One walk for all passes over a file that stays the same."""
    return inspect(path)


def _decoder(path: Path, inspection: Inspection, start: int | None) -> Decoder:
    return Decoder(path, start, inspection.links)


def source_info(path: Path, inspection: Inspection, header: DecoderHeader) -> SourceInfo:
    """What a file is, by the walk over its structure and by its decoder's header."""
    encoding, bits = _encoding(header)
    info = SourceInfo(
        path,
        inspection.container,
        encoding,
        bits,
        header.channels,
        header.sample_rate,
        header.frames,
        usable_mask(header.channels, inspection.channel_mask),
        layout_notes(header.channels, inspection.channel_mask),
    )
    if inspection.frames is not None:
        info = replace(info, frames=inspection.frames)
    _refuse_absurd(info)
    return info


def _encoding(header: DecoderHeader) -> tuple[Encoding, int]:
    if header.integer_bits:
        return "pcm", header.integer_bits
    if header.float_bits:
        return "float", header.float_bits
    return "lossy", LOSSY_BITS


def _refuse_absurd(info: SourceInfo) -> None:
    if info.frames == 0:
        raise StemwrightError(
            "mix-empty", f"{info.path.name}: a header without audio. Export the mix again."
        )
    if not LOWEST_RATE_HZ <= info.sample_rate <= HIGHEST_RATE_HZ:
        raise StemwrightError(
            "mix-rate-unsupported",
            f"{info.path.name}: expected a sample rate from {LOWEST_RATE_HZ} to "
            f"{HIGHEST_RATE_HZ} Hz, got {info.sample_rate} Hz. Is the header damaged?",
        )
    if not 1 <= info.channels <= MOST_CHANNELS:
        raise StemwrightError(
            "mix-channels-unsupported",
            f"{info.path.name}: expected 1 to {MOST_CHANNELS} channels, got {info.channels}.",
        )


def _not_finite(
    path: Path, position: int, exact: npt.NDArray[np.float64] | npt.NDArray[np.int32]
) -> StemwrightError:
    first = position + int(np.flatnonzero(~np.isfinite(exact).all(axis=0))[0])
    return StemwrightError(
        "mix-not-finite",
        f"{path.name}: NaN or infinity at frame {first}. Find the plug-in that made it and "
        "export the mix again.",
    )


def _flac_bytes(block: MixBlock) -> bytes:
    """The samples as FLAC's MD5 counts them: interleaved little-endian, whole bytes."""
    return pcm_bytes(block.exact, -(-block.bits // 8) * 8)
