"""Training of the first estimate on random sums of isolated recordings.

Every batch draws each part from its own corpus, leaves parts out at random, and adds them with
random phases. The heads minimise the power of what they get wrong relative to the sum's power
(what SDR measures) plus the same in the compressed domain (what the ear hears in the quiet).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine import FrontEndCard

from ..data.corpus import Corpus
from ..models.estimator import Encoder, EstimatorConfig, Head, TrainedEstimator
from .checkpoint import load_checkpoint, save_checkpoint
from .loop import learning_rate, training_loop

Float = NDArray[np.float32]
Rng = np.random.Generator

_ABSENT = 0.15  # how often a bus is empty
_UNION_ABSENT = 0.4  # how often one part of a bus with several does not play
_LEVEL_SPREAD_DB = 4.0  # standard deviation of a bus's level in finished mixes
# against the other buses, rounded from 43 MUSDB18 training songs
_LEVEL_DB: Mapping[tuple[str, ...], float] = MappingProxyType(
    {("vocals",): 0.5, ("bass",): -2.0, ("drums",): -1.0}
)
_ACTIVE = 1e-3  # frames within 30 dB of the loudest one count for the level
_LEAST = 1e-5
# random phases, drawn once: drawing them anew for every part took a third of a training step.
# A prime number of them, so that no two frames of one excerpt share theirs.
_PHASORS = np.exp(2j * np.pi * np.random.default_rng(0).random(1_000_003)).astype(np.complex64)

CHECKPOINT = "estimator.npz"


@dataclass(frozen=True)
class EstimatorSettings:
    """One run; `compressed_weight` is the share of the compressed-domain error."""

    steps: int = 5000
    batch: int = 16
    frames: int = 128
    learning_rate: float = 1e-3
    warm_up: int = 100
    clip_norm: float = 4.0
    compressed_weight: float = 0.5
    seed: int = 0


class RandomMixes:
    """Sums of excerpts of different parts, and what each head should find in them.

    `parts` are corpora `as_stems`. `heads` names the parts that each head stands for:
    other = guitar + piano + the rest.
    `bins` is the number of STFT bins in each band: wide bands average their cross terms away.

    Finished mixes are balanced: their stems' levels differ by a few decibels, whatever the
    takes' levels were. The parts of one many-part head share a bus, since
    all of `other` together is about as loud as the bass.
    """

    def __init__(
        self,
        parts: Mapping[str, Corpus],
        heads: Mapping[str, Sequence[str]],
        bins: NDArray[np.float64],
    ) -> None:
        self.parts, self.heads = dict(parts), {k: tuple(v) for k, v in heads.items()}
        self._cross = (1 / np.sqrt(bins)).astype(np.float32)
        unions = [parts for parts in self.heads.values() if len(parts) > 1]
        bussed = {part for union in unions for part in union}
        self._buses = [*unions, *((name,) for name in self.parts if name not in bussed)]

    def sample(self, rng: Rng, batch: int, frames: int) -> tuple[Float, dict[str, Float]]:
        """Return the sum, scaled to mean square 1, and every head's target on that scale.

        Shape: all (batch, frames, bands).
        """
        drawn = {name: corpus.sample(rng, batch, frames) for name, corpus in self.parts.items()}
        for bus in self._buses:
            self._balance(rng, [drawn[part] for part in bus], _LEVEL_DB.get(bus, 0.0))
        power = sum((m**2 for m in drawn.values()), np.float32(0))
        total = np.zeros_like(next(iter(drawn.values())), np.complex64)
        for magnitudes in drawn.values():
            first = rng.integers(_PHASORS.size)
            at = np.arange(first, first + magnitudes.size) % _PHASORS.size
            total += magnitudes * _PHASORS[at].reshape(magnitudes.shape)
        crossed = power + (np.abs(total) ** 2 - power) * self._cross
        mix = np.sqrt(np.maximum(crossed, 1e-12))
        scale = 1 / np.sqrt((mix**2).mean(axis=(1, 2), keepdims=True) + 1e-12)
        targets = {
            head: np.asarray(np.sqrt(sum(drawn[part] ** 2 for part in parts)) * scale, np.float32)
            for head, parts in self.heads.items()
        }
        return np.asarray(mix * scale, np.float32), targets

    @staticmethod
    def _balance(rng: Rng, bus: Sequence[Float], level_db: float) -> None:
        """Bring everything at one bus together to a mix's level, in place, or leave it out."""
        batch = len(bus[0])
        for magnitudes in bus if len(bus) > 1 else ():
            magnitudes[rng.random(batch) < _UNION_ABSENT] = 0
        power = sum(np.square(m).sum(axis=2) for m in bus)  # (batch, frames)
        active = power >= _ACTIVE * power.max(axis=1, keepdims=True)
        loudness = (power * active).sum(axis=1) / active.sum(axis=1)
        drawn_db = rng.normal(level_db, _LEVEL_SPREAD_DB, batch)
        gain = 10 ** (drawn_db / 20) / np.sqrt(loudness + 1e-12)
        gain[(loudness < 1e-9) | (rng.random(batch) < _ABSENT)] = 0
        for magnitudes in bus:
            magnitudes *= gain.astype(np.float32)[:, None, None]


def bins_per_band(view: FrontEndCard) -> NDArray[np.float64]:
    """How many STFT bins lie in each band, at least one: the `bins` of `RandomMixes`."""
    stft = view.front_end().stft(view.sample_rate)
    return np.maximum(np.diff(view.edges_hz) * stft.n_fft / view.sample_rate, 1)


@dataclass(frozen=True)
class EstimatorProgress:
    """Loss on training mixes and, per head, on held-out songs."""

    step: int
    train_loss: float
    valid_loss: dict[str, float]
    seconds: float


class EstimatorTrainer:
    """A run that trains encoder and heads together, resumable from its folder.

    `given` and what it refuses are as in `Trainer`.
    """

    def __init__(
        self,
        folder: Path,
        config: EstimatorConfig,
        settings: EstimatorSettings,
        train: RandomMixes,
        valid: RandomMixes,
        given: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder, self.config, self.settings, self.given = folder, config, settings, given
        self.train_mixes, self.valid_mixes = train, valid
        torch.manual_seed(settings.seed)
        self.encoder = Encoder(config)
        self.heads = nn.ModuleDict({name: Head(config) for name in train.heads})
        self.modules = nn.ModuleDict({"encoder": self.encoder, "heads": self.heads})
        self.optimiser = torch.optim.Adam(self.modules.parameters(), lr=settings.learning_rate)
        self.step = 0
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).exists():
            self._resume()

    def run(self, every: int = 100) -> Iterator[EstimatorProgress]:
        """Train to the end, reporting and saving every `every` steps."""
        for loss, seconds in training_loop(self, every):
            yield EstimatorProgress(self.step, loss, self.validate(), seconds)

    def train_step(self) -> float:
        """Take one step; return its loss."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 4, self.step])
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(s, self.step)
        losses = self._losses(*self.train_mixes.sample(rng, s.batch, s.frames))
        loss = torch.stack(list(losses.values())).sum()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), s.clip_norm)
        self.optimiser.step()
        return float(loss.detach())

    def _losses(self, mix: Float, targets: dict[str, Float]) -> dict[str, Tensor]:
        x = channels_first(mix)
        power, c = self.config.compression, self.settings.compressed_weight
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            features = self.encoder(x**power)
            masks = {name: self.heads[name](features) for name in targets}
        return {
            name: mask_loss(masks[name].float(), x, channels_first(target), power, c)
            for name, target in targets.items()
        }

    @torch.no_grad()
    def validate(self, batches: int = 4) -> dict[str, float]:
        """Mean loss of each head on held-out songs."""
        rng = np.random.default_rng([self.settings.seed, 6])
        runs = [
            self._losses(*self.valid_mixes.sample(rng, self.settings.batch, self.settings.frames))
            for _ in range(batches)
        ]
        return {name: float(np.mean([float(run[name]) for run in runs])) for name in runs[0]}

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.folder / CHECKPOINT, self.modules, self.optimiser, self._identity())

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.folder / CHECKPOINT)
        checkpoint.refuse_other(self.folder, self._identity())
        checkpoint.restore(self.modules, self.optimiser)
        self.step = int(checkpoint.about["step"])

    def _identity(self) -> dict[str, Any]:
        heads = self.train_mixes.heads
        made_of = ", ".join(f"{name}={'+'.join(parts)}" for name, parts in heads.items())
        return {
            "step": self.step,
            "config": self.config.to_dict(),
            "settings": asdict(self.settings),
            "given": {**self.given, "heads": made_of},
            "heads": list(heads),
            "parts": heads,
        }


def load_estimator(folder: Path) -> TrainedEstimator:
    """Read the last checkpoint of an estimator run."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    metadata = checkpoint.about
    config = EstimatorConfig(
        **metadata["config"] | {"dilations": tuple(metadata["config"]["dilations"])}
    )
    encoder = Encoder(config)
    heads = {name: Head(config) for name in metadata["heads"]}
    modules = nn.ModuleDict({"encoder": encoder, "heads": nn.ModuleDict(heads)})
    modules.load_state_dict(checkpoint.model)
    parts = {name: tuple(made_of) for name, made_of in metadata.get("parts", {}).items()}
    return TrainedEstimator(config, encoder.eval(), heads, parts, checkpoint.training)


def has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16, which makes a step a third shorter."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def mask_loss(
    mask: Tensor, mix: Tensor, target: Tensor, compression: float, compressed_weight: float
) -> Tensor:
    """Power of what a masked mix gets wrong relative to the mix's, plus the same compressed.

    Shape: all (batch, bands, frames).
    """
    estimate = mask * mix
    wrong = ((estimate - target) ** 2).sum(dim=(1, 2)) / (mix**2).sum(dim=(1, 2))
    compressed = ((estimate + _LEAST) ** compression - (target + _LEAST) ** compression) ** 2
    return wrong.mean() + compressed_weight * compressed.mean()


def channels_first(magnitudes: Float) -> Tensor:
    """(batch, frames, bands) -> (batch, bands, frames)."""
    return torch.from_numpy(np.ascontiguousarray(magnitudes.transpose(0, 2, 1)))
