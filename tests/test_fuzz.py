"""Mutated audio files: never a crash, a hang, or audio that silently became shorter."""

import random
import time

import numpy as np
import pytest
import soundfile

from engine.audio.metadata import metadata_for, naming_fields
from engine.audio.mpeg import walk_mp3
from engine.audio.reading import verify_mix
from engine.audio.tags import read_tags
from engine.audio.wave_header import FileFormat
from fidelity_fixtures import integers, riff_chunk, riff_wav, write_pcm
from presets import StemwrightError

FRAMES = 3000
LONGEST_S = 20.0
FAST_CASES, SLOW_CASES = 160, 3000
CONTAINERS = ("riff", "RF64", "W64", "AIFF", "FLAC", "CAF", "AU", "OGG", "MP3")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    samples = integers(16, 2, FRAMES)
    chunks = riff_chunk(b"LIST", b"INFO" + riff_chunk(b"INAM", b"a name\0"))
    chunks += riff_chunk(b"bext", bytes(602))
    files = {"riff": riff_wav(samples, 16, before=chunks, after=chunks)}
    for container in CONTAINERS[1:7]:
        path = write_pcm(folder / container, samples, 16, container=container)
        files[container] = path.read_bytes()
    tone = 0.3 * np.random.default_rng(0).normal(0, 0.3, (FRAMES, 2))
    for container in ("OGG", "MP3"):
        soundfile.write(folder / container, tone, 48000, format=container)
        files[container] = (folder / container).read_bytes()
    return files


def mutate(data, rng):
    """One to four changes: mostly in the header, where sizes and counts are."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        reach = min(len(out), 200) if rng.random() < 0.7 else len(out)
        at = rng.randrange(max(1, reach))
        kind = rng.random()
        if kind < 0.4:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif kind < 0.6:
            value = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)))
            out[at : at + 4] = value.to_bytes(4, rng.choice(("little", "big")))
        elif kind < 0.75:
            del out[rng.randrange(len(out)) :]
        elif kind < 0.9:
            del out[at : at + rng.randrange(1, 64)]
        else:
            out[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 64)))
        if not out:
            break
    return bytes(out)


def try_case(path, container, data, seed):
    """Verify the file and read its tags; only a StemwrightError may come out."""
    path.write_bytes(data)
    start = time.monotonic()
    frames = None
    try:
        info = verify_mix(path).info
        frames = info.frames
        if container == "MP3":  # a mutated LAME tag may state more encoder delay to trim
            counted = sum(stream.frames for stream in walk_mp3(path))
            assert counted * 1152 >= FRAMES, (container, seed)
        elif container == "OGG":
            assert frames >= FRAMES, (container, seed)
        else:  # other numbers of channels or bits may be stated, but no byte goes missing
            assert frames * info.channels * info.bits // 8 >= FRAMES * 4, (container, seed)
        naming_fields(path, read_tags(path))
        for container in ("flac", "wav"):
            fmt = FileFormat(container, "pcm", 16, 2, 48000)
            metadata_for(path, read_tags(path), fmt).with_history("T=test")
    except StemwrightError as error:
        assert error.code, (container, seed)
        assert len(str(error)) < 600, (container, seed)
    assert time.monotonic() - start < LONGEST_S, (container, seed)
    return frames


def run_cases(seeds, tmp_path, numbers):
    accepted = 0
    for number in numbers:
        container = CONTAINERS[number % len(CONTAINERS)]
        rng = random.Random(number)
        data = mutate(seeds[container], rng)
        accepted += try_case(tmp_path / "case", container, data, number) is not None
    return accepted


def test_mutated_files_are_refused_or_read(seeds, tmp_path):
    accepted = run_cases(seeds, tmp_path, range(FAST_CASES))
    assert 0 < accepted < FAST_CASES


@pytest.mark.slow
def test_thousands_of_mutated_files_are_refused_or_read(seeds, tmp_path):
    accepted = run_cases(seeds, tmp_path, range(FAST_CASES, FAST_CASES + SLOW_CASES))
    assert 0 < accepted < SLOW_CASES


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_cut_anywhere_is_never_shorter_audio(seeds, tmp_path, container):
    rng = random.Random(0)
    whole = seeds[container]
    reference = try_case(tmp_path / "case", container, whole, "whole")
    assert reference is not None
    for at in sorted(rng.randrange(1, len(whole)) for _ in range(6)):
        frames = try_case(tmp_path / "case", container, whole[:at], at)
        assert frames in (None, reference), (container, at)
