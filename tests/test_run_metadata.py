"""What a run notes for the card of its bundle, and what becomes of a file that is no such note."""

import json

import pytest

from engine import Source
from export import export_prior, standard_front_end
from export.training.flow_training import TrainSettings
from export.training.run_metadata import (
    add_measures,
    add_other_sources,
    read_metadata,
    write_metadata,
)
from presets import StemwrightError

TAKES = Source(name="takes", files=3, minutes=4.5)
BAND = Source(name="band: mixes", files=1, minutes=2.0)


def test_a_run_that_goes_on_keeps_what_it_heard_and_says_nothing_twice(tmp_path):
    settings = TrainSettings(steps=7, seed=3)
    add_other_sources(tmp_path, [BAND])
    write_metadata(tmp_path, "bass", standard_front_end(), [TAKES], settings)
    add_other_sources(tmp_path, [BAND])
    add_measures(tmp_path, {"nats_per_dimension": 0.5}, [0.1, 0.2])
    add_measures(tmp_path, {"told_apart": {"drums": 0.9}})
    metadata = read_metadata(tmp_path)
    assert metadata.sources == (TAKES,) and metadata.other_sources == (BAND,)
    assert metadata.validation == {"nats_per_dimension": 0.5, "told_apart": {"drums": 0.9}}
    assert metadata.percentiles == (0.1, 0.2)
    assert (metadata.steps, metadata.seed) == (7, 3)


def test_notes_of_an_older_program_are_read(tmp_path):
    older = {
        "stem": "bass",
        "front_end": standard_front_end().model_dump(mode="json"),
        "sources": [TAKES.model_dump(mode="json")],
        "steps": 5,
    }
    (tmp_path / "run.json").write_text(json.dumps(older))
    metadata = read_metadata(tmp_path)
    assert metadata.front_end == standard_front_end() and metadata.other_sources == ()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"stem": 3}', '{"sources": [{"name": "x"}]}', "\xff"], ids=repr
)
def test_a_damaged_note_is_refused_by_name(text, tmp_path):
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StemwrightError, match=r"run\.json") as caught:
        read_metadata(tmp_path)
    assert caught.value.code == "run-damaged"


def test_a_run_of_heads_alone_is_no_prior(tmp_path):
    add_other_sources(tmp_path, [BAND])
    with pytest.raises(StemwrightError, match="--heads") as caught:
        export_prior(tmp_path, tmp_path / "x.prior", None)
    assert caught.value.code == "run-without-flow"
