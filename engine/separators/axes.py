"""Axis patterns: how a tensor of the wild is laid out, such as `b (c r) f t`.

Letters: b batch, s stem, c channel, r real and imaginary part, f frequency bin, t frame, n sample,
k patch of frames. Letters in brackets share one axis of the tensor, the left one moves slowest. A
letter that is left out has size one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LETTERS = "bscrftnk"
_TOKEN = re.compile(r"\(([^()]*)\)|(\S)")


@dataclass(frozen=True)
class Axes:
    """A parsed pattern: for every axis of the tensor the letters that share it."""

    text: str
    axes: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Axes:
        """Read a pattern; a ValueError says what is wrong with it."""
        if re.sub(r"\([^()]*\)|\s|[a-z]", "", text):
            raise ValueError(f"{text!r}: a pattern is letters with spaces between, and ( )")
        axes = tuple(
            tuple(inside.split()) if inside is not None and not single else (single,)
            for inside, single in ((m[1], m[2]) for m in _TOKEN.finditer(text))
        )
        letters = [letter for axis in axes for letter in axis]
        for letter in letters:
            if letter not in LETTERS:
                raise ValueError(
                    f"{text!r}: {letter!r} is no axis; they are b (batch), s (stem), c (channel), "
                    "r (real, imaginary), f (bin), t (frame), n (sample), k (patch)"
                )
        if not all(axes) or not axes:
            raise ValueError(f"{text!r}: brackets without a letter")
        if len(set(letters)) < len(letters):
            twice = next(letter for letter in letters if letters.count(letter) > 1)
            raise ValueError(f"{text!r}: {twice!r} stands there twice")
        return cls(text, axes)

    @property
    def letters(self) -> tuple[str, ...]:
        """All letters in the tensor's order."""
        return tuple(letter for axis in self.axes for letter in axis)

    @property
    def rank(self) -> int:
        """Axes of the tensor."""
        return len(self.axes)

    def shape(self, sizes: Mapping[str, int | None]) -> tuple[int | None, ...]:
        """The tensor's shape; None where a size is not known."""
        found: list[int | None] = []
        for axis in self.axes:
            known = [sizes[letter] for letter in axis]
            numbers = [size for size in known if size is not None]
            found.append(int(np.prod(numbers)) if len(numbers) == len(known) else None)
        return tuple(found)

    def pack(self, array: NDArray[np.float32], order: str) -> NDArray[np.float32]:
        """An array with axes `order` as the tensor; axes that the pattern lacks have size one."""
        sizes = dict(zip(order, array.shape, strict=True))
        for letter in order:
            if letter not in self.letters and sizes[letter] != 1:
                raise ValueError(f"{self.text!r} has no {letter!r}, of which there are "
                                 f"{sizes[letter]}")  # fmt: skip
        kept = [letter for letter in order if letter in self.letters]
        squeezed = array.reshape([sizes[letter] for letter in kept])
        sizes |= {letter: 1 for letter in self.letters if letter not in sizes}
        moved = squeezed.transpose([kept.index(x) for x in self.letters if x in kept])
        shape = [int(np.prod([sizes[x] for x in axis])) for axis in self.axes]
        return np.ascontiguousarray(moved.reshape(shape))

    def unpack(
        self, tensor: NDArray[np.float32], order: str, sizes: Mapping[str, int]
    ) -> NDArray[np.float32]:
        """The tensor as an array with axes `order`; a ValueError where the sizes do not fit."""
        shape = self.shape({letter: sizes.get(letter, 1) for letter in self.letters})
        if tensor.shape != shape:
            raise ValueError(f"{self.text!r} expects {list(shape)}, got {list(tensor.shape)}")
        split = tensor.reshape([sizes.get(letter, 1) for letter in self.letters])
        kept = [letter for letter in order if letter in self.letters]
        extra = tuple(i for i, x in enumerate(self.letters) if x not in order)
        if extra:  # of size one
            split = split.squeeze(extra)
        here = [letter for letter in self.letters if letter in order]
        moved = split.transpose([here.index(letter) for letter in kept])
        return moved.reshape([sizes.get(x, 1) if x in self.letters else 1 for x in order])
