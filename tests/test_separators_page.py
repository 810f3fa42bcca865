"""docs/separators.md tells the truth: its tables are the schema's, its cards can be read."""

import re
import textwrap
from pathlib import Path

import separator_toys as toys
from engine.separators.loading import load_card
from engine.separators.tables import filled
from presets import load_preset

PAGE = (Path(__file__).parent.parent / "docs" / "separators.md").read_text("utf-8")


def blocks():
    return [textwrap.dedent(b) for b in re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE, re.M)]


def test_tables_are_the_schemas():
    wanted = filled(PAGE)
    assert wanted == PAGE, "run: python -m engine.separators.tables docs/separators.md"


def test_the_card_of_the_page_is_that_of_the_first_row(tmp_path):
    text = next(block for block in blocks() if block.lstrip().startswith("card: 1"))
    path = tmp_path / "my-vocals.yaml"
    path.write_text(text.replace("64 hex digits", "a" * 64))
    written, right = load_card(path).card, load_card(toys.mdx(tmp_path)).card
    for key in ("stft", "segment", "discard", "inputs", "outputs"):
        assert getattr(written, key) == getattr(right, key)


def test_the_presets_of_the_page_can_be_read(tmp_path):
    found = [block for block in blocks() if re.match(r"\s*(#.*\n)?(stems|recipe):", block)]
    assert len(found) >= 3
    for number, text in enumerate(found):
        path = tmp_path / f"p{number}.yaml"
        path.write_text(text.split("stemwright separate")[0])
        assert load_preset(path).sources.cards
