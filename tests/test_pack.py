"""A pack is heard as the folders that it was made of."""

import zipfile

import numpy as np
import pytest
import soundfile
import yaml

from export import pack_recordings
from export.data import pack
from export.data.corpus import Variant, load_corpus
from export.data.pack import FLOOR_DB, packed_corpus, quantised, read_pack, restored
from export.data.sampling import Sampler, warping
from export.training.runs import paper_front_end, read_corpus, standard_front_end
from presets import StemwrightError

RATE = 44_100
SOURCES = {
    "kept_*": {"name": "kept", "held_out": True},
    "song_*": {"name": "songs", "licence": "CC0-1.0", "in_step": True, "finished": True},
    "*": {"name": "takes", "licence": "CC BY 4.0", "credit": "A. Player", "weight": 2.0},
}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two parts of one song, a take of each, and one for judging."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for part in ("bass", "drums"):
        (folder / part).mkdir()
        for name in ("song_1", f"{part}_take", "kept_1"):
            time = np.arange(round(1.5 * RATE)) / RATE
            noise = rng.standard_normal(time.size) * np.exp(-3 * (time % 0.5))
            audio = 0.1 * noise + 0.2 * np.sin(2 * np.pi * 220 * time)
            soundfile.write(folder / part / f"{name}.wav", audio, RATE, subtype="PCM_16")
        (folder / part / "SOURCES.yaml").write_text(yaml.safe_dump(SOURCES, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def packed(recordings, tmp_path_factory):
    out = tmp_path_factory.mktemp("packs") / "all.pack"
    lines = list(pack_recordings([recordings], out, None, pack.STEP_DB))
    assert "bass: 2 recordings, 0.1 minutes; kept for judging: 1" in lines
    return out


def test_codes_are_within_half_a_step_and_silence_is_silent(rng):
    magnitudes = 10 ** rng.uniform(-6, 1, (50, 128))
    magnitudes[7] = 0
    heard = magnitudes.astype(np.float16).astype(np.float32)
    codes, peak = quantised(magnitudes.astype(np.float16), 0.75)
    back = restored(codes, peak, 0.75).astype(np.float64)
    loud = heard > heard.max() * 10 ** ((FLOOR_DB + 1) / 20)
    error_db = 20 * np.log10(back[loud] / heard[loud])
    assert np.abs(error_db).max() < 0.75 / 2 + 0.02  # half precision on top
    assert not back[7].any()
    assert (back[~loud] <= heard.max() * 10 ** ((FLOOR_DB + 2) / 20)).all()


def test_a_pack_says_what_the_folders_say(recordings, packed):
    view = standard_front_end()
    for part in ("bass", "drums"):
        there = load_corpus(part, [recordings / part], view.front_end(), variants=(Variant(0.0),))
        here = packed_corpus(packed, part, view)
        assert [s.model_dump() for s in here.sources] == [s.model_dump() for s in there.sources]
        assert (here.weights, here.finished, here.in_step, here.held_out) == (
            there.weights,
            there.finished,
            there.in_step,
            there.held_out,
        )
        assert sorted(c.song for c in here.clips) == sorted(c.song for c in there.clips)
        found = {clip.song: clip.magnitudes.astype(np.float64) for clip in here.clips}
        for clip in there.clips:
            heard = clip.magnitudes.astype(np.float64)
            wrong = ((found[clip.song] - heard) ** 2).sum() / (heard**2).sum()
            assert 10 * np.log10(wrong) < -29


def test_every_training_reads_it_in_a_folders_place(recordings, packed, tmp_path):
    view = standard_front_end()
    alone = read_corpus("bass", [packed], view, tmp_path)
    named = read_corpus("bass", [packed / "bass"], view, tmp_path)
    assert alone.digest == named.digest
    both = read_corpus("low", [packed / "bass", packed / "drums"], view, tmp_path)
    assert (both.stem, len(both.clips)) == ("low", 4)
    beside = read_corpus("bass", [packed, recordings / "drums"], view, tmp_path)
    assert len(beside.clips) == 2 + 2 * 4  # every speed of what is audio
    assert len({alone.digest, both.digest, beside.digest}) == 3


def test_what_was_packed_at_one_speed_is_drawn_at_many(packed, rng):
    corpus = packed_corpus(packed, "bass", standard_front_end())
    assert all(clip.alone for clip in corpus.clips)
    drawn = Sampler([corpus]).sample(rng, 200, 16).numpy()
    loudest = drawn.mean(axis=1).argmax(axis=1)[drawn.sum(axis=(1, 2)) > 0]
    assert len(np.unique(loudest)) > 4  # a tone of 220 Hz at eleven speeds
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize("semitones", [-5, -1, 2, 5])
def test_bands_are_moved_as_a_tape_moves_them(tmp_path, semitones):
    """Against the recording itself, resampled: the spectrum lies where it should."""
    rng, view = np.random.default_rng(1), standard_front_end().front_end()
    red = np.cumsum(rng.standard_normal(4 * RATE))
    red -= np.convolve(red, np.ones(2000) / 2000, mode="same")  # falls above and below 20 Hz
    soundfile.write(tmp_path / "take.wav", 0.5 * red / np.abs(red).max(), RATE)
    still, moved = load_corpus(
        "bass", [tmp_path], view, variants=(Variant(0.0), Variant(float(semitones)))
    ).clips
    power = (still.magnitudes.astype(np.float64) ** 2).mean(axis=0)
    wanted = (moved.magnitudes.astype(np.float64) ** 2).mean(axis=0)
    got = power @ warping(view.plan.edges_hz, 2 ** (semitones / 12))
    away_db = [
        10
        * np.log10(
            np.add.reduceat(each, range(8, 112, 8)) / np.add.reduceat(wanted, range(8, 112, 8))
        )
        for each in (got, power)
    ]
    assert np.abs(away_db[0]).mean() < 0.6
    assert np.abs(away_db[0]).mean() < np.abs(away_db[1]).mean()


def test_power_stays_when_bands_are_moved():
    edges = np.geomspace(20, 20_000, 65)
    for ratio in (0.75, 1.0, 1.3):
        matrix = warping(edges, ratio)
        assert matrix.sum(axis=1)[16:48] == pytest.approx(1, abs=1e-5)
    assert warping(edges, 1.0) == pytest.approx(np.eye(64), abs=1e-6)


def test_what_is_no_pack_or_another_one_is_told(packed, tmp_path):
    (tmp_path / "text.pack").write_text("no zip")
    with pytest.raises(StemwrightError, match="is no pack of recordings"):
        read_pack(tmp_path / "text.pack")
    with zipfile.ZipFile(tmp_path / "empty.pack", "w"):
        pass
    with pytest.raises(StemwrightError, match="is no pack of recordings"):
        read_pack(tmp_path / "empty.pack")
    with pytest.raises(StemwrightError, match="holds bass, drums, no guitar"):
        packed_corpus(packed, "guitar", standard_front_end())
    with pytest.raises(StemwrightError, match="another spectrogram"):
        packed_corpus(packed, "bass", paper_front_end())
    with pytest.raises(StemwrightError, match="a folder for each part"):
        list(pack_recordings([tmp_path / "text.pack"], tmp_path / "a.pack", None, 1.0))
