"""Drums played on kits that nobody has seen together: the kick of one, the snare of another.

Reads the drum kits of the Hydrogen drum machine (Debian: `hydrogen-drumkits`): a folder for each
with `drumkit.xml` and one-shot samples. A song's kit is put together at random from all of them
and from computed drums, every one tuned, shortened, equalised and set in level anew, and the whole
is put into a room.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import numpy as np
import soundfile
import soxr

from presets import StemwrightError

from .computed_drums import random_strike
from .computed_instruments import (
    SAMPLE_RATE_HZ,
    Float64Audio,
    add_at,
    coloured,
    fft_size,
    peak_normalised,
    silence,
)
from .midi import Score

# Which drum an instrument of a kit is, by its name; the first that fits.
_NAMES = {
    "kick": r"kick|bass|bd",
    "open hat": r"open|op\b|hho|half",
    "pedal hat": r"ped|foot",
    "hat": r"hat|hh|closed",
    "snare": r"snare|sd|sn",
    "rim": r"rim|stick|side",
    "clap": r"clap",
    "crash": r"crash|splash|china",
    "ride": r"ride|bell",
    "tom": r"tom",
    "tambourine": r"tamb",
    "shaker": r"shak|cabasa|marac",
}
_DRUM_OF_PITCH = {
    **dict.fromkeys((35, 36), "kick"),
    37: "rim",
    **dict.fromkeys((38, 40), "snare"),
    39: "clap",
    42: "hat",
    44: "pedal hat",
    46: "open hat",
    **dict.fromkeys((49, 52, 55, 57), "crash"),
    **dict.fromkeys((51, 53, 59), "ride"),
    **dict.fromkeys((41, 43, 45, 47, 48, 50), "tom"),
    54: "tambourine",
    **dict.fromkeys((69, 70, 82), "shaker"),
}
_NEEDED = ("kick", "snare", "hat")
_ANY = "hat"  # what nobody has, a hi-hat plays
_LONGEST_S = 4.0
_COMPUTED_SHARES = (0.0, 0.0, 0.5, 1.0)  # of a kit's drums: recorded ones, computed ones, both

_TAKES = 4  # strokes of a computed drum that differ

Layers = tuple[Path, ...]  # of one drum, from soft to loud


@dataclass(frozen=True)
class Sampled:
    """A drum of a kit that was recorded, and what was done to it."""

    layers: Layers
    pitch: float
    decay_s: float

    def hit(self, velocity: float) -> Float64Audio:
        """One stroke with a peak of 1; velocity is within 0 and 1."""
        layer = self.layers[min(int(velocity * len(self.layers)), len(self.layers) - 1)]
        return _stroke(layer, self.pitch, self.decay_s)


Hit = Callable[[float], Float64Audio]  # one stroke, by velocity


class DrumKits:
    """The kits of a folder, ready to be taken apart."""

    def __init__(self, folder: Path) -> None:
        self._drums = _read_kits(folder)
        if missing := [drum for drum in _NEEDED if not self._drums[drum]]:
            raise StemwrightError(
                "drum-kits-missing",
                f"{folder}: expected folders of Hydrogen drum kits (drumkit.xml and samples), and "
                f"there is no {', '.join(missing)}. Install them (Debian: apt install "
                "hydrogen-drumkits) and name their folder with --kits.",
            )

    def play(self, score: Score, rng: Random) -> Float64Audio:
        """Play a drum score on a kit put together at random; mono, (samples,)."""
        computed = rng.choice(_COMPUTED_SHARES)
        kit: dict[tuple[str, int], tuple[Hit, float]] = {}
        buses: dict[str, Float64Audio] = {}
        for note in (note for track in score.tracks for note in track.notes):
            name = drum_of_pitch(note.pitch)
            place = name, note.pitch if name == "tom" else 0  # toms differ by pitch
            if place not in kit:
                kit[place] = self._drum(*place, computed, rng), _level(name, rng)
            hit, gain = kit[place]
            velocity = min(max(note.velocity / 127, 0.05), 1.0)
            bus = buses.setdefault(name, silence(score))
            add_at(bus, note.start * 60 / score.tempo_bpm, gain * velocity**1.3 * hit(velocity))
        mixed = silence(score)
        for bus in buses.values():
            mixed += coloured(bus, rng, bells=2, most_db=6.0) * 10 ** (rng.uniform(-4, 4) / 20)
        if rng.random() < 0.6:
            mixed = in_a_room(mixed, rng)
        if rng.random() < 0.4:
            mixed = np.tanh(peak_normalised(mixed) * 10 ** (rng.uniform(3, 12) / 20))
        return coloured(mixed, rng, bells=2, most_db=5.0)

    def _drum(self, name: str, pitch: int, computed: float, rng: Random) -> Hit:
        """The kit's drum of that name, chosen at its first stroke."""
        if rng.random() < computed:
            strike = random_strike(rng, name, pitch)
            takes = [peak_normalised(strike(rng)) for _ in range(_TAKES)]
            return lambda velocity: rng.choice(takes)
        tuned = 2 ** (rng.uniform(-4, 4) / 12) * (2 ** ((pitch - 45) / 24) if pitch else 1.0)
        layers = rng.choice(self._drums[name] or self._drums[_ANY])
        return Sampled(layers, tuned, rng.choice((9.0, 9.0, 0.08, 0.2, 0.4))).hit


def drum_of_pitch(pitch: int) -> str:
    """Which drum a General MIDI pitch is ("kick", "tom"...)."""
    return _DRUM_OF_PITCH.get(pitch, _ANY)


def in_a_room(audio: Float64Audio, rng: Random) -> Float64Audio:
    """With the tail of a random room: noise that dies away, from one to 12 dB below the drums."""
    decay_s, before_s = 10 ** rng.uniform(-1.7, -0.7), rng.uniform(0.0, 0.02)  # to 1/e
    time = np.arange(round((6 * decay_s + before_s) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ - before_s
    tail = np.random.default_rng(rng.getrandbits(32)).standard_normal(time.size)
    tail *= np.where(time > 0, np.exp(-np.maximum(time, 0) / decay_s), 0)
    tail = coloured(tail / np.sqrt(np.sum(tail**2)), rng, bells=2, most_db=6.0)
    size = fft_size(audio.size + tail.size - 1)
    rung = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(tail, size), size)
    return audio + 10 ** (rng.uniform(-12.0, -1.0) / 20) * rung[: audio.size]


def _level(drum: str, rng: Random) -> float:
    return rng.uniform(0.7, 1.2) if drum in ("kick", "snare") else rng.uniform(0.25, 1.0)


def _read_kits(folder: Path) -> Mapping[str, Sequence[Layers]]:
    """Every kit's instruments by what drum they are."""
    found: dict[str, list[Layers]] = {name: [] for name in _NAMES}
    for described in sorted(folder.glob("*/drumkit.xml")):
        # some kits name a namespace and some do not
        text = re.sub(r' xmlns="[^"]+"', "", described.read_text("utf-8", errors="replace"))
        try:
            kit = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise _broken(described, error) from error
        for instrument in kit.iter("instrument"):
            called = (instrument.findtext("name") or "").lower()
            files = [described.parent / f.text for f in instrument.iter("filename") if f.text]
            layers = tuple(file for file in files if file.is_file())
            name = next((n for n, pattern in _NAMES.items() if re.search(pattern, called)), None)
            if layers and name:
                found[name].append(layers)
    return found


@lru_cache(maxsize=64)
def _stroke(path: Path, pitch: float, decay_s: float) -> Float64Audio:
    """A sample at another pitch, with a peak of 1 and a faster end."""
    try:
        audio, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise _broken(path, error) from error
    mono = soxr.resample(audio.mean(axis=1), rate * pitch, SAMPLE_RATE_HZ)
    mono = mono[: round(_LONGEST_S * SAMPLE_RATE_HZ)]
    return peak_normalised(mono) * np.exp(-np.arange(mono.size) / SAMPLE_RATE_HZ / decay_s)


def _broken(path: Path, error: Exception) -> StemwrightError:
    return StemwrightError(
        "drum-kit-damaged",
        f"{path}: {error}. Install its kit again, or take it out of the folder.",
    )
