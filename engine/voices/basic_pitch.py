"""Spotify's Basic Pitch as a tracker, where the user has installed the package `basic-pitch`.

The package requires TensorFlow, so it is never imported: its ONNX graph (230 kB, Apache-2.0;
Bittner et al., ICASSP 2022) is found among the package's files and run with ONNX Runtime. It says
for every third of a semitone how likely something sounds there; who sings what is our own search.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError, sha256_of

from ..model.sessions import Device, make_session, telling_device_faults
from .salience import pitch_grid

Float = NDArray[np.float32]

PACKAGE = "basic-pitch"
GRAPH = "basic_pitch/saved_models/icassp_2022/nmp.onnx"
INSTALL = f"pip install --no-deps {PACKAGE}"
_RATE, _HOP, _WINDOW = 22050, 256, 43844  # samples: what the graph was trained with
_SHARED = 30  # frames that two windows have in common
_LOWEST_HZ, _PER_SEMITONE, _BINS = 27.5, 3, 264
_CONTOUR = "StatefulPartitionedCall:0"


def find_graph() -> Path | None:
    """The graph among the installed package's files; None where the package is not there."""
    try:
        path = Path(str(distribution(PACKAGE).locate_file(GRAPH)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def need_graph() -> tuple[Path, str]:
    """The graph and its sha256. Raises StemwrightError that says how to install it."""
    path = find_graph()
    if path is None:
        raise StemwrightError(
            "voices-basic-pitch",
            f"pitches by basic-pitch were asked for, but the package is not there. {INSTALL} "
            "(its graph alone is used, not TensorFlow), or leave the choice to `auto`.",
        )
    return path, sha256_of(path)


def strengths_by_graph(mono: Float, rate: int, times: NDArray[np.float64]) -> Float:
    """How likely each candidate of `pitch_grid()` sounds at `times`, (times, candidates)."""
    import soxr

    path, _ = need_graph()
    session, got = make_session(path.read_bytes(), Device("cpu"))
    graph_input = session.get_inputs()[0]
    names = [out.name for out in session.get_outputs()]
    if _CONTOUR not in names or graph_input.shape[1:] != [_WINDOW, 1]:
        raise StemwrightError(
            "voices-basic-pitch",
            f"{path}: no graph that is known here: input {graph_input.shape}, outputs "
            f"{', '.join(names)}. Version 0.4 of {PACKAGE} has it.",
        )
    audio = np.asarray(soxr.resample(mono, rate, _RATE), np.float32)
    step = _WINDOW - _SHARED * _HOP
    padded = np.concatenate([np.zeros(_SHARED * _HOP // 2, np.float32), audio])
    count = max(1, -(-len(padded) // step))
    padded = np.pad(padded, (0, count * step + _WINDOW - len(padded)))
    rows = []
    with telling_device_faults(got):
        for n in range(count):
            window = padded[n * step : n * step + _WINDOW]
            found = session.run([_CONTOUR], {graph_input.name: window[None, :, None]})[0][0]
            rows.append(found[_SHARED // 2 : -(_SHARED // 2)])
    contour = np.concatenate(rows)
    # frames of a window are _WINDOW / frames apart, a little more than the hop
    seconds = step / _RATE / len(rows[0])
    return _on_grid(contour, seconds, times)


def _on_grid(contour: Float, seconds: float, times: NDArray[np.float64]) -> Float:
    """Thirds of semitones at the graph's frames as our candidates at our times."""
    frames = np.clip(np.round(times / seconds).astype(int), 0, len(contour) - 1)
    place = 12 * _PER_SEMITONE * np.log2(pitch_grid() / _LOWEST_HZ)
    low = np.clip(np.floor(place).astype(int), 0, _BINS - 2)
    share = np.clip(place - low, 0, 1).astype(np.float32)
    found: Float = contour[frames][:, low] * (1 - share) + contour[frames][:, low + 1] * share
    return found
