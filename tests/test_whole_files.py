"""Is anything missing, is anything left over? Both questions for every container, both doors."""

import re
import shlex
import subprocess

import numpy as np
import pytest
import soundfile

from container_fixtures import (
    CHUNK_BEHIND,
    NO_AUDIO,
    OPEN_SIZES,
    PCM_CONTAINERS,
    audio_at,
    counting,
    left_open,
    verbatim_flac,
    whole,
)
from engine import why_not_whole
from engine.audio.containers import inspect
from engine.audio.mpeg import walk_mp3
from engine.audio.ogg import checksum
from engine.audio.reading import MixReader, probe, verify_mix
from fidelity_fixtures import ffmpeg, integers, quiet_integers, riff_chunk, tool, write_pcm
from hotfolder.readiness import why_unready
from presets import StemwrightError


def put(tmp_path, data, name="song.bin"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def read_all(path):
    with MixReader(path) as mix:
        return mix.read(1_000_000).exact


def refusal(path):
    """The engine's refusal; what may still be arriving waits in the hot folder as well."""
    with pytest.raises(StemwrightError) as caught:
        verify_mix(path)
    if caught.value.code in ("mix-left-over", "mix-truncated", "mix-unfinished"):
        trouble = why_unready(path)
        assert trouble is not None, "the hot folder would begin"
        assert trouble.lasting
        assert why_not_whole(path) == trouble.reason
    return caught.value


def advised(error, path, out):
    """Runs the command that a refusal advises, and gives the new file."""
    command = re.search(r"ffmpeg .*?(?:OUT|REST)(?:\.\w+)?(?=\s|$|\.)", str(error))[0]
    words = shlex.split(command)
    words[-1] = str(out.with_suffix("." + words[-1].split(".")[1]) if "." in words[-1] else out)
    words = [str(path) if word == "IN" else word for word in words]
    words[0] = tool("ffmpeg")
    subprocess.run([words[0], "-nostdin", "-v", "error", "-y", *words[1:]], check=True)
    return type(path)(words[-1])


@pytest.mark.parametrize("container", PCM_CONTAINERS)
def test_audio_that_the_header_does_not_count_is_never_dropped(tmp_path, container):
    data, samples = whole(container)
    path = put(tmp_path, counting(container, data, 1600))
    error = refusal(path)
    assert error.code == "mix-left-over"
    assert re.search(r"9600 bytes of audio \(0\.033 s\), 28806 \(0\.100 s\) are there", str(error))
    np.testing.assert_array_equal(read_all(advised(error, path, tmp_path / "all")), samples)


@pytest.mark.parametrize("kind", OPEN_SIZES)
def test_what_a_recorder_left_open_is_refused_and_can_be_rescued(tmp_path, kind):
    container = OPEN_SIZES[kind][0]
    data, samples = whole(container)
    path = put(tmp_path, left_open(kind, data))
    error = refusal(path)
    assert error.code == "mix-unfinished"
    np.testing.assert_array_equal(read_all(advised(error, path, tmp_path / "all")), samples)


@pytest.mark.parametrize("container", [*PCM_CONTAINERS, "FLAC", "OGG", "MP3"])
def test_tags_and_padding_behind_the_audio_are_fine(tmp_path, container):
    if container in ("OGG", "MP3"):
        soundfile.write(tmp_path / "plain", quiet_integers(24).T / 2**23, 48000, format=container)
        data = (tmp_path / "plain").read_bytes()
    else:
        data, _ = whole(container)
    plain = read_all(put(tmp_path, data, "plain"))
    for name, tail in NO_AUDIO.items():
        path = put(tmp_path, data + tail, name)
        assert why_unready(path) is None, name
        assert inspect(path).frames in (None, plain.shape[1]), name
    for name in ("APE and ID3v1", "zeros"):
        np.testing.assert_array_equal(read_all(tmp_path / name), plain)


@pytest.mark.parametrize("container", PCM_CONTAINERS)
def test_a_long_silence_behind_the_count_may_have_been_recorded(tmp_path, container):
    data, _ = whole(container)
    assert refusal(put(tmp_path, data + bytes(100_000))).code == "mix-left-over"


def test_chunks_that_a_writer_forgot_to_count_are_welcome(tmp_path):
    data, samples = whole("WAV")
    path = put(tmp_path, data + CHUNK_BEHIND)
    np.testing.assert_array_equal(read_all(path), samples)
    assert why_unready(path) is None


@pytest.mark.parametrize("container", [*PCM_CONTAINERS, "FLAC"])
def test_two_files_joined_end_to_end_are_refused_and_can_be_parted(tmp_path, container):
    first, _ = whole(container, 1000)
    second, samples = whole(container, 1000, seed=1)
    path = put(tmp_path, first + second)
    error = refusal(path)
    assert error.code == "mix-left-over"
    assert f"begins at byte {len(first)}" in str(error)
    name = {"FLAC": "rest.flac", "RF64": "rest.wav"}.get(container, f"rest.{container.lower()}")
    np.testing.assert_array_equal(read_all(advised(error, path, tmp_path / name)), samples)


@pytest.mark.parametrize("container", ["WAV", "AIFF"])
def test_a_second_chunk_of_audio_is_not_dropped(tmp_path, container):
    data, _ = whole(container, 1000)
    chunk = data[data.index(b"SSND" if container == "AIFF" else b"data") :]
    out = bytearray(data + chunk)
    order = "big" if container == "AIFF" else "little"
    out[4:8] = (len(out) - 8).to_bytes(4, order)
    error = refusal(put(tmp_path, bytes(out)))
    assert error.code == "mix-left-over"
    assert "in its first of 2" in str(error)


@pytest.mark.parametrize(("offset", "block"), [(4, 0), (496, 512), (512, 512), (7, 0)])
def test_aiff_with_its_samples_further_back_is_read(tmp_path, offset, block):
    data, samples = whole("AIFF")
    at = data.index(b"SSND")
    audio = data[at + 16 :]
    padding = -(len(audio) + offset) % block if block else 0
    size = 8 + offset + len(audio) + padding
    sound = (
        b"SSND" + size.to_bytes(4, "big") + offset.to_bytes(4, "big") + block.to_bytes(4, "big")
    )
    out = bytearray(data[:at] + sound + bytes(offset) + audio + bytes(padding))
    out += bytes(len(out) % 2)
    out[4:8] = (len(out) - 8).to_bytes(4, "big")
    path = put(tmp_path, bytes(out))
    np.testing.assert_array_equal(read_all(path), samples)
    assert why_unready(path) is None


# FLAC


@pytest.mark.parametrize("change", [-1024, 1024, -1, 1])
def test_a_flac_header_without_md5_that_miscounts_is_seen(tmp_path, change):
    samples = integers(16, 2, 5000)
    path = put(tmp_path, verbatim_flac(samples, 16, counted=5000 + change))
    error = refusal(path)
    assert error.code == ("mix-left-over" if change < 0 else "mix-truncated")
    assert f"{5000 + change} frames" in str(error)
    assert "5000 (0.104 s) are there" in str(error)
    if change < 0:
        new = read_all(advised(error, path, tmp_path / "all"))
        np.testing.assert_array_equal(new, samples)


def test_flac_without_md5_is_read(tmp_path):
    samples = integers(16, 2, 5000)
    np.testing.assert_array_equal(read_all(put(tmp_path, verbatim_flac(samples, 16))), samples)


def test_flac_behind_an_id3_tag_is_read_to_its_end(tmp_path):
    data, samples = whole("FLAC")
    path = put(tmp_path, NO_AUDIO["ID3v2"] + data + NO_AUDIO["APE and ID3v1"])
    np.testing.assert_array_equal(read_all(path), samples)


@pytest.mark.parametrize("cut", [1, 2, 100, 3000])
def test_flac_cut_in_its_last_frame_is_seen_without_decoding(tmp_path, cut):
    path = put(tmp_path, verbatim_flac(integers(16, 2, 5000), 16)[:-cut])
    assert why_unready(path).code == "incomplete"
    assert refusal(path).code in ("mix-truncated", "mix-left-over")


@pytest.mark.parametrize("bits", [12, 20, 32])
def test_flac_of_a_depth_that_no_decoder_here_knows_is_refused_by_name(tmp_path, bits):
    path = put(tmp_path, verbatim_flac(integers(min(bits, 24), 2, 300), bits))
    error = refusal(path)
    assert error.code == "mix-format-unsupported"
    assert f"FLAC of {bits} bits" in str(error)
    if bits < 32:  # no ffmpeg before version 6 decodes those
        assert read_all(advised(error, path, tmp_path / "out")).shape == (2, 300)


def test_a_piped_flac_is_told_to_decode(tmp_path):
    data, samples = whole("FLAC")
    write_pcm(tmp_path / "mix.flac", samples, 24, container="FLAC")
    piped = bytearray(data)
    piped[21] &= 0xF0
    piped[22:26] = bytes(4)
    path = put(tmp_path, bytes(piped))
    error = refusal(path)
    assert error.code == "mix-unfinished"
    np.testing.assert_array_equal(read_all(advised(error, path, tmp_path / "all")), samples)


# MPEG


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Two songs in several encodings, as bytes, by (length in frames, kind)."""
    folder = tmp_path_factory.mktemp("songs")
    made = {}
    for frames in (12000, 20000):
        tone = 0.3 * np.sin(np.arange(frames) / 9)
        soundfile.write(folder / "tone.wav", np.stack([tone, tone / 2], axis=1), 48000)
        for kind, options in {
            "info": ("-b:a", "128k"),
            "xing": ("-q:a", "4"),
            "bare": ("-b:a", "128k", "-write_xing", "0"),
        }.items():
            out = folder / "song.mp3"
            ffmpeg("-i", folder / "tone.wav", *options, "-id3v2_version", "0", out)
            made[frames, kind] = out.read_bytes()
        ffmpeg("-i", folder / "tone.wav", "-b:a", "192k", folder / "song.mp2")
        made[frames, "layer two"] = (folder / "song.mp2").read_bytes()
    return made


@pytest.mark.parametrize("kind", ["info", "xing"])
def test_joined_mp3s_are_taken_whole(tmp_path, songs, kind):
    path = put(tmp_path, songs[12000, kind] + songs[20000, kind])
    joined = read_all(path)
    parts = [read_all(put(tmp_path, songs[frames, kind], "one")) for frames in (12000, 20000)]
    np.testing.assert_array_equal(joined, np.concatenate(parts, axis=1))
    assert joined.shape[1] == 32000
    assert why_unready(path) is None
    with MixReader(path) as mix:  # and from the middle of the second
        mix.seek(15000)
        np.testing.assert_array_equal(mix.read(20000).exact, joined[:, 15000:])


@pytest.mark.parametrize("between", NO_AUDIO)
def test_mp3_frames_behind_a_tag_in_the_middle_are_audio(tmp_path, songs, between):
    parts = (songs[12000, "info"], NO_AUDIO[between], songs[20000, "info"], NO_AUDIO[between])
    path = put(tmp_path, b"".join(parts))
    counts = [stream.frames for stream in walk_mp3(path)]
    alone = [walk_mp3(put(tmp_path, parts[n], "one"))[0].frames for n in (0, 2)]
    assert counts == alone
    assert why_unready(path) is None
    if between in ("ID3v1", "APE"):
        assert read_all(path).shape[1] == 32000


@pytest.mark.parametrize("between", ["nothing", "ID3v2", "APE without a header"])
def test_frames_behind_those_that_a_header_counts_are_audio(tmp_path, songs, between):
    data = songs[12000, "info"] + NO_AUDIO.get(between, b"") + songs[20000, "bare"]
    path = put(tmp_path, data)
    frames = sum(stream.frames for stream in walk_mp3(path))
    got = read_all(path).shape[1]
    assert got == frames * 1152 - 1105  # the encoder's delay alone
    assert got > 32000


@pytest.mark.parametrize("counted", [0, 9])
def test_a_length_frame_that_counts_too_few_shortens_nothing(tmp_path, songs, counted):
    data = bytearray(songs[20000, "info"])
    at = data.index(b"Info")
    true_count = int.from_bytes(data[at + 8 : at + 12], "big")
    data[at + 8 : at + 12] = counted.to_bytes(4, "big")
    got = read_all(put(tmp_path, bytes(data)))
    whole_song = read_all(put(tmp_path, songs[20000, "info"], "whole"))
    assert got.shape[1] == true_count * 1152 - 1105
    np.testing.assert_array_equal(got[:, :20000], whole_song)


def vbri(song, counted):
    """A bare song with a VBRI frame that counts so many frames."""
    frame = bytearray(song[:4] + bytes(380))
    frame[36:62] = (
        b"VBRI" + bytes(6) + len(song).to_bytes(4, "big") + counted.to_bytes(4, "big") + bytes(8)
    )
    return bytes(frame) + song


@pytest.mark.parametrize("counted", [4, 12])
def test_a_vbri_frame_shortens_nothing(tmp_path, songs, counted):
    bare = read_all(put(tmp_path, songs[12000, "bare"], "bare"))
    np.testing.assert_array_equal(
        read_all(put(tmp_path, vbri(songs[12000, "bare"], counted))), bare
    )


def test_a_vbri_frame_that_counts_more_than_there_are_is_refused(tmp_path, songs):
    assert refusal(put(tmp_path, vbri(songs[12000, "bare"], 99))).code == "mix-truncated"


def test_joined_mp3s_of_two_layouts_are_refused_by_name(tmp_path, songs):
    tone = 0.3 * np.sin(np.arange(20000) / 9)
    soundfile.write(tmp_path / "other.mp3", tone, 44100)
    path = put(tmp_path, songs[12000, "info"] + (tmp_path / "other.mp3").read_bytes())
    error = refusal(path)
    assert error.code == "mix-format-unsupported"
    assert "44100 Hz mono" in str(error)
    assert probe(advised(error, path, tmp_path / "out")).frames > 20000


def test_free_format_is_read_to_its_end(tmp_path, songs):
    data = bytearray(songs[20000, "bare"])
    for at in range(0, len(data), 384):
        data[at + 2] &= 0x0F  # 128 kbit/s at 48 kHz: every frame has 384 bytes
    path = put(tmp_path, bytes(data) + NO_AUDIO["ID3v1"])
    assert read_all(path).shape[1] == len(data) // 384 * 1152
    assert why_unready(path) is None
    assert refusal(put(tmp_path, bytes(data[:-100]))).code == "mix-truncated"


def test_layer_two_keeps_its_length(tmp_path, songs):
    both = songs[12000, "layer two"] + songs[20000, "layer two"]
    one = read_all(put(tmp_path, songs[12000, "layer two"], "one"))
    assert one.shape[1] == len(songs[12000, "layer two"]) // 576 * 1152
    got = read_all(put(tmp_path, both))
    assert got.shape[1] == len(both) // 576 * 1152
    np.testing.assert_array_equal(got[:, :12000], one[:, :12000])


@pytest.mark.parametrize("kind", ["info", "bare"])
def test_mp3_in_a_wav_file_is_read_to_its_end(tmp_path, songs, kind):
    alone = read_all(put(tmp_path, songs[20000, kind], "alone"))
    form = (0x55).to_bytes(2, "little") + (2).to_bytes(2, "little")
    form += (48000).to_bytes(4, "little") + (16000).to_bytes(4, "little")
    form += (1).to_bytes(2, "little") + bytes(2) + (12).to_bytes(2, "little") + bytes(12)
    body = riff_chunk(b"fmt ", form) + riff_chunk(b"fact", bytes(4))
    body += riff_chunk(b"data", songs[20000, kind])
    path = put(tmp_path, b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WAVE" + body)
    np.testing.assert_array_equal(read_all(path), alone)
    assert why_unready(path) is None


def test_junk_in_an_mp3_that_hides_frames_is_refused_however_long_it_is(tmp_path, songs):
    junk = b"\x55" * 200_000
    path = put(tmp_path, songs[12000, "info"] + junk + songs[12000, "info"])
    assert refusal(path).code == "mix-damaged"
    path = put(tmp_path, songs[12000, "info"] + junk)
    error = refusal(path)
    assert error.code == "mix-left-over"
    assert read_all(advised(error, path, tmp_path / "out")).shape[1] >= 12000


# Ogg


def ogg(tmp_path, frames, subtype="VORBIS", rate=48000, channels=2):
    tone = 0.3 * np.sin(np.arange(frames)[:, None] / 9) * np.ones((1, channels))
    path = tmp_path / "one.ogg"
    soundfile.write(path, tone, rate, format="OGG", subtype=subtype)
    return path.read_bytes()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg_of_one_layout_is_taken_whole(tmp_path, subtype):
    first, second = ogg(tmp_path, 12000, subtype), ogg(tmp_path, 20000, subtype)
    parts = [read_all(put(tmp_path, data, "part")) for data in (first, second)]
    path = put(tmp_path, first + second)
    np.testing.assert_array_equal(read_all(path), np.concatenate(parts, axis=1))
    assert why_unready(path) is None


@pytest.mark.parametrize("other", [{"rate": 44100}, {"channels": 1}, {"subtype": "OPUS"}])
def test_chained_ogg_of_two_layouts_is_refused_by_name(tmp_path, other):
    first, second = ogg(tmp_path, 12000), ogg(tmp_path, 20000, **other)
    path = put(tmp_path, first + second)
    error = refusal(path)
    assert error.code == "mix-format-unsupported"
    assert f"from byte {len(first)} on" in str(error)
    assert probe(advised(error, path, tmp_path / "rest")).frames > 16000


def test_an_ogg_without_a_last_page_can_be_closed(tmp_path):
    data = ogg(tmp_path, 200_000)
    path = put(tmp_path, data[: data.rindex(b"OggS")])
    error = refusal(path)
    assert error.code == "mix-truncated"
    assert "no last page" in str(error)
    assert probe(advised(error, path, tmp_path / "closed")).frames > 10_000


def test_bytes_behind_the_last_ogg_page_are_not_called_missing(tmp_path):
    data = ogg(tmp_path, 20000)
    path = put(tmp_path, data + b"junk" * 9)
    error = refusal(path)
    assert error.code == "mix-left-over"
    assert f"counts {len(data)} bytes in Ogg pages, {len(data) + 36} are there" in str(error)
    assert probe(advised(error, path, tmp_path / "kept")).frames == 20000


def test_a_missing_or_damaged_ogg_page_is_seen(tmp_path):
    data = ogg(tmp_path, 400_000)
    pages = [at.start() for at in re.finditer(b"OggS", data)]
    assert len(pages) > 5
    assert refusal(put(tmp_path, data[: pages[3]] + data[pages[4] :])).code == "mix-damaged"
    damaged = bytearray(data)
    damaged[pages[4] + 200] ^= 1
    assert refusal(put(tmp_path, bytes(damaged))).code == "mix-damaged"


def test_the_checksum_is_that_of_the_format(tmp_path):
    data = bytearray(ogg(tmp_path, 1000))
    page = data[: data.index(b"OggS", 4)]
    stated = int.from_bytes(page[22:26], "little")
    page[22:26] = bytes(4)
    assert checksum(bytes(page)) == stated


def test_flac_in_ogg_is_refused_by_name_and_can_be_converted(tmp_path):
    data, samples = whole("FLAC")
    flac = put(tmp_path, data, "mix.flac")
    ffmpeg("-i", flac, "-c:a", "copy", "-f", "ogg", tmp_path / "mix.oga")
    error = refusal(tmp_path / "mix.oga")
    assert error.code == "mix-format-unsupported"
    assert "Ogg FLAC" in str(error)
    new = advised(error, tmp_path / "mix.oga", tmp_path / "out")
    np.testing.assert_array_equal(read_all(new), samples)


# By name


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"wvpk", "WavPack"), (b"\x1a\x45\xdf\xa3", "Matroska"), (b"\0\0\0\x20ftypM4A ", "MP4")],
)
def test_foreign_files_are_refused_by_name(tmp_path, head, name):
    assert name in str(refusal(put(tmp_path, head + bytes(range(100)))))


def test_an_m4a_can_be_converted_as_advised_without_losing_depth(tmp_path):
    _, samples = whole("WAV")
    write_pcm(tmp_path / "mix.wav", samples, 24)
    ffmpeg("-i", tmp_path / "mix.wav", "-c:a", "alac", tmp_path / "mix.m4a")
    error = refusal(tmp_path / "mix.m4a")
    new = advised(error, tmp_path / "mix.m4a", tmp_path / "out")
    np.testing.assert_array_equal(read_all(new), samples)


def test_every_container_says_where_its_audio_begins(tmp_path):
    """The fixtures' own arithmetic, which the rescues above stand on."""
    for container in PCM_CONTAINERS:
        data, samples = whole(container)
        at = audio_at(container, data)
        order = "big" if container in ("AIFF", "CAF", "AU") else "little"
        first = int.from_bytes(data[at : at + 3], order, signed=True)
        assert first == samples[0, 0], container
