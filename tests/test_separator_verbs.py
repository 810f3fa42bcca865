"""The verbs that train separators and GAN priors."""

import pytest
from click.testing import CliRunner

import stemwright
from engine import list_priors
from rival_fixtures import write_songs


def run(*words):
    return CliRunner().invoke(stemwright.main, [str(word) for word in words])


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return write_songs(tmp_path_factory.mktemp("songs"), 3, 22_050, 1.0)


def test_a_separator_is_trained_and_gone_on_with(songs, tmp_path):
    words = ("separator", "train", "demucs", songs, "-o", tmp_path, "--batch", 1)
    cpu = ("--device", "cpu", "--threads", 1)
    first = run(*words, "--steps", 1, *cpu)
    assert first.exit_code == 0, first.output
    assert "4.16 M parameters" in first.output
    assert (tmp_path / "demucs.onnx").is_file() and (tmp_path / "demucs.yaml").is_file()
    again = run(*words, "--steps", 2, *cpu)
    assert "resuming at step 1" in again.output and "step 2/2" in again.output
    other = run(*words, "--steps", 3, "--seed", 7, *cpu)
    assert other.exit_code == 1
    assert "another run (seed: 0 there, 7 here)" in other.output


def test_the_interleaved_network_is_trained_and_says_how_long(songs, tmp_path):
    words = ("separator", "train", "interleaved", songs, "-o", tmp_path, "--batch", 1)
    done = run(*words, "--steps", 8, "--device", "cpu", "--threads", 1)
    assert done.exit_code == 0, done.output
    assert "8 steps of" in done.output and "will take about" in done.output
    assert (tmp_path / "interleaved.onnx").is_file()
    assert "interleaved multitask network, 8 steps" in (tmp_path / "interleaved.yaml").read_text()
    refused = run(*words, "--published")
    assert refused.exit_code == 2 and "names no size" in refused.output


def test_a_gan_is_trained_and_taken_for_no_prior_of_a_stem(songs, tmp_path):
    words = ("prior", "gan", songs, "--stem", "bass", "-o", tmp_path, "--steps", 1)
    done = run(*words, "--batch", 2, "--device", "cpu", "--threads", 1)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "bass.gan").is_file()
    assert list_priors([tmp_path])["bass"].parent != tmp_path


def test_what_is_no_song_is_refused(tmp_path):
    done = run("separator", "train", "demucs", tmp_path / "nowhere", "--device", "cpu")
    assert done.exit_code == 1
    assert "is not a folder" in done.output
    assert "Traceback" not in done.output
