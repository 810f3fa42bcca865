"""Trainings of Demucs, Wave-U-Net, the GAN and the interleaved family: what each one touches."""

import copy
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from export.data.songs import Songs
from export.models.band_transform import BandTransform
from export.models.demucs import DemucsConfig
from export.models.estimator import EstimatorConfig
from export.models.wave_unet import WaveUNetConfig
from export.models.wavegan import GanConfig
from export.training import gan_training, interleaved_training, waveform_training
from export.training.gan_training import GanSettings, GanTask, load_generator, playing
from export.training.interleaved_training import (
    InterleavedTask,
    front_end,
    load_family,
    settings_of,
)
from export.training.run import FORECAST_STEPS, TrainingRun
from export.training.waveform_training import WaveformSettings, WaveformTask, load_separator
from presets import StemwrightError
from rival_fixtures import STEMS, toy_songs

SIZES = {
    "demucs": DemucsConfig(channels=4, depth=2, sample_rate=8000),
    "waveunet": WaveUNetConfig(levels=3, filters=6, sample_rate=8000),
}
SMALL = EstimatorConfig(channels=2, hidden=12, recurrent=6, head=6, dilations=(1,))


@pytest.fixture(scope="module")
def songs():
    return toy_songs(8).split()


@pytest.fixture(scope="module")
def wide_songs():
    """At the rate of the interleaved family's bands."""
    return toy_songs(8, rate=22_050).split()


def waveform_run(folder, kind, songs, steps, **settings):
    settings = {"batch": 4, "seconds": 0.1, "learning_rate": 3e-3, "warm_up": 3} | settings
    task = WaveformTask(kind, SIZES[kind], WaveformSettings(steps=steps, **settings), *songs)
    return TrainingRun(folder, waveform_training.CHECKPOINT, task)


def gan_run(folder, songs, steps):
    task = GanTask(
        "bass", GanConfig(width=2, layers=3, latent=5), GanSettings(steps=steps, batch=4), *songs
    )
    return gan_training.run_of(folder, task)


def family_run(folder, mode, songs, stems=STEMS, **settings):
    chosen = settings_of(mode, stems, **{"updates": 2, "batch": 4, "seconds": 0.3} | settings)
    task = InterleavedTask(mode, stems, SMALL, chosen, *songs)
    return TrainingRun(folder, interleaved_training.CHECKPOINT, task)


def finish(run):
    for _ in run.run(4):
        pass
    return run


RUNS = {
    "demucs": lambda folder, songs, steps: waveform_run(folder, "demucs", songs, steps),
    "waveunet": lambda folder, songs, steps: waveform_run(folder, "waveunet", songs, steps),
    "gan": gan_run,
    "interleaved": lambda folder, songs, steps: family_run(
        folder, "interleaved", songs, updates=steps // len(STEMS)
    ),
    "simultaneous": lambda folder, songs, steps: family_run(
        folder, "simultaneous", songs, updates=steps
    ),
}


@pytest.mark.parametrize("kind", SIZES)
def test_loss_goes_down_on_a_toy_set(tmp_path, kind, songs):
    rate = {"demucs": 2e-2, "waveunet": 3e-3}[kind]
    run = waveform_run(tmp_path, kind, songs, steps=60, learning_rate=rate)
    before = run.validate().loss
    finish(run)
    assert run.validate().loss < 0.8 * before


@pytest.mark.parametrize("kind", RUNS)
def test_a_resumed_run_gives_the_same_bytes(tmp_path, kind, request):
    make, of_family = RUNS[kind], kind in interleaved_training.MODES
    songs = request.getfixturevalue("wide_songs" if of_family else "songs")
    whole = finish(make(tmp_path / "whole", songs, 12))
    half = make(tmp_path / "half", songs, 12)
    for progress in half.run(4):
        if progress.step == 8:
            break
    resumed = make(tmp_path / "half", songs, 12)
    assert resumed.step == 8
    finish(resumed)
    assert whole.path.read_bytes() == resumed.path.read_bytes()


def test_the_time_is_told_before_and_changes_no_byte(tmp_path, songs):
    silent = finish(waveform_run(tmp_path / "silent", "waveunet", songs, 12))
    run = waveform_run(tmp_path / "timed", "waveunet", songs, 12)
    assert re.fullmatch(r"12 steps of \S+ s: will take about \d+ s", run.forecast())
    assert run.step == FORECAST_STEPS
    steps = [progress.step for progress in run.run(8)]
    assert steps == [8, 12]
    assert run.path.read_bytes() == silent.path.read_bytes()
    assert waveform_run(tmp_path / "timed", "waveunet", songs, 12).forecast() == (
        "nothing is left to train"
    )
    assert waveform_run(tmp_path / "few", "waveunet", songs, 2).forecast() == "2 steps are left"


def test_a_run_whose_time_was_up_before_it_began_leaves_something_to_export(tmp_path, songs):
    task = waveform_run(tmp_path / "any", "waveunet", songs, 12).task
    folder = tmp_path / "late"
    run = TrainingRun(folder, waveform_training.CHECKPOINT, task, deadline=time.monotonic() - 1)
    assert [progress.step for progress in run.run(8)] == [1]
    assert load_separator(folder).training["steps"] == 1


KILLED = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
import torch
torch.set_num_threads(1)
from pathlib import Path
from rival_fixtures import toy_songs
from test_rival_training import family_run
songs = toy_songs(8, rate=22_050).split()
for progress in family_run(Path(sys.argv[1]), "interleaved", songs, updates=4).run(4):
    print(progress.step, flush=True)
"""


def test_a_killed_family_goes_on_with_the_same_bytes(tmp_path):
    """Processes: one that ends, one that is killed behind its first checkpoint and begun again."""
    here = Path(__file__).parent
    program = KILLED.format(tests=str(here), root=str(here.parent))

    def start(folder):
        argv = [sys.executable, "-c", program, tmp_path / folder]
        return subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, text=True)

    whole = start("whole")
    assert whole.communicate(timeout=300)[0].split() == ["4", "8", "12", "16"]
    killed = start("killed")
    assert killed.stdout.readline() == "4\n"
    killed.kill()
    killed.communicate()
    again = start("killed")
    assert again.communicate(timeout=300)[0].split()[-1] == "16"
    name = interleaved_training.CHECKPOINT
    bytes_of = [(tmp_path / folder / name).read_bytes() for folder in ("whole", "killed")]
    assert bytes_of[0] == bytes_of[1]


def test_the_same_seed_trains_the_same_interleaved_family(tmp_path, wide_songs):
    first = finish(family_run(tmp_path / "a", "interleaved", wide_songs))
    second = finish(family_run(tmp_path / "b", "interleaved", wide_songs))
    assert first.path.read_bytes() == second.path.read_bytes()


def test_other_songs_or_another_size_do_not_go_on(tmp_path, songs):
    finish(waveform_run(tmp_path, "demucs", songs, 4))
    with pytest.raises(StemwrightError, match="another run"):
        waveform_run(tmp_path, "demucs", songs, 4, seed=1)
    with pytest.raises(StemwrightError, match="another run"):
        waveform_run(tmp_path, "demucs", toy_songs(7).split(), 4)


def test_a_network_for_other_stems_is_refused(songs):
    config = DemucsConfig(stems=("vocals", "other"), sample_rate=8000)
    with pytest.raises(StemwrightError, match="vocals, bass, drums, other at 8000 Hz"):
        WaveformTask("demucs", config, WaveformSettings(), *songs)


def test_a_finished_separator_is_read_back(tmp_path, songs):
    run = finish(waveform_run(tmp_path, "waveunet", songs, 4))
    trained = load_separator(tmp_path)
    assert trained.config == SIZES["waveunet"]
    for name, weights in run.task.model.state_dict().items():
        assert torch.equal(trained.network.state_dict()[name], weights)
    assert trained.training["steps"] == 4
    assert trained.training["held out"] == [song.name for song in songs[1].songs]


def parts(state, prefix):
    return {name: value for name, value in state.items() if name.startswith(prefix)}


@pytest.mark.parametrize("mode", ["interleaved", "apart", "independent"])
def test_only_the_decoder_whose_turn_it_is_moves(tmp_path, mode, wide_songs):
    """Weights and Adam's moments of all other decoders stay as they are to the last bit."""
    run = family_run(tmp_path, mode, wide_songs)
    for _ in range(len(STEMS) + 2):
        (own,) = run.task.turn(run.step)
        before = copy.deepcopy(run.task.model.state_dict())
        moments = moments_of(run)
        run.train_step()
        run.step += 1
        after, moved = run.task.model.state_dict(), moments_of(run)
        for stem in STEMS:
            same = all(
                torch.equal(value, after[name])
                for name, value in parts(before, f"heads.{stem}.").items()
            )
            still = all(
                torch.equal(value, moved[name])
                for name, value in parts(moments, f"heads.{stem}.").items()
            )
            assert (same and still) == (stem != own), stem
        encoder = run.task.family.encoder_of[own]
        name = f"encoders.{encoder}.start.weight"
        assert not torch.equal(before[name], after[name])


def moments_of(run):
    """Adam's first and second moments by the weight's name, zeros where there are none yet."""
    found = {}
    for name, weights in run.task.model.named_parameters():
        state = run.optimiser.state.get(weights, {})
        for key in ("exp_avg", "exp_avg_sq", "step"):
            found[f"{name}/{key}"] = torch.as_tensor(state.get(key, 0.0)).clone()
    return found


def test_a_batch_for_one_stem_holds_mixes_and_that_stem_alone(wide_songs):
    task = InterleavedTask(
        "interleaved",
        STEMS,
        SMALL,
        settings_of("interleaved", STEMS, batch=4, seconds=0.3),
        *wide_songs,
    )
    assert task._draw(1).shape == (2, 4, task.samples)
    together = InterleavedTask(
        "simultaneous",
        STEMS,
        SMALL,
        settings_of("simultaneous", STEMS, batch=4, seconds=0.3),
        *wide_songs,
    )
    heard = together._draw(1)
    assert heard.shape == (5, 4, together.samples)
    assert np.allclose(heard[0], heard[1:].sum(axis=0), atol=1e-6)


def test_stems_apart_never_meet_in_a_song(wide_songs):
    task = InterleavedTask(
        "apart", STEMS, SMALL, settings_of("apart", STEMS, batch=4, seconds=0.3), *wide_songs
    )
    names = [{song.name for song in own.songs} for own in task._of]
    assert len(set().union(*names)) == sum(map(len, names))


def test_every_mode_updates_every_decoder_equally_often():
    for mode in interleaved_training.MODES:
        settings = settings_of(mode, STEMS, updates=7)
        turns = [stem for step in range(settings.steps) for stem in turn_of(mode, step)]
        assert {stem: turns.count(stem) for stem in STEMS} == dict.fromkeys(STEMS, 7)


def turn_of(mode, step):
    return STEMS if mode == "simultaneous" else (STEMS[step % len(STEMS)],)


def test_a_shared_encoder_is_smaller_and_runs_once(wide_songs):
    families = {
        mode: InterleavedTask(mode, STEMS, SMALL, settings_of(mode, STEMS), *wide_songs).family
        for mode in ("independent", "interleaved")
    }
    sizes = {mode: sum(p.numel() for p in f.parameters()) for mode, f in families.items()}
    assert sizes["interleaved"] < sizes["independent"]
    passes = []
    shared = families["interleaved"]
    shared.encoders[interleaved_training.SHARED].register_forward_hook(lambda *_: passes.append(1))
    masks = shared.masks(torch.rand(1, 128, 8), STEMS)
    assert len(passes) == 1
    assert list(masks) == list(STEMS)


def test_a_new_decoder_leaves_the_encoder_of_another_run_as_it_is(tmp_path, wide_songs):
    trunk = finish(family_run(tmp_path / "trunk", "interleaved", wide_songs, STEMS[1:]))
    encoder = load_family(tmp_path / "trunk").encoders[interleaved_training.SHARED]
    settings = settings_of("frozen", STEMS[:1], updates=4, batch=4, seconds=0.3)
    task = InterleavedTask("frozen", STEMS[:1], SMALL, settings, *wide_songs, encoder=encoder)
    finish(TrainingRun(tmp_path / "new", interleaved_training.CHECKPOINT, task))
    grown = load_family(tmp_path / "new").state_dict()
    for name, weights in trunk.task.model.state_dict().items():
        if name.startswith("encoders."):
            assert torch.equal(grown[name], weights)


def test_bands_on_the_device_are_those_of_the_engine():
    audio = np.random.default_rng(0).standard_normal((3, 20_001)).astype(np.float32)
    seen = BandTransform(front_end(), 22_050)(torch.from_numpy(audio)).numpy()
    view = front_end().front_end()
    for row, found in zip(audio, seen, strict=True):
        assert np.abs(found.T - view.magnitudes(row[None], 22_050)).max() < 1e-6


def test_critic_and_generator_take_turns(tmp_path, songs):
    run = gan_run(tmp_path, songs, 12)
    for step in range(12):
        before = copy.deepcopy(run.task.model.state_dict())
        run.train_step()
        run.step += 1
        after = run.task.model.state_dict()
        moved = {
            name.split(".")[0] for name in before if not torch.equal(before[name], after[name])
        }
        assert moved == {"generator" if (step + 1) % 6 == 0 else "critic"}
    assert all(group["betas"] == gan_training.BETAS for group in run.optimiser.param_groups)


def test_a_generator_is_read_back_without_its_critic(tmp_path, songs):
    run = finish(gan_run(tmp_path, songs, 6))
    generator, training = load_generator(tmp_path)
    z = torch.zeros(1, 5)
    assert torch.equal(generator(z), run.task.generator(z))
    assert training["steps"] == 6


def test_excerpts_of_a_gan_play_and_are_one_stem(songs):
    drawn = playing(np.random.default_rng(0), songs[0], "bass", 16, 1024)
    peaks = np.abs(drawn).max(axis=1)
    assert (peaks > 0.24).all() and (peaks <= 1.0001).all()
    hertz = np.fft.rfftfreq(1024, 1 / 8000)
    seen = (np.abs(np.fft.rfft(drawn * np.hanning(1024))) ** 2).sum(axis=0)
    assert seen[hertz < 300].sum() > 0.9 * seen.sum()


def test_songs_without_the_stem_give_silence():
    silent = toy_songs(2)
    quiet = Songs(
        [type(s)(s.name, s.audio * 0, s.scale) for s in silent.songs], STEMS, silent.sample_rate
    )
    assert not playing(np.random.default_rng(0), quiet, "bass", 3, 64).any()
