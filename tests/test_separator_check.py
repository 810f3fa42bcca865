"""`stemwright separator`: cards are written from what is known, and wrong ones are found out."""

import json
import os
import pty
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from click.testing import CliRunner

import separator_toys as toys
from engine import RenderOptions, render
from engine.model.sessions import Device
from engine.separators.drafting import DraftOptions, card_text, draft_card, uvr_key
from engine.separators.excerpt import computed_music
from engine.separators.levels import better_level, try_levels
from engine.separators.loading import load_card
from engine.separators.lock import LevelFindings, LevelFit, StemFindings, read_lock
from engine.separators.trial import against_metadata, check_card, fitting_gains, judge, measure
from presets import load_preset
from stemwright import main

SECONDS = 8.0
RIVALS = Path(__file__).parents[1] / "bench" / "rivals"


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    path = tmp_path_factory.mktemp("music") / "song.wav"
    soundfile.write(path, sum(toys.tones(SECONDS).values()).T, toys.RATE, subtype="FLOAT")
    return path


def checked(card, music):
    return check_card(load_card(card), music, Device.parse("cpu"), 2, SECONDS)


def run(*words):
    return CliRunner().invoke(main, ["separator", *map(str, words)])


def test_a_right_card_is_good(tmp_path, music):
    trial = checked(toys.mdx(tmp_path), music)
    found = trial.lock.stems["low"]
    assert not trial.refused
    assert trial.findings == ()
    assert found.gain == pytest.approx(1, abs=0.02)
    assert found.lag == 0
    assert found.shift_db > 30
    assert trial.lock.seconds_per_minute > 0
    assert trial.lock.peak_mib > 50


WRONG_MDX = {
    "order of (c r)": {
        "inputs": [toys.tensor("input", "spec", "b (r c) f t")],
        "outputs": [toys.tensor("output", "spec", "b (r c) f t")],
    },
    "n_fft by 2 dim_f": {"stft": toys.MDX | {"n_fft": 6144}, "discard": 3072},
    "normalized by mistake": {"stft": toys.MDX | {"normalized": True}},
    "window none": {"stft": toys.MDX | {"window": "none"}},
    "gain forgotten, of 1.25": {"gain": 0.75},
}


@pytest.mark.parametrize("mistake", WRONG_MDX)
def test_a_wrong_card_is_found_out(mistake, tmp_path, music):
    trial = checked(toys.mdx(tmp_path, **WRONG_MDX[mistake]), music)
    assert trial.findings, trial.lock


@pytest.mark.parametrize(
    "stft", [toys.MDX | {"hop": 960}, toys.MDX | {"center": False}], ids=["hop", "center"]
)
def test_wrong_frames_are_refused_before_anything_runs(stft, tmp_path, music):
    with pytest.raises(Exception, match="the card makes it"):
        checked(toys.mdx(tmp_path, stft=stft), music)


def test_compensate_forgotten_is_told_with_the_number(tmp_path, music):
    """The model gives 1/1.036 of the stem; the card that knows says gain: 1.036."""
    trial = checked(toys.mdx(tmp_path, gain=1 / 1.036), music)
    assert "times 1.036" in trial.findings[0].text
    assert not trial.refused


def test_a_turned_stem_is_refused(tmp_path, music):
    graph = toys.Graph()
    fed = graph.take("mix", ["b", 2, 4096])
    graph.give(graph.op("Neg", fed), "stem", ["b", 2, 4096])
    model = graph.save(tmp_path / "neg.onnx")
    card = toys.write_card(
        tmp_path, [model], stems=["all"], segment=4096,
        inputs=[toys.tensor("mix", "wave", "b c n")],
        outputs=[toys.tensor("stem", "wave", "b c n")],
    )  # fmt: skip
    trial = checked(card, music)
    assert trial.refused
    assert "turned over" in trial.findings[0].text


def test_a_late_stem_is_refused(tmp_path):
    graph = toys.Graph()
    fed = graph.take("mix", ["b", 2, 4096])
    cut = graph.op(
        "Slice", fed, *[graph.constant(np.array([v], np.int64)) for v in (0, 4096 - 64, 2)]
    )
    pads = graph.constant(np.array([0, 0, 64, 0, 0, 0], np.int64))
    graph.give(graph.op("Pad", cut, pads), "stem", ["b", 2, 4096])
    model = graph.save(tmp_path / "late.onnx")
    card = toys.write_card(
        tmp_path, [model], stems=["all"], segment=4096, discard=128,
        inputs=[toys.tensor("mix", "wave", "b c n")],
        outputs=[toys.tensor("stem", "wave", "b c n")],
    )  # fmt: skip
    noise = tmp_path / "noise.wav"
    rng = np.random.default_rng(1)
    soundfile.write(noise, 0.1 * rng.standard_normal((toys.RATE * 3, 2)), toys.RATE)
    trial = check_card(load_card(card), noise, Device.parse("cpu"), 2, 3.0)
    assert trial.refused
    assert any("64 samples late" in finding.text for finding in trial.findings)


def about_level(card, music):
    trial = checked(card, music)
    assert trial.lock.level is not None
    return trial.lock.level, [f.text for f in trial.findings if f.text.startswith("normalise")]


def test_a_missing_normalise_is_told_with_what_was_measured(tmp_path, music):
    level, found = about_level(toys.levelled(tmp_path, "even"), music)
    assert level.matters
    assert "track-mean-std fits better" in found[0]
    assert f"{level.alike_db:g} dB alike" in found[0]
    assert "trained on normalised songs" in found[0]
    right = toys.levelled(tmp_path, "even", normalise="track-mean-std")
    assert about_level(right, music)[1] == []


def test_a_needless_normalise_is_told(tmp_path, music):
    wrong = toys.levelled(tmp_path, "raw", normalise="track-mean-std")
    assert "none fits better" in about_level(wrong, music)[1][0]
    assert about_level(toys.levelled(tmp_path, "raw"), music)[1] == []


@pytest.mark.parametrize("normalise", ["none", "track-mean-std"])
def test_networks_that_scale_by_themselves_are_not_asked_for_it(normalise, tmp_path, music):
    card = toys.levelled(tmp_path, "any", normalise=normalise)
    level, found = about_level(card, music)
    assert not level.matters
    assert found == []


def test_where_the_stems_do_not_tell_nothing_is_guessed():
    fit = {"steady_db": 9.0, "off_db": 1.0}
    level = LevelFindings(
        alike_db=5.0, none=LevelFit(**fit), track_mean_std=LevelFit(**fit | {"steady_db": 10.5})
    )
    assert better_level(level) is None
    apart = level.model_copy(update={"track_mean_std": LevelFit(steady_db=15.0, off_db=5.0)})
    assert better_level(apart) is None, "steadier, but further off"
    strange = level.model_copy(update={"track_mean_std": LevelFit(steady_db=29.0, off_db=11.0)})
    assert better_level(strange) is None, "nothing of this kind in the music"
    silent = level.model_copy(update={"none": LevelFit(steady_db=0.0, off_db=None)})
    assert better_level(silent) == "track-mean-std"
    risen = LevelFit(steady_db=30.0, off_db=1.0)
    gated = level.model_copy(update={"track_mean_std": LevelFit(steady_db=25.0, off_db=1.0)})
    assert better_level(gated) == "track-mean-std"
    assert better_level(gated.model_copy(update={"louder": risen})) is None, "a threshold alone"


@pytest.mark.parametrize("trained_for", ["none", "track-mean-std"])
def test_the_level_of_a_trained_network_is_heard(trained_for, tmp_path):
    """The Wave-U-Net of bench/rivals, as it is and as if its songs had been normalised."""
    card = yaml.safe_load((RIVALS / "waveunet.yaml").read_text("utf-8"))
    model = RIVALS / "waveunet.onnx"
    if trained_for == "track-mean-std":
        model = toys.for_deviation_one(model, 0.12, tmp_path / "even.onnx")
    else:
        model = shutil.copy(model, tmp_path)
    path = toys.write_card(tmp_path, [Path(model)], **card | {"name": "net"})
    mix = computed_music(22_050, 4.0)
    level = try_levels(load_card(path), mix, Device.parse("cpu"), 2)
    assert level.matters
    assert better_level(level) == trained_for


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalise": "track-mean-std"}, "the file says of itself none, the card track-mean-std"),
        ({"stft": toys.HTDEMUCS | {"normalized": False}}, "stft.normalized: the file says"),
        ({"stems": ["high", "low"]}, "stems: the file says of itself low, high"),
    ],
    ids=["normalise", "normalized", "order"],
)
def test_what_a_file_says_of_itself_is_compared_with_the_card(changes, message, tmp_path):
    model = toys.two_branch_toy(tmp_path / "m.onnx", "unblend", UNBLEND)
    keys = yaml.safe_load(toys.unblend_htdemucs(tmp_path).read_text())
    assert against_metadata(load_card(toys.write_card(tmp_path, [model], **keys))) == []
    card = toys.write_card(tmp_path, [model], **keys | changes)
    [finding] = against_metadata(load_card(card))
    assert finding.refused
    assert message in finding.text


def test_a_soft_stem_with_bleed_is_not_taken_for_a_wrong_gain():
    """Alone, the voice would want twice its gain."""
    rng = np.random.default_rng(3)
    band, voice = rng.standard_normal((2, 2, 50_000))
    stems = np.stack([band * 0.9, 0.1 * voice + 0.1 * band]).astype(np.float32)
    mix = stems.sum(axis=0)
    assert float((stems[1] * mix).sum() / (stems[1] ** 2).sum()) > 4
    assert fitting_gains(stems, mix) == pytest.approx([1, 1], abs=1e-3)
    assert fitting_gains(stems / np.float32(1.25), mix) == pytest.approx([1.25, 1.25], abs=1e-3)
    twins = np.stack([mix, mix]) * np.float32(0.5)
    assert fitting_gains(twins, mix) == pytest.approx([2, 2]), "which one cannot be told"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("accompaniment", "vocals"), "vocals have"),
        (("drums", "vocals"), "vocals have"),
        (("vocals", "drums"), ""),
        (("vocals", "accompaniment"), ""),
        (("drums", "other"), "drums are not the most transient stem (other is)"),
    ],
)
def test_names_that_do_not_go_with_the_sound_are_told(wrong, message, tmp_path):
    """A voice without lows that holds its tone, and what is low and hits."""
    loaded = load_card(toys.htdemucs_wave(tmp_path, 65536))
    voice = StemFindings(gain=1.0, lag=0, energy_db=-6.0, shift_db=60.0, centroid_hz=900.0,
                         low_share=0.01, crest_db=5.0)  # fmt: skip
    band = voice.model_copy(update={"low_share": 0.4, "crest_db": 12.0, "centroid_hz": 500.0})
    found = [
        finding.text for finding in judge(loaded, dict(zip(wrong, (voice, band), strict=True)))
    ]
    assert (message in found[0] and "in the order of" in found[0]) if message else found == []


def test_hits_and_lows_are_measured():
    time_s = np.arange(44_100) / 44_100
    tone = np.tile(np.sin(2 * np.pi * 440 * time_s), (2, 1)).astype(np.float32)
    hits = np.tile(np.exp(-60 * (time_s % 0.25)) * np.sin(2 * np.pi * 60 * time_s), (2, 1))
    own = [measure(x.astype(np.float32), x, x, 44_100, 1.0) for x in (tone, hits)]
    assert own[0].low_share < 0.001 and own[1].low_share > 0.7
    assert own[1].crest_db > own[0].crest_db + 6


def test_one_late_stem_among_others_is_told_and_not_refused(tmp_path):
    loaded = load_card(toys.htdemucs_wave(tmp_path, 65536))
    sound = StemFindings(gain=1.0, lag=0, energy_db=-6.0, shift_db=60.0, centroid_hz=400.0)
    late = sound.model_copy(update={"lag": 177})
    [one] = judge(loaded, {"low": sound, "high": late})
    assert "177 samples late" in one.text and not one.refused
    assert all(finding.refused for finding in judge(loaded, {"low": late, "high": late}))


def test_stems_in_another_order_are_told(tmp_path, music):
    card = toys.htdemucs_wave(tmp_path, 65536, stems=["other", "bass"])
    trial = checked(card, music)
    assert any("bass is not the lowest" in finding.text for finding in trial.findings)


def test_without_music_there_is_some(tmp_path):
    music = computed_music(44100, 4.0)
    assert music.shape == (2, 4 * 44100)
    assert 0.1 < np.abs(music).max() < 2
    assert np.array_equal(music, computed_music(44100, 4.0))


def test_check_writes_the_lock_and_a_job_believes_it(tmp_path, music):
    card = toys.htdemucs_wave(tmp_path, 65536)
    preset = tmp_path / "p.yaml"
    preset.write_text("name: p\nstems: {low: {separator: toy}, high: {separator: toy}}\n")
    options = RenderOptions(separator_folders=(tmp_path,), device="cpu")
    with pytest.raises(Exception, match="is not checked"):
        render(music, tmp_path / "out", load_preset(preset), options)
    done = run("check", card, "--music", music, "--seconds", SECONDS)
    assert done.exit_code == 0, done.output
    assert "s for each minute of audio" in done.output
    assert render(music, tmp_path / "out", load_preset(preset), options).degraded == ()
    changed = yaml.safe_load(card.read_text()) | {"overlap": 0.5}
    card.write_text(yaml.safe_dump(changed))
    assert read_lock(load_card(card)) is None
    with pytest.raises(Exception, match="has changed since its check"):
        render(music, tmp_path / "again", load_preset(preset), options)


def test_a_refused_card_gets_no_lock_unless_accepted(tmp_path, music):
    card = toys.mdx(tmp_path, stft=toys.MDX | {"normalized": True})
    words = ("check", card, "--music", music, "--seconds", SECONDS)
    done = run(*words)
    assert done.exit_code == 1
    assert "wrong: low" in done.output
    assert not card.with_suffix(".lock").exists()
    assert run(*words, "--accept").exit_code == 0
    assert read_lock(load_card(card)).findings


def test_list_show_and_remove(tmp_path):
    card = toys.echo(tmp_path)
    (tmp_path / "broken.yaml").write_text("card: 1\nname: broken\n")
    listed = run("list", "--separators", tmp_path)
    assert listed.exit_code == 0
    assert "not checked" in listed.output
    assert "broken" in listed.output
    assert "unusable" in listed.output
    shown = json.loads(run("show", "toy", "--separators", tmp_path).output)
    assert shown["card"]["segment"] == 4096
    assert shown["check"] is None
    assert run("remove", "toy", "--separators", tmp_path).exit_code == 0
    assert not card.exists()
    assert (tmp_path / "echo.onnx").exists()


UNBLEND = {
    "sources": '["low", "high"]', "sample_rate": "44100", "audio_channels": "2",
    "model_family": "htdemucs", "segment_samples": "343980", "stft_n_fft": "4096",
    "stft_hop_length": "1024", "stft_win_length": "4096", "stft_normalized": "true",
    "stft_window": "hann", "batch_mode": "dynamic", "external_normalization": "none",
    "license": "not stated", "stft_pad_samples": "1536", "stft_frame_trim": "2",
}  # fmt: skip


def test_a_card_is_made_from_metadata_alone(tmp_path):
    model = toys.two_branch_toy(tmp_path / "m.onnx", "unblend", UNBLEND)
    draft = draft_card([model], DraftOptions())
    assert draft.missing == {}
    path = tmp_path / "m.yaml"
    path.write_text(card_text(draft))
    written = load_card(path).card
    right = load_card(toys.unblend_htdemucs(tmp_path)).card
    for key in ("stft", "segment", "stems", "inputs", "outputs", "normalise", "sample_rate"):
        assert getattr(written, key) == getattr(right, key), key


def test_a_card_is_made_from_uvrs_table(tmp_path):
    card = toys.mdx(tmp_path)
    model = tmp_path / "my-vocals.onnx"
    table = tmp_path / "model_data.json"
    parameters = {"compensate": 1.021, "mdx_dim_f_set": 3072, "mdx_dim_t_set": 8,
             "mdx_n_fft_scale_set": 7680, "primary_stem": "Vocals"}  # fmt: skip
    table.write_text(json.dumps({uvr_key(model): parameters}))
    card.unlink()
    done = run("init", model, "--uvr-table", table, "--licence", "not stated")
    assert done.exit_code == 0, done.output
    written = load_card(tmp_path / "my-vocals.yaml").card
    assert written.stems == ("vocals",)
    assert written.gain == (1.021,)
    assert (written.segment, written.discard) == (261120, 3840)
    assert written.stft.n_fft == 7680
    table.write_text("{}")
    assert "has no entry" in run("init", model, "--uvr-table", table, "--force").output


@pytest.mark.parametrize("row", [1, 3, 6, 8, 9, 10, 12, 13, 14, 15])
def test_init_asks_for_what_no_graph_tells(row, tmp_path):
    """With what it asks for, the card is that of the row, or as good."""
    right = load_card(toys.ROWS[row](tmp_path))
    (tmp_path / "toy.yaml").unlink()
    models = [tmp_path / file.path for file in right.card.files]
    words = ["init", *models, "--name", "mine"]
    first = run(*words)
    assert first.exit_code == 1
    assert "missing licence" in first.output
    words += ["--force", "--licence", "x", "--stems", ",".join(right.card.stems)]
    if right.card.stft:
        assert "missing stft.n_fft" in first.output
        words += ["--n-fft", right.card.stft.n_fft, "--hop", right.card.stft.hop]
    done = run(*words)
    assert done.exit_code == 0, done.output
    written = load_card(tmp_path / "mine.yaml").card
    for key in ("stems", "segment", "inputs", "outputs", "files"):
        if row != 15:
            assert getattr(written, key) == getattr(right.card, key), key
    if right.card.stft:
        assert written.stft.bins == right.card.stft.bins
        assert written.stft.center == right.card.stft.center


def on_a_terminal(argv, answers):
    """What a program prints on a terminal where a person answers each question."""
    process, terminal = pty.fork()
    if not process:
        os.execv(argv[0], list(map(str, argv)))
    said, answers = "", list(answers)
    while True:
        try:
            more = os.read(terminal, 4096).decode()
        except OSError:  # the other side is gone
            break
        if not more:
            break
        said += more
        if said.endswith(": "):
            os.write(terminal, answers.pop(0).encode() + b"\n")
    assert os.waitpid(process, 0)[1] == 0, said
    assert not answers, said
    return said


def test_on_a_terminal_init_asks_for_what_no_graph_tells(tmp_path):
    """A layout that is not known, a wrong answer on the way: the card is right in the end."""
    graph = toys.Graph()
    fed = graph.take("x", ["b", 1025, 2, 2, 201])
    graph.give(fed, "y", ["b", 1025, 2, 2, 201])
    graph.save(tmp_path / "odd.onnx")
    answers = ["44100", "my own", "spec b f c t", "spec b f r c t", "spec b f r c t", "vocals",
               "2048", "441"]  # fmt: skip
    argv = [sys.executable, "-m", "stemwright", "separator", "init", tmp_path / "odd.onnx"]
    said = on_a_terminal(argv, answers)
    assert "role spec needs r" in said or "has 4" in said
    assert "complete" in said
    card = load_card(tmp_path / "odd.yaml").card
    assert (card.licence, card.stems, card.segment) == ("my own", ("vocals",), 441 * 200)
    assert card.inputs[0].axes == "b f r c t"
    words = ["init", tmp_path / "odd.onnx", "--name", "again", "--licence", "my own"]
    words += ["--stems", "vocals", "--n-fft", 2048, "--hop", 441]
    output = run(*words).output
    assert "missing tensor x: [?, 1025, 2, 2, 201]: its role and axes" in output
    words += ["--tensor", "x spec b f r c t", "--tensor", "y spec b f r c t", "--force"]
    assert run(*words).exit_code == 0
    again = load_card(tmp_path / "again.yaml").card
    assert (again.inputs, again.outputs) == (card.inputs, card.outputs)


def test_init_refuses_what_is_no_onnx(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"PK\x03\x04")
    done = run("init", tmp_path / "model.ckpt")
    assert done.exit_code == 1
    assert "must be exported first" in done.output
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    assert "Is it a whole ONNX file" in run("init", tmp_path / "model.onnx").output
