"""The trained separators of bench/rivals/: their cards, and that they take a mix apart."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from engine import channel_groups, probe
from engine.audio.signal import MixFile
from engine.model.hooks import SearchHooks
from engine.model.sessions import Device
from engine.separators.estimating import CardSeparation
from engine.separators.loading import load_card

ROOT = Path(__file__).parent.parent
CARDS = sorted((ROOT / "bench" / "rivals").glob("*.yaml"))
SECONDS = 4


@pytest.fixture(scope="module")
def mix(tmp_path_factory):
    """Some seconds of the example, as the networks hear it."""
    audio, rate = soundfile.read(ROOT / "examples" / "mix.flac", dtype="float32", always_2d=True)
    mono = soxr.resample(audio.mean(axis=1), rate, 22_050)[: SECONDS * 22_050]
    path = tmp_path_factory.mktemp("mix") / "mix.wav"
    soundfile.write(path, mono, 22_050, subtype="FLOAT")
    return path, mono


def test_all_are_there():
    assert [card.stem for card in CARDS] == ["demucs", "interleaved", "waveunet"]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_a_trained_network_takes_the_example_apart(card, mix, tmp_path):
    path, audio = mix
    signal = MixFile(path, probe(path))
    separation = CardSeparation(load_card(card), Device.parse("cpu"), 1)
    groups = channel_groups(1, None)
    separation.search(signal, groups, tmp_path, SearchHooks())
    stems = np.concatenate(list(separation.stems_of(signal, groups, tmp_path)), axis=2)[:, 0]
    assert stems.shape == (4, audio.size)
    assert np.isfinite(stems).all()
    rest = audio - stems.sum(axis=0)
    assert (rest**2).sum() < 0.1 * (audio**2).sum()  # what it gives out is the mix, nearly
    low = np.abs(np.fft.rfft(stems, axis=1))[:, : SECONDS * 120]  # up to 120 Hz
    power = (low**2).sum(axis=1)
    assert power[separation.stems.index("bass")] > power[separation.stems.index("vocals")]
