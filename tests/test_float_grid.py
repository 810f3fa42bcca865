"""A float mix and its stems: all files 32-bit, and their sum in float64 the mix in every bit."""

import math

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audio.null import measure_null
from engine.audio.reading import probe
from engine.audio.scratch import StemScratch
from engine.audio.signal import MixFile
from engine.stems.float_grid import FINEST, FloatGrid, Survey
from engine.stems.naming import NameTemplate
from engine.stems.output_format import OutputFormat
from engine.stems.stem_set import write_set
from fidelity_fixtures import quiet_integers, write_pcm

STEMS = ("vocals", "drums", "other")
PEAKS = (0.0, 1e-42, 1e-30, 1e-9, 0.3, 0.999999, 1.0, 4.0, 3.3e6)

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-4, max_value=4)
tiny = st.floats(width=32, min_value=-(2.0**-120), max_value=2.0**-120)
samples = st.one_of(floats, tiny, st.sampled_from([0.0, -0.0, 2.0**-149, 1.0, -1.0, 4.0, 0.1]))
columns = st.lists(st.tuples(samples, samples, samples), min_size=1, max_size=40)


def shared(mix, stems, remainder="residual"):
    """All files of a set, float64 `(1, n)`, from arrays of 32-bit floats."""
    free = {stem: audio for stem, audio in stems.items() if stem != remainder}
    survey = Survey({})
    survey.add(mix.astype(np.float64), free)
    grid = FloatGrid.of(survey, remainder, "residual")
    rounded = {stem: grid.rounded(audio) for stem, audio in free.items()}
    return grid, grid.share(mix.astype(np.float64), rounded, remainder)


def assert_exact(mix, files):
    for stem, audio in files.items():
        np.testing.assert_array_equal(audio, audio.astype(np.float32), err_msg=stem)
    total = np.zeros(mix.shape)
    for audio in files.values():
        total += audio
    np.testing.assert_array_equal(total, mix)
    exact = [math.fsum(column) for column in np.concatenate(list(files.values())).T]
    np.testing.assert_array_equal(exact, mix[0])  # in whatever order they are added


@settings(max_examples=150, deadline=None)
@given(columns, st.sampled_from(["residual", "vocals"]))
def test_any_mix_and_any_stems_sum_exactly(rows, remainder):
    mix, vocals, drums = np.array(rows, np.float32).T[:, None]
    _, files = shared(mix, {"vocals": vocals, "drums": drums}, remainder)
    assert_exact(mix, files)


@settings(max_examples=100, deadline=None)
@given(st.lists(samples, min_size=1, max_size=40), st.floats(-0.2, 1.2))
def test_stems_that_make_up_the_mix_leave_the_residual_what_is_below_the_grid(values, share):
    mix = np.array([values], np.float32)
    vocals = (mix * np.float32(share)).astype(np.float32)
    grid, files = shared(mix, {"vocals": vocals, "other": mix - vocals})
    assert_exact(mix, files)
    assert grid.below is None
    assert np.abs(files["residual"]).max() <= grid.step / 2
    for stem, audio in (("vocals", vocals), ("other", mix - vocals)):
        assert np.abs(files[stem] - audio).max() <= 4 * grid.step


@settings(max_examples=50, deadline=None)
@given(columns)
def test_a_channel_that_no_stem_has_is_the_residual_whole(rows):
    mix = np.array(rows, np.float32).T[:1]
    grid, files = shared(mix, {"vocals": np.zeros_like(mix), "drums": np.zeros_like(mix)})
    assert grid.below is None
    np.testing.assert_array_equal(files["residual"], mix)


def test_the_grid_is_that_of_full_scale_and_coarser_above():
    for peak, step in ((0.0, 1), (0.5, 1), (0.999, 1), (1.5, 2), (3.9, 4), (4.0, 8)):
        survey = Survey({"vocals": peak})
        assert FloatGrid.of(survey, "residual", "residual").step == FINEST * step, peak


def make_set(tmp_path, mix, separated, **options):
    with StemScratch(tmp_path / "scratch", tuple(separated), 2) as scratch:
        scratch.append(separated)
        report = write_set(
            MixFile(mix, probe(mix)), scratch, tmp_path / "dry", NameTemplate("{stem}"), **options
        )
    return report, [tmp_path / "dry" / file.name for file in report.files]


def masked(audio, seed=0):
    """Stems as masks that sum to one give them: the shares of the mix, each rounded."""
    shares = np.random.default_rng(seed).dirichlet([1.0] * len(STEMS), audio.shape[1]).T
    return {
        stem: (audio * share).astype(np.float32) for stem, share in zip(STEMS, shares, strict=True)
    }


@pytest.mark.parametrize("peak", PEAKS)
def test_written_sets_are_32_bit_float_and_null(tmp_path, peak):
    rng = np.random.default_rng(1)
    audio = (rng.uniform(-1, 1, (2, 3000)) * 10.0 ** rng.uniform(-9, 0, (2, 3000)) * peak).astype(
        np.float32
    )
    soundfile.write(tmp_path / "mix.wav", audio.T, 48000, subtype="FLOAT")
    report, paths = make_set(tmp_path, tmp_path / "mix.wav", masked(audio))
    assert [file.stem for file in report.files] == [*STEMS, "residual"]
    assert {soundfile.info(path).subtype for path in paths} == {"FLOAT"}
    total = sum(soundfile.read(path)[0] for path in paths)
    np.testing.assert_array_equal(total.T, audio)
    assert report.null_dbfs == report.source_null_dbfs == -np.inf
    assert measure_null(tmp_path / "mix.wav", paths).exact


def test_what_lies_below_the_grid_has_a_file_where_the_residual_is_a_signal(tmp_path):
    audio = np.random.default_rng(1).normal(0, 0.2, (2, 3000)).astype(np.float32)
    soundfile.write(tmp_path / "mix.wav", audio.T, 48000, subtype="FLOAT")
    separated = masked(audio)
    del separated["other"]
    report, paths = make_set(tmp_path, tmp_path / "mix.wav", separated)
    assert [file.stem for file in report.files] == ["vocals", "drums", "residual", "rounding"]
    assert {soundfile.info(path).subtype for path in paths} == {"FLOAT"}
    total = sum(soundfile.read(path)[0] for path in paths)
    np.testing.assert_array_equal(total.T, audio)
    assert np.abs(soundfile.read(paths[-1])[0]).max() <= FINEST / 2


def test_a_residual_inside_a_stem_leaves_what_is_below_the_grid_beside_it(tmp_path):
    audio = np.random.default_rng(1).normal(0, 0.2, (2, 3000)).astype(np.float32)
    soundfile.write(tmp_path / "mix.wav", audio.T, 48000, subtype="FLOAT")
    report, paths = make_set(tmp_path, tmp_path / "mix.wav", masked(audio), residual_into="other")
    assert [file.stem for file in report.files] == [*STEMS, "residual"]
    total = sum(soundfile.read(path)[0] for path in paths)
    np.testing.assert_array_equal(total.T, audio)


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("into", [None, "other"])
def test_integer_mixes_become_32_bit_floats_that_sum_to_them(tmp_path, bits, into):
    mix = write_pcm(tmp_path / "mix.wav", quiet_integers(bits), bits)
    audio = soundfile.read(mix)[0].T.astype(np.float32)
    output = OutputFormat("wav", "float32")
    report, paths = make_set(tmp_path, mix, masked(audio), output=output, residual_into=into)
    assert {soundfile.info(path).subtype for path in paths} == {"FLOAT"}
    if bits < 32:
        assert len(paths) == len(STEMS) + (into is None)
        assert report.source_null_dbfs == -np.inf
    assert report.null_dbfs == -np.inf


def test_a_64_bit_mix_as_32_bit_floats_sums_to_the_mix_at_that_depth(tmp_path):
    audio = np.random.default_rng(1).normal(0, 0.2, (2, 3000))
    soundfile.write(tmp_path / "mix.wav", audio.T, 48000, subtype="DOUBLE")
    output = OutputFormat("wav", "float32")
    report, paths = make_set(tmp_path, tmp_path / "mix.wav", masked(audio), output=output)
    assert {soundfile.info(path).subtype for path in paths} == {"FLOAT"}
    total = sum(soundfile.read(path)[0] for path in paths)
    np.testing.assert_array_equal(total.T, audio.astype(np.float32))
    assert report.null_dbfs == -np.inf
    assert -170 < report.source_null_dbfs < -140
