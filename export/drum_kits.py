"""Drums played on kits that nobody has seen together: the kick of one, the snare of another.

Reads the drum kits of the Hydrogen drum machine (Debian: `hydrogen-drumkits`): a folder for each
with `drumkit.xml` and one-shot samples. A song's kit is put together at random from all of them,
every drum tuned, shortened, equalised and set in level anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import numpy as np
import soundfile
import soxr

from presets import StemwrightError

from .midi import Note, Score
from .procedural import SAMPLE_RATE_HZ, Audio, add_at, coloured, peak_normalised, silence

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

Layers = tuple[Path, ...]  # of one drum, from soft to loud


@dataclass(frozen=True)
class Drum:
    """One drum of a song's kit: its samples, and what was done to them."""

    layers: Layers
    pitch: float
    gain: float
    decay_s: float

    def hit(self, velocity: float) -> Audio:
        """One stroke; velocity is within 0 and 1."""
        layer = self.layers[min(int(velocity * len(self.layers)), len(self.layers) - 1)]
        loudness = velocity**1.3 * self.gain
        return np.asarray(_stroke(layer, self.pitch, self.decay_s) * loudness, np.float64)


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

    def play(self, score: Score, rng: Random) -> Audio:
        """Play a drum score on a kit put together at random; mono, (samples,)."""
        kit: dict[tuple[str, int], Drum] = {}
        buses: dict[str, Audio] = {}
        for note in (note for track in score.tracks for note in track.notes):
            name = _DRUM_OF_PITCH.get(note.pitch, _ANY)
            drum = self._drum(kit, name, note, rng)
            velocity = min(max(note.velocity / 127, 0.05), 1.0)
            bus = buses.setdefault(name, silence(score))
            add_at(bus, note.start * 60 / score.tempo_bpm, drum.hit(velocity))
        mixed = silence(score)
        for bus in buses.values():
            mixed += coloured(bus, rng, bells=2, most_db=6.0) * 10 ** (rng.uniform(-4, 4) / 20)
        if rng.random() < 0.4:
            mixed = np.tanh(peak_normalised(mixed) * 10 ** (rng.uniform(3, 12) / 20))
        return coloured(mixed, rng, bells=2, most_db=5.0)

    def _drum(self, kit: dict[tuple[str, int], Drum], name: str, note: Note, rng: Random) -> Drum:
        """The kit's drum of that name, chosen at its first stroke; toms differ by pitch."""
        tuned = note.pitch if name == "tom" else 0
        if (name, tuned) not in kit:
            pitch = 2 ** (rng.uniform(-4, 4) / 12)
            if tuned:
                pitch *= 2 ** ((tuned - 45) / 24)
            loud = (0.7, 1.2) if name in ("kick", "snare") else (0.25, 1.0)
            layers = rng.choice(self._drums[name] or self._drums[_ANY])
            decay_s = rng.choice((9.0, 9.0, 0.08, 0.2, 0.4))
            kit[name, tuned] = Drum(layers, pitch, rng.uniform(*loud), decay_s)
        return kit[name, tuned]


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
def _stroke(path: Path, pitch: float, decay_s: float) -> Audio:
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
