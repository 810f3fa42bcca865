"""From mixtures to a voice network: training on a corpus or on one recording, and its bundle."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import (
    VOICE_INPUTS,
    VOICE_OUTPUTS,
    VOICE_SUFFIX,
    Device,
    Source,
    VoiceCard,
    VoiceNetwork,
    read_voice_weights,
)
from presets import StemwrightError

from .data.mixtures import Mixture, MixtureExcerpts, read_mixture
from .models.source_filter import SMALL, SourceFilterConfig, SourceFilterNetwork
from .models.voice_graph import emit_voices
from .network_bundle import NetworkFacts, write_network
from .training.checkpoint import load_checkpoint
from .training.options import TrainingOptions
from .training.run import TrainingRun, device_summary, training_device
from .training.voice_training import CHECKPOINT, VoiceSettings, VoiceTask

Float = NDArray[np.float32]

LEAST_SECONDS = 4.0  # of a recording that a network can learn from
REPORT_EVERY = 25
_SHAPE = 3, 24  # voices and frames of the self-test


@dataclass(frozen=True)
class VoiceProgress:
    """What a training says while it goes: the mean loss since the last report."""

    step: int
    steps: int
    loss: float
    left: str


def fit_voices(
    mixtures: Sequence[Mixture],
    folder: Path,
    bundle: Path,
    *,
    start_from: Path | None = None,
    settings: VoiceSettings | None = None,
    config: SourceFilterConfig = SMALL,
    sources: Sequence[Source] = (),
    licence: str = "unknown",
    description: str = "",
    minutes: float | None = None,
    every: int = REPORT_EVERY,
    threads: int = 0,
) -> Iterator[VoiceProgress]:
    """Train on mixtures and their pitches, then write the bundle; yields reports.

    `folder` holds the checkpoint, from which an interrupted training goes on and ends with the
    same bytes; with `minutes` the clock ends it instead of the settings' steps, and no two are
    equal. `start_from` is a bundle to go on from, whose size it keeps. Raises StemwrightError for
    mixtures that are too short, and for a folder of another training.
    """
    training_device("cpu", threads)
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    run = _run_of(mixtures, folder, start_from, settings or VoiceSettings(), config, deadline)
    for p in run.run(every):
        yield VoiceProgress(p.step, p.steps, p.train_loss, p.left)
    _export_run(run, bundle, sources, licence, description)


def _run_of(
    mixtures: Sequence[Mixture],
    folder: Path,
    start_from: Path | None,
    settings: VoiceSettings,
    config: SourceFilterConfig = SMALL,
    deadline: float | None = None,
) -> TrainingRun[float]:
    _refuse_short(mixtures)
    weights: Mapping[str, Tensor] | None = None
    identity = {"mixtures": _digest(mixtures)}
    if start_from is not None:
        config, weights, begun = _begun_from(start_from)
        identity["start"] = begun
    heard = MixtureExcerpts(mixtures, config.mels, config.harmonics)
    task = VoiceTask(config, settings, heard, heard, identity, weights)
    return TrainingRun(folder, CHECKPOINT, task, deadline=deadline)


def _export_run(
    run: TrainingRun[float],
    bundle: Path,
    sources: Sequence[Source],
    licence: str = "unknown",
    description: str = "",
) -> None:
    facts: NetworkFacts = {
        "description": description,
        "licence": licence,
        "sources": tuple(sources),
        "validation": {"loss of what was heard": round(run.validate(), 5)},
    }
    export_voices(run.path.parent, bundle, facts)


def train_voices(
    paths: Sequence[Path], parts: Sequence[str], bundle: Path, options: TrainingOptions
) -> Iterator[str]:
    """Train on recordings of the same parts, yielding lines for the terminal."""
    if options.device == "cuda":
        raise StemwrightError(
            "voices-on-processor",
            "--device cuda: voice networks are so small that they train on the processor alone. "
            "Leave --device out.",
        )
    if bundle.suffix != VOICE_SUFFIX:
        raise StemwrightError(
            "voices-suffix",
            f"{bundle}: a voice network's file ends in {VOICE_SUFFIX}, by which presets find it. "
            f"Write it to {bundle.with_suffix(VOICE_SUFFIX)}.",
        )
    mixtures = [read_mixture(path, parts) for path in paths]
    for one in mixtures:
        yield f"{one.name}: {60 * one.minutes:.0f} s, pitches by {one.tracks.origin}"
    begun = VoiceSettings.fit if options.begin_from else VoiceSettings
    settings = replace(begun(steps=options.steps, seed=options.seed), **options.changes())
    device = training_device("cpu", options.threads)
    run = _run_of(mixtures, options.out, options.begin_from, settings, deadline=options.deadline)
    yield device_summary(device)
    if run.step:
        yield f"resuming at step {run.step}"
    yield run.forecast()
    for p in run.run(REPORT_EVERY):
        yield f"step {p.step}/{p.steps}  loss {p.train_loss:.4f}  {p.left}"
    minutes = sum(one.minutes for one in mixtures)
    heard = Source(name="recordings of one's own", files=len(mixtures), minutes=round(minutes, 2))
    _export_run(run, bundle, [heard])
    yield f"written: {bundle}"


def export_voices(folder: Path, bundle: Path, facts: NetworkFacts) -> Path:
    """Write the bundle of a training's last checkpoint: graph, weights, self-test and card."""
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    config = SourceFilterConfig(**checkpoint.metadata["config"])
    network = SourceFilterNetwork(config)
    network.load_state_dict(checkpoint.model)
    network.eval()
    graph = emit_voices(network)
    card = {
        "config": config.to_dict(),
        "mels": config.mels,
        "harmonics": config.harmonics,
        "training": checkpoint.training,
        **facts,
    }
    write_network(bundle, network, graph, self_test(network), card, VoiceCard)
    VoiceNetwork.load(bundle, Device("cpu"))  # the self-test: ONNX Runtime says what torch says
    return bundle


def self_test(network: SourceFilterNetwork) -> dict[str, Float]:
    """Inputs like a choir's and the network's answers."""
    rng = np.random.default_rng(12)
    voices, frames = _SHAPE
    c = network.config
    inputs = {
        "mel": rng.normal(-4, 2, (frames, c.mels)),
        "pitch": rng.uniform(0.3, 0.6, (voices, frames)),
        "harmonics": rng.normal(-4, 2, (voices, frames, 2 * c.harmonics)),
    }
    inputs = {name: values.astype(np.float32) for name, values in inputs.items()}
    with torch.no_grad():
        found = network(*(torch.from_numpy(inputs[name])[None] for name in VOICE_INPUTS))
    answers = {name: values[0].numpy() for name, values in zip(VOICE_OUTPUTS, found, strict=True)}
    return inputs | answers


def _begun_from(bundle: Path) -> tuple[SourceFilterConfig, dict[str, Tensor], str]:
    card, weights, sha256 = read_voice_weights(bundle)
    state = {name: torch.from_numpy(values) for name, values in weights.items()}
    return SourceFilterConfig(**card.config), state, sha256  # type: ignore[arg-type]


def _refuse_short(mixtures: Sequence[Mixture]) -> None:
    sung = [float(one.tracks.voiced().max()) for one in mixtures]
    if not mixtures or max(sung) < LEAST_SECONDS:
        longest = max(sung, default=0.0)
        raise StemwrightError(
            "voices-too-short",
            f"a voice network needs {LEAST_SECONDS:g} s or more in which voices sing; the longest "
            f"mixture has {longest:.1f} s. Use the shipped network, without a fit.",
        )


def _digest(mixtures: Sequence[Mixture]) -> str:
    """A short name of what is learned from."""
    digest = hashlib.sha256()
    for one in mixtures:
        digest.update(one.mix.tobytes())
        digest.update(one.tracks.hertz.tobytes())
    return digest.hexdigest()[:16]
