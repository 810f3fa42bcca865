"""What the page plays and shows of each lane: previews in blocks, peaks, a small spectrogram.

Previews are lossless 16-bit FLAC at a lower rate, so that a null on the page is a null. Lanes
are resampled and rounded each by itself; what this rounding leaves between the mix and the sum
of the dry stems, a few units of the last bit, goes to the last dry lane. What is more than
rounding stays where it is and is heard: a set that does not sum to its mix does not null here.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ..audio.reading import MixReader
from .lanes import Lane

Int32 = NDArray[np.int32]
Double = NDArray[np.float64]

BLOCK_S = 20
READ_FRAMES = 1 << 16
PEAKS_PER_S, MOST_PEAKS = 40, 12_000
PICTURE_COLUMNS, PICTURE_ROWS = 1200, 64
WINDOW = 1024
FLOOR_DB, RANGE_DB = -96.0, 84.0
LOWEST_HZ = 60.0


@dataclass(frozen=True)
class PreviewQuality:
    """How previews sound: their rate (0: the mix's own) and most channels."""

    rate_hz: int
    channels: int


QUALITIES = {
    "light": PreviewQuality(16_000, 1),
    "standard": PreviewQuality(24_000, 2),
    "full": PreviewQuality(0, 2),
}


@dataclass
class LanePeaks:
    """What one pass leaves of a lane: min and max per column in 1/127, and levels in dB."""

    peaks: list[tuple[float, float]] = field(default_factory=list)
    columns: list[Double] = field(default_factory=list)

    @property
    def peak(self) -> float:
        """The highest sample, full scale 1."""
        return max((max(-low, high) for low, high in self.peaks), default=0.0)


@dataclass(frozen=True)
class Previews:
    """The previews of a set: `shift` bits of headroom, `frames` at `rate` Hz, bytes written."""

    rate: int
    channels: int
    frames: int
    blocks: int
    shift: int
    written_bytes: int
    heard: dict[str, LanePeaks]


def write_previews(
    lanes: Sequence[Lane], folder: Path, quality: PreviewQuality, source_rate: int
) -> Previews:
    """One pass over all files of a set; scripts with the blocks of every lane go to `folder`."""
    rate = min(quality.rate_hz or source_rate, source_rate)
    pass_ = _Pass(lanes, rate, quality.channels)
    written, blocks, frames = 0, 0, 0
    for ints in _blocks(pass_, rate * BLOCK_S):
        length = next(iter(ints.values())).shape[1]
        for key, block in ints.items():
            text = f'SW.take("{key}",{blocks},"{_flac(block, rate)}");\n'
            (folder / f"{key}-{blocks}.js").write_text(text, encoding="ascii")
            written += len(text)
        blocks, frames = blocks + 1, frames + length
    return Previews(rate, pass_.channels, frames, blocks, pass_.shift, written, pass_.heard)


def probe(rate: int) -> str:
    """The extreme samples of 16 bits as FLAC in base64: the page learns its decoder's scale."""
    return _flac(np.array([[32767, -32768] * 256], np.int32), rate)


def _flac(block: Int32, rate: int) -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, block.T.astype(np.int16), rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _blocks(pass_: _Pass, size: int) -> Iterator[dict[str, Int32]]:
    """Blocks of `size` frames; the last one is as long as what is left."""
    waiting: dict[str, list[Int32]] = {key: [] for key in pass_.heard}
    held = 0
    for piece in pass_.pieces():
        for key, ints in piece.items():
            waiting[key].append(ints)
        held += next(iter(piece.values())).shape[1]
        while held >= size:
            joined = {key: np.concatenate(parts, axis=1) for key, parts in waiting.items()}
            yield {key: whole[:, :size] for key, whole in joined.items()}
            waiting = {key: [whole[:, size:]] for key, whole in joined.items()}
            held -= size
    if held:
        yield {key: np.concatenate(parts, axis=1) for key, parts in waiting.items()}


class _Pass:
    """One pass over all lanes side by side, block by block, at the preview's rate and channels."""

    def __init__(self, lanes: Sequence[Lane], rate: int, most_channels: int) -> None:
        self.lanes, self.rate = list(lanes), rate
        self.heard = {lane.key: LanePeaks() for lane in lanes}
        with ExitStack() as stack:
            infos = [stack.enter_context(MixReader(lane.file)).info for lane in lanes if lane.file]
        self.channels = min(most_channels, max(info.channels for info in infos))
        self._seconds = max(info.frames / info.sample_rate for info in infos)
        peak_db = max(_peak_db(lane) for lane in lanes)
        # Twice the sample peak is room for what resampling overshoots.
        self.shift = max(0, math.ceil(math.log2(2 * 10 ** (peak_db / 20))))

    def pieces(self) -> Iterator[dict[str, Int32]]:
        """The next frames of all lanes as 16-bit integers, `shift` bits below full scale."""
        with ExitStack() as stack:
            readers = {
                lane.key: stack.enter_context(MixReader(lane.file))
                for lane in self.lanes
                if lane.file
            }
            streams = {
                key: _Resampled(reader.info.sample_rate, self.rate, self.channels)
                for key, reader in readers.items()
            }
            lengths = {key: reader.info.frames for key, reader in readers.items()}
            waiting = {key: np.zeros((self.channels, 0)) for key in readers}
            done = False
            while not done:
                done = True
                for key, reader in readers.items():
                    block = reader.read(READ_FRAMES)
                    lengths[key] -= block.frames
                    last = lengths[key] <= 0 and block.frames > 0
                    done = done and lengths[key] <= 0
                    if block.frames:
                        new = streams[key].add(block.double, last)
                        waiting[key] = np.concatenate([waiting[key], new], axis=1)
                count = (max if done else min)(piece.shape[1] for piece in waiting.values())
                if done:  # wet stems may ring longer than the mix
                    waiting = {
                        key: np.pad(piece, ((0, 0), (0, count - piece.shape[1])))
                        for key, piece in waiting.items()
                    }
                if count:
                    yield self._rounded({key: w[:, :count] for key, w in waiting.items()})
                waiting = {key: piece[:, count:] for key, piece in waiting.items()}

    def _rounded(self, pieces: dict[str, Double]) -> dict[str, Int32]:
        scale = 2.0 ** (15 - self.shift)
        gains = {lane.key: lane.gain for lane in self.lanes}
        ints = {
            key: np.rint(piece * (gains[key] * scale)).astype(np.int32)
            for key, piece in pieces.items()
        }
        dry = [lane.key for lane in self.lanes if lane.kind == "dry"]
        total = sum((ints[key] for key in dry), np.zeros_like(next(iter(ints.values()))))
        if "mix" not in ints:
            ints = {"mix": total, **ints}
        elif dry:
            left = ints["mix"] - total
            ints[dry[-1]] = ints[dry[-1]] + np.where(np.abs(left) <= len(dry) + 1, left, 0)
        clipped = {key: np.clip(block, -(1 << 15), (1 << 15) - 1) for key, block in ints.items()}
        for key, block in clipped.items():
            self._hear(self.heard[key], block / scale)
        return clipped

    def _hear(self, heard: LanePeaks, audio: Double) -> None:
        """Peaks and spectra of the next frames; a rest shorter than a column is a column."""
        mono = audio.mean(axis=0)
        step = max(1, round(self.rate / self._peaks_per_s))
        for start in range(0, audio.shape[1], step):
            piece = audio[:, start : start + step]
            heard.peaks.append((float(piece.min()), float(piece.max())))
        hop = max(WINDOW // 2, round(self._seconds * self.rate / PICTURE_COLUMNS))
        window = np.hanning(WINDOW)
        for start in range(0, max(len(mono) - WINDOW, 1), hop):
            piece = np.pad(mono[start : start + WINDOW], (0, max(0, WINDOW - len(mono[start:]))))
            heard.columns.append(np.abs(np.fft.rfft(piece[:WINDOW] * window)) / (WINDOW / 4))

    @property
    def _peaks_per_s(self) -> float:
        return min(PEAKS_PER_S, MOST_PEAKS / self._seconds)


def _peak_db(lane: Lane) -> float:
    peak = lane.facts["loudness"]["sample_peak_dbfs"]
    return (-120.0 if peak is None else float(peak)) + 20 * math.log10(lane.gain)


class _Resampled:
    """One lane, at the preview's rate and channels: more channels than that are added up."""

    def __init__(self, source_rate: int, rate: int, channels: int) -> None:
        self._channels = channels
        self._stream = (
            soxr.ResampleStream(source_rate, rate, channels, dtype="float64")
            if source_rate != rate
            else None
        )

    def add(self, audio: Double, last: bool) -> Double:
        """The next frames; with `last`, all that are left."""
        count = audio.shape[0]
        if count < self._channels:
            audio = np.repeat(audio, self._channels, axis=0)
        elif count > self._channels:
            audio = np.stack(
                [audio[channel :: self._channels].sum(axis=0) for channel in range(self._channels)]
            ) / math.ceil(count / self._channels)
        if self._stream is None:
            return audio
        return np.asarray(self._stream.resample_chunk(audio.T, last=last)).T


def peaks_text(heard: LanePeaks, full: float) -> str:
    """Min and max per column, two signed bytes each, in base64; `full` is what 127 stands for."""
    table = np.array(heard.peaks) / full * 127
    rounded = np.stack([np.floor(table[:, 0]), np.ceil(table[:, 1])], axis=1)
    return base64.b64encode(np.clip(rounded, -127, 127).astype(np.int8).tobytes()).decode("ascii")


def picture_levels(heard: LanePeaks, rate: int) -> NDArray[np.uint8]:
    """The spectrogram as 0 to 255, high frequencies on top: (PICTURE_ROWS, columns).

    Rows are spaced evenly in pitch from LOWEST_HZ to half the rate, each the loudest of its
    bins; FLOOR_DB is 0.
    """
    spectra = np.array(heard.columns)
    edges = np.geomspace(LOWEST_HZ, rate / 2, PICTURE_ROWS + 1) / rate * WINDOW
    rows = []
    for low, high in pairwise(edges):
        first = min(int(low), spectra.shape[1] - 1)
        rows.append(spectra[:, first : max(first + 1, math.ceil(high))].max(axis=1))
    level = 20 * np.log10(np.maximum(np.array(rows)[::-1], 10 ** (FLOOR_DB / 20)))
    return np.asarray(np.clip((level - FLOOR_DB) / RANGE_DB * 255, 0, 255), np.uint8)
