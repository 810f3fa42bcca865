"""The cross-likelihood table: own audio is recognised, level and pauses do not count."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from engine import Device, Prior, read_bundle
from engine.evaluation.cross_likelihood import (
    Judgement,
    _rivals,
    excerpts,
    held_out,
    judge_priors,
    judgement_png,
)
from engine.evaluation.stored_judgement import JUDGED, store_row
from engine.model.card import PERCENTS
from presets import StemwrightError

RATE = 44_100


def noise(seed, low_hz, high_hz, seconds=3.0):
    """Noise between two frequencies, RMS 0.1."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(round(seconds * RATE)))
    hz = np.fft.rfftfreq(round(seconds * RATE), 1 / RATE)
    audio = np.fft.irfft(spectrum * ((hz >= low_hz) & (hz < high_hz)))
    return (0.1 * audio / audio.std()).astype(np.float32)


def write(path, audio):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, RATE, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def priors(tiny_prior_folder):
    return {
        name: Prior(tiny_prior_folder / f"{name}.prior", Device("cpu")) for name in ("low", "high")
    }


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    return {
        "low": [write(folder / "low" / f"{n}.wav", noise(n, 0, 1500)) for n in range(4)],
        "high": [write(folder / "high" / f"{n}.wav", noise(n, 6000, 20000)) for n in range(4)],
    }


@pytest.fixture(scope="module")
def table(priors, recordings):
    return judge_priors(priors, recordings)


def test_every_prior_wins_its_own_audio(table):
    for stem, rival in (("low", "high"), ("high", "low")):
        assert table.likelihood[stem][stem].mean > table.likelihood[rival][stem].mean
        assert table.separability[stem][stem] == 1.0
        assert table.good(stem)


def test_margin_is_the_difference_of_the_columns_cells(table):
    cells = table.likelihood
    for stem, rival in (("low", "high"), ("high", "low")):
        margin = table.margin[stem][rival]
        assert margin.mean == pytest.approx(cells[stem][stem].mean - cells[rival][stem].mean)
        assert margin.low <= margin.mean <= margin.high


def test_exchanged_priors_are_found_out(priors, recordings):
    wrong = judge_priors({"low": priors["high"], "high": priors["low"]}, recordings)
    assert not wrong.good("low")
    assert not wrong.good("high")
    assert any("low: NOT GOOD" in line for line in wrong.lines())


def test_flow_is_inverted_on_real_audio(table):
    assert all(0 <= error < 1e-3 for error in table.inversion.values())


def changed(recordings, folder, change):
    """The recordings with `change` applied to every one's audio."""
    return {
        stem: [
            write(folder / stem / path.name, change(soundfile.read(path, dtype="float32")[0]))
            for path in paths
        ]
        for stem, paths in recordings.items()
    }


def test_level_of_a_recording_does_not_count(priors, recordings, table, tmp_path):
    again = judge_priors(priors, changed(recordings, tmp_path, lambda audio: 0.03 * audio))
    for prior, cells in table.likelihood.items():
        for stem, cell in cells.items():
            assert again.likelihood[prior][stem].mean == pytest.approx(cell.mean, abs=1e-3)


def test_pauses_are_not_judged(priors, recordings, table, tmp_path):
    """Half a minute of silence adds at most the excerpt in which the playing ends."""
    pause = np.zeros(30 * RATE, np.float32)
    again = judge_priors(
        priors, changed(recordings, tmp_path, lambda audio: np.concatenate([audio, pause]))
    )
    for stem, count in table.excerpts.items():
        assert count <= again.excerpts[stem] <= count + table.recordings[stem]


def test_stereo_and_mono_agree(priors, recordings, table, tmp_path):
    stereo = changed(recordings, tmp_path, lambda audio: np.stack([audio, audio], axis=1))
    again = judge_priors(priors, stereo)
    assert again.likelihood["low"]["low"].mean == pytest.approx(
        table.likelihood["low"]["low"].mean, abs=1e-3
    )


def test_percentiles_are_those_of_what_is_played(priors, recordings, table):
    """Neither pauses nor the takes' levels: what a quality report shows to a prior."""
    prior = priors["low"]
    heard = [
        float(prior.log_likelihood(piece)[0])
        for path in recordings["low"]
        for piece in excerpts(path, prior.card.front_end.front_end())
    ]
    assert table.percentiles["low"] == pytest.approx(np.percentile(heard, PERCENTS))


def test_one_long_recording_still_has_an_interval(priors, recordings):
    one = {stem: paths[:1] for stem, paths in recordings.items()}
    cell = judge_priors(priors, one).likelihood["low"]["low"]
    assert cell.low < cell.mean < cell.high


def test_same_seed_same_table(priors, recordings, table):
    assert judge_priors(priors, recordings).to_dict() == table.to_dict()


def test_a_single_prior_has_no_rivals(priors, recordings):
    alone = judge_priors({"low": priors["low"]}, {"low": recordings["low"]})
    assert alone.good("low") is None
    assert alone.row("low")["good"] is None
    assert alone.margin["low"] == {}
    assert any(line.startswith("low: not compared") for line in alone.lines())


def test_silent_recordings_are_named(priors, recordings, tmp_path):
    silent = write(tmp_path / "silent.wav", np.zeros(RATE, np.float32))
    with pytest.raises(StemwrightError, match="high") as caught:
        judge_priors(priors, {"low": recordings["low"], "high": [silent]})
    assert caught.value.code == "held-out-silent"


def test_priors_of_different_spectrograms_are_refused(priors, recordings):
    from engine import find_prior

    shipped = Prior(find_prior("bass"), Device("cpu"))
    with pytest.raises(StemwrightError, match="cannot be compared"):
        judge_priors({"low": priors["low"], "high": shipped}, recordings)


def test_row_lies_in_the_card_and_nothing_else_changes(tiny_prior_folder, table, tmp_path):
    copy = tmp_path / "low.prior"
    copy.write_bytes((tiny_prior_folder / "low.prior").read_bytes())
    before, _, _ = read_bundle(copy)
    store_row(copy, table.row("low"))
    after, _, sha256 = read_bundle(copy)
    assert after.validation[JUDGED] == json.loads(json.dumps(table.row("low")))
    assert after.files == before.files
    assert after.percentiles == table.percentiles["low"]
    Prior(copy, Device("cpu")).verify()
    store_row(copy, table.row("low"))
    assert read_bundle(copy)[2] == sha256


def test_places_are_folders_or_files_and_may_repeat(recordings):
    folder = recordings["low"][0].parent
    found = held_out([f"low={folder}", f"low={recordings['high'][0]}", f"high={folder.parent}"])
    assert len(found["low"]) == 5
    assert len(found["high"]) == 8


@pytest.mark.parametrize("argument", ["low", "=x", "low=", "low=/no/such/folder"])
def test_malformed_places_are_named(argument):
    with pytest.raises(StemwrightError, match="STEM=FOLDER"):
        held_out([argument])


def test_folder_without_audio_is_named(tmp_path):
    with pytest.raises(StemwrightError, match="low"):
        held_out([f"low={tmp_path}"])


def test_picture_has_a_cell_for_every_pair(table):
    assert isinstance(table, Judgement)
    assert judgement_png(table).startswith(b"\x89PNG")


def test_a_prior_of_several_instruments_is_no_rival_of_theirs():
    def prior(*against):
        return SimpleNamespace(card=SimpleNamespace(against=against))

    priors = {"bass": prior(), "guitar": prior(), "piano": prior(), "other": prior("bass")}
    assert _rivals(priors, "bass") == ["guitar", "piano", "other"]
    assert _rivals(priors, "guitar") == ["bass", "piano"]
    assert _rivals(priors, "other") == ["bass"]
