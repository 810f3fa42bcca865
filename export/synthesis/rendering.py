"""The recipe for training material: random parts, each rendered alone through a SoundFont.

Needs the `fluidsynth` program and SoundFonts of one's own choice, e.g. Debian's
`fluidsynth`, `fluid-soundfont-gm` and `musescore-general-soundfont` (both MIT):

    stemwright prior render OUT --stem bass --minutes 12 --seed 0 \\
        --soundfont /usr/share/sounds/sf2/FluidR3_GM.sf2

The same seed, SoundFonts and fluidsynth give the same files.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import soundfile
from numpy.typing import NDArray

from presets import StemwrightError

from . import computed_instruments
from .chord_parts import guitar_tracks, piano_tracks
from .computed_instruments import SAMPLE_RATE_HZ, TAIL_S
from .computed_pianos import piano
from .drum_kits import DrumKits
from .ensemble_parts import ensemble_tracks
from .harmony import Song, random_song
from .midi import Control, Score, Track, midi_bytes
from .rhythm_parts import bass_tracks, drum_tracks

SONG_SECONDS = 26.0
PEAK_DBFS = -3.0

COMPOSERS: dict[str, Callable[[Song, Random], tuple[Track, ...]]] = {
    "bass": bass_tracks,
    "drums": drum_tracks,
    "guitar": guitar_tracks,
    "piano": piano_tracks,
    "other": ensemble_tracks,
}
PROCEDURAL: dict[str, Callable[[Score, Random], NDArray[np.float64]]] = {
    "bass": computed_instruments.bass,
    "guitar": computed_instruments.guitar,
    "piano": piano,
    "other": computed_instruments.other,
}


def render_corpus(
    out: Path, stem: str, minutes: float, seed: int, soundfonts: Sequence[Path]
) -> list[Path]:
    """Write mono 16-bit FLAC files of one stem until `minutes` are there; returns them.

    Every file is a new song with its own key, tempo, instruments, effects and SoundFont.
    """
    if not soundfonts:
        raise StemwrightError(
            "soundfont-missing",
            f"{stem} is to be played through SoundFonts and none is named. Name at least one with "
            "--soundfont.",
        )

    def play(score: Score, rng: Random) -> NDArray[np.float32]:
        reverb = rng.random() < 0.5
        chorus = rng.random() < 0.3
        audio = synthesise(score, rng.choice(soundfonts), reverb=reverb, chorus=chorus)
        return np.asarray(audio.mean(axis=0), np.float32)

    return _write_songs(out, stem, minutes, seed, stem, play)


def procedural_corpus(
    out: Path, stem: str, minutes: float, seed: int, kits: Path | None
) -> list[Path]:
    """The same, played on instruments that are computed (`procedural`); drums are played on the
    Hydrogen drum kits of the folder `kits`."""
    play: Callable[[Score, Random], NDArray[np.float64]]
    if stem == "drums":
        if kits is None:
            raise StemwrightError(
                "drum-kits-missing",
                "drums are to be played on sampled kits and none are named. Name a folder of "
                "Hydrogen drum kits with --kits (Debian: apt install hydrogen-drumkits).",
            )
        play = DrumKits(kits).play
    elif stem in PROCEDURAL:
        play = PROCEDURAL[stem]
    else:
        raise StemwrightError(
            "unknown-recipe",
            f"No computed instrument plays {stem!r}. Choose one of: drums, "
            f"{', '.join(PROCEDURAL)}.",
        )
    return _write_songs(out, f"procedural_{stem}", minutes, seed, stem, play)


def _write_songs(
    out: Path,
    name: str,
    minutes: float,
    seed: int,
    stem: str,
    play: Callable[[Score, Random], NDArray[np.floating]],
) -> list[Path]:
    """`name_seed_number.flac` until `minutes` are there: songs composed for `stem`, played by
    `play`, which returns mono (samples,)."""
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    remaining_s = 60.0 * minutes
    while remaining_s > 0:
        rng = Random(f"{seed}/{name}/{len(written)}")
        score = compose(stem, rng, min(SONG_SECONDS, max(8.0, remaining_s)))
        mono = play(score, rng)
        peak = float(np.abs(mono).max())
        if peak > 0:
            mono = mono * (10 ** (PEAK_DBFS / 20) / peak)
        path = out / f"{name}_{seed}_{len(written):04d}.flac"
        soundfile.write(path, mono, SAMPLE_RATE_HZ, subtype="PCM_16")
        written.append(path)
        remaining_s -= mono.size / SAMPLE_RATE_HZ
    return written


def compose(stem: str, rng: Random, seconds: float) -> Score:
    """A random song's part for one stem."""
    if stem not in COMPOSERS:
        known = ", ".join(COMPOSERS)
        raise StemwrightError(
            "unknown-recipe", f"No recipe composes {stem!r}. Choose one of: {known}."
        )
    song = random_song(rng, seconds)
    tracks = tuple(_seated(track, rng) for track in COMPOSERS[stem](song, rng))
    return Score(song.tempo_bpm, song.beats, tracks)


def synthesise(
    score: Score, soundfont: Path, *, reverb: bool, chorus: bool
) -> NDArray[np.float32]:
    """Play a score through fluidsynth; returns (2, samples) at 44.1 kHz, tail included."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise StemwrightError(
            "fluidsynth-missing",
            "Rendering needs the fluidsynth program. Install it (Debian: apt install fluidsynth).",
        )
    if not soundfont.is_file():
        raise StemwrightError(
            "soundfont-missing", f"{soundfont} is not there. Name an .sf2 or .sf3 file."
        )
    with tempfile.TemporaryDirectory() as folder:
        notes, sound = Path(folder, "score.mid"), Path(folder, "score.wav")
        notes.write_bytes(midi_bytes(score))
        # Samples are loaded as programs need them: a whole SoundFont takes seconds.
        command = [program, "-ni", "-q", "-o", "synth.dynamic-sample-loading=1"]
        command += ["-R", str(int(reverb)), "-C", str(int(chorus)), "-g", "0.4"]
        command += ["-r", str(SAMPLE_RATE_HZ), "-T", "wav", "-O", "float"]
        command += ["-F", str(sound), str(soundfont), str(notes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not sound.exists():
            raise StemwrightError(
                "render-failed", f"fluidsynth failed on {soundfont.name}: {done.stderr.strip()}"
            )
        audio, _ = soundfile.read(sound, dtype="float32", always_2d=True)
    wanted = round((score.seconds + TAIL_S) * SAMPLE_RATE_HZ)
    return np.ascontiguousarray(audio[:wanted].T)


def _seated(track: Track, rng: Random) -> Track:
    """Give a track its own volume, pan and depth in the room."""
    setup = (
        Control(0.0, 7, rng.randint(75, 110)),
        Control(0.0, 10, rng.randint(34, 94)),
        Control(0.0, 91, rng.randint(0, 90)),
        Control(0.0, 93, rng.randint(0, 60)),
    )
    return Track(track.program, track.notes, track.is_drums, setup + track.controls, track.bends)
