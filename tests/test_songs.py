"""Songs with their stems: read from folders, drawn, dealt out."""

import numpy as np
import pytest
import soundfile

from export.data.songs import MultitrackSong, Prefetched, Remix, Songs, read_songs
from presets import StemwrightError
from rival_fixtures import STEMS, tones, toy_songs, write_songs


def rng(seed=0):
    return np.random.default_rng(seed)


def test_stems_are_read_as_they_were_written(tmp_path):
    songs = read_songs([write_songs(tmp_path, 2)], STEMS, 8000)
    assert [song.name for song in songs.songs] == ["song 0", "song 1"]
    song = songs.songs[1]
    assert np.abs(song.audio[:, 0] * song.scale - tones(1, 8000, 2.0)).max() < 1e-4


def test_what_has_no_stem_of_its_own_is_part_of_other(tmp_path):
    folder = write_songs(tmp_path, 1) / "song 0"
    before = read_songs([tmp_path], STEMS, 8000).songs[0]
    soundfile.write(folder / "piano.wav", np.full(100, 0.25, np.float32), 8000, subtype="FLOAT")
    soundfile.write(folder / "mixture.wav", np.full(100, 0.9, np.float32), 8000, subtype="FLOAT")
    after = read_songs([tmp_path], STEMS, 8000).songs[0]
    gained = after.audio[3, 0] * after.scale - before.audio[3, 0] * before.scale
    assert np.abs(gained[:100] - 0.25).max() < 1e-4
    assert np.abs(gained[100:]).max() < 1e-4


def test_a_stem_without_a_place_is_refused_by_name(tmp_path):
    write_songs(tmp_path, 1)
    with pytest.raises(StemwrightError, match="drums is none of the stems vocals, bass"):
        read_songs([tmp_path], ("vocals", "bass"), 8000)


@pytest.mark.parametrize("content", [b"", b"RIFF nothing"])
def test_a_file_that_is_no_audio_is_named(tmp_path, content):
    (write_songs(tmp_path, 1) / "song 0" / "bass.wav").write_bytes(content)
    with pytest.raises(StemwrightError, match=r"bass\.wav"):
        read_songs([tmp_path], STEMS, 8000)


def test_nothing_to_read_says_what_is_expected(tmp_path):
    with pytest.raises(StemwrightError, match="FOLDER/<song>/<stem>"):
        read_songs([tmp_path], STEMS, 8000)


def test_held_out_songs_are_not_trained_on():
    songs = toy_songs(10)
    train, valid = songs.split(0.2)
    names = [{song.name for song in part.songs} for part in (train, valid)]
    assert names[0] | names[1] == {song.name for song in songs.songs}
    assert not names[0] & names[1]
    assert len(names[1]) == 2


def test_parts_have_no_song_in_common():
    parts = toy_songs(9).parted(4)
    names = [song.name for part in parts for song in part.songs]
    assert len(names) == len(set(names)) == 9
    with pytest.raises(StemwrightError, match="at least 10"):
        toy_songs(9).parted(10)


def test_the_same_seed_draws_the_same():
    songs, remix = toy_songs(), Remix((0.5, 1.0), flip=True, group=2, semitones=3.0)
    first, second = (songs.sample(rng(7), 4, 900, remix) for _ in range(2))
    assert first.shape == (4, 4, 1, 900)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, songs.sample(rng(8), 4, 900, remix))


def test_without_a_remix_excerpts_are_parts_of_their_songs():
    songs = toy_songs(1)
    (row,) = songs.sample(rng(), 1, 500)
    whole = songs.songs[0].audio[:, 0] * np.float32(songs.songs[0].scale)
    starts = range(whole.shape[1] - 500)
    assert any(np.array_equal(whole[:, s : s + 500], row[:, 0]) for s in starts)


def test_remixing_deals_stems_out_within_a_group():
    """Every song's stems are constants of their own, so that one sees where they come from."""
    songs = Songs(
        [
            MultitrackSong(str(n), np.full((2, 1, 50), 100 * (n + 1), np.int16), 0.001)
            for n in range(8)
        ],
        ("a", "other"),
        8000,
    )
    drawn = songs.sample(rng(3), 64, 10, Remix(group=4))[:, :, 0, 0]
    assert (drawn[:, 0] != drawn[:, 1]).any()
    for first in range(0, 64, 4):
        group = drawn[first : first + 4]
        assert sorted(group[:, 0]) == sorted(group[:, 1])


def test_a_pair_is_a_mix_and_its_stem():
    songs = toy_songs()
    mix, stem = songs.sample_pair(rng(), "bass", 8, 4000, Remix((0.5, 1.0), group=4))
    rest = mix - stem
    seen = np.abs(np.fft.rfft(rest * np.hanning(4000)))
    hertz = np.fft.rfftfreq(4000, 1 / 8000)
    low = (hertz > 60) & (hertz < 120)  # where the basses are
    assert seen[:, low].max() < 0.05 * seen.max()


def test_speed_moves_pitch():
    songs = toy_songs(1, seconds=4.0)
    remix = Remix(semitones=3.0)
    peaks = {
        round(float(np.abs(np.fft.rfft(row[0, 0])).argmax()))
        for row in songs.sample(rng(1), 32, 8000, remix)
    }
    assert len(peaks) > 5
    assert max(peaks) / min(peaks) < 2 ** (6 / 12) * 1.02


def test_prefetched_batches_are_those_of_their_steps():
    drawn = Prefetched(lambda step: np.full(1, step, np.float32))
    assert [int(drawn(step)[0]) for step in (0, 1, 2, 7, 8, 3)] == [0, 1, 2, 7, 8, 3]
