"""How much of a choir sounds at each pitch, by log-frequency salience in NumPy alone.

Two views of the same frames. `harmonic_salience` adds up a spectrum at the harmonics of every
candidate (harmonic summation: Klapuri 2006), is sharp, and finds a pitch near one that is known.
`activations` explain the spectrum as a sum of harmonic templates (non-negative matrix
factorisation with fixed templates: Vincent, Bertin and Badeau 2010), so that energy that one pitch
explains speaks for no other: octaves and fifths of a sung note stay quiet.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Which = slice | NDArray[np.int64]  # frames

RATE = 16000  # Hz; all pitch work is done at this rate, on one channel
WINDOW = 2048  # 128 ms: harmonics of a bass at 80 Hz stand 10 bins apart after padding
PADDED = 4096
HOP = 256  # 16 ms
FRAME_S = HOP / RATE
PITCH_STRIDE = 2  # frames: every 32 ms is often enough to tell who sings what
LOWEST_HZ, HIGHEST_HZ = 61.7, 1109.0  # a bass's low B, a soprano's high C#
STEP_CENTS = 20
HARMONICS = 12
_ROLL_OFF = 0.8  # weight of each harmonic against the one below it, in harmonic sums
_FALL_HZ = (500.0, 1500.0, 4000.0)  # how fast templates fall: dark and bright vowels
_TOP_HZ = 2500.0  # harmonics above say little of pitch and cost time
_UPDATES = 40  # of the multiplicative update
_BLOCK = 512  # frames that are looked at together


class PitchFrames:
    """Spectra of one channel at `RATE`, (samples,), frame n centred at n * FRAME_S; there is a
    frame for every hop that begins inside it.

    A song's spectra would take thirty megabytes a minute, so they are made when they are asked
    for. What is known of every frame: `level`, its root mean square, and `strongest`, its
    strongest bin, both (frames,).
    """

    def __init__(self, mono: Float) -> None:
        count = max(1, -(-len(mono) // HOP))
        padded = np.zeros(WINDOW + count * HOP, np.float32)
        padded[WINDOW // 2 : WINDOW // 2 + len(mono)] = mono
        self._windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]
        self._shape = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self.level, self.strongest = np.empty((2, count), np.float32)
        power = np.zeros(PADDED // 2 + 1)
        for part in self.blocks():
            magnitudes = self.magnitudes(part)
            power += np.square(magnitudes, dtype=np.float64).sum(axis=0)
            self.strongest[part] = magnitudes.max(axis=1)
            samples = np.square(self._windows[part], dtype=np.float64)
            self.level[part] = np.sqrt(samples.mean(axis=1))
        smooth = _smoothed(np.sqrt(power / count))
        self._tilt: Float = np.maximum(smooth, smooth.max() * 1e-3 + 1e-12) ** np.float32(0.4)

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._windows)

    def blocks(
        self, first: int = 0, last: int | None = None, step: int = 1, width: int = _BLOCK
    ) -> Iterator[slice]:
        """Every `step`-th of the frames from `first` to `last`, `width` of them at once."""
        last = len(self) if last is None else last
        for begin in range(first, last, width * step):
            yield slice(begin, min(begin + width * step, last), step)

    def magnitudes(self, which: Which) -> Float:
        """Of frames, (frames, bins); a sinusoid's peak is its amplitude."""
        spectra = np.fft.rfft(self._windows[which] * self._shape, PADDED)
        return np.asarray(np.abs(spectra) * (2 / self._shape.sum()), np.float32)

    def whitened(self, which: Which) -> Float:
        """Magnitudes with the song's own spectral tilt taken out, and compressed.

        Singers' formants differ by 30 dB from band to band; without this the loudest band alone
        would decide.
        """
        compressed: Float = np.sqrt(self.magnitudes(which) / self._tilt)
        return compressed


def pitch_grid(step_cents: float = STEP_CENTS) -> NDArray[np.float64]:
    """All candidates in Hz, `step_cents` apart."""
    count = int(np.floor(1200 * np.log2(HIGHEST_HZ / LOWEST_HZ) / step_cents)) + 1
    return LOWEST_HZ * 2 ** (np.arange(count) * step_cents / 1200)


def harmonic_salience(spectrum: Float, candidates: NDArray[np.float64]) -> Float:
    """Weighted sums of a (compressed) spectrum at the harmonics, (frames, candidates).

    spectrum -- (frames, bins) of `PitchFrames`
    candidates -- Hz, (candidates,)
    """
    total = np.zeros((len(spectrum), len(candidates)), np.float32)
    for harmonic in range(1, HARMONICS + 1):
        place = candidates * harmonic * PADDED / RATE
        inside = place < spectrum.shape[1] - 2
        low = np.floor(place[inside]).astype(int)
        share = (place[inside] - low).astype(np.float32)
        weight = np.float32(_ROLL_OFF ** (harmonic - 1))
        sums = spectrum[:, low] * (1 - share) + spectrum[:, low + 1] * share
        total[:, inside] += weight * sums
    return total / np.float32(sum(_ROLL_OFF**h for h in range(HARMONICS)))


def salience_along(spectrum: Float, hertz: Float) -> Float:
    """`harmonic_salience` at pitches of each frame's own, (frames, pitches) in Hz."""
    total = np.zeros(hertz.shape, np.float32)
    frames = np.arange(len(spectrum))[:, None]
    for harmonic in range(1, HARMONICS + 1):
        place = hertz * (harmonic * PADDED / RATE)
        inside = place < spectrum.shape[1] - 2
        low = np.where(inside, place, 0).astype(np.intp)
        share = np.where(inside, place - low, 0).astype(np.float32)
        sums = spectrum[frames, low] * (1 - share) + spectrum[frames, low + 1] * share
        total += np.where(inside, np.float32(_ROLL_OFF ** (harmonic - 1)) * sums, 0)
    return total / np.float32(sum(_ROLL_OFF**h for h in range(HARMONICS)))


def activations(frames: PitchFrames, step: int = 1) -> Float:
    """How strongly each candidate of `pitch_grid()` sounds in every `step`-th frame, (frames /
    step, candidates), at least 0."""
    templates = _templates()
    tilts = len(templates) // len(pitch_grid())
    scale = templates.sum(axis=1)
    found = []
    for part in frames.blocks(step=step):
        block = np.maximum(frames.whitened(part)[:, : templates.shape[1]], 1e-6)
        gains = np.full((len(block), len(templates)), block.mean(), np.float32)
        for _ in range(_UPDATES):  # Kullback-Leibler divergence
            gains *= (block / (gains @ templates + 1e-9)) @ templates.T / scale
        found.append(gains.reshape(len(block), -1, tilts).sum(axis=2))
    return np.concatenate(found)


@lru_cache(1)
def _templates() -> Float:
    """Compressed spectra of every candidate at every tilt, (candidates * tilts, bins).

    Amplitudes fall with the harmonic's frequency, not its number: the throat is the same for
    all notes, and a bass has many strong harmonics where a soprano has three.
    """
    bins = int(_TOP_HZ * PADDED / RATE)
    lobe = np.abs(np.fft.rfft(np.hanning(WINDOW + 1)[:-1], PADDED * 8))
    lobe = lobe / lobe[0]  # main lobe of the window, 8 points a bin
    rows = []
    for hertz in pitch_grid():
        for fall in _FALL_HZ:
            row = np.zeros(bins)
            for harmonic in range(1, int(_TOP_HZ / hertz) + 1):
                place = hertz * harmonic * PADDED / RATE
                near = np.arange(max(0, int(place) - 5), min(bins, int(place) + 7))
                heard = lobe[np.round(np.abs(near - place) * 8).astype(int)]
                heard = np.sqrt(heard * np.exp(-harmonic * hertz / fall))
                row[near] = np.maximum(row[near], heard)
            rows.append(row / np.linalg.norm(row))
    return np.array(rows, np.float32)


def _smoothed(spectrum: NDArray[np.floating]) -> Float:
    """A spectrum averaged over a third of an octave."""
    total = np.concatenate([[0.0], np.cumsum(np.square(spectrum, dtype=np.float64))])
    places = np.arange(len(spectrum))
    low = np.maximum((places * 2 ** (-1 / 3)).astype(int) - 8, 0)
    high = np.minimum((places * 2 ** (1 / 3)).astype(int) + 9, len(spectrum))
    mean: Float = np.sqrt((total[high] - total[low]) / (high - low)).astype(np.float32)
    return mean
