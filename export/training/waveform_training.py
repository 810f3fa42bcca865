"""Training of separators that take waveforms: Demucs v2 and Wave-U-Net.

Both learn from mixes whose stems are known. What belongs to the papers (losses, rates, gains,
remixing) is a `TrainingRecipe`; the loop, its checkpoints and its budget are the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from presets import StemwrightError

from ..data.songs import Prefetched, Remix, Songs
from ..models.demucs import Demucs, DemucsConfig, centre
from ..models.wave_unet import WaveUNet, WaveUNetConfig
from .checkpoint import Checkpoint, CheckpointMetadata, load_checkpoint

Float = NDArray[np.float32]
Kind = Literal["demucs", "waveunet"]
Config = DemucsConfig | WaveUNetConfig
Network = Demucs | WaveUNet

CHECKPOINT = "separator.npz"
CPU = torch.device("cpu")
VALIDATION_BATCHES = 4


@dataclass(frozen=True)
class TrainingRecipe:
    """How a paper trains: its loss, its remixing."""

    loss: Literal["l1", "mse"]
    learning_rate: float
    remix: Remix


RECIPES: Mapping[Kind, TrainingRecipe] = MappingProxyType(
    {
        # Défossez et al., section 5: L1, gains, signs, stems remixed in groups of four
        "demucs": TrainingRecipe(
            "l1", 3e-4, Remix((0.25, 1.25), flip=True, group=4, semitones=2.0)
        ),
        # Stoller et al., section 4.2: squared error, stems at 0.7 to 1 of their level
        "waveunet": TrainingRecipe("mse", 1e-4, Remix((0.7, 1.0), group=4, semitones=2.0)),
    }
)


@dataclass(frozen=True)
class WaveformSettings:
    """One run. `seconds` is the length of an excerpt without what convolutions cut off."""

    steps: int = 20_000
    batch: int = 8
    seconds: float = 4.0
    learning_rate: float = 3e-4
    warm_up: int = 100
    clip_norm: float = 4.0
    seed: int = 0


@dataclass(frozen=True)
class HeldOut:
    """On held-out songs: the absolute error, and per stem the median SDR in dB where it plays."""

    loss: float
    sdr: dict[str, float]

    def __str__(self) -> str:
        each = ", ".join(f"{stem} {value:.2f}" for stem, value in self.sdr.items())
        return f"{self.loss:.5f}, SDR {each} dB"


def network(kind: Kind, config: Config) -> Network:
    """The network of a kind, with weights drawn from torch's generator."""
    if kind == "demucs":
        return Demucs(cast(DemucsConfig, config))
    return WaveUNet(cast(WaveUNetConfig, config))


def config_of(kind: Kind, published: bool = False) -> Config:
    """The reduced size that two cores train, or the published one."""
    config = DemucsConfig if kind == "demucs" else WaveUNetConfig
    return config.published() if published else config()


class WaveformTask:
    """A separator learns from songs; a `Task` of `TrainingRun`.

    Raises StemwrightError when the songs are not what the network takes.
    """

    def __init__(
        self,
        kind: Kind,
        config: Config,
        settings: WaveformSettings,
        train: Songs,
        valid: Songs,
        device: torch.device = CPU,
    ) -> None:
        if (train.sample_rate, train.stems) != (config.sample_rate, config.stems):
            raise StemwrightError(
                "songs-differ",
                f"The songs have {', '.join(train.stems)} at {train.sample_rate} Hz, the network "
                f"takes {', '.join(config.stems)} at {config.sample_rate} Hz.",
            )
        self.kind, self.config, self.settings = kind, config, settings
        self.train_songs, self.valid_songs, self.device = train, valid, device
        self.recipe = RECIPES[kind]
        self.identity: Mapping[str, str] = {"network": kind, "songs": train.digest}
        torch.manual_seed(settings.seed)
        self.model: nn.Module = network(kind, config)
        self._drawn = Prefetched(self.draw)

    @property
    def samples(self) -> int:
        """Samples that the network is given for an excerpt."""
        return self.config.valid_length(round(self.settings.seconds * self.config.sample_rate))

    def draw(self, step: int) -> Float:
        """The stems of a step's mixes. Every step has its own generator: a resumed run sees the
        same batches."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 31, step])
        return self.train_songs.sample(rng, s.batch, self.samples, self.recipe.remix)

    def loss(self, step: int, done: float) -> tuple[Tensor, Tensor]:
        """The paper's loss on a step's mixes."""
        stems = torch.from_numpy(self._drawn(step)).to(self.device)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            found = self.model(stems.sum(dim=1))
        true = centre(stems, found.shape[3])
        compare = F.l1_loss if self.recipe.loss == "l1" else F.mse_loss
        loss = compare(found.float(), true)
        return loss, loss

    @torch.no_grad()
    def validate(self) -> HeldOut:
        """Held-out songs as they are."""
        self.model.eval()
        rng = np.random.default_rng([self.settings.seed, 32])
        losses, found = [], list[Float]()
        for _ in range(VALIDATION_BATCHES):
            drawn = self.valid_songs.sample(rng, self.settings.batch, self.samples)
            stems = torch.from_numpy(drawn).to(self.device)
            estimate = self.model(stems.sum(dim=1)).float()
            true = centre(stems, estimate.shape[3])
            losses.append(float(F.l1_loss(estimate, true)))
            found.append(_sdr_db(true, estimate))
        each = zip(self.config.stems, np.concatenate(found).T, strict=True)
        heard = {stem: own[np.isfinite(own)] for stem, own in each}
        medians = {stem: float(np.median(own)) for stem, own in heard.items() if own.size}
        return HeldOut(float(np.mean(losses)), medians)

    def described(self) -> CheckpointMetadata:
        """Size, and what was held out."""
        return {
            "config": self.config.to_dict(),
            "held out": [song.name for song in self.valid_songs.songs],
            "minutes of songs": round(self.train_songs.minutes, 1),
        }

    def arrays(self) -> dict[str, Float]:
        """Nothing besides weights."""
        return {}

    def resume(self, checkpoint: Checkpoint) -> None:
        """Nothing besides weights."""


def _sdr_db(true: Tensor, estimate: Tensor) -> Float:
    """Signal to distortion of excerpts (batch, stems, channels, samples): (batch, stems), NaN
    where a stem rests."""
    power = (true**2).mean(dim=(2, 3))
    wrong = ((true - estimate) ** 2).mean(dim=(2, 3)).clamp_min(1e-12)
    sdr = 10 * torch.log10(power / wrong)
    return torch.where(power > 1.5e-5, sdr, torch.nan).cpu().numpy()


@dataclass(frozen=True)
class TrainedSeparator:
    """A finished run: the network in evaluation mode and what its card says of it."""

    kind: Kind
    config: Config
    network: Network
    training: Mapping[str, object]


def load_separator(folder: Path) -> TrainedSeparator:
    """Read the last checkpoint of a separator's run."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    kind = cast(Kind, checkpoint.metadata["identity"]["network"])
    facts = checkpoint.metadata["config"]
    config = replace(config_of(kind), **facts | {"stems": tuple(facts["stems"])})
    trained = network(kind, config)
    trained.load_state_dict(checkpoint.model)
    training = checkpoint.training | {
        name: checkpoint.metadata[name] for name in ("device", "minutes of songs", "held out")
    }
    return TrainedSeparator(kind, config, trained.eval(), training)
