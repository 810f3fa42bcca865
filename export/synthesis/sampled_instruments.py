"""Instruments of recorded notes in SFZ files: which sample sounds for which key and loudness.

Of the format (sfzformat.com) what maps notes to samples is read: headers and their inheritance,
`#include`, `#define`, `default_path`, `sample`, `key`, `lokey`, `hikey`, `pitch_keycenter`,
`transpose`, `tune`, `offset`, `lovel` and `hivel`. Regions that answer something else than a
key's stroke (`trigger=release`, key switches off their default) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from presets import StemwrightError

from .computed_instruments import LONGEST_NOTE_S, SAMPLE_RATE_HZ, Float64Audio, edges

_TOKEN = re.compile(r"<(\w+)>|(\w+)=(.*?)(?=\s+\w+=|\s*<|\s*$)")
_KEYS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_REACH = 7  # semitones that a sample is bent where no region has the key


@dataclass(frozen=True)
class Region:
    """One sample and the keys and velocities that it sounds for."""

    path: Path
    low: int
    high: int
    centre: float
    softest: int
    loudest: int
    offset: int


class SampledInstrument:
    """The notes of one SFZ file as a `Voice`."""

    def __init__(self, path: Path, release_s: float = 0.12) -> None:
        self.release_s = release_s
        self.regions = read_sfz(path)
        if not self.regions:
            raise StemwrightError(
                "instrument-empty",
                f"{path}: no region of it has a sample that is there. Name an SFZ file whose "
                "samples lie where it says.",
            )
        self._octaves = _octaves_low(self.regions[len(self.regions) // 2])

    def note(self, hz: float, seconds: float, velocity: float, rng: Random) -> Float64Audio:
        """One note, with its release; velocity is within 0 and 1."""
        key = 69 + 12 * np.log2(hz / 440) + 12 * self._octaves
        blow = max(1, round(127 * velocity))
        distance = min(self._distance(region, key) for region in self.regions)
        near = [r for r in self.regions if self._distance(r, key) <= distance + 0.01]
        fitting = [r for r in near if r.softest <= blow <= r.loudest] or near
        played = _bent(rng.choice(fitting), round(float(key), 2))
        played = played[: round((seconds + self.release_s) * SAMPLE_RATE_HZ)]
        return (0.3 + 0.7 * velocity) * played * edges(played.size, 0.001, self.release_s)

    def _distance(self, region: Region, key: float) -> float:
        return max(region.low - 0.5 - key, key - region.high - 0.5, 0.0)


def read_sfz(path: Path) -> list[Region]:
    """The regions of a file whose samples are there."""
    try:
        text = _included(path, path.parent, 0)
    except (OSError, UnicodeDecodeError) as error:
        raise StemwrightError("instrument-unreadable", f"{path}: {error}") from error
    regions = []
    for opcodes in _regions(text):
        region = _region(opcodes, path.parent)
        if region is not None:
            regions.append(region)
    return regions


def _included(path: Path, root: Path, depth: int) -> str:
    """The text of a file with what it includes and defines put in."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text("utf-8", errors="replace"), flags=re.S)

    def include(found: re.Match[str]) -> str:
        other = root / found[1].replace("\\", "/")
        return _included(other, root, depth + 1) if depth < 9 and other.is_file() else ""

    text = re.sub(r'#include\s+"([^"]+)"', include, text)
    defined = dict(re.findall(r"#define\s+(\$\w+)\s+(\S+)", text))
    text = re.sub(r"#define\s+\$\w+\s+\S+", "", text)
    for name in sorted(defined, key=len, reverse=True):
        text = text.replace(name, defined[name])
    return text


def _regions(text: str) -> Iterator[dict[str, str]]:
    """The opcodes of every region, with those that it inherits."""
    order = ("control", "global", "master", "group", "region")
    levels: dict[str, dict[str, str]] = {name: {} for name in order}
    at = "global"
    for line in [*text.splitlines(), "<end>"]:
        for header, opcode, value in _TOKEN.findall(line):
            if header:
                if at == "region":
                    yield {k: v for name in order for k, v in levels[name].items()}
                at = header
                if header in order:
                    for name in order[order.index(header) :]:
                        levels[name] = {}
            elif at in levels:
                levels[at][opcode] = value.strip()


def _region(opcodes: dict[str, str], folder: Path) -> Region | None:
    if "sample" not in opcodes or opcodes["sample"].startswith("*"):
        return None
    if opcodes.get("trigger", "attack") != "attack":
        return None
    if "sw_last" in opcodes and opcodes["sw_last"] != opcodes.get("sw_default"):
        return None
    if any(re.match(r"(on_)?locc\d+$", o) and float(v) > 0 for o, v in opcodes.items()):
        return None  # waits for a controller
    sample = (opcodes.get("default_path", "") + opcodes["sample"]).replace("\\", "/")
    path = folder / sample
    if not path.is_file():
        return None
    key = opcodes.get("key")
    low, high = (
        _key(opcodes.get(name, key or default))
        for name, default in (("lokey", "0"), ("hikey", "127"))
    )
    centre = _key(opcodes.get("pitch_keycenter", key or "60"))
    bent = -float(opcodes.get("transpose", 0)) - float(opcodes.get("tune", 0)) / 100
    softest, loudest = int(opcodes.get("lovel", 0)), int(opcodes.get("hivel", 127))
    return Region(path, low, high, centre + bent, softest, loudest, int(opcodes.get("offset", 0)))


def _key(key: str) -> int:
    """A MIDI key by number or name (c4 is 60)."""
    if named := re.fullmatch(r"([a-gA-G])([#b]?)(-?\d+)", key):
        sharp = {"#": 1, "b": -1, "": 0}[named[2]]
        return 12 * (int(named[3]) + 1) + _KEYS[named[1].lower()] + sharp
    return int(float(key))


@lru_cache(maxsize=256)
def _bent(region: Region, key: float) -> NDArray[np.float32]:
    """The sample at a key's pitch, mono, with a peak of 1."""
    try:
        audio, rate = soundfile.read(
            region.path, dtype="float32", always_2d=True, start=region.offset
        )
    except soundfile.LibsndfileError as error:
        raise StemwrightError("instrument-damaged", f"{region.path}: {error}") from error
    ratio = 2 ** ((key - region.centre) / 12)
    mono = audio.mean(axis=1)[: round(LONGEST_NOTE_S * rate * max(ratio, 1.0))]
    bent = soxr.resample(mono, rate * ratio, SAMPLE_RATE_HZ, quality="HQ")
    return np.asarray(bent / (np.abs(bent).max() + 1e-9), np.float32)


def _octaves_low(region: Region) -> int:
    """How many octaves below its keys an instrument sounds: basses are written too high."""
    sound = _bent(region, region.centre)[2000 : 2000 + 32_768]
    likeness = np.fft.irfft(np.abs(np.fft.rfft(sound, 131_072)) ** 2)[:2000]
    lags = range(30, 2000)
    best = likeness[30:].max()
    lag = next(lag for lag in lags if likeness[lag] >= 0.9 * best)
    key_hz = 440 * 2 ** ((region.centre - 69) / 12)
    return round(float(np.log2(key_hz * lag / SAMPLE_RATE_HZ)))


def instruments_in(folder: Path) -> list[Path]:
    """The SFZ files of a folder that are no part of another, sorted."""
    files = sorted(folder.rglob("*.sfz"))
    named = [re.findall(r'#include\s+"([^"]+)"', f.read_text("utf-8", "replace")) for f in files]
    parts = {Path(name.replace("\\", "/")).name for names in named for name in names}
    return [file for file in files if file.name not in parts]
