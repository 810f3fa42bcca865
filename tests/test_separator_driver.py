"""Foreign models at work: every layout of the wild, every sample once, from where it stopped."""

import hashlib

import numpy as np
import pytest
import soundfile
import torch

import separator_toys as toys
from engine import probe
from engine.audio.layout import channel_groups
from engine.audio.signal import MixFile
from engine.model.hooks import Interrupted, SearchHooks
from engine.model.sessions import Device
from engine.separators.axes import Axes
from engine.separators.estimating import CardSeparation
from engine.separators.loading import load_card
from engine.separators.network import Network
from engine.separators.stft import ModelStft
from engine.separators.windows import OverlapAdd, WindowGrid
from presets import StemwrightError

RATE = toys.RATE
CPU = Device.parse("cpu")


def signal_of(path, audio, rate=RATE, subtype="FLOAT"):
    soundfile.write(path, np.asarray(audio).T, rate, subtype=subtype)
    return MixFile(path, probe(path))


def separate(card, signal, folder, hooks=None):
    """Both passes: (stems, channels, samples)."""
    separation = CardSeparation(load_card(card), CPU, 2)
    groups = channel_groups(signal.info.channels, signal.info.channel_mask)
    separation.search(signal, groups, folder, hooks or SearchHooks())
    return np.concatenate(list(separation.stems_of(signal, groups, folder)), axis=2)


def sdr_db(truth, found):
    return 10 * np.log10(np.sum(truth**2) / np.sum((truth - found) ** 2))


@pytest.mark.parametrize("row", toys.ROWS)
def test_every_layout_of_the_wild_is_understood(row, tmp_path):
    truth = toys.tones(8.0)
    signal = signal_of(tmp_path / "mix.wav", sum(truth.values()))
    card = toys.ROWS[row](tmp_path)
    found = separate(card, signal, tmp_path / "work")
    inside = slice(8192, -8192)  # tones begin and end with a click that is in no key
    for stem, audio in zip(load_card(card).card.used, found, strict=True):
        assert audio.shape == truth[stem].shape
        assert sdr_db(truth[stem][:, inside], audio[:, inside]) > (20 if row == 13 else 50)


@pytest.mark.parametrize(
    ("n_fft", "hop", "more"),
    [
        (4096, 1024, {}),
        (2048, 441, {}),
        (7680, 1024, {}),
        (4096, 1024, {"normalized": True}),
        (4096, 1024, {"window_name": "none", "normalized": True}),
    ],
)
def test_transform_is_torchs(n_fft, hop, more, rng):
    segment = hop * 60
    stft = ModelStft(segment, n_fft, hop, **more)
    audio = rng.standard_normal((2, segment)).astype(np.float32)
    window = torch.ones(n_fft) if "window_name" in more else torch.hann_window(n_fft)
    options = {"hop_length": hop, "window": window, "normalized": more.get("normalized", False)}
    theirs = torch.stft(torch.from_numpy(audio), n_fft, return_complex=True, **options)
    ours = stft.forward(audio)
    scale = np.abs(ours).max()
    assert ours.dtype == np.complex64
    assert np.abs(ours - theirs.numpy()).max() < 1e-5 * scale
    changed = ours * rng.random(ours.shape).astype(np.float32)
    back = torch.istft(torch.from_numpy(changed), n_fft, length=segment, **options)
    assert np.abs(stft.inverse(changed) - back.numpy()).max() < 1e-4


def test_transform_of_demucs_has_its_frames_and_comes_back(rng):
    """343,980 samples are 336 frames of 2,048 bins; what is cut off is little."""
    stft = ModelStft(343980, 4096, 1024, normalized=True, dim_f=2048, pre_pad=1536, trim_frames=2)
    audio = rng.standard_normal((1, 343980)).astype(np.float32)
    spectrum = stft.forward(audio)
    assert spectrum.shape == (1, 2048, 336)
    assert sdr_db(audio, stft.inverse(spectrum)) > 25


@pytest.mark.parametrize("blend", ["hann", "linear"])
@pytest.mark.parametrize("overlap", [0.0, 0.02, 0.25, 0.5, 0.66, 0.75])
@pytest.mark.parametrize("samples", [1, 500, 1000, 4097])
def test_weights_sum_to_one_at_every_sample(overlap, samples, blend):
    usable = 1000
    grid = WindowGrid(usable + 200, 100, max(1, usable - round(overlap * usable)), blend)
    adder = OverlapAdd(grid, samples)
    ones = np.ones((1, grid.length), np.float32)
    sums = np.concatenate([adder.add(i, ones) for i in range(grid.count(samples))], axis=1)
    assert sums.shape == (1, samples)
    assert np.abs(sums - 1).max() < 1e-6


@pytest.mark.parametrize("edge", ["zero", "reflect"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.75])
@pytest.mark.parametrize("samples", [1, 2, 3000, 4096, 4097, 50_001])
def test_no_sample_is_lost(samples, overlap, edge, tmp_path, rng):
    audio = rng.standard_normal((2, samples)).astype(np.float32) * 0.1
    card = toys.echo(tmp_path, overlap=overlap, edge=edge, discard=300)
    found = separate(card, signal_of(tmp_path / "m.wav", audio), tmp_path / "work")
    assert np.abs(found[0] - audio).max() < 1e-6


def test_denoise_takes_out_what_does_not_depend_on_the_song(tmp_path, rng):
    audio = rng.standard_normal((2, 9000)).astype(np.float32) * 0.1
    signal = signal_of(tmp_path / "m.wav", audio)
    humming = separate(toys.echo(tmp_path, bias=0.01), signal, tmp_path / "a")
    clean = separate(toys.echo(tmp_path, bias=0.01, denoise=True), signal, tmp_path / "b")
    assert np.abs(humming[0] - audio).mean() == pytest.approx(0.01, rel=0.01)
    assert np.abs(clean[0] - audio).max() < 1e-6


def test_track_level_is_undone(tmp_path, rng):
    """The network adds 0.5 of the track's deviation: a twentieth of full scale at 0.1."""
    mono = rng.standard_normal((1, 30_000)).astype(np.float32) * 0.1
    audio = np.repeat(mono, 2, axis=0)
    card = toys.echo(tmp_path, bias=0.5, normalise="track-mean-std")
    found = separate(card, signal_of(tmp_path / "m.wav", audio), tmp_path / "work")
    assert np.mean(found[0] - audio) == pytest.approx(0.5 * mono.std(), rel=0.02)


@pytest.mark.parametrize("most", ["b", 1, 2])
def test_segments_may_go_together(most, tmp_path, rng):
    """Three at once, in graphs for any number, for one and for two (one call is half empty)."""
    audio = rng.standard_normal((2, 30_000)).astype(np.float32) * 0.1
    card = toys.echo(tmp_path, most=most, batch=3)
    found = separate(card, signal_of(tmp_path / "m.wav", audio), tmp_path / "work")
    assert np.abs(found[0] - audio).max() < 1e-6


@pytest.mark.parametrize(("rate", "channels"), [(48000, 2), (96000, 2), (22050, 2), (44100, 1)])
def test_rate_length_and_channels_are_the_mixs(rate, channels, tmp_path):
    truth = {stem: audio[:channels] for stem, audio in toys.tones(9.0, rate).items()}
    signal = signal_of(tmp_path / "mix.wav", sum(truth.values()), rate)
    found = separate(toys.htdemucs_wave(tmp_path, 65536), signal, tmp_path / "work")
    inside = slice(rate // 2, -rate // 2)
    for stem, audio in zip(("low", "high"), found, strict=True):
        assert audio.shape == truth[stem].shape
        if channels == 2:  # mono is both keys of a stem at half level each
            assert sdr_db(truth[stem][:, inside], audio[:, inside]) > 45


def test_mono_is_doubled_and_averaged(tmp_path, rng):
    audio = rng.standard_normal((1, 20_000)).astype(np.float32) * 0.1
    found = separate(toys.echo(tmp_path), signal_of(tmp_path / "m.wav", audio), tmp_path / "w")
    assert np.abs(found[0] - audio).max() < 1e-6


def test_surround_goes_in_pairs_and_leaves_the_lfe(tmp_path, rng):
    audio = rng.standard_normal((6, 20_000)).astype(np.float32) * 0.1
    found = separate(toys.echo(tmp_path), signal_of(tmp_path / "m.wav", audio), tmp_path / "w")
    heard = [0, 1, 2, 4, 5]
    assert np.abs(found[0][heard] - audio[heard]).max() < 1e-6
    assert not found[0][3].any()


def test_a_model_of_one_channel_hears_each_by_itself(tmp_path, rng):
    audio = rng.standard_normal((2, 20_000)).astype(np.float32) * 0.1
    card = toys.echo(tmp_path, channels=1)
    found = separate(card, signal_of(tmp_path / "m.wav", audio), tmp_path / "w")
    assert np.abs(found[0] - audio).max() < 1e-6


def test_what_lies_above_the_models_band_may_follow(tmp_path, rng):
    audio = rng.standard_normal((2, 96_000)).astype(np.float32) * 0.1
    signal = signal_of(tmp_path / "m.wav", audio, 96_000)
    dull = separate(toys.echo(tmp_path), signal, tmp_path / "a")[0]
    bright = separate(toys.echo(tmp_path, above_cut="follow"), signal, tmp_path / "b")[0]
    power = [np.abs(np.fft.rfft(x[0]))[25_000:47_000] ** 2 for x in (audio, dull, bright)]
    assert power[1].sum() < 1e-3 * power[0].sum()
    assert power[2].sum() > 0.9 * power[0].sum()


def test_silence_is_not_shown_to_the_network(tmp_path, rng, monkeypatch):
    sound = rng.standard_normal((2, 4000)).astype(np.float32) * 0.1
    audio = np.concatenate([sound, np.zeros((2, 40_000), np.float32), sound], axis=1)
    asked, run = [], Network.run
    monkeypatch.setattr(Network, "run", lambda self, x: asked.append(len(x)) or run(self, x))
    card = toys.echo(tmp_path, bias=0.1)
    found = separate(card, signal_of(tmp_path / "m.wav", audio), tmp_path / "work")
    assert sum(asked) <= 6  # of fifteen
    assert not found[0][:, 8000:-8000].any()


def test_nan_is_told_with_its_time(tmp_path):
    graph = toys.Graph()
    fed = graph.take("mix", ["b", 2, 4096])
    graph.give(graph.op("Sqrt", fed), "stem", ["b", 2, 4096])  # NaN below zero
    model = graph.save(tmp_path / "root.onnx")
    card = toys.write_card(
        tmp_path, [model], stems=["all"], segment=4096, overlap=0.0,
        inputs=[toys.tensor("mix", "wave", "b c n")],
        outputs=[toys.tensor("stem", "wave", "b c n")],
    )  # fmt: skip
    audio = np.full((2, 3 * RATE), 0.1, np.float32)
    audio[:, 2 * RATE + 100] = -0.1
    with pytest.raises(StemwrightError, match=r"toy.yaml:.*NaN or infinity at 0:02\.\d") as caught:
        separate(card, signal_of(tmp_path / "m.wav", audio), tmp_path / "work")
    assert caught.value.code == "separator-not-finite"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("stops_at", [1, 5])
def test_a_stopped_run_goes_on_with_the_same_bytes(stops_at, batch, tmp_path, rng, monkeypatch):
    audio = rng.standard_normal((2, 40_000)).astype(np.float32) * 0.1
    signal = signal_of(tmp_path / "m.wav", audio)
    card = toys.echo(tmp_path, discard=300, overlap=0.5, batch=batch)
    whole = separate(card, signal, tmp_path / "whole")
    looks = iter([False] * stops_at + [True])
    with pytest.raises(Interrupted):
        separate(card, signal, tmp_path / "work", SearchHooks(should_stop=lambda: next(looks)))
    # as a kill between two writes leaves it: samples on disk that no state knows
    with (tmp_path / "work" / "00.raw").open("ab") as file:
        file.write(b"12345678" * 100)
    progress, asked, run = [], [], Network.run
    monkeypatch.setattr(Network, "run", lambda self, x: asked.append(len(x)) or run(self, x))
    again = separate(card, signal, tmp_path / "work", SearchHooks(lambda *d: progress.append(d)))
    assert progress[0][0] == stops_at * batch
    assert sum(asked) == progress[-1][1] - stops_at * batch
    digest = [hashlib.sha256(x.tobytes()).hexdigest() for x in (whole, again)]
    assert digest[0] == digest[1]


def test_a_finished_run_opens_no_session(tmp_path, rng, monkeypatch):
    audio = rng.standard_normal((2, 9000)).astype(np.float32)
    signal = signal_of(tmp_path / "m.wav", audio)
    card = toys.echo(tmp_path)
    separate(card, signal, tmp_path / "work")
    monkeypatch.setattr(Network, "__init__", lambda *_: pytest.fail("opened"))
    separate(card, signal, tmp_path / "work")


def test_patterns_pack_what_they_unpack(rng):
    sizes = {"b": 3, "s": 4, "c": 2, "r": 2, "f": 5, "t": 6}
    array = rng.standard_normal(list(sizes.values())).astype(np.float32)
    for text in ("b s c r f t", "b s (c r) f t", "b t (f c r) s", "(b s) r c (t f)"):
        axes = Axes.parse(text)
        tensor = axes.pack(array, "bscrft")
        assert tensor.shape == axes.shape(sizes)
        assert np.array_equal(axes.unpack(tensor, "bscrft", sizes), array)
    # left in the brackets moves slowest: (L.re, L.im, R.re, R.im)
    channels = Axes.parse("b s (c r) f t").pack(array, "bscrft")
    assert np.array_equal(channels[:, :, 1], array[:, :, 0, 1])


@pytest.mark.slow
def test_memory_is_the_same_for_twenty_minutes(tmp_path):
    """Peak resident memory of a process for 1 and for 20 minutes; MDX-Net's own segments."""
    import subprocess
    import sys

    card = toys.mdx(tmp_path)
    program = (
        "import sys; sys.path.insert(0, 'tests'); import resource\n"
        "from pathlib import Path; from engine.audio.signal import MixFile, blocks_of\n"
        "from engine import probe, channel_groups\n"
        "from engine.model.sessions import Device; from engine.model.hooks import SearchHooks\n"
        "from engine.separators.estimating import CardSeparation\n"
        "from engine.separators.loading import load_card\n"
        "mix, card, work = map(Path, sys.argv[1:])\n"
        "signal = MixFile(mix, probe(mix)); groups = channel_groups(2)\n"
        "one = CardSeparation(load_card(card), Device.parse('cpu'), 2)\n"
        "one.search(signal, groups, work, SearchHooks())\n"
        "count = sum(block.shape[2] for block in one.stems_of(signal, groups, work))\n"
        "assert count == signal.info.frames\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    peaks = []
    for minutes in (1, 20):
        path = tmp_path / f"{minutes}.wav"
        minute = (sum(toys.tones(60.0, 48000).values()).T * 32767).astype(np.int16)
        with soundfile.SoundFile(path, "w", 48000, 2, "PCM_16") as file:
            for _ in range(minutes):
                file.write(minute)
        argv = [sys.executable, "-c", program, path, card, tmp_path / f"work-{minutes}"]
        done = subprocess.run(map(str, argv), capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
    assert peaks[1] < peaks[0] * 1.05 + 5, peaks
