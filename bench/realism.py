"""How far is composed material from finished stems? Statistics of both, largest difference first.

    python bench/realism.py FINISHED OURS [--most 40] [--seconds 7]

FINISHED holds folders of songs with a file for each stem (`<song>/vocals.ogg`...), OURS a folder
for each stem with files of the same name in step (`<stem>/<song>.flac`), as `stemwright prior
render --songs` writes them. Every statistic is a song's; printed are medians and spreads (half of
the distance from the 16th to the 84th percentile) and how many finished spreads the medians lie
apart.

Frames are 11.6 ms, bands octaves. Statistics of pairs of stems tell what a random sum has not:
onsets that coincide (correlation of onset strengths in step, minus the same a third of the excerpt
apart) and tones that agree (the same for chroma over half seconds).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Audio = NDArray[np.float32]  # (channels, samples)
Float64 = NDArray[np.float64]

STEMS = ("vocals", "bass", "drums", "other")
MERGED = {"guitar": "other", "piano": "other"}
RATE_HZ = 44_100
HOP, WINDOW = 512, 2048
EDGES_HZ = (20, 90, 180, 355, 710, 1420, 2840, 5680, 11_360, 16_000)
_LEAST = 1e-10


def finished_songs(folder: Path) -> Iterator[dict[str, Audio]]:
    """The stems of every song folder."""
    for song in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = {f.stem: f for f in sorted(song.iterdir()) if f.stem in (*STEMS, *MERGED)}
        yield merged({stem: read(path) for stem, path in files.items()})


def our_songs(folder: Path, most: int) -> Iterator[dict[str, Audio]]:
    """Songs whose stems lie in one folder for each stem, by name."""
    stems = [p.name for p in sorted(folder.iterdir()) if p.name in (*STEMS, *MERGED)]
    names = sorted(
        {f.name for stem in stems for f in (folder / stem).glob("*.*") if f.suffix != ".yaml"}
    )
    in_step = [n for n in names if sum((folder / s / n).exists() for s in stems) > 2]
    step = max(1, len(in_step) // most)
    for name in in_step[::step][:most]:
        files = {s: folder / s / name for s in stems if (folder / s / name).exists()}
        yield merged({stem: read(path) for stem, path in files.items()})


def read(path: Path) -> Audio:
    """A file as (2, samples) at its rate, which has to be 44.1 kHz."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE_HZ:
        raise SystemExit(f"{path}: sampled at {rate} Hz, expected {RATE_HZ}. Convert it first.")
    return np.ascontiguousarray(np.broadcast_to(audio.T, (2, len(audio))))


def merged(stems: Mapping[str, Audio]) -> dict[str, Audio]:
    """Guitar and piano are parts of `other` in finished songs, so in ours as well."""
    samples = min(audio.shape[1] for audio in stems.values())
    out: dict[str, Audio] = {}
    for stem, audio in stems.items():
        name = MERGED.get(stem, stem)
        out[name] = out.get(name, np.float32(0)) + audio[:, :samples]
    return out


def excerpt(song: Mapping[str, Audio], seconds: float) -> dict[str, Audio]:
    """The excerpt in which the most is played, as long as asked for: finished excerpts are cut so
    that everybody plays, and ours have to be."""
    block = RATE_HZ // 4
    blocks = min(audio.shape[1] for audio in song.values()) // block
    wanted = min(round(seconds * RATE_HZ / block), blocks)
    played = np.zeros(blocks)
    for audio in song.values():
        power = (
            np.square(audio[:, : blocks * block]).mean(axis=0).reshape(blocks, block).mean(axis=1)
        )
        played += power > 1e-3 * power.max()
    fullness = np.convolve(played, np.ones(wanted), mode="valid")
    best = int(np.argmax(fullness)) * block
    cut = {stem: audio[:, best : best + wanted * block] for stem, audio in song.items()}
    return {stem: audio for stem, audio in cut.items() if np.abs(audio).max() > 1e-4}


def of_stem(audio: Audio, mix_power: float) -> dict[str, float]:
    """Statistics of one stem or a sum."""
    mono, side = audio.mean(axis=0), (audio[0] - audio[1]) / 2
    spectrum = power_spectrum(mono)
    bands = in_bands(spectrum)
    total = bands.sum()
    found = {"level, dB of mix": db(float(np.mean(mono**2)) / mix_power)}
    for low, high, power in zip(EDGES_HZ[:-1], EDGES_HZ[1:], bands.sum(axis=0), strict=True):
        found[f"power {low}-{high} Hz, dB"] = db(power / total)
    above = spectrum[:, round(16_500 * WINDOW / RATE_HZ) :].sum()
    found["power above 16.5 kHz, dB"] = db(above / total)
    for name, block in (("10 ms", 1), ("100 ms", 9), ("1 s", 86)):
        found[f"spread of level at {name}, dB"] = float(np.std(level_db(bands.sum(axis=1), block)))
    for index in (0, 1, 2, 4, 6, 7):
        level = level_db(bands[:, index], 1)
        name = f"{EDGES_HZ[index]}-{EDGES_HZ[index + 1]} Hz"
        change = np.diff(level)
        found[f"spread {name}, dB"] = float(np.std(level))
        found[f"rise {name}, dB a frame"] = float(np.percentile(change, 97))
        found[f"fall {name}, dB a frame"] = float(-np.percentile(change, 10))
    strength = onset_strength(spectrum)
    found["onsets a second"] = peaks(strength) / (mono.size / RATE_HZ)
    for low, high in ((100, 700), (700, 3000), (3000, 10_000)):
        part = spectrum[:, round(low * WINDOW / RATE_HZ) : round(high * WINDOW / RATE_HZ)]
        loud = part.sum(axis=1) > 1e-3 * part.sum(axis=1).max()
        flat = np.exp(np.log(part[loud] + _LEAST).mean(axis=1)) / (
            part[loud].mean(axis=1) + _LEAST
        )
        found[f"flatness {low}-{high} Hz, dB"] = db(float(np.median(flat)))
    found["crest, dB"] = db(float(np.abs(mono).max()) ** 2 / float(np.mean(mono**2)))
    found["side / mid, dB"] = max(db(float(np.mean(side**2)) / float(np.mean(mono**2))), -40.0)
    left, right = audio - audio.mean(axis=1, keepdims=True)
    found["left-right correlation"] = float(
        np.mean(left * right) / (np.sqrt(np.mean(left**2) * np.mean(right**2)) + _LEAST)
    )
    frames = level_db(bands.sum(axis=1), 4)
    found["pauses (40 dB below), share"] = float(np.mean(frames < frames.max() - 40))
    return found


def of_pair(first: Audio, second: Audio) -> dict[str, float]:
    """What two stems of a song have in common and two of different songs have not."""
    spectra = [power_spectrum(audio.mean(axis=0)) for audio in (first, second)]
    onsets = [onset_strength(s) for s in spectra]
    tones = [chroma(s) for s in spectra]
    return {
        "onsets that coincide": in_common(*onsets),
        "tones that agree": in_common(*tones),
    }


def in_common(first: Float64, second: Float64) -> float:
    """Correlation in step minus correlation with one of them turned by a third."""
    turned = np.roll(second, second.shape[0] // 3, axis=0)

    def likeness(a: Float64, b: Float64) -> float:
        a, b = a - a.mean(), b - b.mean()
        return float((a * b).sum() / (np.sqrt((a**2).sum() * (b**2).sum()) + _LEAST))

    return likeness(first, second) - likeness(first, turned)


def power_spectrum(mono: Audio) -> Float64:
    """(frames, bins)."""
    window = np.hanning(WINDOW).astype(np.float32)
    cut = np.lib.stride_tricks.sliding_window_view(mono, WINDOW)[::HOP]
    return np.asarray(np.abs(np.fft.rfft(cut * window, axis=1)) ** 2, np.float64)


def in_bands(spectrum: Float64) -> Float64:
    """(frames, bands of EDGES_HZ)."""
    at = [round(hz * WINDOW / RATE_HZ) for hz in EDGES_HZ]
    return np.stack([spectrum[:, a:b].sum(axis=1) for a, b in pairwise(at)], 1)


def level_db(power: Float64, block: int) -> Float64:
    """Levels of blocks of frames, those within 50 dB of the loudest; the rest lie at the floor."""
    blocks = power[: power.size // block * block].reshape(-1, block).mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(blocks, 1e-5 * blocks.max() + _LEAST)))


def onset_strength(spectrum: Float64) -> Float64:
    """How much louder a frame is than the one before, over all bins, compressed; (frames - 1,)."""
    compressed = np.sqrt(np.sqrt(spectrum))
    return np.asarray(np.maximum(np.diff(compressed, axis=0), 0).sum(axis=1))


def peaks(strength: Float64) -> int:
    """Frames that stand out of the eight around them and of the median."""
    around = np.stack([np.roll(strength, shift) for shift in range(-4, 5)])
    return int(((strength >= around.max(axis=0)) & (strength > 2.0 * np.median(strength))).sum())


def chroma(spectrum: Float64) -> Float64:
    """Shares of the twelve pitch classes over half seconds, 60 Hz to 2 kHz; (blocks, 12)."""
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    tonal = (hz > 60) & (hz < 2000)
    classes = np.round(12 * np.log2(hz[tonal] / 440)).astype(int) % 12
    block = 43
    frames = np.sqrt(spectrum[: len(spectrum) // block * block, tonal])
    blocks = frames.reshape(-1, block, frames.shape[1]).mean(axis=1)
    folded = np.stack([blocks[:, classes == c].sum(axis=1) for c in range(12)], axis=1)
    return np.asarray(folded / (folded.sum(axis=1, keepdims=True) + _LEAST))


def db(ratio: float) -> float:
    """Of a ratio of powers."""
    return 10 * float(np.log10(max(ratio, _LEAST)))


def of_songs(
    songs: Iterator[dict[str, Audio]], seconds: float
) -> dict[str, list[dict[str, float]]]:
    """Every song's statistics: by stem, `sum`, and pairs of stems."""
    found: dict[str, list[dict[str, float]]] = {}
    for song in songs:
        stems = excerpt(song, seconds)
        if not stems:
            continue
        mix = np.asarray(sum(stems.values()), np.float32)
        mix_power = float(np.mean(mix.mean(axis=0) ** 2)) + _LEAST
        for stem, audio in (*stems.items(), ("sum", mix)):
            if audio.shape[1] >= 3 * RATE_HZ:
                found.setdefault(stem, []).append(of_stem(audio, mix_power))
        for one, other in combinations(sorted(stems), 2):
            found.setdefault(f"{one} + {other}", []).append(of_pair(stems[one], stems[other]))
    return found


def rows(
    finished: Mapping[str, list[dict[str, float]]], ours: Mapping[str, list[dict[str, float]]]
) -> list[tuple[float, str, str, float, float, float, float]]:
    """(distance, what, statistic, finished median, spread, our median, spread), largest first."""
    found = []
    for what in finished.keys() & ours.keys():
        for name in finished[what][0]:
            theirs = np.array([song[name] for song in finished[what]])
            own = np.array([song[name] for song in ours[what]])
            (low, middle, high), (a, b, c) = (
                np.percentile(v, (16, 50, 84)) for v in (theirs, own)
            )
            spread = max((high - low) / 2, 0.02 if "share" in name or "correl" in name else 1e-3)
            found.append((abs(b - middle) / spread, what, name, middle, spread, b, (c - a) / 2))
    return sorted(found, reverse=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("finished", type=Path)
    parser.add_argument("ours", type=Path)
    parser.add_argument("--most", type=int, default=40, help="songs of ours")
    parser.add_argument("--seconds", type=float, default=7.0)
    parser.add_argument("--stem", help="this one alone (vocals, sum, 'bass + drums'...)")
    arguments = parser.parse_args()
    finished = of_songs(finished_songs(arguments.finished), arguments.seconds)
    ours = of_songs(our_songs(arguments.ours, arguments.most), arguments.seconds)
    counts = ", ".join(
        f"{what} {len(finished[what])}/{len(ours.get(what, []))}" for what in finished
    )
    print(f"songs, finished/ours: {counts}\n")
    print("| what | statistic | finished | ours | apart |\n|---|---|---|---|---|")
    for apart, what, name, middle, spread, own, own_spread in rows(finished, ours):
        if arguments.stem in (None, what):
            print(
                f"| {what} | {name} | {middle:.2f} ± {spread:.2f} | {own:.2f} ± {own_spread:.2f} "
                f"| {apart:.1f} |"
            )


if __name__ == "__main__":
    main()
