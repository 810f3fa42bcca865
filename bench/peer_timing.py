"""A program for a peer's own environment: separates a file with random weights, prints its time.

    python peer_timing.py htdemucs|openunmix MIX.wav THREADS

Random weights take as long as trained ones; nothing is downloaded. The files' reading and
writing is not timed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from types import ModuleType

import soundfile
import torch

TARGETS = ["drums", "bass", "other", "vocals"]


def htdemucs(mix: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The published htdemucs: 7.8 s segments, a quarter overlap, no shifts."""
    from demucs.apply import apply_model
    from demucs.htdemucs import HTDemucs

    model = HTDemucs(TARGETS, t_layers=5, bottom_channels=512, segment=Fraction(39, 5)).eval()
    return lambda: apply_model(model, mix[None], shifts=0, split=True, overlap=0.25)


def openunmix(mix: torch.Tensor) -> Callable[[], torch.Tensor]:
    """umxhq's sizes: four networks, one iteration of the Wiener filter."""
    # it is imported for files only, and the wheel there is does not load without CUDA
    sys.modules["torchaudio"] = ModuleType("torchaudio")
    from openunmix.model import OpenUnmix, Separator

    networks = {
        target: OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487)
        for target in TARGETS
    }
    separator = Separator(networks, niter=1, n_fft=4096, n_hop=1024, nb_channels=2).eval()
    return lambda: separator(mix[None])


def main() -> None:
    """Warm up on two seconds, then time the whole file."""
    make = {"htdemucs": htdemucs, "openunmix": openunmix}[sys.argv[1]]
    torch.set_num_threads(int(sys.argv[3]))
    torch.manual_seed(0)
    audio, rate = soundfile.read(sys.argv[2], dtype="float32")
    mix = torch.from_numpy(audio.T.copy())
    with torch.no_grad():
        make(mix[:, : 2 * rate])()
        separate = make(mix)
        wall, cpu = time.perf_counter(), time.process_time()
        separate()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
