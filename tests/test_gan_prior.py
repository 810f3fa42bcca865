"""GAN priors at work: bundles, the search with its projection, overlapping windows."""

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine.model.gan_prior import GanPrior
from engine.model.prior import Prior
from engine.model.sessions import Device
from engine.separation.gan_search import search_gan, separate_with_gans
from export.gan_bundle import export_gan
from export.models.wavegan import GanConfig
from export.training.gan_training import GanSettings, GanTask, run_of
from presets import StemwrightError
from rival_fixtures import toy_songs

CPU = Device("cpu")
CONFIG = GanConfig(width=2, layers=4, latent=8, sample_rate=8000)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gans")
    songs = toy_songs(4).split()
    for stem in ("bass", "drums"):
        task = GanTask(stem, CONFIG, GanSettings(steps=12, batch=4), *songs)
        for _ in run_of(folder / stem, task).run(12):
            pass
        export_gan(folder / stem, stem, folder / f"{stem}.gan")
    return folder


@pytest.fixture(scope="module")
def priors(bundles):
    return [GanPrior(bundles / f"{stem}.gan", CPU) for stem in ("bass", "drums")]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def mixes(priors, seed=0):
    rng = np.random.default_rng(seed)
    size = (3, priors[0].card.latent)
    return sum(p.inverse(rng.uniform(-0.8, 0.8, size).astype(np.float32)) for p in priors)


def test_a_bundle_says_what_it_is(bundles, priors):
    card = priors[0].card
    assert (card.kind, card.stem, card.samples, card.bound) == ("gan", "bass", 4096, 0.9)
    assert card.training["steps"] == 12
    again = export_gan(bundles / "bass", "bass", bundles / "again.gan")
    assert again.read_bytes() == (bundles / "bass.gan").read_bytes()


def test_the_search_lowers_the_objective(priors, pool):
    found = search_gan(priors, mixes(priors), 40, 0.05, pool)
    assert found.last_loss < found.first_loss
    assert found.magnitudes.shape == (2, 3, 4096)
    assert np.isfinite(found.magnitudes).all()


def test_latents_stay_in_their_box(priors, pool, monkeypatch):
    """The projection is applied: what is clipped is what the next step begins with."""
    seen = []
    true = GanPrior.gradient

    def watched(self, latents, mix, rivals):
        seen.append(np.abs(latents).max())
        return true(self, latents, mix, rivals)

    monkeypatch.setattr(GanPrior, "gradient", watched)
    search_gan(priors, mixes(priors), 12, 0.5, pool)
    assert max(seen) == pytest.approx(0.9)


def test_the_result_does_not_depend_on_the_pool(priors):
    found = []
    for threads in (1, 3):
        with ThreadPoolExecutor(threads) as pool:
            found.append(search_gan(priors, mixes(priors), 5, 0.05, pool).magnitudes)
    assert np.array_equal(*found)


def test_a_search_that_is_stopped_ends_with_what_it_has(priors, pool):
    asked = iter([True, True, False])
    assert search_gan(priors, mixes(priors), 9, 0.05, pool, lambda: next(asked)).steps == 2


def test_one_prior_alone_searches_too(priors, pool):
    assert search_gan(priors[:1], mixes(priors[:1]), 3, 0.05, pool).steps == 3


@pytest.mark.parametrize("samples", [1, 4096, 20_001])
def test_stems_are_as_long_as_the_mix(priors, pool, samples):
    audio = (0.2 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
    stems = separate_with_gans(priors, audio, 11_025, pool, steps=2)
    assert stems.shape == (2, samples)
    assert np.isfinite(stems).all()


def test_silence_is_separated_into_silence(priors, pool):
    assert not separate_with_gans(priors, np.zeros(9000, np.float32), 8000, pool, steps=2).any()


def test_a_gan_is_no_flow_and_a_flow_no_gan(bundles, tmp_path):
    with pytest.raises(StemwrightError, match="kind gan, where one of kind flow"):
        Prior(bundles / "bass.gan", CPU)
    flow = tmp_path / "flow.prior"
    rewrite(bundles / "bass.gan", flow, lambda card: card | {"kind": "flow"})
    with pytest.raises(StemwrightError, match="kind flow, where one of kind gan"):
        GanPrior(flow, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card | {"bound": -1}, "bound"),
        (lambda card: card | {"tolerance": 1e-12}, "off, allowed"),
        (lambda card: card | {"files": {}}, "is missing"),
        (lambda card: card | {"schema_version": 9}, "schema 9"),
    ],
)
def test_a_damaged_bundle_is_refused(bundles, tmp_path, change, message):
    rewrite(bundles / "bass.gan", tmp_path / "x.gan", change)
    with pytest.raises(StemwrightError, match=message):
        GanPrior(tmp_path / "x.gan", CPU)


def rewrite(source, target, change):
    with zipfile.ZipFile(io.BytesIO(source.read_bytes())) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    files["card.json"] = json.dumps(change(json.loads(files["card.json"]))).encode()
    with zipfile.ZipFile(target, "w") as bundle:
        for name, blob in files.items():
            bundle.writestr(name, blob)
