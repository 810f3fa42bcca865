"""The door for Python: docs/python.md runs as it stands, arrays null, few names are public."""

import contextlib
import io
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import engine
from engine import Interrupted, Progress, RenderOptions, separate
from presets import StemwrightError

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "python.md"
DRAFT = RenderOptions(tier="draft", threads=1)
LAST_BIT = 2.0**-52


@pytest.fixture(scope="module")
def excerpt():
    audio, rate = soundfile.read(ROOT / "examples" / "mix.flac", always_2d=True, frames=3 * 44_100)
    return audio.T, rate


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    (tmp_path / "examples").mkdir()
    audio, rate = soundfile.read(ROOT / "examples" / "mix.flac", always_2d=True, frames=2 * 44_100)
    soundfile.write(tmp_path / "examples" / "mix.flac", audio, rate)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert len(blocks) == 6
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(compile(block, PAGE.name, "exec"), names)
    assert {"bass.wav", "drums.wav", "vocals.wav", "other.wav", "residual.wav"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert "stopped; nothing was published" in printed.getvalue()
    assert "array-unusable: the array of the mix: expected at most" in printed.getvalue()
    assert "['bass', 'drums', 'other', 'residual']" in printed.getvalue()
    assert float(printed.getvalue().split()[0]) <= LAST_BIT
    assert len(blocks[0].splitlines()) <= 10


def rows(page, head):
    """Rows of the page's table with this heading: all cells."""
    table = page.partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_page_tells_the_fields_and_stages_of_progress(tmp_path, excerpt):
    page, seen = PAGE.read_text("utf-8"), []
    named = [name for row in rows(page, "field") for name in re.findall(r"`(\w+)`", row[0])]
    assert named == [field.name for field in fields(Progress)]
    stages = [(row[0].strip("`"), row[1]) for row in rows(page, "stage")]
    options = replace(DRAFT, progress=lambda each: seen.append(each.stage))
    audio, rate = excerpt
    separate(audio, rate, "dry", options)
    assert [*dict.fromkeys(seen)] == [name for name, of in stages if of == "both"]
    seen.clear()
    soundfile.write(tmp_path / "mix.wav", audio.T, rate)
    engine.render(tmp_path / "mix.wav", tmp_path / "set", "default", options)
    assert [*dict.fromkeys(seen)] == [name for name, _ in stages]


def test_arrays_separate_as_files_do_and_sum_to_the_mix(tmp_path, excerpt):
    audio, rate = excerpt
    stems = separate(audio, rate, "dry", DRAFT)
    assert abs(audio - sum(stems.values())).max() <= LAST_BIT
    soundfile.write(tmp_path / "mix.wav", audio.T, rate, subtype="DOUBLE")
    manifest = engine.render(tmp_path / "mix.wav", tmp_path / "set", "dry", DRAFT)
    for file in manifest.files:
        written = soundfile.read(tmp_path / "set" / file.path, always_2d=True)[0].T
        np.testing.assert_allclose(written, stems[file.stem], atol=1e-7)
    assert {file.stem for file in manifest.files} == set(stems)


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (np.zeros(100), "A mono mix is audio[None]"),
        (np.zeros((100, 2)), "give audio.T"),
        (np.zeros((2, 0)), "expected samples"),
        (np.zeros((2, 100), np.int16), "Divide 16-bit integers by 32768"),
        (np.full((2, 100), np.nan), "NaN or infinity"),
    ],
    ids=["one axis", "samples first", "empty", "integers", "not finite"],
)
def test_an_array_that_is_no_mix_is_refused_with_the_next_step(audio, words):
    with pytest.raises(StemwrightError, match=re.escape(words)):
        separate(audio, 44_100, options=DRAFT)


def test_a_search_that_is_told_to_stop_raises(excerpt):
    options = RenderOptions(tier="draft", threads=1, should_stop=lambda: True)
    with pytest.raises(Interrupted):
        separate(*excerpt, options=options)


def test_public_names_are_few_are_on_the_page_and_are_there():
    assert len(engine.__all__) <= 13
    page = PAGE.read_text("utf-8").split("## What is public")[1]
    assert set(re.findall(r"`(\w+)`", page)) == set(engine.__all__)
    assert not [name for name in engine.__all__ if getattr(engine, name) is None]


def test_a_mix_is_decoded_once_for_a_whole_render(tmp_path, monkeypatch, excerpt):
    from engine.audio import decoding

    soundfile.write(tmp_path / "mix.flac", excerpt[0].T, excerpt[1])
    decoded = []
    real = decoding.Decoder.__init__

    def counted(self, path, start, *rest):
        real(self, path, start, *rest)
        decoded.append(path.name)

    monkeypatch.setattr(decoding.Decoder, "__init__", counted)
    engine.render(tmp_path / "mix.flac", tmp_path / "set", "default", DRAFT)
    assert decoded == ["mix.flac"], "our own files, dry or wet, need no decoder process"


def test_the_tags_of_a_mix_are_read_once_for_its_name_and_all_of_its_stems(
    tmp_path, monkeypatch, excerpt
):
    from engine.audio import tags

    soundfile.write(tmp_path / "mix.wav", excerpt[0].T[:44_100], excerpt[1])
    read = []
    real = tags._container_tags

    def counted(path, *rest):
        read.extend([path] if path.name == "mix.wav" else [])
        real(path, *rest)

    monkeypatch.setattr(tags, "_container_tags", counted)
    folder, _ = engine.Renderer("default", DRAFT).render_into(tmp_path / "mix.wav", tmp_path / "a")
    assert (folder.name, len(read)) == ("mix", 1)


def test_a_mix_that_is_damaged_inside_leaves_no_folder(tmp_path):
    data = bytearray((ROOT / "examples" / "mix.flac").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "mix.flac").write_bytes(bytes(data))
    with pytest.raises(StemwrightError):
        engine.render(tmp_path / "mix.flac", tmp_path / "a" / "b" / "set", "dry", DRAFT)
    assert not (tmp_path / "a").exists()
