"""The network of pitches: what torch and ONNX Runtime say, what it is shown and taught."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from engine import PITCH_MULTIPLES, NetworkCard, PitchNetwork, PitchTracks, pitch_grid
from engine.voices.pitch_network import PITCH_KIND, SHIPPED_PITCHES, at_multiples
from engine.voices.salience import PADDED, RATE, PitchFrames
from export.data.sung_sums import Singers, SungSums
from export.models.salience import SalienceConfig, SalienceNetwork, emit_salience
from export.salience import export_salience, train_salience
from export.training.salience_training import SalienceSettings
from presets import StemwrightError
from voice_fixtures import choir

TINY = SalienceConfig(channels=3)
SETTINGS = SalienceSettings(steps=4, batch=2, seconds=1.0)
FACTS = {"description": "", "licence": "x", "sources": (), "validation": {}}


@pytest.fixture(scope="module")
def singers():
    audio, hertz = choir(("soprano", "bass"))
    hertz = hertz.astype(np.float32)
    tracks = PitchTracks(("soprano", "bass"), hertz, 0.016, np.ones_like(hertz), "computed")
    return Singers(np.stack([audio, audio[::-1]]), tracks)


def test_the_graph_says_what_torch_says_at_any_length():
    torch.manual_seed(1)
    network = SalienceNetwork(TINY)
    graph = emit_salience(network).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for frames in (1, 7, 40):
        shape = len(PITCH_MULTIPLES), frames, len(pitch_grid())
        heard = np.random.default_rng(frames).normal(size=shape).astype(np.float32)
        with torch.no_grad():
            expected = torch.sigmoid(network(torch.from_numpy(heard)[None]))[0].numpy()
        (found,) = session.run(["sung"], {"heard": heard})
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_tone_is_shown_at_its_pitch_and_as_an_overtone_of_those_below_it():
    frequency = pitch_grid()[100]
    tone = np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE).astype(np.float32)
    shown = at_multiples(PitchFrames(tone).magnitudes(slice(30, 31)), 1.0)[:, 0]
    for row, multiple in zip(shown, PITCH_MULTIPLES, strict=True):
        sought = frequency / multiple
        if pitch_grid()[0] < sought < pitch_grid()[-1]:
            near = abs(pitch_grid()[row.argmax()] - sought) * multiple
            assert near < RATE / PADDED


def test_a_long_recording_is_heard_in_blocks_and_as_if_at_once():
    audio, _ = choir()
    long = np.tile(audio, 5)  # 40 s, three blocks
    network = PitchNetwork.load()
    found = network.strengths(PitchFrames(long))
    assert len(found) == -(-len(long) // 512)
    period = len(audio) // 512
    margin = 20  # frames, where a copy hears its neighbours
    once = found[period + margin : 2 * period - margin]
    assert np.abs(found[3 * period + margin : 4 * period - margin] - once).max() < 1e-3
    assert found.min() >= 0 and found.max() <= 1


def test_sums_are_taught_where_their_voices_are(singers):
    sums = SungSums([singers], 1.0)
    heard, sung = sums.sample(np.random.default_rng(0), 6)
    assert heard.shape == (6, len(PITCH_MULTIPLES), 31, len(pitch_grid()))
    assert sung.shape == (6, 31, len(pitch_grid()))
    assert torch.isfinite(heard).all() and float(sung.min()) >= 0 and float(sung.max()) <= 1
    hills = (sung > 0.99).sum(dim=2)
    assert int(hills.max()) <= 2 * 2  # no more than two voices, on or between candidates
    again = sums.sample(np.random.default_rng(0), 6)
    assert torch.equal(heard, again[0]) and torch.equal(sung, again[1])


def test_what_is_taught_is_loudest_where_it_is_shown(singers):
    """A lone voice's pitch has more of the spectrum at once its frequency than most candidates."""
    sums = SungSums([replace(singers, voices=singers.voices[:1])], 1.0)
    heard, sung = sums.sample(np.random.default_rng(3), 8)
    at_pitch = heard[:, 1][sung > 0.9]
    assert at_pitch.mean() > heard[:, 1].mean() + 0.5


def test_a_training_goes_on_and_its_bundle_opens(singers, tmp_path):
    for settings in (replace(SETTINGS, steps=2), SETTINGS):
        reports = list(train_salience([singers], tmp_path / "run", settings, TINY, every=1))
    assert [p.step for p in reports] == [3, 4]
    path = export_salience(tmp_path / "run", tmp_path / "tiny.pitches", FACTS)
    network = PitchNetwork.load(path)
    assert network.card.kind == PITCH_KIND and network.card.training["steps"] == 4
    assert network.strengths(PitchFrames(singers.voices[0])).shape[1] == len(pitch_grid())
    with pytest.raises(StemwrightError, match="holds another run"):
        list(train_salience([singers], tmp_path / "run", replace(SETTINGS, seed=1), TINY))


def test_the_shipped_network_is_small_and_says_what_it_has_heard():
    network = PitchNetwork.load()
    assert isinstance(network.card, NetworkCard)
    assert SHIPPED_PITCHES.stat().st_size < 256 * 1024
    assert {source.name for source in network.card.sources} == {
        "choral singers", "Bach chorales, rendered",
    }  # fmt: skip
    assert network.card.licence == "CC BY 4.0"


def test_a_damaged_network_is_refused(tmp_path):
    blob = bytearray(SHIPPED_PITCHES.read_bytes())
    blob[len(blob) // 2] ^= 255
    (tmp_path / "bad.pitches").write_bytes(blob)
    with pytest.raises(StemwrightError):
        PitchNetwork.load(tmp_path / "bad.pitches")
