"""Small songs with known stems, made of tones that a network can tell apart in seconds."""

import numpy as np
import soundfile

from export.data.songs import MultitrackSong, Songs

STEMS = ("vocals", "bass", "drums", "other")
_TONES = ((700.0, 1.0), (90.0, 2.0), (2500.0, 4.0), (1300.0, 0.5))  # hertz, beats a second


def tones(number: int, rate: int, seconds: float) -> np.ndarray:
    """Stems of a song, (stems, samples)."""
    at = np.arange(round(rate * seconds)) / rate
    rng = np.random.default_rng(number)
    return np.stack(
        [
            0.2
            * np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * at + rng.uniform(0, 6))
            * (np.sin(2 * np.pi * beats * at + rng.uniform(0, 6)) > -0.5)
            for hertz, beats in _TONES
        ]
    ).astype(np.float32)


def toy_songs(count: int = 6, rate: int = 8000, seconds: float = 2.0) -> Songs:
    """Songs in memory."""
    songs = []
    for number in range(count):
        audio = np.round(tones(number, rate, seconds)[:, None] * 32_767).astype(np.int16)
        songs.append(MultitrackSong(f"song {number}", audio, 1 / 32_767, str(number)))
    return Songs(songs, STEMS, rate)


def write_songs(folder, count: int = 3, rate: int = 8000, seconds: float = 2.0):
    """The same as files: `folder/song N/stem.wav`."""
    for number in range(count):
        place = folder / f"song {number}"
        place.mkdir(parents=True)
        for stem, audio in zip(STEMS, tones(number, rate, seconds), strict=True):
            soundfile.write(place / f"{stem}.wav", audio, rate, subtype="FLOAT")
    return folder
