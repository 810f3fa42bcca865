"""A deadline: the best so far by then, said to be less; without one, no clock is looked at."""

from itertools import count

import numpy as np
import pytest
import soundfile

from engine import Renderer, RenderOptions, measure_null
from engine.model.hooks import SearchHooks
from presets import load_preset

RATE = 44100
SEARCH = "steps: 20, guided_steps: 0, flow_weight: 0.5"
PRESET = f"name: tiny\nstems: {{low: {{}}, high: {{}}}}\nsearch: {{{SEARCH}}}\n"


@pytest.fixture
def mix(tmp_path, rng):
    path = tmp_path / "mix.wav"
    soundfile.write(path, 0.1 * rng.standard_normal((5 * RATE, 2)), RATE)
    return path


@pytest.fixture
def rendered(tmp_path, tiny_prior_folder, mix):
    def render(name, search=PRESET, **options):
        path = tmp_path / f"{name}.yaml"
        path.write_text(search, encoding="utf-8")
        options = RenderOptions(prior_folders=(tiny_prior_folder,), device="cpu", **options)
        manifest = Renderer(load_preset(path), options).render(mix, tmp_path / name)
        return [tmp_path / name / file.path for file in manifest.files], manifest

    return render


def test_a_deadline_in_the_past_gives_the_first_estimate_and_says_so(mix, rendered):
    stems, manifest = rendered("late", deadline_s=0.0)
    assert manifest.degraded == ("deadline: 0.0 of 20 steps per segment on average",)
    assert measure_null(mix, stems).exact
    draft = PRESET.replace(SEARCH, "steps: 0, guided_steps: 0, flow_weight: 0")
    for late, estimate in zip(stems, rendered("draft", draft)[0], strict=True):
        assert np.array_equal(soundfile.read(late)[0], soundfile.read(estimate)[0])


def test_a_distant_deadline_changes_nothing(rendered):
    stems, manifest = rendered("early", deadline_s=1e6)
    assert manifest.degraded == ()
    for early, free in zip(stems, rendered("free")[0], strict=True):
        assert early.read_bytes() == free.read_bytes()


def test_time_is_shared_by_what_is_left():
    """40 s for 10 segments: the first four may have 16 s, the next four half of what is left."""
    ticks = count(0, 4)
    watch = SearchHooks(deadline=40.0, clock=lambda: next(ticks))
    go_on = watch.patience(4, 10)  # looks at 0, then at 4, 8, 12, 16, 20
    assert [go_on() for _ in range(5)] == [True, True, True, False, False]
    go_on = watch.patience(3, 6)  # looks at 24: until 32
    assert [go_on(), go_on()] == [True, False]


def test_without_a_deadline_the_clock_is_not_asked():
    watch = SearchHooks(clock=lambda: pytest.fail("asked"))
    assert watch.patience(1, 1)()
