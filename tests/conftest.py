"""Shared guards: no test touches the home folder, and tiny priors made once per session."""

import logging
import os

# Before torch is imported, and for the processes of the tests too: on networks of some hundred
# weights threads wait for each other, on a busy machine of two cores a training of half a second
# takes forty.
os.environ.setdefault("OMP_NUM_THREADS", "1")

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


@pytest.fixture(autouse=True)
def _logging_is_put_back():
    """A verb that is run in this process sends the log elsewhere; the next test gets it back."""
    loggers = [logging.getLogger(name) for name in (None, "hotfolder", "py.warnings", "watchdog")]
    kept = [(each, each.handlers[:], each.propagate, each.level) for each in loggers]
    yield
    logging.captureWarnings(False)
    for each, handlers, propagate, level in kept:
        each.handlers[:] = handlers
        each.propagate = propagate
        each.setLevel(level)


@pytest.fixture(scope="session")
def tiny_prior_folder(tmp_path_factory):
    """Bundles `low` and `high` of tiny flows on a coarse front end, with heads and encoder."""
    folder = tmp_path_factory.mktemp("priors")
    tiny_priors(folder)
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(20261121)
