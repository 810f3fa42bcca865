"""How near the search comes to the machine: its floating-point rate against the matrix peak."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from engine import Device, Prior, find_prior, read_bundle
from engine.separation.separator import BATCH
from engine.separation.windows import WINDOW
from export.models.features import Features
from export.models.flow import Flow, FlowConfig
from export.models.flow_graphs import FlowEmitter, round_weights
from speed_trials import STEMS, median_s

PEAK_SIZE = 1024
REPEATS = 15


def step_flops(flow: Mapping[str, int], frames: int) -> float:
    """Floating-point operations of the matrix products in one gradient step.

    A coupling's network has F = C h + L 2 k h^2 + (L - 1) 2 h^2 + h^2 + 2 C h weights for C
    channels, h hidden, L layers, kernel k (C = bands, half of the squeezed channels); the mixing
    adds 4 x 2C. Each weight is a multiplication and an addition per step (two frames), once for
    the inverse pass and once for its transpose.
    """
    channels, hidden = flow["bands"], flow["hidden"]
    layers, kernel = flow["layers"], flow["kernel"]
    net = channels * hidden + layers * 2 * kernel * hidden * hidden
    net += (layers - 1) * 2 * hidden * hidden + hidden * hidden + 2 * channels * hidden
    return 2 * 2 * flow["blocks"] * (net + 4 * 2 * channels) * frames / 2


def search_rate(threads: int) -> float:
    """GFLOP/s of the shipped priors' gradient sessions, `threads` side by side."""
    priors = [Prior(find_prior(stem), Device("cpu")) for stem in STEMS]
    flops = sum(step_flops(p.card.flow, BATCH * WINDOW) for p in priors)
    feeds = _feeds(priors[0].card.flow["bands"], BATCH)
    feeds["other_magnitudes"] = feeds.pop("others")  # the graph's name and Python's
    return flops / _side_by_side(threads, [partial(p.gradient, **feeds) for p in priors]) / 1e9


def matmul_peak(threads: int) -> float:
    """GFLOP/s of ONNX Runtime's own float32 MatMul of 1024 x 1024, `threads` side by side."""
    sessions = [_matmul_session() for _ in range(4)]
    a = np.random.default_rng(0).standard_normal((PEAK_SIZE, PEAK_SIZE)).astype(np.float32)
    works = [partial(session.run, None, {"a": a}) for session in sessions]
    return len(works) * 2 * PEAK_SIZE**3 / _side_by_side(threads, works) / 1e9


def papers_step_s() -> tuple[float, float]:
    """Processor seconds of one gradient step of a flow of the paper's size with random weights, on
    one thread, and the seconds of audio it covers: 512 bins, hop 256, mono at 22.05 kHz."""
    config = FlowConfig.paper()
    flow = Flow(config).eval()
    round_weights(flow)
    bands = config.bands
    features = Features(1 / 3, np.zeros(bands, np.float32), np.ones(bands, np.float32))
    model = FlowEmitter(flow, features).gradient().SerializeToString()
    session = _session(model)
    inputs = _feeds(bands, 1)
    return median_s(5, lambda: session.run(None, inputs), time.process_time), WINDOW * 256 / 22050


def operator_shares(folder: Path) -> list[tuple[str, float]]:
    """ONNX Runtime's profile of one gradient session: share of time per operator."""
    _, files, _ = read_bundle(find_prior(STEMS[0]))
    session = _session(files["gradient.onnx"], folder / "profile")
    inputs = _feeds(mix_bands(session), BATCH)
    for _ in range(REPEATS):
        session.run(None, inputs)
    spent: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text("utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    return [(name, value / spent.total()) for name, value in spent.most_common()]


def mix_bands(session: Any) -> int:  # noqa: ANN401 - onnxruntime ships no types
    """Bands of a gradient session."""
    return int(next(i for i in session.get_inputs() if i.name == "mix").shape[2])


def _side_by_side(threads: int, works: Sequence[Callable[[], object]]) -> float:
    with ThreadPoolExecutor(threads) as pool:
        return median_s(REPEATS, lambda: list(pool.map(lambda work: work(), works)))


def _feeds(bands: int, batch: int) -> dict[str, Any]:
    """Inputs of a gradient graph."""
    rng = np.random.default_rng(0)
    mix, rest, guide = rng.random((3, batch, WINDOW, bands)).astype(np.float32)
    return {
        "latents": 0.1 * rng.standard_normal((batch, WINDOW // 2, 2 * bands)).astype(np.float32),
        "mix": mix,
        "others": rest,
        "guide": guide,
        "weight": np.ones_like(mix),
        "prior_weight": np.array(0.0, np.float32),
        "guide_weight": np.array(0.0, np.float32),
    }


def _session(model: bytes, profile: Path | None = None) -> Any:  # noqa: ANN401
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _matmul_session() -> Any:  # noqa: ANN401
    shape = [PEAK_SIZE, PEAK_SIZE]
    weight = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "peak",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return _session(model.SerializeToString())
