"""What a tensor's name and sizes tell of its role and its axes, and how a user says the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from pydantic import ValidationError

from presets import StemwrightError

from .axes import Axes
from .card import OutputCard
from .card_keys import TensorKeys

_KNOWN = {"c": 2, "r": 2}  # sizes of letters that share an axis with another


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph; sizes are numbers, or names for those that are free."""

    name: str
    shape: tuple[int | str | None, ...]

    @property
    def shape_text(self) -> str:
        """Its sizes, `?` for those that are free."""
        sizes = (str(size) if isinstance(size, int) else "?" for size in self.shape)
        return f"[{', '.join(sizes)}]"

    def size(self, axis: int) -> int | None:
        """The size of an axis that is there and not free."""
        value = self.shape[axis] if -len(self.shape) <= axis < len(self.shape) else None
        return value if isinstance(value, int) else None

    def size_of(self, letter: str, entry: TensorKeys) -> int | None:
        """The size of a letter of its pattern, where the graph fixes it."""
        for number, axis in enumerate(Axes.parse(entry["axes"]).axes):
            if letter in axis and (size := self.size(number)):
                known = prod(_KNOWN.get(other, 1) for other in axis if other != letter)
                return size // known
        return None


def stated_tensors(lines: Sequence[str], tensors: Sequence[Tensor]) -> dict[str, TensorKeys]:
    """`name role axes` of the user's, by the tensors' names."""
    known = {tensor.name: tensor for tensor in tensors}
    found: dict[str, TensorKeys] = {}
    for line in lines:
        name, _, rest = line.strip().partition(" ")
        role, _, axes = rest.strip().partition(" ")
        if name not in known or not axes:
            raise StemwrightError(
                "separator-tensor",
                f"{line!r}: expected NAME ROLE AXES, such as `{next(iter(known))} wave b c n`; "
                f"tensors are {', '.join(f'{t.name} {t.shape_text}' for t in tensors)}.",
            )
        found[name] = _stated_entry(known[name], role, axes.strip())
    return found


def _stated_entry(tensor: Tensor, role: str, axes: str) -> TensorKeys:
    entry: TensorKeys = {"name": tensor.name, "role": role, "axes": axes}
    try:
        pattern = Axes.parse(axes)
        if "k" in pattern.letters and (patch := tensor.size_of("t", entry)):
            entry["patch"] = patch
        OutputCard.model_validate(entry)  # an input's roles are among an output's
    except ValueError as error:
        problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise StemwrightError(
            "separator-tensor", f"{tensor.name}: {problem.removeprefix('Value error, ')}."
        ) from None
    if pattern.rank != len(tensor.shape):
        raise StemwrightError(
            "separator-tensor",
            f"{tensor.name} has {len(tensor.shape)} axes, {tensor.shape_text}, but {axes!r} has "
            f"{pattern.rank}. Describe every axis.",
        )
    return entry


def guessed(tensor: Tensor, *, inputs: bool) -> TensorKeys | None:
    """Role and axes of a tensor of the layouts that are known."""
    shape, rank = tensor.shape, len(tensor.shape)
    low, last = tensor.name.lower(), tensor.size(-1)

    def entry(role: str, axes: str) -> TensorKeys:
        return {"name": tensor.name, "role": role, "axes": axes}

    if rank == 3 and tensor.size(1) in (1, 2):
        return entry("wave", "b c n")
    if rank == 3 and inputs and last and last % 4 == 0:
        return entry("spec", "b t (f c r)")
    if rank == 4 and low.endswith(("real", "imag")):
        return entry("real" if low.endswith("real") else "imag", "b c f t")
    if rank == 5 and low.endswith(("real", "imag")):
        return entry("real" if low.endswith("real") else "imag", "b s c f t")
    if "mask" in low and not inputs and rank == 5 and last != 2:
        return entry("mask", "b s c f t")
    if rank == 4 and "magnitude" in low:
        return entry("mag", "b c f t")
    if rank == 4 and last == 2 and inputs:
        return entry("spec", "b (f c) t r")
    if rank == 5 and last == 2 and not inputs:
        return entry("mask", "b s (f c) t r")
    if rank == 4 and tensor.size(1) == 4:
        return entry("spec", "b (c r) f t")
    if rank == 5 and tensor.size(2) == 4 and not inputs:
        return entry("spec", "b s (c r) f t")
    if rank == 4 and tensor.size(2) == 2 and not inputs and (last is None or last > 4096):
        return entry("wave", "b s c n")
    if rank == 4 and tensor.size(0) == 2 and isinstance(shape[2], int):
        return {**entry("mag", "c k t f"), "patch": shape[2]}
    if rank == 4 and tensor.size(1) == 2:
        return entry("mag", "b c f t")
    return None
