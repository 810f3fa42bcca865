"""Shared guards: no test touches the home folder, and tiny priors made once per session."""

import numpy as np
import pytest

from prior_fixtures import tiny_priors


@pytest.fixture(autouse=True)
def _home_is_elsewhere(monkeypatch, tmp_path_factory):
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))


@pytest.fixture(scope="session")
def tiny_prior_folder(tmp_path_factory):
    """Bundles `low` and `high` of tiny flows on a coarse front end, with heads and encoder."""
    folder = tmp_path_factory.mktemp("priors")
    tiny_priors(folder)
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(20261121)
