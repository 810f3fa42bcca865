"""The benches of speed: the profile, and the one of cards on the device that all machines have."""

import importlib
from operator import attrgetter

import numpy as np
import pytest
import soundfile

import bench_path  # noqa: F401 - first, it finds the next ones
import growth
import search_limits
import speed
import speed_device
import stage_clock
import stages
from presets.search import TIERS


def test_one_command_prints_every_row_with_its_provider_and_transfers(tmp_path, capsys):
    cheapest = next(iter(TIERS))
    out = tmp_path / "page.md"
    asked = f"--device cpu --seconds 1 --tiers {cheapest} --batches 1 --titles 1 2 --repeats 1"
    speed_device.main([*asked.split(), "--out", str(out)])
    printed = capsys.readouterr().out
    assert out.read_text(encoding="utf-8").strip() == printed.strip()
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in printed.splitlines()]
    renders = [row for row in rows if row and row[0] == cheapest]
    assert [row[1:4] for row in renders] == [["1", "1", "cpu"], ["1", "2", "cpu"]]
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in renders)
    batch, step_ms, _, size = rows[-1]
    assert (batch, float(step_ms) > 0, float(size) > 0) == ("1", True, True)


def test_every_stage_of_the_profile_is_still_there():
    for places in stage_clock.STAGES.values():
        for module, name in places:
            assert callable(attrgetter(name)(importlib.import_module(module)))


def test_a_stage_is_charged_without_those_inside_it(tmp_path):
    """In a process of its own: what the clock wraps stays wrapped."""
    mix = tmp_path / "mix.wav"
    soundfile.write(mix, np.zeros((4410, 2)), 44_100, subtype="PCM_16")
    spent = stages.measured(mix, next(iter(TIERS)), 1, "cold")
    named = sum(cost[0] for stage, cost in spent.items() if stage in [*stage_clock.STAGES, "rest"])
    assert named == pytest.approx(spent["total"][0], abs=0.02)
    assert {"start", "imports", "sessions", "decode", "STFT", "write", "null"} <= spent.keys()


def test_every_tier_of_the_speed_page_has_its_decibels():
    levels = speed.decibels()
    assert set(TIERS) <= levels.keys()
    assert levels["draft"] < levels["best"]


def test_what_grows_as_the_work_does_lies_on_its_line(rng):
    x = [1.0, 10.0, 60.0, 200.0]
    fixed, per_unit, off = growth.line(x, [0.5 + 0.03 * at for at in x])
    np.testing.assert_allclose([fixed, per_unit, off], [0.5, 0.03, 0], atol=1e-9)
    *_, off = growth.line(x, [0.5 + 0.03 * at**1.3 for at in x])
    assert off > 0.1


def test_every_series_grows_in_one_thing_alone():
    for series in growth.SERIES:
        works = [work for *_, work in growth.works(series, growth.LENGTHS_S)]
        changed = [
            field
            for field in ("seconds", "channels", "stems", "rate_hz", "titles")
            if len({getattr(work, field) for work in works}) > 1
        ]
        assert len(changed) == 1, series


def test_the_search_is_measured_beside_the_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(search_limits, "REPEATS", 1)
    monkeypatch.setattr(search_limits, "BATCH", 1)
    assert search_limits.search_rate(1) > 0
    shares = search_limits.operator_shares(tmp_path)
    assert sum(share for _, share in shares) == pytest.approx(1)
    assert "MatMul" in dict(shares)
