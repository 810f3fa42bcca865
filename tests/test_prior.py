"""Bundles: what is damaged, foreign or incomplete is refused with a sentence."""

import hashlib
import json
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

from engine import PERCENTS, Device, Prior, find_prior, list_priors, read_bundle
from engine.model.prior import prior_folders
from presets import StemwrightError

SHIPPED_BYTES = 33 * 10**6


def rewrite(source, target, change):
    """Copy a bundle, its files changed by `change(files)`."""
    with zipfile.ZipFile(source) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    change(files)
    with zipfile.ZipFile(target, "w") as bundle:
        for name, blob in files.items():
            bundle.writestr(name, blob)
    return target


def refused(path):
    with pytest.raises(StemwrightError) as caught:
        Prior(path, Device("cpu")).verify()
    assert path.name in str(caught.value)
    return caught.value.code


def flip(files, name):
    blob = bytearray(files[name])
    blob[len(blob) // 2] ^= 1
    files[name] = bytes(blob)


@pytest.mark.parametrize(
    "name", ["forward.onnx", "inverse.onnx", "gradient.onnx", "head.onnx", "selftest.npz"]
)
def test_one_flipped_bit_is_noticed(tiny_prior_folder, tmp_path, name):
    source = tiny_prior_folder / "low.prior"
    path = rewrite(source, tmp_path / "bad.prior", lambda files: flip(files, name))
    assert refused(path) == "prior-damaged"


class Runtime:
    """ONNX Runtime on a machine whose card fails, with errors named like its own."""

    def __init__(self, monkeypatch, error, message):
        self.error, self.real = type(error, (Exception,), {})(message), ort.InferenceSession
        monkeypatch.setattr(ort, "InferenceSession", self.session)
        monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
        monkeypatch.delattr(ort, "preload_dlls", raising=False)

    def session(self, model, options, providers):
        if len(providers) > 1:
            raise self.error
        return self.real(model, options, providers=providers)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RuntimeException", "CUDA failure 2: out of memory"),
        ("Fail", "CUDA failure 35: driver version is insufficient"),
        ("EPFail", "provider is gone"),
    ],
)
def test_a_device_that_fails_is_not_the_bundles_fault(
    tiny_prior_folder, monkeypatch, error, message
):
    Runtime(monkeypatch, error, message)
    with pytest.raises(StemwrightError, match=f"device cuda: .*{message}") as caught:
        Prior(tiny_prior_folder / "low.prior", Device("cuda")).verify()
    assert (caught.value.code, caught.value.transient) == ("device-failed", True)


def test_a_graph_that_no_device_reads_is_the_bundles_fault(
    tiny_prior_folder, tmp_path, monkeypatch
):
    def garble(files):
        files["forward.onnx"] = b"no graph"
        card = json.loads(files["card.json"])
        card["files"]["forward.onnx"] = hashlib.sha256(b"no graph").hexdigest()
        files["card.json"] = json.dumps(card).encode()

    path = rewrite(tiny_prior_folder / "low.prior", tmp_path / "bad.prior", garble)
    assert refused(path) == "prior-damaged"
    Runtime(monkeypatch, "Fail", "cannot parse")
    with pytest.raises(StemwrightError, match="Copy or export it again"):
        Prior(path, Device("cuda")).verify()


def test_memory_that_runs_out_at_work_is_not_a_bug_of_ours(tiny_prior_folder, monkeypatch):
    prior = Prior(tiny_prior_folder / "low.prior", Device("cpu"))
    full = type("RuntimeException", (Exception,), {})("Failed to allocate memory for 9 bytes")

    def run(outputs, feeds):
        raise full

    monkeypatch.setattr(prior, "_session", lambda graph: SimpleNamespace(run=run))
    with pytest.raises(StemwrightError, match="Free memory there") as caught:
        prior.inverse(np.zeros((1, 2, 32), np.float32))
    assert caught.value.code == "device-failed"


def test_a_missing_runtime_is_told(tiny_prior_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(StemwrightError, match=r"Install the extra stemwright\[cpu\]"):
        Prior(tiny_prior_folder / "low.prior", Device("cpu")).verify()


@pytest.mark.parametrize("name", ["card.json", "inverse.onnx", "selftest.npz"])
def test_a_missing_part_is_noticed(tiny_prior_folder, tmp_path, name):
    source = tiny_prior_folder / "low.prior"
    path = rewrite(source, tmp_path / "bad.prior", lambda files: files.pop(name))
    assert refused(path) == "prior-damaged"


def test_self_test_catches_another_priors_graph(tiny_prior_folder, tmp_path):
    """Hashes fit, but the graph is not the one whose answers are in the bundle."""
    other = zipfile.ZipFile(tiny_prior_folder / "high.prior")

    def exchange(files):
        files["inverse.onnx"] = other.read("inverse.onnx")
        card = json.loads(files["card.json"])
        theirs = json.loads(other.read("card.json"))
        card["files"]["inverse.onnx"] = theirs["files"]["inverse.onnx"]
        files["card.json"] = json.dumps(card).encode()

    path = rewrite(tiny_prior_folder / "low.prior", tmp_path / "bad.prior", exchange)
    assert refused(path) == "prior-damaged"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip at all", b"\0" * 100])
def test_what_is_no_bundle_is_refused(tmp_path, content):
    path = tmp_path / "bad.prior"
    path.write_bytes(content)
    assert refused(path) == "prior-damaged"


def test_truncated_bundle_is_refused(tiny_prior_folder, tmp_path):
    path = tmp_path / "cut.prior"
    blob = (tiny_prior_folder / "low.prior").read_bytes()
    path.write_bytes(blob[: len(blob) // 2])
    assert refused(path) == "prior-damaged"


def test_newer_schema_is_named(tiny_prior_folder, tmp_path):
    def newer(files):
        files["card.json"] = files["card.json"].replace(
            b'"schema_version": 1', b'"schema_version": 9'
        )

    path = rewrite(tiny_prior_folder / "low.prior", tmp_path / "new.prior", newer)
    with pytest.raises(StemwrightError, match="schema 9"):
        read_bundle(path)


def test_missing_bundle_and_unknown_name(tmp_path):
    with pytest.raises(StemwrightError, match="no such prior"):
        Prior(tmp_path / "none.prior", Device("cpu"))
    with pytest.raises(StemwrightError, match="theremin") as caught:
        find_prior("theremin")
    assert "vocals" in str(caught.value)  # it says what there is


def test_folders_of_the_user_come_before_the_shipped(tiny_prior_folder, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_PRIORS", str(tiny_prior_folder))
    assert list_priors()["low"].parent == tiny_prior_folder
    assert prior_folders()[0] == tiny_prior_folder


def test_shipped_priors_pass_their_self_tests():
    shipped = list_priors()
    assert {"vocals", "bass", "drums", "guitar", "piano", "other"} <= shipped.keys()
    for path in shipped.values():
        Prior(path, Device("cpu")).verify()


def test_cards_of_shipped_priors_are_complete():
    for path in list_priors().values():
        card, _, _ = read_bundle(path)
        assert card.sources
        assert {s.name.partition(":")[0] for s in card.other_sources} >= {
            "vocals",
            "drums",
        }
        for source in (*card.sources, *card.other_sources):
            assert source.licence != "unknown"
            assert source.licence in card.licence
        assert card.training["leaks"] == "recordings"
        assert card.training["steps"] == card.training["of"]
        assert {"margin", "sigma", "learning_rate"} <= card.training.keys()
        assert card.training["head"]["steps"] == card.training["head"]["of"]
        assert card.validation["judged"]["good"] is True
        assert len(card.percentiles) == len(PERCENTS)


def test_shipped_priors_are_small():
    folder = next(iter(list_priors().values())).parent
    assert sum(f.stat().st_size for f in folder.iterdir()) < SHIPPED_BYTES


def test_shipped_priors_invert(rng):
    magnitudes = rng.random((1, 8, 128)).astype(np.float32) + 0.01
    for path in list_priors().values():
        for prior in Prior(path, Device("cpu")).labels():
            latents, _ = prior.forward(magnitudes)
            assert np.abs(prior.inverse(latents) - magnitudes).max() < 1e-3
