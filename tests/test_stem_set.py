"""The set: its sum is the mix at every depth, whatever happens to single stems."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from engine.audio.reading import probe
from engine.audio.scratch import StemScratch
from engine.audio.signal import MixFile
from engine.stems.naming import NameTemplate
from engine.stems.output_format import OutputFormat
from engine.stems.stem_set import write_set
from fidelity_fixtures import integers, quiet_integers, separate, write_pcm
from presets import StemwrightError

NAMING = NameTemplate("{title}_{stem}", {"title": "song"})


def make_set(tmp_path, mix, output=None, overflow="float32", stretch=1.0, stems=2, **options):
    audio, _ = soundfile.read(mix, always_2d=True)
    names = ("vocals", "drums", "bass", "piano")[:stems]
    with separate(tmp_path / "scratch", audio.T, names, stretch=stretch) as scratch:
        report = write_set(
            MixFile(mix, probe(mix)),
            scratch,
            tmp_path / "dry",
            NAMING,
            output or OutputFormat(),
            overflow,
            **options,
        )  # fmt: skip
    return report, [tmp_path / "dry" / file.name for file in report.files]


def integer_sum(paths, bits):
    return sum(soundfile.read(p, dtype="int32", always_2d=True)[0].T >> (32 - bits) for p in paths)


def float_sum(paths):
    return sum(soundfile.read(path, always_2d=True)[0].T for path in paths)


SOURCES = [("WAV", b) for b in (16, 24, 32)] + [("AIFF", 24), ("FLAC", 16), ("FLAC", 24)]
SOURCES += [("W64", 24), ("RF64", 24), ("AIFF", 32)]


@pytest.mark.parametrize(("container", "bits"), SOURCES)
def test_stems_sum_to_the_mix_in_integers(tmp_path, container, bits):
    samples = quiet_integers(bits)
    mix = write_pcm(tmp_path / "mix", samples, bits, container=container)
    report, paths = make_set(tmp_path, mix)
    assert [file.stem for file in report.files] == ["vocals", "drums", "residual"]
    np.testing.assert_array_equal(integer_sum(paths, bits), samples)
    assert report.null_dbfs == report.source_null_dbfs == -np.inf
    for path in paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.frames, info.subtype) == (48000, 4801, f"PCM_{bits}")
        expected = container if container in ("AIFF", "FLAC") else "WAV"
        assert info.format.removesuffix("EX") == expected  # a mask makes it WAVEX


@pytest.mark.parametrize(
    ("frames", "channels"), [(1, 1), (2, 6), (65535, 1), (65536, 6), (65537, 1)]
)
def test_any_length_and_number_of_channels_sums_to_the_mix(tmp_path, frames, channels):
    samples = quiet_integers(24, channels, frames)
    mix = write_pcm(tmp_path / "mix.wav", samples, 24)
    report, paths = make_set(tmp_path, mix)
    np.testing.assert_array_equal(integer_sum(paths, 24), samples)
    assert report.null_dbfs == -np.inf


@pytest.mark.parametrize("stems", [1, 4])
def test_the_residual_may_go_into_a_stem(tmp_path, stems):
    samples = quiet_integers(24)
    mix = write_pcm(tmp_path / "mix.wav", samples, 24)
    report, paths = make_set(tmp_path, mix, stems=stems, residual_into="vocals")
    assert len(report.files) == stems
    np.testing.assert_array_equal(integer_sum(paths, 24), samples)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "AIFF"])
def test_float_mixes_null_exactly_in_float64(tmp_path, container, subtype):
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 1, (20_000, 2)) * 10.0 ** rng.uniform(-6, 0.5, (20_000, 1))
    soundfile.write(tmp_path / "mix", audio, 44100, subtype=subtype, format=container)
    report, paths = make_set(tmp_path, tmp_path / "mix", stretch=1.7)
    assert {soundfile.info(path).subtype for path in paths} == {subtype}
    assert report.null_dbfs == report.source_null_dbfs == -np.inf
    if subtype == "FLOAT":
        mix = soundfile.read(tmp_path / "mix")[0].T
        np.testing.assert_array_equal(float_sum(paths), mix)


def test_a_lossy_mix_becomes_24_bit_wav_that_sums_to_it_at_that_depth(tmp_path):
    audio = np.random.default_rng(0).normal(0, 0.1, (30_000, 2))
    soundfile.write(tmp_path / "mix.mp3", audio, 44100)
    report, paths = make_set(tmp_path, tmp_path / "mix.mp3")
    assert {soundfile.info(path).subtype for path in paths} == {"PCM_24"}
    assert report.null_dbfs == -np.inf
    assert -150 < report.source_null_dbfs < -144  # half a step of 24 bits
    decoded = soundfile.read(tmp_path / "mix.mp3")[0].T
    np.testing.assert_array_equal(integer_sum(paths, 24), np.rint(decoded * 2**23))


@pytest.mark.parametrize(("bits", "subtype"), [(16, "FLOAT"), (24, "DOUBLE"), (32, "DOUBLE")])
def test_an_overflow_makes_the_whole_set_float_and_keeps_the_sum(tmp_path, bits, subtype):
    samples = quiet_integers(bits, level=0.9)
    mix = write_pcm(tmp_path / "mix.flac" if bits < 32 else tmp_path / "mix.wav", samples, bits)
    report, paths = make_set(tmp_path, mix, stretch=7.0)
    assert {soundfile.info(path).subtype for path in paths} == {subtype}
    assert "vocals" in report.overflow
    assert report.null_dbfs == report.source_null_dbfs == -np.inf
    np.testing.assert_array_equal(float_sum(paths) * 2.0 ** (bits - 1), samples)
    assert report.gain_db == 0


def test_a_common_gain_is_one_for_all_and_can_be_undone(tmp_path):
    samples = quiet_integers(24, level=0.9)
    mix = write_pcm(tmp_path / "mix.wav", samples, 24)
    report, paths = make_set(tmp_path, mix, overflow="common-gain", stretch=7.0)
    assert {soundfile.info(path).subtype for path in paths} == {"PCM_24"}
    assert report.gain_db < 0
    assert report.undo_db == -report.gain_db
    gain = 10 ** (report.gain_db / 20)
    np.testing.assert_array_equal(integer_sum(paths, 24), np.rint(samples * gain))
    assert report.null_dbfs == -np.inf
    assert report.source_null_dbfs < -130
    peak = max(np.abs(soundfile.read(path)[0]).max() for path in paths)
    assert 0.999 < peak < 1


def test_an_overflow_can_be_an_error(tmp_path):
    mix = write_pcm(tmp_path / "mix.wav", quiet_integers(16, level=0.9), 16)
    with pytest.raises(StemwrightError, match="vocals by") as caught:
        make_set(tmp_path, mix, overflow="fail", stretch=7.0)
    assert caught.value.code == "stem-overflow"
    assert not (tmp_path / "dry").exists()


def test_a_full_scale_mix_still_sums(tmp_path):
    samples = integers(16)
    mix = write_pcm(tmp_path / "mix.wav", samples, 16)
    report, paths = make_set(tmp_path, mix)
    assert report.null_dbfs == -np.inf
    np.testing.assert_array_equal(np.rint(float_sum(paths) * 32768), samples)


def test_less_depth_is_dithered_and_more_is_not(tmp_path):
    samples = quiet_integers(24)
    mix = write_pcm(tmp_path / "mix.wav", samples, 24)
    less, paths = make_set(tmp_path, mix, OutputFormat("wav", 16), seed=3)
    assert less.dithered
    assert less.null_dbfs == -np.inf
    first = [path.read_bytes() for path in paths]
    _, paths = make_set(tmp_path / "again", mix, OutputFormat("wav", 16), seed=3)
    assert first == [path.read_bytes() for path in paths]
    more, paths = make_set(tmp_path / "more", mix, OutputFormat("wav", 32))
    assert not more.dithered
    np.testing.assert_array_equal(integer_sum(paths, 32), samples.astype(np.int64) << 8)


def test_float_output_of_an_integer_mix_nulls(tmp_path):
    mix = write_pcm(tmp_path / "mix.wav", quiet_integers(24), 24)
    report, _ = make_set(tmp_path, mix, OutputFormat("wav", "float32"))
    assert report.null_dbfs == report.source_null_dbfs == -np.inf
    assert [file.format.depth for file in report.files] == ["32f", "32f", "32f"]


def test_the_report_measures_the_files(tmp_path):
    mix = write_pcm(tmp_path / "mix.wav", quiet_integers(24, frames=96_000), 24)
    report, paths = make_set(tmp_path, mix)
    for file, path in zip(report.files, paths, strict=True):
        peak = np.abs(soundfile.read(path)[0]).max()
        assert file.loudness.sample_peak_dbfs == pytest.approx(20 * np.log10(peak), abs=1e-4)
        assert np.isfinite(file.loudness.integrated_lufs)


def test_a_stop_leaves_no_half_written_file(tmp_path):
    mix = write_pcm(tmp_path / "mix.wav", quiet_integers(16, frames=200_000), 16)

    def stop(done, total):
        assert 0 < done <= total
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_set(tmp_path, mix, tick=stop)
    assert list((tmp_path / "dry").iterdir()) == []


def test_progress_runs_from_nothing_to_all(tmp_path):
    mix = write_pcm(tmp_path / "mix.wav", quiet_integers(16, frames=200_000), 16)
    seen = []
    make_set(tmp_path, mix, tick=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (600_000, 600_000)


def test_a_scratch_goes_on_where_it_ended(tmp_path):
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 1000)).astype(np.float32)
    with StemScratch(tmp_path, ("a", "b"), 2) as scratch:
        scratch.append({"a": audio, "b": -audio})
        assert scratch.frames == 1000
    with (tmp_path / "00.raw").open("ab") as file:
        file.write(bytes(12))  # killed while it wrote a frame and a half of one stem
    with StemScratch(tmp_path, ("a", "b"), 2) as scratch:
        assert scratch.frames == 1000
        scratch.truncate(600)
        scratch.append({"a": audio[:, :5], "b": audio[:, :5]})
        blocks = list(scratch.blocks(100))
    joined = np.concatenate([block["a"] for block in blocks], axis=1)
    np.testing.assert_array_equal(joined, np.concatenate([audio[:, :600], audio[:, :5]], axis=1))


def test_a_stem_that_is_no_number_is_refused(tmp_path):
    with StemScratch(tmp_path, ("a",), 1) as scratch, pytest.raises(StemwrightError) as caught:
        scratch.append({"a": np.full((1, 3), np.nan, np.float32)})
    assert caught.value.code == "stem-not-finite"


MEASURED_PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from engine.stems.naming import NameTemplate
from engine.audio.scratch import StemScratch
from engine.stems.stem_set import write_set
from engine.audio.reading import probe
from engine.audio.signal import MixFile
from engine.audio.wave_header import FileFormat
from engine.audio.writing import StemWriter
folder, seconds = Path(sys.argv[1]), int(sys.argv[2])
second = np.random.default_rng(0).normal(0, 0.1, (2, 48000)).clip(-0.5, 0.5)
with StemWriter(folder / "mix.wav", FileFormat("wav", "pcm", 24, 2, 48000)) as mix:
    for _ in range(seconds):
        mix.write(second)
with StemScratch(folder / "scratch", ("vocals", "drums"), 2) as scratch:
    for _ in range(seconds):
        scratch.append(dict.fromkeys(scratch.stems, (second / 3).astype(np.float32)))
    path = folder / "mix.wav"
    report = write_set(MixFile(path, probe(path)), scratch, folder / "dry", NameTemplate("{stem}"))
assert report.null_dbfs == -np.inf
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path):
    peaks = []
    for seconds in (20, 400):
        folder = tmp_path / str(seconds)
        folder.mkdir()
        command = [sys.executable, "-c", MEASURED_PROGRAM, str(folder), str(seconds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.1 * peaks[0]
