"""The quality report: laws of leakage, the planted passage, likelihood ranks, the manifest."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console

from engine import (
    PERCENTS,
    Device,
    Interrupted,
    Prior,
    RenderOptions,
    load_manifest,
    read_bundle,
    render,
)
from engine.cli.terminal import Screen
from engine.evaluation.cross_likelihood import EXCERPT_FRAMES, cut_excerpts
from engine.evaluation.quality_report import CLEANEST_DB, PASSAGE_S, QualityMeter, rank_text
from engine.model.spectrogram import Stft
from engine.stems.manifest import Manifest
from export import export_prior
from export.training.flow_training import CHECKPOINT, FlowTask, TrainSettings, load_run
from export.training.run import TrainingRun
from export.training.run_metadata import add_measures, write_metadata
from presets import load_preset
from prior_fixtures import BANDS, CONFIG, tiny_front_end

RATE, HOP = 44_100, 256
STFT = Stft(HOP)
BLOCK = 256
CPU = Device("cpu")


@pytest.fixture(scope="module")
def priors(tiny_prior_folder):
    return {name: Prior(tiny_prior_folder / f"{name}.prior", CPU) for name in ("low", "high")}


def metered(priors, masks, magnitudes, samples):
    """A meter that has heard masks (stems, frames, bands) on a mix (frames, bands)."""
    meter = QualityMeter(priors, STFT, RATE, samples)
    for start in range(0, len(magnitudes), BLOCK):
        part = slice(start, start + BLOCK)
        meter.add(masks[:, None, part], magnitudes[None, part])
    return meter


def report(priors, masks, magnitudes, samples, levels=None):
    return metered(priors, masks, magnitudes, samples).report(levels or {}, priors)


def mix_of(seconds, rng):
    samples = round(seconds * RATE)
    magnitudes = 0.1 + rng.random((STFT.frames(samples), BANDS), np.float32)
    return magnitudes, samples


def even(magnitudes, stems=2):
    return np.full((stems, *magnitudes.shape), 1 / stems, np.float32)


def hard(magnitudes):
    """The first stem has the lower half of the bands for itself."""
    masks = np.zeros((2, *magnitudes.shape), np.float32)
    masks[0, :, : BANDS // 2] = 1
    masks[1] = 1 - masks[0]
    return masks


# -- leakage -------------------------------------------------------------------------------------


def test_stems_that_share_no_point_leak_nothing(priors, rng):
    magnitudes, samples = mix_of(3, rng)
    found = report(priors, hard(magnitudes), magnitudes, samples)
    assert found.leakage_db == CLEANEST_DB
    assert {stem.leakage_db for stem in found.stems.values()} == {CLEANEST_DB}
    assert found.worst is None


def test_even_masks_are_the_worst_there_are(priors, rng):
    magnitudes, samples = mix_of(3, rng)
    most = 10 * np.log10(1 / 2)
    found = report(priors, even(magnitudes), magnitudes, samples)
    assert found.leakage_db == pytest.approx(most, abs=0.01)
    assert all(s.leakage_db == pytest.approx(most, abs=0.01) for s in found.stems.values())
    for _ in range(20):
        share = rng.random(magnitudes.shape, np.float32)
        masks = np.stack([share, 1 - share])
        assert report(priors, masks, magnitudes, samples).leakage_db < most


def test_leakage_is_the_wiener_filters_error(priors, rng):
    """Two Gaussian sources of known power: what the report tells is the error that is made."""
    power = rng.random((2, *mix_of(4, rng)[0].shape)) ** 4
    sources = np.sqrt(power / 2) * (
        rng.standard_normal(power.shape) + 1j * rng.standard_normal(power.shape)
    )
    masks = (power / power.sum(axis=0)).astype(np.float32)
    mix = sources.sum(axis=0)
    found = report(priors, masks, np.abs(mix).astype(np.float32), 4 * RATE)
    for index, stem in enumerate(found.stems.values()):
        error = np.abs(masks[index] * mix - sources[index]) ** 2
        true_db = 10 * np.log10(error.sum() / (np.abs(sources[index]) ** 2).sum())
        assert stem.leakage_db == pytest.approx(true_db, abs=0.3)


def test_surer_masks_leak_less(priors, rng):
    magnitudes, samples = mix_of(2, rng)
    share = rng.uniform(0.05, 0.95, magnitudes.shape).astype(np.float32)
    leakages = []
    for power in (0, 1, 2, 4, 8):
        masks = np.stack([share**power, (1 - share) ** power])
        found = report(priors, masks / masks.sum(axis=0), magnitudes, samples)
        leakages.append(found.leakage_db)
    assert leakages == sorted(leakages, reverse=True)


def test_masks_that_do_not_sum_to_one_count_by_their_share(priors, rng):
    magnitudes, samples = mix_of(2, rng)
    masks = rng.random((2, *magnitudes.shape), np.float32)
    doubled = report(priors, -2 * masks, magnitudes, samples)
    assert doubled.leakage_db == report(priors, masks, magnitudes, samples).leakage_db


def test_blocks_may_be_cut_anywhere(priors, rng):
    magnitudes, samples = mix_of(5, rng)
    share = rng.random(magnitudes.shape, np.float32)
    masks = np.stack([share, 1 - share])
    whole = QualityMeter(priors, STFT, RATE, samples)
    whole.add(masks[:, None], magnitudes[None])
    assert whole.report({}, ()) == metered(priors, masks, magnitudes, samples).report({}, ())


# -- the worst ten seconds -----------------------------------------------------------------------


def planted(magnitudes, start_s, end_s, masks):
    """Hard masks but for one passage."""
    frames = slice(start_s * RATE // HOP + 1, end_s * RATE // HOP + 1)
    mixed = hard(magnitudes)
    mixed[:, frames] = masks[:, frames]
    return mixed


def test_planted_passage_is_found(priors, rng):
    magnitudes, samples = mix_of(100.5, rng)
    worst = report(priors, planted(magnitudes, 72, 82, even(magnitudes)), magnitudes, samples)
    assert (worst.worst.start_s, worst.worst.end_s) == (72.0, 82.0)
    assert worst.worst.listen == "listen to 1:12-1:22"
    assert worst.worst.leakage_db > worst.leakage_db


def test_a_loud_bad_passage_is_worse_than_a_soft_one(priors, rng):
    magnitudes, samples = mix_of(60, rng)
    masks = planted(magnitudes, 5, 15, even(magnitudes))
    masks = np.where(
        np.arange(len(magnitudes))[:, None] > 30 * RATE // HOP, even(magnitudes), masks
    )
    magnitudes[30 * RATE // HOP :] *= 0.01
    assert report(priors, masks, magnitudes, samples).worst.start_s == 5.0


def test_worst_stem_is_the_one_that_suffers(priors, rng):
    """Points that belong to `high` are given to it; `low` claims a half of nothing else."""
    magnitudes, samples = mix_of(20, rng)
    masks = np.zeros((2, *magnitudes.shape), np.float32)
    masks[1] = 1
    masks[:, :, :2] = 0.5
    found = report(priors, masks, magnitudes, samples)
    assert found.worst.stem == "low"
    assert found.stems["low"].leakage_db > found.stems["high"].leakage_db


@pytest.mark.parametrize("seconds", [0.5, 1.0, 4.3, 9.99])
def test_a_short_mix_is_its_own_passage(priors, rng, seconds):
    magnitudes, samples = mix_of(seconds, rng)
    worst = report(priors, even(magnitudes), magnitudes, samples).worst
    assert (worst.start_s, worst.end_s) == (0.0, pytest.approx(seconds, abs=1e-3))
    assert worst.listen == f"listen to 0:00-0:{int(np.ceil(seconds)):02d}"


@pytest.mark.parametrize("seconds", [10, 10.9, 11, 25.4])
def test_a_passage_is_ten_seconds_inside_the_mix(priors, rng, seconds):
    magnitudes, samples = mix_of(seconds, rng)
    worst = report(priors, even(magnitudes), magnitudes, samples).worst
    assert worst.end_s - worst.start_s == PASSAGE_S
    assert worst.end_s <= seconds


# -- likelihood ----------------------------------------------------------------------------------


def draws(prior, rng, count):
    """What a prior itself takes for its instrument: magnitudes (128, bands)."""
    shape = (count, EXCERPT_FRAMES // 2, 2 * BANDS)
    return prior.inverse(rng.standard_normal(shape).astype(np.float32))


@pytest.fixture(scope="module")
def ranked(tiny_prior_folder, tmp_path_factory):
    """`low` with the percentiles of its own draws in its card."""
    source = tiny_prior_folder / "low.prior"
    prior = Prior(source, CPU)
    pieces = cut_excerpts(
        np.concatenate(draws(prior, np.random.default_rng(1), 200)), EXCERPT_FRAMES
    )
    likely = [float(prior.log_likelihood(piece)[0]) for piece in pieces]
    card, files, _ = read_bundle(source)
    fields = card.to_dict()
    fields["percentiles"] = [float(p) for p in np.percentile(likely, PERCENTS)]
    path = tmp_path_factory.mktemp("ranked") / "low.prior"
    with zipfile.ZipFile(path, "w") as bundle:
        for name, blob in (files | {"card.json": json.dumps(fields).encode()}).items():
            bundle.writestr(name, blob)
    return Prior(path, CPU)


def likelihood(prior, magnitudes):
    samples = (len(magnitudes) - 3) * HOP + 1
    assert STFT.frames(samples) == len(magnitudes)
    masks = np.ones((1, *magnitudes.shape), np.float32)
    meter = metered({"low": prior}, masks, magnitudes, samples)
    return meter.report({}, ()).stems["low"].likelihood


def test_a_priors_own_draws_are_ordinary(ranked):
    found = likelihood(ranked, np.concatenate(draws(ranked, np.random.default_rng(2), 40)))
    low, high = found.between
    assert 5 <= low < high <= 95
    assert found.excerpts == 20
    assert found.rank == rank_text(found.between)


def test_white_noise_is_below_the_first_percentile(ranked, rng):
    noise = rng.standard_normal(8 * RATE).astype(np.float32)
    view = ranked.card.front_end.front_end()
    found = likelihood(ranked, view.magnitudes(noise[None], RATE))
    assert found.between == (0, 1)
    assert found.rank == "below the 1st percentile"


def test_a_card_without_percentiles_gives_the_value_alone(priors, rng):
    found = likelihood(priors["low"], np.concatenate(draws(priors["low"], rng, 4)))
    assert np.isfinite(found.median)
    assert found.between is None
    assert found.rank is None


def test_pauses_are_not_shown_to_the_prior(priors, rng):
    played = np.concatenate(draws(priors["low"], rng, 4))
    pause = np.zeros_like(played)
    assert likelihood(priors["low"], np.concatenate([played, pause, pause])) == likelihood(
        priors["low"], played
    )


class Noise:
    """A corpus of one sound."""

    def sample(self, rng, batch, frames):
        return torch.from_numpy(rng.random((batch, frames, BANDS), np.float32))


def test_percentiles_of_a_run_are_exported_in_the_bundles_unit(tmp_path, rng):
    """A run measures features of unit variance, a bundle those before: a constant between."""
    run, of_run = tmp_path / "run", [0.1 * n for n in range(len(PERCENTS))]
    settings = TrainSettings(steps=1, batch=2, frames=16)
    task = FlowTask(CONFIG, settings, Noise(), Noise(), None)
    task.model(torch.randn(2, BANDS, 16))  # ActNorm takes its values from a first batch
    TrainingRun(run, CHECKPOINT, task).save()
    write_metadata(run, "mid", tiny_front_end(), (), settings)
    add_measures(run, {}, of_run)
    export_prior(run, tmp_path / "mid.prior", None)
    prior, trained = Prior(tmp_path / "mid.prior", CPU), load_run(run)
    magnitudes = Noise().sample(rng, 1, EXCERPT_FRAMES).numpy()
    with torch.no_grad():
        measured = trained.flow.log_prob(trained.features.apply(magnitudes))
    constant = float(prior.log_likelihood(magnitudes)[0] - measured[0])
    assert np.subtract(prior.percentiles, of_run) == pytest.approx(constant, abs=1e-3)
    assert abs(constant) > 0.1


def test_rank_in_words():
    assert rank_text((0, 1)) == "below the 1st percentile"
    assert rank_text((5, 25)) == "between the 5th and the 25th percentile"
    assert rank_text((99, 100)) == "above the 99th percentile"


# -- in a manifest -------------------------------------------------------------------------------


@pytest.fixture
def preset(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text("name: tiny\nstems: {low: {}, high: {}}\nsearch: {steps: 3}\n", "utf-8")
    return load_preset(path)


@pytest.fixture
def options(tiny_prior_folder):
    return RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu")


def write_mix(path, samples, channels=2, gain=1.0):
    time = np.arange(samples)[:, None] / RATE
    noise = np.random.default_rng(3).standard_normal((samples, channels))
    tones = sum(np.sin(2 * np.pi * f * time) for f in (110, 440, 3000, 9000))
    soundfile.write(path, gain * (0.1 * tones + 0.05 * noise), RATE, subtype="FLOAT")
    return path


def test_report_is_the_same_after_an_interruption_and_on_any_threads(tmp_path, preset, options):
    mix = write_mix(tmp_path / "mix.wav", 5 * BLOCK * HOP)
    whole = render(mix, tmp_path / "whole", preset, options).quality
    looks = iter([False, True])
    stopping = dataclasses.replace(
        options, workspace=tmp_path / "job" / "work", should_stop=lambda: next(looks)
    )
    with pytest.raises(Interrupted):
        render(mix, tmp_path / "resumed", preset, stopping)
    again = dataclasses.replace(stopping, should_stop=None, threads=1)
    assert render(mix, tmp_path / "resumed", preset, again).quality == whole
    assert load_manifest(tmp_path / "resumed").quality == whole


def test_level_of_the_mix_does_not_count(tmp_path, preset, options):
    samples = 4 * RATE
    reports = [
        render(
            write_mix(tmp_path / name, samples, gain=gain), tmp_path / name[:1], preset, options
        )
        for name, gain in (("a.wav", 1.0), ("b.wav", 0.5))
    ]
    loud, soft = (r.quality for r in reports)
    assert soft.worst.listen == loud.worst.listen
    assert soft.worst.stem == loud.worst.stem
    assert soft.leakage_db == pytest.approx(loud.leakage_db, abs=0.02)
    for stem, stem_quality in loud.stems.items():
        other = soft.stems[stem]
        assert other.level_db == pytest.approx(stem_quality.level_db, abs=0.02)
        assert other.leakage_db == pytest.approx(stem_quality.leakage_db, abs=0.02)
        assert other.likelihood.median == pytest.approx(stem_quality.likelihood.median, abs=0.01)


def test_levels_are_those_of_the_files(tmp_path, preset, options):
    mix = write_mix(tmp_path / "mix.wav", RATE, channels=6)  # with an LFE
    manifest = render(mix, tmp_path / "out", preset, options)
    rms = {
        file.stem: soundfile.read(tmp_path / "out" / file.path)[0].std() for file in manifest.files
    }
    whole = soundfile.read(mix)[0].std()
    levels = {stem: quality.level_db for stem, quality in manifest.quality.stems.items()}
    levels |= {"residual": manifest.quality.residual_db}
    for stem, level_db in levels.items():
        assert level_db == pytest.approx(20 * np.log10(rms[stem] / whole), abs=0.05)
    assert manifest.quality.residual_db > -12  # the LFE, one channel of six


@pytest.mark.parametrize("kind", ["one sample", "silence", "silent sample"])
def test_nothing_to_measure_is_no_number(tmp_path, preset, options, kind):
    audio = np.zeros((1 if "sample" in kind else RATE, 2))
    audio += 0.5 if kind == "one sample" else 0.0
    soundfile.write(tmp_path / "mix.wav", audio, RATE, subtype="PCM_16")
    manifest = render(tmp_path / "mix.wav", tmp_path / "out", preset, options)
    text = manifest.to_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert load_manifest(tmp_path / "out") == manifest
    assert (manifest.quality.worst is None) == kind.startswith("silen")
    assert all(quality.likelihood is None for quality in manifest.quality.stems.values())


def test_sets_from_before_the_report_can_be_read(tmp_path, preset, options):
    mix = write_mix(tmp_path / "mix.wav", 5000)
    manifest = json.loads(render(mix, tmp_path / "out", preset, options).to_json())
    del manifest["quality"]
    assert Manifest.model_validate(manifest).quality is None


def test_terminal_tells_where_to_listen(tmp_path, preset, options):
    mix = write_mix(tmp_path / "mix.wav", RATE)
    manifest = render(mix, tmp_path / "out", preset, options)
    screen = Screen()
    screen.out = Console(file=io.StringIO(), width=200)
    screen.show(tmp_path / "out", manifest)
    printed = screen.out.file.getvalue()
    assert "listen to 0:00-0:01" in printed
    assert f"{manifest.quality.leakage_db:.1f} dB (low" in printed
