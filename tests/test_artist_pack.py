"""An artist pack: never worse than what it began with, whole, and nobody else's file changes."""

import hashlib
import json

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import export.artist_pack
from engine import Device, Prior, find_prior, list_priors
from engine.model.artist_pack import PACK_CARD, list_artist_packs, read_artist_pack
from engine.separation.estimate import Estimate, encoder_path
from export import TrainingOptions
from export.artist_pack import PackOptions, tune_pack, use_of
from export.data.multitracks import find_multitracks
from export.data.true_mixes import WINDOW, read_true_mix
from export.training.artist_tuning import HeldOutSongs
from export.training.tuning import bundled_estimate
from presets import StemwrightError, load_preset
from prior_fixtures import tiny_front_end
from stemwright import main

RATE = 44_100


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def tone_and_noise(rng, seconds=3.0):
    """A stem in the lower bands that comes and goes, and one in the upper bands."""
    time = np.arange(int(seconds * RATE)) / RATE
    low = sum(np.sin(2 * np.pi * f * time) for f in rng.uniform(250, 900, 3))
    low *= np.sin(2 * np.pi * rng.uniform(0.5, 2) * time) ** 2
    hiss = np.convolve(rng.standard_normal(len(time)), np.hanning(16), "same")
    high = hiss * np.cos(2 * np.pi * 8000 * time)  # below the view's 20 kHz
    return {"low": 0.1 * low, "high": 0.03 * high}


@pytest.fixture(scope="module", autouse=True)
def _looks_often():
    """The held-out songs are looked at after 20 steps, so that trainings can be short."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(export.artist_pack, "EVERY", 20)
        yield


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    """Three songs, a folder each."""
    folder, rng = tmp_path_factory.mktemp("songs"), np.random.default_rng(4)
    for name in ("Blue", "Green", "Red"):
        (folder / name).mkdir()
        for stem, audio in tone_and_noise(rng).items():
            soundfile.write(folder / name / f"{stem}.wav", audio.astype(np.float32), RATE)
    return folder


def options(folder, steps=40, rate=0.02):
    return TrainingOptions(folder, steps, threads=1, device="cpu", batch=4, learning_rate=rate)


@pytest.fixture(scope="module")
def pack(songs, tiny_prior_folder, tmp_path_factory):
    """A pack tuned to the songs, with Red held out, and what was told."""
    folder = tmp_path_factory.mktemp("mine")
    before = hashes(tiny_prior_folder)
    lines = list(
        tune_pack(
            [songs],
            folder / "band",
            options(folder / "run"),
            PackOptions(tiny_prior_folder, hold_out=("Red",)),
        )
    )
    assert hashes(tiny_prior_folder) == before
    return folder / "band", lines


def test_what_is_told_at_the_end_works_from_where_the_pack_lies(pack, monkeypatch, tmp_path):
    folder, lines = pack
    assert lines[-1].startswith(f"now: stemwright separate SONG --priors {folder}; presets find")
    monkeypatch.setenv("STEMWRIGHT_PRIORS", str(tmp_path))
    assert use_of(folder).endswith(f"when it lies in {tmp_path}")
    monkeypatch.setenv("STEMWRIGHT_PRIORS", str(folder.parent))
    assert use_of(folder).startswith("priors: band in a preset")
    assert find_prior("band/low") == folder / "low.prior"


def scores(folder, songs):
    tracks = find_multitracks([songs], ["low", "high"])
    mixes = tracks.true_mixes(
        ["Red"], {"low": "low", "high": "high"}, tiny_front_end().front_end()
    )
    cards = {stem: Prior(folder / f"{stem}.prior", Device("cpu")).card for stem in ("low", "high")}
    return HeldOutSongs(mixes, cards).scores(*bundled_estimate(folder))


def test_a_true_mix_says_what_masks_are_worth_without_making_a_sound(songs, tmp_path):
    """Of a constant mask the ratio is that of the samples."""
    front_end = tiny_front_end().front_end()
    samples = (WINDOW - 3) * front_end.hop  # one window
    files, audio = {}, {}
    for stem in ("low", "high"):
        audio[stem] = soundfile.read(songs / "Blue" / f"{stem}.wav")[0][:samples]
        files[stem] = [tmp_path / f"{stem}.wav"]
        soundfile.write(files[stem][0], audio[stem], RATE, subtype="FLOAT")
    true = read_true_mix("Blue", files, front_end)
    mix = sum(audio.values())
    for share in (0.3, 1.0):
        masks = np.full((2, *true.magnitudes.shape), share, np.float32)
        for stem, decibels in true.sdr_db(masks).items():
            wrong = ((audio[stem] - share * mix) ** 2).sum()
            expected = 10 * np.log10((audio[stem] ** 2).sum() / wrong)
            assert decibels == pytest.approx(expected, abs=0.1)


def test_a_pack_is_better_than_what_it_began_with_on_held_out_songs(
    pack, songs, tiny_prior_folder
):
    folder, lines = pack
    card = read_artist_pack(folder)
    assert scores(tiny_prior_folder, songs).mean == pytest.approx(card.before_db, abs=1e-3)
    assert scores(folder, songs).mean == pytest.approx(card.after_db, abs=0.05)
    assert card.after_db > card.before_db
    assert card.songs == ("Blue", "Green")
    assert card.held_out == ("Red",)
    assert card.stems["low"].minutes == pytest.approx(0.1, abs=0.02)
    assert any("will take about" in line for line in lines)  # told before the start


def test_songs_without_stems_are_learned_from_as_the_set_finds_them(
    songs, tiny_prior_folder, tmp_path
):
    (tmp_path / "mixes").mkdir()
    rng = np.random.default_rng(8)
    for name in ("Red", "Silence"):
        audio = sum(tone_and_noise(rng).values()) * (name == "Red")
        soundfile.write(tmp_path / "mixes" / f"{name}.wav", audio, RATE)
    asked = PackOptions(tiny_prior_folder, hold_out=("Red",), mixes=(tmp_path / "mixes",))
    lines = list(tune_pack([songs], tmp_path / "band", options(tmp_path / "run"), asked))
    assert any("2 songs to learn from, and 2 without stems" in line for line in lines)
    card = read_artist_pack(tmp_path / "band")
    assert card.mixes == ("Red.wav", "Silence.wav")
    assert card.after_db > card.before_db
    (tmp_path / "nothing").mkdir()
    asked = PackOptions(tiny_prior_folder, mixes=(tmp_path / "nothing",))
    with pytest.raises(StemwrightError, match="no audio file is there"):
        list(tune_pack([songs], tmp_path / "p", options(tmp_path / "r"), asked))


def test_its_heads_share_one_encoder_and_say_what_they_heard(pack, songs):
    folder, _ = pack
    priors = [Prior(folder / f"{stem}.prior", Device("cpu")) for stem in ("low", "high")]
    for prior in priors:
        prior.verify()
        assert any(source.name.startswith("low: ") for source in prior.card.other_sources)
    found = Estimate(priors, [folder], Device("cpu")).magnitudes(np.ones((1, 8, 16), np.float32))
    assert found.shape == (2, 1, 8, 16)


def test_nothing_is_written_that_is_not_better(songs, tiny_prior_folder, tmp_path):
    asked = PackOptions(tiny_prior_folder, hold_out=("Red",))
    with pytest.raises(StemwrightError, match="nothing was written"):
        list(tune_pack([songs], tmp_path / "p", options(tmp_path / "r", 1, 1e-30), asked))
    assert not (tmp_path / "p").exists()


def test_a_tuning_that_was_stopped_goes_on_to_the_same_pack(
    pack, songs, tiny_prior_folder, tmp_path
):
    asked = PackOptions(tiny_prior_folder, hold_out=("Red",))
    first = tune_pack([songs], tmp_path / "band", options(tmp_path / "run"), asked)
    next(line for line in first if line.startswith("step 20"))
    first.close()
    again = list(tune_pack([songs], tmp_path / "band", options(tmp_path / "run"), asked))
    assert "resuming at step 20" in again
    assert hashes(tmp_path / "band") == hashes(pack[0])


def test_both_layouts_are_the_same_songs(songs, tmp_path):
    for path in songs.rglob("*.wav"):
        (tmp_path / path.stem).mkdir(exist_ok=True)
        (tmp_path / path.stem / f"{path.parent.name}.wav").write_bytes(path.read_bytes())
    one, other = (find_multitracks([place], ["low", "high"]) for place in (songs, tmp_path))
    assert one.songs.keys() == other.songs.keys() == {"Blue", "Green", "Red"}
    assert {stem for song in other.songs.values() for stem in song} == {"low", "high"}


@pytest.mark.parametrize(
    ("song", "message"), [("Gold", "no song of that name"), ("", "is not a folder")]
)
def test_what_is_not_there_is_told(songs, tiny_prior_folder, tmp_path, song, message):
    place = songs if song else songs / "nothing"
    asked = PackOptions(tiny_prior_folder, hold_out=(song,) if song else ())
    with pytest.raises(StemwrightError, match=message):
        list(tune_pack([place], tmp_path / "p", options(tmp_path / "r"), asked))


def test_one_song_is_not_enough(songs, tiny_prior_folder, tmp_path):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "Blue").symlink_to(songs / "Blue")
    with pytest.raises(StemwrightError, match="one is needed to judge with"):
        list(
            tune_pack(
                [tmp_path / "songs"],
                tmp_path / "p",
                options(tmp_path / "r"),
                PackOptions(tiny_prior_folder),
            )
        )


def test_presets_name_a_pack_and_each_of_its_priors(pack, tmp_path, monkeypatch):
    folder, _ = pack
    monkeypatch.setenv("STEMWRIGHT_PRIORS", str(folder.parent))
    assert list_artist_packs().keys() == {"band"}
    assert "band/low" not in list_priors()
    assert find_prior("band/low") == folder / "low.prior"
    sha256 = Prior(folder / "low.prior", Device("cpu")).card.encoder_sha256
    assert encoder_path(sha256, ()) == folder / f"{sha256[:16]}.encoder.onnx"
    (tmp_path / "p.yaml").write_text("priors: band\nstems: {low: {}, high: {prior: high}}\n")
    stems = load_preset(tmp_path / "p.yaml").stems
    assert (stems["low"].prior, stems["high"].prior) == ("band/low", "high")
    with pytest.raises(StemwrightError, match="has no prior of sax; it has high, low"):
        find_prior("band/sax")
    with pytest.raises(StemwrightError, match="no artist pack is called"):
        find_prior("choir/low")


def test_the_verbs_list_show_verify_and_remove_a_pack(pack, tmp_path):
    copy = tmp_path / "priors" / "band"
    copy.mkdir(parents=True)
    for path in pack[0].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "notes.txt").write_text("mine")

    def run(*arguments):
        return CliRunner().invoke(main, ["prior", *arguments, "--priors", str(copy.parent)])

    assert "artist pack: high, low" in run("list").output
    assert json.loads(run("show", "band").output)["held_out"] == ["Red"]
    good = run("verify", "band")
    assert good.exit_code == 0, good.output
    assert "band/low: hashes and self-tests pass" in good.output
    (copy / "low.prior").write_bytes(b"else")
    bad = run("verify", "band")
    assert bad.exit_code == 1
    assert run("remove", "band").exit_code == 0
    assert [path.name for path in copy.iterdir()] == ["notes.txt"]
    assert run("remove", "band").exit_code != 0


def test_a_card_cannot_make_removal_reach_outside(pack, tmp_path):
    folder = tmp_path / "band"
    folder.mkdir()
    card = json.loads((pack[0] / PACK_CARD).read_text())
    card["files"]["../precious"] = "0" * 64
    (folder / PACK_CARD).write_text(json.dumps(card))
    (tmp_path / "precious").write_text("keep")
    CliRunner().invoke(main, ["prior", "remove", "band", "--priors", str(tmp_path)])
    assert (tmp_path / "precious").read_text() == "keep"
