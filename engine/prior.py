"""A prior at work: one instrument's bundle, opened, checked and run under ONNX Runtime.

A bundle is a zip (stored, no pickle, no external data) with `card.json`, the graphs
`forward.onnx`, `inverse.onnx` and `gradient.onnx`, and `selftest.npz`, vectors that every
session must reproduce before it is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from presets import StemwrightError

from .card import CARD_SCHEMA, ModelCard
from .providers import BoundSession, Device, make_session

Float = NDArray[np.float32]

SUFFIX = ".prior"
GRAPHS = ("forward", "inverse", "gradient")
HEAD = "head"
_MOST_BYTES = 512 * 2**20  # no bundle is near this; a zip bomb is


class Prior:
    """p(stem): forward x -> z with log-determinant, inverse z -> x, gradient of the objective.

    Shape: magnitudes (batch, frames, bands) with an even number of frames, latents
    (batch, frames / 2, 2 * bands).
    """

    def __init__(self, path: Path, device: Device) -> None:
        self.path, self.device = path, device
        self.card, self._files, self.sha256 = read_bundle(path)
        self.got = "cpu"
        self._sessions: dict[str, Any] = {}

    @property
    def stem(self) -> str:
        """The instrument."""
        return self.card.stem

    def _session(self, graph: str) -> Any:  # noqa: ANN401 - onnxruntime ships no types
        if graph not in self._sessions:
            try:
                session, self.got = make_session(self._files[f"{graph}.onnx"], self.device)
            except StemwrightError:
                raise
            except Exception as error:
                raise _damaged(self.path, f"{graph}.onnx cannot be loaded: {error}") from error
            self._sessions[graph] = session
            self._self_test(graph)
        return self._sessions[graph]

    def forward(self, magnitudes: Float) -> tuple[Float, Float]:
        """Return latents and the log-determinant per example."""
        latents, log_det = self._session("forward").run(
            ["latents", "log_det"], {"magnitudes": magnitudes}
        )
        return latents, log_det

    def inverse(self, latents: Float) -> Float:
        """Return magnitudes."""
        (magnitudes,) = self._session("inverse").run(["magnitudes"], {"latents": latents})
        return np.asarray(magnitudes)

    def gradient(
        self, latents: Float, mix: Float, others: Float, weight: Float, prior_weight: float
    ) -> tuple[Float, Float, Float]:
        """Return the loss per example, this prior's magnitudes and the gradient by latents.

        `others` is the sum of the other priors' magnitudes, `weight` says how much each point
        of the spectrogram counts; both have the mix's shape (batch, frames, bands).
        """
        loss, own, gradient = self._session("gradient").run(
            ["loss", "own", "gradient"],
            {
                "latents": latents,
                "mix": mix,
                "others": others,
                "weight": weight,
                "prior_weight": np.array(prior_weight, np.float32),
            },
        )
        return loss, own, gradient

    def bound(self, graph: str) -> BoundSession:
        """One graph with inputs and outputs that stay where it runs."""
        return BoundSession(self._session(graph), replace(self.device, name=self.got))

    def head(self, features: Float) -> Float:
        """This stem's mask from the encoder's features: (batch, frames, hidden) -> (batch,
        frames, bands)."""
        (mask,) = self._session(HEAD).run(["mask"], {"features": features})
        return np.asarray(mask)

    def log_likelihood(self, magnitudes: Float) -> Float:
        """log p per dimension of standardised compressed magnitudes, shape (batch,)."""
        latents, log_det = self.forward(magnitudes)
        dimensions = latents.shape[1] * latents.shape[2]
        gaussian = -0.5 * (latents**2).sum(axis=(1, 2)) - 0.5 * dimensions * np.log(2 * np.pi)
        return np.asarray((gaussian + log_det) / dimensions, np.float32)

    def verify(self) -> None:
        """Open every graph, which runs its self-test."""
        for graph in (*GRAPHS, HEAD) if self.card.encoder_sha256 else GRAPHS:
            self._session(graph)

    @cached_property
    def _vectors(self) -> dict[str, Float]:
        with np.load(io.BytesIO(self._files["selftest.npz"]), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _self_test(self, graph: str) -> None:
        """Compare one graph with the values torch gave when the bundle was written."""
        v = self._vectors
        results: dict[str, Float] = {}
        if graph == "forward":
            results["latents"], results["log_det"] = self.forward(v["magnitudes"])
        elif graph == "inverse":
            results["inverse"] = self.inverse(v["z"])
        elif graph == HEAD:
            results["mask"] = self.head(v["features"])
        else:
            loss, own, gradient = self.gradient(
                v["z"], v["magnitudes"], v["others"], np.ones_like(v["others"]), 0.5
            )
            results = {"loss": loss, "inverse": own, "gradient": gradient}
        for name, result in results.items():
            error = float(np.abs(result - v[name]).max() / max(np.abs(v[name]).max(), 1e-12))
            if not error < self.card.tolerance:
                raise _damaged(
                    self.path, f"{graph}: {name} is {error:.1e} off, allowed {self.card.tolerance}"
                )


def read_bundle(path: Path) -> tuple[ModelCard, dict[str, bytes], str]:
    """Read and check a bundle without opening a session: card, files, sha256 of the file."""
    try:
        blob = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(blob)) as bundle:
            if sum(info.file_size for info in bundle.infolist()) > _MOST_BYTES:
                raise _damaged(path, "it unpacks to more than 512 MiB")
            files = {info.filename: bundle.read(info) for info in bundle.infolist()}
    except FileNotFoundError:
        raise StemwrightError("prior-not-found", f"{path}: no such prior bundle.") from None
    except OSError as error:
        raise StemwrightError("prior-unreadable", f"{path}: {error.strerror}.") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    try:
        about = json.loads(files["card.json"])
        if about.get("schema_version") != CARD_SCHEMA:
            raise _damaged(
                path,
                f"its card has schema {about.get('schema_version')}, this program reads "
                f"{CARD_SCHEMA}",
            )
        card = ModelCard.model_validate(about)
    except KeyError:
        raise _damaged(path, "it has no card.json") from None
    except (ValueError, AttributeError, pydantic.ValidationError) as error:
        raise _damaged(path, f"its card cannot be read: {error}") from error
    _check_files(path, card, files)
    return card, files, hashlib.sha256(blob).hexdigest()


def _check_files(path: Path, card: ModelCard, files: dict[str, bytes]) -> None:
    needed = {f"{graph}.onnx" for graph in GRAPHS} | {"selftest.npz"}
    missing = needed - files.keys() | needed - card.files.keys()
    if missing:
        raise _damaged(path, f"{', '.join(sorted(missing))} is missing")
    for name, expected in card.files.items():
        if name not in files or hashlib.sha256(files[name]).hexdigest() != expected:
            raise _damaged(path, f"{name} does not match its sha256")


def _damaged(path: Path, why: str) -> StemwrightError:
    return StemwrightError(
        "prior-damaged", f"{path}: not a usable prior bundle: {why}. Copy or export it again."
    )


def prior_folders(extra: Sequence[Path] = ()) -> list[Path]:
    """Where priors are looked for: given folders, $STEMWRIGHT_PRIORS, the user's, the shipped."""
    named = [Path(p) for p in os.environ.get("STEMWRIGHT_PRIORS", "").split(os.pathsep) if p]
    data = Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser()
    return [*extra, *named, data / "stemwright" / "priors", Path(__file__).parent / "priors"]


def list_priors(extra: Sequence[Path] = ()) -> dict[str, Path]:
    """Every prior by name; folders earlier in `prior_folders` win."""
    found: dict[str, Path] = {}
    for folder in prior_folders(extra):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            found.setdefault(path.stem, path)
    return found


def find_prior(name: str, extra: Sequence[Path] = ()) -> Path:
    """Resolve a prior's name, or the path of a bundle."""
    if name.endswith(SUFFIX):
        return Path(name)
    known = list_priors(extra)
    if name not in known:
        raise StemwrightError(
            "prior-unknown",
            f"no prior is called {name!r}; there are {', '.join(sorted(known)) or 'none'}. "
            "Put the bundle into a folder of $STEMWRIGHT_PRIORS or name its path.",
        )
    return known[name]
