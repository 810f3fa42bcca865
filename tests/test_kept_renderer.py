"""Sessions go from job to job as long as what they were opened with stays what it was."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from engine import RenderOptions, cards_in_use
from hotfolder.kept_renderer import KeptRenderer
from presets import load_preset

HASHES = {"vocals": "1", "separator:mine": "2"}


class Opened:
    """Counts how often a renderer is opened, and how many live at once."""

    alive = made = 0

    def __init__(self, preset, options):
        self.preset, self.options = preset, options
        Opened.alive += 1
        Opened.made += 1
        assert Opened.alive == 1, "two presets' sessions at once"

    def __del__(self):
        Opened.alive -= 1


@pytest.fixture
def engine():
    Opened.alive = Opened.made = 0
    return SimpleNamespace(Renderer=Opened, cards_in_use=cards_in_use)


def test_a_job_brings_its_own_workspace_progress_and_guard(engine, tmp_path):
    kept, preset = KeptRenderer(), load_preset("dry")
    first = kept.of(engine, preset, HASHES, RenderOptions(workspace=tmp_path / "a", seed=3))
    own = RenderOptions(
        workspace=tmp_path / "b", progress=print, should_stop=lambda: True, guard=print, seed=3
    )
    again = kept.of(engine, load_preset("dry"), dict(HASHES), own)
    assert again is first
    assert again.options is own


@pytest.mark.parametrize(
    "changed",
    [
        {"preset": "band"},
        {"hashes": HASHES | {"vocals": "9"}},
        {"hashes": HASHES | {"separator:mine": "9"}},
        {"options": {"seed": 4}},
        {"options": {"threads": 2}},
        {"options": {"tier": "draft"}},
        {"set": {"title": "Another"}},  # changes no sample, and is in every manifest
        {"set": {"output": load_preset("dry").output.model_copy(update={"report": "light"})}},
    ],
    ids=str,
)
def test_other_work_opens_sessions_of_its_own(engine, changed):
    kept, options = KeptRenderer(), RenderOptions()
    kept.of(engine, load_preset("dry"), HASHES, options)
    asked = (
        load_preset(changed.get("preset", "dry")).model_copy(update=changed.get("set", {})),
        changed.get("hashes", HASHES),
        replace(options, **changed.get("options", {})),
    )
    anew = kept.of(engine, *asked)
    assert (anew.preset, anew.options) == (asked[0], asked[2])
    assert kept.of(engine, *asked) is anew


def test_a_card_that_says_something_else_opens_anew(engine):
    said = ["commercial: yes"]
    engine.cards_in_use = lambda preset, options: tuple(said)
    kept, preset, options = KeptRenderer(), load_preset("dry"), RenderOptions()
    first = kept.of(engine, preset, HASHES, options)
    assert kept.of(engine, preset, HASHES, options) is first
    said.append("is not checked")
    del first
    assert kept.of(engine, preset, HASHES, options).options is options
    assert Opened.made == 2
