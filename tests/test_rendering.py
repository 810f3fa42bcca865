"""One mix to published stems: exact sums, the same bytes again, nothing half-written."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import soundfile

from engine import (
    Interrupted,
    Renderer,
    RenderOptions,
    load_manifest,
    measure_null,
    render,
)
from engine.separation import batch_search
from presets import StemwrightError, load_preset

RATE = 44100
HOP, SEGMENT = 256, 256 * 256


@pytest.fixture
def preset(tmp_path, tiny_prior_folder):
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\nstems:\n  low: {}\n  high: {}\nsearch: {steps: 3}\n", encoding="utf-8"
    )
    return load_preset(path)


@pytest.fixture
def options(tiny_prior_folder):
    return RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu")


def write_mix(path, rng, samples, channels=2, subtype="PCM_16", rate=RATE):
    time = np.arange(samples)[:, None] / rate
    tones = sum(np.sin(2 * np.pi * f * time) for f in (110, 440, 3000, 9000))
    audio = 0.1 * tones + 0.05 * rng.standard_normal((samples, channels))
    soundfile.write(path, audio, rate, subtype=subtype)
    return path


def digests(folder):
    files = sorted((folder / "dry").iterdir())
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.parametrize(
    "samples",
    [1, 2, HOP - 1, HOP, HOP + 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 100_003],
)
def test_every_length_comes_back_exactly(tmp_path, rng, preset, options, samples):
    mix = write_mix(tmp_path / "mix.wav", rng, samples)
    manifest = render(mix, tmp_path / "out", preset, options)
    stems = [tmp_path / "out" / file.path for file in manifest.files]
    assert {file.stem for file in manifest.files} == {"low", "high", "residual"}
    assert all(soundfile.info(stem).frames == samples for stem in stems)
    assert measure_null(mix, stems).exact
    assert manifest.null_dbfs is None


@pytest.mark.parametrize(
    ("channels", "subtype", "rate"),
    [(1, "PCM_16", 44100), (2, "PCM_24", 48000), (2, "FLOAT", 96000), (6, "PCM_24", 48000)],
)
def test_rate_channels_and_depth_are_the_mixs(
    tmp_path, rng, preset, options, channels, subtype, rate
):
    mix = write_mix(tmp_path / "mix.wav", rng, rate // 2, channels, subtype, rate)
    manifest = render(mix, tmp_path / "out", preset, options)
    for file in manifest.files:
        info = soundfile.info(tmp_path / "out" / file.path)
        assert (info.samplerate, info.channels, info.frames) == (rate, channels, rate // 2)
        if file.stem != "residual":
            assert info.subtype == subtype
    assert measure_null(mix, [tmp_path / "out" / f.path for f in manifest.files]).exact


def test_the_band_above_the_priors_is_shared_out_too(tmp_path, rng, preset, options):
    """At 96 kHz nothing is dull: what priors never saw is in the stems, not in the residual."""
    audio = 0.1 * rng.standard_normal((96000, 1))
    soundfile.write(tmp_path / "mix.wav", audio, 96000, subtype="PCM_24")
    manifest = render(tmp_path / "mix.wav", tmp_path / "out", preset, options)
    heard = {f.stem: soundfile.read(tmp_path / "out" / f.path)[0] for f in manifest.files}
    least_significant_bit = 2.0**-23
    assert np.abs(heard["residual"]).max() <= 4 * least_significant_bit
    above = np.abs(np.fft.rfft(heard["low"] + heard["high"]))[25_000:]
    assert np.mean(above**2) > 0.9 * np.mean(np.abs(np.fft.rfft(audio[:, 0]))[25_000:] ** 2)


def test_same_input_gives_the_same_bytes(tmp_path, rng, preset, options):
    mix = write_mix(tmp_path / "mix.wav", rng, 3 * SEGMENT + 17)
    first = render(mix, tmp_path / "a", preset, options)
    render(mix, tmp_path / "b", preset, options)
    from dataclasses import replace

    render(mix, tmp_path / "c", preset, replace(options, threads=1))
    assert digests(tmp_path / "a") == digests(tmp_path / "b") == digests(tmp_path / "c")
    assert first.priors.keys() == {"low", "high"}


def test_an_interrupted_render_goes_on_with_the_same_bytes(tmp_path, rng, preset, options):
    from dataclasses import replace

    mix = write_mix(tmp_path / "mix.wav", rng, 10 * SEGMENT)
    render(mix, tmp_path / "whole", preset, options)
    workspace = tmp_path / "job" / "work"
    looks = iter([False, True])
    stopping = replace(options, workspace=workspace, should_stop=lambda: next(looks))
    with pytest.raises(Interrupted):
        render(mix, tmp_path / "resumed", preset, stopping)
    assert not (tmp_path / "resumed").exists()
    done = {path.name: path.stat().st_mtime_ns for path in workspace.glob("masks-*.npz")}
    assert len(done) == 1
    render(mix, tmp_path / "resumed", preset, replace(options, workspace=workspace))
    again = {path.name: path.stat().st_mtime_ns for path in workspace.glob("masks-*.npz")}
    assert done.items() <= again.items()  # what was searched is not searched twice
    assert digests(tmp_path / "whole") == digests(tmp_path / "resumed")


def test_joins_of_segments_are_not_heard(tmp_path, rng, preset, options, monkeypatch):
    """The difference to one long segment is no larger at the joins than elsewhere."""
    from engine.separation import separator, windows

    mix = write_mix(tmp_path / "mix.wav", rng, 4 * SEGMENT)
    render(mix, tmp_path / "joined", preset, options)
    for module in (batch_search, separator, windows):
        monkeypatch.setattr(module, "CORE", 2048)
    for module in (batch_search, windows):
        monkeypatch.setattr(module, "WINDOW", 2048 + 2 * windows.FADE)
    render(mix, tmp_path / "single", preset, options)
    joined, _ = soundfile.read(tmp_path / "joined" / "dry" / "mix_low.wav")
    single, _ = soundfile.read(tmp_path / "single" / "dry" / "mix_low.wav")
    error = (joined - single).mean(axis=1) ** 2
    reach = int(0.05 * RATE)
    joins = [256 * HOP * n for n in range(1, 4)]
    near = np.zeros(len(error), bool)
    for join in joins:
        near[join - reach : join + reach] = True
    assert error[near].mean() <= error[~near].mean() * 10 ** (1 / 10) + 1e-12


def test_silence_gives_silence(tmp_path, preset, options):
    soundfile.write(tmp_path / "mix.wav", np.zeros((RATE, 2)), RATE)
    manifest = render(tmp_path / "mix.wav", tmp_path / "out", preset, options)
    for file in manifest.files:
        audio, _ = soundfile.read(tmp_path / "out" / file.path)
        assert not audio.any()
    json.loads(manifest.to_json())  # no infinities


def test_silent_segments_are_not_searched(tmp_path, rng, preset, options, monkeypatch):
    """Two seconds of sound at each end: the first two segments and the last three hear them."""
    sound = (rng.standard_normal((2 * RATE, 2)) * 3000).astype(np.int16)
    audio = np.zeros((7 * SEGMENT, 2), np.int16)
    audio[: len(sound)], audio[-len(sound) :] = sound, sound
    soundfile.write(tmp_path / "mix.wav", audio, RATE)
    searched, real = [], batch_search.search

    def counting(priors, mix, *rest):
        searched.append(len(mix))
        return real(priors, mix, *rest)

    monkeypatch.setattr(batch_search, "search", counting)
    manifest = render(tmp_path / "mix.wav", tmp_path / "out", preset, options)
    assert searched == [2, 3]  # of four and four
    assert manifest.degraded == ()
    stems = [tmp_path / "out" / file.path for file in manifest.files]
    assert measure_null(tmp_path / "mix.wav", stems).exact
    quiet = slice(len(sound) + 2048, -len(sound) - 2048)
    for stem in stems:
        assert not soundfile.read(stem)[0][quiet].any()


def test_silence_needs_no_search_and_misses_no_step(tmp_path, preset, options, monkeypatch):
    monkeypatch.setattr(batch_search, "search", lambda *_: pytest.fail("searched"))
    soundfile.write(tmp_path / "mix.wav", np.zeros((RATE, 2)), RATE)
    manifest = render(tmp_path / "mix.wav", tmp_path / "out", preset, options)
    assert manifest.degraded == ()
    assert manifest.null_dbfs is None


@pytest.mark.parametrize(
    ("search", "times"),
    [
        ("steps: 2", 2),  # the estimate before the search, the masks after it
        ("steps: 0, guided_steps: 0, flow_weight: 0", 1),
        ("steps: 2, song_weight: 0", 0),
        ("steps: 2, output: raw, guided_steps: 0", 0),
    ],
)
def test_the_songs_own_spectra_are_asked_where_they_count(
    search, times, tmp_path, rng, options, monkeypatch
):
    asked, song_masks = [], batch_search.song_masks
    monkeypatch.setattr(
        batch_search,
        "song_masks",
        lambda *arguments: asked.append(arguments) or song_masks(*arguments),
    )
    path = tmp_path / "p.yaml"
    path.write_text(f"name: p\nstems:\n  low: {{}}\n  high: {{}}\nsearch: {{{search}}}\n")
    mix = write_mix(tmp_path / "mix.wav", rng, RATE // 2)
    render(mix, tmp_path / "out", load_preset(path), options)
    assert len(asked) == times


def test_the_first_estimate_knows_where_a_mix_ends(tmp_path, rng, preset, options):
    """The encoder is given mean square 1 over the audio of a window that is mostly padding."""
    renderer, windows = Renderer(preset, options), []
    encoder = renderer.opened.estimate._encoder
    renderer.opened.estimate._encoder = SimpleNamespace(
        run=lambda names, inputs: windows.append(inputs["mix"]) or encoder.run(names, inputs)
    )
    renderer.render(write_mix(tmp_path / "mix.wav", rng, RATE // 2), tmp_path / "out")
    assert len(windows) == 2  # middle and side
    for [window] in windows:
        inside = window.any(axis=1)
        assert inside.mean() < 0.5
        assert np.mean(window[inside] ** 2, dtype=np.float64) == pytest.approx(1, rel=0.05)


def test_an_absent_stem_can_be_left_to_the_residual(tmp_path, rng, options):
    """Stems of a tone far from `low`'s bands: its share is tiny, not zero."""
    path = tmp_path / "p.yaml"
    path.write_text(
        "name: p\nstems: {low: {when_absent: omit}, high: {when_absent: omit}}\n"
        "search: {steps: 0, guided_steps: 0, flow_weight: 0.7, mask_power: 4}\n",
        encoding="utf-8",
    )
    tone = 0.3 * np.sin(2 * np.pi * 15000 * np.arange(RATE) / RATE)
    soundfile.write(tmp_path / "mix.wav", tone, RATE, subtype="PCM_24")
    manifest = render(tmp_path / "mix.wav", tmp_path / "out", load_preset(path), options)
    assert len(manifest.absent) == 1
    names = {file.stem for file in manifest.files}
    assert names == {"low", "high", "residual"} - set(manifest.absent)
    files = [tmp_path / "out" / file.path for file in manifest.files]
    assert measure_null(tmp_path / "mix.wav", files).exact


def test_manifest_can_be_read_back(tmp_path, rng, preset, options):
    mix = write_mix(tmp_path / "mix.wav", rng, RATE)
    manifest = render(mix, tmp_path / "out", preset, options)
    assert load_manifest(tmp_path / "out") == manifest
    assert manifest.input.sha256 == hashlib.sha256(mix.read_bytes()).hexdigest()
    for file in manifest.files:
        blob = (tmp_path / "out" / file.path).read_bytes()
        assert hashlib.sha256(blob).hexdigest() == file.sha256
    assert manifest.provider == {"asked": "cpu", "got": "cpu"}
    assert manifest.divergence["after"] < manifest.divergence["before"]


def test_manifest_tells_the_versions_that_its_files_depend_on(
    tmp_path, rng, preset, options, tiny_prior_folder
):
    mix = write_mix(tmp_path / "mix.wav", rng, RATE)
    manifest = render(mix, tmp_path / "dry", preset, options)
    assert set(manifest.program) == {"name", "version", "python", "numpy", "onnxruntime"}
    assert manifest.program["onnxruntime"] == onnxruntime.__version__
    path = tmp_path / "wet.yaml"
    chain = "{chain: [{effect: Gain, gain_db: -1}]}"
    path.write_text(f"name: wet\nstems: {{low: {chain}, high: {{}}}}\nsearch: {{steps: 3}}\n")
    wet = render(mix, tmp_path / "wet", load_preset(path), options)
    assert set(wet.program) - set(manifest.program) == {"pedalboard", "soxr"}


def test_finite_difference_is_called_degraded(tmp_path, rng, options, tiny_prior_folder):
    path = tmp_path / "p.yaml"
    path.write_text(
        "name: p\nstems: {low: {}, high: {}}\n"
        "search: {method: finite-difference, steps: 2, guided_steps: 0}\n",
        encoding="utf-8",
    )
    mix = write_mix(tmp_path / "mix.wav", rng, 9000)
    assert render(mix, tmp_path / "out", load_preset(path), options).degraded


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "truncated", "nan"])
def test_bad_mix_leaves_nothing(tmp_path, rng, preset, options, kind):
    mix = tmp_path / "in" / "mix.wav"
    mix.parent.mkdir()
    if kind == "text":
        mix.write_text("not audio at all\n" * 50)
    elif kind == "empty":
        mix.touch()
    elif kind == "truncated":
        write_mix(mix, rng, RATE)
        mix.write_bytes(mix.read_bytes()[:40_000])
    elif kind == "nan":
        soundfile.write(mix, np.full((2000, 2), np.nan), RATE, subtype="FLOAT")
    with pytest.raises(StemwrightError) as caught:
        render(mix, tmp_path / "out" / "set", preset, options)
    assert "mix.wav" in str(caught.value)
    assert not list((tmp_path / "out").rglob("*"))


def test_existing_destination_is_not_touched(tmp_path, rng, preset, options):
    mix = write_mix(tmp_path / "mix.wav", rng, 5000)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(StemwrightError, match="exists already"):
        render(mix, tmp_path / "out", preset, options)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_priors_of_different_views_are_refused(tmp_path, rng, options):
    path = tmp_path / "p.yaml"
    path.write_text(
        "name: p\nstems: {low: {}, vocals: {}}\nsearch: {guided_steps: 0, flow_weight: 1}\n"
    )
    mix = write_mix(tmp_path / "mix.wav", rng, 5000)
    with pytest.raises(StemwrightError, match="different spectrograms"):
        render(mix, tmp_path / "out", load_preset(path), options)


def test_a_second_set_gets_a_number(tmp_path, rng, preset, options):
    mix = write_mix(tmp_path / "mix.wav", rng, 5000)
    renderer = Renderer(preset, options)
    first, _ = renderer.render_into(mix, tmp_path / "out", lambda stage: None)
    second, _ = renderer.render_into(mix, tmp_path / "out", lambda stage: None)
    assert (first.name, second.name) == ("mix", "mix-2")
    assert digests(first) == digests(second)
