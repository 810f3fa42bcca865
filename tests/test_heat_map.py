"""Heat maps: the PNG is one by the standard, and its cells are where and what they should be."""

import struct
import zlib

import numpy as np
import pytest

from engine.evaluation.heat_map import _LETTERS, CELL, heat_map, png


def decoded(blob):
    """A strict reader of 8-bit RGB PNGs without filters: (height, width, 3)."""
    assert blob[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(blob):
        (length,) = struct.unpack(">I", blob[at : at + 4])
        kind, data = blob[at + 4 : at + 8], blob[at + 8 : at + 8 + length]
        assert struct.unpack(">I", blob[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + data
        )
        chunks[kind] = data
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 5, 3), (2, 300, 3)])
def test_pixels_come_back(rng, shape):
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(decoded(png(pixels)), pixels)


def test_hotter_cells_are_brighter():
    picture = decoded(heat_map([[1.0, -2.0]], [[1.0, 0.0]], ["bass"], ["bass", "drums"]))
    corner = [picture[-CELL // 2 - 40, -x] for x in (2 * CELL - 4, 4)]  # left cell, right cell
    assert corner[0].sum() > 2 * corner[1].sum()


def test_labels_are_written_on_paper():
    named = decoded(heat_map([[0.0]], [[0.0]], ["bass"], ["bass"]))
    blank = decoded(heat_map([[0.0]], [[0.0]], ["    "], ["    "]))
    assert named.shape == blank.shape
    assert (named != blank).any()


def test_long_names_widen_the_picture():
    short = decoded(heat_map([[0.0]], [[0.0]], ["a"], ["a"]))
    long = decoded(heat_map([[0.0]], [[0.0]], ["a" * 30], ["a" * 30]))
    assert long.shape[1] > short.shape[1] + 2 * CELL


def test_every_character_of_a_stem_or_number_has_its_own_shape():
    needed = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
    shapes = [tuple(_LETTERS[character]) for character in needed]
    assert all(len(shape) == 5 for shape in shapes)
    alike = {"O0"}  # told apart by where they stand
    assert len(set(shapes)) >= len(needed) - len(alike)
