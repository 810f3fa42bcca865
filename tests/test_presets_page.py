"""Tests that docs/presets.md tells the truth: its tables, its example, its error message."""

import re
from pathlib import Path

import pytest

from presets import StemwrightError, load_preset, preset_names
from presets.schema import Preset
from presets.tables import filled

PAGE = (Path(__file__).parent.parent / "docs" / "presets.md").read_text("utf-8")


def test_tables_are_up_to_date():
    assert filled(PAGE) == PAGE, "run: python -m presets.tables (see its docstring)"


def test_every_shipped_preset_and_key_is_on_the_page():
    for word in [*preset_names(), *Preset.model_fields]:
        assert f"`{word}" in PAGE or f".{word}" in PAGE or f"{word}:" in PAGE, word


def test_example_loads_and_its_mistake_is_told_as_shown(tmp_path):
    example = re.search(r"```yaml\n(# yaml-language-server.*?)```", PAGE, re.S)[1]
    path = tmp_path / "my-rock.yaml"
    path.write_text(example)
    assert load_preset(path).stems["vocals"].gain_db == 2
    shown = re.search(r"preset check my-rock\.yaml\n(my-rock.*?)\n", PAGE)[1]
    path.write_text(example.replace("ratio: 3", "ratio: 0.5"))
    with pytest.raises(StemwrightError) as caught:
        load_preset(path)
    assert str(caught.value) == shown.replace("my-rock.yaml", str(path))
