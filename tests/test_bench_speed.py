"""The bench of a graphics card, on the device that every machine has."""

import bench_path  # noqa: F401 - first, it finds the next ones
import speed_device
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
