"""The pages of the poster's systems and of the interleaved family: measures, rows, verdicts."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

import bench_path  # noqa: F401
import systems
from export.data.songs import read_songs
from export.gan_bundle import export_gan
from export.models.estimator import EstimatorConfig
from export.models.wavegan import GanConfig
from export.separators import export_family
from export.training.gan_training import GanSettings, GanTask, run_of
from export.training.interleaved_training import CHECKPOINT, InterleavedTask, settings_of
from export.training.run import TrainingRun
from interleaved import Line, claims, page, table
from multitracks import Song
from quality import Mix
from quality_page import Score
from rival_fixtures import STEMS, tones, toy_songs, write_songs
from scores import bss_eval_db, sdr_db
from song_folders import link_songs, link_stems
from systems import RATE, PaperSong, card_row, gan_rows, judged
from systems_page import POSTER_MUSDB, Trained, systems_page


@pytest.fixture
def references():
    rng = np.random.default_rng(0)
    return {stem: rng.standard_normal((1, 4000)).astype(np.float32) for stem in STEMS}


def test_a_true_stem_has_neither_interference_nor_artefacts(references):
    assert min(bss_eval_db(references, "bass", references["bass"])) > 90


def test_a_gain_is_forgiven(references):
    measured = bss_eval_db(references, "bass", 0.5 * references["bass"])
    assert min(measured) > 90


def test_bleed_is_interference_and_noise_is_artefact(references):
    noise = np.random.default_rng(9).standard_normal((1, 4000)).astype(np.float32)
    sdr, sir, sar = bss_eval_db(references, "bass", references["bass"] + 0.1 * references["drums"])
    assert (sdr, sir) == (pytest.approx(20, abs=0.5), pytest.approx(20, abs=0.5))
    assert sar > 90
    sdr, sir, sar = bss_eval_db(references, "bass", references["bass"] + 0.1 * noise)
    assert (sdr, sar) == (pytest.approx(20, abs=0.5), pytest.approx(20, abs=0.5))
    assert sir > 30


def test_distortion_is_the_sum_of_both(references):
    noise = np.random.default_rng(9).standard_normal((1, 4000)).astype(np.float32)
    e = references["bass"] + 0.2 * references["vocals"] + 0.1 * noise
    sdr, sir, sar = bss_eval_db(references, "bass", e)
    together = 10 ** (-sir / 10) + 10 ** (-sar / 10)
    assert sdr == pytest.approx(-10 * np.log10(together), abs=0.3)


def test_a_silent_stem_beside_it_does_no_harm(references):
    references["other"] = np.zeros_like(references["other"])
    assert np.isfinite(bss_eval_db(references, "bass", references["bass"] * 0.9)).all()


def test_songs_are_judged_as_in_the_paper(tmp_path):
    folder = write_songs(tmp_path, 1, 44_100, 1.0) / "song 0"
    song = PaperSong(Song("song 0", {stem: (folder / f"{stem}.wav",) for stem in STEMS}))
    stems, rate = song.read(0)
    assert rate == RATE
    expected = tones(0, RATE, 1.0)[1]
    inside = slice(500, -500)
    assert sdr_db(expected[inside], stems["bass"][0, inside]) > 20


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """The card of a tiny mask family after one step, and its number of weights."""
    out = tmp_path_factory.mktemp("family")
    small = EstimatorConfig(channels=2, hidden=12, recurrent=6, head=6, dilations=(1,))
    settings = settings_of("interleaved", STEMS, updates=1, batch=2, seconds=0.3)
    task = InterleavedTask("interleaved", STEMS, small, settings, *toy_songs(4, RATE).split())
    for _ in TrainingRun(out, CHECKPOINT, task).run(4):
        pass
    weights = sum(p.numel() for p in task.model.parameters())
    return export_family(out, out / "family.yaml"), weights


@pytest.fixture
def mix(tmp_path):
    audio = tones(1, RATE, 2.0)
    path = tmp_path / "mix.wav"
    soundfile.write(path, audio.sum(axis=0), RATE, subtype="FLOAT")
    truth = {stem: own[None] for stem, own in zip(STEMS, audio, strict=True)}
    return Mix(path, audio.sum(axis=0)[None], RATE, truth)


def test_a_card_is_a_row(family, mix):
    card, weights = family
    row = card_row(card, 1)
    assert row.parameters == weights - 2 * 128  # all but the scale and shift of each band
    found = row.system(mix)
    assert list(found) == list(STEMS)
    assert all(stem.shape == mix.audio.shape for stem in found.values())
    first = row.system(mix)
    assert all(np.array_equal(found[stem], first[stem]) for stem in STEMS)


def test_gan_priors_are_a_row(tmp_path, mix):
    songs = toy_songs(2, 8000).split()
    config = GanConfig(width=2, layers=4, latent=4, sample_rate=8000)
    for stem in STEMS:
        task = GanTask(stem, config, GanSettings(steps=1, batch=2), *songs)
        for _ in run_of(tmp_path / stem, task).run(1):
            pass
        export_gan(tmp_path / stem, stem, tmp_path / f"{stem}.gan")
    rows = gan_rows(tmp_path, 2, 1)
    for row in rows.values():
        found = row.system(mix)
        assert {stem: audio.shape for stem, audio in found.items()} == dict.fromkeys(
            STEMS, mix.audio.shape
        )
    identities = {row.identity for row in [*rows.values(), *gan_rows(tmp_path, 3, 1).values()]}
    assert len(identities) == 4


def test_the_mixs_phase_turns_a_stem_that_plays_the_right_magnitudes(mix):
    turned = systems.phased(-mix.audio, mix.audio)
    assert sdr_db(mix.audio, turned) > 50


def test_a_row_of_the_posters_name_comes_before_one_that_says_its_size():
    own = [score("InstGlow, published size", "a", 3.0), score("InstGlow", "a", 2.0)]
    printed = systems_page(own, [], {}, "", 11.5, "x")
    assert "familiar: InstGlow (2.00)" in printed


SLAKH = """\
stems:
  S00: {inst_class: Drums, audio_rendered: true}
  S01: {inst_class: Guitar, audio_rendered: true}
  S02: {inst_class: Bass, audio_rendered: true}
"""


@pytest.fixture
def data_sets(tmp_path):
    """A song of MUSDB18-HQ and a track of Slakh2100 as they lie on disk, in tones."""
    audio = tones(3, 44_100, 2.0)
    song = tmp_path / "musdb18hq" / "test" / "A - One"
    track = tmp_path / "slakh" / "test" / "Track01876"
    for folder in (song, track / "stems"):
        folder.mkdir(parents=True)
    for stem, own in zip(STEMS, audio, strict=True):
        soundfile.write(song / f"{stem}.wav", np.stack([own, own], axis=1), 44_100)
    soundfile.write(song / "mixture.wav", audio.sum(axis=0), 44_100)
    for number, own in enumerate(audio[:3]):
        soundfile.write(track / "stems" / f"S{number:02}.flac", own, 44_100)
    (track / "metadata.yaml").write_text(SLAKH)
    return tmp_path


def test_whoever_has_musdb_and_slakh_prints_the_page_of_them(
    family, data_sets, capsys, monkeypatch
):
    """From folder layouts to the page, by the script's own command line."""
    card, _ = family
    scores = data_sets / "scores.jsonl"
    argv = ["systems.py", "--set", f"musdb18=musdb18hq:{data_sets / 'musdb18hq'}",
            "--set", f"slakh=slakh2100:{data_sets / 'slakh'}", "--card", f"mine={card}",
            "--only", "mixture / K", "--only", "mine", "--recordings", data_sets,
            "--seconds", 1.5, "--scores", scores]  # fmt: skip
    monkeypatch.setattr("sys.argv", list(map(str, argv)))
    systems.main()
    printed = capsys.readouterr().out
    rows = [json.loads(line) for line in scores.read_text().splitlines()]
    assert [(row["column"], row["song"], row["system"]) for row in rows] == [
        (column, song, system)
        for column, song in (("musdb18", "A - One"), ("slakh", "Track01876"))
        for system in ("mixture / K", "mine")
    ]
    assert set(rows[0]["decibels"]) == set(STEMS)
    assert all(np.isfinite(values[0]) for values in rows[0]["decibels"].values())
    assert "mean, musdb18" in printed or "musdb18" in printed.lower()
    assert "Slakh" in printed
    systems.main()
    assert len(scores.read_text().splitlines()) == len(rows), "what is measured is not again"
    assert capsys.readouterr().out == printed


def test_recordings_by_instrument_become_songs(tmp_path):
    parts = tmp_path / "stems"
    for instrument in ("vocals", "bass", "drums", "guitar", "piano"):
        (parts / instrument).mkdir(parents=True)
        for number in (1, 2, 13):
            if (instrument, number) != ("piano", 2):
                path = parts / instrument / f"rendered_{number:03}.wav"
                soundfile.write(path, tones(number, RATE, 0.5)[0], RATE)
    assert link_songs(parts, tmp_path / "songs") == 1, "one lacks its piano, one is held out"
    assert link_songs(parts, tmp_path / "songs") == 1
    [song] = read_songs([tmp_path / "songs"], STEMS, RATE).songs
    assert song.name == "rendered_001"
    link_stems(parts, tmp_path / "by stem")
    found = sorted(path.name for path in (tmp_path / "by stem" / "other").iterdir())
    assert found == ["rendered_001-guitar.wav", "rendered_001-piano.wav"]
    assert not list((tmp_path / "by stem").rglob("*013*")), "what is held out stays out"


def score(system, song, level, column="familiar"):
    decibels = {stem: (level, level - 3, level + 5) for stem in STEMS}
    return Score(column, song, system, 4_000_000, decibels, 1.0, 10.0, "x")


def test_the_page_has_published_numbers_beside_ours_and_reports_the_order():
    scores = [
        score(system, song, level, column)
        for column in ("familiar", "unfamiliar")
        for song in ("heldout_1", "b")
        for system, level in (
            ("mixture / K", 1.0),
            ("InstGlow, published size", 5.0),
            ("Demucs v2", 3.0),
            ("GAN prior", -0.5),
        )
    ]
    trained = [Trained("Demucs v2", "for ten minutes")]
    minutes = {"Demucs v2": "10 on a card"}
    printed = systems_page(scores, trained, minutes, "Sizes differ.", 11.5, "x")
    assert "- *Demucs v2*: for ten minutes" in printed
    assert "Sizes differ." in printed
    assert "| Demucs v2 | 7.14 | 5.50 | 6.74 | 4.16 | 5.88 |" in printed.replace("5.89", "5.88")
    assert "familiar: InstGlow (5.00) > Demucs v2 (3.00) > GAN prior (-0.50)" in printed
    assert "| Wave-U-Net | 0.01 | 3.91 | - | - |" in printed
    assert "2.00 [2.00, 2.00]" in printed  # Demucs over mixture / K
    assert "| 0.10 | 4.00 M | 10 on a card |" in printed
    rows = [line.split(" | ")[0] for line in printed.split("## Familiar")[1].splitlines()[6:10]]
    names = ["mixture / K", "GAN prior", "InstGlow, published size", "Demucs v2"]
    assert rows == [f"| {name}" for name in names]


def test_the_posters_means_are_the_papers():
    means = {system: np.mean(values) for system, values in POSTER_MUSDB.items()}
    expected = {"InstGlow": 3.18, "MusicGlow": 1.71, "GAN prior": -0.01, "Demucs v2": 5.89}
    assert means == pytest.approx(expected | {"Wave-U-Net": 3.345}, abs=0.01)


def test_rows_that_were_measured_elsewhere_are_scores(tmp_path):
    row = {
        "column": "familiar",
        "song": "a",
        "system": "InstGlow, published size",
        "parameters": 46_000_000,
        "sdr": {"bass": 2.0},
        "si_sdr": {"bass": 1.0},
        "mix": {"bass": -4.0},
        "seconds": 3.0,
        "audio_s": 11.5,
    }
    path = tmp_path / "judged.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (found,) = judged(path)
    assert found.decibels == {"bass": (2.0, 1.0, 6.0)}
    assert list(judged(None)) == []


def test_the_page_is_printed_from_what_was_measured_before(tmp_path, capsys, monkeypatch):
    """Without songs, networks or recordings: scores alone, each with its row's minutes."""
    rows = ("Demucs v2", "InstGlow", "GAN prior, mix's phase")
    lines = [score(row, song, 3.0).line() for row in rows for song in "ab"]
    path = tmp_path / "judged.jsonl"
    path.write_text("\n".join([*lines, *lines]))  # twice is once
    minutes = ("--minutes", "InstGlow=28", "--minutes", "GAN prior=16")
    monkeypatch.setattr("sys.argv", ["x", "--judged", str(path), *minutes])
    systems.main()
    printed = capsys.readouterr().out
    assert "| InstGlow | 2 | 3.00 | 3.00 | 3.00 | 3.00 |" in printed
    assert "4.00 M | 28 |" in printed and "4.00 M | 16 |" in printed and "4.00 M | - |" in printed


def test_the_page_of_docs_is_what_its_command_prints(capsys, monkeypatch):
    root = Path(__file__).parents[1]
    page = (root / "docs" / "systems.md").read_text()
    command = page.split("Printed by `")[1].split("` with Stemwright")[0]
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", shlex.split(command)[1:])
    systems.main()
    where = re.compile(r"` with Stemwright .*")  # versions and machine
    assert where.sub("", capsys.readouterr().out) == where.sub("", page)


@pytest.mark.parametrize(
    ("words", "message"),
    [((), "name --scores"), (("--judged", "x", "--minutes", "28"), "expected ROW=MINUTES")],
)
def test_a_page_of_nothing_is_refused(words, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", *words])
    with pytest.raises(SystemExit):
        systems.main()
    assert message in capsys.readouterr().err


def lines_of(levels):
    """Lines of ten songs; `levels` has SDR and SIR of every run."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(10):
        easy = rng.normal(0, 1)
        for run, (sdr, sir) in levels.items():
            stems = ("vocals",) if run == "frozen" else STEMS
            decibels = {s: (sdr + easy, sir + easy, 8.0 + easy, sdr - 1) for s in stems}
            found.append(Line("familiar", f"song {number}", run, "x", decibels, 1.0, 10.0))
    return found


GOOD = {
    "interleaved": (4.0, 9.0),
    "simultaneous": (4.2, 8.5),
    "apart": (3.8, 8.0),
    "independent": (4.3, 9.2),
    "frozen": (4.0, 8.0),
}
SIZES = {run: 1_000_000 for run in GOOD} | {"independent": 3_000_000}


def test_claims_that_hold_are_said_to_hold():
    assert [claim.holds for claim in claims(lines_of(GOOD), SIZES, 1)] == [True] * 6


@pytest.mark.parametrize(
    ("change", "index"),
    [
        ({"interleaved": (3.0, 9.0)}, 0),
        ({"interleaved": (4.0, 8.0)}, 3),
        ({"frozen": (0.5, 8.0)}, 4),
        ({"frozen": (-4.0, 8.0), "independent": (-2.0, 9.2)}, 4),  # a share of a loss
        ({"apart": (2.0, 8.0)}, 5),
    ],
)
def test_claims_that_do_not_hold_are_said_not_to(change, index):
    found = claims(lines_of(GOOD | change), SIZES, 1)
    assert not found[index].holds
    assert found[index].words


def test_size_and_passes_are_claims_too():
    found = claims(lines_of(GOOD), SIZES | {"interleaved": 3_000_001}, 4)
    assert [claim.holds for claim in found[1:3]] == [False, False]


def test_the_interleaved_page_has_every_run_and_claim():
    printed = page(lines_of(GOOD), SIZES, 1, "Trained for a minute.")
    for run in GOOD:
        assert f"| {run} |" in printed
    assert printed.count("| yes |") == 6
    assert "Trained for a minute." in printed
    assert np.isnan(table(lines_of(GOOD), "frozen", "sdr")[:, 1]).all()


def test_a_second_training_stands_beside_and_what_it_says_otherwise_is_counted():
    other = lines_of(GOOD | {"interleaved": (4.0, 8.0)})
    printed = page(lines_of(GOOD), SIZES, 1, "", {"seed 1, a tenth of the budget": other})
    assert printed.count("| interleaved |") == 2
    assert "found, seed 1, a tenth of the budget | holds here, seed 1" in printed
    assert printed.count("| no |") == 1
    assert "the same verdict on 5 of 6 claims" in printed
