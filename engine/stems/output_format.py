"""What a file of a set is: its container and depth, as asked for and as written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from presets import Container, Depth, sha256_of

from ..audio.loudness import Loudness
from ..audio.reading import SourceInfo
from ..audio.wave_header import LONGEST_RIFF_BYTES, FileFormat


@dataclass(frozen=True)
class OutputFormat:
    """The container and depth that were asked for."""

    container: Container = "source"
    depth: Depth = "source"


AS_THE_MIX = OutputFormat()


@dataclass(frozen=True)
class StemFile:
    """One written stem, measured by reading it back."""

    stem: str
    name: str
    format: FileFormat
    frames: int
    sha256: str
    loudness: Loudness

    @classmethod
    def of(
        cls, stem: str, path: Path, fmt: FileFormat, frames: int, loudness: Loudness
    ) -> StemFile:
        """Describe a file that is complete, its hash included."""
        return cls(stem, path.name, fmt, frames, sha256_of(path), loudness)


def resolve_format(info: SourceInfo, output: OutputFormat) -> FileFormat:
    """The asked format with `source` filled in: lossy mixes become 24-bit WAV."""
    container = output.container
    if container == "source":
        container = info.container if info.container in ("aiff", "flac") else "wav"  # type: ignore[assignment]
    if output.depth == "source":
        encoding: Literal["pcm", "float"] = "float" if info.encoding == "float" else "pcm"
        bits = info.bits
    elif isinstance(output.depth, int):
        encoding, bits = "pcm", output.depth
    else:
        encoding, bits = "float", int(output.depth.removeprefix("float"))
    if bits not in (8, 16, 24, 32, 64):
        bits = -(-bits // 8) * 8  # ALAC's 20 bits
    fmt = FileFormat(
        container,  # type: ignore[arg-type]
        encoding,
        bits,
        info.channels,
        info.sample_rate,
        info.channel_mask,
    )
    return long_enough(fmt, info.frames) if output.container == "source" else fmt


def long_enough(fmt: FileFormat, frames: int) -> FileFormat:
    """The same in a container that holds so many frames."""
    long = frames * fmt.frame_bytes > LONGEST_RIFF_BYTES - (1 << 26)
    return replace(fmt, container="wav") if fmt.container == "aiff" and long else fmt


def as_float(fmt: FileFormat, bits: int = 32) -> FileFormat:
    """The same with floats, which hold whatever there is."""
    container = "wav" if fmt.container == "flac" else fmt.container
    return replace(fmt, container=container, encoding="float", bits=bits)
