"""From a GAN's training run to a bundle of kind `gan`: graphs, torch's answers, card."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from engine import write_bundle_file

from .data.songs import REST, read_songs
from .models.gan_graphs import HOP, LEAST, N_FFT, QUIET, SCALES, WEIGHTS, emit_gan
from .models.wavegan import GanConfig, Generator
from .training.gan_training import GanSettings, GanTask, load_generator, run_of
from .training.options import TrainingOptions
from .training.run import device_summary, training_device

Float = NDArray[np.float32]

STEMS = ("vocals", "bass", "drums", "other")
SUFFIX = ".gan"
BOUND = 0.9  # as published
TOLERANCE = 1e-2  # relative: the gradient of absolute values turns at their kinks
_SPREAD = 0.5  # of the self-test's latents


def train_gan(
    stem: str, songs: Sequence[Path], options: TrainingOptions, published: bool = False
) -> Iterator[str]:
    """Train a generator of one stem in the options' folder and write its bundle there, yielding
    lines for the terminal. `songs` are folders of song folders with stems."""
    device = training_device(options.device, options.threads)
    config = GanConfig.published() if published else GanConfig()
    read = read_songs(songs, STEMS if stem in STEMS else (stem, REST), config.sample_rate)
    train, valid = read.split()
    yield f"{len(read.songs)} songs, {read.minutes:.1f} minutes; {device_summary(device)}"
    settings = replace(GanSettings(steps=options.steps, seed=options.seed), **options.changes())
    task = GanTask(stem, config, settings, train, valid, device)
    run = run_of(options.out, task, device, options.deadline)
    if run.step:
        yield f"resuming at step {run.step}"
    yield run.forecast()
    for p in run.run(120):
        losses = f"distance {p.train_loss:.4f}, held out {p.valid:.4f}"
        yield f"step {p.step}/{p.steps}  {losses}  {p.left}"
    yield f"written: {export_gan(options.out, stem, options.out / (stem + SUFFIX))}"


def export_gan(run: Path, stem: str, out: Path, licence: str = "your own recordings") -> Path:
    """Write the bundle of a run's generator."""
    generator, training = load_generator(run)
    graphs = {
        f"{name}.onnx": bytes(model.SerializeToString(deterministic=True))
        for name, model in emit_gan(generator).items()  # rounds the weights: torch answers after
    }
    files = graphs | {"selftest.npz": _npz(self_test_vectors(generator, seed=0))}
    config = generator.config
    card = {
        "schema_version": 1,
        "kind": "gan",
        "stem": stem,
        "licence": licence,
        "sample_rate": config.sample_rate,
        "samples": config.samples,
        "latent": config.latent,
        "bound": BOUND,
        "gan": config.to_dict(),
        "parameters": sum(p.numel() for p in generator.parameters()),
        "training": training,
        "made_with": {
            name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime")
        },
        "files": {name: hashlib.sha256(blob).hexdigest() for name, blob in files.items()},
        "tolerance": TOLERANCE,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    card_text = json.dumps(card, indent=1, sort_keys=True).encode()
    write_bundle_file(out, {"card.json": card_text, **files})
    return out


def self_test_vectors(generator: Generator, seed: int) -> dict[str, Float]:
    """Random inputs and what torch, in double precision and with its own autograd, says."""
    rng = np.random.default_rng([seed, 71])
    config = generator.config
    latents = rng.uniform(-_SPREAD, _SPREAD, (1, config.latent)).astype(np.float32)
    mix = (0.2 * rng.standard_normal((1, config.samples))).astype(np.float32)
    rivals = (0.1 * rng.standard_normal((1, 2, config.samples))).astype(np.float32)
    double = Generator(config).double()
    double.load_state_dict({k: v.double() for k, v in generator.state_dict().items()})
    z = torch.from_numpy(latents).double().requires_grad_()
    own = double(z)
    loss = objective(own, torch.from_numpy(mix).double(), torch.from_numpy(rivals).double())
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    answers = {"waveform": own, "loss": loss, "gradient": z.grad}
    found = {name: value.detach().numpy().astype(np.float32) for name, value in answers.items()}
    return {"latents": latents, "mix": mix, "others": rivals, **found}


def objective(own: Tensor, mix: Tensor, rivals: Tensor) -> Tensor:
    """The four losses with the rivals held still (see `gan_graphs`): waveforms (batch, samples),
    rivals (batch, rivals, samples) -> (batch,)."""
    x, s, o = _logs(mix), _logs(own + rivals.sum(dim=1)), _logs(own)
    theirs = [_logs(rival) for rival in rivals.unbind(1)]
    losses = {
        "frequency": (x.sum(dim=1) / (s.sum(dim=1) + QUIET)).sum(dim=1),
        "spectral": torch.zeros_like(x[:, 0, 0]),
        "exclusion": torch.zeros_like(x[:, 0, 0]),
        "inclusion": torch.zeros_like(x[:, 0, 0]),
    }
    for scale in range(SCALES):
        if scale:
            x, s, o, *theirs = (F.avg_pool2d(y[:, None], 2)[:, 0] for y in (x, s, o, *theirs))
        losses["spectral"] = losses["spectral"] + (x - s).abs().sum(dim=(1, 2))
        for axis in (-2, -1):
            edge = _edge(s, axis) * _edge(x, axis)
            losses["inclusion"] = losses["inclusion"] - _root(edge)
            edges = torch.stack([_edge(rival, axis) for rival in theirs]).sum(dim=0)
            losses["exclusion"] = losses["exclusion"] + _root(_edge(o, axis) * edges)
    return torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum(dim=0)


def _logs(audio: Tensor) -> Tensor:
    """(batch, samples) -> log(1 + magnitude), (batch, bins, frames)."""
    window = torch.hann_window(N_FFT, dtype=audio.dtype, device=audio.device)
    seen = torch.stft(audio, N_FFT, HOP, window=window, center=False, return_complex=True)
    return torch.log(1 + torch.sqrt(seen.real**2 + seen.imag**2 + LEAST))


def _edge(logs: Tensor, axis: int) -> Tensor:
    edge: Tensor = (2 * torch.sigmoid(torch.diff(logs, dim=axis)) - 1) ** 2
    return edge


def _root(products: Tensor) -> Tensor:
    root: Tensor = (products.flatten(1).mean(dim=1) + LEAST) ** 0.25
    return root


def _npz(arrays: dict[str, Float]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
