"""A prior at work: one instrument's bundle, opened, checked and run under ONNX Runtime.

A bundle whose card has labels holds one prior for each of them, which share the graphs.
"""

from __future__ import annotations

import copy
import io
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError, user_folder

from .bundle import GRAPHS, HEAD, SUFFIX, damaged, read_bundle
from .sessions import BoundSession, Device, make_session, telling_device_faults

if TYPE_CHECKING:
    import onnxruntime

Float = NDArray[np.float32]
GraphInputs = Mapping[str, NDArray[np.float32] | NDArray[np.int64]]

PACK_CARD = "artist-pack.json"  # makes a folder of bundles an artist pack


class Prior:
    """p(stem): forward x -> z with log-determinant, inverse z -> x, gradient of the objective.

    Shape: magnitudes (batch, frames, bands) with an even number of frames, latents
    (batch, frames / 2, 2 * bands).

    A bundle with labels is asked under one of them; without a `label` it can only be verified.
    """

    def __init__(self, path: Path, device: Device, label: str | None = None) -> None:
        self.path, self.device = path, device
        self.card, self._files, self.sha256 = read_bundle(path)
        self._opened = _Opened()
        self.label = self._known(label)

    def labelled(self, label: str) -> Prior:
        """The same bundle under another label; the two share their sessions."""
        other = copy.copy(self)
        other.label = self._known(label)
        return other

    def labels(self) -> Iterator[Prior]:
        """This bundle under each of its labels; itself where it has none."""
        yield from map(self.labelled, self.card.labels) if self.card.labels else [self]

    @property
    def stem(self) -> str:
        """The instrument."""
        return self.label or self.card.stem

    @property
    def got(self) -> str:
        """The device that the sessions run on."""
        return self._opened.device

    @property
    def percentiles(self) -> tuple[float, ...]:
        """`log_likelihood` of held-out excerpts at PERCENTS; nothing where none was measured."""
        if self.label:
            return self.card.percentiles_of_labels.get(self.label, ())
        return self.card.percentiles

    def _known(self, label: str | None) -> str | None:
        """The label if the bundle has it."""
        labels = self.card.labels
        if label is None or label in labels:
            return label
        raise StemwrightError(
            "label-unknown",
            f"{self.path.name} has no label {label!r}; it has {', '.join(labels)}. Write "
            "one of them: label: in the preset's stem, or --label."
            if labels
            else f"{self.path.name} is a prior of {self.card.stem} alone and has no labels. "
            f"Leave label {label!r} out, or name a bundle that has it.",
        )

    @property
    def _asked(self) -> dict[str, NDArray[np.int64]]:
        """The graphs' input that says which label is meant; nothing where there are none."""
        if not self.card.labels:
            return {}
        if self.label is None:
            raise StemwrightError(
                "label-missing",
                f"{self.path.name} holds priors of {', '.join(self.card.labels)}. Say which is "
                "meant with --label, or with label: in a preset's stem.",
            )
        return {"label": np.array(self.card.labels.index(self.label), np.int64)}

    def _session(self, graph: str) -> onnxruntime.InferenceSession:
        sessions = self._opened.sessions
        with self._opened.lock:  # priors of one bundle are asked by several threads
            if graph not in sessions:
                try:
                    blob = self._files[f"{graph}.onnx"]
                    sessions[graph], self._opened.device = make_session(blob, self.device)
                except StemwrightError:
                    raise
                except Exception as error:
                    raise damaged(self.path, f"{graph}.onnx cannot be loaded: {error}") from error
                try:
                    for index, prior in enumerate(self.labels()):
                        prior._self_test(graph, index)
                except StemwrightError:
                    del sessions[graph]  # no other label may use it either
                    raise
        return sessions[graph]

    def _run(self, graph: str, outputs: list[str], inputs: GraphInputs) -> list[Float]:
        session = self._session(graph)
        with telling_device_faults(self.got):
            found: list[Float] = session.run(outputs, inputs)
        return found

    def forward(self, magnitudes: Float) -> tuple[Float, Float]:
        """Return latents and the log-determinant per example."""
        inputs: GraphInputs = {"magnitudes": magnitudes, **self._asked}
        latents, log_det = self._run("forward", ["latents", "log_det"], inputs)
        return latents, log_det

    def inverse(self, latents: Float) -> Float:
        """Return magnitudes."""
        (magnitudes,) = self._run("inverse", ["magnitudes"], {"latents": latents, **self._asked})
        return np.asarray(magnitudes)

    def gradient(
        self,
        latents: Float,
        mix: Float,
        other_magnitudes: Float,
        guide: Float,
        weight: Float,
        *,
        prior_weight: float,
        guide_weight: float,
    ) -> tuple[Float, Float, Float]:
        """Return the loss per example, this prior's magnitudes and the gradient by latents.

        `other_magnitudes` is the sum of the other priors', `guide` an estimate of this one's,
        `weight` says how much each point of the spectrogram counts; all have the mix's shape
        (batch, frames, bands).
        """
        inputs: GraphInputs = {
            "latents": latents,
            "mix": mix,
            "others": other_magnitudes,
            "guide": guide,
            "weight": weight,
            "prior_weight": np.array(prior_weight, np.float32),
            "guide_weight": np.array(guide_weight, np.float32),
            **self._asked,
        }
        loss, own, gradient = self._run("gradient", ["loss", "own", "gradient"], inputs)
        return loss, own, gradient

    def bound(self, graph: str) -> BoundSession:
        """One graph with inputs and outputs that stay where it runs."""
        session = self._session(graph)
        return BoundSession(session, replace(self.device, name=self.got), self._asked)

    def head(self, features: Float) -> Float:
        """This stem's mask from the encoder's features: (batch, frames, hidden) -> (batch,
        frames, bands)."""
        (mask,) = self._run(HEAD, ["mask"], {"features": features})
        return np.asarray(mask)

    def log_likelihood(self, magnitudes: Float) -> Float:
        """log p per dimension of compressed magnitudes, shape (batch,)."""
        latents, log_det = self.forward(magnitudes)
        dimensions = latents.shape[1] * latents.shape[2]
        gaussian = -0.5 * (latents**2).sum(axis=(1, 2)) - 0.5 * dimensions * np.log(2 * np.pi)
        return np.asarray((gaussian + log_det) / dimensions, np.float32)

    def verify(self) -> None:
        """Open every graph, which runs its self-test for every label."""
        for graph in (*GRAPHS, HEAD) if self.card.encoder_sha256 else GRAPHS:
            self._session(graph)

    @cached_property
    def _vectors(self) -> dict[str, Float]:
        with np.load(io.BytesIO(self._files["selftest.npz"]), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _self_test(self, graph: str, label: int) -> None:
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
            ones = np.ones_like(v["others"])
            loss, own, gradient = self.gradient(
                v["z"], v["magnitudes"], v["others"], v["guide"], ones,
                prior_weight=0.5, guide_weight=0.5,
            )  # fmt: skip
            results = {"loss": loss, "inverse": own, "gradient": gradient}
        for name, result in results.items():
            expected = v[name][label] if self.label else v[name]
            error = float(np.abs(result - expected).max() / max(np.abs(expected).max(), 1e-12))
            if not error < self.card.tolerance:
                raise damaged(
                    self.path, f"{graph}: {name} is {error:.1e} off, allowed {self.card.tolerance}"
                )


@dataclass
class _Opened:
    """Sessions of a bundle, shared by the priors of all its labels, and where they run."""

    sessions: dict[str, onnxruntime.InferenceSession] = field(default_factory=dict)
    device: str = "cpu"
    lock: threading.RLock = field(default_factory=threading.RLock)


def open_priors(
    wanted: Mapping[str, tuple[str, str]], folders: Sequence[Path], device: Device
) -> dict[str, Prior]:
    """Open the prior of every stem; stems of one bundle share its sessions.

    `wanted` has the bundle and the label of every stem. An empty label is the stem's own name
    in a bundle that has labels.
    """
    bundles: dict[Path, Prior] = {}
    priors = {}
    for stem, (name, label) in wanted.items():
        path = find_prior(name, folders)
        if path not in bundles:
            bundles[path] = Prior(path, device)
        bundle = bundles[path]
        asked = label or (stem if bundle.card.labels else "")
        priors[stem] = bundle.labelled(asked) if asked else bundle
    return priors


def prior_folders(extra: Sequence[Path] = ()) -> list[Path]:
    """Where priors are looked for: given folders, $STEMWRIGHT_PRIORS, the user's, the shipped."""
    named = [Path(p) for p in os.environ.get("STEMWRIGHT_PRIORS", "").split(os.pathsep) if p]
    data = user_folder("data")
    own = [data / "priors"] if data else []
    return [*extra, *named, *own, Path(__file__).parents[1] / "priors"]


def list_priors(extra: Sequence[Path] = ()) -> dict[str, Path]:
    """Every prior by name; folders earlier in `prior_folders` win."""
    found: dict[str, Path] = {}
    for folder in prior_folders(extra):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            found.setdefault(path.stem, path)
    return found


def find_prior(name: str, extra: Sequence[Path] = ()) -> Path:
    """Resolve a prior's name, PACK/STEM for one of an artist pack, or the path of a bundle."""
    if name.endswith(SUFFIX):
        return Path(name)
    pack, slash, stem = name.partition("/")
    if slash:
        return _packed_prior(pack, stem, extra)
    known = list_priors(extra)
    if name not in known:
        raise StemwrightError(
            "prior-unknown",
            f"no prior is called {name!r}; there are {', '.join(sorted(known)) or 'none'}. "
            "Put the bundle into a folder of $STEMWRIGHT_PRIORS or name its path.",
        )
    return known[name]


def _packed_prior(pack: str, stem: str, extra: Sequence[Path]) -> Path:
    """The bundle of a stem in the first folder that has a pack of this name."""
    packs = [folder / pack for folder in prior_folders(extra)]
    folder = next((path for path in packs if (path / PACK_CARD).is_file()), None)
    if folder is None:
        raise StemwrightError(
            "pack-unknown",
            f"no artist pack is called {pack!r}. Put its folder into a folder of "
            "$STEMWRIGHT_PRIORS, or make it with stemwright prior tune.",
        )
    path = folder / f"{stem}{SUFFIX}"
    if not path.is_file():
        there = ", ".join(sorted(bundle.stem for bundle in folder.glob(f"*{SUFFIX}")))
        raise StemwrightError(
            "prior-unknown",
            f"the artist pack {pack} has no prior of {stem}; it has {there}. Tune it with "
            f"recordings of {stem}, or leave the stem out.",
        )
    return path
