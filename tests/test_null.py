"""The null test: what it hears in any program's stems, and what it refuses to compare."""

import numpy as np
import pytest
import soundfile

from engine.audio.null import NullMeter, measure_null
from fidelity_fixtures import quiet_integers, write_pcm
from presets import StemwrightError


def halves(tmp_path, change=lambda half: half, subtype="PCM_24", rate=48000):
    samples = quiet_integers(24, level=0.5)
    mix = write_pcm(tmp_path / "mix.wav", samples, 24)
    one = samples // 2
    first = write_pcm(tmp_path / "one.flac", one, 24, container="FLAC")
    other = change((samples - one) / 2**23)
    soundfile.write(tmp_path / "other.wav", other.T, rate, subtype=subtype)
    return mix, [first, tmp_path / "other.wav"]


def test_halves_in_two_containers_null_exactly(tmp_path):
    report = measure_null(*halves(tmp_path, subtype="DOUBLE"))
    assert report.exact
    assert report.null_dbfs == report.rms_dbfs == -np.inf


def test_one_changed_sample_is_found(tmp_path):
    def change(half):
        half = half.copy()
        half[1, 1234] += 0.001
        return half

    report = measure_null(*halves(tmp_path, change, "DOUBLE"))
    assert report.null_dbfs == pytest.approx(-60, abs=1e-6)
    assert report.peak_frame == 1234
    assert not report.exact


def test_a_stem_that_was_made_quieter_is_heard(tmp_path):
    report = measure_null(*halves(tmp_path, lambda half: half * 0.9, "DOUBLE"))
    assert -40 < report.null_dbfs < -20


def test_sixteen_bits_in_a_24_bit_file_are_heard(tmp_path):
    def truncate(half):
        return (half * 32767).astype(np.int16) / 32768

    report = measure_null(*halves(tmp_path, truncate))
    assert -95 < report.null_dbfs < -75


def test_a_common_gain_is_undone_first(tmp_path):
    samples = quiet_integers(24, level=0.5)
    mix = write_pcm(tmp_path / "mix.wav", samples * 2, 24)
    half = write_pcm(tmp_path / "half.wav", samples, 24)
    assert measure_null(mix, [half], gain_db=20 * np.log10(2)).null_dbfs < -280
    assert measure_null(mix, [half, half]).exact


def test_a_lossy_mix_is_exact_at_the_depth_of_its_stems(tmp_path):
    soundfile.write(tmp_path / "mix.ogg", 0.1 * np.sin(np.arange(30000) / 9), 44100)
    decoded = np.rint(soundfile.read(tmp_path / "mix.ogg", always_2d=True)[0].T * 2**23)
    stem = write_pcm(tmp_path / "stem.wav", decoded.astype(np.int32), 24, 44100)
    report = measure_null(tmp_path / "mix.ogg", [stem])
    assert not report.exact
    assert report.exact_at_bits == 24
    assert report.null_dbfs < -140


def test_other_rates_lengths_and_channels_are_refused(tmp_path):
    mix = write_pcm(tmp_path / "mix.wav", quiet_integers(16), 16)
    unlike = {
        "null-sample-rate": write_pcm(tmp_path / "r.wav", quiet_integers(16), 16, 44100),
        "null-length": write_pcm(tmp_path / "l.wav", quiet_integers(16, frames=4800), 16),
        "null-channels": write_pcm(tmp_path / "c.wav", quiet_integers(16, channels=1), 16),
    }
    for code, stem in unlike.items():
        with pytest.raises(StemwrightError) as caught:
            measure_null(mix, [stem])
        assert caught.value.code == code
    with pytest.raises(StemwrightError):
        measure_null(mix, [])


def test_only_what_float64_cannot_resolve_counts_as_nothing():
    meter = NullMeter()
    mix = np.full((1, 4), 0.3)
    meter.add(mix, [mix * 2, -mix + 2.0**-54])
    assert meter.null_dbfs == -np.inf
    meter.add(mix, [mix + 2.0**-49])
    assert meter.null_dbfs == pytest.approx(20 * np.log10(2.0**-49))
    assert meter.peak_frame == 4
