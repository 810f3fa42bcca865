"""Prints what narrower numbers in the first estimate are worth: seconds, and SDR against float32.

    python bench/precision.py SONGS [--layout stems] [--seconds 10] [--rounds 5]

The encoder and the heads in float32; with weights of 8 bits and activations of 8 bits, chosen on
the fly (onnxruntime.quantization); and in float16. Masks of the channels, each alone, are laid on
the spectrogram of the sum of the stems: parity is what counts, not the level.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from engine import Device, Prior, find_prior, read_bundle
from engine.model.bands import spread_by_band
from engine.separation.estimate import encoder_path, give_way
from multitracks import LAYOUTS, Song
from speed_trials import STEMS

Float = NDArray[np.float32]
Runs = list[onnxruntime.InferenceSession]  # the encoder, and the heads in the order of STEMS

LEAST = np.float32(1e-7)
SILENT = 1e-5  # of the power of all stems


def folded(model: Path, folder: Path) -> Path:
    """The graph with its constants calculated: weights are stored narrower and cast."""
    out = folder / f"{model.stem}.folded.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return out


def as_float32(model: Path, _folder: Path) -> Path:
    """As it is."""
    return model


def as_int8(model: Path, folder: Path) -> Path:
    """Products of 8-bit integers, a scale for each output of a weight."""
    out = folder / f"{model.stem}.int8.onnx"
    quantize_dynamic(model, out, per_channel=True, weight_type=QuantType.QInt8)
    return out


def as_float16(model: Path, folder: Path) -> Path:
    """Everything inside in half precision; inputs and outputs stay."""
    out = folder / f"{model.stem}.half.onnx"
    onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=True), out)
    return out


KINDS = {"float32": as_float32, "int8, dynamic": as_int8, "float16": as_float16}


def opened(models: Sequence[Path]) -> Runs:
    """Sessions of one thread, as the program's own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    provider = ["CPUExecutionProvider"]
    return [onnxruntime.InferenceSession(model, options, providers=provider) for model in models]


def heads_of(runs: Runs, looks: Float) -> Float:
    """Raw masks of every stem, (stems, batch, frames, bands)."""
    encoder, *heads = runs
    power = np.square(looks, dtype=np.float64).mean(axis=(1, 2), keepdims=True)
    scaled = np.asarray(looks / np.sqrt(np.maximum(power, 1e-12)), np.float32)
    width = encoder.get_inputs()[0].shape[2]
    beside = np.zeros((*scaled.shape[:2], width - scaled.shape[2]), np.float32)
    (features,) = encoder.run(["features"], {"mix": np.concatenate([scaled, beside], axis=2)})
    return np.stack([head.run(["mask"], {"features": features})[0] for head in heads])


def sdr_db(runs: Runs, priors: Sequence[Prior], song: Song, seconds: float) -> list[float]:
    """SDR of every stem of a song, in the spectrogram; NaN for one that does not play."""
    front_end = priors[0].card.front_end.front_end()
    truth, rate = song.read(seconds)
    stft, band = front_end.stft(rate), front_end.band_of_bin(rate)
    spectra = np.stack([stft.forward(truth[stem]) for stem in STEMS])
    mix = spectra.sum(axis=0)
    looks = np.stack([front_end.band_magnitudes(channel[None], rate) for channel in mix])
    raw = give_way(heads_of(runs, looks), [prior.card for prior in priors])
    masks = np.maximum(raw, LEAST)
    found = spread_by_band(masks / masks.sum(axis=0), band) * mix
    axes = (1, 2, 3)
    power = (np.abs(spectra) ** 2).sum(axis=axes)
    ratio = power / np.maximum((np.abs(spectra - found) ** 2).sum(axis=axes), LEAST)
    return [
        10 * math.log10(r) if p > SILENT * power.sum() else math.nan
        for r, p in zip(ratio, power, strict=True)
    ]


def cpu_s(runs: Runs, looks: Float, rounds: int) -> float:
    """Least processor seconds of encoder and heads."""
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        heads_of(runs, looks)
        spent.append(time.process_time() - began)
    return min(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("songs", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="stems")
    parser.add_argument("--seconds", type=float, default=10.0, help="of every song")
    parser.add_argument("--rounds", type=int, default=5, help="of the timing")
    arguments = parser.parse_args()
    found = [song.folded(STEMS) for song in LAYOUTS[arguments.layout](arguments.songs)]
    songs = [song for song in found if song is not None and set(song.stems) == set(STEMS)]
    if not songs:
        sys.exit(f"{arguments.songs}: no song has {', '.join(STEMS)}")
    paths = [find_prior(stem) for stem in STEMS]
    priors = [Prior(path, Device("cpu")) for path in paths]
    encoder = encoder_path(priors[0].card.encoder_sha256 or "", [paths[0].parent])
    if encoder is None:
        sys.exit(f"{paths[0].parent}: expected the encoder of {paths[0].name} beside it")
    bands = len(priors[0].card.front_end.edges_hz) - 1
    looks = np.random.default_rng(0).random((4, 320, bands), np.float32)
    print("| encoder and heads | ms for 4 windows | against float32 | SDR, dB | changes by |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = [encoder]
        for stem, path in zip(STEMS, paths, strict=True):
            models.append(folder / f"{stem}.onnx")
            models[-1].write_bytes(read_bundle(path)[1]["head.onnx"])
        plain = [folded(model, folder) for model in models]
        first_s, first_db = 0.0, np.zeros(0)
        for kind, narrowed in KINDS.items():
            runs = opened([narrowed(model, folder) for model in plain])
            spent = cpu_s(runs, looks, arguments.rounds)
            levels = np.array([sdr_db(runs, priors, song, arguments.seconds) for song in songs])
            first_s, first_db = first_s or spent, first_db if first_db.size else levels
            change, mean_db = levels - first_db, np.nanmean(levels)
            print(
                f"| {kind} | {1e3 * spent:.1f} | {spent / first_s:.2f} x | {mean_db:.2f} "
                f"| {np.nanmean(change):+.3f}, at most {np.nanmax(np.abs(change)):.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
