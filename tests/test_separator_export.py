"""Trained networks become separators: an ONNX file that does what torch does, and its card."""

import hashlib

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
import yaml

from engine import channel_groups, probe
from engine.audio.signal import MixFile
from engine.model.hooks import SearchHooks
from engine.model.sessions import Device
from engine.separators.estimating import CardSeparation
from engine.separators.loading import load_card
from export.models.estimator import EstimatorConfig
from export.separators import (
    export_family,
    export_separator,
    family_masks,
    train_separator,
)
from export.training import interleaved_training
from export.training.interleaved_training import InterleavedTask, load_family, settings_of
from export.training.options import TrainingOptions
from export.training.run import TrainingRun
from export.training.waveform_training import load_separator
from presets import StemwrightError
from rival_fixtures import STEMS, tones, toy_songs, write_songs


@pytest.fixture(scope="module", params=["demucs", "waveunet"])
def trained(request, tmp_path_factory):
    """A run of the reduced size, too short to be of use."""
    songs = write_songs(tmp_path_factory.mktemp("songs"), 3, 22_050, 1.5)
    out = tmp_path_factory.mktemp("run")
    options = TrainingOptions(out, steps=1, batch=1, device="cpu", threads=1)
    return out, list(train_separator(request.param, [songs], options, seconds=0.1)), request.param


def stored(network):
    """With the weights that a graph stores."""
    for weights in network.parameters():
        weights.data = weights.data.half().float()
    return network


def card_of(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_training_tells_what_it_does_and_leaves_a_card(trained):
    out, lines, kind = trained
    assert "3 songs" in lines[0] and "held out: song" in lines[0]
    assert "M parameters" in lines[1]
    assert any("step 1/1" in line and " left" in line for line in lines)
    card = card_of(out / f"{kind}.yaml")
    assert card["stems"] == list(STEMS)
    blob = (out / card["files"][0]["path"]).read_bytes()
    assert card["files"][0]["sha256"] == hashlib.sha256(blob).hexdigest()


def test_the_graph_of_a_card_does_what_the_trained_network_does(trained):
    out, _, kind = trained
    card = card_of(out / f"{kind}.yaml")
    trained_network = load_separator(out)
    mix = 0.1 * np.random.default_rng(1).standard_normal((1, 1, card["segment"]), np.float32)
    mix[:, :, 60_000:] = 0  # a short song and the silence behind it
    session = onnxruntime.InferenceSession((out / f"{kind}.onnx").read_bytes())
    (found,) = session.run(None, {"mix": mix})
    assert found.shape == (1, 4, 1, card["segment"])
    network = stored(trained_network.network)
    with torch.no_grad():
        expected = network.separate(torch.from_numpy(mix)).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_program_separates_with_the_card(trained, tmp_path):
    """Longer than a segment: what stands in its middle is what torch says of the whole mix."""
    out, _, kind = trained
    mix = tones(5, 22_050, 10.5).sum(axis=0)[None]
    soundfile.write(tmp_path / "mix.wav", mix.T, 22_050, subtype="FLOAT")
    signal = MixFile(tmp_path / "mix.wav", probe(tmp_path / "mix.wav"))
    separation = CardSeparation(load_card(out / f"{kind}.yaml"), Device.parse("cpu"), 1)
    groups = channel_groups(1, None)
    separation.search(signal, groups, tmp_path / "work", SearchHooks())
    found = np.concatenate(list(separation.stems_of(signal, groups, tmp_path / "work")), axis=2)
    assert separation.stems == list(STEMS)
    assert found.shape == (4, 1, mix.shape[1])
    if kind == "waveunet":  # Demucs scales every segment by itself, a Wave-U-Net none
        network = stored(load_separator(out).network)
        with torch.no_grad():
            expected = network.separate(torch.from_numpy(mix[None])).numpy()[0]
        middle = np.s_[:, :, 22_050:-22_050]
        apart = found[middle] - expected[middle]  # segments begin between its decimated steps
        assert 100 * (apart**2).sum() < (expected[middle] ** 2).sum()


def test_exporting_twice_gives_the_same_bytes(trained, tmp_path):
    out, _, kind = trained
    again = export_separator(out, tmp_path / f"{kind}.yaml")
    assert again.read_bytes() == (out / f"{kind}.yaml").read_bytes()
    onnx = f"{kind}.onnx"
    assert (tmp_path / onnx).read_bytes() == (out / onnx).read_bytes()


@pytest.mark.parametrize("mode", ["interleaved", "independent"])
def test_a_family_becomes_gains_of_bins(tmp_path, mode):
    small = EstimatorConfig(channels=2, hidden=12, recurrent=6, head=6, dilations=(1,))
    songs = toy_songs(8, rate=22_050).split()
    settings = settings_of(mode, STEMS, updates=1, batch=2, seconds=0.3)
    task = InterleavedTask(mode, STEMS, small, settings, *songs)
    for _ in TrainingRun(tmp_path, interleaved_training.CHECKPOINT, task).run(1):
        pass
    card = card_of(export_family(tmp_path, tmp_path / "family.yaml"))
    session = onnxruntime.InferenceSession((tmp_path / "family.onnx").read_bytes())
    bins = card["stft"]["n_fft"] // 2 + 1
    mix = np.random.default_rng(2).random((1, 2, bins, 17)).astype(np.float32)
    (mask,) = session.run(None, {"magnitudes": mix})
    assert mask.shape == (1, 4, 2, bins, 17)
    family = stored(load_family(tmp_path))
    for channel in range(2):
        expected = family_masks(family, mix[0, channel])
        assert np.abs(mask[0, :, channel] - expected).max() < 1e-4


def test_one_song_is_too_few(tmp_path):
    songs = write_songs(tmp_path / "songs", 1)
    options = TrainingOptions(tmp_path / "run", steps=1, device="cpu", threads=1)
    with pytest.raises(StemwrightError, match="at least two"):
        list(train_separator("demucs", [songs], options))
