"""Training data: checked, levelled, split by song, augmented, and never two stems in one."""

import wave

import numpy as np
import pytest
import soundfile
import torch
import yaml

from engine.model.bands import BandPlan
from engine.model.spectrogram import FrontEnd
from export import estimates
from export.data.augmentation import (
    DRY,
    PRODUCED,
    decaying,
    in_a_room,
    random_cut,
    random_dynamics,
    random_eq,
)
from export.data.corpus import VARIANTS, Clip, Corpus, Variant, load_corpus
from export.data.recordings import Origins, clipped_share, find_recordings
from export.data.sampling import Interference, Sampler
from export.models.features import Features
from export.models.flow import FlowConfig
from export.training.flow_training import CHECKPOINT, FlowTask, TrainSettings
from export.training.options import TrainingOptions
from export.training.run import TrainingRun
from presets import StemwrightError

RATE = 8000
# an octave per band: a tone's band is the logarithm of its pitch
VIEW = FrontEnd(RATE, 128, BandPlan((31.25, 62.5, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0)))


def tone(hz, seconds=2.0, rate=RATE, level=0.3):
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def write(path, audio, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype="PCM_16")
    return path


def clip(song, frames, band=0, source="takes", pauses=0):
    magnitudes = np.full((frames + pauses, 4), 0.01, np.float16)
    magnitudes[:frames] = 0
    magnitudes[:frames, band] = 1
    return Clip(song, source, magnitudes, np.arange(frames + pauses) < frames)


def sample(corpus, rng, batch, frames):
    return Sampler([corpus]).sample(rng, batch, frames).numpy()


def test_excerpts_hold_playing_at_one_level():
    """As quality reports hear stems: no pauses, no gain, no treatment."""
    soft, loud = clip("soft", 64, pauses=50), clip("loud", 200, band=1)
    soft.magnitudes[:] *= np.float16(0.1)
    found = Corpus("bass", [soft, loud]).excerpts(64)
    assert [len(piece[0]) for piece in found] == [64, 64, 64, 64]
    levels = [float((piece**2).sum(axis=2).mean()) for piece in found]
    assert levels == pytest.approx([levels[0]] * 4, rel=1e-2)
    assert len(Corpus("bass", [loud]).excerpts(64, most=2)) == 2


def loudest_band(magnitudes):
    return int(np.argmax(magnitudes.astype(np.float32).sum(axis=0)))


# --- checking ---------------------------------------------------------------------------------


def test_faulty_recordings_are_told_and_left_out(tmp_path):
    write(tmp_path / "good.wav", tone(440))
    write(tmp_path / "silent.wav", np.zeros(RATE))
    write(tmp_path / "short.wav", tone(440, 0.1))
    write(tmp_path / "clipped.wav", np.clip(tone(440, level=3.0), -1, 1))
    write(tmp_path / "opposed.wav", np.stack([tone(440), -tone(440)], axis=1))
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "empty.flac").write_bytes(b"")
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    corpus = load_corpus("bass", [tmp_path], VIEW, variants=(Variant(0.0),))
    reasons = {refusal.path.stem: refusal.reason.split(":")[0] for refusal in corpus.refused}
    assert reasons == {
        "silent": "silent",
        "short": "too short",
        "clipped": "clipped",
        "opposed": "silent in mono",
        "text": "unreadable",
        "empty": "unreadable",
        "nan": "damaged",
    }
    assert [c.song for c in corpus.clips] == ["good"]


def test_loud_sines_are_not_called_clipped():
    for hz in (50, 440, 3999):
        audio = tone(hz, level=1.0)[:, None]
        quantised = np.round(audio * 32767) / 32768
        assert clipped_share(quantised) < 0.01


def test_nothing_usable_is_one_clear_sentence(tmp_path):
    write(tmp_path / "silent.wav", np.zeros(RATE))
    with pytest.raises(StemwrightError, match=r"No recording of bass.*silent\.wav: silent"):
        load_corpus("bass", [tmp_path], VIEW)


def test_missing_folder_is_told(tmp_path):
    with pytest.raises(StemwrightError, match="takes is not there"):
        find_recordings([tmp_path / "takes"])


def test_each_file_is_found_once(tmp_path):
    path = write(tmp_path / "deep" / "take.wav", tone(440))
    (tmp_path / "notes.txt").write_text("not audio")
    assert find_recordings([tmp_path, path, tmp_path / "deep"]) == [path]


# --- magnitudes -------------------------------------------------------------------------------


def test_speed_moves_pitch_and_tempo_together(tmp_path):
    write(tmp_path / "take.wav", tone(350))
    slow, same, fast = load_corpus(
        "bass", [tmp_path], VIEW, variants=[Variant(s) for s in (-12.0, 0.0, 12.0)]
    ).clips
    assert [loudest_band(c.active) for c in (slow, same, fast)] == [2, 3, 4]
    assert len(slow.active) / len(same.active) == pytest.approx(2, abs=0.1)
    assert len(fast.active) / len(same.active) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_level_and_rate_of_the_file_do_not_matter(tmp_path, rate):
    reference = write(tmp_path / "a" / "take.wav", tone(700))
    quiet = write(tmp_path / "b" / "take.wav", tone(700, rate=rate, level=0.01), rate)
    one, two = (
        load_corpus("bass", [p], VIEW, variants=(Variant(0.0),)).clips[0]
        for p in (reference, quiet)
    )
    middle = [c.active.astype(np.float32)[20:60].mean(axis=0)[4] for c in (one, two)]
    assert middle[0] == pytest.approx(middle[1], rel=0.02)


def test_stereo_becomes_mono(tmp_path):
    write(tmp_path / "take.wav", np.stack([tone(350), tone(350)], axis=1))
    (found,) = load_corpus("bass", [tmp_path], VIEW, variants=(Variant(0.0),)).clips
    assert loudest_band(found.active) == 3


def test_long_pauses_are_kept_apart_from_the_playing(tmp_path):
    hiss = np.random.default_rng(0).normal(0, 1e-4, 6 * RATE)
    hiss[: 2 * RATE] += tone(440)
    write(tmp_path / "take.wav", hiss)
    (found,) = load_corpus("bass", [tmp_path], VIEW, variants=(Variant(0.0),)).clips
    per_second = RATE / VIEW.hop
    assert len(found.active) == pytest.approx(2 * per_second, abs=20)
    assert len(found.pauses) == pytest.approx(4 * per_second, abs=20)
    assert found.pauses.max() < 0.01 * found.active.max()


def test_second_run_reads_the_cache(tmp_path):
    write(tmp_path / "takes" / "take.wav", tone(440))
    cache = tmp_path / "cache"
    first = load_corpus("bass", [tmp_path / "takes"], VIEW, cache=cache)
    stored = sorted(cache.iterdir())
    assert len(stored) == len(VARIANTS)
    np.save(stored[0], 7 * np.load(stored[0]))  # a mark that only the cache can bring back
    again = load_corpus("bass", [tmp_path / "takes"], VIEW, cache=cache)
    changed = [
        not np.array_equal(a.active, b.active)
        for a, b in zip(first.clips, again.clips, strict=True)
    ]
    assert sum(changed) == 1
    coarse = FrontEnd(RATE, 256, VIEW.plan)
    load_corpus("bass", [tmp_path / "takes"], coarse, cache=cache)
    assert len(list(cache.iterdir())) == 2 * len(VARIANTS)


# --- drawing ----------------------------------------------------------------------------------


def test_one_seed_draws_the_same_batch():
    corpus = Corpus("bass", [clip("a", 50), clip("b", 10, pauses=30)])
    first, again, other = (sample(corpus, np.random.default_rng(s), 8, 32) for s in (1, 1, 2))
    assert first.shape == (8, 32, 4)
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_gain_and_eq_stay_within_their_bounds():
    corpus = Corpus("bass", [clip("a", 100)])
    drawn = sample(corpus, np.random.default_rng(0), 2000, 4)[:, 0, 0]
    level_db = 20 * np.log10(drawn[drawn > 0])
    assert level_db.min() > -12 - 12 - 0.1
    assert level_db.max() < 3 + 12 + 0.1
    assert level_db.max() - level_db.min() > 20
    assert np.mean(drawn == 0) == pytest.approx(0.05, abs=0.015)


def test_eq_is_smooth():
    for seed in range(20):
        (gains,) = random_eq(np.random.default_rng(seed), 1, 128)
        curve_db = 20 * np.log10(gains)
        assert np.abs(curve_db).max() <= 12
        assert np.abs(np.diff(curve_db)).max() < 1


@pytest.mark.parametrize("seed", range(10))
def test_production_leaves_silence_silent_and_levels_within_reach(seed):
    rng = np.random.default_rng(seed)
    excerpts = torch.from_numpy(np.abs(rng.standard_normal((6, 64, 32))).astype(np.float32))
    gain_db = 20 * torch.log10(random_dynamics(rng, excerpts))
    assert gain_db.shape == (6, 64, 1)
    assert gain_db.abs().max() <= 12 + 1e-4
    assert (random_cut(rng, 6, 32).max(axis=1) == 1).all()
    silence = torch.zeros((6, 64, 32))
    PRODUCED.treat(rng, silence, 0.02)
    assert not silence.any()


def test_a_room_adds_power_after_the_sound_and_never_before_it():
    click = torch.zeros((10, 200, 8))
    click[:, 50] = 1
    wet = in_a_room(np.random.default_rng(0), click, 0.02)
    assert torch.equal(wet[:, :51], click[:, :51])
    tails = wet[:, 51:].numpy() ** 2
    assert (tails > 0).any(axis=(1, 2)).all()
    assert (np.diff(tails, axis=1) <= 0).all()
    assert tails.sum(axis=1).max() <= 1 + 1e-3  # at most as much as the direct sound
    assert len({float(tail.sum()) for tail in tails}) == 10  # each in a room of its own


@pytest.mark.parametrize("frames", [1, 2, 7, 128])
def test_a_decay_in_doublings_is_that_from_frame_to_frame(frames, rng):
    x = torch.from_numpy(rng.random((3, frames, 5)))
    kept = torch.from_numpy(rng.random((3, 1, 5)))
    y = torch.zeros_like(x)
    last = torch.zeros_like(x[:, 0])
    for index in range(frames):
        last = y[:, index] = x[:, index] + kept[:, 0] * last
    torch.testing.assert_close(decaying(x, kept), y)


def test_dry_production_is_equaliser_and_gain_alone():
    excerpts = torch.ones((3, 16, 8))
    DRY.treat(np.random.default_rng(0), excerpts, 0.02)
    assert torch.equal(excerpts, excerpts[:, :1].expand(3, 16, 8))


def test_overdriven_variant_has_harmonics_that_the_recording_lacks(tmp_path):
    write(tmp_path / "a.wav", tone(300))
    clean, driven = load_corpus(
        "bass", [tmp_path], VIEW, variants=(Variant(0.0), Variant(0.0, drive_db=20.0))
    ).clips
    above = [c.active[:, -2:].astype(np.float32).mean() for c in (clean, driven)]  # 1 to 4 kHz
    assert above[1] > 5 * above[0]
    power = [(c.active.astype(np.float32) ** 2).sum(axis=1).max() for c in (clean, driven)]
    assert power[1] == pytest.approx(power[0], rel=0.2)


def test_some_of_the_silence_is_the_pauses_of_the_recordings():
    corpus = Corpus("bass", [clip("a", 100, pauses=100)])
    drawn = sample(corpus, np.random.default_rng(0), 2000, 4)[:, 0, 1]  # the tone's band is 0
    assert 0.01 < np.mean(drawn > 0) < 0.04


def test_a_short_source_is_not_drowned_by_a_long_one():
    clips = [clip("a", 9900, 0, "long"), clip("b", 100, 1, "short")]
    rng = np.random.default_rng(0)
    even = sample(Corpus("bass", clips, production=DRY), rng, 2000, 1)[:, 0]
    heavy = Corpus("bass", clips, weights={"short": 10.0}, production=DRY)
    heavy = sample(heavy, rng, 2000, 1)[:, 0]
    assert np.mean(even[:, 1] > 0) == pytest.approx(0.95 / 11, abs=0.03)
    assert np.mean(heavy[:, 1] > 0) == pytest.approx(0.95 / 2, abs=0.05)


def bright_share(corpus):
    """How much of what is drawn lies above the lowest quarter of the bands, a mean in dB."""
    drawn = sample(corpus, np.random.default_rng(0), 300, 16) ** 2
    drawn = drawn[drawn.sum(axis=(1, 2)) > 0]
    above = drawn[:, :, drawn.shape[2] // 4 :].sum(axis=(1, 2)) / drawn.sum(axis=(1, 2))
    return 10 * np.log10(above.mean())


def flat_clip(source):
    flat = np.ones((64, 32), np.float16)
    return Clip(source, source, flat, np.ones(64, bool), source)


def test_takes_are_finished_at_the_desk_and_stems_of_mixes_are_not():
    takes, stems = flat_clip("takes"), flat_clip("stems")
    dry = Corpus("bass", [takes, stems], production=DRY, finished={"stems"})
    assert bright_share(dry) > -2
    only = [Corpus("bass", [c], production=DRY, finished={"stems"}) for c in (takes, stems)]
    assert bright_share(only[0].as_stems()) < bright_share(only[0]) - 2
    assert bright_share(only[1].as_stems()) == bright_share(only[1])
    stems = dry.as_stems()
    assert bright_share(only[0].as_stems()) < bright_share(stems) < bright_share(dry)
    unknown = Corpus("flute", [takes], production=DRY)
    assert bright_share(unknown.as_stems()) == bright_share(unknown)


def test_heads_learn_from_what_is_at_the_desk(monkeypatch, tmp_path):
    """Mixes for validation, too; the corpora that flows learn from stay as they are."""
    heard = []

    def trainer(_config, _settings, train, valid, *_):
        heard.extend([train.parts["bass"], valid.parts["bass"]])
        raise InterruptedError

    monkeypatch.setattr(estimates, "EstimatorTask", trainer)
    corpus = Corpus("bass", [flat_clip("takes")], production=DRY)
    with pytest.raises(InterruptedError):
        options = TrainingOptions(tmp_path, steps=1, device="cpu")
        list(estimates.run_heads({"bass": corpus}, {"bass": ("bass",)}, options))
    assert all(bright_share(half) < bright_share(corpus) - 2 for half in heard)
    assert len(heard) == 2


def test_what_is_finished_is_said_by_the_sources_and_is_another_corpus(tmp_path):
    write(tmp_path / "a.wav", tone(300))
    digests = set()
    for finished in ("", ", finished: true"):
        (tmp_path / "SOURCES.yaml").write_text(f"'*': {{name: mine{finished}}}")
        corpus = load_corpus("bass", [tmp_path], VIEW)
        assert corpus.finished == ({"mine"} if finished else set())
        digests.add(corpus.digest)
    assert len(digests) == 2


# --- splitting --------------------------------------------------------------------------------


def test_a_song_falls_on_one_side_in_every_stem():
    songs = [f"rendered_{n:03d}" for n in range(200)]
    sides = []
    for stem in ("bass", "drums"):
        corpus = Corpus(stem, [clip(song, 10) for song in songs for _ in range(2)])
        train, valid = ({c.song for c in part.clips} for part in corpus.split(0.1))
        assert not train & valid
        assert train | valid == set(songs)
        sides.append(valid)
    assert sides[0] == sides[1]
    assert 8 <= len(sides[0]) <= 34


def test_one_recording_is_split_in_time():
    recording = clip("take", 1000)
    recording.magnitudes[:, 1] = np.arange(1000) / 1000
    train, valid = Corpus("bass", [recording]).split(0.1)
    assert len(train.clips[0].active) == 900
    assert valid.clips[0].active[:, 1].min() > train.clips[0].active[:, 1].max()


def test_files_named_like_the_stem_belong_to_their_folders_song(tmp_path):
    for song in ("Blue", "Green"):
        write(tmp_path / song / "bass.wav", tone(100))
    write(tmp_path / "takes" / "take_07.wav", tone(100))
    songs = {c.song for c in load_corpus("bass", [tmp_path], VIEW, variants=(Variant(0.0),)).clips}
    assert songs == {"Blue", "Green", "take_07"}


def test_a_name_found_in_more_folders_than_they_have_files_is_a_part_of_their_songs(tmp_path):
    """The stem is called lead, the files vocals: folders are songs all the same."""
    for song in ("Blue", "Green", "Red"):
        write(tmp_path / "songs" / song / "vocals.wav", tone(100))
    for instrument in ("guitar", "piano"):  # the same songs, played by two instruments
        for song in ("one", "two", "three"):
            write(tmp_path / instrument / f"{song}.wav", tone(100))
    clips = load_corpus("lead", [tmp_path], VIEW, variants=(Variant(0.0),)).clips
    assert sorted(c.song for c in clips) == sorted(
        ["Blue", "Green", "Red", *2 * ["one", "two", "three"]]
    )


def test_a_digest_names_recordings_songs_and_how_they_are_drawn(tmp_path):
    def digest(**variants):
        return load_corpus("bass", [tmp_path], VIEW, **variants).digest

    write(tmp_path / "a.wav", tone(100))
    write(tmp_path / "b.wav", tone(200))
    first = digest()
    assert digest(cache=tmp_path / "cache") == digest(cache=tmp_path / "cache") == first
    (tmp_path / "SOURCES.yaml").write_text(f'"*": {{name: {tmp_path.name}, licence: CC0-1.0}}')
    assert digest() == first  # the card may be mended
    found = {first, digest(variants=(Variant(0.0),))}
    (tmp_path / "SOURCES.yaml").write_text(f'"*": {{name: {tmp_path.name}, weight: 2}}')
    found.add(digest())
    (tmp_path / "SOURCES.yaml").unlink()
    (tmp_path / "b.wav").rename(tmp_path / "c.wav")
    found.add(digest())
    write(tmp_path / "c.wav", tone(300))
    found.add(digest())
    assert len(found) == 5


# --- one stem at a time -----------------------------------------------------------------------


def test_interference_adds_powers_of_other_stems_only():
    drums = Corpus("drums", [clip("a", 100, band=1)])
    guitar = Corpus("guitar", [clip("a", 100, band=2)])
    leaks = Interference("bass", [drums, guitar])(np.random.default_rng(0), 200, 8).numpy()
    assert leaks.shape == (200, 8, 4)
    assert not leaks[..., [0, 3]].any()
    has = leaks[:, 0] > 0
    assert (has[:, 1] & has[:, 2]).any()
    assert (has[:, 1] ^ has[:, 2]).any()


def test_a_stem_never_interferes_with_itself():
    bass = Corpus("bass", [clip("a", 100)])
    with pytest.raises(ValueError, match="other stems"):
        Interference("bass", [bass])
    with pytest.raises(ValueError, match="other stems"):
        Interference("bass", [])


def test_no_batch_of_the_likelihood_term_holds_two_stems(tmp_path, monkeypatch):
    """Follow every batch into the flow: bass fills bands 0-2, drums alone band 3."""
    low = clip("a", 300)
    low.magnitudes[:, 1:3] = 1
    bass, drums = Corpus("bass", [low]), Corpus("drums", [clip("a", 300, band=3)])
    settings = TrainSettings(steps=4, frames=16, contrast_from=0.5)
    leak, heard = Interference("bass", [drums]), Sampler([bass])
    task = FlowTask(FlowConfig(bands=4), settings, heard, heard, leak)
    holds_drums = []
    apply = Features.apply

    def watched(seen, magnitudes):
        holds_drums.append(bool(magnitudes[..., 3].any()))
        return apply(seen, magnitudes)

    monkeypatch.setattr(Features, "apply", watched)
    for _ in TrainingRun(tmp_path, CHECKPOINT, task).run(every=100):
        pass
    # two steps of likelihood alone, two of likelihood then contrast; the rest is validation
    assert holds_drums[:6] == [False, False, False, True, False, True]


# --- data card --------------------------------------------------------------------------------


def test_card_names_origin_licence_and_minutes(tmp_path):
    for name in ("loop_1", "loop_2", "take_1"):
        write(tmp_path / "declared" / f"{name}.wav", tone(440, 3.0))
    entries = {
        "loop_*": {"name": "loops", "origin": "a shop", "licence": "CC0-1.0", "weight": 2.0},
        "*": {"name": "takes", "credit": "A. Player"},
    }
    (tmp_path / "declared" / "SOURCES.yaml").write_text(yaml.safe_dump(entries, sort_keys=False))
    write(tmp_path / "licensed" / "a.wav", tone(440, 3.0))
    (tmp_path / "licensed" / "LICENSE").write_text("\nMIT License\n\nCopyright ...")
    write(tmp_path / "bare" / "a.wav", tone(440, 3.0))
    corpus = load_corpus("bass", [tmp_path], VIEW, variants=(Variant(0.0), Variant(2.0)))
    rows = {s.name: (s.origin, s.licence, s.credit, s.files, s.minutes) for s in corpus.sources}
    assert rows == {
        "bare": ("unknown", "unknown", "", 1, 0.05),
        "loops": ("a shop", "CC0-1.0", "", 2, 0.1),
        "takes": ("unknown", "unknown", "A. Player", 1, 0.05),
        "licensed": ("unknown", "MIT License", "", 1, 0.05),
    }
    assert corpus.weights == {"bare": 1.0, "loops": 2.0, "takes": 1.0, "licensed": 1.0}


def test_nothing_but_recordings_for_judging_is_told(tmp_path):
    write(tmp_path / "a.wav", tone(440))
    (tmp_path / "SOURCES.yaml").write_text('"*": {name: a, held_out: true}')
    with pytest.raises(StemwrightError, match="Kept for judging: 1"):
        load_corpus("bass", [tmp_path], VIEW)


def test_catalogue_goes_before_the_folders_own_word(tmp_path):
    path = write(tmp_path / "bass" / "a.wav", tone(440))
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text('"bass/*": {name: ours, licence: CC0-1.0}')
    assert Origins(catalogue).of(path).name == "ours"
    assert Origins().of(path).name == "bass"


@pytest.mark.parametrize(
    "text", ["[1, 2", '"*": {nmae: typo}', "- a list", '"*": {name: a, weight: 0}']
)
def test_broken_sources_file_is_told(tmp_path, text):
    write(tmp_path / "a.wav", tone(440))
    (tmp_path / "SOURCES.yaml").write_text(text)
    with pytest.raises(StemwrightError, match=r"SOURCES\.yaml cannot be used"):
        load_corpus("bass", [tmp_path], VIEW)


def test_truncated_recording_is_told_or_read_but_never_fatal(tmp_path):
    write(tmp_path / "good.wav", tone(440))
    whole = write(tmp_path / "cut.flac", tone(440, 5.0)).read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    with wave.open(str(tmp_path / "none.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    corpus = load_corpus("bass", [tmp_path], VIEW, variants=(Variant(0.0),))
    assert "good" in {c.song for c in corpus.clips}
    assert "none.wav" in {refusal.path.name for refusal in corpus.refused}
