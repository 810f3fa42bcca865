"""Writing: every depth comes back bit for bit, read by other programs than ours."""

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio import wave_header
from engine.audio.reading import MixReader, probe
from engine.audio.wave_header import FileFormat, wav_header
from engine.audio.writing import StemWriter
from fidelity_fixtures import ffmpeg, integers, tool
from presets import StemwrightError

PCM = [("wav", b) for b in (8, 16, 24, 32)] + [("aiff", b) for b in (8, 16, 24, 32)]
PCM += [("flac", b) for b in (8, 16, 24)]


def write(path, fmt, samples, pieces=3):
    with StemWriter(path, fmt) as writer:
        for piece in np.array_split(samples, pieces, axis=1):
            writer.write(piece)
    return path


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("container", "bits"), PCM)
def test_every_depth_passes_through_bit_for_bit(tmp_path, container, bits, channels):
    samples = integers(bits, channels, 1001)
    fmt = FileFormat(container, "pcm", bits, channels, 48000)
    path = write(tmp_path / f"stem{fmt.extension}", fmt, samples)
    read, rate = soundfile.read(path, dtype="int32", always_2d=True)
    assert rate == 48000
    np.testing.assert_array_equal(read.T >> (32 - bits), samples)


@pytest.mark.parametrize(("container", "bits"), [c for c in PCM if c[1] != 8])
def test_ffmpeg_reads_the_same_integers(tmp_path, container, bits):
    samples = integers(bits, 2, 1001)
    fmt = FileFormat(container, "pcm", bits, 2, 44100)
    path = write(tmp_path / f"stem{fmt.extension}", fmt, samples)
    raw = np.frombuffer(ffmpeg("-i", path, "-f", "s32le", "-"), "<i4").reshape(-1, 2).T
    np.testing.assert_array_equal(raw >> (32 - bits), samples)


@pytest.mark.parametrize(("container", "bits"), PCM)
def test_sox_reads_the_same_integers(tmp_path, container, bits):
    samples = integers(bits, 2, 1001)
    fmt = FileFormat(container, "pcm", bits, 2, 44100)
    path = write(tmp_path / f"stem{fmt.extension}", fmt, samples)
    command = [tool("sox"), "-D", path, "-t", "raw", "-e", "signed", "-b", "32", "-"]
    done = subprocess.run(command, check=True, capture_output=True)
    raw = np.frombuffer(done.stdout, "<i4").reshape(-1, 2).T
    np.testing.assert_array_equal(raw >> (32 - bits), samples)


@pytest.mark.parametrize("container", ["wav", "aiff"])
@pytest.mark.parametrize("bits", [32, 64])
def test_floats_pass_through_above_full_scale(tmp_path, container, bits):
    samples = np.random.default_rng(0).normal(0, 4, (2, 999)).astype(f"f{bits // 8}")
    fmt = FileFormat(container, "float", bits, 2, 96000)
    path = write(tmp_path / f"stem{fmt.extension}", fmt, samples)
    np.testing.assert_array_equal(soundfile.read(path)[0].T, samples)
    raw = np.frombuffer(ffmpeg("-i", path, "-f", "f64le", "-"), "<f8").reshape(-1, 2).T
    np.testing.assert_array_equal(raw, samples)


def test_the_channel_mask_is_written(tmp_path):
    fmt = FileFormat("wav", "pcm", 24, 6, 48000, 0x60F)
    path = write(tmp_path / "stem.wav", fmt, integers(24, 6, 100))
    assert probe(path).channel_mask == 0x60F
    fields = ("-show_entries", "stream=channel_layout", "-of", "csv=p=0")
    layout = subprocess.run(
        [tool("ffprobe"), "-v", "error", *fields, path], capture_output=True, text=True, check=True
    )
    assert layout.stdout.strip() == "5.1(side)"


def test_long_files_become_rf64_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(wave_header, "LONGEST_RIFF_BYTES", 5000)
    samples = integers(24, 2, 1001)
    path = write(tmp_path / "stem.wav", FileFormat("wav", "pcm", 24, 2, 48000), samples)
    assert path.read_bytes()[:4] == b"RF64"
    assert probe(path).container == "rf64"
    np.testing.assert_array_equal(soundfile.read(path, dtype="int32")[0].T >> 8, samples)
    raw = np.frombuffer(ffmpeg("-i", path, "-f", "s32le", "-"), "<i4").reshape(-1, 2).T
    np.testing.assert_array_equal(raw >> 8, samples)


def w64_header(fmt, data_bytes):
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    form = struct.pack("<HHIIHH", 1, 2, fmt.sample_rate, fmt.sample_rate * 6, 6, 24)
    size = 40 + 40 + 24 + data_bytes
    riff = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000") + struct.pack("<Q", size)
    body = b"wave" + tail + b"fmt " + tail + struct.pack("<Q", 40) + form
    return riff + body + b"data" + tail + struct.pack("<Q", 24 + data_bytes)


def sparse(path, frames, container="rf64"):
    """A stereo 24-bit file that is silent except for its last frames."""
    fmt = FileFormat("wav", "pcm", 24, 2, 96000)
    size = frames * fmt.frame_bytes
    header = wav_header(fmt, (), size, 0) if container == "rf64" else w64_header(fmt, size)
    end = integers(24, 2, 1000)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + (frames - 1000) * fmt.frame_bytes)
        file.seek(0, 2)
        file.write(np.ascontiguousarray(end.T).view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    return end


FIVE_GIB_FRAMES = 5 * (1 << 30) // 6


@pytest.mark.parametrize("container", ["rf64", "w64"])
def test_the_end_of_five_gigabytes_is_read(tmp_path, container):
    end = sparse(tmp_path / "long.wav", FIVE_GIB_FRAMES, container)
    with MixReader(tmp_path / "long.wav") as mix:
        assert mix.info.container == container
        assert mix.info.frames == FIVE_GIB_FRAMES
        mix.seek(FIVE_GIB_FRAMES - 1000)
        np.testing.assert_array_equal(mix.read(2000).exact, end)


@pytest.mark.slow
def test_all_of_five_gigabytes_is_read_in_order(tmp_path):
    sparse(tmp_path / "long.wav", FIVE_GIB_FRAMES)
    frames = loud = 0
    with MixReader(tmp_path / "long.wav") as mix:
        while (block := mix.read(1 << 18)).frames:
            frames += block.frames
            loud += int(block.exact.any(axis=0).sum())
    assert (frames, loud) == (FIVE_GIB_FRAMES, 1000)


def test_a_sample_that_does_not_fit_is_never_clipped(tmp_path):
    fmt = FileFormat("wav", "pcm", 16, 1, 48000)
    with pytest.raises(StemwrightError) as caught:
        write(tmp_path / "stem.wav", fmt, np.array([[0.5, 1.0]]), pieces=1)
    assert caught.value.code == "stem-overflow"
    assert not (tmp_path / "stem.wav").exists()


def test_flac_refuses_what_it_cannot_hold(tmp_path):
    for fmt in (
        FileFormat("flac", "float", 32, 2, 48000),
        FileFormat("flac", "pcm", 32, 2, 48000),
    ):
        with pytest.raises(StemwrightError) as caught:
            StemWriter(tmp_path / "stem.flac", fmt)
        assert caught.value.code == "format-impossible"


def test_a_full_or_missing_disk_is_said_and_may_pass(tmp_path):
    fmt = FileFormat("wav", "pcm", 16, 2, 48000)
    with pytest.raises(StemwrightError) as caught:
        StemWriter(tmp_path / "missing" / "stem.wav", fmt)
    assert (caught.value.code, caught.value.transient) == ("write-failed", True)
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    full = tmp_path / "stem.wav"
    full.symlink_to("/dev/full")  # the writer removes the link, not the device
    with pytest.raises(StemwrightError) as caught:
        write(full, fmt, integers(16, 2, 500_000))
    assert (caught.value.code, caught.value.transient) == ("disk-full", True)
