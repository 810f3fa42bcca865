"""Runs one program's own reader and writer round an identity separation, in its own environment.

    PEER_PYTHON bench/fidelity_peers.py demucs MIX FOLDER

The separation is the same for all: a mask that swings between nothing and everything, and the
rest of what the program itself read. Only the program's public functions and its command line's
defaults are used; the variants ending in "-best" choose the most faithful options it offers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

SWING_S = 7.0


def shares(audio: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Two stems whose sum is `audio` `(channels, samples)` up to float32 rounding."""
    time = np.arange(audio.shape[-1]) / rate
    mask = (0.5 + 0.5 * np.sin(2 * np.pi * time / SWING_S)).astype(np.float32)
    vocals = audio * mask
    return {"vocals": vocals, "rest": audio - vocals}


def demucs(mix: Path, folder: Path, **options: object) -> None:
    import torch
    from demucs.api import save_audio
    from demucs.audio import AudioFile

    rate = 44100  # of every published model
    audio = AudioFile(mix).read(streams=0, samplerate=rate, channels=2).numpy()
    for stem, samples in shares(audio, rate).items():
        save_audio(torch.from_numpy(samples), folder / f"{stem}.wav", samplerate=rate, **options)


def demucs_best(mix: Path, folder: Path) -> None:
    demucs(mix, folder, clip="none", as_float=True)


def openunmix(mix: Path, folder: Path) -> None:
    import torch
    import torchaudio
    from openunmix import data, utils

    model_rate = 44100
    audio, rate = data.load_audio(str(mix))
    audio = utils.preprocess(audio, rate, model_rate)
    for stem, samples in shares(audio.numpy(), model_rate).items():
        estimate = torch.squeeze(torch.from_numpy(samples)).to("cpu")
        torchaudio.save(str(folder / f"{stem}.wav"), estimate, sample_rate=model_rate)


def audio_separator(
    mix: Path, folder: Path, normalization: float = 0.9, use_soundfile: bool = False
) -> None:
    import logging

    from audio_separator.separator.common_separator import CommonSeparator

    separator = CommonSeparator(
        {
            "logger": logging.getLogger("peer"),
            "log_level": logging.ERROR,
            "model_name": "identity",
            "model_data": {},
            "output_dir": str(folder),
            "output_format": "WAV",
            "normalization_threshold": normalization,
            "amplification_threshold": 0.0,
            "sample_rate": 44100,
            "use_soundfile": use_soundfile,
        }
    )
    separator.audio_file_path = str(mix)
    audio = separator.prepare_mix(str(mix))
    for stem, samples in shares(audio, separator.sample_rate).items():
        separator.write_audio(f"{stem}.wav", samples.T)


def audio_separator_best(mix: Path, folder: Path) -> None:
    audio_separator(mix, folder, normalization=1.0, use_soundfile=True)


PEERS: dict[str, Callable[[Path, Path], None]] = {
    "demucs": demucs,
    "demucs-best": demucs_best,
    "openunmix": openunmix,
    "audio-separator": audio_separator,
    "audio-separator-best": audio_separator_best,
}


if __name__ == "__main__":
    PEERS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
