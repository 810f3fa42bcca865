"""Real songs that masks are judged on: what a mask gets wrong, without any sound being made.

A mask m on a band of the mix X leaves |S - m X|^2 = |S|^2 - 2 m Re(S X*) + m^2 |X|^2 of a stem S.
Summed over the bins of each band and all channels these three numbers say the signal to
distortion ratio of every mask on it, real phases included, so that a training can ask as often as
it likes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine import FrontEnd, middle_and_side

Float = NDArray[np.float32]

WINDOW = 320  # frames that an estimate is made of at once, as in a separation
MOST_WINDOWS = 12  # of a song, evenly spread
QUIET_DB = -25.0  # a stem so far below its mix does not count
_LEAST = 1e-12


@dataclass(frozen=True)
class TrueMix:
    """Windows of a song: the mix's magnitudes, (windows, frames, bands), its power, and every
    stem's power and product with it, (stems, windows, frames, bands). `halves` are what is looked
    at: the middle and the side of a pair, or the only channel, (1 or 2, windows, frames, bands).
    """

    song: str
    stems: tuple[str, ...]
    magnitudes: Float
    power: Float
    own: Float
    crossed: Float
    halves: Float

    def sdr_db(self, masks: Float) -> dict[str, float]:
        """Signal to distortion of each stem that plays, in dB; masks (stems, windows, frames,
        bands)."""
        wrong = self.own - 2 * masks * self.crossed + masks**2 * self.power
        return {
            stem: 10 * float(np.log10(_sum(own) / max(_sum(missed), _LEAST)))
            for stem, own, missed in zip(self.stems, self.own, wrong, strict=True)
            if _sum(own) > 10 ** (QUIET_DB / 10) * _sum(self.power)
        }

    def level_db(self, stem: str) -> float:
        """How loud a stem is against all else."""
        at = self.stems.index(stem)
        rest = self.power - 2 * self.crossed[at] + self.own[at]
        return 10 * float(np.log10(_sum(self.own[at]) / max(_sum(rest), _LEAST)))


def read_true_mix(
    song: str, files: Mapping[str, Sequence[Path]], front_end: FrontEnd
) -> TrueMix | None:
    """Read a song's stems, which may have several files each; None where fewer than two play.

    All files have one rate; what is shorter ends early.
    """
    audio, rate = read_stems(files)
    return true_mix(song, audio, rate, front_end) if len(audio) > 1 else None


def true_mix(song: str, audio: Mapping[str, Float], rate: int, front_end: FrontEnd) -> TrueMix:
    """A song from its stems, (channels, samples) each, equally long."""
    stft = front_end.stft(rate)
    mix = np.sum(list(audio.values()), axis=0)
    whole = stft.forward(mix)
    heard = front_end.band_magnitudes(whole, rate)
    own: list[Float] = []
    crossed: list[Float] = []
    for stem in audio.values():
        spectrogram = stft.forward(stem)
        own.append(front_end.band_magnitudes(spectrogram, rate) ** 2)
        # 2 Re(S X*) = |S + X|^2 - |S|^2 - |X|^2, band by band
        both = front_end.band_magnitudes(spectrogram + whole, rate) ** 2
        crossed.append(np.asarray((both - own[-1] - heard**2) / 2, np.float32))
    magnitudes = windowed(heard)
    return TrueMix(
        song,
        tuple(audio),
        magnitudes,
        magnitudes**2,
        np.stack([windowed(each) for each in own]),
        np.stack([windowed(each) for each in crossed]),
        halves_of(mix, rate, front_end),
    )


def halves_of(audio: Float, rate: int, front_end: FrontEnd) -> Float:
    """Windows of (channels, samples): of middle and side of a pair, or of all channels at once,
    (1 or 2, windows, WINDOW, bands)."""
    whole = front_end.stft(rate).forward(audio)
    views = [half[None] for half in middle_and_side(whole)] if len(whole) == 2 else [whole]
    return np.stack([windowed(front_end.band_magnitudes(view, rate)) for view in views])


def read_stems(files: Mapping[str, Sequence[Path]]) -> tuple[dict[str, Float], int]:
    """Stems (channels, samples) that are not silent, equally long, and their rate."""
    read = {
        stem: [soundfile.read(path, dtype="float32", always_2d=True) for path in paths]
        for stem, paths in files.items()
    }
    rate = next(rate for parts in read.values() for _, rate in parts)
    longest = max(len(audio) for parts in read.values() for audio, _ in parts)
    channels = max(audio.shape[1] for parts in read.values() for audio, _ in parts)
    stems = {}
    for stem, parts in read.items():
        summed = np.zeros((channels, longest), np.float32)
        for audio, _ in parts:
            summed[:, : len(audio)] += audio.T  # mono is on every channel
        if summed.any():
            stems[stem] = summed
    return stems, rate


def windowed(view: Float) -> Float:
    """Windows of (frames, bands), evenly spread: (windows, WINDOW, bands)."""
    return np.stack([_cut(view, start) for start in _windows(len(view))])


def _windows(frames: int) -> list[int]:
    """Where the windows of a song begin."""
    count = max(frames // WINDOW, 1)
    first = np.linspace(0, count - 1, min(count, MOST_WINDOWS)).round().astype(int)
    return [int(start) * WINDOW for start in first]


def _cut(view: Float, start: int) -> Float:
    piece = view[start : start + WINDOW]
    return np.pad(piece, ((0, WINDOW - len(piece)), (0, 0)))


def _sum(values: Float) -> float:
    return float(values.sum(dtype=np.float64))
