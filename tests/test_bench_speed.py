"""The benches of speed: the profile, and the one of cards on the device that all machines have."""

import importlib
from operator import attrgetter

import numpy as np
import pytest
import soundfile

import bench_path  # noqa: F401 - first, it finds the next ones
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
