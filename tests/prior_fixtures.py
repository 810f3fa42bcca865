"""Tiny but real priors for the tests: torch flows of some hundred parameters, exported."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from engine import FrontEndCard, Source, log_band_plan
from engine.separation.search_plan import SearchPlan
from export.bundle import write_bundle
from export.models.estimator import Encoder, EstimatorConfig, Head, TrainedEstimator
from export.models.features import Features
from export.models.flow import Flow, FlowConfig
from export.training.flow_training import Run, TrainSettings

BANDS = 16
CONFIG = FlowConfig(bands=BANDS, blocks=2, hidden=8, layers=2, kernel=3)


def search_plan(**changes) -> SearchPlan:
    """A plain search: no guide, no prior term, the others' magnitudes of the last step."""
    plain = {"method": "gradient", "steps": 50, "learning_rate": 0.03, "prior_weight": 0.0,
             "exact": False, "guided_steps": 0, "guide_weight": 1.0}  # fmt: skip
    return SearchPlan(**plain | changes)


def tiny_front_end() -> FrontEndCard:
    """16 bands of a 1024-sample window at 44.1 kHz."""
    plan = log_band_plan(
        BANDS, bin_hz=44100 / 1024, low_hz=200, high_hz=20000, first_hz=44100 / 2048
    )
    return FrontEndCard(sample_rate=44100, hop=256, edges_hz=plan.edges_hz)


def random_flow(seed: int, config: FlowConfig = CONFIG, spread: float = 0.1) -> Flow:
    """A flow with every parameter off its initial value, ActNorm too."""
    torch.manual_seed(seed)
    flow = Flow(config)
    for parameter in flow.parameters():
        parameter.data += spread * torch.randn_like(parameter)
    for block in flow.blocks:
        block.norm.ready = torch.tensor(True)
    return flow.eval()


def make_vectors(rng, config, batch, frames):
    """Random inputs of all graphs."""
    shape = (batch, frames, config.bands)
    return {
        "magnitudes": rng.random(shape).astype(np.float32) + 0.01,
        "z": rng.standard_normal((batch, frames // 2, 2 * config.bands)).astype(np.float32),
        "others": rng.random(shape).astype(np.float32),
        "guide": rng.random(shape).astype(np.float32),
    }


def make_features(rng, config, compression):
    """Random standardisation."""
    mean = rng.random(config.bands).astype(np.float32) + 0.5
    std = rng.random(config.bands).astype(np.float32) * 0.3 + 0.2
    return Features(compression, mean, std)


def tiny_run(mean: np.ndarray, seed: int) -> Run:
    features = Features(1 / 3, mean.astype(np.float32), np.full(BANDS, 0.2, np.float32))
    return Run(random_flow(seed), features, CONFIG, TrainSettings(steps=1), 1)


def tiny_priors(folder: Path) -> None:
    """`low` expects sound in the lower bands, `high` in the upper ones."""
    torch.manual_seed(5)
    config = EstimatorConfig(bands=BANDS, hidden=8, dilations=(1, 2), head=8)
    estimator = TrainedEstimator(
        config, Encoder(config), {"low": Head(config), "high": Head(config)}
    )
    falling = np.linspace(0.6, 0.1, BANDS)
    for seed, (stem, mean) in enumerate({"low": falling, "high": falling[::-1]}.items()):
        write_bundle(
            tiny_run(mean, seed),
            folder / f"{stem}.prior",
            stem=stem,
            front_end=tiny_front_end(),
            sources=(Source(name="none: random weights", files=0, minutes=0),),
            validation={},
            training={"steps": 0},
            head=estimator.head(stem, seed),
        )
    encoder = estimator.encoder_bytes()
    sha256 = estimator.head("low", 0).encoder_sha256
    (folder / f"{sha256[:16]}.encoder.onnx").write_bytes(encoder)


def labelled_prior(path: Path) -> Path:
    """One bundle of a flow with the labels `low` and `high`."""
    config = replace(CONFIG, labels=2)
    features = Features(1 / 3, np.linspace(0.6, 0.1, BANDS, dtype=np.float32),
                        np.full(BANDS, 0.2, np.float32))  # fmt: skip
    write_bundle(
        Run(random_flow(3, config, spread=0.15), features, config, TrainSettings(steps=1), 1),
        path,
        stem="musicglow",
        labels=("low", "high"),
        front_end=tiny_front_end(),
        sources=(Source(name="none: random weights", files=0, minutes=0),),
        validation={},
        percentiles_of_labels={"low": tuple(range(7))},
        training={"steps": 0},
    )
    return path
