"""Reading mixes: the exact samples of every format, and nothing but all of them."""

import hashlib
import struct

import numpy as np
import pytest
import soundfile

from engine.audio.layout import channel_groups, layout_notes, loudness_weights
from engine.audio.reading import MixReader, probe, verify_mix
from engine.audio.wave_header import FileFormat, wav_header
from engine.audio.written_reader import WrittenReader
from fidelity_fixtures import BITS, ffmpeg, integers, riff_chunk, riff_wav, write_pcm
from presets import StemwrightError

PCM_FILES = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_24"),
    ("W64", "PCM_24"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_S8"),
    ("AIFF", "PCM_16"),
    ("AIFF", "PCM_24"),
    ("AIFF", "PCM_32"),
    ("FLAC", "PCM_S8"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("CAF", "PCM_24"),
    ("AU", "PCM_24"),
]


@pytest.mark.parametrize(("container", "subtype"), PCM_FILES)
def test_integers_come_out_as_they_went_in(tmp_path, container, subtype):
    bits = BITS[subtype]
    samples = integers(bits)
    path = write_pcm(tmp_path / "mix.bin", samples, bits, container=container, subtype=subtype)
    with MixReader(path) as mix:
        assert (mix.info.encoding, mix.info.bits, mix.info.frames) == ("pcm", bits, 4801)
        pieces = []
        while (block := mix.read(1000)).frames:
            pieces.append(block.exact)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), samples)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "W64", "CAF"])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_come_out_as_they_went_in(tmp_path, container, subtype):
    samples = np.random.default_rng(0).normal(0, 3, (2, 999))
    samples = samples.astype(np.float32 if subtype == "FLOAT" else np.float64)
    soundfile.write(tmp_path / "mix", samples.T, 96000, format=container, subtype=subtype)
    with MixReader(tmp_path / "mix") as mix:
        assert mix.info.encoding == "float"
        np.testing.assert_array_equal(mix.read(2000).exact, samples)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 88200, 192000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels_are_read_as_they_are(tmp_path, rate, channels):
    path = write_pcm(tmp_path / "mix.wav", integers(16, channels, 50), 16, rate)
    info = probe(path)
    assert (info.sample_rate, info.channels, info.frames) == (rate, channels, 50)


def test_one_sample_is_a_mix(tmp_path):
    path = write_pcm(tmp_path / "mix.wav", integers(24, 1, 1), 24)
    facts = verify_mix(path)
    assert facts.info.frames == 1
    assert facts.loudness.integrated_lufs == -np.inf


@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_24"), ("OGG", "VORBIS")])
def test_reading_goes_on_at_any_frame(tmp_path, container, subtype):
    samples = np.random.default_rng(0).normal(0, 0.1, (60000, 2))
    soundfile.write(tmp_path / "mix", samples, 44100, format=container, subtype=subtype)
    with MixReader(tmp_path / "mix") as mix:
        whole = mix.read(70000).exact
        mix.seek(33333)
        np.testing.assert_array_equal(mix.read(10000).exact, whole[:, 33333:43333])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS", "MPEG_LAYER_III"])
def test_lossy_mixes_keep_their_length(tmp_path, subtype):
    container = "MP3" if subtype == "MPEG_LAYER_III" else "OGG"
    samples = np.random.default_rng(0).normal(0, 0.1, (50001, 2))
    soundfile.write(tmp_path / "mix", samples, 48000, format=container, subtype=subtype)
    info = verify_mix(tmp_path / "mix").info
    assert (info.frames, info.encoding, info.bits) == (50001, "lossy", 24)


@pytest.mark.parametrize("rate_control", [("-b:a", "128k"), ("-q:a", "4")])
def test_mp3_without_a_length_header_is_read_to_its_end(tmp_path, rate_control):
    tone = 0.3 * np.sin(np.arange(200000) / 10)
    tone[-20000:] *= 0.1
    soundfile.write(tmp_path / "tone.wav", tone, 44100)
    path = tmp_path / "mix.mp3"
    ffmpeg("-i", tmp_path / "tone.wav", *rate_control, "-write_xing", "0", path)
    with MixReader(path) as mix:
        audio = mix.read(300000).audio
    assert audio.shape[1] == mix.info.frames >= 200000
    assert np.abs(audio[0, 190000:199000]).max() == pytest.approx(0.03, rel=0.2)


def test_content_decides_not_the_extension(tmp_path):
    soundfile.write(tmp_path / "mix.wav", np.zeros((4000, 1)), 44100, format="FLAC")
    assert probe(tmp_path / "mix.wav").container == "flac"


def test_a_forgotten_pad_byte_behind_the_audio_is_forgiven(tmp_path):
    odd = b"abcd\x03\0\0\0xyz"  # three bytes of payload and no fourth
    after = odd + riff_chunk(b"efgh", b"1234")
    (tmp_path / "mix.wav").write_bytes(riff_wav(integers(16, 2, 100), 16, after=after))
    assert verify_mix(tmp_path / "mix.wav").info.frames == 100


def as_rf64(riff, name=b"RF64"):
    """A hand-made RF64 file from the bytes of a WAV file."""
    data = riff.index(b"data")
    size = struct.unpack_from("<I", riff, data + 4)[0]
    ds64 = riff_chunk(b"ds64", struct.pack("<QQQI", len(riff) + 28, size, 0, 0))
    body = riff[12:data] + b"data\xff\xff\xff\xff" + riff[data + 8 :]
    return name + b"\xff\xff\xff\xffWAVE" + ds64 + body


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
def test_long_formats_are_read_whatever_chunks_surround_the_audio(tmp_path, name):
    samples = integers(24, 2, 1001)
    odd = riff_chunk(b"iXML", b"<a/>!")
    (tmp_path / "mix.wav").write_bytes(as_rf64(riff_wav(samples, 24, before=odd, after=odd), name))
    with MixReader(tmp_path / "mix.wav") as mix:
        assert mix.info.container == "rf64"
        np.testing.assert_array_equal(mix.read(400).exact, samples[:, :400])
        mix.seek(900)
        np.testing.assert_array_equal(mix.read(400).exact, samples[:, 900:])


def test_digest_and_loudness_are_those_of_the_whole_file(tmp_path):
    path = write_pcm(tmp_path / "mix.flac", integers(24, 2, 100_000), 24, container="FLAC")
    facts = verify_mix(path)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts.loudness.sample_peak_dbfs == 0


def test_flac_with_other_samples_than_its_md5_is_refused(tmp_path):
    path = write_pcm(tmp_path / "mix.flac", integers(16), 16, container="FLAC")
    damaged = bytearray(path.read_bytes())
    damaged[26] ^= 1  # the first byte of the MD5 in STREAMINFO
    path.write_bytes(damaged)
    with pytest.raises(StemwrightError, match="MD5") as caught:
        verify_mix(path)
    assert caught.value.code == "mix-damaged"


def test_names_of_any_kind_are_read(tmp_path):
    for name in ("naïve – 東京.wav", "-rf.wav", "a\nb.wav", "%s {0}.wav"):
        assert probe(write_pcm(tmp_path / name, integers(16, 1, 10), 16)).frames == 10


def test_channels_are_separated_in_pairs_and_the_lfe_is_not():
    groups = channel_groups(6)
    assert groups.groups == ((0, 1), (4, 5), (2,))
    assert groups.residual_only == (3,)
    assert channel_groups(1).groups == ((0,),)
    assert channel_groups(2, 0x3).groups == ((0, 1),)
    assert channel_groups(7).residual_only == tuple(range(7))  # no usage names seven
    assert channel_groups(4, 0x600 | 0x3).groups == ((0, 1), (2, 3))


ALL_SPEAKERS = 0x80000000


@pytest.mark.parametrize(
    ("channels", "mask", "used", "groups"),
    [
        (1, 0x4, 0x4, ((0,),)),
        (1, 0x1, 0x1, ((0,),)),  # the left one of two mono files
        (1, 0x20, 0x20, ((0,),)),
        (1, 0x8, None, ((0,),)),  # nothing but an LFE: there would be nothing to separate
        (1, 0x3, None, ((0,),)),
        (2, 0x3, 0x3, ((0, 1),)),
        (2, 0x30, 0x30, ((0, 1),)),
        (2, 0x4, None, ((0, 1),)),
        (2, 0x5, 0x5, ((1,), (0,))),  # left and centre, each alone
        (2, 0xC, 0xC, ((0,),)),  # centre and LFE
        (2, ALL_SPEAKERS, None, ((0, 1),)),
        (2, 0xFFFFFFFF, None, ((0, 1),)),
        (2, 0xC0000, None, ((0, 1),)),  # two bits, of no known loudspeaker
        (6, 0x3, None, ((0, 1), (4, 5), (2,))),
        (6, 0x60F, 0x60F, ((0, 1), (4, 5), (2,))),
    ],
)
@pytest.mark.parametrize("container", ["wav", "rf64"])
def test_a_mask_that_does_not_fit_is_told_and_not_followed(
    tmp_path, container, channels, mask, used, groups
):
    fmt = FileFormat("wav", "pcm", 24, channels, 48000, mask)
    data = wav_header(fmt, (), 30 * channels, 0) + bytes(30 * channels)
    if container == "rf64":
        data = as_rf64(data)
    (tmp_path / "mix.wav").write_bytes(data)
    info = probe(tmp_path / "mix.wav")
    assert info.channel_mask == used
    assert channel_groups(channels, info.channel_mask).groups == groups
    assert [f"0x{mask:X}" in note for note in info.notes] == ([] if used else [True])


def test_channels_without_a_name_are_told():
    assert layout_notes(2, None) == layout_notes(6, 0x3F) == ()
    assert "taken as FL FR" in layout_notes(2, 0x4)[0]
    assert layout_notes(7, 0x3) == ("its channel mask 0x3 does not fit its 7 channels, taken as "
                                    "? ? ? ? ? ? ?",)  # fmt: skip


def test_loudspeakers_beside_the_listener_weigh_more():
    assert loudness_weights(6) == (1, 1, 1, 0, 1.41, 1.41)
    assert loudness_weights(8) == (1, 1, 1, 0, 1, 1, 1.41, 1.41)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_24"),
        ("W64", "PCM_24"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_own_files_are_read_in_this_process_as_any_other(tmp_path, container, subtype, channels):
    path = tmp_path / "own.snd"
    noise = np.random.default_rng(3).uniform(-0.5, 0.5, (70_000, channels))
    soundfile.write(path, noise, 44_100, subtype=subtype, format=container)
    with WrittenReader(path) as own, MixReader(path) as foreign:
        assert own.info == foreign.info
        frames = []
        while True:
            ours, theirs = own.read(30_000), foreign.read(30_000)
            assert ours.exact.dtype == theirs.exact.dtype
            np.testing.assert_array_equal(ours.exact, theirs.exact)
            frames.append(ours.frames)
            if not ours.frames:
                break
    assert frames == [30_000, 30_000, 10_000, 0]
