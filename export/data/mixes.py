"""Random sums of isolated recordings, from which the first estimate learns.

Parts come from songs of their own or, in some of the sums, from one song at one place, as music
does: there stems share beat and chords. Either way each part is treated and finished on its own
and every sum is balanced; no finished mix is ever seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import FrontEndCard

from .augmentation import dynamics, on
from .corpus import SPEEDS, Corpus
from .sampling import CPU, InStep, Sampler

Rng = np.random.Generator

IN_STEP = 0.5  # of the sums, where there are songs whose parts sound together (docs/lab.md)
_ABSENT = 0.15  # how often a bus is empty
_UNION_ABSENT = 0.4  # how often one part of a bus with several does not play
_LEVEL_SPREAD_DB = 4.0  # standard deviation of a bus's level in finished mixes
# against the other buses, rounded from 43 MUSDB18 training songs
_LEVEL_DB: Mapping[tuple[str, ...], float] = MappingProxyType(
    {("vocals",): 0.5, ("bass",): -2.0, ("drums",): -1.0}
)
_ACTIVE = 1e-3  # frames within 30 dB of the loudest one count for the level
# random phases, drawn once: drawing them anew for every part took a third of a training step.
# A prime number of them, so that no two frames of one excerpt share theirs.
_PHASORS = 1_000_003
_BUS_RATIO = (0.5, 1.0)  # dB out per dB in of the sum's compressor
_BUS_ENVELOPE_FRAMES = 2


class RandomMixes:
    """Sums of excerpts of different parts, and what each head should find in them.

    `parts` are corpora `as_stems`. `heads` names the parts that each head stands for:
    other = guitar + piano + the rest.
    `bins` is the number of STFT bins in each band: wide bands average their cross terms away.
    A share `in_step` of the sums are parts of one song at one place, and a share of `bus` is
    compressed as a whole.

    Finished mixes are balanced: their stems' levels differ by a few decibels, whatever the
    takes' levels were. The parts of one many-part head share a bus, since
    all of `other` together is about as loud as the bass.
    """

    def __init__(
        self,
        parts: Mapping[str, Corpus],
        heads: Mapping[str, Sequence[str]],
        bins: NDArray[np.float64],
        device: torch.device = CPU,
        in_step: float = IN_STEP,
        bus: float = 0.0,
    ) -> None:
        self.parts, self.heads = dict(parts), {k: tuple(v) for k, v in heads.items()}
        self._sampler = Sampler(list(parts.values()), device)
        self._cross = torch.from_numpy((1 / np.sqrt(bins)).astype(np.float32)).to(device)
        phases = np.exp(2j * np.pi * np.random.default_rng(0).random(_PHASORS))
        self._phasors = torch.from_numpy(phases.astype(np.complex64)).to(device)
        self._in_step = in_step if len(self._sampler.songs) else 0.0
        self._bus = bus
        unions = [made_of for made_of in self.heads.values() if len(made_of) > 1]
        bussed = {part for union in unions for part in union}
        self._buses = [*unions, *((name,) for name in self.parts if name not in bussed)]
        self._number = {name: index for index, name in enumerate(self.parts)}

    @property
    def songs(self) -> int:
        """How many songs there are whose parts sound together, each speed counting."""
        return len(self._sampler.songs)

    def sample(self, rng: Rng, batch: int, frames: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum, scaled to mean square 1, and every head's target on that scale.

        Shape: all (batch, frames, bands).
        """
        drawn = self._draw(rng, batch, frames)
        for bus in self._buses:
            self._balance(rng, drawn, [self._number[part] for part in bus], bus)
        power = (drawn**2).sum(dim=0)
        if self._bus:
            self._compress(rng, drawn, power)
        mix = self._summed(rng, drawn, power)
        scale = torch.rsqrt((mix**2).mean(dim=(1, 2), keepdim=True) + 1e-12)
        targets = {
            head: self._together(drawn, made_of) * scale for head, made_of in self.heads.items()
        }
        return mix * scale, targets

    def _draw(self, rng: Rng, batch: int, frames: int) -> Tensor:
        """One excerpt of every part for every sum, (parts, batch, frames, bands)."""
        parts = len(self.parts)
        which = np.repeat(np.arange(parts), batch)
        step = None
        if self._in_step:
            song = rng.integers(self.songs, size=batch)
            song[rng.random(batch) >= self._in_step] = -1
            place, speed = rng.random(batch), rng.integers(len(SPEEDS), size=batch)
            step = InStep(np.tile(song, parts), np.tile(place, parts), np.tile(speed, parts))
        drawn = self._sampler.rows(rng, which, frames, step)
        return drawn.view(parts, batch, frames, -1)

    @staticmethod
    def _balance(rng: Rng, drawn: Tensor, members: Sequence[int], bus: tuple[str, ...]) -> None:
        """Bring everything at one bus together to a mix's level, in place, or leave it out."""
        batch = drawn.shape[1]
        for member in members if len(members) > 1 else ():
            plays = rng.random(batch) >= _UNION_ABSENT
            drawn[member] *= on(plays.astype(np.float32), drawn)[:, None, None]
        power = sum((drawn[member] ** 2).sum(dim=2) for member in members)  # (batch, frames)
        assert isinstance(power, Tensor)
        active = (power >= _ACTIVE * power.amax(dim=1, keepdim=True)).to(power.dtype)
        loudness = (power * active).sum(dim=1) / active.sum(dim=1)
        drawn_db = rng.normal(_LEVEL_DB.get(bus, 0.0), _LEVEL_SPREAD_DB, batch)
        wanted = on(10 ** (drawn_db / 20) * (rng.random(batch) >= _ABSENT), drawn)
        gain = wanted * torch.rsqrt(loudness + 1e-12) * (loudness >= 1e-9)
        for member in members:
            drawn[member] *= gain[:, None, None]

    def _compress(self, rng: Rng, drawn: Tensor, power: Tensor) -> None:
        """Let the parts of some sums swing together as a compressor of the sum has them, in place;
        shares of the sum stay as they are."""
        batch = drawn.shape[1]
        ratios = rng.uniform(*_BUS_RATIO, batch)
        ratios[rng.random(batch) >= self._bus] = 1.0
        gain = dynamics(torch.sqrt(power), ratios, _BUS_ENVELOPE_FRAMES)
        drawn *= gain
        power *= gain**2

    def _summed(self, rng: Rng, drawn: Tensor, power: Tensor) -> Tensor:
        """Magnitudes of the sum with random phases, (batch, frames, bands)."""
        total = torch.zeros(drawn.shape[1:], dtype=torch.complex64, device=drawn.device)
        size = total.numel()
        for magnitudes in drawn:
            phasors = self._turned(int(rng.integers(_PHASORS)), size)
            total += magnitudes * phasors.view(magnitudes.shape)
        crossed = power + (total.real**2 + total.imag**2 - power) * self._cross
        return torch.sqrt(crossed.clamp_min(1e-12))

    def _turned(self, first: int, size: int) -> Tensor:
        """So many phasors (size,) from one of them on, and around again."""
        run = self._phasors[first : first + size]
        again, last = divmod(size - len(run), _PHASORS)
        if not again and not last:
            return run
        return torch.cat([run, *[self._phasors] * again, self._phasors[:last]])

    def _together(self, drawn: Tensor, made_of: Sequence[str]) -> Tensor:
        if len(made_of) == 1:
            return drawn[self._number[made_of[0]]]
        return torch.sqrt((drawn[[self._number[part] for part in made_of]] ** 2).sum(dim=0))


def bins_per_band(view: FrontEndCard) -> NDArray[np.float64]:
    """How many STFT bins lie in each band, at least one: the `bins` of `RandomMixes`."""
    stft = view.front_end().stft(view.sample_rate)
    return np.maximum(np.diff(view.edges_hz) * stft.n_fft / view.sample_rate, 1)
