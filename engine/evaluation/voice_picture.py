"""The pitches of voices over the spectrogram of what they were found in, as a PNG picture.

One look says whether the tracks lie on the harmonics: below, the tracks on the mix; a legend with
each voice's colour; thin where little sure.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..voices.pitches import PitchTracks
from ..voices.salience import PADDED, RATE, PitchFrames
from .heat_map import png, write_text

Float = NDArray[np.float32]
Pixels = NDArray[np.uint8]

VOICES_FOLDER, PICTURE_NAME = "voices", "pitches.png"  # where a set has it
LOWEST_HZ, HIGHEST_HZ = 55.0, 2200.0
HEIGHT = 640  # pixels: about ten a semitone
PIXELS_A_SECOND = 50
MOST_PIXELS = 12_000  # four minutes; longer mixes are drawn narrower
_LEFT, _TOP, _BOTTOM = 70, 40, 30
_NAMED = 150  # pixels that a voice has in the legend
_RANGE_DB = 60.0
_COLUMNS = 512  # whose spectra are made at once
_COLOURS = (
    (255, 92, 92), (255, 196, 61), (80, 220, 120), (90, 170, 255),
    (230, 120, 255), (120, 240, 240), (255, 150, 90), (200, 200, 200),
)  # fmt: skip


def write_picture(path: Path, mono: Float, tracks: PitchTracks) -> None:
    """Draw the tracks over what was heard, (samples,) at 16 kHz."""
    path.write_bytes(png(draw(mono, tracks)))


def draw(mono: Float, tracks: PitchTracks) -> Pixels:
    """The picture, (height, width, 3)."""
    frames = PitchFrames(mono)
    seconds = len(frames) * tracks.frame_seconds
    narrowest = max(200, _NAMED * len(tracks.names))  # the legend has to fit
    width = int(np.clip(seconds * PIXELS_A_SECOND, narrowest, MOST_PIXELS))
    canvas = np.zeros((_TOP + HEIGHT + _BOTTOM, _LEFT + width, 3), np.uint8)
    times = (np.arange(width) + 0.5) * seconds / width
    canvas[_TOP : _TOP + HEIGHT, _LEFT:] = _spectrogram(frames, times, tracks.frame_seconds)
    _label(canvas, seconds, width)
    hertz, sure = tracks.at(times), _sureness(tracks, times)
    for voice, name in enumerate(tracks.names):
        colour = np.array(_COLOURS[voice % len(_COLOURS)], np.uint8)
        sung = np.flatnonzero(hertz[voice] > 0)
        rows = _row(hertz[voice][sung])
        for offset in (-1, 0, 1):
            # a line of three pixels where it is sure, of one where it is not
            here = sung if offset == 0 else sung[sure[voice][sung] >= 0.5]
            lines = rows if offset == 0 else rows[sure[voice][sung] >= 0.5]
            inside = (lines + offset >= 0) & (lines + offset < HEIGHT)
            canvas[_TOP + lines[inside] + offset, _LEFT + here[inside]] = colour
        left = _LEFT + 16 + voice * _NAMED
        canvas[14:26, left : left + 12] = colour
        write_text(canvas, name[:9], 13, left + 76)
    return canvas


def _spectrogram(frames: PitchFrames, times: NDArray[np.float64], step: float) -> Pixels:
    """Level of every pixel, in dark blue to white."""
    hertz = HIGHEST_HZ * (LOWEST_HZ / HIGHEST_HZ) ** ((np.arange(HEIGHT) + 0.5) / HEIGHT)
    place = hertz * PADDED / RATE
    low = np.floor(place).astype(int)
    share = (place - low).astype(np.float32)
    index = np.clip(np.round(times / step).astype(int), 0, len(frames) - 1)
    level = np.empty((len(times), HEIGHT), np.float32)
    for first in range(0, len(times), _COLUMNS):
        picked = frames.magnitudes(index[first : first + _COLUMNS])
        level[first : first + _COLUMNS] = picked[:, low] * (1 - share) + picked[:, low + 1] * share
    top = max(float(np.percentile(level, 99.9)), 1e-9)
    shade = 1 + 20 * np.log10(np.maximum(level, np.float32(1e-9)) / np.float32(top)) / _RANGE_DB
    dark, bright = np.array([10, 12, 28.0]), np.array([200, 205, 215.0])
    palette = dark + (bright - dark) * (np.arange(256) / 255)[:, None] ** 1.5
    colours: Pixels = palette.astype(np.uint8)[(255 * np.clip(shade, 0, 1)).astype(np.uint8).T]
    return colours


def _row(hertz: Float) -> NDArray[np.int64]:
    """Pixel rows of pitches, from the top."""
    place = np.log(hertz / HIGHEST_HZ) / np.log(LOWEST_HZ / HIGHEST_HZ)
    rows: NDArray[np.int64] = np.clip(place * HEIGHT, 0, HEIGHT - 1).astype(np.int64)
    return rows


def _sureness(tracks: PitchTracks, times: NDArray[np.float64]) -> Float:
    index = np.clip(np.round(times / tracks.frame_seconds).astype(int), 0, tracks.frames - 1)
    found: Float = tracks.confidence[:, index]
    return found


def _label(canvas: Pixels, seconds: float, width: int) -> None:
    """Octaves of A on the left, seconds below."""
    for hertz in (55, 110, 220, 440, 880, 1760):
        row = _TOP + int(_row(np.array([hertz], np.float32))[0])
        canvas[row, _LEFT - 6 : _LEFT] = 255
        write_text(canvas, str(hertz), max(row - 7, 0), (_LEFT - 8) // 2)
    step = next(s for s in (1, 2, 5, 10, 30, 60, 300, 3600) if s * width / seconds >= 70)
    for second in np.arange(0, seconds, step):
        column = _LEFT + int(second * width / seconds)
        canvas[_TOP + HEIGHT : _TOP + HEIGHT + 5, column] = 255
        write_text(canvas, f"{second:.0f}", _TOP + HEIGHT + 9, column)
