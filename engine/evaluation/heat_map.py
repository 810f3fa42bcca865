"""A table of numbers as a PNG picture, without a plotting library: cells, labels, nothing else."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

CELL = 96  # pixels
SCALE = 3  # pixels of a dot of the letters
MARGIN = 12
_COLD, _HOT = np.array([28, 35, 64]), np.array([255, 214, 102])
_PAPER = 255

# 3 x 5 dots: a character, then its rows from the top, each the bits of a digit.
_LETTERS = {
    glyph[0]: [int(digit) for digit in glyph[1:]]
    for glyph in (
        *("A25755", "B65656", "C34443", "D65556", "E74647", "F74644", "G34553", "H55755"),
        *("I72227", "J11152", "K55655", "L44447", "M57755", "N65555", "O25552", "P65644"),
        *("Q25563", "R65655", "S34216", "T72222", "U55557", "V55552", "W55775", "X55255"),
        *("Y55222", "Z71247", "075557", "126227", "261247", "361216", "455711", "574616"),
        *("634757", "771222", "875757", "975716", "-00700", ".00002", "_00007", "+02720"),
    )
}


def heat_map(
    values: Sequence[Sequence[float]],
    shades: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
) -> bytes:
    """Draw `values` as PNG; `shades` in [0, 1] say how hot each cell is."""
    widest = max(len(name) for name in rows)
    left, top = 2 * MARGIN + _text_width(widest), 2 * MARGIN + 5 * SCALE
    width = max(CELL, _text_width(max(len(name) for name in columns)) + MARGIN)
    canvas = np.full((top + CELL * len(rows), left + width * len(columns), 3), _PAPER, np.uint8)
    for column, name in enumerate(columns):
        _write(canvas, name, MARGIN, left + width * column + width // 2, dark=True)
    for row, name in enumerate(rows):
        middle = top + CELL * row + CELL // 2
        _write(canvas, name, middle - 5 * SCALE // 2, left // 2, dark=True)
        for column, shade in enumerate(shades[row]):
            x = left + width * column
            colour = _COLD + (_HOT - _COLD) * float(np.clip(shade, 0, 1))
            canvas[middle - CELL // 2 : middle + CELL // 2, x : x + width] = colour
            text = f"{values[row][column]:.2f}"
            _write(canvas, text, middle - 5 * SCALE // 2, x + width // 2, dark=shade > 0.5)
    return png(canvas)


def png(pixels: Pixels) -> bytes:
    """Encode (height, width, 3) as PNG (ISO/IEC 15948): 8-bit RGB, no filter."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", header),
            (b"IDAT", zlib.compress(lines.tobytes(), 9)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_text(canvas: Pixels, text: str, top: int, centre: int) -> None:
    """Write in white around `centre`, as far as it fits onto the canvas."""
    half = _text_width(len(text)) // 2
    if half <= centre <= canvas.shape[1] - half and top + 5 * SCALE <= canvas.shape[0]:
        _write(canvas, text, top, centre, dark=False)


def _text_width(letters: int) -> int:
    return 4 * SCALE * letters


def _write(canvas: Pixels, text: str, top: int, centre: int, *, dark: bool) -> None:
    """Draw text around `centre`; a character without a shape leaves a space."""
    left = centre - _text_width(len(text)) // 2
    for index, character in enumerate(text.upper()):
        dots = np.array(
            [[line >> shift & 1 for shift in (2, 1, 0)] for line in _LETTERS.get(character, [0])],
            bool,
        )
        mask = dots.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
        x = left + _text_width(index)
        canvas[top : top + mask.shape[0], x : x + mask.shape[1]][mask] = 0 if dark else _PAPER
