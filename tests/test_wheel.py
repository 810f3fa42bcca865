"""The built wheel brings all it needs; against the sources the same must hold."""

from pathlib import Path

import engine
import presets
from presets import load_preset, preset_names

ROOT = Path(__file__).parent.parent


def test_with_no_sources_beside_it_the_installed_packages_are_the_ones_that_run():
    homes = {Path(package.__file__).parents[1] for package in (engine, presets)}
    sources_are_here = (ROOT / "pyproject.toml").exists()
    assert homes == {ROOT if sources_are_here else ROOT.parent / "installed"}


def test_data_files_come_along():
    folder = Path(engine.__file__).parent
    assert {path.name for path in (folder / "graphs").glob("*.onnx")} >= {"adam.onnx"}
    assert {path.stem for path in (folder / "priors").glob("*.prior")} >= {"bass", "vocals"}
    assert list((folder / "priors").glob("*.encoder.onnx"))
    assert len(preset_names()) >= 13
    assert load_preset("default").stems
