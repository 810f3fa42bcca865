"""Tests of the wet set: alignment, tails, one gain for all, ceilings that hold, bypass, sum."""

import math

import numpy as np
import pytest
import soundfile
import soxr

from engine.audio.reading import verify_mix
from engine.plugins.chain import Shape, chained
from engine.plugins.rack import PluginRack
from engine.stems.naming import NameTemplate
from engine.stems.wet import process_set
from presets import Preset, StemwrightError, load_preset
from vst3_fixtures import build_stub, catalogue, needs_gcc

RATE = 44_100
FRAMES = 3 * RATE
METER_DB = 0.02  # meters' filters differ by so much
GENERATOR = np.random.default_rng(5)


def noise(level=0.1, channels=2, frames=FRAMES):
    return (GENERATOR.standard_normal((channels, frames)) * level).astype(np.float32)


def preset(stems, **more):
    return Preset.model_validate({"name": "p", "stems": stems, **more})


class Set:
    """Writes dry files, processes them, reads the wet ones."""

    def __init__(self, folder):
        self.folder = folder
        self.rack = PluginRack(catalogue(folder, folder / "plugins"), 5.0)

    def run(self, stems, rules, subtype="FLOAT", rate=RATE):
        dry = {}
        for name, audio in stems.items():
            dry[name] = self.folder / f"{name}.wav"
            soundfile.write(dry[name], audio.T, rate, subtype=subtype)
        wet = self.folder / "wet"
        self.report = process_set(dry, wet, rules, NameTemplate("{stem}"), rack=self.rack)
        self.rates = {file.stem: soundfile.info(wet / file.name) for file in self.report.files}
        return {
            file.stem: soundfile.read(wet / file.name, dtype="float64", always_2d=True)[0].T
            for file in self.report.files
        }


@pytest.fixture
def wet_set(tmp_path):
    made = Set(tmp_path)
    yield made
    made.rack.close()


def true_peak_8x_dbtp(audio):
    """The highest of two usual 8x meters: soxr, and a polyphase filter of 2 x 10 samples."""
    dense = soxr.resample(np.ascontiguousarray(audio.T), RATE, 8 * RATE, quality="VHQ")
    highest = np.abs(dense).max()
    at = np.arange(-80, 81)
    kernel = np.sinc(at / 8) * np.kaiser(len(at), 5.0)
    for channel in audio:
        stuffed = np.zeros(8 * len(channel))
        stuffed[::8] = channel
        highest = max(highest, np.abs(np.convolve(stuffed, kernel)).max())
    return 20 * math.log10(highest)


LIMITER = {"effect": "BrickwallLimiter", "release_ms": 50, "lookahead_ms": 1}


def test_nothing_to_do_is_bit_exact(wet_set):
    audio = noise()
    wet = wet_set.run({"a": audio}, preset({"a": {}}))
    np.testing.assert_array_equal(wet["a"], audio.astype(np.float64))


def test_every_latency_is_compensated(wet_set):
    click = np.zeros((2, FRAMES), np.float32)
    click[:, 70_001] = 0.1
    chain = [
        {**LIMITER, "ceiling_db": -1, "true_peak": False},
        {"effect": "Resample", "target_sample_rate": 48_000, "quality": "WindowedSinc256"},
        {"effect": "PitchShift", "semitones": 0},
        {"parallel": [[], [{**LIMITER, "ceiling_db": -1, "true_peak": True}]]},
    ]
    wet = wet_set.run({"a": click}, preset({"a": {"chain": chain}}))
    assert np.abs(wet["a"]).argmax(axis=1).tolist() == [70_001, 70_001]


def test_parallel_is_the_sum_of_its_branches(wet_set):
    audio = noise()
    half = {"effect": "Gain", "gain_db": 20 * math.log10(0.5)}
    wet = wet_set.run({"a": audio}, preset({"a": {"chain": [{"parallel": [[half], [half]]}]}}))
    np.testing.assert_allclose(wet["a"], audio, atol=1e-6)


def test_result_does_not_depend_on_how_the_input_is_cut(tmp_path):
    audio = noise(frames=200_001)
    steps = preset(
        {
            "a": {
                "chain": [
                    {"effect": "Delay", "delay_seconds": 0.3, "feedback": 0.5, "mix": 0.4},
                    {**LIMITER, "ceiling_db": -9, "true_peak": True},
                ]
            }
        }
    )
    results = []
    for size in (1, 777, 65_536, 200_001):
        if size == 1:  # a single sample first, then the rest
            parts = iter([audio[:, :1], audio[:, 1:]])
        else:
            parts = (audio[:, at : at + size] for at in range(0, audio.shape[1], size))
        with PluginRack(catalogue(tmp_path)) as rack:
            shape = Shape(2, RATE, 250_000)
            blocks = list(chained(parts, steps.stems["a"].chain, shape, rack, "c"))
        results.append(np.concatenate(blocks, axis=1))
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_tail_rings_on_and_ends_at_the_floor(wet_set):
    audio = noise(0.3)
    room = {
        "effect": "Reverb", "room_size": 0.5, "damping": 0.5, "wet_level": 0.3,
        "dry_level": 0.7, "width": 1, "freeze_mode": 0,
    }  # fmt: skip
    rules = preset({"a": {"chain": [room]}, "b": {}}, tail_seconds=10)
    wet = wet_set.run({"a": audio, "b": audio}, rules)
    frames = wet["a"].shape[1]
    assert FRAMES + RATE // 2 < frames < FRAMES + 10 * RATE
    assert wet["b"].shape[1] == frames, "one length for the set"
    floor = 10 ** (-90 / 20)
    assert np.abs(wet["a"][:, -1]).max() > floor, "trimmed where it falls below -90 dBFS"
    np.testing.assert_array_equal(wet["b"][:, FRAMES:], 0)


def test_without_tail_the_length_is_the_mixs(wet_set):
    echo = {"effect": "Delay", "delay_seconds": 1, "feedback": 0.5, "mix": 0.5}
    wet = wet_set.run({"a": noise()}, preset({"a": {"chain": [echo]}}))
    assert wet["a"].shape[1] == FRAMES


def test_fader_comes_after_the_chain(wet_set):
    clip = {"effect": "Clipping", "threshold_db": -20}
    audio = noise(0.5)
    wet = wet_set.run({"a": audio}, preset({"a": {"chain": [clip], "gain_db": -6}}))
    assert np.abs(wet["a"]).max() == pytest.approx(10 ** (-26 / 20), rel=1e-4)


def test_loudness_target_is_met_with_one_gain(wet_set):
    audio = {"a": noise(0.05), "b": noise(0.02)}
    wet = wet_set.run(audio, preset({"a": {}, "b": {}}, loudness={"target_lufs": -23}))
    total = sum(wet.values())
    soundfile.write(wet_set.folder / "total.wav", total.T, RATE, subtype="DOUBLE")
    assert verify_mix(wet_set.folder / "total.wav").loudness.integrated_lufs == pytest.approx(
        -23, abs=METER_DB
    )
    gains = [np.vdot(wet[name], audio[name]) / np.vdot(audio[name], audio[name]) for name in wet]
    assert gains[0] == pytest.approx(gains[1], rel=1e-5)
    assert 20 * math.log10(gains[0]) == pytest.approx(wet_set.report.gain_db, abs=1e-3)
    assert wet_set.report.sum_loudness.integrated_lufs == pytest.approx(-23, abs=METER_DB)


def test_true_peak_ceiling_holds_for_every_file_and_the_sum(wet_set):
    audio = {"a": noise(0.5), "b": noise(0.4)}
    rules = preset({"a": {}, "b": {}}, loudness={"true_peak_ceiling_dbtp": -1.0})
    wet = wet_set.run(audio, rules)
    peaks = [true_peak_8x_dbtp(each) for each in [*wet.values(), sum(wet.values())]]
    assert max(peaks) <= -1.0
    assert max(peaks) > -1.0 - 0.3, "no quieter than needed"


def test_ceiling_never_makes_louder(wet_set):
    audio = noise(0.01)
    rules = preset({"a": {}}, loudness={"true_peak_ceiling_dbtp": -1.0})
    np.testing.assert_array_equal(wet_set.run({"a": audio}, rules)["a"], audio)


@pytest.mark.parametrize("kind", ["noise", "random signs", "clipped sweep", "tone"])
def test_true_peak_limiter_holds_at_eight_times(wet_set, kind):
    t = np.arange(FRAMES)
    signal = {
        "noise": noise(1.0)[0],
        "random signs": 2 * np.sign(noise()[0]),
        "clipped sweep": np.clip(8 * np.sin(2 * np.pi * (0.1 + 0.35 * t / FRAMES) * t), -2, 2),
        "tone": 2 * np.sin(np.pi / 2 * t + np.pi / 4),
    }[kind]
    audio = np.stack([signal, signal]).astype(np.float32)
    chain = [{**LIMITER, "ceiling_db": -1, "lookahead_ms": 0.1, "true_peak": True}]
    for where in ({"stems": {"a": {"chain": chain}}}, {"stems": {"a": {}}, "sum_chain": chain}):
        wet = wet_set.run({"a": audio}, Preset.model_validate({"name": "p", **where}))
        limited = wet.get("sum", wet["a"])
        assert -3 < true_peak_8x_dbtp(limited) <= -1.0


def test_sum_is_printed_through_its_chain(wet_set):
    audio = {"a": noise(), "b": noise()}
    clip = {"effect": "Clipping", "threshold_db": -20}
    rules = preset({"a": {}, "b": {}}, sum_chain=[clip])
    wet = wet_set.run(audio, rules)
    np.testing.assert_array_equal(wet["a"], audio["a"])
    expected = np.clip(audio["a"] + audio["b"], -0.1, 0.1)
    np.testing.assert_allclose(wet["sum"], expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "common-gain", "fail"])
def test_overflow_policy_is_for_the_whole_set(wet_set, policy):
    louder = {"effect": "Gain", "gain_db": 12}
    rules = preset({"a": {"chain": [louder]}, "b": {}}, overflow=policy)
    audio = {"a": noise(0.1), "b": noise(0.05)}
    if policy == "fail":
        with pytest.raises(StemwrightError, match=r"wet a by .* dB over full scale at 24 bits"):
            wet_set.run(audio, rules, "PCM_24")
        return
    wet = wet_set.run(audio, rules, "PCM_24")
    ratio = np.abs(wet["a"]).max() / np.abs(wet["b"]).max()
    assert ratio == pytest.approx(
        10 ** (12 / 20) * np.abs(audio["a"]).max() / np.abs(audio["b"]).max(), rel=1e-4
    )
    subtypes = {info.subtype for info in wet_set.rates.values()}
    if policy == "float32":
        assert subtypes == {"FLOAT"} and np.abs(wet["a"]).max() > 1
    else:
        assert subtypes == {"PCM_24"} and 0.999 < np.abs(wet["a"]).max() < 1


def test_mono_stem_stays_mono_beside_stereo(wet_set):
    audio = {"a": noise(channels=1), "b": noise()}
    clip = {"effect": "Gain", "gain_db": 0}
    wet = wet_set.run(audio, preset({"a": {}, "b": {}}, sum_chain=[clip]))
    assert wet["a"].shape[0] == 1
    np.testing.assert_allclose(wet["sum"], audio["a"] + audio["b"], atol=1e-6)


def test_shorter_stem_is_continued_with_silence(wet_set):
    wet = wet_set.run({"a": noise(frames=1000), "b": noise()}, preset({"a": {}, "b": {}}))
    assert wet["a"].shape == (2, FRAMES) and not wet["a"][:, 1000:].any()


def test_different_rates_are_refused(wet_set):
    soundfile.write(wet_set.folder / "slow.wav", noise().T, 48_000)
    soundfile.write(wet_set.folder / "fast.wav", noise().T, RATE)
    dry = {"a": wet_set.folder / "slow.wav", "b": wet_set.folder / "fast.wav"}
    with pytest.raises(StemwrightError, match="different sample rates"):
        process_set(
            dry, wet_set.folder / "wet", preset({"a": {}, "b": {}}), NameTemplate("{stem}"),
            rack=wet_set.rack,
        )  # fmt: skip


def test_cutoff_above_nyquist_is_refused_before_anything_is_written(wet_set):
    high = {"effect": "HighpassFilter", "cutoff_frequency_hz": 12_000}
    rules = preset({"a": {"chain": [high]}})
    with pytest.raises(StemwrightError, match=r"stems\.a\.chain\[0\]\.cutoff_frequency_hz"):
        wet_set.run({"a": noise()}, rules, rate=22_050)
    assert not (wet_set.folder / "wet").exists()


def test_feedback_that_explodes_is_told_and_not_written(wet_set):
    ladder = {
        "effect": "Distortion", "drive_db": 60,
    }  # fmt: skip
    loud = [{"effect": "Gain", "gain_db": 36}] * 25
    rules = preset({"a": {"chain": [*loud, ladder]}})
    with pytest.raises(StemwrightError, match=r"chain\[\d+\]: Gain put out NaN or infinity"):
        wet_set.run({"a": noise()}, rules)


def test_tick_may_stop_the_work(wet_set):
    def tick():
        raise InterruptedError

    soundfile.write(wet_set.folder / "a.wav", noise().T, RATE)
    with pytest.raises(InterruptedError):
        process_set(
            {"a": wet_set.folder / "a.wav"}, wet_set.folder / "wet", preset({"a": {}}),
            NameTemplate("{stem}"), rack=wet_set.rack, tick=tick,
        )  # fmt: skip


def test_unknown_stem_is_told_with_a_near_one(wet_set):
    with pytest.raises(StemwrightError, match="did you mean 'drums'"):
        wet_set.run({"drum": noise()}, preset({"drums": {}}))


@needs_gcc
@pytest.mark.parametrize("mode", ["CRASH", "NOT_A_NUMBER", "LEAVE"])
def test_failed_plugin_is_left_out_of_the_whole_stem(wet_set, mode):
    build_stub(wet_set.folder / "plugins", mode=mode)
    audio = noise(frames=5 * RATE)
    chain = [{"effect": "Gain", "gain_db": -6.0}, {"plugin": "Stub", "parameters": {"level": 0.1}}]
    rules = preset({"a": {"chain": chain}}, on_plugin_error="bypass")
    wet = wet_set.run({"a": audio}, rules)
    np.testing.assert_allclose(wet["a"], audio * 10 ** (-6 / 20), atol=1e-6)
    bypassed = wet_set.report.chains["stems"]["a"]["bypassed"]
    assert (
        list(bypassed) == ["stems.a.chain[1]"] and "plug-in Stub" in bypassed["stems.a.chain[1]"]
    )


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
@pytest.mark.parametrize(
    "name", ["default", "band", "electronic", "hip-hop", "jazz", "pop", "rock"]
)
def test_shipped_chains_take_sources_of_low_rates(wet_set, name, rate):
    rules = load_preset(name)
    audio = {stem: noise(frames=rate // 2) for stem in rules.stems}
    wet = wet_set.run(audio, rules, rate=rate)
    assert wet.keys() >= audio.keys()


def test_filter_above_the_band_is_left_out_and_told(wet_set):
    shelf = {"effect": "HighShelfFilter", "cutoff_frequency_hz": 8000, "gain_db": -9, "q": 0.7}
    inner = {"parallel": [[shelf], [{"effect": "Gain", "gain_db": -60}]]}
    audio = noise(frames=8_000)
    wet = wet_set.run({"a": audio}, preset({"a": {"chain": [shelf, inner]}}), rate=16_000)
    np.testing.assert_allclose(wet["a"], audio * 1.001, atol=1e-6)
    bypassed = wet_set.report.chains["stems"]["a"]["bypassed"]
    assert list(bypassed) == ["stems.a.chain[0]", "stems.a.chain[1].parallel[0][0]"]
    assert "nothing there" in bypassed["stems.a.chain[0]"]


@needs_gcc
def test_failed_plugin_fails_the_set_when_asked(wet_set):
    build_stub(wet_set.folder / "plugins", mode="CRASH")
    rules = preset({"a": {"chain": [{"plugin": "Stub"}]}})
    with pytest.raises(StemwrightError, match=r"stems\.a\.chain\[0\].*Stub crashed") as caught:
        wet_set.run({"a": noise(frames=5 * RATE)}, rules)
    assert caught.value.code == "plugin-failed" and caught.value.transient


@needs_gcc
def test_wrong_parameter_is_never_bypassed(wet_set):
    build_stub(wet_set.folder / "plugins")
    for parameters, said in (
        ({"levle": 1.0}, "did you mean 'level'"),
        ({"level": 2.0}, "must be 0 to 1, got 2"),
    ):
        step = {"plugin": "Stub", "parameters": parameters}
        rules = preset({"a": {"chain": [step]}}, on_plugin_error="bypass")
        with pytest.raises(StemwrightError, match=said):
            wet_set.run({"a": noise()}, rules)


def test_missing_plugin_is_bypassed_or_named(wet_set):
    chain = [{"plugin": "Nowhere"}]
    audio = noise()
    with pytest.raises(StemwrightError, match="no plug-in 'Nowhere'"):
        wet_set.run({"a": audio}, preset({"a": {"chain": chain}}))
    rules = preset({"a": {"chain": chain}}, on_plugin_error="bypass")
    np.testing.assert_array_equal(wet_set.run({"a": audio}, rules)["a"], audio)
