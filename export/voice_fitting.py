"""The child process that fits a voice network to one recording: `python -m export.voice_fitting`.

Its argument is a request in JSON (`engine.voices.fitting` writes it); every line that it prints is
JSON, too: where the training is, or the sentence of an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from engine import PitchTracks
from presets import StemwrightError

from .data.mixtures import Mixture
from .training.voice_training import VoiceSettings
from .voices import fit_voices

REPORT_EVERY = 10


def main(request: dict[str, Any]) -> None:
    """Train, tell, write the bundle."""
    with np.load(request["recording"], allow_pickle=False) as stored:
        tracks = PitchTracks(
            tuple(request["names"]),
            stored["hertz"],
            request["frame_seconds"],
            stored["confidence"],
            "recording",
        )
        mixture = Mixture("recording", stored["mono"], tracks)
    settings = VoiceSettings.fit(request["steps"], request["seed"])
    try:
        for progress in fit_voices(
            [mixture],
            Path(request["folder"]),
            Path(request["bundle"]),
            start_from=Path(request["start"]),
            settings=settings,
            description="fitted to one recording",
            every=REPORT_EVERY,
        ):
            said = {"step": progress.step, "steps": progress.steps, "loss": progress.loss}
            print(json.dumps(said), flush=True)
    except StemwrightError as error:
        print(json.dumps({"error": error.sentence}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
