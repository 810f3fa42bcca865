"""Finds songs with their isolated stems in the folder layouts in which data sets come.

A layout is a function from a folder to songs; a song names its files by stem and is read when
it is needed. The mix of a song is the sum of its stems.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import yaml
from numpy.typing import NDArray

Float32Audio = NDArray[np.float32]

SUFFIXES = (".wav", ".flac", ".ogg")
MUSDB_STEMS = ("vocals", "bass", "drums", "other")
MUSDB_STREAMS = {"drums": 1, "bass": 2, "other": 3, "vocals": 4}  # 0 is the mix
SLAKH_CLASSES = {"Bass": "bass", "Drums": "drums", "Guitar": "guitar", "Piano": "piano"}
HELD_OUT_DIGIT = "3"  # rendered songs whose number ends so were never trained on
ALWAYS_OTHER = frozenset({"guitar", "piano", "keys", "strings", "winds", "horns", "synth"})


@dataclass(frozen=True)
class Stream:
    """One audio stream of a file that holds several."""

    path: Path
    index: int

    def unpacked(self, folder: Path) -> Path:
        """Decode it with ffmpeg to a file of its own in `folder`."""
        out = folder / f"{self.path.name}.{self.index}.wav"
        command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(self.path)]
        command += ["-map", f"0:a:{self.index}", "-c:a", "pcm_f32le", str(out)]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            sys.exit(f"{self.path}: ffmpeg reads its streams, and is not installed.")
        except subprocess.CalledProcessError:
            sys.exit(f"{self.path}: ffmpeg finds no audio stream {self.index} it can decode.")
        return out


File = Path | Stream


@dataclass(frozen=True)
class Song:
    """The files of every stem; a stem is the sum of its files."""

    name: str
    stems: dict[str, tuple[File, ...]]

    def folded(self, wanted: Sequence[str]) -> Song | None:
        """The song in terms of the stems `wanted`: instruments without a stem of their own go
        to `other`; None when a stem has no place."""
        folded: dict[str, tuple[File, ...]] = {}
        for stem, files in self.stems.items():
            place = "other" if stem in ALWAYS_OTHER and stem not in wanted else stem
            if place not in wanted:
                return None
            folded[place] = folded.get(place, ()) + files
        return Song(self.name, {stem: folded[stem] for stem in wanted if stem in folded})

    def read(self, seconds: float) -> tuple[dict[str, Float32Audio], int]:
        """The stems (channels, samples), equally long, and their rate.

        With `seconds` above 0 only that much is read, from the middle of the song.
        """
        with tempfile.TemporaryDirectory() as aside:
            files = {
                stem: [f.unpacked(Path(aside)) if isinstance(f, Stream) else f for f in found]
                for stem, found in self.stems.items()
            }
            return self._read(files, seconds)

    def _read(
        self, opened: dict[str, list[Path]], seconds: float
    ) -> tuple[dict[str, Float32Audio], int]:
        infos = [soundfile.info(file) for files in opened.values() for file in files]
        rate, longest = infos[0].samplerate, max(info.frames for info in infos)
        if any(info.samplerate != rate for info in infos):
            raise ValueError(f"{self.name}: the stems have different sample rates")
        channels = max(info.channels for info in infos)
        frames = min(longest, round(seconds * rate)) if seconds else longest
        start = (longest - frames) // 2
        stems = {}
        for stem, files in opened.items():
            stems[stem] = np.zeros((channels, frames), np.float32)
            for file in files:
                stems[stem] += _read(file, start, frames)
        return stems, rate


def _read(file: Path, start: int, frames: int) -> Float32Audio:
    """Frames of one file, (channels, frames), zeros behind its end."""
    with soundfile.SoundFile(file) as audio:
        audio.seek(min(start, audio.frames))
        read = audio.read(frames, dtype="float32", always_2d=True, fill_value=0.0)
    return np.ascontiguousarray(read.T)


def stem_folders(root: Path) -> list[Song]:
    """`root/<song>/<stem>.wav`, also .flac and .ogg."""
    return [
        Song(folder.name, {f.stem: (f,) for f in sorted(folder.iterdir()) if _is_audio(f)})
        for folder in _folders(root)
    ]


def held_out(root: Path) -> list[Song]:
    """`root/<instrument>/rendered_<number>.ogg`: the songs the shipped priors have not heard."""
    songs: dict[str, dict[str, tuple[File, ...]]] = {}
    for instrument in _folders(root):
        for file in sorted(instrument.glob(f"rendered_*{HELD_OUT_DIGIT}.*")):
            songs.setdefault(file.stem, {})[instrument.name] = (file,)
    return [Song(name, stems) for name, stems in sorted(songs.items())]


def musdb18hq(root: Path) -> list[Song]:
    """The test half of MUSDB18-HQ: `root/test/<song>/{mixture,vocals,bass,drums,other}.wav`."""
    return [
        Song(folder.name, {stem: (folder / f"{stem}.wav",) for stem in MUSDB_STEMS})
        for folder in _folders(root / "test")
    ]


def musdb18(root: Path) -> list[Song]:
    """The test half of MUSDB18: `root/test/<song>.stem.mp4`, five AAC streams each. Needs ffmpeg.

    The streams stand in the order of Native Instruments' stem files: mix, drums, bass, other,
    vocals.
    """
    return [
        Song(
            file.name.removesuffix(".stem.mp4"),
            {stem: (Stream(file, MUSDB_STREAMS[stem]),) for stem in MUSDB_STEMS},
        )
        for file in sorted((root / "test").glob("*.stem.mp4"))
    ]


def slakh2100(root: Path) -> list[Song]:
    """The test part of Slakh2100: `root/test/Track*/metadata.yaml` and `stems/S??.flac`.

    Rendered stems are gathered by instrument class; all but bass, drums, guitar and piano are
    `other`.
    """
    return [_slakh_track(folder) for folder in _folders(root / "test")]


def _slakh_track(folder: Path) -> Song:
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text(encoding="utf-8"))
    stems: dict[str, tuple[File, ...]] = {}
    for name, facts in sorted(metadata["stems"].items()):
        found = [folder / "stems" / f"{name}{suffix}" for suffix in SUFFIXES]
        files = tuple(file for file in found if file.is_file())
        if facts.get("audio_rendered", True) and files:  # a few MIDI tracks have no audio
            stem = SLAKH_CLASSES.get(facts["inst_class"], "other")
            stems[stem] = stems.get(stem, ()) + files[:1]
    return Song(folder.name, stems)


LAYOUTS: dict[str, Callable[[Path], list[Song]]] = {
    "stems": stem_folders,
    "held-out": held_out,
    "musdb18": musdb18,
    "musdb18hq": musdb18hq,
    "slakh2100": slakh2100,
}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir())


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.stem not in ("mix", "mixture")
