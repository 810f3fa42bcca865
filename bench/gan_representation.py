"""Prints how well GAN priors can play stems at all: each stem alone, given to its own generator.

    python bench/gan_representation.py drums=runs/gan-drums/120 drums=runs/gan-drums/480

Runs are folders of `stemwright prior gan`. Two searches from latents of zero, confined to the box
of the published one: by the four published losses, which hear magnitudes alone, and by the
waveform's squared error, which no separation can know: the nearest that the generator comes.
Silence has 0 dB, and a sound that is as loud and has nothing to do with the stem -3 dB.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor

from engine.model.spectrogram import Stft
from engine.separation.gan_search import LEARNING_RATE
from export.gan_bundle import BOUND, objective
from export.models.wavegan import Generator
from export.training.gan_training import load_generator
from quality import FOUR, SETS, songs_of
from scores import sdr_db
from systems import PAPER_HOP, PaperSong

_SILENT = 1e-3  # a peak below which nothing is played


def windows(stem: str, generator: Generator, songs: int, each: int) -> Tensor:
    """A stem of the familiar songs in windows as long as the generator plays, peaks of one."""
    config = generator.config
    _, found, _ = songs_of(SETS[0], FOUR)
    rows = []
    for song in found[:songs]:
        stems, rate = PaperSong(song).read(each * config.samples / config.sample_rate + 0.1)
        if stem in stems:
            audio = soxr.resample(stems[stem][0], rate, config.sample_rate)
            rows += list(audio[: each * config.samples].reshape(each, config.samples))
    loud = [row / np.abs(row).max() for row in rows if np.abs(row).max() > _SILENT]
    return torch.from_numpy(np.stack(loud).astype(np.float32))


def searched(
    generator: Generator, stems: Tensor, steps: Sequence[int], by_waveform: bool
) -> Iterator[Tensor]:
    """What the generator plays after some numbers of steps, each (windows, samples)."""
    generator.requires_grad_(requires_grad=False)
    silence = torch.zeros_like(stems)[:, None]
    z = torch.zeros((len(stems), generator.config.latent), requires_grad=True)
    optimiser = torch.optim.Adam([z], LEARNING_RATE)
    for step in range(max(steps) + 1):
        played = generator(z)
        if step in steps:
            yield played.detach()
        error = (played - stems).square() if by_waveform else objective(played, stems, silence)
        optimiser.zero_grad()
        error.sum().backward()
        optimiser.step()
        with torch.no_grad():
            z.clamp_(-BOUND, BOUND)


def moved_share(generator: Generator) -> float:
    """The share of what the generator plays, in energy, that differs from latents to latents."""
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made = generator(2 * torch.rand((64, generator.config.latent), generator=chance) - 1)
    return float(made.var(dim=0).mean() / made.square().mean())


def magnitudes(audio: Tensor) -> np.ndarray:
    """Of every window, (windows, frames, bins)."""
    return np.abs(Stft(PAPER_HOP).forward(audio.numpy()))


def main() -> None:
    """Search and print."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    print("| stem | steps of training | search by | steps | SDR | of magnitudes | level | moved |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for item in arguments.runs:
        stem, _, folder = item.partition("=")
        generator, training = load_generator(Path(folder))
        stems = windows(stem, generator, arguments.songs, arguments.windows)
        moved = moved_share(generator)
        for by_waveform in (False, True):
            found = searched(generator, stems, arguments.steps, by_waveform)
            for steps, played in zip(sorted(arguments.steps), found, strict=True):
                level = 10 * np.log10(float(played.square().sum() / stems.square().sum()) + 1e-12)
                cells = [
                    stem,
                    str(training["steps"]),
                    "waveform" if by_waveform else "published losses",
                    str(steps),
                    f"{sdr_db(stems.numpy(), played.numpy()):.2f}",
                    f"{sdr_db(magnitudes(stems), magnitudes(played)):.2f}",
                    f"{level:.1f}",
                    f"{moved:.0%}",
                ]
                print(f"| {' | '.join(cells)} |", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="STEM=RUN")
    parser.add_argument("--steps", type=int, nargs="+", default=[40, 200], help="of the search")
    parser.add_argument("--songs", type=int, default=4)
    parser.add_argument("--windows", type=int, default=2, help="of every song")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
