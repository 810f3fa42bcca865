"""The quality bench: its baseline, its systems on a song made here, and its page."""

import shutil

import numpy as np
import pytest
import soundfile

import bench_path  # noqa: F401 - first, it finds the next ones
import nmf
import quality
from engine.separation.search import divergence
from export.bundle import write_bundle
from export.models.features import Features
from export.models.flow import FlowConfig
from export.training.flow_training import Run, TrainSettings
from multitracks import Song
from presets import load_preset
from prior_fixtures import random_flow
from quality_page import Inside, Score, page

RATE = 44_100


def test_nmf_masks_sum_to_one_and_follow_disjoint_dictionaries(rng):
    low, high = np.zeros((20, 300), np.float32), np.zeros((20, 300), np.float32)
    low[:8], high[12:] = rng.random((8, 300)), rng.random((8, 300))
    masks = nmf.masks(low + high, [nmf.dictionary(low, atoms=4), nmf.dictionary(high, atoms=4)])
    assert masks.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert masks[0, :8].min() > 0.99
    assert masks[1, 12:].min() > 0.99


def test_nmf_explains_what_its_dictionary_drew(rng):
    W = rng.random((30, 4)).astype(np.float32)
    X = W @ rng.random((4, 200)).astype(np.float32)
    explained = W @ nmf.activations(X, W)
    weight = np.ones_like(X)
    flat = np.full_like(X, X.mean())
    assert divergence(X, explained, weight) < 0.01 * divergence(X, flat, weight)


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """Bass and drums that share no frequency: two seconds."""
    folder, rng = tmp_path_factory.mktemp("song"), np.random.default_rng(1)
    time = np.arange(2 * RATE) / RATE
    bass = 0.3 * np.sin(2 * np.pi * 80 * time)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(time.size)) * (_bins(time.size) > 3000))
    for name, audio in (("bass", bass), ("drums", 0.1 * noise)):
        soundfile.write(folder / f"{name}.wav", audio.astype(np.float32), RATE, subtype="FLOAT")
    return Song("made", {name: (folder / f"{name}.wav",) for name in ("bass", "drums")})


def _bins(samples):
    return np.fft.rfftfreq(samples, 1 / RATE)


@pytest.fixture(scope="module")
def engine():
    return quality.Engine(threads=1)


def scored(song, row):
    return quality.measure(song, "familiar", "it", row, 0)


def test_oracle_is_the_ceiling_and_even_shares_are_the_floor(song, engine):
    floor = scored(song, quality.Row(quality.even_shares, 0)).decibels
    ceiling = scored(song, quality.Row(quality.oracle(engine.front_end), 0)).decibels
    for stem in ("bass", "drums"):
        assert ceiling[stem][0] > floor[stem][0] + 15
    assert floor["drums"][2] > 0  # the mixture is a worse guess of the quieter stem


def test_engine_separates_with_the_priors_of_the_stems_that_are_there(song, engine, tmp_path):
    truth, rate = song.read(0)
    audio = sum(truth.values())
    soundfile.write(tmp_path / "mix.wav", audio.T, rate, subtype="FLOAT")
    row = engine.row(load_preset("dry"), "draft")
    found = row.system(quality.Mix(tmp_path / "mix.wav", audio, rate, truth))
    assert set(found) == {"bass", "drums"}
    assert np.abs(sum(found.values()) - audio).max() < 1e-4  # masks of two stems, not of four
    assert row.parameters > 0.5e6  # encoder and heads, no flow


def test_faithful_search_counts_the_flows_and_no_estimate(engine):
    flows = sum(prior.card.parameters for prior in engine.priors.values())
    assert engine.row(load_preset("faithful")).parameters == flows


def random_bundle(folder, engine, stem, labels=()):
    """A tiny flow with random weights and no head, on the shipped priors' view."""
    config = FlowConfig(blocks=1, hidden=4, layers=1, labels=len(labels))
    features = Features(1 / 3, np.full(128, 0.5, np.float32), np.full(128, 0.3, np.float32))
    return write_bundle(
        Run(random_flow(0, config), features, config, TrainSettings(steps=1), 1),
        folder / f"{stem}.prior",
        stem=stem,
        labels=labels,
        front_end=next(iter(engine.priors.values())).card.front_end,
        sources=(),
        validation={},
        training={},
    )


def test_priors_without_heads_are_searched_as_the_paper_does(engine, tmp_path):
    for stem in quality.FOUR:
        random_bundle(tmp_path, engine, stem)
    plain = quality.Engine(1, tmp_path)
    rows = quality.systems(engine, tmp_path, None, {"plain": plain})
    flows = sum(prior.card.parameters for prior in plain.priors.values())
    assert rows[f"{quality.FAITHFUL}, plain"].parameters == flows
    assert "standard, plain" not in rows


def test_scores_of_another_search_length_or_set_of_priors_are_not_taken_for_these(engine):
    dry, faithful = load_preset("dry"), load_preset("faithful")
    rows = [engine.row(dry, "standard"), engine.row(dry, "best"), engine.row(faithful)]
    rows.append(quality.Engine(1, stems=["vocals", "bass"]).row(dry, "standard"))
    keys = {quality.identity(row, seconds) for row in rows for seconds in (0, 11.5)}
    assert len(keys) == 8
    assert quality.identity(engine.row(dry, "standard"), 0) in keys


def test_musicglow_is_counted_once_and_asked_by_stem(song, engine, tmp_path):
    card = random_bundle(tmp_path, engine, "musicglow", list(engine.priors))
    preset = load_preset("faithful")
    few = preset.model_copy(update={"search": preset.search.model_copy(update={"steps": 2})})
    row = engine.row(few, musicglow=tmp_path / "musicglow.prior")
    assert row.parameters == card.parameters
    assert scored(song, row).decibels.keys() == {"bass", "drums"}


def test_other_priors_have_rows_of_their_own(song, engine, tmp_path):
    shipped = next(iter(engine.priors.values())).path.parent
    mine = shutil.copytree(shipped, tmp_path / "mine")
    takes = tmp_path / "takes"
    for stem in engine.priors:
        (takes / stem).mkdir(parents=True)
        shutil.copy(song.stems["bass"][0], takes / stem)
    other = quality.Engine(1, mine)
    rows = quality.systems(engine, takes, further={"mine": other})
    assert {prior.path.parent for prior in other.priors.values()} == {mine}
    added = {name for name in rows if name.endswith(", mine")}
    assert {name.removesuffix(", mine") for name in added} < set(rows)
    assert added == {"first estimate alone, mine", "standard, mine"}
    # the same bundles in another folder: the same stems
    draft, again = (
        scored(song, rows[f"first estimate alone{m}"]).decibels for m in ("", ", mine")
    )
    assert draft == again


def scores():
    return [
        Score(column, song, system, 1000, {"bass": (base + n, base, 2.0)}, 1.0, 10.0)
        for column in ("familiar", "unfamiliar")
        for n, song in enumerate(("a", "b"))
        for system, base in (("mixture / K", 1.0), ("standard", 4.0))
    ]


def test_scores_survive_their_file():
    score = Score.parse(scores()[0].line())
    assert score == Score.parse(score.line())
    assert score.decibels["bass"][0] == 1.0


def test_page_has_both_columns_and_the_paired_difference():
    text = page(scores(), ["mixture / K", "standard"], 11.5, 2, "python bench/quality.py")
    assert text.index("## Familiar") < text.index("## Unfamiliar")
    assert "| standard | 4.50 | 4.50 [4.00, 5.00] |" in text
    # paired: both systems find song b 1 dB easier, so their difference is certain
    assert "| mixture / K | 3.00 [3.00, 3.00] |" in text


def test_priors_inside_a_foreign_stem_have_a_section_where_they_were_measured():
    measured = [Inside("a", "draft", 8, -9.0, 1.0, 2.0), Inside("b", "draft", 8, -8.0, 0.0, -0.5)]
    measured = [Inside.parse(score.line()) for score in measured]
    arguments = (scores(), ["standard"], 11.5, 0, "python bench/quality.py")
    text = page(*arguments, measured)
    assert "2 rendered songs that no training heard, 8 s" in text
    assert "| found inside the foreign `other` | 0.75 |" in text
    assert "1 of 2 songs gain; their differences are from -0.50 to 1.00 dB." in text
    assert "foreign" not in page(*arguments)


def test_nmf_hears_no_held_out_song(tmp_path):
    for name in ("rendered_053", "rendered_054", "loop_3"):
        (tmp_path / "guitar").mkdir(exist_ok=True)
        (tmp_path / "guitar" / f"{name}.ogg").touch()
    files = quality._nmf_files(tmp_path, ["other"])["other"]
    assert [file.stem for file in files] == ["loop_3", "rendered_054"]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("musdb18=musdb19:{}", "expected COLUMN=LAYOUT:FOLDER"),
        ("musdb18=musdb18:{}/nowhere", "expected COLUMN=LAYOUT:FOLDER"),
        ("musdb18", "expected COLUMN=LAYOUT:FOLDER"),
        ("musdb18=musdb18:{}", "no song of the layout musdb18"),
        ("musdb18=musdb18hq:{}", "no musdb18hq here, .*test is missing"),
    ],
)
def test_a_set_that_cannot_be_read_is_told(tmp_path, spec, sentence):
    with pytest.raises(SystemExit, match=sentence):
        quality.songs_of(spec.format(tmp_path), quality.FOUR)


def test_scores_of_other_stems_are_not_taken_for_these(engine, tmp_path):
    fewer = quality.Engine(threads=1, stems=("vocals", "drums"))
    all_rows, few_rows = (quality.systems(e, tmp_path) for e in (engine, fewer))
    for name, row in all_rows.items():
        assert quality.identity(row, 0) != quality.identity(few_rows[name], 0), name
