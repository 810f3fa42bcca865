"""What the shipped presets do, measured: levels and spectra of every stem before and after.

    python bench/preset_levels.py > docs/preset-levels.md
    python bench/preset_levels.py --stems FOLDER     (vocals, bass, drums, other: any format)

Without a folder it plays a short song of its own, so that anyone gets the same page.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from engine.plugins.rack import PluginRack
from engine.stems.naming import NameTemplate
from engine.stems.wet import process_set
from presets import load_preset, preset_names

Float64Audio = npt.NDArray[np.float64]

RATE = 44_100
SECONDS = 12
BANDS_HZ = ((20, 60), (60, 250), (250, 1000), (1000, 4000), (4000, 8000), (8000, 16000))
STEMS = ("vocals", "bass", "drums", "other")


def song() -> dict[str, Float64Audio]:
    """Four stems `(2, samples)` as a separation leaves them: with hiss and with leaks."""
    generator = np.random.default_rng(1966)
    time = np.arange(SECONDS * RATE) / RATE
    hits = {"kick": np.zeros_like(time), "snare": np.zeros_like(time), "hat": np.zeros_like(time)}
    for beat in range(2 * SECONDS):
        _hit(hits["kick" if beat % 2 == 0 else "snare"], beat * 0.5, 0.35, time)
        _hit(hits["hat"], beat * 0.5 + 0.25, 0.06, time)
    noise = generator.standard_normal((6, len(time)))
    kick = np.sin(2 * np.pi * 55 * time + 4 * hits["kick"]) * hits["kick"]
    snare = (0.5 * noise[0] + np.sin(2 * np.pi * 190 * time)) * hits["snare"] ** 2
    hat = np.diff(noise[1], 2, append=[0, 0]) * hits["hat"]
    bass = _notes(time, [41.2, 55.0, 49.0, 61.7], 1.0, partials=40, decay_s=0.8)
    voice = _notes(time, [220.0, 246.9, 293.7, 261.6], 1.5, partials=24, decay_s=3.0, vibrato=5.5)
    phrases = (np.sin(2 * np.pi * time / 3) > -0.6).astype(float)
    chords = sum(_notes(time, [f, f * 1.122], 2.0, 30, 1.8) for f in (146.8, 220.0, 277.2))
    hiss = 10 ** (-62 / 20) * noise[2:]
    stems = {
        "vocals": voice * phrases + 0.05 * noise[0] * hits["hat"] + 0.01 * kick,
        "bass": bass + 0.02 * hat + 0.02 * kick,
        "drums": kick + 0.5 * snare + 0.25 * hat,
        "other": chords * 0.4 + 0.01 * kick,
    }
    peaks = {"vocals": 0.2, "bass": 0.25, "drums": 0.7, "other": 0.25}
    panned = {}
    for row, (name, mono) in zip(hiss, stems.items(), strict=True):
        level = peaks[name] / np.abs(mono).max()
        right = 0.9 if name == "other" else 1.0
        panned[name] = np.stack([level * mono + row, right * level * mono + row])
    return panned


def _hit(envelope: Float64Audio, at_s: float, decay_s: float, time: Float64Audio) -> None:
    since = time - at_s
    envelope += np.where(since >= 0, np.exp(-np.maximum(since, 0) / decay_s * 4), 0)


def _notes(
    time: Float64Audio,
    pitches_hz: list[float],
    length_s: float,
    partials: int,
    decay_s: float,
    vibrato: float = 0.0,
) -> Float64Audio:
    """A line of plucked or sung notes: partials that fall by 1/n, each note with its decay."""
    index = (time / length_s).astype(int)
    pitch = np.array(pitches_hz)[index % len(pitches_hz)]
    pitch = pitch * (1 + 0.004 * np.sin(2 * np.pi * vibrato * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    envelope = np.exp(-(time % length_s) / decay_s) * np.minimum(1, (time % length_s) * 200)
    line = sum(np.sin(n * phase) / n for n in range(1, partials + 1))
    return np.asarray(line * envelope)


def processed(
    stems: Mapping[str, Float64Audio], preset_name: str, rate: int = RATE
) -> tuple[dict[str, Float64Audio], dict[str, Float64Audio], float]:
    """The stems that the preset has, before and after; the common gain is taken out again."""
    preset = load_preset(preset_name)
    with tempfile.TemporaryDirectory() as folder, PluginRack() as rack:
        dry = {}
        for name in stems:
            if name in preset.stems:
                dry[name] = Path(folder, f"{name}.wav")
                soundfile.write(dry[name], stems[name].T, rate, subtype="FLOAT")
        wet = Path(folder, "wet")
        report = process_set(dry, wet, preset, NameTemplate("{stem}"), rack=rack)
        after = {}
        for file in report.files:
            audio = soundfile.read(wet / file.name, always_2d=True)[0].T
            own_gain_db = 0.0 if file.stem == "sum" else report.gain_db
            after[file.stem] = audio / 10 ** (own_gain_db / 20)
    return {name: np.asarray(stems[name]) for name in dry}, after, report.gain_db


def rms_db(audio: Float64Audio) -> float:
    """Level in dBFS."""
    return 10 * math.log10(float(np.mean(audio**2)) + 1e-20)


def crest_db(audio: Float64Audio) -> float:
    """Peak over RMS: how far the transients stand out."""
    return 20 * math.log10(float(np.abs(audio).max()) + 1e-10) - rms_db(audio)


def band_db(audio: Float64Audio, low_hz: float, high_hz: float, rate: int = RATE) -> float:
    """Level of one band in dBFS."""
    spectrum = np.abs(np.fft.rfft(audio, axis=1)) ** 2
    frequencies = np.fft.rfftfreq(audio.shape[1], 1 / rate)
    inside = spectrum[:, (frequencies >= low_hz) & (frequencies < high_hz)].sum()
    return 10 * math.log10(2 * float(inside) / audio.shape[0] / audio.shape[1] ** 2 + 1e-20)


def page(stems: Mapping[str, Float64Audio], rate: int, source: str) -> str:
    """The whole page in Markdown."""
    lines = [
        "# What the presets do, measured",
        "",
        "Printed by `python bench/preset_levels.py`. Every line compares one stem after its",
        "chain with the same stem before; the gain that all stems share is told apart and taken",
        "out. Level is RMS in dBFS, crest is peak over RMS in dB, the columns with frequencies",
        "say by how many dB that band became louder.",
        "",
        f"Stems: {source}.",
    ]
    for name in preset_names():
        before, after, gain_db = processed(stems, name, rate)
        lines += ["", f"## {name}", "", f"Common gain: {gain_db:+.1f} dB.", "", *_head()]
        for stem in before:
            lines.append(_row(stem, before[stem], after[stem], rate))
        if "sum" in after:
            total = sum(before.values())
            lines.append(_row("sum (printed)", np.asarray(total), after["sum"], rate))
    return "\n".join(lines) + "\n"


def _head() -> list[str]:
    bands = [f"{low}-{high} Hz" for low, high in BANDS_HZ]
    cells = ["stem", "level", "crest", *bands]
    return [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]


def _row(stem: str, before: Float64Audio, after: Float64Audio, rate: int) -> str:
    body = after[:, : before.shape[1]]  # without the tail, so that levels compare
    cells = [
        stem,
        f"{rms_db(before):.1f} → {rms_db(body):.1f}",
        f"{crest_db(before):.1f} → {crest_db(body):.1f}",
        *(
            f"{band_db(body, *band, rate) - band_db(before, *band, rate):+.1f}"
            for band in BANDS_HZ
        ),
    ]
    return f"| {' | '.join(cells)} |"


def read_stems(folder: Path) -> tuple[dict[str, Float64Audio], int]:
    """The stems of a folder, by their file names."""
    found, rate = {}, RATE
    for name in STEMS:
        for file in sorted(folder.glob(f"*{name}*")):
            audio, rate = soundfile.read(file, always_2d=True)
            found[name] = audio.T
    return found, rate


def main() -> None:
    """Print the page."""
    parser: Any = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stems", type=Path)
    folder = parser.parse_args().stems
    if folder:
        stems, rate = read_stems(folder)
        print(page(stems, rate, folder.name), end="")
    else:
        print(page(song(), RATE, "a synthetic song of 12 s, the same on every machine"), end="")


if __name__ == "__main__":
    main()
