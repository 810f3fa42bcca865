"""Tests of the effect table against pedalboard: complete, in range, finite, streaming exactly."""

import inspect
import re

import numpy as np
import pedalboard
import pytest
import soundfile
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from engine.audio.blocks import BLOCK_FRAMES, endless, take
from engine.plugins.effects import above_the_band, build_effect, check_effect, effect_stream
from presets import BUILT_IN, StemwrightError

# Not effects: bases, containers (the schema has `parallel`, a chain is one) and external ones.
NO_EFFECTS = {
    "Plugin", "PluginContainer", "ExternalPlugin", "VST3Plugin", "AudioUnitPlugin", "IIRFilter",
    "Mix", "Chain", "Pedalboard",
}  # fmt: skip
# The response is read by us, so its rate comes from its file.
NO_PARAMETERS = {"Convolution": {"sample_rate"}}
LOUDEST = 1000.0  # +60 dBFS: a shelf and a peak may add 36 dB each
IMPULSE_FRAMES = 5000


def pedalboard_effects():
    return {
        name: cls
        for name, cls in vars(pedalboard).items()
        if inspect.isclass(cls)
        and issubclass(cls, pedalboard.Plugin)
        and not name.startswith("_")
        and name not in NO_EFFECTS
    }


def signature(cls):
    """Parameter names of a pybind11 class: from the first line of its __init__'s docstring."""
    return set(re.findall(r", (\w+): ", cls.__init__.__doc__.split("\n")[0]))


def numeric(cls) -> dict[str, tuple[float, float]]:
    found = {}
    for name, field in cls.model_fields.items():
        if isinstance(field, FieldInfo) and field.annotation is float:
            low = next(item.ge for item in field.metadata if isinstance(item, Ge))
            high = next(item.le for item in field.metadata if isinstance(item, Le))
            found[name] = (low, high)
    return found


@pytest.fixture(scope="module")
def impulse(tmp_path_factory):
    path = tmp_path_factory.mktemp("impulse") / "room.wav"
    decay = np.exp(-np.arange(IMPULSE_FRAMES) / 800)
    noise = np.random.default_rng(3).standard_normal(IMPULSE_FRAMES)
    soundfile.write(path, (0.3 * decay * noise).astype(np.float32), 44_100, subtype="FLOAT")
    return str(path)


def example(name, impulse, position, rate):
    """A step with every number at the same place (0 to 1) of its range."""
    cls = BUILT_IN[name]
    values = {}
    for key, field in cls.model_fields.items():
        if key in numeric(cls):
            low, high = numeric(cls)[key]
            if "frequency" in key or key == "cutoff_hz":
                low, high = np.log(low), np.log(min(high, 0.489 * rate))
                values[key] = float(np.exp(low + position * (high - low)))
            else:
                values[key] = low + position * (high - low)
        elif field.annotation is bool:
            values[key] = position > 0.5
        elif key == "impulse_response_filename":
            values[key] = impulse
        elif key != "effect":
            choices = field.annotation.__args__
            values[key] = choices[round(position * (len(choices) - 1))]
    return cls(effect=name, **values)


def test_every_pedalboard_effect_and_parameter_has_a_row():
    there = {
        name: signature(cls) - NO_PARAMETERS.get(name, set())
        for name, cls in pedalboard_effects().items()
    }
    ours = {name: set(cls.model_fields) - {"effect"} for name, cls in BUILT_IN.items()}
    assert ours == there


def test_every_number_has_both_limits_and_no_default():
    for name, cls in BUILT_IN.items():
        for key, field in cls.model_fields.items():
            assert field.is_required(), f"{name}.{key}"
        assert all(low < high for low, high in numeric(cls).values()), name


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("position", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_whole_range_is_finite_and_bounded(name, position, rate, impulse):
    rate = min(rate, 48_000) if name == "MP3Compressor" else rate
    step = example(name, impulse, position, rate)
    noise = np.random.default_rng(1).uniform(-1, 1, (2, 20_000)).astype(np.float32)
    noise[:, 10_000:] = 0
    stream = effect_stream(endless([noise], 2), step, rate, 20_000, "c[0]")
    out = np.concatenate(list(take(stream, 20_000)), axis=1)
    assert out.shape == noise.shape
    assert np.abs(out).max() < LOUDEST


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_streaming_equals_whole_file(name, rate, impulse):
    step = example(name, impulse, 0.35, rate)
    frames = 3 * BLOCK_FRAMES + 4567
    noise = np.random.default_rng(2).standard_normal((2, frames)).astype(np.float32) * 0.2
    parts = (noise[:, at : at + 10_007] for at in range(0, frames, 10_007))
    stream = effect_stream(endless(parts, 2), step, rate, frames, "c[0]")
    streamed = np.concatenate(list(take(stream, frames)), axis=1)
    whole = build_effect(step, rate).process(noise, rate, buffer_size=BLOCK_FRAMES)
    np.testing.assert_array_equal(streamed, whole)


def test_mp3_is_refused_where_the_codec_ends():
    step = BUILT_IN["MP3Compressor"](effect="MP3Compressor", vbr_quality=2)
    for rate, channels in ((96_000, 2), (48_000, 6)):
        with pytest.raises(StemwrightError, match=r"c\[0\]: MP3Compressor takes mono"):
            check_effect(step, rate, channels, "c[0]")


def test_cutoff_is_checked_against_the_sample_rate():
    step = BUILT_IN["HighpassFilter"](effect="HighpassFilter", cutoff_frequency_hz=12_000)
    check_effect(step, 44_100, 2, "c[0]")
    with pytest.raises(StemwrightError, match=r"c\[0\].cutoff_frequency_hz: must be below 10804"):
        check_effect(step, 22_050, 2, "c[0]")


@pytest.mark.parametrize("name", ["LowpassFilter", "HighShelfFilter", "PeakFilter"])
def test_filter_above_the_band_has_nothing_to_do(name):
    gain = {} if name == "LowpassFilter" else {"gain_db": 3, "q": 0.7}
    step = BUILT_IN[name](effect=name, cutoff_frequency_hz=8_000, **gain)
    check_effect(step, 16_000, 2, "c[0]")
    assert above_the_band(step, 44_100) is None
    assert "at 8000 Hz: audio at 16000 Hz has nothing there" in above_the_band(step, 16_000)


def test_unreadable_impulse_is_told(tmp_path):
    (tmp_path / "ir.wav").write_text("no audio")
    step = BUILT_IN["Convolution"](
        effect="Convolution", impulse_response_filename=str(tmp_path / "ir.wav"), mix=1
    )
    with pytest.raises(StemwrightError, match=r"ir\.wav"):
        build_effect(step, 44_100)
