"""A network fitted to one recording, by torch in a process of its own.

The program at work has no torch. Where the user has installed it, `python -m export.voice_fitting`
trains on the recording and its pitches and writes a bundle, which is then opened like any other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from presets import StemwrightError

from ..model.hooks import Interrupted, SearchHooks
from .pitches import PitchTracks

Float = NDArray[np.float32]

STEPS_A_MINUTE = 60  # of the small network on two cores; steps, not the clock, make the result
BUNDLE = "fitted.voices"
_RECORDING = "recording.npz"


class FitRequest(TypedDict):
    """What the process that trains is asked, as JSON; all but names and numbers are paths."""

    recording: str
    names: list[str]
    frame_seconds: float
    folder: str
    bundle: str
    start: str
    steps: int
    seed: int


def why_not_fit() -> StemwrightError | None:
    """Why no network can be fitted here, if none can."""
    if find_spec("torch") is not None and find_spec("onnx") is not None:
        return None
    return StemwrightError(
        "voices-no-torch",
        "fitting a network to the recording needs torch, which is not installed: "
        "pip install 'stemwright[cpu,export]'. Without --fit the shipped network is used.",
    )


def fit_network(
    mono: Float,
    tracks: PitchTracks,
    folder: Path,
    start: Path,
    *,
    minutes: float,
    seed: int,
    hooks: SearchHooks,
) -> Path:
    """Train on a recording, (samples,) at 16 kHz, and return the bundle's file.

    `folder` holds the checkpoint: an interrupted fit that is called again goes on and ends with
    the same bytes. Raises Interrupted when `hooks.should_stop` says so, and StemwrightError
    where torch is missing or the recording is too short.
    """
    if problem := why_not_fit():
        raise problem
    folder.mkdir(parents=True, exist_ok=True)
    bundle = folder / BUNDLE
    if bundle.exists():  # it is renamed into place when it is whole
        return bundle
    with (folder / _RECORDING).open("wb") as file:
        np.savez(file, mono=mono, hertz=tracks.hertz, confidence=tracks.confidence)
    request: FitRequest = {
        "recording": str(folder / _RECORDING),
        "names": list(tracks.names),
        "frame_seconds": tracks.frame_seconds,
        "folder": str(folder),
        "bundle": str(bundle),
        "start": str(start),
        "steps": max(1, round(minutes * STEPS_A_MINUTE)),
        "seed": seed,
    }
    _run(request, hooks)
    return bundle


def _run(request: FitRequest, hooks: SearchHooks) -> None:
    """Let the child train; hear where it is, and end it when asked to stop."""
    with subprocess.Popen(
        [sys.executable, "-m", "export.voice_fitting", json.dumps(request)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        failure = ""
        try:
            for line in child.stdout:
                message = json.loads(line)
                if "error" in message:
                    failure = message["error"]
                else:
                    hooks.progress(message["step"], message["steps"])
                if hooks.should_stop():
                    raise Interrupted
        except BaseException:
            child.kill()  # its last checkpoint stays
            raise
        said = child.stderr.read()
        code = child.wait()
    if failure or code:
        last = said.strip().splitlines()[-1:] or [f"exit code {code}"]
        raise StemwrightError("voices-fit", failure or f"the fit ended early: {last[0]}.")
