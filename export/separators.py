"""From songs to a separator: training of the networks of the literature, and their cards.

What comes out is an ONNX file and a card beside it, the same that a foreign model has: at work
the program knows no difference.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import onnx
import onnxruntime
import torch
import yaml
from numpy.typing import NDArray

from engine import encoder_path, find_prior, put_file, read_bundle
from presets import StemwrightError

from .data.songs import Songs, read_songs
from .models.demucs import Demucs
from .models.estimator import Encoder, EstimatorConfig, Head
from .models.mask_graphs import emit_masks, joined_masks
from .models.wave_unet import WaveUNet
from .models.waveform_graphs import emit_demucs, emit_wave_unet
from .training.interleaved_training import CHECKPOINT as FAMILY_CHECKPOINT
from .training.interleaved_training import (
    SHARED,
    InterleavedTask,
    MaskFamily,
    Mode,
    family_training,
    front_end,
    load_family,
    settings_of,
)
from .training.options import DeviceName, TrainingOptions
from .training.run import TrainingRun, device_summary, training_device
from .training.waveform_training import (
    CHECKPOINT,
    RECIPES,
    Kind,
    TrainedSeparator,
    WaveformSettings,
    WaveformTask,
    config_of,
    load_separator,
)

Float = NDArray[np.float32]

REPORT_EVERY = 25  # steps, which are slow on a processor
SEGMENT_S = 10.0  # of one call at work
TOLERANCE = 1e-4  # relative: what ONNX Runtime may differ from torch
FOUR = ("vocals", "bass", "drums", "other")
TITLES = {"demucs": "Demucs v2", "waveunet": "Wave-U-Net"}


class CardTensor(TypedDict):
    """An input or output as a card describes it: its name, what it holds, its axes."""

    name: str
    role: str
    axes: str


class CardGraph(TypedDict):
    """What a card says of its graph; `segment`, `discard` and `hop` in samples."""

    stems: list[str]
    sample_rate: int
    channels: int
    segment: int
    discard: int
    stft: NotRequired[dict[str, int]]
    inputs: list[CardTensor]
    outputs: list[CardTensor]


def train_separator(
    kind: Kind,
    songs: Sequence[Path],
    options: TrainingOptions,
    published: bool = False,
    seconds: float = 4.0,
) -> Iterator[str]:
    """Train in the options' folder, yielding lines for the terminal; a folder with a checkpoint
    goes on. Then write the separator: ONNX file and card.

    `published` is the size of the paper, `seconds` the length of an excerpt.
    """
    device = training_device(options.device, options.threads)
    config = config_of(kind, published)
    read = read_songs(songs, config.stems, config.sample_rate, config.audio_channels)
    train, valid = read.split()
    yield _material(read, valid)
    settings = WaveformSettings(
        steps=options.steps,
        seconds=seconds,
        learning_rate=RECIPES[kind].learning_rate,
        seed=options.seed,
    )
    task = WaveformTask(kind, config, replace(settings, **options.changes()), train, valid, device)
    run = TrainingRun(options.out, CHECKPOINT, task, device, options.deadline)
    yield from _beginning(run, task.model, TITLES[kind], device)
    for p in run.run(REPORT_EVERY if device.type == "cpu" else run.every):
        yield f"step {p.step}/{p.steps}  loss {p.train_loss:.5f}  held out {p.valid}  {p.left}"
    yield f"written: {export_separator(options.out, options.out / f'{kind}.yaml')}"


def train_interleaved(songs: Sequence[Path], options: TrainingOptions) -> Iterator[str]:
    """The same for a mask network with one encoder and decoders that are trained in turns, of the
    family that bench/interleaved.py compares; a step trains one decoder."""
    device = training_device(options.device, options.threads)
    read = read_songs(songs, FOUR, front_end().sample_rate)
    train, valid = read.split()
    yield _material(read, valid)
    updates = math.ceil(options.steps / len(FOUR))
    settings = settings_of(
        "interleaved", FOUR, updates=updates, seed=options.seed, **options.changes()
    )
    task = InterleavedTask("interleaved", FOUR, FAMILY, settings, train, valid, device)
    run = TrainingRun(options.out, FAMILY_CHECKPOINT, task, device, options.deadline)
    yield from _beginning(run, task.model, "interleaved", device)
    for p in run.run(run.every):
        losses = ", ".join(f"{stem} {loss:.4f}" for stem, loss in p.valid.items())
        yield f"step {p.step}/{p.steps}  loss {p.train_loss:.4f}  held out {losses}  {p.left}"
    yield f"written: {export_family(options.out, options.out / 'interleaved.yaml')}"


def _material(read: Songs, valid: Songs) -> str:
    names = ", ".join(song.name for song in valid.songs)
    return f"{len(read.songs)} songs, {read.minutes:.1f} minutes; held out: {names}"


def _beginning(
    run: TrainingRun[Any], model: torch.nn.Module, title: str, device: torch.device
) -> Iterator[str]:
    """Say what is trained where, from which step, and how long it will take."""
    size = sum(p.numel() for p in model.parameters()) / 1e6
    yield f"{device_summary(device)}; {title}, {size:.2f} M parameters"
    if run.step:
        yield f"resuming at step {run.step}"
    yield run.forecast()


@dataclass(frozen=True)
class FamilyOptions:
    """What the trainings of the interleaved family are told besides their songs. `new` is the
    stem whose decoder is trained on an encoder that has never been asked for it."""

    out: Path
    updates: int = 1000
    batch: int = 16
    seed: int = 0
    device: DeviceName = "auto"
    threads: int = 0
    stems: tuple[str, ...] = FOUR
    new: str = "vocals"


# the shipped estimate's network at half its width: five runs of it are trained
FAMILY = EstimatorConfig(channels=12, hidden=96, recurrent=64, head=64)
RUNS = ("interleaved", "simultaneous", "apart", "independent", "trunk", "frozen")


def train_family(songs: Sequence[Path], options: FamilyOptions) -> Iterator[str]:
    """Train one network family in every mode, each in a folder of its own in the options'
    folder, yielding lines for the terminal; what is finished is left as it is.

    `trunk` is interleaved without the stem `new`, and `frozen` its decoder on that encoder.
    """
    device = training_device(options.device, options.threads)
    read = read_songs(songs, options.stems, front_end().sample_rate)
    train, valid = read.split()
    yield f"{len(read.songs)} songs, {read.minutes:.1f} minutes; {device_summary(device)}"
    old_stems = tuple(stem for stem in options.stems if stem != options.new)
    for name in RUNS:
        stems, encoder, mode = options.stems, None, cast(Mode, name)
        if name == "trunk":
            stems, mode = old_stems, "interleaved"
        if name == "frozen":
            stems = (options.new,)
            encoder = cast(Encoder, load_family(options.out / "trunk").encoders[SHARED])
        settings = settings_of(
            mode, stems, updates=options.updates, batch=options.batch, seed=options.seed
        )
        task = InterleavedTask(mode, stems, FAMILY, settings, train, valid, device, encoder)
        run = TrainingRun(options.out / name, FAMILY_CHECKPOINT, task, device)
        yield f"{name}: {run.forecast()}"
        for p in run.run(200):
            losses = ", ".join(f"{stem} {loss:.4f}" for stem, loss in p.valid.items())
            loss = f"{p.train_loss:.4f}  held out {losses}"
            yield f"{name}: step {p.step}/{p.steps}  {loss}  {p.left}"


def export_separator(run: Path, card: Path, licence: str = "your own recordings") -> Path:
    """Write the ONNX file of a run and its card; raises StemwrightError when the graph does not
    do what torch does, with nothing written."""
    trained = load_separator(run)
    config = trained.config
    segment = round(SEGMENT_S * config.sample_rate)
    blob = _graph(trained, segment)
    discard = math.ceil((config.valid_length(segment) - segment) / 2)
    facts: CardGraph = {
        "stems": list(config.stems),
        "sample_rate": config.sample_rate,
        "channels": config.audio_channels,
        "segment": segment,
        "discard": discard,
        "inputs": [{"name": "mix", "role": "wave", "axes": "b c n"}],
        "outputs": [{"name": "stems", "role": "wave", "axes": "b s c n"}],
    }
    source = f"{TITLES[trained.kind]}, {_training_summary(trained.training)}"
    return _written(card, blob, source, licence, facts)


def _graph(trained: TrainedSeparator, segment: int) -> bytes:
    """The ONNX file, compared with torch on a second of noise."""
    network = trained.network

    def emitted(samples: int) -> bytes:
        if isinstance(network, Demucs):
            return _bytes(emit_demucs(network, samples))
        assert isinstance(network, WaveUNet)
        return _bytes(emit_wave_unet(network, samples))

    samples = trained.config.sample_rate
    rng = np.random.default_rng(0)
    shape = (1, trained.config.audio_channels, samples)
    mix = (0.1 * rng.standard_normal(shape)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(emitted(samples)).run(None, {"mix": mix})
    with torch.no_grad():
        expected = network.separate(torch.from_numpy(mix)).numpy()
    _refuse_difference(found, expected)
    return emitted(segment)


def export_family(run: Path, card: Path, licence: str = "your own recordings") -> Path:
    """The same of a run of the interleaved family."""
    family = load_family(run)
    view = front_end()
    blob = family_graph(family)
    stft = view.front_end().stft(view.sample_rate)
    rng = np.random.default_rng(0)
    mix = rng.random((1, 1, stft.bins, 40)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(blob).run(None, {"magnitudes": mix})
    _refuse_difference(found, family_masks(family, mix[0, 0])[None, :, None])
    facts: CardGraph = {
        "stems": list(family.heads),
        "sample_rate": view.sample_rate,
        "channels": 1,
        "segment": round(SEGMENT_S * view.sample_rate),
        "discard": stft.n_fft // 2,
        "stft": {"n_fft": stft.n_fft, "hop": stft.hop},
        "inputs": [{"name": "magnitudes", "role": "mag", "axes": "b c f t"}],
        "outputs": [{"name": "mask", "role": "mask", "axes": "b s c f t"}],
    }
    source = f"interleaved multitask network, {_training_summary(family_training(run))}"
    return _written(card, blob, source, licence, facts)


def export_estimate(stems: Sequence[str], card: Path, folders: Sequence[Path] = ()) -> Path:
    """The first estimate of installed priors as a separator: encoder and heads in one graph."""
    read = [read_bundle(find_prior(stem, folders)) for stem in stems]
    cards = [prior_card for prior_card, _, _ in read]
    encoders = {prior_card.encoder_sha256 for prior_card in cards}
    sha256 = encoders.pop() if len(encoders) == 1 else None
    path = encoder_path(sha256, folders) if sha256 else None
    if path is None:
        raise StemwrightError(
            "prior-without-head",
            f"the priors of {', '.join(stems)} share no encoder for first estimates. Name priors "
            "that were made together.",
        )
    view = cards[0].front_end
    heads = [onnx.load_model_from_string(files["head.onnx"]) for _, files, _ in read]
    graph = joined_masks(view, [onnx.load_model(str(path))], heads, [0] * len(heads))
    stft = view.front_end().stft(view.sample_rate)
    facts: CardGraph = {
        "stems": list(stems),
        "sample_rate": view.sample_rate,
        "channels": 1,
        "segment": round(SEGMENT_S * view.sample_rate),
        "discard": stft.n_fft // 2,
        "stft": {"n_fft": stft.n_fft, "hop": stft.hop},
        "inputs": [{"name": "magnitudes", "role": "mag", "axes": "b c f t"}],
        "outputs": [{"name": "mask", "role": "mask", "axes": "b s c f t"}],
    }
    licences = "; ".join(sorted({prior_card.licence for prior_card in cards}))
    return _written(card, _bytes(graph), "first estimate of the priors", licences, facts)


def family_graph(family: MaskFamily) -> bytes:
    """The ONNX file of a family."""
    names = list(family.encoders)
    encoders = [cast(Encoder, family.encoders[name]) for name in names]
    heads = [cast(Head, head) for head in family.heads.values()]
    owner = [names.index(family.encoder_of[stem]) for stem in family.heads]
    return _bytes(emit_masks(front_end(), encoders, heads, owner))


@torch.no_grad()
def family_masks(family: MaskFamily, magnitudes: Float) -> Float:
    """What torch says: (bins, frames) -> gains (stems, bins, frames)."""
    view = front_end().front_end()
    rate = front_end().sample_rate
    band = view.band_of_bin(rate)
    bands = view.band_magnitudes(magnitudes.T[None].astype(np.complex64), rate)
    bands /= np.sqrt((bands**2).mean())
    masks = family.masks(torch.from_numpy(bands.T[None]), list(family.heads))
    return np.stack([mask[0].numpy()[band] for mask in masks.values()])


def _refuse_difference(found: Float, expected: Float) -> None:
    error = float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-12))
    if not error < TOLERANCE:  # NaN too
        raise StemwrightError(
            "export-parity",
            f"the graph differs from torch by {error:.1e} (allowed {TOLERANCE}); nothing was "
            "written. Train longer or with a smaller learning rate: it is badly conditioned.",
        )


def _written(card: Path, blob: bytes, source: str, licence: str, facts: CardGraph) -> Path:
    """Put graph and card beside each other."""
    graph = card.with_suffix(".onnx")
    card.parent.mkdir(parents=True, exist_ok=True)
    card_facts = {
        "card": 1,
        "name": card.stem,
        "source": source,
        "licence": licence,
        "commercial": "unknown",
        "files": [{"path": graph.name, "sha256": hashlib.sha256(blob).hexdigest()}],
        "rest": "residual",
        **facts,
    }
    put_file(graph, blob)
    put_file(card, yaml.safe_dump(card_facts, sort_keys=False, allow_unicode=True).encode())
    return card


def _training_summary(training: Mapping[str, object]) -> str:
    return (
        f"{training['steps']} steps on {training['minutes of songs']} minutes of songs, "
        f"seed {training['seed']}"
    )


def _bytes(model: Any) -> bytes:  # noqa: ANN401
    return bytes(model.SerializeToString(deterministic=True))
