"""Prints the contrast page: odd files through our writer and through each peer's own.

    python bench/fidelity.py --install build/peers        # once: three environments, no weights
    python bench/fidelity.py --peers build/peers > page.md

Every file is made here, separated by the same mask (no model), written by each program and read
back with libsndfile and ffprobe.
"""

from __future__ import annotations

import argparse
import json
import platform
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from engine import ENGINE_VERSION
from engine.audio.reading import probe
from engine.audio.scratch import StemScratch
from engine.audio.signal import MixFile
from engine.stems.naming import NameTemplate
from engine.stems.stem_set import write_set
from fidelity_peers import shares

# torch first and pinned: without it the CUDA build and its gigabytes are fetched.
INSTALLS = {
    "demucs": [["torch==2.13.0"], ["torch==2.13.0", "demucs==4.1.0", "soundfile"]],
    "openunmix": [
        ["torch==2.13.0"],
        ["torch==2.13.0", "openunmix==1.3.0", "soundfile"],
        ["--no-deps", "torchcodec==0.12.0"],
    ],
    "audio-separator": [
        ["torch==2.13.0"],
        ["torch==2.13.0", "audio-separator[cpu]==0.47.1", "soundfile"],
    ],
}
VARIANTS = {
    "demucs": ("demucs", "demucs-best"),
    "openunmix": ("openunmix",),
    "audio-separator": ("audio-separator", "audio-separator-best"),
}
TIME_REFERENCE = 3600 * 48000
SEED = 20261121
HEADINGS = (
    "program",
    "null, peak",
    "null, RMS",
    "depth used",
    "rate",
    "channels",
    "length",
    "extra",
)


@dataclass(frozen=True)
class Odd:
    """One odd file: what is odd about it and how to write it."""

    title: str
    rate: int = 44100
    channels: int = 2
    seconds: float = 12.0
    subtype: str = "PCM_24"
    peak: float = 0.98
    broadcast: bool = False


ODD_FILES = (
    Odd("24-bit with noise down to the last bit"),
    Odd("32-bit float, peaks at +3 dBFS", subtype="FLOAT", peak=1.413),
    Odd("96 kHz", rate=96000),
    Odd("mono", channels=1),
    Odd("5.1", rate=48000, channels=6),
    Odd("11 minutes, 16 bits", seconds=660.0, subtype="PCM_16"),
    Odd("broadcast wave with a TimeReference", rate=48000, broadcast=True),
)


def make(odd: Odd, path: Path) -> None:
    """Write the odd file with libsndfile, in blocks; integers are exact."""
    rng = np.random.default_rng(SEED)
    container = "WAVEX" if odd.channels > 2 else "WAV"
    with soundfile.SoundFile(
        path, "w", odd.rate, odd.channels, odd.subtype, format=container
    ) as file:
        for start in range(0, round(odd.seconds * odd.rate), odd.rate):
            count = min(odd.rate, round(odd.seconds * odd.rate) - start)
            audio = np.clip(
                rng.normal(0, odd.peak / 4, (count, odd.channels)), -odd.peak, odd.peak
            )
            audio[0] = odd.peak
            bits = {"PCM_16": 16, "PCM_24": 24}.get(odd.subtype)
            if bits:
                audio = (np.rint(audio * 2 ** (bits - 1)).astype(np.int64) << (32 - bits)).astype(
                    np.int32
                )
            file.write(audio)
    if odd.broadcast:
        append_bext(path)


def append_bext(path: Path) -> None:
    """Put a bext chunk behind the audio."""
    bext = bytearray(602)
    bext[:12] = b"contrast set"
    struct.pack_into("<QH", bext, 338, TIME_REFERENCE, 1)
    data = path.read_bytes() + struct.pack("<4sI", b"bext", len(bext)) + bext
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])


def stemwright(mix: Path, folder: Path) -> None:
    """Our own writer with its defaults."""
    audio, rate = soundfile.read(mix, dtype="float32", always_2d=True)
    stems = shares(audio.T, rate)
    with (
        tempfile.TemporaryDirectory() as aside,
        StemScratch(Path(aside), tuple(stems), audio.shape[1]) as scratch,
    ):
        scratch.append(stems)
        write_set(MixFile(mix, probe(mix)), scratch, folder, NameTemplate("{stem}"))


def peer_runs(peers: Path | None) -> Iterator[tuple[str, list[str] | None]]:
    """Our own run, then the command of every variant of every installed peer."""
    yield "stemwright", None
    script = str(Path(__file__).with_name("fidelity_peers.py"))
    for name, variants in VARIANTS.items():
        python = peers / name / "bin" / "python" if peers else None
        for variant in variants:
            yield variant, [str(python), script, variant] if python and python.exists() else []


def row(name: str, command: list[str] | None, odd: Odd, mix: Path) -> list[str]:
    """Run one program on one file and measure what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        if command is None:
            stemwright(mix, Path(folder))
        elif not command:
            return [name, "not installed here", *[""] * 6]
        else:
            done = subprocess.run([*command, str(mix), folder], capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                return [name, f"failed: {reason[:90]}".replace("|", "/"), *[""] * 6]
        return [name, *measures(odd, mix, sorted(Path(folder).iterdir()))]


def measures(odd: Odd, mix: Path, stems: list[Path]) -> list[str]:
    """The columns behind the program's name."""
    source = soundfile.info(mix)
    infos = [soundfile.info(stem) for stem in stems]
    same = all(
        (i.samplerate, i.channels, i.frames) == (source.samplerate, source.channels, source.frames)
        for i in infos
    )
    peak, rms = null(mix, stems) if same else ("no null", "")
    return [
        peak,
        rms,
        ", ".join(sorted({depth_used(stem) for stem in stems})),
        kept(source.samplerate, infos[0].samplerate),
        kept(source.channels, infos[0].channels),
        kept(source.duration, infos[0].duration, "s"),
        time_reference(stems[0]) if odd.broadcast else "",
    ]


def null(mix: Path, stems: list[Path]) -> tuple[str, str]:
    """Peak and RMS of mix - sum(stems) in float64, in blocks."""
    peak = energy = count = 0.0
    streams = [soundfile.blocks(path, 1 << 18, always_2d=True) for path in (mix, *stems)]
    for whole, *parts in zip(*streams, strict=True):
        difference = np.abs(whole - sum(parts))
        peak = max(peak, float(difference.max()))
        energy += float(np.square(difference).sum())
        count += difference.size
    if peak == 0:
        return "**exact**", "**exact**"
    return f"{20 * np.log10(peak):.1f} dBFS", f"{10 * np.log10(energy / count):.1f} dBFS"


def depth_used(path: Path) -> str:
    """The bits that ever change, of those the file stores; floats as they are."""
    subtype: str = soundfile.info(path).subtype
    if not subtype.startswith("PCM_"):
        return {"FLOAT": "32f", "DOUBLE": "64f"}.get(subtype, subtype)
    bits = int(subtype.removeprefix("PCM_"))
    used = 0
    for block in soundfile.blocks(path, 1 << 18, dtype="int32", always_2d=True):
        used |= int(np.bitwise_or.reduce(block, axis=None)) & 0xFFFFFFFF
    lowest = (used & -used).bit_length() - 1 if used else 32
    really = min(bits, 32 - lowest)
    return f"{really}" if really == bits else f"{really} of {bits}"


def kept(expected: float, got: float, unit: str = "") -> str:
    """`kept`, or what became of it."""
    if abs(expected - got) < 1e-9:
        return "kept"
    return f"{expected:.6g} → {got:.6g} {unit}".strip()


def time_reference(path: Path) -> str:
    """The TimeReference as ffprobe reads it."""
    command = ["ffprobe", "-v", "error", "-show_format", "-of", "json", str(path)]
    done = subprocess.run(command, check=True, capture_output=True)
    tags = json.loads(done.stdout)["format"].get("tags", {})
    found = tags.get("time_reference")
    return "TimeReference " + ("kept" if found == str(TIME_REFERENCE) else "lost")


def install(folder: Path) -> None:
    """Make one environment for every peer."""
    for name, steps in INSTALLS.items():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        python = str(folder / name / "bin" / "python")
        for packages in steps:
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        # The CUDA half of torchaudio's wheel stops its import beside a CPU torch; its file
        # functions do not use it.
        for library in (folder / name).glob("lib/*/site-packages/torchaudio/lib/_torchaudio*"):
            library.unlink()


def page(peers: Path | None) -> Iterator[str]:
    """The page, line by line."""
    pins = ", ".join(steps[1][1] for steps in INSTALLS.values())
    yield f"Stemwright {ENGINE_VERSION} beside {pins}; Python {platform.python_version()}."
    with tempfile.TemporaryDirectory() as folder:
        for odd in ODD_FILES:
            mix = Path(folder) / "mix.wav"
            make(odd, mix)
            yield f"\n### {odd.title}\n"
            yield "| " + " | ".join(HEADINGS) + " |"
            yield "|" + "---|" * len(HEADINGS)
            for name, command in peer_runs(peers):
                yield "| " + " | ".join(row(name, command, odd, mix)) + " |"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--install", type=Path, metavar="FOLDER")
    parser.add_argument("--peers", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.install:
        install(arguments.install)
        return
    for line in page(arguments.peers):
        print(line, flush=True)


if __name__ == "__main__":
    main()
