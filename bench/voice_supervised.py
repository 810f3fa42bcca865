"""The voice network with a teacher: the same network and excerpts, and every voice by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from choirs import Choir
from engine import VOICE_HOP
from export.data.mixtures import Excerpts, Mixture, MixtureExcerpts
from export.models.source_filter import SMALL
from export.network_bundle import NetworkFacts
from export.training.run import TrainingRun
from export.training.voice_training import CHECKPOINT, VoiceSettings, VoiceTask, spectral_loss
from export.voices import export_voices


@dataclass(frozen=True)
class TaughtExcerpts(Excerpts):
    """Excerpts with the magnitudes of every voice, (batch, voices, frames, bins) per window."""

    voices: tuple[Tensor, ...]


class ChoirExcerpts(MixtureExcerpts):
    """Excerpts of mixtures whose voices are known one by one."""

    def __init__(self, choirs: Sequence[Choir], mels: int, harmonics: int) -> None:
        super().__init__([one.mixture for one in choirs], mels, harmonics)
        self._alone = {one.name: one.voices for one in choirs}

    def excerpt(self, mixture: Mixture, first: int, frames: int) -> TaughtExcerpts:
        """As for mixtures; the voices are scaled like the mix."""
        heard = super().excerpt(mixture, first, frames)
        samples = (frames - 1) * VOICE_HOP
        alone = self._alone[mixture.name][:, first * VOICE_HOP : first * VOICE_HOP + samples]
        alone = torch.from_numpy(alone / mixture.level).numpy()
        missing = samples - alone.shape[1]
        padded = torch.nn.functional.pad(torch.from_numpy(alone), (0, missing)).numpy()
        voices = tuple(
            torch.from_numpy(bins.magnitudes(padded, VOICE_HOP))[None] for bins in self.bins
        )
        return TaughtExcerpts(**vars(heard), voices=voices)

    @staticmethod
    def _together(excerpts: Sequence[Excerpts]) -> TaughtExcerpts:
        joined = MixtureExcerpts._together(excerpts)
        each = [one.voices for one in excerpts if isinstance(one, TaughtExcerpts)]
        voices = tuple(torch.cat(alike) for alike in zip(*each, strict=True))
        return TaughtExcerpts(**vars(joined), voices=voices)


class TaughtTask(VoiceTask):
    """The loss of every voice against itself, instead of the sum's against the mix."""

    def _loss(self, excerpts: Excerpts) -> Tensor:
        assert isinstance(excerpts, TaughtExcerpts)
        powers = self.synthesis.powers(self.model, excerpts)
        terms = [
            spectral_loss(true, torch.sqrt(power + 1e-10), self.settings.log_weight)
            for true, power in zip(excerpts.voices, powers, strict=True)
        ]
        return torch.stack(terms).mean()


def train(
    choirs: Sequence[Choir],
    folder: Path,
    bundle: Path,
    settings: VoiceSettings,
    facts: NetworkFacts,
) -> Iterator[str]:
    """Train in a folder and write the bundle; yields lines."""
    heard = ChoirExcerpts(choirs, SMALL.mels, SMALL.harmonics)
    task = TaughtTask(SMALL, settings, heard, heard, {"taught": "isolated voices"})
    run = TrainingRun(folder, CHECKPOINT, task)
    for p in run.run(50):
        yield f"step {p.step}/{p.steps}  loss {p.train_loss:.4f}  {p.left}"
    export_voices(folder, bundle, facts)
