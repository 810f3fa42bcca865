"""How right are the pitches that voices are taken apart with? One row for each way to them.

    python bench/voice_pitches.py --shared FOLDER

Sums of solo singers of the Choral Singing Dataset (`choirs`): shares of sung frames whose pitch is
no farther than 5 and 23 Hz from that of the isolated track, of sung frames that are found at all,
and of rests that stay rests. The trackers' settings were chosen on seconds 10 to 45 of these
tracks; what is measured here begins at 45. The score is written from the isolated tracks, in
semitones, in another tempo and with a lead-in: what a choir's MIDI file would be.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import mido
import numpy as np
from numpy.typing import NDArray

import choirs
from engine import PitchTracks
from engine.voices.basic_pitch import find_graph
from engine.voices.pitch_network import PitchNetwork
from engine.voices.salience import FRAME_S, PitchFrames
from engine.voices.sources import PitchRequest, find_pitches
from engine.voices.tracker import track

Float = NDArray[np.float32]

FROM_S, TO_S = 45.0, 104.0
SHORTEST_NOTE = 6  # frames
TEMPO, SLOWER, LEAD_IN_S = 600_000, 1.15, 1.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with the recordings")
    shared = parser.parse_args().shared
    four = [choirs.recorded(shared, (n,) * 4, (FROM_S, TO_S)) for n in (0, 1)]
    two = [
        choirs.recorded(shared, (n, n), (FROM_S, TO_S), pair)
        for n, pair in ((0, ("soprano", "tenor")), (1, ("alto", "bass")))
    ]
    print("| pitches from | voices | < 5 Hz | < 23 Hz | sung, found | rests kept | s per s |")
    print("|---|---|---|---|---|---|---|")
    for name in ("score", "tracker", "tracker, 20 cents", "basic-pitch"):
        if name == "basic-pitch" and find_graph() is None:
            continue
        for tests in (two, four):
            rows = [row for test in tests for row in judged(name, test)]
            shares = np.array(rows).mean(axis=0)
            cells = " | ".join(f"{share:.2f}" for share in shares)
            print(f"| {name} | {len(tests[0].voices)} | {cells} |", flush=True)


def judged(name: str, test: choirs.Choir) -> Iterator[tuple[float, ...]]:
    """Shares for each voice of a choir, and seconds for each second."""
    began = time.perf_counter()
    found = pitches(name, test)
    took = (time.perf_counter() - began) / (len(test.mixture.mix) / choirs.RATE)
    for row, true in zip(found, test.tracks.hertz, strict=True):
        frames = min(len(row), len(true))
        row, true = row[:frames], true[:frames]
        sung = true > 0
        far = np.abs(row - true)[sung]
        yield (
            float((far < 5).mean()),
            float((far < 23).mean()),
            float((row[sung] > 0).mean()),
            float((row[~sung] == 0).mean()),
            took,
        )


def pitches(name: str, test: choirs.Choir) -> Float:
    """What one way finds, (voices, frames) every FRAME_S."""
    mix, parts = test.mixture.mix, test.tracks.names
    if name == "tracker, 20 cents":
        return track(PitchFrames(mix), parts, PitchNetwork.load()).hertz
    if name != "score":
        return find_pitches(mix, PitchRequest(parts, method=name)).tracks.hertz
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "score.mid"
        write_score(path, test.tracks)
        return find_pitches(mix, PitchRequest(parts, path)).tracks.hertz


def write_score(path: Path, tracks: PitchTracks) -> None:
    """Notes of pitches, in semitones, in another tempo."""
    file = mido.MidiFile(type=1, ticks_per_beat=480)
    for name, hertz in zip(tracks.names, tracks.hertz, strict=True):
        messages = [mido.MetaMessage("track_name", name=name),
                    mido.MetaMessage("set_tempo", tempo=TEMPO)]  # fmt: skip
        now = 0
        for begin, end, number in notes_of(hertz):
            for frame, velocity in ((begin, 80), (end, 0)):
                seconds = SLOWER * frame * FRAME_S + LEAD_IN_S
                tick = round(seconds * 1e6 / TEMPO * 480)
                messages.append(
                    mido.Message("note_on", note=number, velocity=velocity, time=tick - now)
                )
                now = tick
        file.tracks.append(mido.MidiTrack(messages))
    file.save(path)


def notes_of(hertz: Float) -> Iterator[tuple[int, int, int]]:
    """Frames and numbers of notes: runs of one semitone, after a median of a third of a second."""
    numbers = np.zeros(len(hertz), int)
    for frame in np.flatnonzero(hertz):
        near = hertz[max(0, frame - 10) : frame + 11]
        numbers[frame] = round(69 + 12 * np.log2(np.median(near[near > 0]) / 440))
    edges = np.flatnonzero(np.diff(numbers, prepend=0, append=0))
    for begin, end in itertools.pairwise(edges):
        if numbers[begin] and end - begin >= SHORTEST_NOTE:
            yield int(begin), int(end), int(numbers[begin])


if __name__ == "__main__":
    main()
