"""How much better is guitar taken out of a good foreign `other` than out of the whole mix?

The foreign model is simulated: the true `other` (guitar and piano) with everything else of the
song as bleed, 10 dB below it. Prints a row for every song and the mean, signal to distortion in
decibels: `python bench/inside_other.py SONGS [--seconds 10] [--tier standard] [--scores PATH]`,
where SONGS has a folder for each song with vocals, bass, drums, guitar and piano. With the scores
written to PATH, `bench/quality.py --inside PATH` prints them as a part of its page.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine import RenderOptions, separate
from presets import Preset, load_preset
from quality_page import Inside

BLEED_DB = -10.0
Float64Audio = NDArray[np.float64]


def preset_of(stems: tuple[str, ...]) -> Preset:
    """A preset with these stems and their own priors."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yaml"
        path.write_text("stems:\n" + "".join(f"  {stem}: {{}}\n" for stem in stems))
        return load_preset(path)


def sdr_db(truth: Float64Audio, found: Float64Audio) -> float:
    """Signal to distortion of one stem."""
    return float(10 * np.log10(np.sum(truth**2) / np.sum((truth - found) ** 2)))


def song_of(folder: Path, seconds: float) -> tuple[dict[str, Float64Audio], int]:
    """The middle of every stem of a song, (2, samples)."""
    found: dict[str, Float64Audio] = {}
    for path in sorted(folder.glob("*.ogg")):
        audio, rate = soundfile.read(path, always_2d=True)
        start = max(0, (len(audio) - round(seconds * rate)) // 2)
        piece = audio[start : start + round(seconds * rate)].T
        found[path.stem] = np.repeat(piece, 2, axis=0) if len(piece) == 1 else piece
    shortest = min(audio.shape[1] for audio in found.values())
    return {stem: audio[:, :shortest] for stem, audio in found.items()}, rate


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("songs", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--tier", default="standard")
    parser.add_argument("--scores", type=Path, help="written anew, a line of JSON for each song")
    asked = parser.parse_args()
    options = RenderOptions(device="cpu", tier=asked.tier)
    whole = preset_of(("vocals", "bass", "drums", "guitar", "piano"))
    inside = preset_of(("guitar", "piano"))
    rows, scores = [], []
    for folder in sorted(path for path in asked.songs.iterdir() if path.is_dir()):
        stems, rate = song_of(folder, asked.seconds)
        if not {"guitar", "piano"} <= stems.keys() or not stems["guitar"].any():
            continue
        guitar = stems["guitar"]
        other = stems["guitar"] + stems["piano"]
        mix = sum(stems.values(), np.zeros_like(guitar))
        rest = mix - other
        bleed = 10 ** (BLEED_DB / 20) * np.sqrt(np.sum(other**2) / np.sum(rest**2))
        foreign = other + bleed * rest
        found = [
            separate(mix, rate, whole, options)["guitar"],
            separate(foreign, rate, inside, options)["guitar"],
        ]
        rows.append([sdr_db(guitar, mix), *(sdr_db(guitar, one) for one in found)])
        scores.append(Inside(folder.name, asked.tier, asked.seconds, *rows[-1]))
        print(f"{folder.name:24} " + "  ".join(f"{value:6.2f}" for value in rows[-1]), flush=True)
    if asked.scores:
        asked.scores.write_text("".join(f"{score.line()}\n" for score in scores))
    print(f"{'mean':24} " + "  ".join(f"{value:6.2f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
