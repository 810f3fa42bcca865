"""The priors' first estimate through the door of foreign separators."""

import numpy as np
import soundfile
from click.testing import CliRunner

import separator_toys as toys
from engine import probe
from engine.audio.layout import channel_groups
from engine.audio.signal import MixFile
from engine.model.hooks import SearchHooks
from engine.model.prior import open_priors
from engine.model.sessions import Device
from engine.separation.estimate import Estimate
from engine.separators.estimating import CardSeparation
from engine.separators.loading import load_card
from export.separators import export_estimate
from stemwright import main


def test_the_verb_writes_a_card_that_can_be_listed_and_replaces_none(tmp_path, tiny_prior_folder):
    words = ["separator", "estimate", "low", "high", "--priors", str(tiny_prior_folder)]
    argv = [*words, "-o", str(tmp_path / "estimate.yaml")]
    done = CliRunner().invoke(main, argv, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    loaded = load_card(tmp_path / "estimate.yaml")
    assert (loaded.name, loaded.card.used) == ("estimate", ("low", "high"))
    for wrong, message in (
        (argv, "is there already"),
        ([*argv[:-1], "card.yml"], "ends in .yaml"),
    ):
        done = CliRunner().invoke(main, wrong)
        assert done.exit_code != 0
        assert message in done.output


def test_the_estimate_is_a_separator_with_a_card(tmp_path, tiny_prior_folder):
    card = export_estimate(["low", "high"], tmp_path / "estimate.yaml", [tiny_prior_folder])
    mix = sum(toys.tones(9.0).values())
    path = tmp_path / "mix.wav"
    soundfile.write(path, mix.T, toys.RATE, subtype="FLOAT")
    separation = CardSeparation(load_card(card), Device.parse("cpu"), 2)
    signal, groups = MixFile(path, probe(path)), channel_groups(2)
    separation.search(signal, groups, tmp_path / "work", SearchHooks())
    stems = np.concatenate(list(separation.stems_of(signal, groups, tmp_path / "work")), axis=2)
    assert stems.shape == (2, *mix.shape)
    # the same masks as the search's own first estimate, on a steady passage
    priors = open_priors({"low": ("low", ""), "high": ("high", "")}, [tiny_prior_folder],
                         Device.parse("cpu"))  # fmt: skip
    own = Estimate(list(priors.values()), [tiny_prior_folder], Device.parse("cpu"))
    view = priors["low"].card.front_end.front_end()
    magnitudes = view.magnitudes(mix[:1, : 4 * toys.RATE], toys.RATE)[None, :-8]
    expected = own.magnitudes(magnitudes)
    found = np.stack(
        [view.magnitudes(stem[:1, : 4 * toys.RATE], toys.RATE)[:-8] for stem in stems]
    )
    middle = slice(100, 400)
    error = np.abs(found[:, middle] - expected[:, 0, middle]).sum()
    assert error < 0.15 * expected[:, 0, middle].sum()
