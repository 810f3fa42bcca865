"""One family of mask networks trained in three ways, to see what sharing an encoder costs.

Doire and Okubadejo, "Interleaved Multitask Learning for Audio Source Separation with Independent
Databases" (arXiv:1908.05182), claim that a shared encoder whose decoders are trained in turns,
each on data that need not hold the other sources, does what independent networks do. Encoder and
decoder are those of the shipped first estimate, which is that system trained simultaneously on
random sums; here the same network is trained on mixes of songs, as the paper's is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine import FrontEndCard, log_band_plan

from ..data.songs import Prefetched, Remix, Songs
from ..models.band_transform import BandTransform
from ..models.estimator import Encoder, EstimatorConfig, Head
from .checkpoint import Checkpoint, CheckpointMetadata, load_checkpoint
from .estimator_training import mask_loss
from .run import mixed_precision

Float = NDArray[np.float32]
Mode = Literal["independent", "simultaneous", "interleaved", "apart", "frozen"]

CHECKPOINT = "interleaved.npz"
CPU = torch.device("cpu")
SHARED = "shared"
REMIX = Remix((0.5, 1.25), group=4, semitones=3.0)
SAMPLE_RATE, HOP, BANDS = 22_050, 512, 128
VALIDATION_BATCHES = 4

MODES: Mapping[Mode, str] = MappingProxyType(
    {
        "independent": "a network of its own for every stem",
        "simultaneous": "one encoder, all decoders trained on every batch, which holds all stems",
        "interleaved": "one encoder, decoders trained in turns; a batch holds mixes and one stem",
        "apart": "interleaved, and every stem has songs of its own: no other stem is known there",
        "frozen": "one new decoder on the encoder of another run, which stays as it is",
    }
)


@dataclass(frozen=True)
class InterleavedSettings:
    """One run: every decoder is updated `updates` times."""

    updates: int = 1500
    batch: int = 16
    seconds: float = 3.0
    learning_rate: float = 1e-3
    warm_up: int = 100
    clip_norm: float = 4.0
    compressed_weight: float = 0.5
    seed: int = 0
    turns: int = 1  # steps in which every decoder is updated once

    @property
    def steps(self) -> int:
        """The budget in steps."""
        return self.updates * self.turns


def front_end() -> FrontEndCard:
    """128 bands at 22.05 kHz: the shipped view as far up as the songs of a training go."""
    bin_hz = SAMPLE_RATE / (4 * HOP)
    plan = log_band_plan(BANDS, bin_hz=bin_hz, low_hz=400, high_hz=11_000, first_hz=bin_hz / 2)
    return FrontEndCard(sample_rate=SAMPLE_RATE, hop=HOP, edges_hz=plan.edges_hz)


class MaskFamily(nn.Module):
    """Encoders and decoders. `encoder_of` names every stem's encoder: its own or the shared one.

    Shape: compressed mix (batch, bands, frames) -> mask (batch, bands, frames).
    """

    def __init__(self, config: EstimatorConfig, encoder_of: Mapping[str, str]) -> None:
        super().__init__()
        self.config, self.encoder_of = config, dict(encoder_of)
        self.encoders = nn.ModuleDict({name: Encoder(config) for name in encoder_of.values()})
        self.heads = nn.ModuleDict({stem: Head(config) for stem in encoder_of})

    def masks(self, mix: Tensor, stems: Sequence[str]) -> dict[str, Tensor]:
        """Masks of some stems; every encoder that they need runs once."""
        compressed = mix**self.config.compression
        needed = dict.fromkeys(self.encoder_of[stem] for stem in stems)
        features = {name: self.encoders[name](compressed) for name in needed}
        return {
            stem: cast(Tensor, self.heads[stem](features[self.encoder_of[stem]])).float()
            for stem in stems
        }


class InterleavedTask:
    """The family learns in one of the MODES; a `Task` of `TrainingRun`."""

    def __init__(
        self,
        mode: Mode,
        stems: Sequence[str],
        config: EstimatorConfig,
        settings: InterleavedSettings,
        train: Songs,
        valid: Songs,
        device: torch.device = CPU,
        encoder: Encoder | None = None,
    ) -> None:
        self.mode, self.stems, self.config, self.device = mode, tuple(stems), config, device
        self.settings = settings
        self.train_songs, self.valid_songs = train, valid
        self.identity: Mapping[str, str] = {
            "mode": mode,
            "stems": ", ".join(self.stems),
            "songs": train.digest,
        }
        torch.manual_seed(settings.seed)
        own = mode == "independent"
        self.family = MaskFamily(config, {stem: stem if own else SHARED for stem in self.stems})
        self.model: nn.Module = self.family
        if encoder is not None:
            self.family.encoders[SHARED].load_state_dict(encoder.state_dict())
            self.family.encoders[SHARED].requires_grad_(False)
        self.view = BandTransform(front_end(), train.sample_rate).to(device)
        self._of = train.parted(len(self.stems)) if mode == "apart" else [train] * len(self.stems)
        self._drawn = Prefetched(self._draw)

    @property
    def samples(self) -> int:
        """Samples of an excerpt."""
        return round(self.settings.seconds * self.train_songs.sample_rate)

    def turn(self, step: int) -> tuple[str, ...]:
        """The stems whose decoders a step trains."""
        if self.mode == "simultaneous":
            return self.stems
        return (self.stems[step % len(self.stems)],)

    def _draw(self, step: int) -> Float:
        """What a step hears: mixes first, then the stems of its turn and no others,
        (1 + stems, batch, samples)."""
        s, turn = self.settings, self.turn(step)
        rng = np.random.default_rng([s.seed, 51, step])
        songs = self._of[self.stems.index(turn[0])]
        if self.mode == "apart":
            mix, stem = songs.sample_pair(rng, turn[0], s.batch, self.samples, REMIX)
            return np.stack([mix, stem])
        drawn = songs.sample(rng, s.batch, self.samples, REMIX)[:, :, 0]
        return mixed(songs, drawn, turn)

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """The masks' loss, of the decoders whose turn it is."""
        turn = self.turn(step)
        losses = self._losses(self._drawn(step), turn)
        loss = torch.stack(losses).sum()
        return loss, loss / len(turn)

    def _losses(self, heard: Float, stems: Sequence[str]) -> list[Tensor]:
        seen = self.view(torch.from_numpy(heard).to(self.device))
        scale = seen[0].square().mean(dim=(1, 2), keepdim=True).add(1e-12).rsqrt()
        mix, *targets = seen * scale
        with mixed_precision(self.device):
            masks = self.family.masks(mix, stems)
        s, compression = self.settings, self.config.compression
        return [
            mask_loss(masks[stem], mix, target, compression, s.compressed_weight)
            for stem, target in zip(stems, targets, strict=True)
        ]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss of every stem on held-out songs as they are."""
        rng = np.random.default_rng([self.settings.seed, 52])
        rows = []
        for _ in range(VALIDATION_BATCHES):
            drawn = self.valid_songs.sample(rng, self.settings.batch, self.samples)[:, :, 0]
            heard = mixed(self.valid_songs, drawn, self.stems)
            rows.append([float(loss) for loss in self._losses(heard, self.stems)])
        return dict(zip(self.stems, np.mean(rows, axis=0).tolist(), strict=True))

    def described(self) -> CheckpointMetadata:
        """Size, and what was held out."""
        return {
            "config": self.config.to_dict(),
            "encoder of": self.family.encoder_of,
            "held out": [song.name for song in self.valid_songs.songs],
            "minutes of songs": round(self.train_songs.minutes, 1),
        }

    def arrays(self) -> dict[str, Float]:
        """Nothing besides weights."""
        return {}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Nothing besides weights."""


def mixed(songs: Songs, drawn: Float, stems: Sequence[str]) -> Float:
    """(batch, all stems, samples) -> mixes and some stems, (1 + stems, batch, samples)."""
    index = [songs.stems.index(stem) for stem in stems]
    return np.concatenate([drawn.sum(axis=1)[None], drawn[:, index].transpose(1, 0, 2)])


def settings_of(mode: Mode, stems: Sequence[str], **changes: Any) -> InterleavedSettings:  # noqa: ANN401
    """Settings with as many steps as a mode needs to update every decoder equally often."""
    return InterleavedSettings(**changes, turns=1 if mode == "simultaneous" else len(stems))


def family_training(folder: Path) -> Mapping[str, object]:
    """What the card says of a run's training."""
    metadata = load_checkpoint(folder / CHECKPOINT).metadata
    heard = {"minutes of songs": metadata["minutes of songs"]}
    return metadata["settings"] | {"steps": metadata["step"]} | heard


def load_family(folder: Path) -> MaskFamily:
    """The networks of a run's last checkpoint."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = checkpoint.metadata["config"]
    family = MaskFamily(
        EstimatorConfig.of(config),
        checkpoint.metadata["encoder of"],
    )
    family.load_state_dict(checkpoint.model)
    return family.eval()
