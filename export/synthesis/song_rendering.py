"""Whole songs, every stem from one score, by one desk: `<out>/<stem>/song_<seed>_<number>.flac`.

Stems of one song have one name, one length and one beginning, so that a training can draw them in
step. Parts are played by computed instruments, through SoundFonts, on recorded notes (SFZ) and on
drum kits taken apart; vocals are computed throats.

    stemwright prior render OUT --songs 60 --soundfont FluidR3_GM.sf2 \\
        --kits /usr/share/hydrogen/data/drumkits --instruments FOLDER
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import soundfile

from presets import StemwrightError

from .band import bass, drum_track, drums, guitar, other, piano
from .computed_instruments import SAMPLE_RATE_HZ
from .drum_kits import DrumKits
from .mixing_desk import Desk, Stereo, duck_curve
from .rhythm_parts import KICK
from .singers import lead_line, vocals
from .song_form import Plan, random_plan
from .studio import Studio


def open_studio(soundfonts: Sequence[Path], kits: Path | None, instruments: Path | None) -> Studio:
    """What is at hand; with nothing named, songs are played on computed instruments alone."""
    if instruments is not None and not instruments.is_dir():
        raise StemwrightError(
            "instruments-missing",
            f"{instruments} is not there. Name a folder with SFZ instruments in a folder for each "
            "stem (bass/, guitar/, piano/, other/).",
        )
    return Studio(tuple(soundfonts), DrumKits(kits) if kits else None, instruments)


def render_songs(
    out: Path, songs: int, seed: int, studio: Studio, first: int = 0
) -> Iterator[list[Path]]:
    """Compose, play and write songs `first` to `first + songs`; yields the files of each.

    The same seed, number and studio give the same files. Stereo 16-bit FLAC at 44.1 kHz.
    """
    for number in range(first, first + songs):
        name = f"song_{seed}_{number:04d}"
        stems = perform(random_plan(name), studio)
        paths = []
        for stem, audio in stems.items():
            path = out / stem / f"{name}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(".part")
            soundfile.write(aside, audio.T, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
            aside.rename(path)
            paths.append(path)
        yield paths


def perform(plan: Plan, studio: Studio) -> dict[str, Stereo]:
    """Every stem of a song, (2, samples) each, as a desk leaves them: their sum is the mix."""
    desk = Desk.random(plan)
    lines = lead_line(plan)
    sung = [note for line in lines for note in line.notes]
    players: dict[str, Callable[[], Stereo | None]] = {
        "vocals": lambda: vocals(plan, lines),
        "bass": lambda: bass(plan, studio),
        "drums": lambda: drums(plan, studio),
        "guitar": lambda: guitar(plan, studio),
        "piano": lambda: piano(plan, studio),
        "other": lambda: other(plan, studio, sung),
    }
    stems = {}
    for stem in plan.stems:
        audio = players[stem]()
        if audio is not None:
            stems[stem] = desk.finish(stem, audio, plan.rng("channel", stem))
    if not stems:
        raise StemwrightError("song-empty", f"{plan.name}: nobody plays in this song.")
    kicks = [
        note.start * 60 / plan.song.tempo_bpm
        for track in drum_track(plan)
        for note in track.notes
        if note.pitch == KICK
    ]
    samples = next(iter(stems.values())).shape[1]
    return desk.balanced(stems, duck_curve(kicks, desk.pump_s, samples), plan.rng("balance"))
