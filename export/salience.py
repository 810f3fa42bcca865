"""The network of pitches: its training on singers whose pitches are known, and its bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine import (
    PITCH_INPUTS,
    PITCH_KIND,
    PITCH_MULTIPLES,
    PITCH_OUTPUTS,
    NetworkCard,
    PitchNetwork,
    pitch_grid,
)

from .data.sung_sums import Singers, SungSums
from .models.salience import SalienceConfig, SalienceNetwork, emit_salience
from .network_bundle import NetworkFacts, write_network
from .training.checkpoint import load_checkpoint
from .training.run import TrainingProgress, TrainingRun
from .training.salience_training import SALIENCE_CHECKPOINT, SalienceSettings, SalienceTask

Float = NDArray[np.float32]

_FRAMES = 5  # of the self-test


def train_salience(
    pieces: Sequence[Singers],
    folder: Path,
    settings: SalienceSettings | None = None,
    config: SalienceConfig | None = None,
    every: int = 100,
) -> Iterator[TrainingProgress[float]]:
    """Train on sums of `pieces`; yields reports. `folder` holds the checkpoint, from which an
    interrupted training goes on and ends with the same bytes."""
    chosen = settings or SalienceSettings()
    digest = hashlib.sha256()
    for one in pieces:
        digest.update(one.voices.tobytes() + one.tracks.hertz.tobytes())
    sums = SungSums(pieces, chosen.seconds)
    task = SalienceTask(config or SalienceConfig(), chosen, sums, digest.hexdigest()[:16])
    yield from TrainingRun(folder, SALIENCE_CHECKPOINT, task).run(every)


def export_salience(folder: Path, bundle: Path, facts: NetworkFacts) -> Path:
    """Write the bundle of a training's last checkpoint: graph, weights, self-test and card."""
    checkpoint = load_checkpoint(folder / SALIENCE_CHECKPOINT)
    network = SalienceNetwork(SalienceConfig(**checkpoint.metadata["config"]))
    network.load_state_dict(checkpoint.model)
    network.eval()
    graph = emit_salience(network)
    config = network.config.to_dict()
    card = {"kind": PITCH_KIND, "config": config, "training": checkpoint.training, **facts}
    write_network(bundle, network, graph, self_test(network), card, NetworkCard)
    PitchNetwork.load(bundle)  # the self-test: ONNX Runtime says what torch says
    return bundle


def self_test(network: SalienceNetwork) -> dict[str, Float]:
    """An input like a choir's and the network's answer."""
    shape = len(PITCH_MULTIPLES), _FRAMES, len(pitch_grid())
    heard = np.random.default_rng(12).normal(0, 1, shape).astype(np.float32)
    with torch.no_grad():
        sung = torch.sigmoid(network(torch.from_numpy(heard)[None]))[0].numpy()
    return {PITCH_INPUTS[0]: heard, PITCH_OUTPUTS[0]: sung}
