"""Searches for files that break the container checks, guided by coverage (needs atheris).

    python bench/fuzz_containers.py CORPUS_FOLDER -max_total_time=600 -rss_limit_mb=2000

Anything but a StemwrightError is a finding. Only the Python half is searched: the decoder runs
in a process of its own, which tests/test_fuzz.py covers. `--seeds FOLDER` writes small valid
files to start from.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["engine", "mutagen"]):
    from engine.audio.containers import inspect
    from engine.audio.metadata import metadata_for, naming_fields
    from engine.audio.tags import read_tags
    from engine.audio.wave_header import FileFormat

from presets import StemwrightError

FORMATS = tuple(FileFormat(container, "pcm", 16, 2, 48000) for container in ("wav", "flac"))
CASE = Path(tempfile.gettempdir()) / f"stemwright-fuzz-{os.getpid()}"


def one_case(data: bytes) -> None:
    """Inspect the bytes as a file and read its metadata."""
    CASE.write_bytes(data)
    with contextlib.suppress(StemwrightError):
        inspect(CASE)
        naming_fields(CASE, read_tags(CASE))
        for fmt in FORMATS:
            metadata_for(CASE, read_tags(CASE), fmt).with_history("T=fuzz")


def write_seeds(folder: Path) -> None:
    """One small valid file of every container."""
    import numpy as np
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(np.arange(600)[:, None] / 9)
    for container in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC", "CAF", "AU", "OGG", "MP3"):
        soundfile.write(folder / container.lower(), tone, 48000, format=container)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--seeds"]:
        write_seeds(Path(sys.argv[2]))
    else:
        atheris.Setup(sys.argv, one_case)
        atheris.Fuzz()
