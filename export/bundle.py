"""From a training run to a prior bundle: graphs, parity with torch, card, one zip file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import (
    Device,
    FrontEndCard,
    ModelCard,
    Source,
    make_session,
    put_file,
    read_bundle,
    write_bundle_file,
)
from presets import StemwrightError

from .models.estimator import TrainedEncoder, TrainedHead
from .models.features import Features
from .models.flow import Flow
from .models.flow_graphs import LABEL, LEAST_SUM, emit_graphs
from .training.flow_training import Run

Float = NDArray[np.float32]

TOLERANCE = 1e-4  # relative: what ONNX Runtime may differ from torch
RESULTS = ("latents", "log_det", "inverse", "loss", "gradient")
_SHAPE = (1, 12)  # self-test vectors: batch, frames


def torch_reference(flow: Flow, features: Features, vectors: dict[str, Float]) -> dict[str, Float]:
    """What torch, with its own autograd, says about magnitudes, z, others and guide.

    Shapes as in the graphs; prior and guide weight 0.5, all points counting. The answers of a
    flow with labels are stacked, label by label, along a new first axis.
    """
    if not flow.config.labels:
        return _answers(flow, features, vectors, None)
    batch = len(vectors["z"])
    each = [
        _answers(flow, features, vectors, torch.full((batch,), label))
        for label in range(flow.config.labels)
    ]
    return {name: np.stack([answers[name] for answers in each]) for name in each[0]}


def _answers(
    flow: Flow, features: Features, vectors: dict[str, Float], labels: Tensor | None
) -> dict[str, Float]:
    x = features.apply(vectors["magnitudes"])
    latents, log_det = flow(x, labels)
    frames = vectors["magnitudes"].shape[1]
    log_det = log_det - frames * float(np.log(features.std.astype(np.float64)).sum())
    z = torch.from_numpy(vectors["z"]).requires_grad_()
    own = _magnitudes(flow, features, z, labels)
    mix, rest, guide = (torch.from_numpy(vectors[n]) for n in ("magnitudes", "others", "guide"))
    points = _divergence(mix, own + rest) + 0.5 * _divergence(guide, own)
    loss = points.mean(dim=(1, 2)) + 0.25 * (z**2).mean(dim=(1, 2))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    results = (latents.transpose(1, 2), log_det, own, loss, z.grad)
    arrays = [value.detach().numpy().astype(np.float32) for value in results]
    return dict(zip(RESULTS, arrays, strict=True))


def _magnitudes(flow: Flow, features: Features, z: Tensor, labels: Tensor | None) -> Tensor:
    """The flow's magnitudes for latents (batch, steps, 2 * bands)."""
    u = flow.inverse(z.transpose(1, 2), labels).transpose(1, 2)
    u = u * torch.from_numpy(features.std) + torch.from_numpy(features.mean)
    power = 1 / features.compression
    return u if power == 1 else torch.relu(u) ** power


def _divergence(target: Tensor, signed: Tensor) -> Tensor:
    model = signed.abs() + LEAST_SUM
    return target * torch.log((target + LEAST_SUM) / model) - target + model


def self_test_vectors(flow: Flow, features: Features, seed: int) -> dict[str, Float]:
    """Random inputs and torch's answers, for the bundle.

    The divergence has a pole where its model is zero, and linear magnitudes cross zero: there
    rounding alone would decide the gradient. So the others' sum lies well above what the flow
    plays, and the guide below it.
    """
    rng = np.random.default_rng([seed, 11])
    batch, frames = _SHAPE
    bands = flow.config.bands
    x = rng.standard_normal((batch, frames, bands))
    compressed = np.maximum(x * features.std + features.mean, 0.05)
    z = rng.standard_normal((batch, frames // 2, 2 * bands)).astype(np.float32)
    played = _loudness(flow, features, z)
    vectors = {
        "magnitudes": (compressed ** (1 / features.compression)).astype(np.float32),
        "z": z,
        "others": 2 * played.max(axis=0) + rng.uniform(0.1, 1, played.shape[1:]),
        "guide": played.min(axis=0) * rng.random(played.shape[1:]),
    }
    vectors = {name: values.astype(np.float32) for name, values in vectors.items()}
    return vectors | torch_reference(flow, features, vectors)


@torch.no_grad()
def _loudness(flow: Flow, features: Features, z: Float) -> Float:
    """|m(z)| under every label, (labels, batch, frames, bands); of a flow without, of one."""
    labels: list[Tensor | None] = [
        torch.full((len(z),), label) for label in range(flow.config.labels)
    ]
    latents = torch.from_numpy(z)
    return np.stack(
        [_magnitudes(flow, features, latents, k).abs().numpy() for k in labels or [None]]
    )


def parity(
    graphs: dict[str, bytes], vectors: dict[str, Float], labels: int = 0
) -> dict[str, float]:
    """Largest relative difference of every result, of every label where there are `labels`,
    between ONNX Runtime and torch."""
    run = {name: make_session(model, Device("cpu"))[0].run for name, model in graphs.items()}
    if not labels:
        return _differences(run, vectors, {}, vectors)
    each = [
        _differences(
            run,
            vectors,
            {LABEL: np.array(label, np.int64)},
            {name: vectors[name][label] for name in RESULTS},
        )
        for label in range(labels)
    ]
    return {name: max(found[name] for found in each) for name in each[0]}


def _differences(
    run: dict[str, Callable[..., Any]],
    vectors: dict[str, Float],
    label: dict[str, NDArray[np.int64]],
    expected: dict[str, Float],
) -> dict[str, float]:
    latents, log_det = run["forward"](
        ["latents", "log_det"], {"magnitudes": vectors["magnitudes"], **label}
    )
    (inverse,) = run["inverse"](["magnitudes"], {"latents": vectors["z"], **label})
    loss, own, gradient = run["gradient"](
        ["loss", "own", "gradient"],
        {
            **label,
            "latents": vectors["z"],
            "mix": vectors["magnitudes"],
            "others": vectors["others"],
            "guide": vectors["guide"],
            "weight": np.ones_like(vectors["others"]),
            "prior_weight": np.array(0.5, np.float32),
            "guide_weight": np.array(0.5, np.float32),
        },
    )
    pairs = {
        "latents": (latents, "latents"),
        "log_det": (log_det, "log_det"),
        "inverse": (inverse, "inverse"),
        "own": (own, "inverse"),
        "loss": (loss, "loss"),
        "gradient": (gradient, "gradient"),
    }
    return {name: _difference(got, expected[key]) for name, (got, key) in pairs.items()}


def estimate_parity(head: TrainedHead | None, encoder: TrainedEncoder | None) -> dict[str, float]:
    """The same of what makes a first estimate: the head's mask, the encoder's features."""
    errors = {}
    if head is not None:
        errors["mask"] = _answered(_serialise(head.graph), "features", "mask", head.vectors)
    if encoder is not None:
        errors["features"] = _answered(encoder.onnx, "mix", "features", encoder.vectors)
    return errors


def _answered(graph: bytes, input_name: str, output_name: str, vectors: dict[str, Float]) -> float:
    session, _ = make_session(graph, Device("cpu"))
    (got,) = session.run([output_name], {input_name: vectors[input_name]})
    return _difference(got, vectors[output_name])


def _difference(got: Float, expected: Float) -> float:
    """The largest one, relative to the largest value."""
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-12))


class Facts(TypedDict, total=False):
    """What the card says that neither weights nor graphs do; see `ModelCard`."""

    stem: Required[str]
    front_end: Required[FrontEndCard]
    sources: Required[tuple[Source, ...]]
    other_sources: tuple[Source, ...]
    validation: Required[dict[str, Any]]
    training: Required[dict[str, Any]]
    percentiles: tuple[float, ...]
    percentiles_of_labels: dict[str, tuple[float, ...]]
    labels: Sequence[str]
    licence: str


def write_bundle(
    run: Run,
    out: Path,
    *,
    head: TrainedHead | None = None,
    encoder: TrainedEncoder | None = None,
    **facts: Unpack[Facts],
) -> ModelCard:
    """Emit, compare with torch, and write the bundle, and the encoder that its head reads beside
    it; nothing is written when parity fails.

    `labels` names what the numbers of a flow's labels stand for.
    """
    if len(facts.get("labels", ())) != run.config.labels:
        raise ValueError(f"{facts.get('labels')} for a flow with {run.config.labels} labels")
    graphs = {
        name: _serialise(model) for name, model in emit_graphs(run.flow, run.features).items()
    }
    vectors = self_test_vectors(run.flow, run.features, run.settings.seed)
    errors = parity(graphs, vectors, run.config.labels) | estimate_parity(head, encoder)
    _refuse_differences(facts["stem"], errors)
    files = {f"{name}.onnx": model for name, model in graphs.items()}
    if head is not None:
        files["head.onnx"] = _serialise(head.graph)
        vectors |= head.vectors
    files["selftest.npz"] = _npz(vectors)
    card = _card(run, head, files, errors, facts)
    out.parent.mkdir(parents=True, exist_ok=True)
    if encoder is not None:
        put_file(out.parent / encoder.file_name, encoder.onnx)
    card_text = json.dumps(card.to_dict(), indent=1, sort_keys=True)
    write_bundle_file(out, {"card.json": card_text.encode(), **files})
    return card


def write_with_head(
    source: Path,
    out: Path,
    head: TrainedHead,
    encoder: TrainedEncoder,
    heard: Sequence[Source],
) -> ModelCard:
    """Write a bundle anew with another head and the encoder that it reads beside it; the flow
    stays.

    `heard` is what head and encoder have heard since, each source once by name; nothing is
    written when parity fails.
    """
    card, files, _ = read_bundle(source)
    errors = estimate_parity(head, encoder)
    _refuse_differences(card.stem, errors)
    with np.load(io.BytesIO(files["selftest.npz"]), allow_pickle=False) as stored:
        vectors = {name: stored[name] for name in stored.files} | head.vectors
    files = {name: blob for name, blob in files.items() if name != "card.json"}
    files |= {"head.onnx": _serialise(head.graph), "selftest.npz": _npz(vectors)}
    other_sources = tuple(
        {source.name: source for source in (*card.other_sources, *heard)}.values()
    )
    licences = {source.licence for source in (*card.sources, *other_sources)}
    parity_of = card.validation.get("parity", {}) | errors
    changed = card.model_copy(
        update={
            "encoder_sha256": head.encoder_sha256,
            "other_sources": other_sources,
            "licence": "; ".join(sorted(licences)),
            "training": card.training | {"head": head.training},
            "validation": card.validation | {"parity": parity_of},
            "files": {
                name: hashlib.sha256(blob).hexdigest() for name, blob in sorted(files.items())
            },
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    put_file(out.parent / encoder.file_name, encoder.onnx)
    card_text = json.dumps(changed.to_dict(), indent=1, sort_keys=True)
    write_bundle_file(out, {"card.json": card_text.encode(), **files})
    return changed


def _refuse_differences(stem: str, errors: dict[str, float]) -> None:
    wrong = {name: error for name, error in errors.items() if not error < TOLERANCE}  # NaN too
    if wrong:
        worst = max(wrong, key=wrong.__getitem__)
        raise StemwrightError(
            "export-parity",
            f"{stem}: {worst} differs from torch by {errors[worst]:.1e} (allowed {TOLERANCE}); "
            "nothing was written. Train longer or with a smaller learning rate: it is badly "
            "conditioned.",
        )


def _card(
    run: Run,
    head: TrainedHead | None,
    files: dict[str, bytes],
    errors: dict[str, float],
    facts: Facts,
) -> ModelCard:
    return ModelCard.model_validate(
        {
            **facts,
            "compression": run.features.compression,
            "flow": run.config.to_dict(),
            "parameters": sum(p.numel() for p in run.flow.parameters()),
            "validation": facts["validation"] | {"parity": errors},
            "encoder_sha256": head.encoder_sha256 if head else None,
            "against": head.against if head else (),
            "made_with": {
                name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime")
            },
            "files": {
                name: hashlib.sha256(blob).hexdigest() for name, blob in sorted(files.items())
            },
            "tolerance": 10 * TOLERANCE,  # other processors round differently
        }
    )


def _serialise(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _npz(arrays: dict[str, Float]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
