"""Tests that each shipped preset does what its comments promise, on sound, and stays sound."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio.true_peak import TruePeakMeter
from presets import json_schema, load_preset, preset_names

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "audio" / "musdb18_excerpts" / "train"
GENRES = {
    "default", "dry", "rock", "pop", "hip-hop", "electronic", "jazz", "classical",
    "vocal-ensemble", "remaster",
}  # fmt: skip

_spec = importlib.util.spec_from_file_location("levels", ROOT / "bench" / "preset_levels.py")
levels = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(levels)

# (preset, stem, what is measured, at least, at most) in dB of change. A pair of bands is the
# change of the first against the second: tone, whatever a compressor did to the level.
PROMISES = [
    ("default", "vocals", (20, 60), -30, -6),
    ("default", "vocals", (250, 8000), -0.5, 0.5),
    ("default", "bass", (10_000, 16_000), -10, -5),
    ("default", "bass", (40, 2000), -0.2, 0.2),
    ("default", "drums", (20, 16_000), -0.01, 0.01),
    ("default", "other", (100, 16_000), -0.7, 0.2),
    ("rock", "vocals", ((2000, 4000), (250, 1000)), 1, 5),
    ("rock", "vocals", ((20, 60), (250, 1000)), -30, -4),
    ("rock", "vocals", "level", -1, 3),
    ("rock", "bass", ((700, 3000), (40, 150)), 1.5, 8),
    ("rock", "drums", "level", 1, 4),
    ("rock", "drums", "crest", -8, 0.5),
    ("rock", "drums", ((30, 80), (400, 2000)), 0.5, 4),
    ("rock", "other", ((200, 400), (800, 1500)), -4, -0.7),
    ("pop", "vocals", ((11_000, 16_000), (1000, 3000)), 1.5, 6),
    ("pop", "vocals", ((20, 60), (250, 1000)), -30, -4),
    ("pop", "drums", ((300, 500), (1000, 3000)), -3, -0.8),
    ("pop", "other", ((1800, 3500), (300, 600)), -3, -0.5),
    ("hip-hop", "bass", (35, 65), 2.5, 5),
    ("hip-hop", "drums", "crest", -10, -1),
    ("hip-hop", "vocals", ((3500, 6000), (250, 1000)), 1, 6),
    ("hip-hop", "other", ((20, 100), (1000, 3000)), -20, -3),
    ("electronic", "drums", ((8000, 16_000), (500, 2000)), 1.5, 3.5),
    ("electronic", "drums", ((20, 60), (500, 2000)), 1, 3),
    ("electronic", "other", (500, 8000), -1, 1),
    ("jazz", "drums", (10_000, 16_000), -2, -0.5),
    ("jazz", "bass", ((500, 1000), (80, 140)), 1.5, 5),
    ("jazz", "vocals", "crest", -4, 4),
    ("jazz", "other", "level", -1, 1.5),
    ("classical", "vocals", (250, 8000), -0.5, 0.5),
    ("classical", "other", (100, 8000), -0.5, 0.5),
    ("classical", "drums", (100, 8000), -0.5, 0.5),
    ("vocal-ensemble", "vocals", ((7500, 16_000), (1000, 2000)), -5, -0.8),
    ("vocal-ensemble", "vocals", ((200, 300), (1000, 2000)), -4, -0.5),
    ("vocal-ensemble", "other", (20, 16_000), -0.01, 0.01),
    ("remaster", "vocals", (20, 60), -30, -6),
    ("remaster", "vocals", ((10_000, 16_000), (500, 1000)), 0.5, 3.5),
    ("remaster", "bass", ((35, 70), (300, 1000)), 1, 3),
    ("remaster", "drums", ((8000, 16_000), (500, 2000)), 1.5, 3.5),
    ("remaster", "other", ((300, 700), (2500, 5000)), -3, -0.3),
]


def change(before, after, measure, rate):
    body = after[:, : before.shape[1]]
    if measure == "level":
        return levels.rms_db(body) - levels.rms_db(before)
    if measure == "crest":
        return levels.crest_db(body) - levels.crest_db(before)
    if isinstance(measure[0], tuple):
        return change(before, after, measure[0], rate) - change(before, after, measure[1], rate)
    return levels.band_db(body, *measure, rate) - levels.band_db(before, *measure, rate)


def broken_promises(name, before, after, rate):
    return [
        (stem, measure, round(got, 2), (low, high))
        for preset, stem, measure, low, high in PROMISES
        if preset == name
        and not low <= (got := change(before[stem], after[stem], measure, rate)) <= high
    ]


@pytest.fixture(scope="module")
def song():
    return levels.song()


@pytest.fixture(scope="module")
def real_song():
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/audio")
    parts = {name: [] for name in levels.STEMS}
    for folder in sorted(SHARED.iterdir())[::20]:
        read = {n: soundfile.read(folder / f"{n}.ogg", always_2d=True) for n in parts}
        frames = min(len(audio) for audio, _ in read.values())
        for name, (audio, _) in read.items():
            parts[name].append(audio[:frames].T)
    return {name: np.concatenate(each, axis=1) for name, each in parts.items()}


def test_all_genres_are_shipped():
    assert set(preset_names()) >= GENRES


@pytest.mark.parametrize("name", sorted(GENRES))
def test_preset_keeps_its_promises(name, song):
    before, after, _ = levels.processed(song, name)
    assert not broken_promises(name, before, after, levels.RATE)
    assert all(np.isfinite(audio).all() for audio in after.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(GENRES))
def test_preset_keeps_its_promises_on_real_stems(name, real_song):
    before, after, _ = levels.processed(real_song, name)
    assert not broken_promises(name, before, after, 44_100)


def test_classical_keeps_dynamics(song):
    before, after, _ = levels.processed(song, "classical")
    for stem in before:
        frames = before[stem].shape[1] // 20
        parts = [slice(n * frames, (n + 1) * frames) for n in range(20)]
        steps = [
            levels.rms_db(after[stem][:, part]) - levels.rms_db(before[stem][:, part])
            for part in parts
            if levels.rms_db(before[stem][:, part]) > -40
        ]
        assert np.ptp(steps) < 2, "a loud second and a quiet one are changed alike"


def test_remaster_brings_the_set_to_its_target(song):
    quiet = {name: audio * 0.1 for name, audio in song.items()}
    _, after, gain_db = levels.processed(quiet, "remaster")
    assert gain_db > 10
    meter = TruePeakMeter(2, levels.RATE)
    meter.add(after["sum"].astype(np.float32))
    assert meter.result_dbtp() <= -1


def test_dry_preset_has_no_wet_files():
    assert not load_preset("dry").has_wet
    assert all(load_preset(name).has_wet for name in GENRES - {"dry"})


def test_every_step_of_a_shipped_preset_has_its_reason():
    for name in GENRES - {"dry"}:
        text = (ROOT / "presets" / f"{name}.yaml").read_text()
        assert text.count("#") > len(load_preset(name).stems), name


def test_exported_schema_is_up_to_date_and_accepts_every_shipped_preset():
    from jsonschema import Draft202012Validator

    from presets.strict_yaml import read_strict

    schema = json.loads((ROOT / "presets" / "preset.schema.json").read_text())
    assert schema == json_schema(), "run: python -m presets.tables (see its docstring)"
    validator = Draft202012Validator(schema)
    for name in preset_names():
        raw = (ROOT / "presets" / f"{name}.yaml").read_bytes()
        data = json.loads(json.dumps(read_strict(raw, name).data))
        assert not list(validator.iter_errors(data)), name
    bad = {"name": "x", "stems": {"a": {"chain": [{"effect": "Compressor", "ratio": 0.5}]}}}
    assert list(validator.iter_errors(bad))
